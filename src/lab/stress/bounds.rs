//! The bounds of a stress run, what was measured beside each, and why it is the bound.

use super::StressConfig;
use super::document::{Part, Saw, Seen};
use crate::lab::figures;
use crate::lab::hostile::{Counts, Kind, Sign, Told};
use crate::lab::observe::Settled;
use crate::metrics::Dismissal;
use crate::node::NodeConfig;
use crate::types::Time;
use crate::wire::client::Refusal;
use serde::Serialize;
use std::time::Duration;

/// CPU time of the nodes per settled transaction, during as a multiple of before.
const CPU_RATIO: f64 = 1.4;
/// Throughput during, as a share of before: the load is well below what the chain can, so that nearly all of it has to settle
/// although hostile peers take cores from the nodes on one machine.
const DURING_SHARE: f64 = 0.8;
/// Full speed: in a second as much settles as this share of before. (Blocks come a few a second, so single seconds vary.)
const FULL_SHARE: f64 = 0.8;
/// How soon full speed has to be there after they left, in seconds.
const RECOVERY_S: f64 = 5.0;
/// Latency during: so many times that of before,
const P99_RATIO: f64 = 4.0;
/// and so many milliseconds more, in which a round waits for its slowest leader twice.
const P99_MORE_MS: f64 = 500.0;
/// Descriptors of a node that may be open beyond those before: it opens files of a segment.
const DESCRIPTORS_MORE: f64 = 8.0;

/// Memory of a node that does nothing: threads with their stacks and caches of the allocator, queues, read buffers.
const NODE_BYTES: u64 = 64 << 20;
/// Memory of an account: its record, key, decompressed point and index, and the copy of the table that a snapshot is.
const ACCOUNT_BYTES: u64 = 512;
/// Memory of a row in the mempool, and of the same row on its way there.
const ROW_BYTES: u64 = 2 * 136;
/// Batches that are not settled, of all authors: what the window lets be outstanding, at the size that the load gives them.
const BATCHES_BYTES: u64 = 32 << 20;
/// What a connection may hold: a read of the socket, the answers that wait before it is not read from, and its own state.
const CONNECTION_BYTES: u64 = (64 + 64 + 8) << 10;

/// How a crowd of identities is refused.
const CROWD: [Dismissal; 3] = [Dismissal::Full, Dismissal::Rate, Dismissal::Refused];

/// One bound.
#[derive(Clone, Debug, Serialize)]
pub struct Bound {
    /// What is bounded.
    pub what: &'static str,
    /// What was measured; `None`: it is not known.
    pub measured: Option<f64>,
    /// Whether more than the limit breaks it; else less does.
    pub at_most: bool,
    /// The limit.
    pub limit: f64,
    /// The unit of both.
    pub unit: &'static str,
    /// Whether it was kept; `None`: it is not known.
    pub kept: Option<bool>,
    /// Where the limit comes from, or what broke it.
    pub why: String,
}

impl Bound {
    fn most(
        what: &'static str,
        measured: Option<f64>,
        limit: f64,
        unit: &'static str,
        why: impl Into<String>,
    ) -> Bound {
        let kept = measured.map(|measured| measured <= limit);
        Bound { what, measured, at_most: true, limit, unit, kept, why: why.into() }
    }

    fn least(
        what: &'static str,
        measured: Option<f64>,
        limit: f64,
        unit: &'static str,
        why: impl Into<String>,
    ) -> Bound {
        let kept = measured.map(|measured| measured >= limit);
        Bound { what, measured, at_most: false, limit, unit, kept, why: why.into() }
    }

    /// In words, for whom it was not kept.
    pub fn words(&self) -> String {
        let than = if self.at_most { "more than" } else { "less than" };
        let (measured, limit) = (shown(self.measured), shown(Some(self.limit)));
        format!("{}: {measured}{}, {than} {limit}{} ({})", self.what, self.unit, self.unit, self.why)
    }
}

