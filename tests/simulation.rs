//! Random mixes of all faults and all lies, a few seeds of each size; and a world in which more lie than agreement bears, in
//! which the checkers must be seen to find that it diverged (`beyond`).
//!
//! Plans that once failed are played again: each file of `plans` is one, made small by leaving out faults, and named by
//! what went wrong.
//!
//! - `adopted-and-removed`: a node that came late adopted blocks whose batches were gone at its peers, and took it for progress
//!   that more blocks came, as long as there was room for them.
//! - `back-after-fourteen-seconds`: a validator cut off for fourteen seconds came back when its peers had let go of the
//!   vertices that it needed, ten collection depths after they were made, and of the batches. Peers keep both as long as
//!   their memory allows.
//! - `back-after-ten-seconds`: a node that was away for ten seconds lacked some hundred small batches of settled blocks,
//!   and peers sent sixteen for each request; asked for ever more slowly, they came later than new ones.
//! - `back-beside-a-full-window`: a validator whose log was damaged in its middle had sealed a window of batches anew when one
//!   that it had lost came back from the others. That is more than it may seal, but not more than it may hold; the checker
//!   of memory did not know.
//! - `given-back-and-settled`: a validator that had lost its directory got its batches back after they had settled, and so
//!   they stand in its log. At the next start it took them for outstanding, and sealed nothing any more.
//! - `needed-though-shunned`: with one disk full, rounds could go on with a convicted validator only, and nobody asked any more
//!   for what its vertices named.
//! - `shunned-and-drawn`: batches that two convicted validators were drawn to verify waited for ever. Their
//!   acks were seen and taken for enough, but nobody names their vertices, so that these acks never came into the order.
//! - `takes-itself-for-lost`: a validator that had only been down took the frontier of one that had come late for a vertex of
//!   its own that it had forgotten, and waited for an order that could not move without it.
//! - `told-while-cut-off`: a validator was down and then cut off, without an end of its connections, when another was convicted.
//!   Proofs were told when they were found and to who connected; so it never got this one.
//! - `two-shunned-at-once`: the same, after two validators ran twice with one key each.
//! - `waits-on-demand`: vertices waited in both spaces of an author, its own and what is demanded in its name; the
//!   checker of memory knew of one.
//! - `written-and-never-sent`: a node died between writing a vertex and sending it. The disk kept the vertex, and with
//!   it the acks that settled a batch; the checker had seen them nowhere, since it looked at the network only.

use std::path::{Path, PathBuf};
use throng::sim::{
    self, Crypto, Fault, Kinds, Lie, PLAN_VERSION, Plan, SimConfig, Tail, Verdict, Ware, What,
};

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
        let name = file.file_stem().and_then(|name| name.to_str()).expect("a plain name");
        let told = include_str!("simulation.rs").contains(&format!("//! - `{name}`: "));
        assert!(told, "{name}: what went wrong is not told above");
        let plan = Plan::read(&file).expect("a plan that can be played");
        let report = sim::run(plan, &|_| false).expect("it is played to its end");
        assert_eq!(report.verdict, Verdict::Agreed, "{}: {:?}", file.display(), report.reason);
        assert!(name != "told-while-cut-off" || !report.convicted.is_empty(), "there was nothing to tell");
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

/// A chain whose nodes remove what is a few seconds old. Its last node comes after eleven seconds, stops once more within
/// the seconds after that, and node 0, or nodes 0 and 1 of seven, are false sources all the while.
fn late_comer(nodes: u16, seed: u64) -> Plan {
    let crypto = Crypto::Cached;
    let config = SimConfig {
        nodes,
        seed,
        duration_ms: 22_000,
        load: 150,
        accounts: 60,
        crypto,
        ..SimConfig::default()
    };
    let config = SimConfig { forgetful: true, ..config };
    let late = nodes - 1;
    let fault = |at_us: u64, for_us: u64, what: What| Fault { at_us, for_us, what };
    let mut faults = vec![fault(0, 11_000_000, What::Late { node: late })];
    for node in 0..(nodes - 1) / 3 {
        let about = Ware::EACH[(seed as usize + usize::from(node) * 3) % Ware::EACH.len()];
        faults.push(fault(0, 60_000_000, What::Liar { node, lie: Lie::FalseSource { about } }));
    }
    let tails = [Tail::Lost, Tail::Kept, Tail::Partial, Tail::Torn, Tail::Flipped];
    let tail = tails[seed as usize % tails.len()];
    let crash = What::Crash { node: late, while_syncing: seed.is_multiple_of(2), tail };
    // Beginning anew takes some two seconds from the start.
    faults.push(fault(11_000_000 + 150_000 * (1 + seed * 7 % 20), 300_000, crash));
    Plan { version: PLAN_VERSION, config, faults }
}

/// Two of seven are against the others at each time: one comes late to what was removed, the other tells one lie, of each kind
/// in turn, from the beginning to the end.
#[test]
fn who_comes_late_beside_each_lie_ends_with_the_same_blocks() {
    for kind in sim::LIES {
        let crypto = Crypto::Cached;
        let config = SimConfig {
            nodes: 7,
            seed: 5,
            duration_ms: 7_000,
            load: 60,
            accounts: 40,
            crypto,
            ..SimConfig::default()
        };
        let config = SimConfig { forgetful: true, ..config };
        let plan = Plan { version: PLAN_VERSION, config, faults: Vec::new() };
        let mut plan = plan.with_liars(kind).expect("a lie of this kind");
        plan.faults.retain(|fault| matches!(&fault.what, What::Liar { node: 5, .. }));
        assert_eq!(plan.faults.len(), 1, "{kind}");
        plan.faults.push(Fault { at_us: 0, for_us: 3_000_000, what: What::Late { node: 6 } });
        let report = sim::run(plan, &|_| false).expect("it is played to its end");
        assert_eq!((report.verdict, &report.reason), (Verdict::Agreed, &None), "{kind}");
        let (late, first) = (&report.places[6], &report.places[0]);
        assert!(first.height > 100 && late.height + 60 > first.height, "{kind}: {late:?} beside {first:?}");
        assert!(late.round + 60 > first.round, "{kind}: it signs, {late:?}");
    }
}

/// A few seeds here; as many as `THRONG_SEEDS` says, from 0 on, for a longer look.
#[test]
fn who_comes_late_to_what_was_removed_begins_anew_among_false_sources() {
    let seeds = std::env::var("THRONG_SEEDS").ok().and_then(|text| text.parse().ok());
    let mut by_table = 0;
    for (nodes, seeds) in [(4, seeds.unwrap_or(5)), (7, seeds.map_or(2, |seeds: u64| seeds / 4))] {
        for seed in 0..seeds {
            let plan = late_comer(nodes, seed);
            let story = serde_json::to_string(&plan).expect("a plan can be written");
            let report = sim::run(plan, &|_| false).expect("it is played to its end");
            assert_eq!(report.verdict, Verdict::Agreed, "{:?}\n{story}", report.reason);
            let (late, first) = (&report.places[usize::from(nodes) - 1], &report.places[1]);
            assert!(late.height + 60 > first.height, "n={nodes} seed {seed}: {late:?}");
            assert!(late.round + 60 > first.round, "n={nodes} seed {seed}: it signs, {late:?}");
            by_table += u64::from(late.pieces > 0);
            if std::env::var_os("THRONG_SEEDS").is_some() {
                println!(
                    "n={nodes} seed {seed}: {} pieces, height {} of {}",
                    late.pieces, late.height, first.height
                );
            }
        }
    }
    assert!(by_table >= 5, "{by_table} by a table");
}
