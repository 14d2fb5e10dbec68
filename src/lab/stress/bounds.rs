//! The bounds of a stress run, what was measured beside each, and why it is the bound.

use super::StressConfig;
use super::document::{Part, Seen};
use super::sightings;
use super::target::TargetConfig;
use crate::lab::figures;
use crate::lab::hostile::Told;
use crate::lab::observe::Settled;
use crate::node::NodeConfig;
use crate::types::Time;
use serde::Serialize;
use std::time::Duration;

/// CPU time of the nodes per settled transaction, during as a multiple of before.
const CPU_RATIO: f64 = 1.4;
/// Throughput during, as a share of before: the load is well below what the chain can, so that nearly all of it has to settle
/// although hostile peers take cores from the nodes on one machine.
const DURING_SHARE: f64 = 0.8;
/// Full speed: in a second, and on average from there on, as much settles as this share of before. (Blocks come a few a second,
/// so single seconds vary.)
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
    /// What was measured may be so much at most. What should be known and is not breaks the bound too.
    pub(super) fn most(
        what: &'static str,
        measured: Option<f64>,
        limit: f64,
        unit: &'static str,
        why: impl Into<String>,
    ) -> Bound {
        let kept = Some(measured.is_some_and(|measured| measured <= limit));
        Bound { what, measured, at_most: true, limit, unit, kept, why: why.into() }
    }

    /// What was measured has to be so much at least; likewise.
    pub(super) fn least(
        what: &'static str,
        measured: Option<f64>,
        limit: f64,
        unit: &'static str,
        why: impl Into<String>,
    ) -> Bound {
        let kept = Some(measured.is_some_and(|measured| measured >= limit));
        Bound { what, measured, at_most: false, limit, unit, kept, why: why.into() }
    }

    /// What may be at most so much and cannot be known, for a reason that is not the chain's: the run was too short by its
    /// settings, or nobody tells.
    pub(super) fn unjudged(
        what: &'static str,
        limit: f64,
        unit: &'static str,
        why: impl Into<String>,
    ) -> Bound {
        Bound { what, measured: None, at_most: true, limit, unit, kept: None, why: why.into() }
    }

    /// What a process holds: not every system tells.
    fn holding(
        what: &'static str,
        measured: Option<f64>,
        limit: f64,
        unit: &'static str,
        why: &'static str,
    ) -> Bound {
        match measured {
            None if !cfg!(target_os = "linux") => {
                Bound::unjudged(what, limit, unit, "this system does not tell")
            }
            _ => Bound::most(what, measured, limit, unit, why),
        }
    }

    /// In words, for whom it was not kept, or not judged.
    pub fn words(&self) -> String {
        let Bound { what, unit, why, .. } = self;
        if self.measured.is_none() {
            return format!("{what}: unknown ({why})");
        }
        let than = if self.at_most { "more than" } else { "less than" };
        let (measured, limit) = (shown(self.measured), shown(Some(self.limit)));
        format!("{what}: {measured}{unit}, {than} {limit}{unit} ({why})")
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
    recovery: Recovery,
    drained: bool,
) -> Vec<Bound> {
    let [before, during, after] = parts else { return Vec::new() };
    let ratio =
        |of: fn(&Part) -> Option<f64>| Some(of(during)? / of(before)?).filter(|ratio| ratio.is_finite());
    let memory = memory_limit(config);
    let megabytes = |bytes: u64| (bytes >> 20) as f64;
    let open = |part: &Part| part.descriptors_at_end.map(|open| open as f64);
    let p99_limit = before.p99_ms.map_or(0.0, |p99| P99_RATIO * p99 + P99_MORE_MS);
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
        // What they left behind counts as well.
        Bound::holding(
            "memory of a node",
            during.memory_bytes.zip(after.memory_bytes).map(|(during, after)| megabytes(during.max(after))),
            megabytes(memory),
            " MB",
            "what accounts, rows, batches and connections may take by the configuration",
        ),
        Bound::holding(
            "descriptors of a node after, beyond before",
            open(after).zip(open(before)).map(|(after, before)| after - before),
            DESCRIPTORS_MORE,
            "",
            "all of theirs are closed",
        ),
        recovery.bound(),
    ];
    bounds.extend(sightings::unseen(config.duration, config.peers, before, during, told));
    bounds.extend(sightings::theirs(config.duration, config.peers, told));
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
/// a load of a known rate: then `recovery` is known.
pub(super) fn of_target(
    config: &TargetConfig,
    parts: &[Part],
    told: &Told,
    recovery: Option<Recovery>,
) -> Vec<Bound> {
    let [before, during, _] = parts else { return Vec::new() };
    const NO_LOAD: &str = "no load of a known rate: --keys sends one";
    const NOT_TOLD: &str = "not told over the client port";
    let share = during.tps.zip(before.tps).map(|(during, before)| during / before);
    let share = share.filter(|share| share.is_finite());
    let throughput = "throughput, during / before";
    let [throughput, speed] = match recovery {
        Some(recovery) => [
            Bound::least(throughput, share, DURING_SHARE, "", "of whatever the chain settled"),
            recovery.bound(),
        ],
        None => [
            Bound { at_most: false, ..Bound::unjudged(throughput, DURING_SHARE, "", NO_LOAD) },
            Bound::unjudged("full speed after they left", RECOVERY_S, " s", NO_LOAD),
        ],
    };
    let deaf = |part: &Part| match &part.seen {
        Seen::Told(nodes) => nodes.iter().filter(|node| node.answer_ms.is_none()).count(),
        Seen::Counted(_) => 0,
    };
    let deaf = parts.iter().map(deaf).sum::<usize>() as f64;
    let mut bounds = vec![
        throughput,
        speed,
        Bound::most(
            "questions without an answer",
            Some(deaf),
            0.0,
            "",
            "a node tells its clients where it stands, whoever else comes",
        ),
    ];
    bounds.extend(sightings::theirs(config.duration, config.peers, told));
    bounds.extend(sightings::unseen(config.duration, config.peers, before, during, told));
    bounds.extend([
        Bound::unjudged("memory of a node", 0.0, " MB", NOT_TOLD),
        Bound::unjudged("descriptors of a node", 0.0, "", NOT_TOLD),
        Bound::unjudged("node CPU per transaction, during / before", CPU_RATIO, "", NOT_TOLD),
    ]);
    bounds
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

/// How soon the chain was at full speed after hostile peers had left, and how long it was looked for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Recovery {
    /// When a second began in which it was, and from which on it was on average, in seconds; `None`: no such second.
    pub after_s: Option<f64>,
    /// The end of what was looked at, in seconds.
    pub watched_s: f64,
}

