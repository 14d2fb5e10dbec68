//! The batch: rows sealed and signed by one validator.

use super::ids::{BatchId, Epoch, Seat, Sequence};
use serde::{Deserialize, Serialize};

/// What a batch carries. A chain carries one of them, by its genesis.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Content {
    /// Transactions: effects, keys and witnesses.
    Rows = 0,
    /// Blobs of one size that are ordered and not executed: nobody signs them, nothing reads them, no fee is paid.
    Opaque = 1,
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
    /// What it carries.
    pub content: Content,
    /// How many accounts the author had executed when it sealed; every number in the rows is below. 0 with blobs.
    pub accounts: u32,
    /// Rows in the columns of effects and witnesses, or blobs.
    pub rows: u32,
    /// Keys in the key column, one for each open row. 0 with blobs.
    pub keys: u32,
    /// Bytes of each blob. 0 with rows.
    pub blob_bytes: u32,
    /// Roots of the columns: effects, keys, witnesses; with blobs that of their one column, and zeros.
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
