//! The vertex: one validator's signed message of one round.

use super::ids::{Epoch, Round, Seat, VertexId};
use super::{BatchRef, CheckpointVote, Time};

/// A validator's statement on a batch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Verdict {
    /// The bytes match the header and are synced to disk.
    Held = 0,
    /// Held, and every signature was checked and is good.
    Valid = 1,
    /// A row's signature is bad. Never counted; it is a hint to others.
    Invalid = 2,
}

impl Verdict {
    /// The verdict of a byte; an unknown one is malformed.
    pub fn from_byte(byte: u8) -> Option<Verdict> {
        match byte {
            0 => Some(Verdict::Held),
            1 => Some(Verdict::Valid),
            2 => Some(Verdict::Invalid),
            _ => None,
        }
    }
}

/// An ack: a batch and a verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ack {
    /// The batch that it speaks of.
    pub batch: BatchRef,
    /// What it says.
    pub verdict: Verdict,
}

/// Names one vertex: its slot and its id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct VertexRef {
    /// Its round.
    pub round: Round,
    /// Its author.
    pub author: Seat,
    /// Its id.
    pub id: VertexId,
}

/// A strong parent: a vertex of the round before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parent {
    /// Its author.
    pub author: Seat,
    /// Its id.
    pub id: VertexId,
}

/// An optional part of a vertex.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part {
    /// What the author signs of the chain: at least one vote, heights ascending. Tag 1.
    Checkpoints(Vec<CheckpointVote>),
    /// What proves a row of another's batch to be bad: the canonical bytes of an accusation. Tag 2.
    Accusation(Vec<u8>),
    /// A part of another tag, which this version has no rule for: kept as it came.
    Other(u8, Vec<u8>),
}

impl Part {
    /// The tag of [`Part::Checkpoints`].
    pub const CHECKPOINTS: u8 = 1;
    /// The tag of [`Part::Accusation`].
    pub const ACCUSATION: u8 = 2;

    /// Its tag.
    pub fn tag(&self) -> u8 {
        match self {
            Part::Checkpoints(_) => Part::CHECKPOINTS,
            Part::Accusation(_) => Part::ACCUSATION,
            Part::Other(tag, _) => *tag,
        }
    }
}

/// The fields of a vertex, without the signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vertex {
    /// The epoch of the author's seat.
    pub epoch: Epoch,
    /// Its round, from 1.
    pub round: Round,
    /// Who signed it.
    pub author: Seat,
    /// The author's clock.
    pub time: Time,
    /// Parents of the round before, in author order, one per author.
    pub strong: Vec<Parent>,
    /// Older parents, in author order, one per author.
    pub weak: Vec<VertexRef>,
    /// Acks, one per batch slot.
    pub acks: Vec<Ack>,
    /// Optional parts, tags ascending.
    pub parts: Vec<Part>,
}

impl Vertex {
    /// All parents, as full references.
    pub fn parents(&self) -> impl Iterator<Item = VertexRef> + '_ {
        let before = self.round.back(1);
        let strong = self.strong.iter().map(move |p| VertexRef { round: before, author: p.author, id: p.id });
        strong.chain(self.weak.iter().copied())
    }

    /// The checkpoint votes that it carries.
    pub fn checkpoint_votes(&self) -> &[CheckpointVote] {
        let votes = self.parts.iter().find_map(|part| match part {
            Part::Checkpoints(votes) => Some(&votes[..]),
            Part::Accusation(_) | Part::Other(..) => None,
        });
        votes.unwrap_or_default()
    }
}
