//! Chains whose nodes are processes of their own: the same figures as in one process, and nothing left behind, however a
//! node or the bench itself ends.
#![cfg(target_os = "linux")] // processes are looked for in /proc

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Lines, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};
use throng::lab::Interrupt;
use throng::lab::session::{Session, SessionConfig};
use throng::lab::workload::Wallet;
use throng::net::ShapeConfig;
use throng::node::NodeConfig;
use throng::types::Policy;

/// How long processes may take to end.
const GONE_MAX: Duration = Duration::from_secs(30);

/// The processes whose command line names this folder.
fn processes(folder: &Path) -> Vec<Pid> {
    let folder = folder.to_str().expect("a path in UTF-8");
    let entries = fs::read_dir("/proc").expect("there is /proc").flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let names = |id: &i32| {
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(folder)
    };
    ids.filter(names).filter_map(Pid::from_raw).collect()
}

/// Waits until it holds; looks again every now and then, for processes and folders send no events here.
#[allow(clippy::disallowed_methods, reason = "processes take real time")]
fn until(what: &str, holds: impl Fn() -> bool) {
    let (pause, start) = (crossbeam::channel::never::<()>(), Instant::now());
    while !holds() {
        assert!(start.elapsed() < GONE_MAX, "{what}");
        let _ = pause.recv_timeout(Duration::from_millis(20));
    }
}

/// A bench with processes that measures until it is told otherwise, with its passing data in `folder`.
struct Bench {
    child: Child,
    err: Lines<BufReader<ChildStderr>>,
}

