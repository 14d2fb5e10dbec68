//! What the documents and `--help` promise, held against the program: every command that the README names is run as it stands
//! there, and no command and no flag is without a test that uses it.
#![allow(clippy::disallowed_methods, reason = "processes are waited for by the real clock")]

#[path = "../common/command.rs"]
mod command;
#[path = "../http/wire.rs"]
mod wire;

mod chains;
mod runner;
mod table;
mod text;

use command::{Running, good};
use runner::{Runner, read};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use table::{BESIDES, ELSEWHERE, Group, Row, SHORTENED, TABLE};

/// Documents whose commands are run here. Those that deploy have a test of their own.
const DOCUMENTS: [&str; 2] = ["README.md", "perf/README.md"];
/// Flags that every command has.
const GENERAL: [&str; 2] = ["--help", "--verbose"];

fn names() -> BTreeSet<String> {
    let mut names = text::subcommands(&good(&["--help"]));
    assert!(names.remove("help") && names.len() > 10, "{names:?}");
    names
}

fn help_of(name: &str) -> String {
    good(&[name, "--help"])
}

#[test]
fn every_documented_command_is_exercised_and_no_other_is_said_to_be() {
    let names = names();
    let mut documented = BTreeSet::new();
    for path in DOCUMENTS {
        documented.extend(text::commands(&read(path), &names));
    }
    for help in names.iter().map(|name| help_of(name)).chain([good(&["--help"])]) {
        documented.extend(text::commands(&help, &names));
    }
    // A name with nothing behind it says of what is spoken.
    documented.retain(|command| !names.contains(command) || TABLE.iter().any(|row| row.command == *command));
    let exercised: BTreeSet<String> = TABLE.iter().map(|row| row.command.to_owned()).collect();
    assert_eq!(exercised.len(), TABLE.len(), "a row stands twice");
    let missing: Vec<_> = documented.difference(&exercised).collect();
    assert!(missing.is_empty(), "documented, but not in the table: {missing:#?}");
    let stale: Vec<_> = exercised.difference(&documented).collect();
    assert!(stale.is_empty(), "in the table, but documented nowhere: {stale:#?}");
}

#[test]
fn only_what_says_how_much_and_how_long_is_shortened() {
    for row in TABLE.iter().chain(BESIDES) {
        let words: Vec<&str> = row.command.split(' ').collect();
        for (from, _) in row.shorter {
            let places = words.windows(2).filter(|pair| pair[1] == *from);
            let flags: Vec<&str> = places.map(|pair| pair[0]).collect();
            assert!(!flags.is_empty(), "{}: no {from}", row.command);
            assert!(flags.iter().all(|flag| SHORTENED.contains(flag)), "{}: {from}", row.command);
        }
    }
}

#[test]
fn a_flag_that_the_documents_speak_of_exists() {
    let mut flags: BTreeSet<String> =
        names().iter().flat_map(|name| text::flags(&help_of(name)).into_keys()).collect();
    // Those of other programs.
    flags.extend(["--release", "--manifest-path", "--nocapture", "--bench"].map(str::to_owned));
    for path in DOCUMENTS {
        for span in text::spans_of(&read(path)).iter().filter(|span| span.starts_with("--")) {
            for flag in span.split(' ').filter(|word| word.starts_with("--")) {
                assert!(flags.contains(flag), "{path} speaks of {flag}, which no command has");
            }
        }
    }
}

/// What the rows use: command and flag.
fn used() -> BTreeSet<(String, String)> {
    let of = |row: &Row| {
        let words: Vec<String> =
            format!("{} {}", row.command, row.more).split(' ').map(str::to_owned).collect();
        let flags = words.iter().filter(|word| word.starts_with("--"));
        flags.map(|flag| (words[0].clone(), flag.clone())).collect::<Vec<_>>()
    };
    TABLE.iter().chain(BESIDES).flat_map(of).collect()
}

#[test]
fn every_command_and_every_flag_of_the_help_is_exercised() {
    let names = names();
    let mut exercised = used();
    for (command, flags, path, function) in ELSEWHERE {
        let body = runner::body(&read(path), function);
        for flag in *flags {
            assert!(body.contains(&format!("\"{flag}\"")), "{path}: {function} does not use {flag}");
            let new = exercised.insert(((*command).to_owned(), (*flag).to_owned()));
            assert!(new, "{command} {flag} is exercised here already: take it off the list of others");
        }
    }
    exercised.extend(chains::NODE_FLAGS.iter().map(|(flag, ..)| ("node".to_owned(), (*flag).to_owned())));
    let mut all = BTreeSet::new();
    for name in &names {
        let flags = text::flags(&help_of(name));
        assert!(flags.contains_key("--help"), "{name}");
        let own = flags.into_keys().filter(|flag| !GENERAL.contains(&flag.as_str()));
        all.extend(own.map(|flag| (name.clone(), flag)));
        let run = TABLE.iter().chain(BESIDES).any(|row| row.command.split(' ').next() == Some(name));
        let elsewhere = ELSEWHERE.iter().any(|(command, ..)| command == name);
        assert!(run || elsewhere, "nothing runs {name}");
    }
    let missing: Vec<_> = all.difference(&exercised).collect();
    assert!(missing.is_empty(), "no test uses {missing:#?}");
    exercised.retain(|(_, flag)| !GENERAL.contains(&flag.as_str()));
    let unknown: Vec<_> = exercised.difference(&all).collect();
    assert!(unknown.is_empty(), "there is no {unknown:#?}");
    assert!(used().iter().any(|(_, flag)| flag == "--verbose"), "the general one");
    assert!(good(&["--version"]).starts_with("throng "));
}

