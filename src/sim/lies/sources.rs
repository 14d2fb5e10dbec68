//! A source that gives something else than what it was asked for: to whoever catches up, or begins anew.
//!
//! What stands against it: a certificate takes the signatures of a quorum; blocks are proved from a certified one down;
//! records, tables and batches have names that are hashes, and a table is judged piece by piece. Who says that something is
//! gone, or here, is believed once `f + 1` say so.

use super::{Hand, Letter, Tells};
use crate::sim::random::{below, draw};
use crate::types::{Height, Seat};
use crate::wire::{
    Batch, HashedBlock, Message, SNAPSHOTS_MAX, TablePiece, decode_record, encode_block, encode_record,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The purpose of draws.
const CHOICE: u64 = 63;

/// What a false source lies about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ware {
    /// Certificates of heights that they are not of.
    Certificates,
    /// Blocks of another chain.
    Blocks,
    /// Settlement records that tell of something else.
    Records,
    /// Pieces of account tables with a flipped bit.
    Pieces,
    /// Batches with a flipped bit in their columns.
    Batches,
    /// Snapshots that are not there, and blocks that are said to be.
    Snapshots,
    /// It says that it has nothing.
    Nothing,
    /// Each of these, every other time.
    All,
}

impl Ware {
    /// All of them.
    pub const EACH: [Ware; 8] = [
        Ware::Certificates,
        Ware::Blocks,
        Ware::Records,
        Ware::Pieces,
        Ware::Batches,
        Ware::Snapshots,
        Ware::Nothing,
        Ware::All,
    ];
}

pub(super) struct FalseSource {
    about: Ware,
    /// Counts what was drawn.
    count: u64,
}

impl FalseSource {
    pub fn new(about: Ware) -> FalseSource {
        FalseSource { about, count: 0 }
    }

    fn lies(&self, about: Ware) -> bool {
        self.about == about || self.about == Ware::All
    }
}

/// The same bytes with a flipped bit.
fn flipped(bytes: &[u8], drawn: u64) -> bytes::Bytes {
    let mut bytes = bytes.to_vec();
    let place = below(drawn, bytes.len() as u64) as usize;
    bytes[place] ^= 1 << (drawn % 8);
    bytes.into()
}

/// A block of the same height in another chain.
fn other(block: &HashedBlock) -> Option<HashedBlock> {
    let mut other = block.block.clone();
    other.accounts ^= 1;
    HashedBlock::decode(encode_block(&other).into()).ok()
}

impl Tells for FalseSource {
    fn tell(&mut self, hand: &Hand, to: Seat, message: &Message) -> Option<Vec<Letter>> {
        self.count += 1;
        let drawn = draw(hand.seed, &[CHOICE, hand.seat.0.into(), self.count]);
        if self.about == Ware::All && drawn & 1 == 0 {
            return None;
        }
        let told = match message {
            Message::Certificate(certificate) if self.lies(Ware::Certificates) => {
                let mut forged = certificate.clone();
                let forged_height = forged.height.0 + hand.genesis.rules.checkpoint_blocks;
                Arc::make_mut(&mut forged).height = Height(forged_height);
                Message::Certificate(forged)
            }
            Message::Blocks { first, .. } if self.about == Ware::Nothing => {
                Message::Blocks { first: *first, blocks: Arc::default() }
            }
            Message::Blocks { first, blocks } if self.lies(Ware::Blocks) => {
                Message::Blocks { first: *first, blocks: Arc::new(blocks.iter().filter_map(other).collect()) }
            }
            Message::Record { height, .. } if self.about == Ware::Nothing => {
                Message::Record { height: *height, bytes: bytes::Bytes::new() }
            }
            Message::Record { height, bytes } if self.lies(Ware::Records) && !bytes.is_empty() => {
                let mut record = decode_record(bytes).ok()?;
                record.time.0 += 1;
                Message::Record { height: *height, bytes: encode_record(&record).into() }
            }
            Message::Piece(piece) if self.about == Ware::Nothing => {
                Message::Piece(TablePiece::absent(piece.height(), piece.number()))
            }
            Message::Piece(piece) if self.lies(Ware::Pieces) && !piece.is_absent() => {
                let proof = flipped(piece.proof(), drawn);
                Message::Piece(TablePiece::of(piece.height(), piece.number(), &proof))
            }
            Message::Batch(batch) if batch.header.author != hand.seat && self.about == Ware::Nothing => {
                return Some(Vec::new());
            }
            Message::Batch(batch) if batch.header.author != hand.seat && self.lies(Ware::Batches) => {
                let bytes = batch.bytes();
                let (head, columns) = bytes.split_at(bytes.len() - batch.header.rows as usize * 64);
                Message::Batch(Batch::decode([head, &flipped(columns, drawn)].concat().into()).ok()?)
            }
            Message::Snapshots { .. } if self.about == Ware::Nothing => {
                Message::Snapshots { first: Height(u64::MAX), heights: Vec::new() }
            }
            Message::Snapshots { heights, .. } if self.lies(Ware::Snapshots) => {
                let interval = hand.genesis.rules.checkpoint_blocks;
                let mut heights = heights.clone();
                let newest = heights.last().map_or(interval * 4, |height| height.0);
                heights.push(Height(newest + interval * (1 + drawn % 8)));
                heights.truncate(SNAPSHOTS_MAX);
                Message::Snapshots { first: Height(1), heights }
            }
            _ => return None,
        };
        Some(vec![Letter::new(to, &told)])
    }
}
