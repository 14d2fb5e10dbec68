//! The command as a person or a script meets it: exit status, standard output, standard error, files.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn throng(flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_throng"))
        .args(flags)
        .output()
        .expect("the binary was built for this test")
}

fn said(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("people read UTF-8")
}

/// The one line on standard error of a command that must refuse its input and leave standard output empty.
fn refusal(flags: &[&str]) -> String {
    let output = throng(flags);
    let (out, err) = (said(&output.stdout), said(&output.stderr));
    assert_eq!(output.status.code(), Some(2), "{flags:?}: {err}");
    assert_eq!(out, "", "{flags:?}");
    assert_eq!(err.lines().count(), 1, "{flags:?}: {err}");
    err.to_owned()
}

#[test]
fn bad_input_is_refused_in_one_line_that_says_what_to_change() {
    let cases: [(&[&str], &str); 74] = [
        (&["bench", "--nodes", "0"], "1 to 1024"),
        (&["bench", "--nodes", "1,0"], "1 to 1024"),
        (&["bench", "--nodes", "2000", "--accounts", "5000"], "1 to 1024"),
        (&["bench", "--nodes", ""], "--nodes"),
        (&["bench", "--nodes", "four"], "--nodes"),
        (&["bench", "--nodes", "4,4"], "4 twice"),
        (&["bench", "--nodes", "8", "--accounts", "7"], "--accounts 7"),
        (&["bench", "--accounts", "1"], "--accounts 1"),
        (&["bench", "--accounts", "99999999999"], "--accounts"),
        (&["bench", "--nodes", "-1"], "number of nodes"),
        (&["bench", "--accounts", "-1"], "whole number"),
        (&["bench", "--duration", "-1s"], "10s"),
        (&["bench", "--rate", "-5"], "not a rate"),
        (&["stress", "--peers", "-1"], "whole number"),
        (&["bench", "--duration", "0s"], "--duration"),
        (&["bench", "--duration", "10"], "10s"),
        (&["bench", "--rate", "0"], "rate"),
        (&["bench", "--rate", "lots"], "max"),
        (&["bench", "--net-threads", "0"], "--net-threads: net_threads is 0, but must lie between 1 and 64"),
        (&["bench", "--net-threads", "65"], "between 1 and 64"),
        (&["bench", "--in-flight", "0"], "--in-flight"),
        (&["bench", "--keep-blocks", "0"], "write all"),
        (&["bench", "--keep-blocks", "-5"], "write all"),
        (&["bench", "--keep-blocks", "few"], "write all"),
        (&["bench", "--payload", "blobs"], "opaque:512"),
        (&["bench", "--payload", "opaque:many"], "opaque:512"),
        (&["bench", "--payload", "opaque:7"], "between 8 and 16384"),
        (&["bench", "--payload", "opaque:16385"], "between 8 and 16384"),
        (&["bench", "--verify", "nobody"], "all, quorum"),
        (&["bench", "--no-such-flag"], "--no-such-flag"),
        (&["bench", "--seed", "1", "--seed", "2"], "--seed"),
        (&["dance"], "dance"),
        (&["stress", "--peers", "0"], "--peers 0"),
        (&["stress", "--kind", "rude"], "all, idle, quiet, half-open, churn"),
        (&["stress", "--peers", "10001"], "between 1 and 10000"),
        (&["stress", "--calm", "0s"], "--calm"),
        (&["stress", "--keys", "x"], "--target"),
        (&["stress", "--target", "127.0.0.1:1"], "--target 127.0.0.1:1: cannot reach a node"),
        (&["stress", "--target", "nowhere.invalid:1"], "--target nowhere.invalid:1"),
        (&["stress", "--target", "127.0.0.1:1", "--genesis", "/nowhere/genesis"], "/nowhere/genesis"),
        (&["stress", "--nodes", "0"], "--nodes 0"),
        (&["stress", "--duration", "0ms"], "--duration"),
        (&["sim", "--nodes", "0"], "--nodes 0"),
        (&["sim", "--nodes", "5000"], "1 and 1024"),
        (&["sim", "--nodes", "99999999"], "1 and 1024"),
        (&["sim", "--seed", "-1"], "whole number"),
        (&["sim", "--seed", "18446744073709551615"], "--seed 18446744073709551615"),
        (&["sim", "--seeds", "5..5"], "0..200"),
        (&["sim", "--seeds", "0..9", "--seed", "1"], "--seed"),
        (&["sim", "--duration", "1ms"], "--duration"),
        (&["sim", "--load", "2000000"], "--load"),
        (&["sim", "--accounts", "3"], "--accounts 3"),
        (&["sim", "--faults", "comet"], "no fault `comet`"),
        (&["sim", "--faults", "none,crash"], "no fault `none`"),
        (&["sim", "--liars", "white"], "no lie `white`"),
        (&["sim", "--regions", "tokyo,atlantis"], "no region `atlantis`"),
        (&["sim", "--bandwidth", "fast"], "100mbit"),
        (&["sim", "--cores", "0"], "--cores"),
        (&["sim", "--verify", "nobody"], "all, quorum"),
        (&["sim", "--plan", "/nowhere/plan.json"], "/nowhere/plan.json"),
        (&["sim", "--plan", "x.json", "--nodes", "4"], "--plan"),
        (&["sim", "--calibration", "/nowhere/costs.json"], "/nowhere/costs.json"),
        (&["sim", "--keep", "/nowhere/at/all"], "/nowhere/at/all"),
        (&["verify"], "DIR"),
        (&["verify", "/nowhere/at/all"], "/nowhere/at/all"),
        (&["verify", "/etc"], "is not a file of the store"),
        (&["verify", "/nowhere", "--from-height", "-1"], "whole number"),
        (&["verify", "/nowhere", "--from-height", "2", "--no-signatures"], "--no-signatures"),
        (&["inspect", "/nowhere/at/all"], "/nowhere/at/all"),
        (&["inspect", "/nowhere", "--height", "1", "--segment", "1"], "--segment"),
        (&["inspect", "/nowhere", "--batch", "xyz"], "hex digits"),
        (&["inspect", "/nowhere", "--account", "5000000000"], "4294967295"),
        (&["export-state", "/nowhere/at/all", "/nowhere/file"], "/nowhere/at/all"),
        (&["export-state", "/nowhere"], "FILE"),
    ];
    for (flags, hint) in cases {
        let line = refusal(flags);
        assert!(line.starts_with("throng: ") && line.contains(hint), "{flags:?}: {line}");
    }
}

