//! From notices, counters and block files to throughput, latency and cost. Pure functions but for the history's files.

use super::flow::Counts;
use super::observe::Settled;
use super::payload;
use super::results::{ByteCost, CoresBusy, CpuCost, Latency};
use super::workload::Partition;
use crate::types::{Height, Time};
use crate::wire::Batch;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::time::Duration;

/// Significant decimal digits of latencies.
const DIGITS: u8 = 3;

/// Every counter at one edge of the window.
#[derive(Clone, Debug, Default)]
pub struct Mark {
    /// When it was read.
    pub time: Time,
    /// CPU nanoseconds of every node by stage.
    pub cpu_ns: Vec<[u64; 5]>,
    /// Bytes sent by every node.
    pub sent: Vec<u64>,
    /// Bytes received by every node.
    pub received: Vec<u64>,
    /// Bytes stored by every node.
    pub stored: Vec<u64>,
    /// The generator's counts.
    pub counts: Counts,
    /// CPU time of all processes of the run.
    pub process_cpu: Duration,
    /// Busy and total ticks of the machine.
    pub ticks: Option<(u64, u64)>,
}

/// What settled inside a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct InWindow {
    /// Rows with the outcome `ok`.
    pub ok: u64,
    /// Rows with another outcome.
    pub failed: u64,
    /// Blocks, empty ones included.
    pub blocks: u64,
    /// Blocks that settled rows.
    pub full: u64,
}

/// Sums the heights whose time on a quorum lies in `from .. until`.
pub fn in_window(settled: &[Settled], from: Time, until: Time) -> InWindow {
    let inside = settled.iter().filter(|block| (from..until).contains(&block.time));
    inside.fold(InWindow::default(), |sum, block| InWindow {
        ok: sum.ok + u64::from(block.ok),
        failed: sum.failed + u64::from(block.rows.saturating_sub(block.ok)),
        blocks: sum.blocks + 1,
        full: sum.full + u64::from(block.rows > 0),
    })
}

/// `count` per second over a span; 0 over an empty one.
pub fn per_second(count: u64, span: Duration) -> f64 {
    if span.is_zero() { 0.0 } else { count as f64 / span.as_secs_f64() }
}

/// Gathers latencies while a history is replayed.
pub struct Latencies<'a> {
    partition: Partition,
    times: Vec<&'a [Time]>,
    window: (Time, Time),
    settled_at: BTreeMap<u64, Time>,
    histogram: Histogram<u64>,
    settled: u64,
}

impl<'a> Latencies<'a> {
    /// For rows meant to be sent at `times` (by node and index), of which those in `window` count.
    pub fn new(
        partition: Partition,
        times: Vec<&'a [Time]>,
        window: (Time, Time),
        settled: &[Settled],
    ) -> Latencies<'a> {
        Latencies {
            partition,
            times,
            window,
            settled_at: settled.iter().map(|block| (block.height, block.time)).collect(),
            histogram: Histogram::new(DIGITS).expect("three digits are within what a histogram can keep"),
            settled: 0,
        }
    }

    /// A batch of a block: its rows or blobs.
    pub fn batch(&mut self, height: Height, batch: &Batch) {
        for effect in batch.rows().effects {
            self.row(height, effect.from.get(), effect.nonce.get());
        }
        for blob in batch.blobs().chunks(batch.header.blob_bytes.max(1) as usize) {
            if let Some((node, index)) = payload::name_of(blob) {
                self.note(height, node, index);
            }
        }
    }

    /// A row of a block; rows that no client here signed, or whose height no quorum had, are passed over.
    pub fn row(&mut self, height: Height, from: u32, nonce: u64) {
        if let Some((node, index)) = self.partition.place(from, nonce) {
            self.note(height, node, index);
        }
    }

    fn note(&mut self, height: Height, node: usize, index: u64) {
        let Some(&meant) = self.times.get(node).and_then(|times| times.get(index as usize)) else { return };
        let Some(&settled) = self.settled_at.get(&height.0) else { return };
        if (self.window.0..self.window.1).contains(&meant) {
            self.settled += 1;
            // It grows as needed, and no microseconds of a run are too many for it.
            let _ = self.histogram.record(settled.since(meant).as_micros() as u64);
        }
    }

    /// The percentiles; `None` if no transaction of the window settled.
    pub fn finish(self) -> Option<Latency> {
        let (from, until) = self.window;
        // Times of a lane ascend but for rows that an open loop sends late: counting reads them all.
        let meant: usize = self
            .times
            .iter()
            .map(|times| times.iter().filter(|&&time| (from..until).contains(&time)).count())
            .sum();
        let at = |quantile| self.histogram.value_at_quantile(quantile) as f64 / 1000.0;
        (self.settled > 0).then(|| Latency {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.histogram.max() as f64 / 1000.0,
            count: self.settled,
            unsettled: (meant as u64).saturating_sub(self.settled),
        })
    }
}

