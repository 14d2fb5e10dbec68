//! Keeping back: batches from some, the vertex of a round that the seat leads from some or for a while, rows
//! from the chain.
//!
//! What stands against it: what `f + 1` ack is fetched from them; a batch that lacks a quorum dies below its author's window,
//! and its rows travel through others; a leader that is not heard is skipped after a bounded wait, and gives way; who is
//! shown less than others is relayed to, and fetches what an accepted vertex names; a row that its home swallows is sealed by
//! the next in rank.

use super::{Hand, Letter, Tells};
use crate::types::Seat;
use crate::wire::Message;

pub(super) struct Withhold {
    pub from: Vec<u16>,
}

impl Tells for Withhold {
    fn tell(&mut self, _hand: &Hand, to: Seat, message: &Message) -> Option<Vec<Letter>> {
        let kept = matches!(message, Message::Batch(_)) && self.from.contains(&to.0);
        kept.then(Vec::new)
    }
}

pub(super) struct SilentLeader {
    pub from: Vec<u16>,
    pub late_us: u64,
}

impl Tells for SilentLeader {
    fn tell(&mut self, hand: &Hand, to: Seat, message: &Message) -> Option<Vec<Letter>> {
        let Message::Vertex(vertex) = message else { return None };
        let mine = vertex.vertex.author == hand.seat && hand.leads;
        let after = self.late_us * crate::sim::queue::US;
        (mine && self.from.contains(&to.0)).then(|| {
            let late = (after > 0).then(|| Letter { after, ..Letter::new(to, message) });
            late.into_iter().collect()
        })
    }
}

pub(super) struct Swallow;

impl Tells for Swallow {
    fn swallows_rows(&self) -> bool {
        true
    }
}
