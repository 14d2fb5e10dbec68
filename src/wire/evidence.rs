//! Evidence: what proves, to anybody who has the committee's keys, that a validator lied.
//!
//! ```text
//! kind u8, then
//! 1  two vertices of one author and round:      length u32 · vertex · length u32 · vertex, ascending by id
//! 2  two batches of one author and sequence:    header 192 · header 192, ascending by id
//! 3  a bad row in a batch of its author:        accusation
//! 4  a false accusation by a vertex' author:    vertex
//! 5  two votes on one checkpoint:               seat u16 · epoch u32 · vote 104 · vote 104, ascending by hash
//! ```
//!
//! Two things are different if their *ids* are, and two votes if the hashes that they name are: a signature can be varied by whoever sees it, an id cannot.

use super::accusation::Accusation;
use super::checkpoint::{decode_votes, encode_votes, votes_bytes};
use super::cursor::{Put, Reader};
use super::{SignedHeader, SignedVertex, WireError, vertex_bytes_max};
use crate::types::params::{ACCUSATION_BYTES_MAX, BATCH_HEADER_BYTES};
use crate::types::{CheckpointVote, Epoch, Seat};
use bytes::Bytes;
use std::sync::Arc;

/// The most bytes of evidence: two vertices.
pub const EVIDENCE_BYTES_MAX: usize = 1 + 2 * (4 + vertex_bytes_max());
const _: () = assert!(ACCUSATION_BYTES_MAX < EVIDENCE_BYTES_MAX);

/// What a validator did that it may not do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Evidence {
    /// It signed two vertices of one round.
    Vertices([Arc<SignedVertex>; 2]),
    /// It signed two batches of one sequence.
    Batches([SignedHeader; 2]),
    /// It sealed a row whose signature is bad.
    BadRow(Accusation),
    /// It accused another of a bad row, and the row is good or does not stand there.
    FalseAccusation(Arc<SignedVertex>),
    /// It signed two hashes of one checkpoint.
    Votes {
        /// Whose votes they are.
        seat: Seat,
        /// Of which epoch.
        epoch: Epoch,
        /// Both.
        votes: [CheckpointVote; 2],
    },
}

impl Evidence {
    /// Evidence of two vertices in one slot; `None` if they are not two, or not of one slot.
    pub fn of_vertices(one: &Arc<SignedVertex>, other: &Arc<SignedVertex>) -> Option<Evidence> {
        let slot = |v: &SignedVertex| (v.vertex.epoch, v.vertex.author, v.vertex.round);
        let two = slot(one) == slot(other) && one.id != other.id;
        let (low, high) = if one.id < other.id { (one, other) } else { (other, one) };
        two.then(|| Evidence::Vertices([low.clone(), high.clone()]))
    }

    /// Evidence of two batches in one slot; `None` if they are not two, or not of one slot.
    pub fn of_batches(one: &SignedHeader, other: &SignedHeader) -> Option<Evidence> {
        let slot = |h: &SignedHeader| (h.header.epoch, h.header.author, h.header.sequence);
        let two = slot(one) == slot(other) && one.id != other.id;
        let (low, high) = if one.id < other.id { (one, other) } else { (other, one) };
        two.then(|| Evidence::Batches([low.clone(), high.clone()]))
    }

    /// Evidence of two votes on one checkpoint; `None` if they are not two, or not of one height.
    pub fn of_votes(seat: Seat, epoch: Epoch, [one, other]: [CheckpointVote; 2]) -> Option<Evidence> {
        let two = one.height == other.height && one.hash != other.hash;
        let votes = if one.hash < other.hash { [one, other] } else { [other, one] };
        two.then_some(Evidence::Votes { seat, epoch, votes })
    }

    /// Whom it speaks against.
    pub fn accused(&self) -> Seat {
        match self {
            Evidence::Vertices([one, _]) | Evidence::FalseAccusation(one) => one.vertex.author,
            Evidence::Batches([one, _]) => one.header.author,
            Evidence::BadRow(accusation) => accusation.header.header.author,
            Evidence::Votes { seat, .. } => *seat,
        }
    }

