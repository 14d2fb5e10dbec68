//! What a run's clients send: signed transfers, or blobs that are only ordered.
//!
//! A blob begins with its name (node and index), so that what stands in a block leads back to the moment when it was
//! meant to be sent. The rest is drawn once for each lane and repeated from shifting places: nothing in the engine
//! looks at it, and making it must cost less than carrying it.

use crate::types::Content;
use crate::types::params::BLOB_BYTES_MAX;
use std::fmt;

/// The least bytes of a blob: its name.
pub const BLOB_BYTES_MIN: u32 = 8;
/// Bytes of blobs in one submission at most.
pub const FRAME_BYTES: usize = 64 << 10;
/// Bytes drawn for a lane.
const POOL_BYTES: usize = 256 << 10;
/// Bits of a name that hold the index.
const INDEX_BITS: u32 = 48;

/// What clients send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Payload {
    /// Signed transfers: verified, executed.
    Transfers,
    /// Blobs of so many bytes each: neither signed nor executed.
    Opaque(u32),
}

impl Payload {
    /// The content of the chain's batches.
    pub fn content(self) -> Content {
        match self {
            Payload::Transfers => Content::Rows,
            Payload::Opaque(_) => Content::Opaque,
        }
    }

    /// Bytes of a blob.
    pub fn blob_bytes(self) -> Option<u32> {
        match self {
            Payload::Transfers => None,
            Payload::Opaque(bytes) => Some(bytes),
        }
    }

    /// The sizes that a blob may have here.
    pub fn allows(bytes: u32) -> bool {
        (BLOB_BYTES_MIN..=BLOB_BYTES_MAX).contains(&bytes)
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Payload::Transfers => write!(f, "transfers"),
            Payload::Opaque(bytes) => write!(f, "opaque:{bytes}"),
        }
    }
}

/// Where one lane's blobs come from; it never runs dry.
#[derive(Debug)]
pub(super) struct BlobSource {
    bytes: u32,
    node: u64,
    pool: Vec<u8>,
    place: usize,
}

impl BlobSource {
    /// Blobs of so many bytes for a node.
    pub(super) fn new(bytes: u32, node: usize) -> BlobSource {
        let mut pool = vec![0; POOL_BYTES + bytes as usize];
        let mut state = 0x9e37_79b9_7f4a_7c15 ^ (node as u64 + 1);
        for piece in pool.chunks_mut(8) {
            // Xorshift (Marsaglia 2003): enough to look like nothing in particular.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            piece.copy_from_slice(&state.to_le_bytes()[..piece.len()]);
        }
        BlobSource { bytes, node: node as u64, pool, place: 0 }
    }

    /// Bytes of each blob.
    pub(super) fn blob_bytes(&self) -> u32 {
        self.bytes
    }

    /// The most blobs of one submission.
    pub(super) fn frame_blobs(&self) -> usize {
        (FRAME_BYTES / self.bytes as usize).max(1)
    }

    /// Appends `count` blobs, whose indices begin with `first`.
    pub(super) fn draw(&mut self, first: u64, count: usize, out: &mut Vec<u8>) {
        let size = self.bytes as usize;
        out.reserve(count * size);
        for index in first..first + count as u64 {
            let name = self.node << INDEX_BITS | index;
            out.extend_from_slice(&name.to_le_bytes());
            out.extend_from_slice(&self.pool[self.place..self.place + size - BLOB_BYTES_MIN as usize]);
            self.place = (self.place + size) % POOL_BYTES;
        }
    }
}

/// The node and index that a blob names; `None` if it is too short to name any.
pub fn name_of(blob: &[u8]) -> Option<(usize, u64)> {
    let name = u64::from_le_bytes(*blob.first_chunk()?);
    Some(((name >> INDEX_BITS) as usize, name & ((1 << INDEX_BITS) - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_have_their_size_and_lead_back() {
        for bytes in [BLOB_BYTES_MIN, 9, 512, BLOB_BYTES_MAX] {
            let mut source = BlobSource::new(bytes, 3);
            let (count, mut column) = (source.frame_blobs(), Vec::new());
            for frame in 0..5 {
                source.draw(frame * count as u64, count, &mut column);
            }
            let blobs: Vec<_> = column.chunks(bytes as usize).collect();
            assert_eq!(blobs.len(), 5 * count);
            assert!(blobs.iter().zip(0..).all(|(blob, index)| name_of(blob) == Some((3, index))));
        }
        assert_eq!(name_of(&[1; 7]), None);
    }
}
