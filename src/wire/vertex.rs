//! Vertices.
//!
//! ```text
//! version u8 · epoch u32 · round u64 · author u16 · time u64
//! strong: count u32, then (author u16 · id) · weak: count u32, then (author u16 · round u64 · id)
//! acks: count u32, then (author u16 · sequence u64 · id · verdict u8)
//! parts: count u32, then (tag u8 · length u32 · bytes) · signature
//! ```
//!
//! A part of a known tag that is not as its format says makes the vertex malformed, and a checkpoint vote whose signature
//! is bad makes it a vertex with a bad signature: bytes and the committee's keys alone decide, so that what one honest
//! node accepts all do. Parts of unknown tags are kept and mean nothing.

use super::WireError;
use super::accusation::Accusation;
use super::checkpoint::{decode_votes, encode_votes, votes_bytes};
use super::cursor::{Put, Reader};
use crate::crypto::{self, Domain, SigningKey};
use crate::types::params::{ACKS_MAX, PARTS_BYTES_MAX, SEATS_MAX, VERSION};
use crate::types::{
    Ack, BatchId, BatchRef, ChainId, Epoch, Parent, Part, Round, Seat, Sequence, Time, Verdict, Vertex,
    VertexId, VertexRef,
};
use bytes::Bytes;

const STRONG_BYTES: usize = 34;
const WEAK_BYTES: usize = 42;
const ACK_BYTES: usize = 43;
const PART_BYTES_MIN: usize = 5;
const SIGNATURE_BYTES: usize = 64;

/// A decoded vertex with its id, its signature and the canonical bytes, which travel and are stored as they came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedVertex {
    /// The fields.
    pub vertex: Vertex,
    /// The id: a hash of the bytes without the signature.
    pub id: VertexId,
    /// The author's signature.
    pub signature: [u8; 64],
    /// The canonical bytes, signature last.
    pub bytes: Bytes,
}

impl SignedVertex {
    /// Decodes the canonical bytes. Checks form, order and limits; not the signature, nor anything that needs the
    /// committee.
    pub fn decode(bytes: Bytes) -> Result<SignedVertex, WireError> {
        let body = bytes.len().checked_sub(SIGNATURE_BYTES).ok_or(WireError::Short("vertex"))?;
        let vertex = decode_fields(&bytes[..body])?;
        let id = VertexId(crypto::hash(Domain::VertexId, &[&bytes[..body]]));
        let signature = Reader::new("vertex", &bytes[body..]).array()?;
        Ok(SignedVertex { vertex, id, signature, bytes })
    }

    /// Its slot and id.
    pub fn reference(&self) -> VertexRef {
        VertexRef { round: self.vertex.round, author: self.vertex.author, id: self.id }
    }

    /// What it accuses another of.
    pub fn accusation(&self) -> Option<Accusation> {
        self.vertex.parts.iter().find_map(|part| match part {
            Part::Accusation(bytes) => Accusation::decode(bytes).ok(),
            _ => None,
        })
    }

    /// The digest under the author's signature.
    pub fn digest(&self, chain: &ChainId) -> [u8; 32] {
        digest(chain, &self.bytes[..self.bytes.len() - SIGNATURE_BYTES])
    }
}

/// Round and author of what may be the bytes of a vertex, without decoding the rest.
pub fn vertex_slot(bytes: &[u8]) -> Option<(Round, Seat)> {
    let mut reader = Reader::new("vertex", bytes);
    reader.version().ok()?;
    reader.u32().ok()?;
    Some((Round(reader.u64().ok()?), reader.seat().ok()?))
}

/// Encodes and signs a vertex.
pub fn sign_vertex(key: &SigningKey, chain: &ChainId, vertex: Vertex) -> SignedVertex {
    let mut bytes = Vec::new();
    encode_fields(&vertex, &mut bytes);
    let id = VertexId(crypto::hash(Domain::VertexId, &[&bytes]));
    let signature = crypto::sign(key, &digest(chain, &bytes));
    bytes.put(&signature);
    SignedVertex { vertex, id, signature, bytes: Bytes::from(bytes) }
}

/// The most bytes of a vertex in any committee.
pub const fn vertex_bytes_max() -> usize {
    let lists = SEATS_MAX * (STRONG_BYTES + WEAK_BYTES) + ACKS_MAX * ACK_BYTES;
    23 + 16 + lists + PARTS_BYTES_MAX + SIGNATURE_BYTES
}

fn digest(chain: &ChainId, fields: &[u8]) -> [u8; 32] {
    crypto::hash(Domain::Vertex, &[&chain.0, fields])
}

