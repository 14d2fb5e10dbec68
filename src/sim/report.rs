//! What a run tells, for people and for programs.

use super::config::Crypto;
use super::plan::Plan;
use super::queue::{MS, Nanos, SECOND};
use super::verdict::Verdict;
use super::world::World;
use crate::types::regions;
use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies in virtual milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Half were not longer.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// Ninety-nine of a hundred.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// One node at the end of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeReport {
    /// Its seat.
    pub node: u16,
    /// Its region, if the world has any.
    pub region: Option<&'static str>,
    /// `running`, `down` or `silent`.
    pub state: &'static str,
    /// It lies at some time.
    pub lies: bool,
    /// The last block durable on it.
    pub height: u64,
    /// The round of its last vertex.
    pub round: u64,
    /// Times that it stopped.
    pub crashes: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// Messages read.
    pub messages: u64,
    /// Pieces of account tables that it was given.
    pub pieces: u64,
    /// Times that damage left its log nothing to begin with.
    pub abandoned: u64,
    /// Bytes that became durable on it.
    pub stored: u64,
    /// Modelled CPU time as a share of one core.
    pub cores_busy: f64,
}

/// The first proof against a liar.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Conviction {
    /// Whom it speaks against.
    pub node: u16,
    /// What it proves.
    pub kind: &'static str,
    /// The honest node that convicted it first.
    pub by: u16,
    /// When, in virtual seconds.
    pub at_s: f64,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunReport {
    /// Nodes.
    pub nodes: u16,
    /// The seed.
    pub seed: u64,
    /// What is said of it.
    pub verdict: Verdict,
    /// Why, unless it agreed.
    pub reason: Option<String>,
    /// The hash over all events: the same for the same plan.
    pub trace_hash: String,
    /// Events in the trace.
    pub events: u64,
    /// Virtual time that passed, in seconds.
    pub virtual_s: f64,
    /// How signatures were checked.
    pub crypto: Crypto,
    /// Faults and lies in the plan.
    pub faults: usize,
    /// The nodes that lie at some time.
    pub liars: Vec<u16>,
    /// More nodes lie, forget or never start than the `f` for which anything is promised.
    pub beyond: bool,
    /// Who was convicted by an honest node, the earliest first.
    pub convicted: Vec<Conviction>,
    /// Whom, after a rule was broken, all that honest nodes have on disk proves to have lied, and of what.
    pub proven: Vec<(u16, &'static str)>,
    /// When the last of them was over, in virtual seconds.
    pub healed_s: f64,
    /// When something that began after that was durable on a quorum.
    pub resumed_s: Option<f64>,
    /// The highest block durable on a quorum.
    pub height: u64,
    /// The highest block of which a node keeps a certificate.
    pub certified: u64,
    /// Rows that clients sent; those sent again are counted apart.
    pub sent: u64,
    /// Rows sent again because they had not settled.
    pub repeated: u64,
    /// Rows admitted to a mempool.
    pub admitted: u64,
    /// Rows refused.
    pub refused: u64,
    /// How often an honest node sealed a row that another honest one had sealed: none, where nothing goes wrong.
    pub sealed_again: u64,
    /// Rows settled and durable on a quorum.
    pub settled: u64,
    /// Rows sent and not settled.
    pub unsettled: u64,
    /// Rows settled per second, from the first row on.
    pub tps: f64,
    /// From a row's intended sending until it is durable on a quorum.
    pub latency_ms: Option<Latency>,
    /// From a committed leader's sending until its block is durable on a quorum.
    pub leader_ms: Option<Latency>,
    /// Three message delays: three times the mean over all nodes of what a quorum's answers take one way.
    pub ideal_ms: f64,
    /// Messages that found no room in a queue.
    pub messages_dropped: u64,
    /// Messages that faults took.
    pub messages_lost: u64,
    /// Each node.
    pub places: Vec<NodeReport>,
}

impl World {
    /// The report, as of now.
    pub fn report_now(&mut self) -> RunReport {
        let (verdict, reason) = self.verdict();
        let seconds = |at: Nanos| at as f64 / SECOND as f64;
        let config = &self.plan.config;
        let sending = self.now.saturating_sub(super::clients::FIRST).max(1);
        RunReport {
            nodes: config.nodes,
            seed: config.seed,
            verdict,
            reason,
            trace_hash: self.trace.hash(),
            events: self.trace.events(),
            virtual_s: seconds(self.now),
            crypto: config.crypto,
            faults: self.plan.faults.len(),
            liars: self.plan.liars(),
            beyond: self.plan.faulty().len() > config.faulty_max(),
            convicted: self.convictions.clone(),
            proven: if self.violation.is_some() { self.checks.proven() } else { Vec::new() },
            healed_s: seconds(self.plan.healed()),
            resumed_s: self.stats.resumed.map(|(when, _)| seconds(when)),
            height: self.stats.height,
            certified: self.checks.certified(),
            sent: self.clients.sent,
            repeated: self.clients.repeated,
            admitted: self.stats.admitted,
            refused: self.stats.refused,
            sealed_again: self.checks.sealed_again(),
            settled: self.stats.settled,
            unsettled: self.clients.unsettled() as u64,
            tps: self.stats.settled as f64 / seconds(sending),
            latency_ms: latency(&self.stats.rows_us),
            leader_ms: latency(&self.stats.leaders_us),
            ideal_ms: self.ideal_ms(),
            messages_dropped: self.network.dropped,
            messages_lost: self.network.lost,
            places: (0..config.nodes).map(|seat| self.node_report(seat)).collect(),
        }
    }

    fn node_report(&self, seat: u16) -> NodeReport {
        let place = &self.places[usize::from(seat)];
        let (sent, received) = self.network.traffic(seat);
        let state = match (&place.machine, place.silent) {
            (_, true) => "silent",
            (Some(_), _) => "running",
            (None, _) => "down",
        };
        NodeReport {
            node: seat,
            region: self.network.region(seat).map(|region| regions::NAMES[region]),
            state,
            lies: place.lies,
            height: place.told,
            round: place.progress.round,
            crashes: place.tally.crashes,
            sent,
            received,
            messages: place.tally.messages,
            pieces: place.tally.pieces,
            abandoned: place.tally.abandoned,
            stored: place.disk.bytes,
            cores_busy: place.cpu.busy as f64 / self.now.max(1) as f64,
        }
    }

    fn ideal_ms(&self) -> f64 {
        let nodes = self.plan.config.nodes;
        let quorum = self.plan.config.quorum();
        let reach = |seat: u16| {
            let own = |other: u16| if other == seat { 0 } else { self.network.latency_mean(other, seat) };
            let mut delays: Vec<Nanos> = (0..nodes).map(own).collect();
            delays.sort_unstable();
            delays[quorum - 1]
        };
        let sum: Nanos = (0..nodes).map(reach).sum();
        3.0 * sum as f64 / f64::from(nodes) / MS as f64
    }
}

fn latency(histogram: &Histogram<u64>) -> Option<Latency> {
    let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1000.0;
    (!histogram.is_empty()).then(|| Latency {
        count: histogram.len(),
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        max: histogram.max() as f64 / 1000.0,
    })
}

/// A plan that failed, after leaving out what was not needed for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shrunk {
    /// The plan.
    pub plan: Plan,
    /// How many runs that took.
    pub runs: usize,
}
