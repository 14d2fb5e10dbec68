//! Observers, who have no seat, and guests, who are served without one.
//!
//! - **Upon a start without a seat**: nothing is ever signed, sealed or acked. All else is as on any node.
//! - **Upon acks of `f + 1` for a batch**: it is asked for at once, since nobody pushes it to who does not ack.
//! - **Before a block is executed by an observer**: every signature of the batches that it settles is checked here, also while
//!   it catches up. If one is bad, more than `f` validators are against the others: it says so and stops.
//! - **Upon a guest**: whatever vertex is accepted here it is told of; and it gets what it asks for. What it sends of its own is
//!   not looked at, so that a stranger makes this node check nothing. A lie that was shown to observers alone stays with them.
//! - **Upon an observer among the peers that this node chose itself**: it is a source like a validator, for an observer. What
//!   it gives is proved by others' signatures.
//!
//! Why a chain of observers is as good as one: a vertex is told of when it is accepted, so after all that it names; what was
//! missed meanwhile comes by frontier, and batches and blocks from whoever told of the vertices that name them.
//!
//! Bounds: the driver bounds the number of guests, and what each may ask for.

use super::batches::Check;
use super::{Node, Output};
use crate::types::{BatchRef, Height, Seat};
use crate::wire::{Batch, Message, SignedVertex};
use std::sync::Arc;
use thiserror::Error;

/// The validators settled what none of them may say is good.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "block {height} settles batch {sequence} of seat {author}, and a signature in it is bad: more validators lie than the \
     chain bears, so this observer does not follow them any further",
    sequence = batch.sequence, author = batch.author
)]
pub struct Forged {
    /// The height of the block.
    pub height: Height,
    /// The batch.
    pub batch: BatchRef,
}

impl Node {
    /// Whether the node has no seat.
    pub(super) fn observes(&self) -> bool {
        self.shared.seat == Seat::NONE
    }

    /// Somebody without a seat wants to be served.
    pub(super) fn on_guest(&mut self, guest: Seat) {
        self.guests.insert(guest);
        self.show_evidence(guest);
    }

    pub(super) fn on_guest_left(&mut self, guest: Seat) {
        self.guests.remove(guest);
        self.pushed.remove(&guest);
        self.court.forget_from(guest);
    }

    /// Tells guests of a vertex that is accepted.
    pub(super) fn tell_guests(&mut self, vertex: &Arc<SignedVertex>) {
        let guests: Vec<Seat> = self.guests.iter().collect();
        guests.into_iter().for_each(|guest| self.send(guest, Message::Vertex(vertex.clone())));
    }

    /// What a guest may say: that it wants something.
    pub(super) fn is_request(message: &Message) -> bool {
        matches!(
            message,
            Message::WantVertices(_)
                | Message::WantBatches(_)
                | Message::WantFrontier
                | Message::Frontier { .. }
                | Message::WantCertificate(_)
                | Message::WantBlocks { .. }
                | Message::WantRecord(_)
                | Message::WantSnapshots
                | Message::WantPiece { .. }
                | Message::WantEvidence(_)
        )
    }

    /// Whether an observer has checked all that the next block settles; what is not checked yet is given to be.
    pub(super) fn has_verified(&mut self, settled: &[Batch]) -> bool {
        let mut all = true;
        for batch in settled {
            match self.batches.get(&batch.id).map(|held| held.check) {
                Some(Check::Valid) => {}
                Some(Check::Invalid) => {
                    let height = self.chain.executed_height().next();
                    self.forged = Some(Forged { height, batch: batch.reference() });
                    return false;
                }
                Some(Check::No) => {
                    self.verify(&batch.id);
                    all = false;
                }
                Some(Check::Running) | None => all = false,
            }
        }
        all
    }

    /// Says that the node cannot go on, if it cannot.
    pub(super) fn report_forged(&mut self) {
        self.outputs.extend(self.forged.map(Output::Forged));
    }
}
