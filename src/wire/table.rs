//! The account table in pieces.
//!
//! A piece is a whole subtree of the table's BLAKE3 tree: left subtrees are full, so the tree has a node over each piece, the
//! last one too. Its proof is the path to it and its bytes, without a word about the nodes within.
//!
//! A table is large, and copies are what moving it costs beside the sockets. So a proof is made where it goes out from, as the
//! end of its message's payload, and what it proves is taken out of it, once it is checked, to where it belongs.
//!
//! ```text
//! want piece: height u64 · piece u32
//! piece: height u64 · piece u32 · length u32 · proof; none: not here
//! proof: value 32 of each subtree beside the path, the topmost first · bytes of the piece
//! ```

use super::WireError;
use super::cursor::{Put, Reader};
use super::joining::ANSWER_BYTES_MAX;
use crate::crypto::{PATH_STEP_BYTES, PROOF_RANGE_BYTES_MAX, ProofError, ProveError, Tree, verify_subtree};
use crate::types::params::ACCOUNTS_MAX;
use crate::types::{Account, AccountNumber, Height, Root};
use bytes::Bytes;
use std::convert::Infallible;
use std::ops::Range;

/// Bytes of a piece of the account table: 4,096 accounts.
pub const TABLE_PIECE_BYTES: u64 = 256 << 10;
const _: () = assert!(TABLE_PIECE_BYTES <= PROOF_RANGE_BYTES_MAX);
// Or there is no node over each piece.
const _: () = assert!(TABLE_PIECE_BYTES.is_power_of_two() && TABLE_PIECE_BYTES >= CHUNK_BYTES);

/// Bytes of a chunk of BLAKE3, the least that the proof of an account carries: 16 accounts.
const CHUNK_BYTES: u64 = 1 << 10;

/// The most pieces of a table.
pub const PIECES_MAX: u32 =
    (ACCOUNTS_MAX as u64 * size_of::<Account>() as u64).div_ceil(TABLE_PIECE_BYTES) as u32;

/// The most bytes of a path: a value for each level above the pieces of the longest table.
const PATH_BYTES_MAX: usize = PIECES_MAX.next_power_of_two().ilog2() as usize * PATH_STEP_BYTES;

/// The most bytes of a proof: a path and a piece.
pub const TABLE_PROOF_BYTES_MAX: usize = PATH_BYTES_MAX + TABLE_PIECE_BYTES as usize;

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

/// A piece of the account table of a checkpoint with its proof, or the answer that it is not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePiece {
    height: Height,
    number: u32,
    /// As it travels: height, number, length of the proof, proof.
    payload: Bytes,
}

impl TablePiece {
    /// Bytes of a payload before the proof.
    const HEAD_BYTES: usize = 8 + 4 + 4;