/// A figure with as many digits as tell something.
pub fn shown(value: Option<f64>) -> String {
    match value {
        None => "unknown".to_owned(),
        Some(value) if value.fract() == 0.0 || value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) => format!("{value:.2}"),
    }
}

/// The bounds of a run with nodes of its own.
pub(super) fn of_run(
    config: &StressConfig,
    parts: &[Part],
    told: &Told,
    recovery_s: Option<f64>,
    drained: bool,
) -> Vec<Bound> {
    let [before, during, after] = parts else { return Vec::new() };
    let ratio =
        |of: fn(&Part) -> Option<f64>| Some(of(during)? / of(before)?).filter(|ratio| ratio.is_finite());
    let memory = memory_limit(config);
    let megabytes = |bytes: u64| (bytes >> 20) as f64;
    let open = |part: &Part| part.descriptors_at_end.map(|open| open as f64);
    let p99_limit = before.p99_ms.map_or(0.0, |p99| P99_RATIO * p99 + P99_MORE_MS);
    let watched = after.seconds + super::SETTLE_MAX.as_secs_f64();
    let recovered = recovery_s.or((watched >= RECOVERY_S).then_some(f64::INFINITY));
    let mut bounds = vec![
        Bound::most(
            "node CPU per transaction, during / before",
            ratio(|part| part.cpu_us_per_tx.node),
            CPU_RATIO,
            "",
            "the same run, undisturbed",
        ),
        Bound::least(
            "throughput, during / before",
            ratio(|part| part.tps),
            DURING_SHARE,
            "",
            "the load is well below what the chain can",
        ),
        Bound::most(
            "p99 during",
            during.p99_ms,
            p99_limit,
            " ms",
            "4 times the one before, and two waits for a leader",
        ),
        Bound::most(
            "memory of a node",
            during.memory_bytes.map(megabytes),
            megabytes(memory),
            " MB",
            "what accounts, rows, batches and connections may take by the configuration",
        ),
        Bound::most(
            "descriptors of a node after, beyond before",
            open(after).zip(open(before)).map(|(after, before)| after - before),
            DESCRIPTORS_MORE,
            "",
            "all of theirs are closed",
        ),
        Bound::most("full speed after they left", recovered, RECOVERY_S, " s", "80 % of before in a second"),
    ];
    bounds.extend(unseen(config.duration, before, during, told));
    let forged =
        told.kinds.iter().find(|(kind, _)| *kind == Kind::Forged).map(|(_, counts)| counts.admitted as f64);
    bounds.extend(forged.map(|rows| {
        Bound::most("forged rows admitted", Some(rows), 0.0, "", "a signature is checked, whoever sends it")
    }));
    let unsettled = if drained { 0.0 } else { 1.0 };
    bounds.push(Bound::most(
        "accepted and lost",
        Some(unsettled),
        0.0,
        "",
        "everything accepted settles on all nodes in the end",
    ));
    bounds
}

/// The bounds of a run against nodes that are there. What they hold is not known; their throughput is judged only where there is
/// a load of a known rate.
pub(super) fn of_target(parts: &[Part], recovery_s: Option<f64>, load: bool) -> Vec<Bound> {
    let [before, during, after] = parts else { return Vec::new() };
    let share = during.tps.zip(before.tps).map(|(during, before)| during / before);
    let share = share.filter(|share| load && share.is_finite());
    let watched = after.seconds + super::SETTLE_MAX.as_secs_f64();
    let recovered = recovery_s.or((load && watched >= RECOVERY_S).then_some(f64::INFINITY));
    let deaf = |part: &Part| match &part.seen {
        Seen::Told(nodes) => nodes.iter().filter(|node| node.answer_ms.is_none()).count(),
        Seen::Counted(_) => 0,
    };
    let deaf = parts.iter().map(deaf).sum::<usize>() as f64;
    vec![
        Bound::least("throughput, during / before", share, DURING_SHARE, "", "of whatever the chain settled"),
        Bound::most("full speed after they left", recovered, RECOVERY_S, " s", "80 % of before in a second"),
        Bound::most(
            "questions without an answer",
            Some(deaf),
            0.0,
            "",
            "a node tells its clients where it stands, whoever else comes",
        ),
        Bound::most("memory of a node", None, 0.0, " MB", "not told over the client port"),
        Bound::most("descriptors of a node", None, 0.0, "", "not told over the client port"),
        Bound::most(
            "node CPU per transaction, during / before",
            None,
            CPU_RATIO,
            "",
            "not told over the client port",
        ),
    ]
}

