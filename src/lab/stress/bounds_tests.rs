use super::*;
use crate::lab::hostile::{Counts, Kind};
use crate::lab::stress::document::{Cpu, Saw};

/// A part with this throughput, CPU time, p99 and memory, and so many descriptors at its end.
fn part(name: &'static str, tps: f64, cpu: f64, p99: f64, megabytes: u64, open: usize) -> Part {
    Part {
        tps: Some(tps),
        p99_ms: Some(p99),
        memory_bytes: Some(megabytes << 20),
        descriptors: Some(open),
        descriptors_at_end: Some(open),
        seen: Seen::Counted(Saw::default()),
        ..Part::of_target(
            name,
            Duration::from_secs(10),
            Cpu { node: Some(cpu), ..Cpu::default() },
            Seen::Counted(Saw::default()),
        )
    }
}

/// Peers that do nothing wrong, as many as the settings say.
fn all_there() -> Told {
    let counts = Counts { peers: 400, came: 400, connected: 400, held: 400, ..Counts::default() };
    Told { kinds: vec![(Kind::Quiet, counts)], ..Told::default() }
}

fn found(after_s: f64) -> Recovery {
    Recovery { after_s: Some(after_s), watched_s: 12.0 }
}

fn broken(during: Part, after: Part, told: &Told, recovery: Recovery, drained: bool) -> Vec<&'static str> {
    let config = StressConfig { peers: 400, ..StressConfig::default() };
    let parts = [part("before", 1000.0, 10.0, 100.0, 20, 50), during, after];
    let bounds = of_run(&config, &parts, told, recovery, drained);
    bounds.iter().filter(|bound| bound.kept == Some(false)).map(|bound| bound.what).collect()
}

#[test]
fn each_bound_breaks_by_itself_and_is_named() {
    let good = || part("during", 800.0, 14.0, 900.0, 100, 300);
    let after = || part("after", 1000.0, 10.0, 100.0, 100, 58);
    let there = all_there();
    assert!(broken(good(), after(), &there, found(5.0), true).is_empty());
    let cases = [
        (part("during", 799.0, 14.0, 900.0, 100, 300), "throughput, during / before"),
        (part("during", 800.0, 14.1, 900.0, 100, 300), "node CPU per transaction, during / before"),
        (part("during", 800.0, 14.0, 901.0, 100, 300), "p99 during"),
        (part("during", 800.0, 14.0, 900.0, 1000, 300), "memory of a node"),
    ];
    for (during, name) in cases {
        assert_eq!(broken(during, after(), &there, found(0.0), true), [name]);
    }
    let leaks = part("after", 1000.0, 10.0, 100.0, 100, 59);
    assert_eq!(
        broken(good(), leaks, &there, found(0.0), true),
        ["descriptors of a node after, beyond before"]
    );
    assert_eq!(broken(good(), after(), &there, found(5.1), true), ["full speed after they left"]);
    assert_eq!(
        broken(good(), after(), &there, Recovery { after_s: None, watched_s: 12.0 }, true),
        ["full speed after they left"]
    );
    assert_eq!(broken(good(), after(), &there, found(0.0), false), ["accepted and lost"]);
}

#[test]
fn memory_that_grows_after_they_left_counts_too() {
    let after = part("after", 1000.0, 10.0, 100.0, 1000, 50);
    let during = part("during", 1000.0, 10.0, 100.0, 20, 50);
    assert_eq!(broken(during, after, &all_there(), found(0.0), true), ["memory of a node"]);
}

#[test]
fn what_should_be_known_and_is_not_breaks_a_bound() {
    let after = || part("after", 1000.0, 10.0, 100.0, 20, 50);
    let during = Part { p99_ms: None, tps: Some(0.0), ..part("during", 0.0, 0.0, 0.0, 20, 50) };
    let during = Part { cpu_us_per_tx: Cpu::default(), ..during };
    let names = broken(during, after(), &all_there(), found(0.0), true);
    assert_eq!(
        names,
        ["node CPU per transaction, during / before", "throughput, during / before", "p99 during"]
    );
}

#[test]
fn recovery_is_unknown_only_in_a_run_too_short_for_it() {
    let judged = |watched_s| Recovery { after_s: None, watched_s }.bound().kept;
    assert_eq!((judged(4.9), judged(5.0)), (None, Some(false)));
    let words = Recovery { after_s: None, watched_s: 3.0 }.bound().words();
    assert_eq!(
        words,
        "full speed after they left: unknown (not in the 3.0 s that were looked at: --calm 5s is enough)"
    );
}

#[test]
fn of_nodes_that_run_already_everything_unknown_is_named() {
    let told = |name| Part {
        tps: Some(100.0),
        ..Part::of_target(name, Duration::from_secs(10), Cpu::default(), Seen::Told(Vec::new()))
    };
    let parts = ["before", "during", "after"].map(told);
    let config = TargetConfig { peers: 400, duration: Duration::from_secs(10), ..TargetConfig::default() };
    let names = |recovery, kept| {
        let bounds = of_target(&config, &parts, &all_there(), recovery);
        let those = bounds.iter().filter(|bound| bound.kept == kept);
        those.map(|bound| bound.what).collect::<Vec<_>>()
    };
    let unknown = [
        "kinds that nodes saw nothing of",
        "memory of a node",
        "descriptors of a node",
        "node CPU per transaction, during / before",
    ];
    assert_eq!(names(Some(found(0.0)), None), unknown);
    assert_eq!(
        names(None, None),
        [&["throughput, during / before", "full speed after they left"][..], &unknown].concat()
    );
    assert!(names(None, Some(false)).is_empty() && names(Some(found(0.0)), Some(false)).is_empty());
    assert_eq!(names(Some(found(6.0)), Some(false)), ["full speed after they left"]);
}

#[test]
fn full_speed_is_found_by_the_second_and_only_after_they_left() {
    let settled = |ms: u64, ok: u32| Settled { height: ms, time: Time(ms * 1000), rows: ok, ok };
    let blocks =
        |from: u64, until: u64| (from..until).step_by(100).map(|ms| settled(ms, 8)).collect::<Vec<_>>();
    let find = |blocks: &[Settled]| Recovery::find(100.0, Time(2_000_000), Time(8_000_000), blocks).after_s;
    assert_eq!(find(&blocks(0, 8000)), Some(0.0));
    assert_eq!(find(&blocks(5000, 8000)), Some(3.0));
    assert_eq!(find(&blocks(0, 2500)), None);
    assert_eq!(find(&blocks(7500, 8000)), None, "no whole second");
    assert_eq!(find(&blocks(0, 3000)), None, "a second, and then a standstill");
    let again = [blocks(0, 3000), blocks(5000, 8000)].concat();
    assert_eq!(find(&again), Some(3.0), "full speed is there when it stays");
    let watched = Recovery::find(100.0, Time(2_000_000), Time(8_000_000), &[]).watched_s;
    assert!((watched - 6.0).abs() < 1e-9);
}