/// CPU and bytes between two marks per transaction and node; `None` if nothing settled.
pub fn costs(before: &Mark, after: &Mark, ok: u64) -> Option<(CpuCost, ByteCost)> {
    if ok == 0 {
        return None;
    }
    let nodes = after.cpu_ns.len() as f64;
    let per_tx_and_node = |amount: f64| amount / ok as f64 / nodes;
    let stage = |stage: usize| {
        let spent: u64 = (after.cpu_ns.iter().zip(&before.cpu_ns))
            .map(|(after, before)| after[stage].saturating_sub(before[stage]))
            .sum();
        per_tx_and_node(spent as f64 / 1000.0)
    };
    let bytes = |after: &[u64], before: &[u64]| {
        per_tx_and_node(after.iter().zip(before).map(|(a, b)| a.saturating_sub(*b) as f64).sum())
    };
    let generator = generator_seconds(before, after) * 1e6;
    let process = process_seconds(before, after) * 1e6;
    let [verify, execute, consensus, net, store] = std::array::from_fn(stage);
    let cpu = CpuCost {
        total: verify + execute + consensus + net + store,
        verify,
        execute,
        consensus,
        net,
        store,
        process: per_tx_and_node(process - generator),
        generator: generator / ok as f64,
    };
    let bytes = ByteCost {
        sent: bytes(&after.sent, &before.sent),
        received: bytes(&after.received, &before.received),
        stored: bytes(&after.stored, &before.stored),
    };
    Some((cpu, bytes))
}

/// How many cores were busy between two marks, on a machine with `cores`.
pub fn cores_busy(before: &Mark, after: &Mark, cores: usize) -> CoresBusy {
    let span = after.time.since(before.time).as_secs_f64().max(1e-6);
    let machine = before.ticks.zip(after.ticks).and_then(|(before, after)| {
        let total = after.1.checked_sub(before.1).filter(|&total| total > 0)?;
        Some(cores as f64 * after.0.saturating_sub(before.0) as f64 / total as f64)
    });
    CoresBusy {
        process: process_seconds(before, after) / span,
        generator: generator_seconds(before, after) / span,
        machine,
    }
}

fn process_seconds(before: &Mark, after: &Mark) -> f64 {
    after.process_cpu.saturating_sub(before.process_cpu).as_secs_f64()
}

fn generator_seconds(before: &Mark, after: &Mark) -> f64 {
    after.counts.cpu_ns.saturating_sub(before.counts.cpu_ns) as f64 / 1e9
}

/// Above this share of all cores the processor is what limits.
const CPU_SHARE: f64 = 0.9;
/// Above this share of one core for each of its lanes the generator is what limits.
const GENERATOR_SHARE: f64 = 0.8;
/// An open loop kept up if this share of what was offered settled.
const KEPT_UP: f64 = 0.98;