    /// A piece with the proof that `put` appends, of so many bytes at most.
    fn put_in<E>(
        height: Height,
        number: u32,
        most: usize,
        put: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<TablePiece, E> {
        let mut payload = Vec::with_capacity(TablePiece::HEAD_BYTES + most);
        // The length is known when the proof is there.
        payload.put_u64(height.0).put_u32(number).put_count(0);
        put(&mut payload)?;
        let length = (payload.len() - TablePiece::HEAD_BYTES) as u32;
        payload[TablePiece::HEAD_BYTES - 4..TablePiece::HEAD_BYTES].copy_from_slice(&length.to_le_bytes());
        Ok(TablePiece { height, number, payload: payload.into() })
    }

    /// A piece with this proof, whatever that is worth.
    pub fn of(height: Height, number: u32, proof: &[u8]) -> TablePiece {
        let Ok(piece) = TablePiece::put_in(height, number, proof.len(), |out| {
            out.extend_from_slice(proof);
            Ok::<(), Infallible>(())
        });
        piece
    }

    /// The answer that it is not here: a piece without a proof.
    pub fn absent(height: Height, number: u32) -> TablePiece {
        TablePiece::of(height, number, &[])
    }

    /// The height of the checkpoint.
    pub fn height(&self) -> Height {
        self.height
    }

    /// The number of the piece, below [`PIECES_MAX`].
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The proof; empty: the piece is not here.
    pub fn proof(&self) -> &[u8] {
        &self.payload[TablePiece::HEAD_BYTES..]
    }

    /// Whether it is not here.
    pub fn is_absent(&self) -> bool {
        self.proof().is_empty()
    }

    /// The payload of its message; shared, not copied.
    pub(super) fn payload(&self) -> &Bytes {
        &self.payload
    }

    pub(super) fn read(payload: &Bytes) -> Result<TablePiece, WireError> {
        let mut reader = Reader::new("piece", payload);
        let (height, number) = read_want_piece(&mut reader)?;
        let length = reader.count("proof of a piece", TABLE_PROOF_BYTES_MAX, 1)?;
        reader.bytes(length)?;
        reader.end()?;
        Ok(TablePiece { height, number, payload: payload.clone() })
    }

    /// Its bytes, if the proof proves that they are this piece of the table with this root and length.
    ///
    /// # Errors
    /// [`ProofError`]: why it does not.
    pub fn verify(&self, root: &Root, table_bytes: u64) -> Result<ProvenPiece, ProofError> {
        let place = table_piece(self.number, table_bytes);
        let bytes = verify_subtree(&root.0, table_bytes, place.clone(), self.proof())?;
        Ok(ProvenPiece { start: place.start as usize, bytes: self.payload.slice_ref(bytes) })
    }
}

/// The bytes of a piece that was verified: still where they came.
#[derive(Clone, Debug)]
pub struct ProvenPiece {
    /// Where they belong in the table.
    start: usize,
    bytes: Bytes,
}

impl ProvenPiece {
    /// Puts them where they belong in a table of the length that they were verified for.
    ///
    /// # Panics
    /// The table is too short to hold them.
    pub fn put_into(&self, table: &mut [u8]) {
        table[self.start..][..self.bytes.len()].copy_from_slice(&self.bytes);
    }
}

const _: () = assert!(TablePiece::HEAD_BYTES + TABLE_PROOF_BYTES_MAX <= ANSWER_BYTES_MAX);

/// The height of a table and the number of a piece of it.
pub(super) fn read_want_piece(reader: &mut Reader<'_>) -> Result<(Height, u32), WireError> {
    let (height, piece) = (Height(reader.u64()?), reader.u32()?);
    if height.0 == 0 {
        return Err(WireError::Value("height of a table"));
    }
    if piece >= PIECES_MAX {
        return Err(WireError::Limit { what: "piece", found: piece.into(), most: u64::from(PIECES_MAX) - 1 });
    }
    Ok((height, piece))
}

/// What proves the pieces of a table that lies elsewhere, as in a file: the kept values of its tree, a sixteenth of it, and a
/// checksum of each piece.
#[derive(Debug)]
pub struct TablePieces {
    root: Root,
    tree: Tree,
    /// CRC-32 of each piece, so that a fault of the disk is not sent out as if it were a lie. It need not be more: who changes
    /// the file on purpose, and so that the sum stays, makes a proof that the first peer refuses; and hashing anew would cost
    /// as much as all else that a sender does for a piece before its socket.
    sums: Vec<u32>,
}

impl TablePieces {
    /// Goes through a table of so many bytes once: `read` fills in what stands from an offset on.
    ///
    /// # Errors
    /// The first one of `read`.
    pub fn new<E>(
        table_bytes: usize,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<TablePieces, E> {
        let (mut tree, mut sums) = (Tree::new(), Vec::new());
        let root = tree.read_root(table_bytes, |at, out| {
            read(at, out)?;
            assert_eq!(
                at,
                sums.len() as u64 * TABLE_PIECE_BYTES,
                "it comes in whole pieces, one after the other"
            );
            sums.extend(out.chunks(TABLE_PIECE_BYTES as usize).map(crc32fast::hash));
            Ok(())
        });
        Ok(TablePieces { root: Root(root?), tree, sums })
    }

    /// The root of the table.
    pub fn root(&self) -> Root {
        self.root
    }

    /// Where a piece stands; empty beyond the end.
    pub fn place(&self, piece: u32) -> Range<u64> {
        table_piece(piece, self.tree.len() as u64)
    }

    /// A piece with its proof, from its bytes; `height` is that of the table's checkpoint.
    ///
    /// # Errors
    /// There is no such piece, or these are not its bytes any more.
    pub fn prove(&self, height: Height, piece: u32, bytes: &[u8]) -> Result<TablePiece, ProveError> {
        let place = self.place(piece);
        let whole = bytes.len() as u64 == place.end - place.start;
        let same = |sum: &u32| whole && *sum == crc32fast::hash(bytes);
        if self.sums.get(piece as usize).is_some_and(|sum| !same(sum)) {
            return Err(ProveError::Stale);
        }
        TablePiece::put_in(height, piece, PATH_BYTES_MAX + bytes.len(), |out| {
            self.tree.put_path(place, out)?;
            out.extend_from_slice(bytes);
            Ok(())
        })
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
        let mut proof = Vec::new();
        self.tree.prove_part(self.chunk_of(number).start, chunk, record(number), &mut proof)?;
        Ok(proof.into())
    }
}
