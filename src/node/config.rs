//! A node's own conduct and identity.

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
}

impl Default for NodeConfig {
    fn default() -> NodeConfig {
        NodeConfig { mempool_rows_max: 32_768 }
    }
}

/// Who a node is.
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