#[test]
fn more_than_this_machine_can_carry_is_refused_before_anything_starts() {
    let line = refusal(&["bench", "--nodes", "1024", "--accounts", "16777215"]);
    assert!(line.contains("descriptors") || line.contains("memory"), "{line}");
    let line = refusal(&["bench", "--nodes", "1", "--duration", "24h", "--rate", "1000000"]);
    assert!(line.contains("memory") || line.contains("disk"), "{line}");
}

#[test]
fn a_directory_that_is_not_empty_or_not_one_is_refused_and_left_alone() {
    let outer = tempfile::tempdir().expect("a directory for the test");
    let file = outer.path().join("precious");
    std::fs::write(&file, "kept").expect("written");
    for dir in [outer.path(), &file] {
        let dir = dir.to_str().expect("a path in UTF-8");
        let line = refusal(&["bench", "--nodes", "1", "--dir", dir]);
        assert!(line.contains("--dir") && line.contains(dir), "{line}");
    }
    assert_eq!(std::fs::read_to_string(&file).expect("still there"), "kept");
    assert_eq!(std::fs::read_dir(outer.path()).expect("still there").count(), 1);
}

#[test]
fn help_and_version_are_data_and_succeed() {
    for flags in [&["--help"][..], &["help"], &["bench", "--help"], &["stress", "--help"], &["--version"]] {
        let output = throng(flags);
        assert_eq!(output.status.code(), Some(0), "{flags:?}");
        assert!(said(&output.stdout).contains("throng") && output.stderr.is_empty(), "{flags:?}");
    }
    assert!(said(&throng(&["--help"]).stdout).contains("Exit status"));
}

