//! Whole worlds: that they repeat, that they agree, that checkers and shrinking bite.

use super::*;
use crate::types::Policy;

fn config(nodes: u16, seed: u64) -> SimConfig {
    SimConfig { nodes, seed, duration_ms: 2_000, load: 100, accounts: 40, ..SimConfig::default() }
}

fn calm(config: SimConfig) -> Plan {
    Plan { version: PLAN_VERSION, config, faults: Vec::new() }
}

fn play(plan: &Plan) -> RunReport {
    run(plan.clone(), &|_| false).expect("it can be played")
}

fn fault(at_ms: u64, for_ms: u64, what: What) -> Fault {
    Fault { at_us: at_ms * 1000, for_us: for_ms * 1000, what }
}

#[test]
fn a_calm_world_agrees_and_settles_what_clients_send() {
    for (nodes, verify) in [(1, Policy::Quorum), (2, Policy::All), (4, Policy::Quorum), (5, Policy::All)] {
        let report = play(&calm(SimConfig { verify, ..config(nodes, 3) }));
        assert_eq!((report.verdict, &report.reason), (Verdict::Agreed, &None), "n={nodes}");
        assert!(report.settled >= 120, "n={nodes}: {} of {} rows", report.settled, report.sent);
        assert_eq!(report.refused, 0, "n={nodes}");
        assert!(report.admitted > report.sent || nodes == 1, "some rows went to all");
        assert_eq!(report.sealed_again, 0, "n={nodes}: and were sealed once");
        let late = report.height - report.certified.min(report.height);
        assert!(report.certified >= 16 && late < 32, "n={nodes}: {} of {}", report.certified, report.height);
        assert!(report.latency_ms.is_some_and(|latency| latency.p50 < 500.0), "n={nodes}");
    }
}

/// A world of seven in which these faults last to its end; it settles all but what was sent in the last seconds.
fn settles_beside(whats: &[What]) -> RunReport {
    let config = SimConfig { duration_ms: 14_000, crypto: Crypto::Cached, ..config(7, 17) };
    let faults = whats.iter().map(|what| fault(0, 14_000, what.clone())).collect();
    let report = play(&calm(config).with(faults));
    assert_eq!((report.verdict, &report.reason), (Verdict::Agreed, &None), "{whats:?}");
    // A hundred a second: two waits of two seconds, the client's own two, and what settling takes.
    assert!(report.unsettled < 100 * 8, "{whats:?}: {} of {} rows", report.unsettled, report.sent);
    report
}

#[test]
fn rows_of_homes_that_are_down_settle_through_the_next_in_rank() {
    let report = settles_beside(&[What::Silent { node: 5 }, What::Silent { node: 6 }]);
    let latency = report.latency_ms.unwrap();
    // Two rows of seven have such a home. The longest wait for batches that both were drawn to verify.
    assert!(latency.p90 < 1_000.0, "nobody waits for whom nobody is connected to: {latency:?}");
}

#[test]
fn rows_that_their_homes_swallow_settle_through_the_next_in_rank_after_the_waits() {
    let swallow = |node| What::Liar { node, lie: Lie::Swallow };
    let report = settles_beside(&[swallow(5), swallow(6)]);
    assert!(report.repeated > 100, "{} rows sent again", report.repeated);
    let latency = report.latency_ms.unwrap();
    // Two seconds until the client asks another node, and one wait, or two, of two seconds each.
    assert!(latency.p50 < 1_000.0 && (4_000.0..7_000.0).contains(&latency.p90), "{latency:?}");
}

#[test]
fn batches_settle_beside_acks_that_can_never_count() {
    // Of three that are drawn two may lie: then f + 1 say that a batch is valid, and the order counts one of them.
    let two_acks = |node| What::Liar { node, lie: Lie::TwoAcks };
    let report = settles_beside(&[two_acks(5), two_acks(6)]);
    // Whose first ack names another id is passed over: nobody waits for the next in the draw.
    let latency = report.latency_ms.unwrap();
    assert!(latency.p50 < 500.0, "{latency:?}");
}

