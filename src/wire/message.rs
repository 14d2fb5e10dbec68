//! What peers say to each other.

use super::address::{AddressRecord, put_addresses, read_addresses};
use super::checkpoint::{decode_certificate, encode_certificate};
use super::client::Submission;
use super::cursor::{Put, Reader};
use super::joining::{
    ANSWER_BYTES_MAX, put_blocks, put_record, put_snapshots, read_blocks, read_record, read_snapshots,
    read_want_blocks,
};
use super::table::read_want_piece;
use super::{
    ADDRESS_BYTES, ADDRESSES_MAX, Batch, CERTIFICATE_BYTES_MAX, EVIDENCE_BYTES_MAX, Evidence, Frame,
    HashedBlock, SignedVertex, TablePiece, WireError, vertex_bytes_max,
};
use crate::types::params::{BATCH_BYTES_MAX, SEATS_MAX};
use crate::types::{BatchId, BatchRef, Certificate, Height, Round, Seat, Sequence, VertexId, VertexRef};
use bytes::Bytes;
use std::sync::Arc;

/// The most references in one request.
pub const REFS_MAX: usize = 1024;
/// The most bytes of a payload between peers: the largest block; a batch and a vertex are smaller.
pub const PEER_FRAME_BYTES_MAX: usize = ANSWER_BYTES_MAX;
const _: () =
    assert!(BATCH_BYTES_MAX <= PEER_FRAME_BYTES_MAX && SMALL_FRAME_BYTES_MAX <= PEER_FRAME_BYTES_MAX);
/// The most bytes of a payload that is not of the class of large things: evidence of two vertices.
pub const SMALL_FRAME_BYTES_MAX: usize = EVIDENCE_BYTES_MAX;
// Whoever gets a longer one ends the connection, so whatever a peer may have to send must fit.
const _: () = assert!(
    SMALL_FRAME_BYTES_MAX >= vertex_bytes_max()
        && SMALL_FRAME_BYTES_MAX >= CERTIFICATE_BYTES_MAX
        && SMALL_FRAME_BYTES_MAX >= 4 + REFS_MAX * VERTEX_REF_BYTES
        && SMALL_FRAME_BYTES_MAX >= 12 + SEATS_MAX * 8
        && SMALL_FRAME_BYTES_MAX >= 4 + ADDRESSES_MAX * ADDRESS_BYTES
);

const VERTEX_REF_BYTES: usize = 42;
const BATCH_REF_BYTES: usize = 42;

/// The kinds from 1 on are so many.
pub const KINDS: u8 = 21;
/// The kinds of the class of large things.
const BULK_KINDS: [u8; 5] = [2, 11, 13, 17, 20];

/// A message between peers. Shared parts are behind [`Arc`] or [`Bytes`], so that a broadcast copies nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a message is moved a few times; a box would be one allocation more"
)]
pub enum Message {
    /// A vertex, pushed or asked for.
    Vertex(Arc<SignedVertex>),
    /// A batch, pushed or asked for.
    Batch(Batch),
    /// Please send these vertices.
    WantVertices(Vec<VertexRef>),
    /// Please send these batches.
    WantBatches(Vec<BatchRef>),
    /// What I have accepted: push what I am missing.
    Frontier {
        /// Of what lies at or below this round I know nothing: I began above it.
        began: Round,
        /// The highest accepted round of each seat in order; `began` where I know of none.
        rounds: Vec<Round>,
    },
    /// Please send the certificate of this height; of height 0: the newest one.
    WantCertificate(Height),
    /// A certificate that was asked for.
    Certificate(Arc<Certificate>),
    /// Please show your frontier.
    WantFrontier,
    /// What proves that a validator lied.
    Evidence(Arc<Evidence>),
    /// Please send these blocks, or the first of them.
    WantBlocks {
        /// The height of the first.
        first: Height,
        /// How many, from 1 to [`super::BLOCKS_MAX`].
        count: u32,
    },
    /// Blocks that were asked for, from the first one on; none: it is not here.
    Blocks {
        /// The height of the first.
        first: Height,
        /// Each with the height after that of the one before.
        blocks: Arc<Vec<HashedBlock>>,
    },
    /// Please send the settlement record of the checkpoint of this height.
    WantRecord(Height),
    /// A settlement record that was asked for.
    Record {
        /// The height of its checkpoint.
        height: Height,
        /// Its canonical bytes; none: it is not here.
        bytes: Bytes,
    },
    /// Please say what you have for somebody who begins anew.
    WantSnapshots,
    /// Of which checkpoints an account table can be had.
    Snapshots {
        /// From this height on every block is here, with the batches that it settles.
        first: Height,
        /// The heights of the snapshots, ascending, at most [`super::SNAPSHOTS_MAX`].
        heights: Vec<Height>,
    },
    /// Please send a piece of the account table of the checkpoint of this height.
    WantPiece {
        /// The height of the checkpoint.
        height: Height,
        /// The number of the piece, below [`super::PIECES_MAX`].
        piece: u32,
    },
    /// A piece that was asked for.
    Piece(TablePiece),
    /// Please say where others are reached.
    WantAddresses,
    /// Where peers are reached: the sender itself, or others that it was asked for; at most [`super::ADDRESSES_MAX`].
    Addresses(Vec<AddressRecord>),
    /// Rows of clients, verified, for the seat that is to seal them.
    Rows(Submission),
    /// Please send what proves that validators lied, but for these, which I know of; ascending.
    WantEvidence(Vec<Seat>),
}