/// Memory that a node may take, in bytes, by its configuration and what it serves.
pub(super) fn memory_limit(config: &StressConfig) -> u64 {
    let rows = NodeConfig::default().mempool_rows_max as u64;
    let connections = config.peers.div_ceil(config.nodes.max(1)) as u64;
    NODE_BYTES
        + ACCOUNT_BYTES * config.accounts
        + ROW_BYTES * rows
        + BATCHES_BYTES
        + CONNECTION_BYTES * connections
}

/// Kinds of which the nodes' counters show nothing, although they were there for long enough: an attack that does nothing is
/// none.
fn unseen(duration: Duration, before: &Part, during: &Part, told: &Told) -> Option<Bound> {
    let (Seen::Counted(calm), Seen::Counted(saw)) = (&before.seen, &during.seen) else { return None };
    let due = told.kinds.iter().filter(|(kind, _)| duration >= kind.about().shows_after);
    let unseen: Vec<&str> = due
        .filter(|(kind, counts)| !shows(kind.about().sign, counts, calm, saw))
        .map(|(kind, _)| kind.name())
        .collect();
    let why = match unseen.is_empty() {
        true => "each kind is seen for what it is".to_owned(),
        false => format!("nothing was seen of {}", unseen.join(", ")),
    };
    Some(Bound::most("kinds that nodes saw nothing of", Some(unseen.len() as f64), 0.0, "", why))
}

/// Whether counters show a kind.
fn shows(sign: Sign, counts: &Counts, calm: &Saw, saw: &Saw) -> bool {
    match sign {
        Sign::Dismissed(reasons) => {
            reasons.iter().any(|reason| saw.dismissed[*reason as usize] > calm.dismissed[*reason as usize])
        }
        Sign::Refused(reasons) => reasons
            .iter()
            .any(|reason: &Refusal| saw.refused[reason.place()] > 0 && counts.refused[reason.place()] > 0),
        Sign::Throttled => saw.throttled > calm.throttled,
        Sign::Accepted => counts.connected > 2 * counts.peers && saw.accepted > 2 * counts.peers,
        // As few as there is room for are served, as observers are.
        Sign::Crowd if counts.held == counts.peers && counts.ended == 0 => true,
        Sign::Crowd => {
            CROWD.iter().any(|reason| saw.dismissed[*reason as usize] > calm.dismissed[*reason as usize])
        }
        Sign::Kept => counts.held == counts.peers && counts.ended == 0,
    }
}

