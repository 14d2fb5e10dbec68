//! Forged rows: a batch in which a signature is bad. Echoes: rows that others have sealed are handed on, so that they are sealed
//! again.
//!
//! What stands against it: `f + 1` must find every row good, of whom one is honest; who finds the bad one convicts its sealer,
//! with a proof that anybody can check. The home of a row that is handed on knows it; the next in rank hold it for a
//! while, in which it is executed.

use super::faces::reseal;
use super::{Hand, Letter, Tells};
use crate::types::Seat;
use crate::wire::client::Submission;
use crate::wire::{Batch, Message, Rows};
use std::collections::{BTreeMap, VecDeque};

/// Others' batches that are remembered for an echo.
const ECHOES_MAX: usize = 64;

pub(super) struct ForgedRows;

impl Tells for ForgedRows {
    fn batch(&mut self, hand: &Hand, _face: u8, batch: &Batch) -> Option<Batch> {
        let rows = batch.rows();
        let mut witnesses = rows.witnesses.to_vec();
        let place = batch.header.sequence.0 as usize % witnesses.len().max(1);
        // A bit of R: its x coordinate, or which point it is.
        witnesses.get_mut(place)?.0[7] ^= 1;
        Some(reseal(hand, batch, Rows { witnesses: &witnesses, ..rows }))
    }
}

/// What others sealed goes out with each own vertex, once to each peer.
#[derive(Default)]
pub(super) struct EchoRows {
    heard: VecDeque<Message>,
    /// How many were heard in all, and how many of them each peer was told.
    count: u64,
    told: BTreeMap<Seat, u64>,
}

impl Tells for EchoRows {
    fn hear(&mut self, hand: &Hand, message: &Message) {
        let Message::Batch(batch) = message else { return };
        if batch.header.author != hand.seat
            && let Some(rows) = Submission::pack(batch.rows())
        {
            self.count += 1;
            self.heard.push_back(Message::Rows(rows));
            if self.heard.len() > ECHOES_MAX {
                self.heard.pop_front();
            }
        }
    }

    fn tell(&mut self, hand: &Hand, to: Seat, message: &Message) -> Option<Vec<Letter>> {
        let own = matches!(message, Message::Vertex(vertex) if vertex.vertex.author == hand.seat);
        own.then(|| {
            let told = self.told.insert(to, self.count).unwrap_or(0);
            let new = usize::try_from(self.count - told).unwrap_or(usize::MAX).min(self.heard.len());
            let echoes = self.heard.iter().skip(self.heard.len() - new);
            echoes.chain([message]).map(|message| Letter::new(to, message)).collect()
        })
    }
}
