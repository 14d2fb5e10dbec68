//! Acks that are not true: `Valid` without holding the batch, `Invalid` for a good one, and `Valid` that can never count, since
//! the slot was acked with an invented id before. And acks that are not made: who is drawn to verify a batch does not.
//!
//! What stands against it: a quorum of acks holds `Q - f` honest ones, and who sees `f + 1` fetches from all of these; `f + 1`
//! times `Valid` hold an honest one; `Invalid` neither counts nor bars, and with a proof it convicts its sender; only acks that the order
//! counts, or may still count, keep others from verifying; who is late with what is drawn to it far more often than others is not
//! waited for.

use super::{Hand, Letter, Tells};
use crate::crypto::plain;
use crate::types::params::ACKS_MAX;
use crate::types::{Ack, BatchId, BatchRef, Part, Seat, Sequence, Verdict, Vertex};
use crate::wire::{Accusation, Batch, Message};
use std::collections::{BTreeMap, VecDeque};

/// Batches heard of, or held, that are remembered at most; the oldest go first.
const HEARD_MAX: usize = 1024;
const HELD_MAX: usize = 16;
/// So far ahead of an author invented ids are acked.
const AHEAD: u64 = 8;

#[derive(Default)]
pub(super) struct BlindAcks {
    heard: VecDeque<BatchRef>,
    /// In which own round each was acked.
    said: BTreeMap<BatchRef, u64>,
}

impl Tells for BlindAcks {
    fn hear(&mut self, hand: &Hand, message: &Message) {
        let of_batch = match message {
            Message::Batch(batch) => vec![batch.reference()],
            Message::Vertex(vertex) => vertex.vertex.acks.iter().map(|ack| ack.batch).collect(),
            _ => Vec::new(),
        };
        for batch in of_batch {
            if batch.author != hand.seat && !self.said.contains_key(&batch) && !self.heard.contains(&batch) {
                self.heard.push_back(batch);
            }
        }
        while self.heard.len() > HEARD_MAX {
            self.heard.pop_front();
        }
    }

    fn vertex(&mut self, _hand: &Hand, _face: u8, vertex: &mut Vertex) {
        let round = vertex.round.0;
        for batch in self.heard.drain(..) {
            self.said.entry(batch).or_insert(round);
        }
        for ack in vertex.acks.iter_mut().filter(|ack| ack.verdict == Verdict::Held) {
            ack.verdict = Verdict::Valid;
        }
        for (batch, _) in self.said.iter().filter(|(_, said)| **said == round) {
            let spoken = |ack: &Ack| (ack.batch.author, ack.batch.sequence) == (batch.author, batch.sequence);
            if vertex.acks.len() < ACKS_MAX && !vertex.acks.iter().any(spoken) {
                vertex.acks.push(Ack { batch: *batch, verdict: Verdict::Valid });
            }
        }
        if self.said.len() > 4 * HEARD_MAX {
            self.said.retain(|_, said| *said + 1_000 > round);
        }
    }

    fn tell(&mut self, hand: &Hand, _to: Seat, message: &Message) -> Option<Vec<Letter>> {
        let kept = matches!(message, Message::Batch(batch) if batch.header.author != hand.seat);
        kept.then(Vec::new)
    }
}

/// Of every batch to come an invented id is acked before it is there, and the batch itself as valid once it is.
#[derive(Default)]
pub(super) struct TwoAcks {
    /// By author: the highest sequence heard of, and up to which one was acked an invented id.
    slots: BTreeMap<Seat, (u64, u64)>,
}

impl Tells for TwoAcks {
    fn hear(&mut self, hand: &Hand, message: &Message) {
        if let Message::Batch(batch) = message
            && batch.header.author != hand.seat
        {
            let (heard, _) = self.slots.entry(batch.header.author).or_default();
            *heard = (*heard).max(batch.header.sequence.0);
        }
    }

    fn vertex(&mut self, _hand: &Hand, _face: u8, vertex: &mut Vertex) {
        for ack in vertex.acks.iter_mut().filter(|ack| ack.verdict == Verdict::Held) {
            ack.verdict = Verdict::Valid;
        }
        for (&author, (heard, invented)) in &mut self.slots {
            for sequence in (*invented).max(*heard) + 1..=*heard + AHEAD {
                if vertex.acks.len() >= ACKS_MAX {
                    return;
                }
                let id = BatchId(plain(&[&author.0.to_le_bytes()[..], &sequence.to_le_bytes()].concat()));
                let batch = BatchRef { author, sequence: Sequence(sequence), id };
                vertex.acks.push(Ack { batch, verdict: Verdict::Held });
                *invented = sequence;
            }
        }
    }
}

/// It takes part in all but the work of verifying: no proof can ever be held against it.
pub(super) struct IdleAcks {
    pub mute: bool,
}

impl Tells for IdleAcks {
    fn vertex(&mut self, hand: &Hand, _face: u8, vertex: &mut Vertex) {
        let others = |ack: &Ack| ack.batch.author != hand.seat;
        if self.mute {
            vertex.acks.retain(|ack| !others(ack));
        }
        for ack in vertex.acks.iter_mut().filter(|ack| others(ack) && ack.verdict == Verdict::Valid) {
            ack.verdict = Verdict::Held;
        }
    }
}

pub(super) struct FalseAccusation {
    proof: bool,
    held: VecDeque<Batch>,
}

impl FalseAccusation {
    pub fn new(proof: bool) -> FalseAccusation {
        FalseAccusation { proof, held: VecDeque::new() }
    }
}

impl Tells for FalseAccusation {
    fn hear(&mut self, hand: &Hand, message: &Message) {
        if let Message::Batch(batch) = message
            && batch.header.author != hand.seat
        {
            self.held.push_back(batch.clone());
            if self.held.len() > HELD_MAX {
                self.held.pop_front();
            }
        }
    }

    fn vertex(&mut self, hand: &Hand, _face: u8, vertex: &mut Vertex) {
        for ack in vertex.acks.iter_mut().filter(|ack| ack.batch.author != hand.seat) {
            ack.verdict = Verdict::Invalid;
        }
        let accused = self.held.get(vertex.round.0 as usize % HELD_MAX).filter(|_| self.proof);
        if let Some(accusation) = accused.and_then(|batch| Accusation::new(batch, 0)) {
            vertex.parts.retain(|part| part.tag() < Part::ACCUSATION);
            vertex.parts.push(Part::Accusation(accusation.encode()));
        }
    }
}
