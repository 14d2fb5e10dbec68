//! Each lie in a short world of four.

use super::*;
use crate::sim::{Crypto, Fault, PLAN_VERSION, Plan, RunReport, SimConfig, What, run};

const LIAR: u16 = 3;

fn world(nodes: u16, seed: u64) -> SimConfig {
    SimConfig {
        nodes,
        seed,
        duration_ms: 4_000,
        load: 100,
        accounts: 40,
        crypto: Crypto::Cached,
        ..SimConfig::default()
    }
}

/// A world in which the last node lies for the first two seconds.
fn play(lie: Lie) -> RunReport {
    let faults = vec![Fault { at_us: 0, for_us: 2_000_000, what: What::Liar { node: LIAR, lie } }];
    let plan = Plan { version: PLAN_VERSION, config: world(4, 7), faults };
    let report = run(plan, &|_| false).expect("it can be played");
    println!(
        "{:?} {:?} settled {} of {} height {} {:?}",
        report.verdict, report.reason, report.settled, report.sent, report.height, report.convicted
    );
    report
}

#[test]
fn look() {
    let lies =
        [Lie::Twins { peers: vec![] }, Lie::Twins { peers: vec![0] }, Lie::Twins { peers: vec![0, 1] }];
    for lie in lies {
        print!("{lie:?}: ");
        play(lie);
    }
}
