//! Each kind of hostile peer against a chain of processes, in short: all nodes agree, every bound but those of a clock is kept,
//! and the nodes' own counters show the kind for what it is, so that an attack that does nothing fails.
//!
//! Nothing here depends on how fast the machine is: throughput, latency and CPU time are what `throng stress` itself judges.
#![cfg(target_os = "linux")] // each peer has an address of its own, and processes are looked for in /proc

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// The bounds of a clock, which a busy machine need not keep.
const TIMED: [&str; 4] = [
    "node CPU per transaction, during / before",
    "throughput, during / before",
    "p99 during",
    "full speed after they left",
];

fn stress(kind: &str, peers: &str, duration: &str) -> Value {
    let flags = [
        "stress",
        "--nodes",
        "4",
        "--peers",
        peers,
        "--kind",
        kind,
        "--duration",
        duration,
        "--calm",
        "1s",
        "--json",
    ];
    let output =
        Command::new(env!("CARGO_BIN_EXE_throng")).args(flags).output().expect("it was built for this test");
    let document: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(document["verdict"], "agreed", "{document:#}");
    let bounds = document["bounds"].as_array().expect("bounds");
    assert!(bounds.len() > TIMED.len(), "{document:#}");
    for bound in bounds.iter().filter(|bound| !TIMED.contains(&bound["what"].as_str().expect("a name"))) {
        // A mixed run as short as this is none for kinds that wait for a deadline, and says so by their names.
        let unknown = kind == "all" && bound["what"] == "kinds that were not there for long enough";
        assert_eq!(bound["kept"], if unknown { Value::Null } else { true.into() }, "{bound:#} {document:#}");
    }
    let unknown = bounds.iter().filter(|bound| bound["kept"].is_null());
    let words: Vec<&Value> = document["not_judged"].as_array().expect("words").iter().collect();
    assert_eq!(words.len(), unknown.count(), "{document:#}");
    for what in TIMED {
        assert!(bounds.iter().any(|bound| bound["what"] == what), "{what}");
    }
    document
}

/// What the nodes counted while they were there, by the path to it.
fn counted(document: &Value, path: &[&str]) -> u64 {
    let saw = &document["parts"][1]["seen"]["counted"];
    path.iter().fold(saw, |value, name| &value[name]).as_u64().unwrap_or(0)
}

fn theirs(document: &Value, name: &str) -> u64 {
    document["hostile"][0][name].as_u64().unwrap_or_else(|| panic!("{name}: {document:#}"))
}

#[test]
fn who_says_nothing_is_dropped_when_the_time_is_up() {
    for kind in ["idle", "half-open"] {
        let document = stress(kind, "16", "7s");
        assert!(counted(&document, &["dismissed", "silent"]) >= 8, "{document:#}");
        assert!(theirs(&document, "ended") >= 8, "{document:#}");
    }
}

#[test]
fn who_holds_back_a_handshake_or_writes_byte_by_byte_is_dropped_when_the_time_is_up() {
    for kind in ["slow-handshake", "slow-write"] {
        let document = stress(kind, "16", "7s");
        assert!(counted(&document, &["dismissed", "silent"]) >= 4, "{document:#}");
    }
}

#[test]
fn who_reads_nothing_is_dropped() {
    let document = stress("slow-read", "8", "14s");
    assert!(counted(&document, &["dismissed", "slow"]) >= 4, "{document:#}");
    assert_eq!(theirs(&document, "answers"), 0);
}

#[test]
fn who_does_nothing_wrong_stays() {
    let document = stress("quiet", "16", "2s");
    assert_eq!((theirs(&document, "held"), theirs(&document, "ended")), (16, 0), "{document:#}");
    assert_eq!(document["parts"][1]["seen"]["counted"]["dismissed"], serde_json::json!({}));
}

#[test]
fn who_comes_and_goes_leaves_nothing_behind() {
    let document = stress("churn", "16", "2s");
    assert!(counted(&document, &["accepted"]) > 100, "{document:#}");
    assert_eq!(counted(&document, &["refused_rows", "malformed"]), 0);
}

#[test]
fn garbage_oversize_lengths_and_malformed_frames_are_told_apart() {
    let document = stress("garbage", "16", "2s");
    assert!(counted(&document, &["dismissed", "foreign"]) >= 8, "{document:#}");
    let document = stress("oversize", "16", "2s");
    assert!(counted(&document, &["dismissed", "oversize"]) >= 16, "{document:#}");
    let document = stress("malformed", "16", "2s");
    assert!(counted(&document, &["dismissed", "malformed"]) >= 4, "{document:#}");
    // Whoever goes on like that is refused before a byte is read.
    assert!(
        counted(&document, &["dismissed", "refused"]) + theirs(&document, "connected") > 16,
        "{document:#}"
    );
}

#[test]
fn a_thousand_identities_from_one_address_find_room_for_few() {
    let document = stress("identities", "1000", "3s");
    assert!(theirs(&document, "held") <= 4 * (16 + 256), "{document:#}");
    let refused = ["full", "rate", "refused"].map(|reason| counted(&document, &["dismissed", reason]));
    assert!(refused.iter().sum::<u64>() >= 500, "{document:#}");
}

#[test]
fn a_flood_of_requests_waits_its_turn() {
    let document = stress("flood", "32", "2s");
    assert!(counted(&document, &["throttled"]) > 100, "{document:#}");
    assert!(theirs(&document, "answers") > 100, "it is answered all the same: {document:#}");
    assert!(theirs(&document, "requests") > 2 * theirs(&document, "answers"), "{document:#}");
}

