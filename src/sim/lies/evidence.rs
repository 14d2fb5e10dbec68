//! Evidence that proves nothing: forged, of another epoch, about good rows, about accounts that nobody has opened, a
//! certificate that nobody asked for; again and again, against honest seats and against the liar's friends.
//!
//! What stands against it: evidence convicts by the accused's own signatures only; what proves nothing is held against the
//! peer that sent it; what cannot be judged yet takes one place for each of `f` seats.

use super::{Hand, Letter, Tells};
use crate::sim::random::{below, draw};
use crate::types::{BlockHash, Certificate, Effect, Epoch, Height, Seat, Sequence, Witness};
use crate::wire::{
    Accusation, Batch, Evidence, Message, Rows, SignedHeader, SignedVertex, seal, sign_checkpoint,
    sign_vertex,
};
use std::collections::VecDeque;
use std::sync::Arc;

/// Vertices and batches that are remembered, of each.
const HEARD_MAX: usize = 16;
/// The kinds of what it sends.
const KINDS: u64 = 7;
/// The purpose of draws.
const CHOICE: u64 = 67;

#[derive(Default)]
pub(super) struct FalseEvidence {
    vertices: VecDeque<Arc<SignedVertex>>,
    batches: VecDeque<Batch>,
    /// Counts what was drawn.
    count: u64,
}

impl FalseEvidence {
    fn draw(&mut self, hand: &Hand) -> u64 {
        self.count += 1;
        draw(hand.seed, &[CHOICE, hand.seat.0.into(), self.count])
    }

    fn make_up(&mut self, hand: &Hand) -> Option<Message> {
        let (kind, choice) = (below(self.draw(hand), KINDS), self.draw(hand));
        let (epoch, seats) = (hand.genesis.committee().epoch, hand.genesis.seats.len() as u64);
        // Anybody but itself, whom it would convict.
        let victim = Seat(((u64::from(hand.seat.0) + 1 + below(choice, seats - 1)) % seats) as u16);
        let vertex = self.vertices.get(below(choice, self.vertices.len().max(1) as u64) as usize);
        let batch = self.batches.get(below(choice, self.batches.len().max(1) as u64) as usize);
        let votes = |epoch: Epoch, seat: Seat| {
            let vote =
                |byte| sign_checkpoint(&hand.key, &hand.chain, epoch, Height(64), BlockHash([byte; 32]));
            Evidence::of_votes(epoch, seat, &vote(1), &vote(2))
        };
        let evidence = match kind {
            0 => {
                let mut other = vertex?.vertex.clone();
                other.time.0 += 1;
                Evidence::of_vertices(vertex?, &Arc::new(sign_vertex(&hand.key, &hand.chain, other)))
            }
            1 => {
                let (header, rows) = (&batch?.header, batch?.rows());
                let slot = (header.epoch, header.author, header.sequence);
                let other = seal(&hand.key, &hand.chain, slot, header.accounts + 1, rows);
                Evidence::of_batches(&SignedHeader::of(batch?), &SignedHeader::of(&other))
            }
            2 => votes(Epoch(epoch.0 + 1), victim),
            3 => votes(epoch, victim),
            4 => Accusation::new(batch?, 0).map(Evidence::BadRow),
            5 => {
                // Signed by the liar itself, about accounts that may be opened some day, or never.
                let accounts = hand.genesis.accounts.len() as u32 + 2 + below(choice, 1 << 24) as u32;
                let effects = [Effect::transfer(accounts - 1, 1, 1, 1, hand.genesis.rules.fee_min)];
                let rows = Rows { effects: &effects, keys: &[], witnesses: &[Witness([7; 64])] };
                let slot = (epoch, hand.seat, Sequence(1 << 40));
                let accounts = accounts.min(crate::types::params::ACCOUNTS_MAX);
                Accusation::new(&seal(&hand.key, &hand.chain, slot, accounts, rows), 0).map(Evidence::BadRow)
            }
            _ => {
                let votes = (0..hand.genesis.committee().quorum() as u16).map(|seat| (Seat(seat), [5; 64]));
                let (height, hash, votes) =
                    (Height(64 + choice % 8 * 64), BlockHash([3; 32]), votes.collect());
                return Some(Message::Certificate(Arc::new(Certificate { epoch, height, hash, votes })));
            }
        };
        evidence.map(|evidence| Message::Evidence(Arc::new(evidence)))
    }
}

impl Tells for FalseEvidence {
    fn hear(&mut self, hand: &Hand, message: &Message) {
        match message {
            Message::Vertex(vertex) if vertex.vertex.author != hand.seat => {
                self.vertices.push_back(vertex.clone());
                self.vertices.drain(..self.vertices.len().saturating_sub(HEARD_MAX));
            }
            Message::Batch(batch) if batch.header.author != hand.seat => {
                self.batches.push_back(batch.clone());
                self.batches.drain(..self.batches.len().saturating_sub(HEARD_MAX));
            }
            _ => {}
        }
    }

    fn tell(&mut self, hand: &Hand, to: Seat, message: &Message) -> Option<Vec<Letter>> {
        let own = matches!(message, Message::Vertex(vertex) if vertex.vertex.author == hand.seat);
        own.then(|| {
            let made_up = self.make_up(hand);
            made_up.iter().chain([message]).map(|message| Letter::new(to, message)).collect()
        })
    }
}