/// What kept the throughput from being higher. In this order: `generator` (it ran dry, or its threads were busy
/// nearly all the time), `offered rate` (an open loop's chain kept up with it), `cpu` (this process, or all
/// programs on the machine together, used nearly all cores), else `latency`: bounded queues were full while cores idled,
/// so the chain waited for rounds, disks or messages.
pub fn limited_by(
    dry: bool,
    offered: Option<f64>,
    tps: f64,
    busy: &CoresBusy,
    cores: usize,
    lanes: usize,
) -> &'static str {
    let cores = cores as f64;
    if dry || busy.generator > GENERATOR_SHARE * (lanes as f64).min(cores) {
        "generator"
    } else if offered.is_some_and(|offered| tps >= KEPT_UP * offered) {
        "offered rate"
    } else if busy.process.max(busy.machine.unwrap_or(0.0)) > CPU_SHARE * cores {
        "cpu"
    } else {
        "latency"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(height: u64, time: u64, rows: u32, ok: u32) -> Settled {
        Settled { height, time: Time(time), rows, ok }
    }

    #[test]
    fn only_blocks_inside_of_the_window_count() {
        let settled = [block(1, 99, 5, 5), block(2, 100, 10, 9), block(3, 150, 0, 0), block(4, 200, 7, 7)];
        let window = in_window(&settled, Time(100), Time(200));
        assert_eq!(window, InWindow { ok: 9, failed: 1, blocks: 2, full: 1 });
        assert_eq!(per_second(window.ok, Duration::from_millis(500)), 18.0);
        assert_eq!(per_second(3, Duration::ZERO), 0.0);
    }

    #[test]
    fn latency_counts_from_the_intended_time_and_names_what_never_settled() {
        let partition = Partition { accounts: 2, nodes: 2 };
        let times: [Vec<Time>; 2] =
            [(0..100).map(|i| Time(1000 * i)).collect(), (0..100).map(|i| Time(1000 * i)).collect()];
        let settled = [block(1, 200_000, 100, 100)];
        let lanes = times.iter().map(Vec::as_slice).collect();
        let mut latencies = Latencies::new(partition, lanes, (Time(0), Time(100_000)), &settled);
        for nonce in 1..=100 {
            latencies.row(Height(1), 1, nonce); // account 1 talks to node 0
        }
        latencies.row(Height(2), 2, 1); // a height that no quorum had
        latencies.row(Height(1), 77, 1); // nobody's
        let latency = latencies.finish().unwrap();
        assert_eq!((latency.count, latency.unsettled), (100, 100));
        let near = |found: f64, expected: f64| (found / expected - 1.0).abs() < 0.01;
        assert!(
            near(latency.p50, 150.0) && near(latency.p99, 199.0) && near(latency.max, 200.0),
            "{latency:?}"
        );
    }

    #[test]
    fn costs_are_means_over_nodes_per_transaction() {
        let before = Mark { cpu_ns: vec![[0; 5]; 2], sent: vec![0; 2], received: vec![5; 2], ..empty() };
        let after = Mark {
            cpu_ns: vec![[10_000_000, 0, 0, 0, 0], [30_000_000, 0, 4_000_000, 0, 0]],
            sent: vec![2_000, 4_000],
            received: vec![5; 2],
            process_cpu: Duration::from_millis(100),
            counts: Counts { cpu_ns: 20_000_000, ..Counts::default() },
            ..empty()
        };
        let (cpu, bytes) = costs(&before, &after, 1000).unwrap();
        assert_eq!((cpu.verify, cpu.consensus, cpu.total), (20.0, 2.0, 22.0));
        assert_eq!((cpu.process, cpu.generator), (40.0, 20.0));
        assert_eq!((bytes.sent, bytes.received), (3.0, 0.0));
        assert!(costs(&before, &after, 0).is_none());
    }

    fn empty() -> Mark {
        Mark { stored: vec![0; 2], ..Mark::default() }
    }

    #[test]
    fn what_limits_is_named_in_order() {
        let busy = |process, generator| CoresBusy { process, generator, machine: None };
        assert_eq!(limited_by(true, None, 1.0, &busy(2.0, 0.0), 2, 4), "generator");
        assert_eq!(limited_by(false, None, 1.0, &busy(2.0, 1.7), 2, 4), "generator");
        assert_eq!(limited_by(false, Some(100.0), 99.5, &busy(2.0, 0.1), 2, 4), "offered rate");
        assert_eq!(limited_by(false, Some(100.0), 60.0, &busy(1.9, 0.1), 2, 4), "cpu");
        assert_eq!(limited_by(false, None, 60.0, &busy(0.5, 0.1), 2, 4), "latency");
        let shared = CoresBusy { process: 1.0, generator: 0.1, machine: Some(2.0) };
        assert_eq!(limited_by(false, None, 60.0, &shared, 2, 4), "cpu");
    }
}
