//! The commands of `throng`: flags in, progress on standard error, data on standard output, a verdict as exit status.
//!
//! **Owns** every word that a person at the keyboard reads. **May not** measure or decide anything: it turns flags
//! into the settings of [`crate::lab`], [`crate::sim`], [`crate::audit`] or [`crate::home`] and prints what comes back.
//!
//! - Standard output carries the results and nothing else: a table, or with `--json` one JSON document.
//! - Standard error carries progress (one live line on a terminal), logs behind `-v`, and on failure one line that says
//!   what to change.
//! - Exit status: 0 agreed, 1 a verdict against the run or a node that died, 2 bad input, 130 interrupted.
//! - Upon Ctrl-C or SIGTERM the run ends cleanly with the figures so far, and a node of one's own with status 0; a second
//!   Ctrl-C ends the process at once.

mod bar;
mod bench;
mod files;
mod inspect;
mod live;
mod node;
mod prove;
mod sim;
mod sim_table;
mod stress;
mod stress_table;
mod table;
mod talk;
mod up;
mod value;
mod verify;

use crate::lab::{Interrupt, Trigger};
use clap::{CommandFactory, Parser, Subcommand};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Everything agreed.
const AGREED: u8 = 0;
/// A verdict against the run, or something died.
const AGAINST: u8 = 1;
/// Something was asked for that cannot be.
const BAD_INPUT: u8 = 2;
/// Ended by Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Names what is logged, instead of -v.
const LOG_VARIABLE: &str = "THRONG_LOG";

const EXIT_STATUS: &str = "Exit status: 0 all nodes agreed · 1 a verdict against the run or the data, or a node died · \
                           2 bad input · 130 interrupted (with the figures so far)";

#[derive(Parser)]
#[command(name = "throng", version, about = "A peer-to-peer blockchain engine built to be measured")]
#[command(after_help = EXIT_STATUS)]
#[command(
    long_about = "A peer-to-peer blockchain engine built to be measured.\n\nWithout a command it runs a short \
                        bench: `throng bench --nodes 1,4 --duration 5s --warmup 2s`."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Logs on standard error: -v what happens, -vv more (or set THRONG_LOG to a filter, such as throng::net=debug)
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
}

#[derive(Subcommand)]
enum Command {
    /// Throughput, latency and cost of a chain as nodes are added, on this machine
    ///
    /// Runs one chain after the other, each in this process, or with --processes each node in one of its own: every node has
    /// its own event loop, store and directory, they are connected over TCP on loopback, and an outside client sends signed transfers through their client ports.
    /// Throughput counts what is settled, executed and durable on a quorum.
    Bench(bench::Args),
    /// A chain of nodes under load while many hostile peers come: before, during and after
    ///
    /// Runs a chain under a moderate load, lets hostile peers loose on the peer and client ports of all its nodes, and
    /// compares what the chain did before, during and after. Each node is a process of its own, and so are the hostile peers:
    /// memory, descriptors and CPU time of each are known apart. It passes when all nodes agree and every bound that the
    /// output lists is kept.
    Stress(stress::Args),
    /// Hostile peers, for the stress run that started this process
    #[command(hide = true)]
    Hostile,
    /// A virtual world: the same nodes under crashes, partitions and losses, reproducible from a seed
    ///
    /// Plays one world per seed in virtual time: network, disks, cores and clocks are modelled, the nodes are the real
    /// ones. Checkers watch every block. A run that fails is made smaller by leaving out faults, kept as a plan, and
    /// repeated by the command that is printed.
    Sim(sim::Args),
    /// Checks a node's data directory from genesis to tip, without trusting who wrote it
    ///
    /// Every record, the hash chain, the roots of batches, all signatures, the order that follows from the vertices, and
    /// the state that follows from the blocks. Prints where the chain stands, or the first fault with file, offset, height
    /// and what was expected.
    Verify(verify::Args),
    /// Shows what is in a node's data directory: its segments, or one block, batch, transaction or account
    Inspect(inspect::Args),
    /// Writes the account table after the last block to a file, whose `b3sum` is the state root
    ExportState(inspect::ExportArgs),
    /// Starts a chain on this machine that stays, prints its addresses and how to talk to it, until Ctrl-C
    Up(up::Args),
    /// Makes a validator's key: a file that only its owner may read; prints the public key
    Keygen(files::KeygenArgs),
    /// Writes the genesis of a new chain, the keys of its accounts, and a folder with a configuration for each validator
    ///
    /// With a number, the validators' keys are made here and all run on this machine: `throng up` with the directory starts
    /// them in one process, `throng node --config` one by one. With a file, each validator made its key by `throng keygen`
    /// and gets genesis and folder from whoever wrote the chain.
    Genesis(files::GenesisArgs),
    /// Runs one node of a chain until Ctrl-C or SIGTERM; started again, it goes on where it stopped
    Node(Box<node::Args>),
    /// Where a running node stands
    Status(talk::StatusArgs),
    /// An account as a running node has it
    Account(talk::AccountArgs),
    /// Signs transfers, submits them to a running node and waits until they are settled; any validator hands them on to the
    /// one that seals them
    Send(talk::SendArgs),
    /// Follows a running node: blocks and rates, a line a second
    Watch(talk::WatchArgs),
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    // Who runs a node wants to hear what it meets, also without asking.
    let stays = match &cli.command {
        Some(Command::Node(args)) => !args.attached,
        Some(Command::Up(_)) => true,
        _ => false,
    };
    let logs = match log(cli.verbose, stays) {
        Ok(logs) => logs,
        Err(status) => return status,
    };
    let interrupt = match on_interrupt() {
        Ok(interrupt) => interrupt,
        Err(error) => return fail(AGAINST, &format!("cannot listen for Ctrl-C: {error}")),
    };
    let status = match cli.command {
        Some(Command::Bench(args)) => bench::run(&args, &interrupt, logs),
        Some(Command::Stress(args)) => stress::run(&args, &interrupt, logs),
        Some(Command::Hostile) => stress::hostile(),
        Some(Command::Sim(args)) => sim::run(&args, &interrupt, logs),
        Some(Command::Verify(args)) => verify::run(&args, &interrupt, logs),
        Some(Command::Inspect(args)) => inspect::run(&args, &interrupt, logs),
        Some(Command::ExportState(args)) => inspect::export(&args, &interrupt, logs),
        Some(Command::Up(args)) => up::run(&args, &interrupt),
        Some(Command::Keygen(args)) => files::keygen(&args),
        Some(Command::Genesis(args)) => files::genesis(&args),
        Some(Command::Node(args)) => node::run(&args, &interrupt),
        Some(Command::Status(args)) => talk::status(&args),
        Some(Command::Account(args)) => talk::account(&args, &interrupt),
        Some(Command::Send(args)) => talk::send(&args, &interrupt),
        Some(Command::Watch(args)) => talk::watch(&args, &interrupt),
        None => {
            eprintln!(
                "throng: no command: a short bench of 1 and 4 nodes; `throng bench` takes longer and tells more, \
                 `throng help` shows all"
            );
            bench::run(&bench::Args::short(), &interrupt, logs)
        }
    };
    // Who is ended at once finds its nodes dead while they are being ended.
    ExitCode::from(if interrupt.is_raised_again() { INTERRUPTED } else { status })
}

