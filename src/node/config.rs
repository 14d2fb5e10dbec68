//! A node's own conduct and identity.

use crate::consensus::Retention;
use crate::crypto::SigningKey;
use crate::types::{Genesis, Seat};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A node's own conduct: nothing here is a rule that others must share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeConfig {
    /// The most rows in the mempool; rows beyond are refused, and clients are not read from.
    pub mempool_rows_max: usize,
    /// How much log lies between two snapshots of the account table at the least, in bytes as the chain's blocks weigh, or
    /// four times the table, if that is more; mostly it is at most twice that. What a start has to replay follows from it, and
    /// snapshots never take more than a fifth of what is written. Nodes that have the same figure take them at the same
    /// checkpoints. [`u64::MAX`] stands for never.
    pub snapshot_after_bytes: u64,
    /// Of how many of the newest blocks at least everything is kept; of older ones only the block itself, once they lie
    /// below the older one of two snapshots. `None` stands for all.
    pub keep_blocks: Option<u64>,
    /// How many vertices below the floor stay in memory for peers that are behind. Who lacks more than they hold catches
    /// up by blocks.
    pub vertices_kept: Retention,
    /// Executed batches that stay at hand for peers that are behind, and to prove that their author sealed others with
    /// their numbers: views on block files, no memory of their own but their headers and the maps, about 460 bytes each.
    /// The oldest goes first; older ones are read from disk. Ten validators with little to do seal 200 in a second; a
    /// validator that was away needs all of them.
    pub batches_kept: usize,
}

impl Default for NodeConfig {
    fn default() -> NodeConfig {
        NodeConfig {
            mempool_rows_max: 32_768,
            snapshot_after_bytes: 256 << 20,
            keep_blocks: None,
            vertices_kept: Retention::default(),
            batches_kept: 1 << 15,
        }
    }
}

/// Who a node is.
#[derive(Clone)]
pub struct Setup {
    /// The genesis; checked.
    pub genesis: Arc<Genesis>,
    /// Its seat.
    pub seat: Seat,
    /// The key of that seat.
    pub key: SigningKey,
    /// Its conduct.
    pub config: NodeConfig,
    /// From which it draws what may be arbitrary but must be repeatable.
    pub seed: u64,
}