#[test]
fn batches_settle_beside_who_never_verifies_what_is_drawn_to_it() {
    for mute in [false, true] {
        let idle = |node| What::Liar { node, lie: Lie::IdleAcks { mute } };
        let latency = settles_beside(&[idle(5), idle(6)]).latency_ms.unwrap();
        // Who is late again and again is not waited for, though nothing is proven; only the first ones wait.
        assert!(latency.p50 < 500.0 && latency.p90 < 1_000.0, "{mute}: {latency:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let kinds = Kinds::read(&["all".into()]).unwrap();
    let plan = |seed| Plan::draw(SimConfig { duration_ms: 4_000, ..config(4, seed) }, &kinds);
    let (first, again, other) = (play(&plan(5)), play(&plan(5)), play(&plan(6)));
    assert_eq!(first, again);
    assert_ne!(first.trace_hash, other.trace_hash);
}

#[test]
fn cached_verdicts_change_nothing_but_the_time_that_a_run_takes() {
    let real = play(&calm(config(4, 9)));
    let cached = play(&calm(SimConfig { crypto: Crypto::Cached, ..config(4, 9) }));
    assert_eq!(real.trace_hash, cached.trace_hash);
}

#[test]
fn a_world_goes_on_after_every_kind_of_fault() {
    let whats = [
        What::Crash { node: 1, while_syncing: true, tail: Tail::Torn },
        What::Crash { node: 2, while_syncing: false, tail: Tail::Lost },
        What::Partition { side: vec![0, 1], one_way: false, reconnect: true },
        What::Partition { side: vec![3], one_way: true, reconnect: false },
        What::Loss { from: None, to: Some(2), per_mille: 300 },
        What::Duplicate { per_mille: 300 },
        What::Reorder { extra_us: 100_000 },
        What::Reset { node: 0, peer: 3 },
        What::Slow { node: 2, factor: 20 },
        What::Skew { node: 1, offset_us: -2_000_000 },
        What::SlowDisk { node: 0, factor: 100 },
        What::FullDisk { node: 3 },
    ];
    for what in whats {
        let plan = calm(config(4, 11)).with(vec![fault(400, 600, what.clone())]);
        let report = play(&plan);
        assert_eq!((report.verdict, &report.reason), (Verdict::Agreed, &None), "{what:?}");
        let crashes: u64 = report.places.iter().map(|place| place.crashes).sum();
        let dies = matches!(what, What::Crash { .. });
        assert_eq!(crashes, u64::from(dies), "{what:?}");
    }
}

#[test]
fn a_validator_that_forgot_comes_back_and_signs_nothing_twice() {
    let all = [Amnesia::Guard, Amnesia::OldGuard, Amnesia::Directory, Amnesia::OldDirectory, Amnesia::LogEnd];
    for loses in all {
        for (nodes, seed) in [(4, 21), (4, 22), (7, 23)] {
            let age_us = if loses.is_old() { 2_000_000 } else { 0 };
            let what = What::Amnesia { node: 3, loses, age_us };
            let config = SimConfig { duration_ms: 6_000, ..config(nodes, seed) };
            let report = play(&calm(config).with(vec![fault(2_500, 300, what)]));
            assert_eq!((report.verdict, &report.reason), (Verdict::Agreed, &None), "{loses:?}, n={nodes}");
            let round = |node: usize| report.places[node].round;
            assert!(round(3) + 30 > round(0), "{loses:?}, n={nodes}: it signs, {} of {}", round(3), round(0));
        }
    }
}

#[test]
fn of_a_directory_that_is_lost_twice_in_a_row_nothing_is_signed_twice() {
    let lost = || What::Amnesia { node: 3, loses: Amnesia::Directory, age_us: 0 };
    let halves = || What::Partition { side: vec![0, 1], one_way: false, reconnect: true };
    // From before the node has signed anything to after its return; alone, and while no quorum is there.
    for (seed, first, between) in [(50, 1, 1), (51, 60, 5), (52, 60, 150), (53, 300, 40), (54, 500, 400)] {
        for split in [false, true] {
            let mut faults = vec![fault(first, 20, lost()), fault(first + 20 + between, 30, lost())];
            faults.extend(split.then(|| fault(first.min(40), 1_500, halves())));
            faults.sort_by_key(|fault| fault.at_us);
            let config = SimConfig { duration_ms: 6_000, ..config(4, seed) };
            let report = play(&calm(config).with(faults));
            assert_eq!(
                (report.verdict, &report.reason),
                (Verdict::Agreed, &None),
                "{first} {between} {split}"
            );
            let [first, last] = [&report.places[0], &report.places[3]];
            assert!(last.crashes == 2 && last.round + 30 > first.round, "it signs: {last:?}");
        }
    }
}

#[test]
fn a_node_that_starts_late_or_lost_everything_long_ago_comes_to_the_same_blocks_and_signs() {
    for (nodes, seed, what) in [
        (4, 31, What::Late { node: 3 }),
        (7, 32, What::Late { node: 6 }),
        (4, 33, What::Amnesia { node: 3, loses: Amnesia::Directory, age_us: 0 }),
        (4, 34, What::Amnesia { node: 3, loses: Amnesia::OldDirectory, age_us: 1_600_000 }),
    ] {
        let config = SimConfig { duration_ms: 15_000, forgetful: true, ..config(nodes, seed) };
        let (at, spans) = if matches!(what, What::Late { .. }) { (0, 8_000) } else { (2_000, 7_000) };
        let report = play(&calm(config).with(vec![fault(at, spans, what.clone())]));
        assert_eq!((report.verdict, &report.reason), (Verdict::Agreed, &None), "{what:?}, n={nodes}");
        let place = |node: usize| &report.places[node];
        let last = usize::from(nodes) - 1;
        assert!(place(last).round + 30 > place(0).round, "{what:?}: it signs, {:?}", place(last));
        assert!(place(last).height + 30 > place(0).height, "{what:?}: {:?}", place(last));
    }
}

#[test]
fn a_node_whose_pruned_log_is_damaged_before_its_snapshots_begins_anew_and_comes_to_the_same_blocks() {
    let what = What::Amnesia { node: 3, loses: Amnesia::LogEnd, age_us: 0 };
    let mut abandoned = 0;
    for seed in 40..46 {
        let config = SimConfig { duration_ms: 15_000, forgetful: true, ..config(4, seed) };
        let report = play(&calm(config).with(vec![fault(7_000, 500, what.clone())]));
        assert_eq!((report.verdict, &report.reason), (Verdict::Agreed, &None), "seed {seed}");
        let [first, last] = [&report.places[0], &report.places[3]];
        assert!(last.round + 30 > first.round && last.height + 30 > first.height, "seed {seed}: {last:?}");
        abandoned += last.abandoned;
    }
    assert!(abandoned > 0, "the damage never came before the snapshots");
}

#[test]
fn a_vertex_that_nobody_heard_of_and_a_copy_forgot_is_signed_again_and_the_checker_sees_it() {
    // The bound of what a start can notice: since the copy was made, nothing of the node has reached anybody.
    let unheard = What::Partition { side: vec![3], one_way: true, reconnect: false };
    let what = What::Amnesia { node: 3, loses: Amnesia::OldDirectory, age_us: 1_300_000 };
    let faults = vec![fault(1_000, 1_600, unheard), fault(2_500, 300, what)];
    let report = play(&calm(SimConfig { duration_ms: 6_000, ..config(4, 21) }).with(faults));
    assert_eq!(report.verdict, Verdict::Diverged);
    let reason = report.reason.unwrap_or_default();
    assert!(reason.contains("sends a second") && reason.contains("of node 3 (slots)"), "{reason}");
}

#[test]
fn f_silent_nodes_are_tolerated_and_regions_cost_their_distance() {
    let silent = Plan::draw(config(4, 2), &Kinds::read(&["silent".into()]).unwrap());
    let report = play(&silent);
    assert_eq!(report.verdict, Verdict::Agreed, "{:?}", report.reason);
    assert_eq!(report.places[3].state, "silent");
    let far = ["virginia", "frankfurt", "tokyo", "sydney"].map(str::to_owned).to_vec();
    let far = play(&calm(SimConfig { regions: far, ..config(4, 2) }));
    assert_eq!(far.verdict, Verdict::Agreed, "{:?}", far.reason);
    assert!(far.leader_ms.unwrap().p50 >= far.ideal_ms * 0.8 && far.ideal_ms > 150.0, "{far:?}");
}

#[test]
fn what_cannot_go_on_is_called_no_progress_with_the_reason() {
    // Everything is lost until long after the bound.
    let cut = What::Loss { from: None, to: None, per_mille: 1000 };
    let mut plan = calm(config(4, 1)).with(vec![fault(500, 60_000, cut)]);
    plan.check().unwrap();
    let mut world = world::World::new(plan.clone()).unwrap();
    world.run(&|now| now > Duration::from_millis(1_200)).unwrap_err();
    let (verdict, reason) = world.verdict();
    assert_eq!(verdict, Verdict::NoProgress);
    assert!(reason.unwrap().contains("after the faults"));
    // A quorum that never runs, for a plan that does not say so.
    plan.faults = vec![fault(1, 1, What::Silent { node: 0 }), fault(1, 1, What::Silent { node: 1 })];
    assert!(matches!(run(plan, &|_| false), Err(RunError::BadInput(SimError::Plan { number: 2, .. }))));
}

#[test]
fn an_interrupt_ends_a_run() {
    assert_eq!(run(calm(config(1, 1)), &|_| true), Err(RunError::Interrupted));
}

#[test]
fn many_worlds_at_once_give_what_each_gives_alone() {
    let plan = |number: usize| calm(config(1 + number as u16 % 2, number as u64));
    let (reports, error) = many(6, 3, &|number| run(plan(number), &|_| false), &|_| ());
    assert_eq!(error, None);
    let alone: Vec<RunReport> = (0..6).map(|number| play(&plan(number))).collect();
    assert_eq!(reports, alone);
}