/// How long after the hostile peers left a second began in which the chain was at full speed, in seconds; `None`: no such second
/// was looked at.
pub(super) fn recovery(parts: &[Part], windows: &[(Time, Time)], settled: &[Settled]) -> Option<f64> {
    const STEP: Duration = Duration::from_millis(100);
    const SECOND: Duration = Duration::from_secs(1);
    let (before, left, end) = (parts.first()?.tps?, windows.get(1)?.1, windows.get(2)?.1);
    let mut from = left;
    while from + SECOND <= end {
        let ok = figures::in_window(settled, from, from + SECOND).ok;
        if ok as f64 >= FULL_SHARE * before {
            return Some(from.since(left).as_secs_f64());
        }
        from = from + STEP;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::stress::document::Cpu;
    use crate::metrics::Dismissal;

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

    fn broken(
        during: Part,
        after: Part,
        told: &Told,
        recovery: Option<f64>,
        drained: bool,
    ) -> Vec<&'static str> {
        let config = StressConfig { peers: 400, ..StressConfig::default() };
        let parts = [part("before", 1000.0, 10.0, 100.0, 20, 50), during, after];
        let bounds = of_run(&config, &parts, told, recovery, drained);
        bounds.iter().filter(|bound| bound.kept == Some(false)).map(|bound| bound.what).collect()
    }

    #[test]
    fn each_bound_breaks_by_itself_and_is_named() {
        let good = || part("during", 800.0, 14.0, 900.0, 100, 300);
        let after = || part("after", 1000.0, 10.0, 100.0, 100, 58);
        let none = Told::default();
        assert!(broken(good(), after(), &none, Some(5.0), true).is_empty());
        let cases = [
            (part("during", 799.0, 14.0, 900.0, 100, 300), "throughput, during / before"),
            (part("during", 800.0, 14.1, 900.0, 100, 300), "node CPU per transaction, during / before"),
            (part("during", 800.0, 14.0, 901.0, 100, 300), "p99 during"),
            (part("during", 800.0, 14.0, 900.0, 1000, 300), "memory of a node"),
        ];
        for (during, name) in cases {
            assert_eq!(broken(during, after(), &none, Some(0.0), true), [name]);
        }
        let leaks = part("after", 1000.0, 10.0, 100.0, 100, 59);
        assert_eq!(
            broken(good(), leaks, &none, Some(0.0), true),
            ["descriptors of a node after, beyond before"]
        );
        assert_eq!(broken(good(), after(), &none, Some(5.1), true), ["full speed after they left"]);
        assert_eq!(broken(good(), after(), &none, None, true), ["full speed after they left"]);
        assert_eq!(broken(good(), after(), &none, Some(0.0), false), ["accepted and lost"]);
    }

    #[test]
    fn an_attack_that_does_nothing_and_a_forged_row_that_is_admitted_break_a_bound() {
        let told = |kind, admitted| Told {
            kinds: vec![(kind, Counts { peers: 9, held: 9, admitted, ..Counts::default() })],
            ..Told::default()
        };
        let during = |dismissed| {
            let mut saw = Saw::default();
            saw.dismissed[Dismissal::Foreign as usize] = dismissed;
            Part { seen: Seen::Counted(saw), ..part("during", 1000.0, 10.0, 100.0, 20, 50) }
        };
        let after = || part("after", 1000.0, 10.0, 100.0, 20, 50);
        let broken = |count, told: Told| broken(during(count), after(), &told, Some(0.0), true);
        assert_eq!(broken(0, told(Kind::Garbage, 0)), ["kinds that nodes saw nothing of"]);
        assert!(broken(1, told(Kind::Garbage, 0)).is_empty());
        assert!(broken(0, told(Kind::Quiet, 0)).is_empty(), "it does nothing wrong");
        assert!(broken(0, told(Kind::Forged, 1)).contains(&"forged rows admitted"));
    }

    #[test]
    fn full_speed_is_found_by_the_second_and_only_after_they_left() {
        let settled = |ms: u64, ok: u32| Settled { height: ms, time: Time(ms * 1000), rows: ok, ok };
        let windows = [(0, 1000), (1000, 2000), (2000, 8000)]
            .map(|(from, until)| (Time(from * 1000), Time(until * 1000)));
        let parts = [
            part("before", 100.0, 1.0, 1.0, 1, 1),
            part("during", 0.0, 1.0, 1.0, 1, 1),
            part("after", 0.0, 1.0, 1.0, 1, 1),
        ];
        let blocks =
            |from: u64, until: u64| (from..until).step_by(100).map(|ms| settled(ms, 8)).collect::<Vec<_>>();
        assert_eq!(recovery(&parts, &windows, &blocks(0, 8000)), Some(0.0));
        assert_eq!(recovery(&parts, &windows, &blocks(5000, 8000)), Some(3.0));
        assert_eq!(recovery(&parts, &windows, &blocks(0, 2500)), None);
        assert_eq!(recovery(&parts, &windows, &blocks(7500, 8000)), None, "no whole second");
    }
}