impl Recovery {
    /// From the moment at which the last of them was gone to the end of what was measured. `before`: transactions per second
    /// undisturbed.
    pub fn find(before: f64, left: Time, end: Time, settled: &[Settled]) -> Recovery {
        const STEP: Duration = Duration::from_millis(100);
        const SECOND: Duration = Duration::from_secs(1);
        let mut blocks: Vec<(Time, u64)> =
            settled.iter().map(|block| (block.time, u64::from(block.ok))).collect();
        blocks.sort_unstable();
        // How many were settled up to and with each block.
        let sums: Vec<u64> = blocks
            .iter()
            .scan(0, |sum, (_, ok)| {
                *sum += ok;
                Some(*sum)
            })
            .collect();
        let until = |time: Time| match blocks.partition_point(|(settled, _)| *settled < time) {
            0 => 0,
            place => sums[place - 1],
        };
        let full = |from: Time, to: Time| {
            figures::per_second(until(to) - until(from), to.since(from)) >= FULL_SHARE * before
        };
        let (mut from, mut after_s) = (left, None);
        while after_s.is_none() && from + SECOND <= end {
            if full(from, from + SECOND) && full(from, end) {
                after_s = Some(from.since(left).as_secs_f64());
            }
            from = from + STEP;
        }
        Recovery { after_s, watched_s: end.since(left).as_secs_f64() }
    }

    fn bound(self) -> Bound {
        const WHAT: &str = "full speed after they left";
        let Recovery { after_s, watched_s } = self;
        if after_s.is_none() && watched_s < RECOVERY_S {
            let why = format!("not in the {watched_s:.1} s that were looked at: --calm 5s is enough");
            return Bound::unjudged(WHAT, RECOVERY_S, " s", why);
        }
        let why = "80 % of before in a second, and from there on";
        Bound::most(WHAT, Some(after_s.unwrap_or(f64::INFINITY)), RECOVERY_S, " s", why)
    }
}

#[cfg(test)]
#[path = "bounds_tests.rs"]
mod tests;
