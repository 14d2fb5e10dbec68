//! A batch's header by itself: what speaks for its author where the columns are not at hand.

use super::WireError;
use super::batch::Batch;
use super::batch::{SIGNED_BYTES, decode_header};
use crate::crypto::{self, Domain};
use crate::types::params::BATCH_HEADER_BYTES;
use crate::types::{BatchHeader, BatchId, BatchRef, ChainId};

/// A header with its author's signature, and the canonical bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedHeader {
    /// The fields.
    pub header: BatchHeader,
    /// The id of the batch.
    pub id: BatchId,
    bytes: [u8; BATCH_HEADER_BYTES],
}

impl SignedHeader {
    /// Decodes the canonical bytes. Checks form and limits; not the signature.
    pub fn decode(bytes: &[u8]) -> Result<SignedHeader, WireError> {
        let bytes: [u8; BATCH_HEADER_BYTES] = match bytes.len() {
            found if found < BATCH_HEADER_BYTES => return Err(WireError::Short("batch header")),
            found if found > BATCH_HEADER_BYTES => return Err(WireError::Trailing("batch header")),
            _ => bytes.try_into().expect("the length was checked"),
        };
        let header = decode_header(&bytes)?;
        let id = BatchId(crypto::hash(Domain::BatchId, &[&bytes[..SIGNED_BYTES]]));
        Ok(SignedHeader { header, id, bytes })
    }

    /// The header of a batch.
    pub fn of(batch: &Batch) -> SignedHeader {
        let bytes = batch.bytes()[..BATCH_HEADER_BYTES].try_into().expect("a batch begins with its header");
        SignedHeader { header: batch.header, id: batch.id, bytes }
    }

    /// The canonical bytes, signature last.
    pub fn bytes(&self) -> &[u8; BATCH_HEADER_BYTES] {
        &self.bytes
    }

    /// Its slot and id.
    pub fn reference(&self) -> BatchRef {
        BatchRef { author: self.header.author, sequence: self.header.sequence, id: self.id }
    }

    /// The digest under the author's signature.
    pub fn digest(&self, chain: &ChainId) -> [u8; 32] {
        crypto::hash(Domain::BatchHeader, &[&chain.0, &self.bytes[..SIGNED_BYTES]])
    }
}
