//! What [`super::inspect`] answers, as data: the fields of records in what people and programs read.

use crate::types::Content;
use serde::Serialize;
use std::path::PathBuf;

/// The answer, as data.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "each is named like what it holds")]
pub enum Shown {
    Overview(Overview),
    Block(BlockShown),
    Batch(BatchShown),
    Transaction(TransactionShown),
    Account(AccountShown),
    Segment(SegmentShown),
}

/// Where a record stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct At {
    /// The segment's file.
    pub file: PathBuf,
    /// Where in it the record begins, in bytes.
    pub offset: u64,
}

/// A directory as a whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Overview {
    /// The name in the genesis.
    pub name: String,
    /// The chain id.
    pub chain: String,
    /// Seats of its committee.
    pub seats: usize,
    /// Accounts in the genesis, the sentinel not counted.
    pub genesis_accounts: usize,
    /// Who verifies, in the words of the genesis.
    pub policy: String,
    /// What batches carry.
    pub content: Content,
    /// Blocks from checkpoint to checkpoint.
    pub checkpoint_blocks: u64,
    /// The last block of which only the block itself is kept, beside the segments; 0 if no segment was removed.
    pub pruned: u64,
    /// The heights of its snapshots.
    pub snapshots: Vec<u64>,
    /// Its segments.
    pub segments: Vec<SegmentCounts>,
    /// The last block.
    pub height: u64,
    /// Rows or blobs in all batches.
    pub rows: u64,
    /// The torn tail: where it begins, and its bytes.
    pub torn: Option<(At, u64)>,
}

/// What a segment holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Default)]
pub struct SegmentCounts {
    /// Its number.
    pub segment: u32,
    /// Batches in it.
    pub batches: u64,
    /// Vertices.
    pub vertices: u64,
    /// Blocks.
    pub blocks: u64,
    /// Certificates of checkpoints.
    pub certificates: u64,
    /// Proofs against validators.
    pub evidence: u64,
    /// Settlement records of checkpoints.
    pub settlements: u64,
    /// Heights of the first and the last block in it.
    pub heights: Option<(u64, u64)>,
    /// Bytes of payload.
    pub bytes: u64,
}

/// A block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[allow(missing_docs, reason = "the fields of `types::Block`")]
pub struct BlockShown {
    pub at: At,
    pub height: u64,
    pub hash: String,
    pub previous: String,
    pub epoch: u32,
    pub leader_round: u64,
    pub leader_seat: u16,
    pub leader_id: String,
    pub time_us: u64,
    pub accounts: u32,
    pub settled: Vec<SettledShown>,
    /// How many rows had each outcome, by its name.
    pub outcomes: Vec<(&'static str, u64)>,
    pub outcomes_hash: String,
    pub roots: Vec<(String, String)>,
}

/// A batch that a block settles.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[allow(missing_docs, reason = "the fields of `types::BatchRef`")]
pub struct SettledShown {
    pub seat: u16,
    pub sequence: u64,
    pub id: String,
    /// `None` where the batch may have been removed.
    pub rows: Option<u32>,
}

/// A batch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[allow(missing_docs, reason = "the fields of `types::BatchHeader`")]
pub struct BatchShown {
    pub at: At,
    pub id: String,
    pub epoch: u32,
    pub seat: u16,
    pub sequence: u64,
    pub content: Content,
    pub accounts: u32,
    pub rows: u32,
    pub keys: u32,
    pub blob_bytes: u32,
    pub roots: Vec<String>,
    /// The block that settled it, if one did.
    pub height: Option<u64>,
    /// Its rows.
    pub transactions: Vec<TransactionShown>,
}

/// A transaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[allow(missing_docs, reason = "the fields of `types::Effect`")]
pub struct TransactionShown {
    /// The digest that its sender signed; `None` where a key that it covers is not known, as of an unsettled batch.
    pub digest: Option<String>,
    pub batch: String,
    pub row: usize,
    pub kind: &'static str,
    pub from: u32,
    pub to: u32,
    /// The key that an open row opens.
    pub opens: Option<String>,
    pub amount: u64,
    pub fee: u32,
    pub nonce: u64,
    /// The block that settled it.
    pub height: Option<u64>,
    /// What became of it there.
    pub outcome: Option<&'static str>,
}

/// An account after the last block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[allow(missing_docs, reason = "the fields of `types::Account`")]
pub struct AccountShown {
    pub account: u32,
    pub key: String,
    pub balance: u64,
    pub nonce_high: u64,
    pub nonce_window: u64,
    /// The block after which it is that.
    pub height: u64,
    /// The state root after that block.
    pub root: String,
}

/// A segment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[allow(missing_docs, reason = "each is named like what it holds")]
pub struct SegmentShown {
    pub file: PathBuf,
    pub records: Vec<RecordShown>,
}

/// A record of a segment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[allow(missing_docs, reason = "each is named like what it holds")]
pub struct RecordShown {
    pub offset: u64,
    pub kind: &'static str,
    pub bytes: usize,
    /// Which one it is.
    pub name: String,
}
