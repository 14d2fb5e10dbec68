//! What a run measures, in virtual time.

use super::check::NewBlock;
use super::clients::{Clients, FIRST};
use super::config::SimConfig;
use super::queue::{Nanos, US};
use crate::node::Progress;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// The longest latency that a histogram tells apart: an hour, in microseconds.
const LATENCY_US_MAX: u64 = 3_600_000_000;
/// First sendings of vertices that are remembered at most; the lowest rounds go first.
const SENT_MAX: usize = 1 << 17;

/// A block that some node wrote.
struct Written {
    /// When its rows were meant to be sent.
    intended: Vec<Nanos>,
    ok: u64,
    leader_sent: Option<Nanos>,
    /// On how many nodes it is durable.
    durable: usize,
}

/// Counters of a run.
pub struct Stats {
    quorum: usize,
    load: u64,
    healed: Nanos,
    blocks: Vec<Written>,
    vertices: BTreeMap<(u64, u16), Nanos>,
    /// From the intended sending of a row until it is durable on a quorum, in microseconds.
    pub rows_us: Histogram<u64>,
    /// From the sending of a committed leader until its block is durable on a quorum, in microseconds.
    pub leaders_us: Histogram<u64>,
    /// Rows durable on a quorum.
    pub settled: u64,
    /// Those of them that moved something.
    pub ok: u64,
    /// The highest block durable on a quorum.
    pub height: u64,
    /// When something that began after the last fault was durable on a quorum first, and in which block.
    pub resumed: Option<(Nanos, u64)>,
    /// Rows that nodes admitted, and refused.
    pub admitted: u64,
    /// See above.
    pub refused: u64,
    /// Events planned at once at most.
    pub events_max: usize,
    /// Where the nodes stood when the last fault was over.
    pub at_heal: Option<Vec<Progress>>,
}

impl Stats {
    /// Nothing measured.
    pub fn new(config: &SimConfig, healed: Nanos) -> Stats {
        let histogram =
            || Histogram::new_with_max(LATENCY_US_MAX, 3).expect("its bounds are constants that fit");
        Stats {
            quorum: config.quorum(),
            load: config.load,
            healed,
            blocks: Vec::new(),
            vertices: BTreeMap::new(),
            rows_us: histogram(),
            leaders_us: histogram(),
            settled: 0,
            ok: 0,
            height: 0,
            resumed: None,
            admitted: 0,
            refused: 0,
            events_max: 0,
            at_heal: None,
        }
    }

    /// A vertex was sent.
    pub fn vertex_sent(&mut self, round: u64, author: u16, now: Nanos) {
        self.vertices.entry((round, author)).or_insert(now);
        if self.vertices.len() > SENT_MAX {
            self.vertices.pop_first();
        }
    }

    /// The first node wrote the next block.
    pub fn block(&mut self, new: NewBlock, clients: &mut Clients) {
        let leader = (new.block.leader.round.0, new.block.leader.author.0);
        let intended =
            new.used.iter().filter_map(|(account, nonce)| clients.settled(*account, *nonce)).collect();
        let leader_sent = self.vertices.get(&leader).copied();
        self.blocks.push(Written { intended, ok: new.ok, leader_sent, durable: 0 });
    }

    /// A block is durable on one more node.
    pub fn durable(&mut self, height: u64, now: Nanos) {
        let Some(block) = self.blocks.get_mut(height as usize - 1) else { return };
        block.durable += 1;
        if block.durable != self.quorum {
            return;
        }
        let after = self.healed.max(FIRST);
        let fresh = match self.load {
            0 => block.leader_sent.is_some_and(|sent| sent >= after),
            _ => block.intended.iter().any(|intended| *intended >= after),
        };
        if fresh {
            self.resumed.get_or_insert((now, height));
        }
        self.height = self.height.max(height);
        self.settled += block.intended.len() as u64;
        self.ok += block.ok;
        for intended in std::mem::take(&mut block.intended) {
            self.rows_us.saturating_record(now.saturating_sub(intended) / US);
        }
        if let Some(sent) = block.leader_sent {
            self.leaders_us.saturating_record(now.saturating_sub(sent) / US);
        }
    }

    /// The nodes were looked at.
    pub fn sampled(&mut self, now: Nanos, progress: impl Iterator<Item = Progress>) {
        if now >= self.healed && self.at_heal.is_none() {
            self.at_heal = Some(progress.collect());
        }
    }
}
