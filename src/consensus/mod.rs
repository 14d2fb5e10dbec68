//! Agreement: a DAG of signed vertices, and the one order that all nodes read from it.
//!
//! Rules of this room. It knows digests, not contents: batches are names here. It never asks for the time; whoever
//! calls says what time it is.
//!
//! - **Upon a vertex** that is well-formed and signed: accept it once all its parents are accepted ([`Dag`]). Until
//!   then it waits, in a space that is bounded per author. One vertex per author and round is taken unasked; a twin
//!   only if a taken vertex of another author names it, so that a two-faced author fills nobody's memory, and yet
//!   nobody who was shown the other face is stuck.
//! - **Upon an accepted vertex**: decide leader slots. Every round is a leader round. A vertex of round `r + 1` votes
//!   for the leader's vertex of round `r` among its strong parents; a vertex of `r + 2` whose strong parents hold a
//!   quorum of such votes certifies it; a quorum of certificates commits. This is the decision rule of the Mysticeti
//!   family of uncertified DAGs (Babel et al., 2023), without its multiple leaders.
//! - **Who leads**: each seat in turn; seats that were skipped lately give way, by the emitted leaders alone.
//! - **Upon a committed leader** whose earlier slots are all decided: output its history in a fixed order, count the
//!   acks in it ([`Settlement`]), and emit one link of the chain.
//! - **Checkpoints** ([`Checkpoints`]): votes on executed blocks, counted beside the order; no decision depends on them.
//! - **A late comer** goes on from the record of a leader ([`Consensus::from_record`]) as the others do.
//! - **Pace** ([`Pace`]): a round is entered when a quorum of the round before is accepted, one's own vertex among it,
//!   and left once the leader was heard, or after twice the message delay.
//!
//! Why that is safe: two quorums share an honest validator, which votes once per round; so no slot gets both a quorum
//! of certificates and a quorum of blanks, and whoever decides later finds the certificate among the ancestors of any
//! later leader. Why it is deterministic: decisions and outputs are pure functions of the accepted vertices, whatever
//! the order in which they came; all containers are ordered.

mod ballot;
mod checkpoint;
mod dag;
mod decide;
mod draw;
mod order;
mod pace;
mod parents;
mod record;
mod retention;
mod schedule;
mod settle;
mod waiting;

#[cfg(test)]
mod tests;

pub use checkpoint::{CertificateError, Checkpoints, Counted, Divergence, verify_certificate};
pub use dag::{Dag, Insert, Spot};
pub use draw::{Draw, draw, epoch_seed};
pub use pace::{Load, Pace};
pub use record::RecordError;
pub use retention::Retention;
pub use settle::Settlement;

use crate::types::{BatchRef, Genesis, LeaderRef, Seat, Time, VertexRef};
use crate::wire::SignedVertex;
use decide::Decider;
use std::sync::Arc;

/// One link of the order: what a committed leader brought.
#[derive(Debug)]
pub struct Emitted {
    /// The leader.
    pub leader: LeaderRef,
    /// The time of its block.
    pub time: Time,
    /// The batches that it settles, in execution order.
    pub settled: Vec<BatchRef>,
    /// The vertices that it outputs, in order.
    pub output: Vec<Arc<SignedVertex>>,
    /// Vertices that the raised floor let in: they waited only for what now lies below it.
    pub accepted: Vec<Arc<SignedVertex>>,
}

/// Agreement in one epoch: the DAG, its decisions and the settlement of batches.
#[derive(Debug)]
pub struct Consensus {
    dag: Dag,
    decider: Decider,
    settlement: Settlement,
    depth: u64,
    time: Time,
    /// The last emitted leader.
    leader: Option<LeaderRef>,
}

impl Consensus {
    /// Agreement from the genesis on, as seen by a seat (`None`: an onlooker).
    pub fn new(genesis: &Genesis, me: Option<Seat>) -> Consensus {
        let (committee, rules) = (genesis.committee(), &genesis.rules);
        let settlement = Settlement::new(&committee, rules.policy, rules.window);
        let dag = Dag::new(committee, rules.depth, me);
        let (decider, depth, time) = (Decider::default(), rules.depth, genesis.time);
        Consensus { dag, decider, settlement, depth, time, leader: None }
    }

    /// The accepted vertices.
    pub fn dag(&self) -> &Dag {
        &self.dag
    }

    /// The counted acks.
    pub fn settlement(&self) -> &Settlement {
        &self.settlement
    }

    /// From now on keeps so much for peers that are behind.
    pub fn keep(&mut self, kept: Retention) {
        self.dag.keep(kept);
    }

    /// How much is kept for peers that are behind.
    pub fn kept(&self) -> Retention {
        self.dag.kept()
    }

    /// Offers a well-formed vertex whose signature holds.
    pub fn insert(&mut self, vertex: Arc<SignedVertex>) -> Insert {
        self.dag.insert(vertex)
    }

    /// Takes a vertex again that was accepted in an earlier life of this node (see [`Dag::restore`]).
    pub fn restore(&mut self, vertex: Arc<SignedVertex>) -> Insert {
        self.dag.restore(vertex)
    }

    /// Keeps a vertex from below the floor for peers that are behind (see [`Dag::recall`]).
    pub fn recall(&mut self, vertex: Arc<SignedVertex>) {
        self.dag.recall(vertex);
    }

    /// Own vertices name none of a seat that is proven to lie (see [`Dag::shun`]).
    pub fn shun(&mut self, seat: Seat) {
        self.dag.shun(seat);
    }

    /// Parents for the own vertex of a round (see [`Dag::choose_parents`]).
    pub fn choose_parents(&mut self, round: crate::types::Round) -> (Vec<VertexRef>, Vec<VertexRef>) {
        self.dag.choose_parents(round)
    }

    /// The next link of the order, if the accepted vertices decide one. Call until there is none.
    pub fn next_emitted(&mut self) -> Option<Emitted> {
        let (skipped, spot) = self.decider.next(&mut self.dag)?;
        self.time = self.time.max(self.median_time(spot));
        let leader = self.dag.entry(spot).vertex.reference();
        let output = order::output(&mut self.dag, spot, self.depth);
        let settled = self.settlement.count(&output);
        let accepted = self.dag.emitted(&skipped, spot);
        let leader = LeaderRef { round: leader.round, author: leader.author, id: leader.id };
        self.leader = Some(leader);
        Some(Emitted { leader, time: self.time, settled, output, accepted })
    }

    /// The lower median of the times of the leader's strong parents: no single lying clock moves it. Round 1 has no
    /// parents; its time is that of the genesis.
    fn median_time(&self, leader: Spot) -> Time {
        let strong = self.dag.entry(leader).strong_parents();
        let mut times: Vec<Time> = strong.iter().map(|&p| self.dag.entry(p).vertex.vertex.time).collect();
        times.sort_unstable();
        times.get(times.len().saturating_sub(1) / 2).copied().unwrap_or(self.time)
    }
}
