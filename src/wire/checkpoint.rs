//! Checkpoint votes and certificates.
//!
//! ```text
//! part of a vertex: votes, one to eight, heights ascending: (height u64 · hash · signature)
//! certificate: version u8 · epoch u32 · height u64 · hash · votes: count u32, then (author u16 · signature)
//! signed: chain id · epoch u32 · height u64 · hash
//! ```

use super::WireError;
use super::cursor::{Put, Reader};
use crate::crypto::{self, Domain, SigningKey};
use crate::types::params::{CHECKPOINT_VOTES_MAX, SEATS_MAX, VERSION};
use crate::types::{BlockHash, Certificate, ChainId, CheckpointVote, Epoch, Height, Seat};

/// Bytes of a vote.
pub(super) const VOTE_BYTES: usize = 104;
const SIGNED_BYTES: usize = 66;

/// The most bytes of a certificate in any committee.
pub const CERTIFICATE_BYTES_MAX: usize = 49 + SEATS_MAX * SIGNED_BYTES;

/// The digest under a checkpoint vote.
pub fn checkpoint_digest(chain: &ChainId, epoch: Epoch, height: Height, hash: &BlockHash) -> [u8; 32] {
    let fields: [&[u8]; 4] = [&chain.0, &epoch.0.to_le_bytes(), &height.0.to_le_bytes(), &hash.0];
    crypto::hash(Domain::Checkpoint, &fields)
}

/// Signs a checkpoint.
pub fn sign_checkpoint(
    key: &SigningKey,
    chain: &ChainId,
    epoch: Epoch,
    height: Height,
    hash: BlockHash,
) -> CheckpointVote {
    let signature = crypto::sign(key, &checkpoint_digest(chain, epoch, height, &hash));
    CheckpointVote { height, hash, signature }
}

pub(super) fn encode_votes(votes: &[CheckpointVote], out: &mut Vec<u8>) {
    votes.iter().for_each(|vote| put_vote(vote, out));
}

pub(super) fn put_vote(vote: &CheckpointVote, out: &mut Vec<u8>) {
    out.put_u64(vote.height.0).put(&vote.hash.0).put(&vote.signature);
}

/// The vote in [`VOTE_BYTES`] bytes.
pub(super) fn read_vote(bytes: &[u8]) -> Result<CheckpointVote, WireError> {
    let mut reader = Reader::new("checkpoint vote", bytes);
    let (height, hash) = (Height(reader.u64()?), BlockHash(reader.array()?));
    let signature = reader.array()?;
    reader.end()?;
    Ok(CheckpointVote { height, hash, signature })
}

/// How many bytes so many votes take.
pub(super) const fn votes_bytes(votes: usize) -> usize {
    votes * VOTE_BYTES
}

/// The votes in a part of a vertex: at least one, at most one per height.
pub(super) fn decode_votes(bytes: &[u8]) -> Result<Vec<CheckpointVote>, WireError> {
    if bytes.is_empty() {
        return Err(WireError::Value("checkpoint votes"));
    }
    if bytes.len() > votes_bytes(CHECKPOINT_VOTES_MAX) {
        let (found, most) = (bytes.len() as u64, votes_bytes(CHECKPOINT_VOTES_MAX) as u64);
        return Err(WireError::Limit { what: "checkpoint votes", found, most });
    }
    let mut votes: Vec<CheckpointVote> = Vec::with_capacity(bytes.len() / VOTE_BYTES);
    for vote in bytes.chunks(VOTE_BYTES) {
        let vote = read_vote(vote)?;
        if vote.height <= votes.last().map_or(Height(0), |last| last.height) {
            return Err(WireError::Value("order of checkpoint votes"));
        }
        votes.push(vote);
    }
    Ok(votes)
}

/// The canonical bytes of a certificate.
pub fn encode_certificate(certificate: &Certificate) -> Vec<u8> {
    let mut out = Vec::with_capacity(49 + certificate.votes.len() * SIGNED_BYTES);
    put_certificate(certificate, &mut out);
    out
}

pub(super) fn put_certificate(certificate: &Certificate, out: &mut Vec<u8>) {
    out.put_u8(VERSION).put_u32(certificate.epoch.0).put_u64(certificate.height.0);
    out.put(&certificate.hash.0).put_count(certificate.votes.len());
    for (seat, signature) in &certificate.votes {
        out.put_u16(seat.0).put(signature);
    }
}

/// Decodes a certificate's canonical bytes. Checks form, order and limits; not the signatures.
pub fn decode_certificate(bytes: &[u8]) -> Result<Certificate, WireError> {
    let mut reader = Reader::new("certificate", bytes);
    let certificate = read_certificate(&mut reader)?;
    reader.end()?;
    Ok(certificate)
}

pub(super) fn read_certificate(reader: &mut Reader<'_>) -> Result<Certificate, WireError> {
    reader.version()?;
    let (epoch, height) = (Epoch(reader.u32()?), Height(reader.u64()?));
    let hash = BlockHash(reader.array()?);
    let count = reader.count("votes of a certificate", SEATS_MAX, SIGNED_BYTES)?;
    let mut votes: Vec<(Seat, [u8; 64])> = Vec::with_capacity(count);
    for _ in 0..count {
        let seat = reader.seat()?;
        if votes.last().is_some_and(|last| last.0 >= seat) {
            return Err(WireError::Value("order of a certificate's votes"));
        }
        votes.push((seat, reader.array()?));
    }
    if height.0 == 0 {
        return Err(WireError::Value("height of a certificate"));
    }
    Ok(Certificate { epoch, height, hash, votes })
}
