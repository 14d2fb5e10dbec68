//! The account table in pieces.
//!
//! A piece is a whole subtree of the table's BLAKE3 tree, but for the last one, so that its proof is little more than its
//! bytes: one parent for each of its chunks, and those above it.

use crate::crypto::{PROOF_RANGE_BYTES_MAX, ProofError, verify_range_of};
use crate::types::Root;
use std::ops::Range;

/// Bytes of a piece of the account table: 4,096 accounts.
pub const TABLE_PIECE_BYTES: u64 = 256 << 10;
const _: () = assert!(TABLE_PIECE_BYTES <= PROOF_RANGE_BYTES_MAX);

/// The most bytes of a piece with its proof: the length of the table, 64 bytes for each chunk and level, the piece.
pub const TABLE_PROOF_BYTES_MAX: usize =
    8 + (TABLE_PIECE_BYTES as usize / 1024 + 38) * 64 + TABLE_PIECE_BYTES as usize;

/// Where a piece stands in a table of so many bytes; empty beyond its end.
pub fn table_piece(piece: u32, table_bytes: u64) -> Range<u64> {
    let start = u64::from(piece) * TABLE_PIECE_BYTES;
    start.min(table_bytes)..(start + TABLE_PIECE_BYTES).min(table_bytes)
}

/// The bytes of a piece of the table with this root and length, if `proof` proves them.
///
/// # Errors
/// [`ProofError`]: why it does not.
pub fn verify_table_piece(
    root: &Root,
    table_bytes: u64,
    piece: u32,
    proof: &[u8],
) -> Result<Vec<u8>, ProofError> {
    verify_range_of(&root.0, table_bytes, table_piece(piece, table_bytes), proof)
}