impl Message {
    /// The kind byte of its frame.
    pub fn kind(&self) -> u8 {
        match self {
            Message::Vertex(_) => 1,
            Message::Batch(_) => 2,
            Message::WantVertices(_) => 3,
            Message::WantBatches(_) => 4,
            Message::Frontier { .. } => 5,
            Message::WantCertificate(_) => 6,
            Message::Certificate(_) => 7,
            Message::WantFrontier => 8,
            Message::Evidence(_) => 9,
            Message::WantBlocks { .. } => 10,
            Message::Blocks { .. } => 11,
            Message::WantRecord(_) => 12,
            Message::Record { .. } => 13,
            Message::WantSnapshots => 14,
            Message::Snapshots { .. } => 15,
            Message::WantPiece { .. } => 16,
            Message::Piece(_) => 17,
            Message::WantAddresses => 18,
            Message::Addresses(_) => 19,
            Message::Rows(_) => 20,
            Message::WantEvidence(_) => 21,
        }
    }

    /// The canonical payload; vertices, batches and pieces share their bytes.
    pub fn payload(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Message::Vertex(vertex) => return vertex.bytes.clone(),
            Message::Batch(batch) => return batch.bytes().clone(),
            Message::WantVertices(refs) => {
                out.put_count(refs.len());
                for r in refs {
                    out.put_u16(r.author.0).put_u64(r.round.0).put(&r.id.0);
                }
            }
            Message::WantBatches(refs) => {
                out.put_count(refs.len());
                for r in refs {
                    out.put_u16(r.author.0).put_u64(r.sequence.0).put(&r.id.0);
                }
            }
            Message::Frontier { began, rounds } => {
                out.put_u64(began.0).put_count(rounds.len());
                for round in rounds {
                    out.put_u64(round.0);
                }
            }
            Message::WantCertificate(height) => _ = out.put_u64(height.0),
            Message::Certificate(certificate) => out = encode_certificate(certificate),
            Message::WantFrontier => {}
            Message::Evidence(evidence) => out = evidence.encode(),
            Message::WantBlocks { first, count } => _ = out.put_u64(first.0).put_u32(*count),
            Message::Blocks { first, blocks } => put_blocks(*first, blocks, &mut out),
            Message::WantRecord(height) => _ = out.put_u64(height.0),
            Message::Record { height, bytes } => put_record(*height, bytes, &mut out),
            Message::WantSnapshots => {}
            Message::Snapshots { first, heights } => put_snapshots(*first, heights, &mut out),
            Message::WantPiece { height, piece } => _ = out.put_u64(height.0).put_u32(*piece),
            Message::Piece(piece) => return piece.payload().clone(),
            Message::WantAddresses => {}
            Message::Addresses(records) => put_addresses(records, &mut out),
            Message::Rows(rows) => rows.put(&mut out),
            Message::WantEvidence(known) => put_seats(known, &mut out),
        }
        Bytes::from(out)
    }

    /// Whether it is of the class of large things, which waits behind votes and requests.
    pub fn is_bulk(&self) -> bool {
        is_bulk(self.kind())
    }

    /// Decodes a frame between peers.
    pub fn decode(frame: Frame) -> Result<Message, WireError> {
        let mut reader = Reader::new("message", &frame.payload);
        let message = match frame.kind {
            1 if frame.payload.len() > vertex_bytes_max() => {
                let (found, most) = (frame.payload.len() as u64, vertex_bytes_max() as u64);
                return Err(WireError::Limit { what: "vertex", found, most });
            }
            1 => return SignedVertex::decode(frame.payload).map(|v| Message::Vertex(Arc::new(v))),
            2 => return Batch::decode(frame.payload).map(Message::Batch),
            3 => {
                let count = reader.count("wanted vertices", REFS_MAX, VERTEX_REF_BYTES)?;
                let mut refs = Vec::with_capacity(count);
                for _ in 0..count {
                    let (author, round) = (reader.seat()?, Round(reader.u64()?));
                    refs.push(VertexRef { round, author, id: VertexId(reader.array()?) });
                }
                Message::WantVertices(refs)
            }
            4 => {
                let count = reader.count("wanted batches", REFS_MAX, BATCH_REF_BYTES)?;
                let mut refs = Vec::with_capacity(count);
                for _ in 0..count {
                    let (author, sequence) = (reader.seat()?, Sequence(reader.u64()?));
                    refs.push(BatchRef { author, sequence, id: BatchId(reader.array()?) });
                }
                Message::WantBatches(refs)
            }
            5 => {
                let began = Round(reader.u64()?);
                let count = reader.count("frontier", SEATS_MAX, 8)?;
                let mut rounds = Vec::with_capacity(count);
                for _ in 0..count {
                    rounds.push(Round(reader.u64()?));
                }
                Message::Frontier { began, rounds }
            }
            6 => Message::WantCertificate(Height(reader.u64()?)),
            7 => {
                let certificate = decode_certificate(&frame.payload)?;
                return Ok(Message::Certificate(Arc::new(certificate)));
            }
            8 => Message::WantFrontier,
            9 => return Evidence::decode(&frame.payload).map(|e| Message::Evidence(Arc::new(e))),
            10 => {
                let (first, count) = read_want_blocks(&mut reader)?;
                Message::WantBlocks { first, count }
            }
            11 => {
                let (first, blocks) = read_blocks(&frame.payload)?;
                return Ok(Message::Blocks { first, blocks: Arc::new(blocks) });
            }
            12 => Message::WantRecord(Height(reader.u64()?)),
            13 => {
                let (height, bytes) = read_record(&frame.payload)?;
                return Ok(Message::Record { height, bytes });
            }
            14 => Message::WantSnapshots,
            15 => {
                let (first, heights) = read_snapshots(&mut reader)?;
                Message::Snapshots { first, heights }
            }
            16 => {
                let (height, piece) = read_want_piece(&mut reader)?;
                Message::WantPiece { height, piece }
            }
            17 => return TablePiece::read(&frame.payload).map(Message::Piece),
            18 => Message::WantAddresses,
            19 => Message::Addresses(read_addresses(&mut reader)?),
            20 => return Submission::read(&frame.payload).map(Message::Rows),
            21 => Message::WantEvidence(read_seats(&mut reader)?),
            other => return Err(WireError::Kind(other)),
        };
        reader.end()?;
        Ok(message)
    }
}

/// Whether messages of this kind are of the class of large things.
pub fn is_bulk(kind: u8) -> bool {
    BULK_KINDS.contains(&kind)
}

fn put_seats(seats: &[Seat], out: &mut Vec<u8>) {
    out.put_count(seats.len());
    for seat in seats {
        out.put_u16(seat.0);
    }
}

fn read_seats(reader: &mut Reader<'_>) -> Result<Vec<Seat>, WireError> {
    let count = reader.count("seats", SEATS_MAX, 2)?;
    let seats = (0..count).map(|_| reader.seat()).collect::<Result<Vec<_>, _>>()?;
    let ascend = seats.is_sorted_by(|one, next| one < next);
    if ascend { Ok(seats) } else { Err(WireError::Value("order of seats")) }
}
