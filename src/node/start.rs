//! What one may sign after a start.
//!
//! The guard says what was signed last, by the rule that it is on disk before a vertex or a batch is sent. The log says the
//! same, and more; but its newest records may be lost.

use super::Node;
use crate::store::{Guard, GuardState};
use crate::types::{Ack, Seat, Sequence, VertexRef};
use crate::wire::SignedVertex;

impl Node {
    /// What the guard must say by now.
    pub fn guard(&self) -> Guard {
        self.guard
    }

    /// Takes in what the guard says, after the log was replayed: no slot up to there is signed again.
    pub(super) fn take_guard(&mut self, state: GuardState) {
        let GuardState::Intact(guard) = state else { return };
        if guard.epoch != self.guard.epoch {
            return;
        }
        if guard.round > self.guard.round {
            (self.guard.round, self.guard.id) = (guard.round, guard.id);
            self.pace.found(guard.round);
            // The log lost its end: whoever was sent the vertex gives it back.
            let me = self.shared.seat;
            let forgotten = VertexRef { round: guard.round, author: me, id: guard.id };
            let others = self.shared.committee.iter().filter(|&seat| seat != me);
            let others: Vec<Seat> = others.collect();
            others.into_iter().for_each(|seat| self.want_vertices.want(forgotten, me, seat, self.now));
        }
        self.guard.sequence = self.guard.sequence.max(guard.sequence);
        self.next_sequence = self.next_sequence.max(Sequence(guard.sequence.0.saturating_add(1)));
    }

    /// An own vertex that was made in an earlier life, from the log or given back by a peer.
    pub(super) fn signed_before(&mut self, signed: &SignedVertex) {
        let vertex = &signed.vertex;
        self.pace.found(vertex.round);
        self.guard_vertex(signed);
        self.signing.found(signed);
        vertex.acks.iter().for_each(|ack: &Ack| self.batches.said(ack));
        if !vertex.acks.is_empty() {
            self.own_acks.insert(vertex.round, vertex.acks.clone());
        }
    }

    /// The guard must know of an own vertex.
    pub(super) fn guard_vertex(&mut self, signed: &SignedVertex) {
        if signed.vertex.round > self.guard.round {
            (self.guard.round, self.guard.id) = (signed.vertex.round, signed.id);
        }
    }

    /// The guard must know of an own batch.
    pub(super) fn guard_batch(&mut self, sequence: Sequence) {
        self.guard.sequence = self.guard.sequence.max(sequence);
    }
}