pub(super) fn encode_fields(vertex: &Vertex, out: &mut Vec<u8>) {
    out.put_u8(VERSION).put_u32(vertex.epoch.0).put_u64(vertex.round.0);
    out.put_u16(vertex.author.0).put_u64(vertex.time.0);
    out.put_count(vertex.strong.len());
    for parent in &vertex.strong {
        out.put_u16(parent.author.0).put(&parent.id.0);
    }
    out.put_count(vertex.weak.len());
    for parent in &vertex.weak {
        out.put_u16(parent.author.0).put_u64(parent.round.0).put(&parent.id.0);
    }
    out.put_count(vertex.acks.len());
    for Ack { batch, verdict } in &vertex.acks {
        out.put_u16(batch.author.0).put_u64(batch.sequence.0).put(&batch.id.0).put_u8(*verdict as u8);
    }
    out.put_count(vertex.parts.len());
    for part in &vertex.parts {
        out.put_u8(part.tag());
        match part {
            Part::Checkpoints(votes) => {
                out.put_count(votes_bytes(votes.len()));
                encode_votes(votes, out);
            }
            Part::Accusation(bytes) | Part::Other(_, bytes) => _ = out.put_count(bytes.len()).put(bytes),
        }
    }
}

fn decode_fields(bytes: &[u8]) -> Result<Vertex, WireError> {
    let mut reader = Reader::new("vertex", bytes);
    reader.version()?;
    let epoch = Epoch(reader.u32()?);
    let round = Round(reader.u64()?);
    let author = reader.seat()?;
    let time = Time(reader.u64()?);
    let strong = decode_strong(&mut reader)?;
    let weak = decode_weak(&mut reader, round)?;
    let acks = decode_acks(&mut reader)?;
    let parts = decode_parts(&mut reader)?;
    reader.end()?;
    if round.0 == 0 {
        return Err(WireError::Value("vertex round"));
    }
    if round.0 == 1 && !(strong.is_empty() && weak.is_empty()) {
        return Err(WireError::Value("parents before round 1"));
    }
    Ok(Vertex { epoch, round, author, time, strong, weak, acks, parts })
}

fn decode_strong(reader: &mut Reader<'_>) -> Result<Vec<Parent>, WireError> {
    let count = reader.count("strong parents", SEATS_MAX, STRONG_BYTES)?;
    let mut strong: Vec<Parent> = Vec::with_capacity(count);
    for _ in 0..count {
        let parent = Parent { author: reader.seat()?, id: VertexId(reader.array()?) };
        if strong.last().is_some_and(|last| last.author >= parent.author) {
            return Err(WireError::Value("order of strong parents"));
        }
        strong.push(parent);
    }
    Ok(strong)
}

fn decode_weak(reader: &mut Reader<'_>, round: Round) -> Result<Vec<VertexRef>, WireError> {
    let count = reader.count("weak parents", SEATS_MAX, WEAK_BYTES)?;
    let mut weak: Vec<VertexRef> = Vec::with_capacity(count);
    for _ in 0..count {
        let (author, at) = (reader.seat()?, Round(reader.u64()?));
        let parent = VertexRef { round: at, author, id: VertexId(reader.array()?) };
        if weak.last().is_some_and(|last| last.author >= author) {
            return Err(WireError::Value("order of weak parents"));
        }
        if at.0 == 0 || at.0.saturating_add(2) > round.0 {
            return Err(WireError::Value("round of a weak parent"));
        }
        weak.push(parent);
    }
    Ok(weak)
}

fn decode_acks(reader: &mut Reader<'_>) -> Result<Vec<Ack>, WireError> {
    let count = reader.count("acks", ACKS_MAX, ACK_BYTES)?;
    let mut acks = Vec::with_capacity(count);
    for _ in 0..count {
        let (author, sequence) = (reader.seat()?, Sequence(reader.u64()?));
        let batch = BatchRef { author, sequence, id: BatchId(reader.array()?) };
        let verdict = Verdict::from_byte(reader.u8()?).ok_or(WireError::Value("verdict"))?;
        acks.push(Ack { batch, verdict });
    }
    let mut slots: Vec<_> = acks.iter().map(|ack: &Ack| (ack.batch.author, ack.batch.sequence)).collect();
    slots.sort_unstable();
    if slots.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(WireError::Value("two acks for one batch slot"));
    }
    Ok(acks)
}

fn decode_parts(reader: &mut Reader<'_>) -> Result<Vec<Part>, WireError> {
    let count = reader.count("parts", 256, PART_BYTES_MIN)?;
    let mut parts: Vec<Part> = Vec::with_capacity(count);
    let mut total = 0;
    for _ in 0..count {
        let tag = reader.u8()?;
        let length = reader.count("part", PARTS_BYTES_MAX, 1)?;
        total += length + PART_BYTES_MIN;
        if total > PARTS_BYTES_MAX {
            return Err(WireError::Limit {
                what: "parts",
                found: total as u64,
                most: PARTS_BYTES_MAX as u64,
            });
        }
        if parts.last().is_some_and(|last| last.tag() >= tag) {
            return Err(WireError::Value("order of parts"));
        }
        let bytes = reader.bytes(length)?;
        parts.push(match tag {
            Part::CHECKPOINTS => Part::Checkpoints(decode_votes(bytes)?),
            Part::ACCUSATION => Part::Accusation(Accusation::decode(bytes)?.encode()),
            _ => Part::Other(tag, bytes.to_vec()),
        });
    }
    Ok(parts)
}
