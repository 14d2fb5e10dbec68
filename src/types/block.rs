//! The block: one link of the final linear chain.

use super::ids::{BlockHash, Epoch, Height, Root, Round, Seat, VertexId};
use super::{BatchRef, Time};

/// The committed leader that settled a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaderRef {
    /// Its round.
    pub round: Round,
    /// Its author.
    pub author: Seat,
    /// Its id.
    pub id: VertexId,
}

/// What a root in a block speaks of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum RootKind {
    /// The bytes of the account table after the block.
    Accounts = 1,
    /// The bytes of the settlement record as of the block's leader.
    Settlement = 2,
    /// The bytes of the committee that follows the block.
    Committee = 3,
}

impl RootKind {
    /// The kind of a tag byte.
    pub fn from_byte(byte: u8) -> Option<RootKind> {
        [RootKind::Accounts, RootKind::Settlement, RootKind::Committee]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// What became of a row, one byte each in row order; the block names the hash of these bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Outcome {
    /// Executed.
    Ok = 0,
    /// No such account: nothing changed.
    UnknownAccount = 1,
    /// The nonce was used or lies outside of the window: nothing changed.
    BadNonce = 2,
    /// The balance does not cover the fee: nothing changed.
    FeeNotCovered = 3,
    /// The balance covers the fee only: fee paid, nonce used, nothing moved.
    AmountNotCovered = 4,
}

/// A block: what one committed leader settled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// The epoch of the leader.
    pub epoch: Epoch,
    /// Its number, from 1.
    pub height: Height,
    /// The hash of the block before; of the chain id's bytes at height 1.
    pub previous: BlockHash,
    /// The committed leader.
    pub leader: LeaderRef,
    /// Never before the previous block's.
    pub time: Time,
    /// Accounts in the table after this block.
    pub accounts: u32,
    /// The batches that it settled, in execution order.
    pub settled: Vec<BatchRef>,
    /// Hash of the outcome codes of all rows in order.
    pub outcomes: [u8; 32],
    /// Roots, at a checkpoint; tags ascending.
    pub roots: Vec<(RootKind, Root)>,
}

impl Block {
    /// The root of a kind, at a checkpoint.
    pub fn root(&self, kind: RootKind) -> Option<Root> {
        self.roots.iter().find(|(found, _)| *found == kind).map(|(_, root)| *root)
    }
}