#[test]
fn runs_on_this_machine_and_the_directories_that_they_leave() {
    let mut runner = Runner::new(Group::Bench);
    runner.run_until("node --config DIR/n4/node-0.toml");
    let node = runner.start("node --config DIR/n4/node-0.toml", "clients");
    let (status, rest) = node.end(Signal::INT);
    assert!(status == Some(0) && rest.contains("stopped at height "), "{status:?}: {rest}");
    runner.run_rest();
    // The account table as it was exported has the root that the check printed.
    let table = std::fs::read(runner.path("accounts")).expect("written");
    let said = runner.said("verify DIR/n4/node-0");
    assert!(said.contains(&blake3::hash(&table).to_string()), "{said}");
}

#[test]
fn hostile_peers_and_virtual_worlds() {
    let mut runner = Runner::new(Group::Trouble);
    std::fs::write(runner.path("costs.json"), read("src/sim/calibration.json")).expect("written");
    runner.run_rest();
}

#[test]
fn a_chain_that_is_up_is_talked_to_as_the_readme_says() {
    let mut runner = Runner::new(Group::Up);
    let port = runner::ports_in_a_row(8);
    runner.place("port", port.to_string());
    runner.place("node", format!("127.0.0.1:{}", port + 1));
    let up = runner.start("up --nodes 4 --dir /tmp/chain", "Ctrl-C stops all");
    let first = up.said.lines().find(|line| line.starts_with("node 0: ")).expect("a line for each node");
    let http = first.split("http://").nth(1).expect("its HTTP address");
    runner.place("http", http.to_owned());
    // What it says to try is what works.
    for line in up
        .said
        .lines()
        .skip_while(|line| *line != "try:")
        .skip(1)
        .filter_map(|line| line.strip_prefix("  throng "))
    {
        let name = line.split(' ').next().expect("a command");
        let known = TABLE.iter().any(|row| row.group == Group::Up && row.command.starts_with(name));
        assert!(known && line.contains(&format!("--node 127.0.0.1:{}", port + 1)), "{line}");
    }
    runner.until_healthy();
    let again = "up --dir";
    runner.run_until(again);
    let ended = |up: Running| {
        let (status, rest) = up.end(Signal::INT);
        assert!(status == Some(0) && rest.contains("node 3 stopped at height"), "{status:?}: {rest}");
    };
    ended(up);
    // With the same directory it goes on.
    let up = runner.start(again, "Ctrl-C stops all");
    let node = format!("127.0.0.1:{}", port + 1);
    assert!(good(&["account", "2", "--node", &node]).contains("1,000,000,005"));
    ended(up);
    runner.run_rest();
}

#[test]
fn four_processes_with_keys_of_their_own_and_who_follows_them() {
    chains::of_machines();
}

#[test]
fn every_key_of_a_nodes_configuration_is_a_flag_and_holds() {
    chains::of_flags();
}

#[test]
fn what_the_table_says_is_printed_stands_in_the_documents_where_they_show_it() {
    // Words of an output that a document shows must stand there as they are printed.
    let shown: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("verify DIR/n4/node-0", &["good: nothing in this directory contradicts its genesis"][..]),
        (
            "bench",
            &[
                "Faulty nodes tolerated, signature checks per transaction in the whole chain: n=1 0, 1, n=2 0, 1",
            ],
        ),
        (
            "sim --nodes 4 --seeds 0..20 --faults all --duration 30s",
            &["longest time from the last fault to something new settled"],
        ),
        (
            "stress --peers 2000",
            &["hostile peers against 4 nodes under a load of", "full speed after they left"],
        ),
        ("account 2 --prove --genesis /tmp/chain/genesis", &["balance 1,000,000,005", "proven at height "]),
        ("curl http://127.0.0.1:28100/v1/account/2", &["\"nonce\":0,\"nonce_window\":\"0000000000000001\"}"]),
    ]);
    let readme = runner::flat(&read("README.md"));
    for (command, words) in shown {
        let row = TABLE.iter().find(|row| row.command == command).expect("a row");
        for words in words {
            assert!(row.says.contains(words), "{command} is not held to print {words}");
            assert!(readme.contains(&runner::flat(words)), "the README does not show {words}");
        }
    }
}