/// Help and version go to standard output; whatever is wrong becomes one line.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let mut out = std::io::stdout().lock();
        return match write!(out, "{error}").and_then(|()| out.flush()) {
            Ok(()) => ExitCode::from(AGREED),
            Err(error) => fail(AGAINST, &format!("cannot write the help: {error}")),
        };
    }
    let words = error.to_string();
    let said = words.split("\n\nUsage:").next().unwrap_or(&words);
    let said = said.split("\n\nFor more information").next().unwrap_or(said);
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    let command = std::env::args().nth(1).filter(|name| Cli::command().find_subcommand(name).is_some());
    let help = command.map_or("throng --help".to_owned(), |name| format!("throng {name} --help"));
    fail(BAD_INPUT, &format!("{line}; see `{help}`"))
}

/// Prints data on standard output; the exit status if that fails.
fn print(text: &str) -> Result<(), u8> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| {
        eprintln!("throng: cannot write all of the results: {error}");
        AGAINST
    })
}

/// This program as a file, for processes of their own.
fn program() -> Result<PathBuf, u8> {
    std::env::current_exe().map_err(|error| {
        eprintln!("throng: other processes need this program, and where it lies is not known: {error}");
        AGAINST
    })
}

fn fail(status: u8, line: &str) -> ExitCode {
    eprintln!("throng: {line}");
    ExitCode::from(status)
}

/// Opens the log; whether so much is told there that no live line can stand below it.
fn log(verbose: u8, stays: bool) -> Result<bool, ExitCode> {
    let level = match verbose {
        0 if stays => "throng=warn",
        0 => "off", // what fails is told by the results
        1 => "throng=info",
        _ => "throng=debug",
    };
    let asked = std::env::var_os(LOG_VARIABLE).filter(|filter| !filter.is_empty());
    let filter = match &asked {
        None => EnvFilter::new(level),
        Some(asked) => {
            let filter = EnvFilter::try_new(asked.to_string_lossy());
            filter.map_err(|error| fail(BAD_INPUT, &no_filter(&asked.to_string_lossy(), &error)))?
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .compact()
        .init();
    Ok(verbose > 0 || asked.is_some())
}

fn no_filter(asked: &str, error: &dyn std::error::Error) -> String {
    let words = format!("{LOG_VARIABLE} is `{asked}`, which is no filter such as throng::net=debug: {error}");
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn on_interrupt() -> Result<Interrupt, ctrlc::Error> {
    let (trigger, interrupt) = Interrupt::pair();
    ctrlc::set_handler(move || interrupted(&trigger))?;
    Ok(interrupt)
}

fn interrupted(trigger: &Trigger) {
    if trigger.raise() {
        crate::lab::discard_passing_data();
        std::process::exit(INTERRUPTED.into());
    }
    eprintln!("\nthrong: ending the run; Ctrl-C again ends it at once");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults_are_those_of_the_lab() {
        let cli = Cli::try_parse_from(["throng", "bench"]).unwrap();
        let Some(Command::Bench(args)) = cli.command else { panic!("not a bench") };
        let expected = crate::lab::bench::BenchConfig::default();
        assert_eq!(format!("{:?}", args.config(None)), format!("{expected:?}"));
    }
}
