//! The account table in pieces.
//!
//! A piece is a whole subtree of the table's BLAKE3 tree, but for the last one, so that its proof is little more than its
//! bytes: one parent for each of its chunks, and those above it.

use crate::crypto::{PROOF_RANGE_BYTES_MAX, ProofError, ProveError, Tree, verify_range_of};
use crate::types::params::ACCOUNTS_MAX;
use crate::types::{Account, AccountNumber, Root};
use bytes::Bytes;
use std::ops::Range;

/// Bytes of a piece of the account table: 4,096 accounts.
pub const TABLE_PIECE_BYTES: u64 = 256 << 10;
const _: () = assert!(TABLE_PIECE_BYTES <= PROOF_RANGE_BYTES_MAX);

/// Bytes of a chunk of BLAKE3, the least that a proof carries: 16 accounts.
const CHUNK_BYTES: u64 = 1 << 10;

/// The most pieces of a table.
pub const PIECES_MAX: u32 =
    (ACCOUNTS_MAX as u64 * size_of::<Account>() as u64).div_ceil(TABLE_PIECE_BYTES) as u32;

/// The most bytes of a piece with its proof: the length of the table, 64 bytes for each chunk and level, the piece.
pub const TABLE_PROOF_BYTES_MAX: usize =
    8 + (TABLE_PIECE_BYTES as usize / 1024 + 38) * 64 + TABLE_PIECE_BYTES as usize;

/// Where a piece stands in a table of so many bytes; empty beyond its end.
pub fn table_piece(piece: u32, table_bytes: u64) -> Range<u64> {
    let start = u64::from(piece) * TABLE_PIECE_BYTES;
    start.min(table_bytes)..(start + TABLE_PIECE_BYTES).min(table_bytes)
}

/// Where an account's record stands in the table.
fn record(number: AccountNumber) -> Range<u64> {
    let size = size_of::<Account>() as u64;
    let start = u64::from(number.0) * size;
    start..start + size
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

/// What proves the pieces of a table that lies elsewhere, as in a file: the kept values of its tree, a sixteenth of it.
#[derive(Debug)]
pub struct TablePieces {
    root: Root,
    tree: Tree,
}

impl TablePieces {
    /// Goes through a table of so many bytes once: `read` fills in what stands from an offset on.
    ///
    /// # Errors
    /// The first one of `read`.
    pub fn new<E>(
        table_bytes: usize,
        read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<TablePieces, E> {
        let mut tree = Tree::new();
        let root = Root(tree.read_root(table_bytes, read)?);
        Ok(TablePieces { root, tree })
    }

    /// The root of the table.
    pub fn root(&self) -> Root {
        self.root
    }

    /// Where a piece stands; empty beyond the end.
    pub fn place(&self, piece: u32) -> Range<u64> {
        table_piece(piece, self.tree.len() as u64)
    }

    /// A piece with its proof, from its bytes.
    ///
    /// # Errors
    /// There is no such piece, or these are not its bytes any more.
    pub fn prove(&self, piece: u32, bytes: &[u8]) -> Result<Bytes, ProveError> {
        let place = self.place(piece);
        self.tree.prove_part(place.start, bytes, place).map(Bytes::from)
    }

    /// Where the chunk stands that holds an account's record; empty beyond the end.
    pub fn chunk_of(&self, number: AccountNumber) -> Range<u64> {
        let (table, start) = (self.tree.len() as u64, record(number).start / CHUNK_BYTES * CHUNK_BYTES);
        start.min(table)..(start + CHUNK_BYTES).min(table)
    }

    /// The proof of one account's record, from the bytes of its chunk.
    ///
    /// # Errors
    /// As [`TablePieces::prove`].
    pub fn prove_account(&self, number: AccountNumber, chunk: &[u8]) -> Result<Bytes, ProveError> {
        self.tree.prove_part(self.chunk_of(number).start, chunk, record(number)).map(Bytes::from)
    }
}
