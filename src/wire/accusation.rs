//! An accusation: one row of a batch, proven to stand in it, whose signature is said to be bad.
//!
//! ```text
//! header 192 · row u32 · proof of the effects row · proof of the witness row · proof of the key
//! a proof: length u32, then the Bao slice of the row in its column; of length 0 for the key of a row that opens nothing
//! ```
//!
//! The roots in the header are plain BLAKE3 hashes of the columns, so a slice of 1 KiB and a few nodes proves one row.
//! In a batch the open rows come first: so row `i` is one exactly if the column of keys has a key `i`, and nobody can
//! set a row beside the key of another.

use super::cursor::{Put, Reader};
use super::{Batch, SignedHeader, WireError};
use crate::crypto::{self, Threads, Tree};
use crate::types::params::{
    ACCUSATION_BYTES_MAX, BATCH_HEADER_BYTES, EFFECT_BYTES, KEY_BYTES, ROWS_MAX, WITNESS_BYTES,
};
use crate::types::{Content, Effect, Kind, Witness};
use std::ops::Range;
use zerocopy::{FromBytes, IntoBytes};

/// The most bytes of one proof: the slice of one row in the column of witnesses, the longest: its length, one chunk,
/// and the two children of each node above it.
const PROOF_BYTES: usize = 8 + 1024 + 64 * (ROWS_MAX as usize * WITNESS_BYTES / 1024).ilog2() as usize;
const _: () = assert!(BATCH_HEADER_BYTES + 4 + 3 * (4 + PROOF_BYTES) <= ACCUSATION_BYTES_MAX);

/// One row of a batch and what proves it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accusation {
    /// The header of the batch.
    pub header: SignedHeader,
    /// The index of the row.
    pub row: u32,
    /// The slices of its effects, of its witness, and of its key (empty for a row that opens nothing).
    proofs: [Vec<u8>; 3],
}

/// The row that an accusation proves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AccusedRow {
    /// Its effects.
    pub effect: Effect,
    /// The key that it opens an account for.
    pub key: Option<[u8; 32]>,
    /// Its signature.
    pub witness: Witness,
}

impl Accusation {
    /// Proves a row of a batch whose columns have the roots that its header names. `None` if there is no such row.
    pub fn new(batch: &Batch, row: usize) -> Option<Accusation> {
        let rows = batch.rows();
        if row >= rows.len() {
            return None;
        }
        let columns = [rows.effects.as_bytes(), rows.witnesses.as_bytes(), rows.keys.as_bytes()];
        let widths = [EFFECT_BYTES, WITNESS_BYTES, KEY_BYTES];
        let mut proofs = columns.into_iter().zip(widths).map(|(column, width)| {
            let range = place(row, width);
            if range.end > column.len() as u64 {
                return Some(Vec::new()); // no key
            }
            let mut tree = Tree::new();
            tree.root(column, Threads::Caller);
            tree.prove(column, range).ok()
        });
        let proofs = [proofs.next()??, proofs.next()??, proofs.next()??];
        Some(Accusation { header: SignedHeader::of(batch), row: row as u32, proofs })
    }

    /// The canonical bytes, at most [`ACCUSATION_BYTES_MAX`].
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ACCUSATION_BYTES_MAX);
        out.put(self.header.bytes()).put_u32(self.row);
        for proof in &self.proofs {
            out.put_count(proof.len()).put(proof);
        }
        out
    }

    /// Decodes the canonical bytes. Checks form and limits; whether the proofs prove anything, [`Accusation::prove`]
    /// tells.
    pub fn decode(bytes: &[u8]) -> Result<Accusation, WireError> {
        let mut reader = Reader::new("accusation", bytes);
        let header = SignedHeader::decode(reader.bytes(BATCH_HEADER_BYTES)?)?;
        let row = reader.u32()?;
        if header.header.content != Content::Rows || row >= header.header.rows {
            return Err(WireError::Value("accused row"));
        }
        let mut proofs = [const { Vec::new() }; 3];
        for proof in &mut proofs {
            let length = reader.count("proof of a row", PROOF_BYTES, 1)?;
            *proof = reader.bytes(length)?.to_vec();
        }
        if proofs[2].is_empty() != (row >= header.header.keys) {
            return Err(WireError::Value("key of an accused row"));
        }
        reader.end()?;
        Ok(Accusation { header, row, proofs })
    }

    /// The row, if every proof holds and it is of the kind that its place wants.
    pub fn prove(&self) -> Option<AccusedRow> {
        let header = &self.header.header;
        let slice = |column: usize, width: usize, count: u32, proof: &[u8]| {
            let length = u64::from(count) * width as u64;
            let range = place(self.row as usize, width);
            crypto::verify_range_of(&header.roots[column], length, range, proof).ok()
        };
        let [effect, witness, key] = &self.proofs;
        let effect = slice(0, EFFECT_BYTES, header.rows, effect)?;
        let effect = Effect::read_from_bytes(&effect).ok()?;
        let witness = slice(2, WITNESS_BYTES, header.rows, witness)?;
        let witness = Witness::read_from_bytes(&witness).ok()?;
        let key = match self.row < header.keys {
            true => Some(<[u8; 32]>::read_from_bytes(&slice(1, KEY_BYTES, header.keys, key)?).ok()?),
            false => None,
        };
        let opens = effect.kind == Kind::Open as u8;
        (opens == key.is_some()).then_some(AccusedRow { effect, key, witness })
    }
}

/// Where a row stands in its column.
fn place(row: usize, width: usize) -> Range<u64> {
    let start = (row * width) as u64;
    start..start + width as u64
}
