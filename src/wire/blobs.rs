//! Blobs of one size: as a client submits them, and gathered for a batch.

use super::WireError;
use crate::types::params::{BATCH_HEADER_BYTES, BLOB_BYTES_MAX, OPAQUE_BYTES_MAX};
use bytes::Bytes;

/// Checks the size of blobs and the bytes of their column.
pub(super) fn check_blobs(
    blob_bytes: u32,
    column_bytes: u64,
    column_bytes_max: usize,
) -> Result<(), WireError> {
    if blob_bytes == 0 {
        return Err(WireError::Value("blobs without bytes"));
    }
    let limits = [
        ("bytes of a blob", u64::from(blob_bytes), u64::from(BLOB_BYTES_MAX)),
        ("bytes of all blobs", column_bytes, column_bytes_max as u64),
    ];
    match limits.into_iter().find(|(_, found, most)| found > most) {
        Some((what, found, most)) => Err(WireError::Limit { what, found, most }),
        None => Ok(()),
    }
}

/// A column of blobs in shared bytes: one blob at least, all of one size.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blobs {
    blob_bytes: u32,
    column: Bytes,
}

impl Blobs {
    /// Views a column of at most `column_bytes_max` bytes.
    pub(super) fn new(blob_bytes: u32, column: Bytes, column_bytes_max: usize) -> Result<Blobs, WireError> {
        check_blobs(blob_bytes, column.len() as u64, column_bytes_max)?;
        if column.is_empty() || !column.len().is_multiple_of(blob_bytes as usize) {
            return Err(WireError::Value("blobs that are not whole"));
        }
        Ok(Blobs { blob_bytes, column })
    }

    /// Bytes of each blob.
    pub fn blob_bytes(&self) -> u32 {
        self.blob_bytes
    }

    /// How many there are, at least 1.
    #[allow(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.column.len() / self.blob_bytes as usize
    }

    /// All of them, one after the other.
    pub fn column(&self) -> &[u8] {
        &self.column
    }
}

/// Blobs of one size that are gathered behind the place of a batch' header, so that sealing copies nothing.
#[derive(Clone, Debug)]
pub struct Gathered {
    blob_bytes: u32,
    bytes: Vec<u8>,
}

impl Gathered {
    /// Room for a full batch of blobs of this size, which must lie between 1 and [`BLOB_BYTES_MAX`]: as that of every
    /// [`Blobs`] and of every batch that decodes.
    pub fn new(blob_bytes: u32) -> Gathered {
        let blob_bytes = blob_bytes.clamp(1, BLOB_BYTES_MAX);
        let mut bytes = Vec::with_capacity(BATCH_HEADER_BYTES + OPAQUE_BYTES_MAX);
        bytes.resize(BATCH_HEADER_BYTES, 0);
        Gathered { blob_bytes, bytes }
    }

    /// Takes as many whole blobs from the front of a column of this size as there is room for; the bytes taken.
    pub fn gather(&mut self, column: &[u8]) -> usize {
        let size = self.blob_bytes as usize;
        let room = (OPAQUE_BYTES_MAX - self.column().len()) / size * size;
        let taken = column.len().min(room) / size * size;
        self.bytes.extend_from_slice(&column[..taken]);
        taken
    }

    /// Bytes of each blob.
    pub fn blob_bytes(&self) -> u32 {
        self.blob_bytes
    }

    /// The blobs, one after the other.
    pub fn column(&self) -> &[u8] {
        &self.bytes[BATCH_HEADER_BYTES..]
    }

    /// How many blobs there are.
    pub fn len(&self) -> usize {
        self.column().len() / self.blob_bytes as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.column().is_empty()
    }

    /// Whether no further blob fits.
    pub fn is_full(&self) -> bool {
        self.column().len() + self.blob_bytes as usize > OPAQUE_BYTES_MAX
    }

    /// The bytes of the batch, once its header is known.
    pub(super) fn finish(mut self, header: &[u8]) -> Vec<u8> {
        self.bytes[..BATCH_HEADER_BYTES].copy_from_slice(header);
        self.bytes
    }
}
