//! What stays in memory for peers that are behind.

use crate::types::params::{KEPT_BYTES, KEPT_DEPTHS};
use serde::{Deserialize, Serialize};

/// How many vertices below the floor stay at hand for peers that are behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Rounds that are kept in any case, those above the floor among them, as a multiple of the collection depth.
    pub depths: u64,
    /// More rounds than those are kept as long as all take no more memory than this, in bytes, roughly.
    pub bytes: usize,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { depths: KEPT_DEPTHS, bytes: KEPT_BYTES }
    }
}
