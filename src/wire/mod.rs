//! Canonical encoding, zero-copy views, frames and limits: the only parser.
//!
//! Rules of this room:
//! - One encoding per value: whatever decodes, re-encodes to the same bytes. What is not canonical is refused.
//! - Every length is checked against its named limit and against the bytes at hand before anything is allocated;
//!   every decoder is total: hostile bytes are a [`WireError`], never a panic.
//! - Batches are views: the columns of a [`Batch`] are slices of the bytes that came from the socket.
//! - Ids and the digests under signatures are computed here, from the canonical bytes, each in its own domain.
//! - Nothing here checks a signature or knows the state: bytes and genesis alone decide what is malformed.

mod accusation;
mod address;
mod batch;
mod blobs;
mod block;
mod checkpoint;
pub mod client;
mod cursor;
mod error;
mod evidence;
mod frame;
mod genesis;
mod header;
mod joining;
mod message;
mod record;
mod table;
mod vertex;

#[cfg(test)]
mod tests;

pub use accusation::{Accusation, AccusedRow};
pub use address::{ADDRESS_BYTES, ADDRESSES_MAX, AddressRecord, is_callable};
pub use batch::{Batch, Row, RowError, Rows, seal, seal_blobs, transaction_digest};
pub use blobs::{Blobs, Gathered};
pub use block::{block_hash, block_height, decode_block, encode_block, outcomes_hash};
pub use checkpoint::{
    CERTIFICATE_BYTES_MAX, checkpoint_digest, decode_certificate, encode_certificate, sign_checkpoint,
};
pub use error::WireError;
pub use evidence::{EVIDENCE_BYTES_MAX, Evidence};
pub use frame::{FRAME_HEADER_BYTES, Frame, FrameReader, frame_header};
pub use genesis::{chain_id, chain_id_of, decode_genesis, encode_genesis};
pub use header::SignedHeader;
pub use joining::{BLOCKS_MAX, HashedBlock, SNAPSHOTS_MAX, blocks_that_fit};
pub use message::{KINDS, Message, PEER_FRAME_BYTES_MAX, REFS_MAX, SMALL_FRAME_BYTES_MAX, is_bulk};
pub use record::{committee_root, decode_record, encode_record, record_root, record_round};
pub use table::{
    PIECES_MAX, ProvenPiece, TABLE_PIECE_BYTES, TABLE_PROOF_BYTES_MAX, TablePiece, TablePieces, table_piece,
};
pub use vertex::{SignedVertex, sign_vertex, vertex_bytes_max, vertex_slot};