#[test]
fn duplicates_forged_rows_and_gaps_are_refused_for_what_they_are() {
    let document = stress("duplicate", "16", "2s");
    assert!(counted(&document, &["refused_rows", "duplicate"]) > 100, "{document:#}");
    assert!(theirs(&document, "admitted") * 8 < theirs(&document, "rows"), "{document:#}");
    let document = stress("forged", "16", "3s");
    assert!(counted(&document, &["refused_rows", "bad_signature"]) >= 8, "{document:#}");
    assert_eq!(theirs(&document, "admitted"), 0);
    let document = stress("nonce-gap", "16", "2s");
    assert!(counted(&document, &["refused_rows", "bad_nonce"]) > 100, "{document:#}");
    assert_eq!(theirs(&document, "admitted"), 0);
}

#[test]
fn all_kinds_come_together() {
    let document = stress("all", "120", "3s");
    let kinds: Vec<&str> = document["hostile"]
        .as_array()
        .expect("kinds")
        .iter()
        .map(|kind| kind["kind"].as_str().expect("a name"))
        .collect();
    assert_eq!(kinds.len(), 15, "{kinds:?}");
    assert!(
        document["hostile"]
            .as_array()
            .expect("kinds")
            .iter()
            .all(|kind| kind["connected"].as_u64() >= Some(8)),
        "{document:#}"
    );
    let unknown = document["not_judged"].to_string();
    assert!(
        unknown.contains("idle, half-open, slow-handshake, slow-read, slow-write show later"),
        "{unknown}"
    );
    let cpu = &document["parts"][1]["cpu_us_per_tx"];
    assert!(["node", "load", "hostile"].iter().all(|whose| cpu[whose].as_f64() > Some(0.0)), "{cpu}");
}

/// A chain that somebody else runs, ended with the test.
struct Chain(Child);

impl Drop for Chain {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn nodes_that_run_already_are_troubled_too_and_what_they_do_not_tell_is_unknown() {
    let dir = tempfile::tempdir().expect("a directory for the test");
    let home = dir.path().join("chain");
    let path = |name: &str| home.join(name).to_str().expect("text").to_owned();
    let mut child = Command::new(env!("CARGO_BIN_EXE_throng"))
        .args(["up", "--nodes", "4", "--dir", home.to_str().expect("text")])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it was built for this test");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let _chain = Chain(child);
    let up: Vec<String> = lines.by_ref().take_while(|line| !line.contains("Ctrl-C")).collect();
    let address = |line: &String, whose: &str| {
        let rest = line.split_once(&format!("{whose} "))?.1;
        rest.split([',', ' ']).next().map(str::to_owned)
    };
    let nodes: Vec<&String> = up.iter().filter(|line| line.starts_with("node ")).collect();
    let all = |whose: &str| nodes.iter().filter_map(|line| address(line, whose)).collect::<Vec<_>>();
    let (clients, peers) = (all("clients"), all("peers"));
    assert_eq!((clients.len(), peers.len()), (4, 4), "{up:?}");

    let run_for = |[duration, calm]: [&str; 2], more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_throng"));
        command.args(["stress", "--peers", "60", "--duration", duration, "--calm", calm, "--json"]);
        command.arg("--target").args(more).output().expect("it was built for this test")
    };
    let run = |more: &[&str]| run_for(["2s", "1s"], more);
    let both = [clients.clone(), peers.clone()].concat().join(",");
    let (genesis, keys) = (path("genesis"), path("accounts.toml"));
    let output = run(&[&both, "--genesis", &genesis, "--keys", &keys, "--rate", "200"]);
    let document: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(document["verdict"], "agreed", "{document:#}");
    assert_eq!(document["config"]["kinds"].as_array().map(Vec::len), Some(15), "{document:#}");
    let unknown = document["not_judged"].to_string();
    assert!(unknown.contains("memory of a node: unknown (not told over the client port)"), "{unknown}");
    let bounds = document["bounds"].as_array().expect("bounds");
    let came = bounds.iter().find(|bound| bound["what"] == "hostile peers that never came").expect("judged");
    assert_eq!(came["kept"], true, "{came:#}");
    for part in document["parts"].as_array().expect("parts") {
        assert!(part["memory_bytes"].is_null() && part["descriptors"].is_null() && part["p99_ms"].is_null());
        assert!(part["cpu_us_per_tx"]["node"].is_null(), "{part:#}");
        let told = part["seen"]["told"].as_array().expect("what each says");
        assert!(told.len() == 4 && told.iter().all(|node| node["height"].as_u64() > Some(0)), "{part:#}");
        assert!(part["tps"].as_f64() > Some(0.0), "the load settles: {part:#}");
    }

    let refused_for = |spans: [&str; 2], more: &[&str], says: &str| {
        let output = run_for(spans, more);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{complaint}");
        assert!(complaint.contains(says) && complaint.trim_end().lines().count() == 1, "{complaint}");
    };
    let refused = |more: &[&str], says: &str| refused_for(["2s", "1s"], more, says);
    refused_for(["50ms", "1s"], &[&clients[0]], "--duration must be at least 100ms");
    refused_for(["2s", "0s"], &[&clients[0]], "--calm must be at least 100ms");
    refused(&[&clients[0], "--keys", &keys, "--rate", "9000000000000"], "lower --rate");
    refused(&[&clients[0], "--kind", "malformed"], "--kind malformed needs the address of a node for peers");
    refused(&[&both, "--kind", "malformed"], "--kind malformed needs the chain's genesis");
    refused(&[&both, "--kind", "duplicate"], "--kind duplicate needs keys");
    refused(&[&peers[0]], "the address for clients");
}