    /// The epoch in which it happened.
    pub fn epoch(&self) -> Epoch {
        match self {
            Evidence::Vertices([one, _]) | Evidence::FalseAccusation(one) => one.vertex.epoch,
            Evidence::Batches([one, _]) => one.header.epoch,
            Evidence::BadRow(accusation) => accusation.header.header.epoch,
            Evidence::Votes { epoch, .. } => *epoch,
        }
    }

    /// What it is, in words.
    pub fn words(&self) -> &'static str {
        match self {
            Evidence::Vertices(_) => "two vertices of one round",
            Evidence::Batches(_) => "two batches of one sequence",
            Evidence::BadRow(_) => "a batch with a bad row",
            Evidence::FalseAccusation(_) => "a false accusation",
            Evidence::Votes { .. } => "two votes on one checkpoint",
        }
    }

    /// The canonical bytes, at most [`EVIDENCE_BYTES_MAX`].
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Evidence::Vertices(vertices) => {
                out.put_u8(1);
                for vertex in vertices {
                    out.put_count(vertex.bytes.len()).put(&vertex.bytes);
                }
            }
            Evidence::Batches([one, other]) => _ = out.put_u8(2).put(one.bytes()).put(other.bytes()),
            Evidence::BadRow(accusation) => _ = out.put_u8(3).put(&accusation.encode()),
            Evidence::FalseAccusation(vertex) => _ = out.put_u8(4).put(&vertex.bytes),
            Evidence::Votes { seat, epoch, votes } => {
                out.put_u8(5).put_u16(seat.0).put_u32(epoch.0);
                votes.iter().for_each(|vote| encode_votes(&[*vote], &mut out));
            }
        }
        out
    }

    /// Decodes the canonical bytes. Checks form, order and limits; not signatures, rows or proofs.
    pub fn decode(bytes: &[u8]) -> Result<Evidence, WireError> {
        let (kind, rest) = bytes.split_first().ok_or(WireError::Short("evidence"))?;
        let not_two = WireError::Value("evidence of two that are not two of one slot in order");
        match kind {
            1 => {
                let mut reader = Reader::new("evidence", rest);
                let (one, other) = (vertex(&mut reader)?, vertex(&mut reader)?);
                reader.end()?;
                let ordered = one.id < other.id;
                Evidence::of_vertices(&one, &other).filter(|_| ordered).ok_or(not_two)
            }
            2 => {
                let (one, other) =
                    rest.split_at_checked(BATCH_HEADER_BYTES).ok_or(WireError::Short("evidence"))?;
                let (one, other) = (SignedHeader::decode(one)?, SignedHeader::decode(other)?);
                let ordered = one.id < other.id;
                Evidence::of_batches(&one, &other).filter(|_| ordered).ok_or(not_two)
            }
            3 => Accusation::decode(rest).map(Evidence::BadRow),
            4 => {
                let signed = decode_vertex(rest)?;
                let accuses = signed.accusation().is_some();
                let accuses = accuses.then(|| Evidence::FalseAccusation(Arc::new(signed)));
                accuses.ok_or(WireError::Value("evidence of an accusation that is none"))
            }
            5 => {
                let mut reader = Reader::new("evidence", rest);
                let (seat, epoch) = (reader.seat()?, Epoch(reader.u32()?));
                let (one, other) = (vote(&mut reader)?, vote(&mut reader)?);
                reader.end()?;
                let ordered = one.hash < other.hash;
                Evidence::of_votes(seat, epoch, [one, other]).filter(|_| ordered).ok_or(not_two)
            }
            other => Err(WireError::Kind(*other)),
        }
    }
}

fn vote(reader: &mut Reader<'_>) -> Result<CheckpointVote, WireError> {
    let votes = decode_votes(reader.bytes(votes_bytes(1))?)?;
    votes.first().copied().ok_or(WireError::Value("checkpoint votes"))
}

fn vertex(reader: &mut Reader<'_>) -> Result<Arc<SignedVertex>, WireError> {
    let length = reader.count("vertex", vertex_bytes_max(), 1)?;
    decode_vertex(reader.bytes(length)?).map(Arc::new)
}

fn decode_vertex(bytes: &[u8]) -> Result<SignedVertex, WireError> {
    if bytes.len() > vertex_bytes_max() {
        let (found, most) = (bytes.len() as u64, vertex_bytes_max() as u64);
        return Err(WireError::Limit { what: "vertex", found, most });
    }
    SignedVertex::decode(Bytes::copy_from_slice(bytes))
}
