//! The batch: rows sealed and signed by one validator.

use super::ids::{BatchId, Epoch, Seat, Sequence};

/// What a batch carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Content {
    /// Transactions: effects, keys and witnesses.
    Rows = 0,
}

/// The header of a batch. Its signature and the column roots bind every byte of the batch to its author.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// The epoch of the author's seat.
    pub epoch: Epoch,
    /// Who sealed it.
    pub author: Seat,
    /// Its number among the author's batches, from 1.
    pub sequence: Sequence,
    /// How many accounts the author had executed when it sealed; every number in the rows is below.
    pub accounts: u32,
    /// Rows in the columns of effects and witnesses.
    pub rows: u32,
    /// Keys in the key column, one for each open row.
    pub keys: u32,
    /// Roots of the columns: effects, keys, witnesses.
    pub roots: [[u8; 32]; 3],
    /// The author's signature.
    pub signature: [u8; 64],
}

/// Names one batch: its slot and its id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct BatchRef {
    /// Who sealed it.
    pub author: Seat,
    /// Its number among the author's.
    pub sequence: Sequence,
    /// Its id.
    pub id: BatchId,
}
