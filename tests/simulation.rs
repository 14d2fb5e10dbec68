//! Random mixes of all faults and all lies, a few seeds of each size; and a world in which more lie than agreement bears, in
//! which the checkers must be seen to find that it diverged (`beyond`).
//!
//! Plans that once failed are played again: each file of `plans` is one, made small by leaving out faults, and named by
//! what went wrong.
//!
//! - `back-after-fourteen-seconds`: a validator cut off for fourteen seconds came back when its peers had let go of the
//!   vertices that it needed, ten collection depths after they were made, and of the batches. Peers keep both as long as
//!   their memory allows.
//! - `back-after-ten-seconds`: a node that was away for ten seconds lacked some hundred small batches of settled blocks,
//!   and peers sent sixteen for each request; asked for ever more slowly, they came later than new ones.
//! - `given-back-and-settled`: a validator that had lost its directory got its batches back after they had settled, and so
//!   they stand in its log. At the next start it took them for outstanding, and sealed nothing any more.
//! - `waits-on-demand`: vertices waited in both spaces of an author, its own and what is demanded in its name; the
//!   checker of memory knew of one.
//! - `written-and-never-sent`: a node died between writing a vertex and sending it. The disk kept the vertex, and with
//!   it the acks that settled a batch; the checker had seen them nowhere, since it looked at the network only.

use std::path::{Path, PathBuf};
use throng::sim::{self, Crypto, Kinds, Plan, SimConfig, Verdict};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

#[test]
fn plans_that_failed_once_agree() {
    let mut files: Vec<_> = std::fs::read_dir(folder("plans"))
        .expect("the folder is there")
        .map(|entry| entry.expect("it is readable").path())
        .collect();
    files.sort_unstable();
    assert!(!files.is_empty(), "plans were found");
    for file in files {
        let plan = Plan::read(&file).expect("a plan that can be played");
        let report = sim::run(plan, &|_| false).expect("it is played to its end");
        assert_eq!(report.verdict, Verdict::Agreed, "{}: {:?}", file.display(), report.reason);
    }
}

#[test]
fn random_mixes_of_all_faults_and_all_lies_agree_and_go_on() {
    let kinds = Kinds::read(&["all".to_owned()]).expect("a name of a group");
    let (mut liars, mut convicted) = (0, 0);
    for (nodes, seeds) in [(4, 0..6), (7, 0..4), (10, 0..3)] {
        for seed in seeds {
            let config = SimConfig {
                nodes,
                seed,
                duration_ms: 9_000,
                load: 60,
                accounts: 100,
                crypto: Crypto::Cached,
                ..SimConfig::default()
            };
            let report = sim::run(Plan::draw(config, &kinds), &|_| false).expect("it is played to its end");
            assert_eq!(report.verdict, Verdict::Agreed, "n={nodes} seed {seed}: {:?}", report.reason);
            assert!(!report.beyond && report.settled > 0, "n={nodes} seed {seed}");
            assert!(report.convicted.iter().all(|proof| report.liars.contains(&proof.node)));
            liars += report.liars.len();
            convicted += report.convicted.len();
        }
    }
    assert!(liars > 10 && convicted > 4, "{convicted} of {liars} liars convicted");
}

#[test]
fn two_seats_of_four_with_twins_and_a_partition_diverge_and_are_proven_to_lie() {
    let plan =
        Plan::read(&folder("beyond").join("two-twins-and-a-partition.json")).expect("it can be played");
    let tolerated = plan.config.faulty_max();
    let report = sim::run(plan.clone(), &|_| false).expect("it is played to its end");
    assert_eq!((report.verdict, report.beyond), (Verdict::Diverged, true));
    let reason = report.reason.unwrap_or_default();
    assert!(reason.contains("at height 1") && reason.contains("(chain)"), "{reason}");
    assert!(report.proven.len() > tolerated, "{:?}", report.proven);
    assert_eq!(report.proven.iter().map(|proof| proof.0).collect::<Vec<_>>(), report.liars);
    assert!(reason.contains("node 2 (two vertices of one round), node 3"), "{reason}");
    // One of them less, and the same partition does no harm.
    for left_out in 0..2 {
        let faults = plan.faults.iter().enumerate().filter(|(number, _)| *number != left_out);
        let report = sim::run(plan.with(faults.map(|(_, fault)| fault.clone()).collect()), &|_| false);
        let report = report.expect("it is played to its end");
        assert_eq!((report.verdict, report.beyond), (Verdict::Agreed, false), "{:?}", report.reason);
    }
}
