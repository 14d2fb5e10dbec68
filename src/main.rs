//! The `throng` command: everything lives in the library's [`throng::cli`].

fn main() -> std::process::ExitCode {
    throng::cli::main()
}
