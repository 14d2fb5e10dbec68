//! Commands out of documents: fenced blocks and code spans of Markdown, and what `--help` prints.

use std::collections::{BTreeMap, BTreeSet};

/// All commands of a document, each as its words after `throng`, and addresses that it asks with `curl`. In a code span, the
/// name of a command with something behind it counts too (`bench --json`).
pub fn commands(text: &str, names: &BTreeSet<String>) -> BTreeSet<String> {
    let (fenced, plain) = parts(text);
    let in_fences = fenced.iter().filter_map(|line| command(line));
    let spans = spans(&plain);
    let in_spans = spans.iter().filter_map(|span| {
        let first = span.split(' ').next().unwrap_or_default();
        let short = names.contains(first) && span.contains(' ');
        if short { command(&format!("throng {span}")) } else { command(span) }
    });
    in_fences.chain(in_spans).collect()
}

/// The lines in fences, and the text outside of them.
fn parts(text: &str) -> (Vec<String>, String) {
    let (mut fenced, mut plain, mut inside) = (Vec::new(), String::new(), false);
    for line in text.lines() {
        match line.starts_with("```") {
            true => inside = !inside,
            false if inside => fenced.push(line.to_owned()),
            false => plain = format!("{plain}{line}\n"),
        }
    }
    assert!(!inside, "a fence is not closed");
    (fenced, plain)
}

/// Code spans, their white space made one blank each.
pub fn spans(plain: &str) -> Vec<String> {
    let code = plain.split('`').skip(1).step_by(2);
    code.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Code spans of a Markdown document.
pub fn spans_of(text: &str) -> Vec<String> {
    spans(&parts(text).1)
}

/// The command in a line, if it is one of this program.
fn command(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().skip_while(|word| *word == "$").collect();
    let begins = match words.as_slice() {
        ["curl", address, ..] => return Some(format!("curl {address}")),
        ["cargo", "run", "--release", "--", ..] => 4,
        // Such as `throng`, or a profiler with `target/release/throng`.
        ["throng" | "perf" | "valgrind", ..] => {
            1 + words.iter().position(|word| *word == "throng" || word.ends_with("/throng"))?
        }
        _ => return None,
    };
    let words: Vec<&str> = words[begins..]
        .iter()
        .take_while(|word| !matches!(**word, ">" | "|" | "&&" | "#"))
        .copied()
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// What `--help` lists under `Commands:`.
pub fn subcommands(help: &str) -> BTreeSet<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = listed.take_while(|line| !line.trim().is_empty()).filter_map(|line| {
        let name = line.strip_prefix("  ")?.split(' ').next()?;
        (!name.is_empty()).then(|| name.to_owned())
    });
    names.collect()
}

/// The long flags that `--help` lists, and whether a value follows each.
pub fn flags(help: &str) -> BTreeMap<String, bool> {
    let flag = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix('-').filter(|rest| !rest.starts_with('-')).map_or(line, |rest| {
            // A short one before it.
            rest.split_once(", ").map_or("", |(_, long)| long)
        });
        let name = line.strip_prefix("--")?.split([' ', '.', '=']).next()?;
        Some((format!("--{name}"), line.contains('<')))
    };
    help.lines().filter(|line| line.starts_with("  ")).filter_map(flag).collect()
}

#[test]
fn commands_are_found_in_fences_and_spans_and_nowhere_else() {
    let names = BTreeSet::from(["bench".to_owned(), "status".to_owned()]);
    let text = "Run `throng\nup --nodes 4`, or `bench --json`; `status` is a word, and so is throng status.\n\
                ```\ncargo run --release -- bench > a.json\n$ throng watch && echo throng\nheight 3\n\
                cargo run --release --manifest-path x -- --dir DIR\n$ curl http://127.0.0.1:1/health\n\
                perf record -g target/release/throng bench --nodes 1  # sampled\n```\nand `cargo test`.";
    let found: Vec<_> = commands(text, &names).into_iter().collect();
    assert_eq!(
        found,
        [
            "bench",
            "bench --json",
            "bench --nodes 1",
            "curl http://127.0.0.1:1/health",
            "up --nodes 4",
            "watch"
        ]
    );
}

#[test]
fn subcommands_and_flags_are_read_as_they_are_printed() {
    let help = "About\n\nCommands:\n  up    Starts\n  down  Stops\n\nOptions:\n  -v, --verbose...\n          Logs of --nothing\n\n      \
                --rate <N>\n          The rate\n  -h, --help  Print help\n";
    assert_eq!(subcommands(help).into_iter().collect::<Vec<_>>(), ["down", "up"]);
    let flags: Vec<_> = flags(help).into_iter().collect();
    let expected = [("--help", false), ("--rate", true), ("--verbose", false)];
    assert_eq!(flags, expected.map(|(name, value)| (name.to_owned(), value)));
}