impl Bench {
    fn start(folder: &Path, nodes: &str) -> Bench {
        let mut child = Command::new(env!("CARGO_BIN_EXE_throng"))
            .args(["bench", "--processes", "--nodes", nodes, "--duration", "10m", "--warmup", "200ms"])
            .args(["--accounts", "100", "--rate", "50", "--json"])
            .env("TMPDIR", folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary was built for this test");
        let mut err = BufReader::new(child.stderr.take().expect("piped")).lines();
        let measuring = err.by_ref().map_while(Result::ok).any(|line| line.contains("measuring"));
        assert!(measuring, "it never began to measure");
        Bench { child, err }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signalled");
    }

    /// What it said until it ended: exit status, standard output, the rest of standard error.
    fn end(mut self) -> (Option<i32>, String, Vec<String>) {
        let mut out = String::new();
        self.child.stdout.take().expect("piped").read_to_string(&mut out).expect("text");
        let rest = self.err.by_ref().map_while(Result::ok).collect();
        (self.child.wait().expect("it ended").code(), out, rest)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn nothing_is_left(folder: &Path) {
    until("nodes are left", || processes(folder).is_empty());
    until("data is left", || fs::read_dir(folder).expect("readable").next().is_none());
}

fn keys(value: &Value) -> Vec<&String> {
    value.as_object().expect("an object").keys().collect()
}

#[test]
fn a_bench_with_processes_prints_what_one_without_prints_and_keeps_what_goes_on() {
    let outer = tempfile::tempdir().expect("a directory for the test");
    let run = |more: &[&str]| -> Value {
        let dir = outer.path().join(format!("kept-{}", more.len()));
        // No snapshot at all: a number that is larger than a configuration can say.
        let output = Command::new(env!("CARGO_BIN_EXE_throng"))
            .args(["bench", "--nodes", "1,4", "--duration", "1s", "--warmup", "300ms", "--accounts", "200"])
            .args(["--rate", "400", "--json", "--snapshot-after-bytes", "18446744073709551615", "--dir"])
            .arg(&dir)
            .args(more)
            .output()
            .expect("the binary was built for this test");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{complaint}");
        serde_json::from_slice(&output.stdout).expect("one JSON document")
    };
    let (together, apart) = (run(&[]), run(&["--processes"]));
    assert_eq!(keys(&together["config"]), keys(&apart["config"]));
    assert_eq!([&together, &apart].map(|document| document["config"]["processes"] == true), [false, true]);
    for (one, many) in
        together["runs"].as_array().expect("runs").iter().zip(apart["runs"].as_array().expect("runs"))
    {
        assert_eq!(keys(one), keys(many));
        assert_eq!(
            (&many["verdict"], &many["reason"], &many["drained"]),
            (&"agreed".into(), &Value::Null, &true.into())
        );
        assert_eq!(many["failed_rows"], 0);
        // Whatever is measured is measured here too.
        for figure in ["tps", "offered_tps", "sent_tps", "accepted_tps"] {
            let [one, many] = [one, many].map(|run| run[figure].as_f64().expect("a figure"));
            assert!((many / one - 1.0).abs() < 0.5, "{figure}: {one} {many}");
        }
        for group in ["latency_ms", "cpu_us_per_tx", "bytes_per_tx", "cores_busy", "memory"] {
            assert_eq!(keys(&one[group]), keys(&many[group]));
        }
        let measured = [
            ("latency_ms", ["p50", "p99", "max"]),
            ("cpu_us_per_tx", ["verify", "net", "process"]),
            ("bytes_per_tx", ["sent", "received", "stored"]),
            ("cores_busy", ["process", "generator", "process"]),
            ("memory", ["peak", "anonymous", "generator"]),
        ];
        for (group, names) in measured {
            for name in names {
                assert!(
                    many[group][name].as_f64().is_some_and(|found| found > 0.0),
                    "{group}.{name}: {many}"
                );
            }
        }
        // The stages are those of the nodes' own counters, and most of what their processes used.
        let cpu = &many["cpu_us_per_tx"];
        let [total, process] = ["total", "process"].map(|name| cpu[name].as_f64().expect("a figure"));
        assert!(total < 1.2 * process, "{cpu}");
    }
    // What is kept is a node's home: its chain is good, and goes on by itself.
    let node = outer.path().join("kept-1/n4/node-2");
    let verified =
        Command::new(env!("CARGO_BIN_EXE_throng")).arg("verify").arg(&node).output().expect("it runs");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let shown = Command::new(env!("CARGO_BIN_EXE_throng"))
        .args(["node", "--print-config", "--config"])
        .arg(node.with_extension("toml"))
        .output()
        .expect("it runs");
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
}

#[test]
fn a_node_whose_process_dies_is_named_with_the_reason_and_the_others_are_stopped() {
    let folder = tempfile::tempdir().expect("a directory for the test");
    for (signal, says) in [(Signal::KILL, "ended by signal 9"), (Signal::TERM, "asked to stop from outside")]
    {
        let bench = Bench::start(folder.path(), "2");
        let nodes = processes(folder.path());
        assert_eq!(nodes.len(), 2);
        kill_process(nodes[1], signal).expect("signalled");
        let (status, out, rest) = bench.end();
        assert_eq!(status, Some(1), "{rest:?}");
        let document: Value = serde_json::from_str(&out).expect("one JSON document");
        let run = &document["runs"][0];
        assert_eq!(run["verdict"], "failed", "{run}");
        let reason = run["reason"].as_str().expect("a reason");
        assert!(
            reason.starts_with("node ") && reason.contains("died: ") && reason.contains(says),
            "{reason}"
        );
        nothing_is_left(folder.path());
    }
}

#[test]
fn ctrl_c_ends_a_bench_with_processes_cleanly_and_the_second_time_at_once() {
    let folder = tempfile::tempdir().expect("a directory for the test");
    let bench = Bench::start(folder.path(), "2,1");
    bench.signal(Signal::INT);
    let (status, out, rest) = bench.end();
    assert_eq!(status, Some(130), "{rest:?}");
    let document: Value = serde_json::from_str(&out).expect("one JSON document");
    assert_eq!((&document["interrupted"], &document["runs"][0]["verdict"]), (&true.into(), &"agreed".into()));
    nothing_is_left(folder.path());

    let mut bench = Bench::start(folder.path(), "2");
    bench.signal(Signal::INT);
    let heard = bench.err.by_ref().map_while(Result::ok).any(|line| line.contains("ending the run"));
    assert!(heard, "the first one was not heard");
    bench.signal(Signal::INT);
    // It may have been through meanwhile: what counts is that nothing is left.
    let (status, out, rest) = bench.end();
    assert_eq!(status, Some(130), "{out} {rest:?}");
    nothing_is_left(folder.path());
}

#[test]
fn nodes_do_not_outlive_a_bench_that_is_killed() {
    let folder = tempfile::tempdir().expect("a directory for the test");
    let bench = Bench::start(folder.path(), "2");
    assert_eq!(processes(folder.path()).len(), 2);
    bench.signal(Signal::KILL);
    let (status, ..) = bench.end();
    assert_eq!(status, None);
    until("nodes are left", || processes(folder.path()).is_empty());
}

#[test]
fn what_cannot_be_started_is_told_and_nothing_is_left_running() {
    let wallet = Wallet::derive(1, 10);
    let start = |program: PathBuf, dir: &Path| {
        let chain = SessionConfig {
            nodes: 2,
            policy: Policy::Quorum,
            seed: 1,
            conduct: NodeConfig::default(),
            net_threads: 1,
            shape: ShapeConfig::default(),
            limit_local: false,
            reserved: 0,
            program: Some(program),
        };
        let started = Session::start(&wallet, chain, dir, &Interrupt::never());
        started.err().expect("it cannot start").to_string()
    };
    let dir = tempfile::tempdir().expect("a directory for the test");
    let folder = |name: &str| dir.path().join(name);
    let gone = start(folder("gone"), &folder("a"));
    assert!(gone.contains("node 0 did not start: cannot run") && gone.contains("No such file"), "{gone}");
    // A file that nobody may execute, and a program that is none of ours.
    fs::write(folder("plain"), "").expect("written");
    let plain = start(folder("plain"), &folder("b"));
    assert!(plain.contains("node 0 did not start: cannot run") && plain.contains("denied"), "{plain}");
    let other = start("/bin/false".into(), &folder("c"));
    assert!(other.contains("ended with status 1 and did not say why"), "{other}");
    // A node that says why.
    let throng = PathBuf::from(env!("CARGO_BIN_EXE_throng"));
    fs::create_dir_all(folder("d/node-1")).expect("made");
    fs::write(folder("d/node-1/segment-000001.blk"), "no segment").expect("written");
    let told = start(throng.clone(), &folder("d"));
    assert!(told.starts_with("node 1 did not start: ") && told.contains("node-1"), "{told}");
    // A folder that is a file.
    let told = start(throng, &folder("plain"));
    assert!(told.contains("cannot make") && told.contains("plain"), "{told}");
    until("nodes are left", || processes(dir.path()).is_empty());
}
