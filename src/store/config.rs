//! What can be set about a store, and the bounds of it.

use super::format::{RECORD_HEAD_BYTES, SEGMENT_HEAD_BYTES};
use serde::{Deserialize, Serialize};

/// Segment sizes must be a multiple of this, so that a map ends at a page.
const SEGMENT_BYTES_STEP: u64 = 4096;
const SEGMENT_BYTES_LEAST: u64 = 4 * SEGMENT_BYTES_STEP;
/// Offsets fit in 32 bits with room to spare, and opening holds one segment in memory.
const SEGMENT_BYTES_MOST: u64 = 1 << 30;
const PAYLOAD_BYTES_DEFAULT: u64 = 8 << 20;
const QUEUE_BYTES_MOST: u64 = 1 << 32;
/// The queue holds one small entry per record: 32 bytes each.
const QUEUE_RECORDS_MOST: u64 = 1 << 20;
const FULL_RETRY_MS_MOST: u64 = 60_000;

/// Settings of one store. Worst-case memory: `queue_bytes_max` of payload held for callers, plus up to four segments while opening.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// Size of a segment file that is newly made, in bytes; existing ones keep theirs.
    pub segment_bytes: u64,
    /// Largest payload of one record, in bytes. It must fit into a segment beside its header and the segment's seal.
    pub payload_bytes_max: u64,
    /// Most bytes of payload that wait for the disk. When full, `append` hands the records back.
    pub queue_bytes_max: u64,
    /// Most records that wait for the disk. When full, `append` hands the records back.
    pub queue_records_max: u64,
    /// A group takes no further records once it has this many bytes: it bounds how long one sync can take.
    pub group_bytes_max: u64,
    /// Bytes of the newest full segments that the system is left to keep in memory; older ones are read from disk. It
    /// should hold what is still in use: what is not settled yet, and what peers that are a little behind ask for.
    pub cached_bytes: u64,
    /// How often it is tried again what a full disk had no room for, in milliseconds.
    pub full_retry_ms: u64,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 32 << 20,
            payload_bytes_max: PAYLOAD_BYTES_DEFAULT,
            queue_bytes_max: 64 << 20,
            queue_records_max: 1 << 14,
            group_bytes_max: 8 << 20,
            cached_bytes: 256 << 20,
            full_retry_ms: 500,
        }
    }
}

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A number lies outside its range.
    #[error("{name} is {value}, but must be between {least} and {most}")]
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// What it was set to.
        value: u64,
        /// Smallest value.
        least: u64,
        /// Largest value.
        most: u64,
    },
    /// The segment size is not a whole number of pages.
    #[error("segment_bytes is {value}, but must be a multiple of {step}")]
    SegmentStep {
        /// What it was set to.
        value: u64,
        /// The page size it must be a multiple of.
        step: u64,
    },
}

impl StoreConfig {
    /// Checks every bound, and the bounds against each other.
    pub fn validate(&self) -> Result<(), ConfigError> {
        in_range("segment_bytes", self.segment_bytes, SEGMENT_BYTES_LEAST, SEGMENT_BYTES_MOST)?;
        if !self.segment_bytes.is_multiple_of(SEGMENT_BYTES_STEP) {
            return Err(ConfigError::SegmentStep { value: self.segment_bytes, step: SEGMENT_BYTES_STEP });
        }
        // Beside one record there must be room for the segment's header and its seal.
        let room = self.segment_bytes - SEGMENT_HEAD_BYTES as u64 - 2 * RECORD_HEAD_BYTES as u64;
        in_range("payload_bytes_max", self.payload_bytes_max, 1, room)?;
        in_range("queue_bytes_max", self.queue_bytes_max, self.payload_bytes_max, QUEUE_BYTES_MOST)?;
        in_range("queue_records_max", self.queue_records_max, 1, QUEUE_RECORDS_MOST)?;
        in_range("group_bytes_max", self.group_bytes_max, 1, QUEUE_BYTES_MOST)?;
        in_range("full_retry_ms", self.full_retry_ms, 1, FULL_RETRY_MS_MOST)
    }
}

fn in_range(name: &'static str, value: u64, least: u64, most: u64) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError::OutOfRange { name, value, least, most })
    }
}
