//! The soak of `perf/soak.sh` in short: the script works, and what it samples stays within loose bounds.
#![cfg(target_os = "linux")] // it reads /proc

use std::path::Path;
use std::process::{Command, Output};

fn soak(flags: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("perf/soak.sh");
    Command::new("bash").arg(script).args(flags).output().expect("there is bash")
}

#[test]
fn memory_and_descriptors_stay_flat_while_clients_observers_strangers_and_validators_come_and_go() {
    let kept = tempfile::tempdir().expect("a directory for the test");
    let kept = kept.path().to_str().expect("a path in UTF-8");
    let throng = env!("CARGO_BIN_EXE_throng");
    // Nothing is at its bound after so short a span: memory may still grow by what those allow.
    let output = soak(&["--span", "20", "--slack", "64", "--throng", throng, "--keep", kept]);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    assert_eq!(out.lines().last(), Some("flat"), "{out}");
    // Every node that stands was judged, and the chain was under load all the time.
    for node in ["node-0", "node-1", "node-2", "node-3", "stays"] {
        assert!(out.contains(&format!("\n{node} ")), "{node}: {out}");
    }
    let settled: u64 = out.split(' ').next().and_then(|count| count.parse().ok()).expect("a count");
    assert!(settled > 500, "{out}");
    for node in 0..4 {
        let log = std::fs::read_to_string(format!("{kept}/node-{node}.log")).expect("it is kept");
        assert!(!log.contains("panicked") && !log.contains("proven to have lied"), "{log}");
    }
}

#[test]
fn a_soak_that_cannot_be_is_refused_in_one_line() {
    for (flags, says) in [
        (&["--span", "5"][..], "at least 20 seconds"),
        (&["--span", "long"], "no whole number"),
        (&["--nodes", "3"], "at least 4"),
        (&["--throng", "/nowhere"], "/nowhere is no program"),
        (&["--span"], "needs a value"),
        (&["--depth", "1"], "there is no --depth"),
    ] {
        let output = soak(flags);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(err.contains(says) && err.lines().count() == 1, "{flags:?}: {err}");
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
    }
}
