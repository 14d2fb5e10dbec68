//! What a node does while its disk has no room.
//!
//! - **Upon a full disk**: sign nothing, seal nothing, execute nothing, take in nothing that would have to be written: no
//!   vertex, no batch, no certificate, no block. What is under way comes to its end as far as the disk lets it, as on a slow
//!   one.
//! - **Upon a peer that asks** for what is here: serve it, as always.
//! - **Upon room again**: go on. What was passed over meanwhile is fetched as after any silence: vertices by frontiers, or,
//!   after a long one, blocks (`catch_up.rs`).
//!
//! Why that is safe: a full disk forgets nothing, and to its peers the node is one that is slow. Whatever it signed before is
//! on disk, or was never sent.

use super::Node;
use super::jobs::Done;
use crate::types::Seat;
use crate::wire::Message;

impl Node {
    pub(super) fn on_disk_full(&mut self, full: bool) {
        if std::mem::replace(&mut self.full, full) && !full {
            self.wait_anew();
        }
    }

    /// Only questions are heard, whose answers need no room, and proofs of lies: of each author one at most is kept.
    pub(super) fn on_message_when_full(&mut self, from: Seat, message: Message) {
        let heard = matches!(
            message,
            Message::WantVertices(_)
                | Message::WantBatches(_)
                | Message::Frontier { .. }
                | Message::WantCertificate(_)
                | Message::WantFrontier
                | Message::WantBlocks { .. }
                | Message::WantRecord(_)
                | Message::WantSnapshots
                | Message::WantPiece { .. }
                | Message::WantEvidence(_)
                | Message::Evidence(_)
        );
        if heard {
            self.on_message(from, message);
        }
    }

    /// What others sent before is let go of, as if it had been lost; it is asked for again. What was begun here goes on.
    pub(super) fn on_done_when_full(&mut self, done: Done) {
        match done {
            Done::Vertex { vertex, .. } => _ = self.checking.remove(&(vertex.id, vertex.signature)),
            Done::Batch { from, batch, .. } => _ = self.checking_batches.remove(&(from, batch.id)),
            Done::Certificate { .. } => {}
            done => self.on_done(done),
        }
    }
}