#[test]
fn a_short_bench_settles_agrees_and_prints_one_document_and_nothing_else() {
    let outer = tempfile::tempdir().expect("a directory for the test");
    let dir = outer.path().join("kept");
    let dir = dir.to_str().expect("a path in UTF-8");
    let flags = ["bench", "--nodes", "1,4", "--duration", "1s", "--warmup", "500ms", "--accounts", "200"];
    let output = throng(&[&flags[..], &["--rate", "400", "--seed", "7", "--json", "--dir", dir]].concat());
    let err = said(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{err}");
    let document: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(document["schema"], 1);
    assert_eq!(document["engine"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(document["config"]["seed"], 7);
    assert_eq!(document["config"]["verify"], "quorum");
    assert_eq!(document["interrupted"], false);
    let runs = document["runs"].as_array().expect("runs");
    assert_eq!(runs.iter().map(|run| run["nodes"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(4)]);
    for run in runs {
        assert_eq!(run["verdict"], "agreed", "{run}");
        assert_eq!(run["reason"], Value::Null, "{run}");
        for figure in ["tps", "offered_tps", "sent_tps", "accepted_tps", "window_s"] {
            assert!(run[figure].as_f64().is_some_and(|figure| figure > 0.0), "{figure}: {run}");
        }
        for percentile in ["p50", "p90", "p99", "p999", "max"] {
            assert!(run["latency_ms"][percentile].as_f64().is_some_and(|ms| ms > 0.0), "{percentile}: {run}");
        }
        for stage in ["total", "verify", "execute", "consensus", "net", "store"] {
            assert!(run["cpu_us_per_tx"][stage].as_f64().is_some_and(|cpu| cpu > 0.0), "{stage}: {run}");
        }
        for bytes in ["sent", "stored"] {
            assert!(run["bytes_per_tx"][bytes].as_f64().is_some_and(|bytes| bytes > 0.0), "{bytes}: {run}");
        }
        assert!(run["blocks"].as_u64() <= run["height"].as_u64(), "{run}");
        assert_eq!(run["state_root"].as_str().map(str::len), Some(64), "{run}");
        assert_eq!(run["failed_rows"], 0, "{run}");
        assert_eq!(run["checks_per_tx"], if run["nodes"] == 1 { 1 } else { 2 });
    }
    // The kept directory holds every node's files and the same document.
    let kept = std::fs::read(outer.path().join("kept/results.json")).expect("results are kept");
    assert_eq!(serde_json::from_slice::<Value>(&kept).expect("the same document"), document);
    for node in ["n1/node-0", "n4/node-0", "n4/node-3"] {
        assert!(outer.path().join("kept").join(node).is_dir(), "{node}");
    }
    // A second run into the same directory would overwrite it: refused.
    let line = refusal(&["bench", "--nodes", "1", "--dir", dir]);
    assert!(line.contains("not empty"), "{line}");
    for (run, node) in runs.iter().zip(["n1/node-0", "n4/node-3"]) {
        a_kept_directory_is_checked_and_shown(&outer.path().join("kept").join(node), run);
    }
    let line = refusal(&["verify", dir]);
    assert!(line.contains("n1/node-0"), "{line}");
}

/// What `verify`, `inspect` and `export-state` say of a node's directory that a run has left.
fn a_kept_directory_is_checked_and_shown(path: &Path, run: &Value) {
    let dir = path.to_str().expect("a path in UTF-8");
    let json = |flags: &[&str]| -> Value {
        let output = throng(&[flags, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{flags:?}: {}", said(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("one JSON document")
    };
    let words = |flags: &[&str]| -> String {
        let output = throng(flags);
        assert_eq!(output.status.code(), Some(0), "{flags:?}: {}", said(&output.stderr));
        said(&output.stdout).to_owned()
    };
    let verified = json(&["verify", dir]);
    assert_eq!((&verified["verdict"], &verified["fault"]), (&"good".into(), &Value::Null));
    let report = &verified["report"];
    assert!(report["height"].as_u64() >= run["height"].as_u64(), "{report}");
    assert_eq!(report["root"], run["state_root"]);
    assert_eq!(report["signatures"]["transactions"], report["transactions"]);
    let unsigned = json(&["verify", dir, "--no-signatures"]);
    assert_eq!(unsigned["report"]["root"], report["root"]);
    assert_eq!(unsigned["report"]["signatures"]["transactions"], 0);
    let root = report["root"].as_str().expect("a root");
    let told = words(&["verify", dir, "--from-height", "5"]);
    assert!(told.contains(root) && told.contains("good"), "{told}");
    assert!(refusal(&["verify", dir, "--from-height", "99999999"]).contains("ends at height"));

    let tip = report["height"].to_string();
    assert!(words(&["inspect", dir]).contains(report["chain"].as_str().expect("a chain")));
    assert!(words(&["inspect", dir, "--height", &tip]).contains(report["hash"].as_str().expect("a hash")));
    let settled = (1..).map(|height: u64| json(&["inspect", dir, "--height", &height.to_string()]));
    let settled =
        settled.map(|block| block["settled"].clone()).find(|all| all[0].is_object()).expect("a batch");
    let id = settled[0]["id"].as_str().expect("an id");
    assert!(words(&["inspect", dir, "--batch", id]).contains(id));
    let batch = json(&["inspect", dir, "--batch", &id[..12]]);
    let digest = batch["transactions"][0]["digest"].as_str().expect("a digest");
    assert!(words(&["inspect", dir, "--tx", digest]).contains(id));
    let account = json(&["inspect", dir, "--account", "7"]);
    assert_eq!((&account["account"], &account["root"]), (&7.into(), &report["root"]));
    assert!(words(&["inspect", dir, "--segment", "1"]).contains("segment-000001.blk"));
    assert!(refusal(&["inspect", dir, "--account", "4000000"]).contains("no account 4000000"));

    let file = path.with_extension("accounts");
    let file = file.to_str().expect("a path in UTF-8");
    assert!(words(&["export-state", dir, file]).starts_with(root));
    assert_eq!(blake3::hash(&std::fs::read(file).expect("written")).to_string(), root);
    assert!(refusal(&["export-state", dir, file]).contains("exists"));

    // One bit of a record that settled long ago: the same in words and as data, and the status follows.
    let segment = path.join("segment-000001.blk");
    let mut bytes = std::fs::read(&segment).expect("readable");
    bytes[5000] ^= 4;
    std::fs::write(&segment, &bytes).expect("written");
    let output = throng(&["verify", dir, "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    let fault = &document["fault"];
    assert_eq!(fault["file"].as_str(), segment.to_str(), "{fault}");
    assert!(fault["offset"].as_u64().is_some_and(|offset| (4096..=5000).contains(&offset)), "{fault}");
    let output = throng(&["verify", dir]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output.stdout).contains(&format!("offset {}", fault["offset"])),
        "{}",
        said(&output.stdout)
    );
    assert_eq!(throng(&["export-state", dir, "/nowhere/file"]).status.code(), Some(1));
}

#[test]
fn a_bench_of_blobs_settles_them_and_says_that_nothing_was_executed() {
    let flags =
        ["bench", "--payload", "opaque:100", "--nodes", "4", "--duration", "500ms", "--warmup", "300ms"];
    let output = throng(&[&flags[..], &["--rate", "3000", "--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(document["config"]["payload"], "opaque:100");
    assert_eq!(document["config"]["executed"], false);
    let run = &document["runs"][0];
    assert_eq!((&run["verdict"], &run["checks_per_tx"]), (&"agreed".into(), &0.into()), "{run}");
    assert!(run["tps"].as_f64().is_some_and(|tps| tps > 0.0), "{run}");
    assert!(run["payload_mb_per_s"].as_f64().is_some_and(|mb| mb > 0.0), "{run}");
    assert!(run["latency_ms"]["count"].as_u64().is_some_and(|count| count > 0), "{run}");
    assert!(run["bytes_per_tx"]["stored"].as_f64().is_some_and(|bytes| bytes >= 100.0), "{run}");

    let output = throng(&[&flags[..], &["--rate", "3000"]].concat());
    let table = said(&output.stdout);
    assert!(table.contains("ordered, not executed") && table.contains("MB/s"), "{table}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_run_cleanly_with_the_figures_so_far() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::Stdio;
    let mut child = Command::new(env!("CARGO_BIN_EXE_throng"))
        .args(["bench", "--nodes", "2,1", "--duration", "10m", "--warmup", "200ms", "--accounts", "100"])
        .args(["--rate", "50", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built for this test");
    let mut err = BufReader::new(child.stderr.take().expect("piped")).lines();
    let measuring = err.by_ref().map_while(Result::ok).any(|line| line.contains("measuring"));
    assert!(measuring, "it never began to measure");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("signalled");
    let mut out = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut out).expect("readable");
    let rest: Vec<_> = err.map_while(Result::ok).collect();
    let status = child.wait().expect("it ended");
    let document: Value = serde_json::from_str(&out).expect("one JSON document");
    assert_eq!(document["interrupted"], true, "{rest:?}");
    let runs = document["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 1, "the run that was under way, and none after it");
    assert_eq!(runs[0]["interrupted"], true);
    assert_eq!(status.code(), Some(130), "{document}");
}

#[test]
fn a_filter_for_logs_stands_by_itself_and_one_that_is_none_is_refused() {
    let bench = |filter: &str, flags: &[&str]| {
        let words = ["bench", "--nodes", "1", "--duration", "200ms", "--warmup", "100ms", "--accounts", "20"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_throng"));
        command
            .args(words)
            .args(flags)
            .env("THRONG_LOG", filter)
            .output()
            .expect("it was built for this test")
    };
    let logs = |output: Output| {
        let err = said(&output.stderr).to_owned();
        // So short a run may come to nothing on a busy machine.
        assert_ne!(output.status.code(), Some(2), "{err}");
        err.lines().filter(|line| ["INFO", "DEBUG", "TRACE"].iter().any(|level| line.contains(level))).count()
    };
    assert!(logs(bench("throng=trace", &[])) > 0, "without -v");
    assert!(logs(bench("", &["-v"])) > 0, "nothing is no filter");
    assert_eq!(logs(bench("off", &["-v"])), 0, "it stands above -v");
    let refused = bench("throng=loud", &[]);
    let err = said(&refused.stderr);
    assert_eq!((refused.status.code(), err.lines().count()), (Some(2), 1), "{err}");
    assert!(err.contains("THRONG_LOG is `throng=loud`, which is no filter"), "{err}");
}

#[test]
fn a_run_that_fails_is_made_smaller_kept_and_repeated_by_one_line() {
    let dir = tempfile::tempdir().expect("a directory for the test");
    let keep = dir.path().to_str().expect("a path in UTF-8");
    // Nothing but the odd frame gets through: no batch in the time that there is.
    let flags = ["sim", "--duration", "1s", "--accounts", "20", "--load", "1000", "--bandwidth", "2kbit"];
    let output = throng(&[&flags[..], &["--faults", "crash,skew", "--keep", keep]].concat());
    let (out, err) = (said(&output.stdout), said(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{out} {err}");
    assert!(out.contains("no progress: ") && out.contains("after the faults; node 0"), "{out}");
    assert_eq!(err.lines().count(), 1, "{err}");
    let trace = |text: &str| text.split("Trace ").nth(1).map(|rest| rest[..64].to_owned()).expect("a trace");
    // The flags give the same run again, in another folder, and so do not overwrite what was kept.
    let (_, all) = err.trim().split_once("repeat all: throng ").expect("how to repeat all");
    let other = tempfile::tempdir().expect("a directory for the test");
    let other = other.path().to_str().expect("a path in UTF-8");
    let again = throng(&[&all.split(' ').collect::<Vec<_>>()[..], &["--keep", other]].concat());
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(trace(said(&again.stdout)), trace(out));
    // The plan has no faults any more: it fails without them.
    let plan = dir.path().join("sim-plan-n4-seed1.json");
    let text = std::fs::read_to_string(&plan).expect("the plan is kept");
    assert!(text.contains("\"faults\": []") && err.contains(" 0 of "), "{err} {text}");
    let plan = plan.to_str().expect("a path in UTF-8");
    let again = throng(&["sim", "--plan", plan, "--keep", other]);
    assert_eq!(again.status.code(), Some(1), "{}", said(&again.stdout));
    assert!(said(&again.stderr).contains("repeat it: throng sim --plan"), "{}", said(&again.stderr));
}

/// Writes a plan of a short world to a file and returns its text.
fn written_plan(path: &str) -> String {
    let output =
        throng(&["sim", "--duration", "1s", "--accounts", "20", "--faults", "crash", "--write-plan", path]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output.stderr));
    std::fs::read_to_string(path).expect("the plan was written")
}

#[test]
fn a_malformed_or_impossible_plan_is_refused_with_its_file() {
    let dir = tempfile::tempdir().expect("a directory for the test");
    let path = dir.path().join("plan.json");
    let path = path.to_str().expect("a path in UTF-8");
    let good = written_plan(path);
    let mut cases = vec![
        (String::new(), "EOF"),
        ("[]".to_owned(), "plan.json"),
        (good.replacen("\"version\": 1", "\"version\": 2", 1), "version 2"),
        (good.replacen("\"nodes\": 4", "\"nodes\": 0", 1), "--nodes 0"),
        (good.replacen("\"seed\"", "\"sead\"", 1), "sead"),
        (good.replace("\"crash\"", "\"comet\""), "comet"),
    ];
    let crash = |node: u32| {
        let what = format!(
            "{{\"kind\": \"crash\", \"node\": {node}, \"while_syncing\": false, \"tail\": \"torn\"}}"
        );
        format!("\"faults\": [{{\"at_us\": 1, \"for_us\": 1, \"what\": {what}}}]")
    };
    let start = good.find("\"faults\"").expect("a plan has faults");
    cases.push((format!("{}{}}}", &good[..start], crash(9)), "there is no node 9"));
    // A file without an end.
    #[cfg(target_os = "linux")]
    assert!(refusal(&["sim", "--plan", "/dev/zero"]).contains("longer than"));
    for (text, hint) in cases {
        std::fs::write(path, text).expect("written");
        let line = refusal(&["sim", "--plan", path]);
        assert!(line.contains(path) && line.contains(hint), "{hint}: {line}");
    }
    std::fs::write(path, format!("{}{}}}", &good[..start], crash(2))).expect("written");
    assert_eq!(throng(&["sim", "--plan", path]).status.code(), Some(0));
}

#[test]
fn a_world_prints_its_nodes_and_verdict_and_repeats_in_another_process() {
    let flags =
        ["sim", "--nodes", "4", "--seed", "7", "--duration", "2s", "--accounts", "50", "--faults", "all"];
    let output = throng(&flags);
    let out = said(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{out} {}", said(&output.stderr));
    for words in ["node", "height", "n=4 seed 7: agreed", "Trace ", "three message delays"] {
        assert!(out.contains(words), "{words}: {out}");
    }
    let run = || {
        let output = throng(&[&flags[..], &["--json"]].concat());
        let document: Value = serde_json::from_str(said(&output.stdout)).expect("one JSON document");
        document["runs"][0].clone()
    };
    let (first, again) = (run(), run());
    assert_eq!(first, again);
    assert_eq!(first["verdict"], "agreed");
    assert!(out.contains(first["trace_hash"].as_str().expect("a hash")), "{out}");
    let many = throng(&["sim", "--nodes", "1", "--seeds", "0..3", "--duration", "500ms", "--json"]);
    let document: Value = serde_json::from_str(said(&many.stdout)).expect("one JSON document");
    assert_eq!(document["runs"].as_array().map(Vec::len), Some(3));
}
