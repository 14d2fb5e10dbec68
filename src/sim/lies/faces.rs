//! Two faces: two vertices of a round, two batches of a sequence, two votes on a checkpoint.
//!
//! What stands against it: two of one slot are evidence for whoever has both; a twin that an honest vertex names is fetched;
//! of twins one is output; only the first id that a validator acks in a slot counts; the first vote of a seat counts.

use super::{Hand, Tells};
use crate::types::params::{CHECKPOINT_VOTES_MAX, ROWS_MAX};
use crate::types::{CheckpointVote, Part, Seat, Vertex};
use crate::wire::{Batch, Rows, seal, sign_checkpoint};
use std::collections::BTreeMap;

pub(super) struct TwoVertices {
    pub to: Vec<u16>,
    pub chain: bool,
}

impl Tells for TwoVertices {
    fn vertex_face(&self, to: Seat) -> u8 {
        self.to.contains(&to.0).into()
    }

    fn has_chain(&self) -> bool {
        self.chain
    }

    fn vertex(&mut self, _hand: &Hand, face: u8, vertex: &mut Vertex) {
        if face == 1 {
            // Another time makes another id; without acks they differ in what they settle.
            vertex.time.0 += 1;
            vertex.acks.clear();
        }
    }
}

pub(super) struct TwoBatches {
    pub to: Vec<u16>,
}

impl Tells for TwoBatches {
    fn batch_face(&self, to: Seat) -> u8 {
        self.to.contains(&to.0).into()
    }

    fn batch(&mut self, hand: &Hand, face: u8, batch: &Batch) -> Option<Batch> {
        (face == 1).then(|| {
            let rows = batch.rows();
            let (mut effects, mut witnesses) = (rows.effects.to_vec(), rows.witnesses.to_vec());
            if rows.len() < ROWS_MAX as usize {
                // The last row once more: well signed, though its nonce is used then.
                effects.extend(rows.effects.last());
                witnesses.extend(rows.witnesses.last());
            } else {
                effects.pop();
                witnesses.pop();
            }
            reseal(hand, batch, Rows { effects: &effects, keys: rows.keys, witnesses: &witnesses })
        })
    }
}

/// A batch of the same slot with other columns.
pub(super) fn reseal(hand: &Hand, batch: &Batch, rows: Rows<'_>) -> Batch {
    let header = &batch.header;
    let slot = (header.epoch, header.author, header.sequence);
    seal(&hand.key, &hand.chain, slot, header.accounts, rows)
}

#[derive(Default)]
pub(super) struct TwoVotes {
    /// The true votes for the vertex of a round.
    late: BTreeMap<u64, Vec<CheckpointVote>>,
}

impl Tells for TwoVotes {
    fn vertex(&mut self, hand: &Hand, _face: u8, vertex: &mut Vertex) {
        let round = vertex.round.0;
        let votes = vertex.checkpoint_votes().to_vec();
        let wrong = votes.iter().map(|vote| {
            let mut hash = vote.hash;
            hash.0[0] ^= 1;
            sign_checkpoint(&hand.key, &hand.chain, vertex.epoch, vote.height, hash)
        });
        let mut said: Vec<CheckpointVote> = self.late.get(&round).cloned().unwrap_or_default();
        said.extend(wrong);
        said.sort_by_key(|vote| vote.height);
        said.dedup_by_key(|vote| vote.height);
        said.truncate(CHECKPOINT_VOTES_MAX);
        if !votes.is_empty() {
            self.late.insert(round + 1, votes);
            self.late = self.late.split_off(&round.saturating_sub(100));
        }
        vertex.parts.retain(|part| part.tag() != Part::CHECKPOINTS);
        if !said.is_empty() {
            vertex.parts.insert(0, Part::Checkpoints(said));
        }
    }
}
