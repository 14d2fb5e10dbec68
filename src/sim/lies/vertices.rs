//! Vertices that no honest validator makes: malformed ones of every kind, and floods of old and future ones.
//!
//! What stands against it: form is checked before anything is kept, one vertex of a slot is taken unasked, what waits is
//! bounded for each author, and nothing at or below the floor is taken.

use super::{Hand, Letter, Tells};
use crate::crypto::{plain, sign};
use crate::types::{
    Ack, BatchId, BatchRef, BlockHash, CheckpointVote, Height, Parent, Part, Round, Seat, Sequence, Verdict,
    Vertex, VertexId, VertexRef,
};
use crate::wire::{Message, SignedVertex, sign_vertex};
use bytes::Bytes;
use std::collections::VecDeque;

/// How many ways there are for a vertex to be bad.
const FORMS: u64 = 24;
/// What stands behind the acks of a vertex without parts: the number of these, and the signature.
const BEHIND_ACKS: usize = 4 + 64;
/// Vertices of others that are remembered for a flood.
const OLD_MAX: usize = 512;

pub(super) struct BadVertices {
    pub instead: bool,
}

impl Tells for BadVertices {
    fn tell(&mut self, hand: &Hand, to: Seat, message: &Message) -> Option<Vec<Letter>> {
        let Message::Vertex(vertex) = message else { return None };
        if vertex.vertex.author != hand.seat {
            return None;
        }
        let bad = Letter { to, after: 0, kind: message.kind(), payload: spoilt(hand, vertex) };
        let only = self.instead && vertex.vertex.round.0.is_multiple_of(2);
        Some(if only { vec![bad] } else { vec![bad, Letter::new(to, message)] })
    }
}

/// A vertex made bad, in a way that its round chooses.
fn spoilt(hand: &Hand, good: &SignedVertex) -> Bytes {
    let mut vertex = good.vertex.clone();
    let quorum = hand.genesis.committee().quorum();
    let nobody = VertexId(plain(&good.id.0));
    let ack = |author, sequence| Ack {
        batch: BatchRef { author, sequence, id: BatchId(nobody.0) },
        verdict: Verdict::Held,
    };
    match vertex.round.0 / 2 % FORMS {
        0 => return flipped(good.bytes.len() - 1, &good.bytes),
        1 => return flipped(0, &good.bytes),
        2 => return [&good.bytes[..], &[0]].concat().into(),
        3 => return good.bytes.slice(..good.bytes.len() / 2),
        4 => vertex.strong.truncate(quorum - 1),
        5 => vertex.strong.reverse(),
        6 => vertex.strong.extend(vertex.strong.last().copied()),
        7 => vertex.strong.iter_mut().for_each(|parent| parent.id = nobody),
        8 => vertex.weak = under(&vertex, vertex.round.back(2)),
        9 => vertex.acks.extend([ack(Seat(0), Sequence(1)), ack(Seat(0), Sequence(1))]),
        10 => vertex.acks.push(ack(Seat(0), Sequence(u64::MAX))),
        11 => vertex.author = Seat(hand.genesis.seats.len() as u16),
        12 => vertex.epoch.0 += 1,
        13 => vertex.round = Round(u64::MAX),
        14 => vertex.round = Round(vertex.round.0.saturating_sub(200).max(2)),
        15 => vertex.acks.push(ack(Seat(u16::MAX), Sequence(0))),
        16 => vertex.weak = under(&vertex, vertex.round.back(hand.genesis.rules.depth + 1)),
        17 => vertex.weak = under(&vertex, vertex.round.back(1)),
        18 => vertex.weak = under(&vertex, vertex.round.next()),
        19 => vertex.strong.push(Parent { author: Seat(hand.genesis.seats.len() as u16), id: nobody }),
        20 => {
            let (round, author) = (vertex.round.back(2), Seat(hand.genesis.seats.len() as u16));
            vertex.weak.push(VertexRef { round, author, id: nobody });
        }
        21 => vertex.parts = vec![Part::Accusation(vec![1, 2, 3])],
        22 => vertex.parts = vec![Part::Checkpoints(vec![unsigned_vote(hand)])],
        _ => {
            vertex.acks = vec![ack(Seat(0), Sequence(1))];
            return with_unknown_verdict(hand, Vertex { parts: Vec::new(), ..vertex });
        }
    }
    sign_vertex(&hand.key, &hand.chain, vertex).bytes
}

/// A vote for the first checkpoint that nobody signed.
fn unsigned_vote(hand: &Hand) -> CheckpointVote {
    let height = Height(hand.genesis.rules.checkpoint_blocks);
    CheckpointVote { height, hash: BlockHash([7; 32]), signature: [7; 64] }
}

/// The verdict of the last ack of a vertex without parts is one that there is not, and the vertex well signed.
fn with_unknown_verdict(hand: &Hand, vertex: Vertex) -> Bytes {
    let mut signed = sign_vertex(&hand.key, &hand.chain, vertex);
    let mut bytes = signed.bytes.to_vec();
    let verdict = bytes.len() - BEHIND_ACKS - 1;
    bytes[verdict] = 3;
    signed.bytes = bytes.into();
    let signature = sign(&hand.key, &signed.digest(&hand.chain));
    let fields = &signed.bytes[..signed.bytes.len() - signature.len()];
    [fields, &signature].concat().into()
}

fn flipped(place: usize, bytes: &[u8]) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[place] ^= 1;
    bytes.into()
}

/// The strong parents once more as weak ones, under a round that is not theirs or must not be named.
fn under(vertex: &Vertex, round: Round) -> Vec<VertexRef> {
    let weak = |parent: &Parent| VertexRef { round, author: parent.author, id: parent.id };
    vertex.strong.iter().map(weak).filter(|_| round.0 > 0).collect()
}

pub(super) struct Flood {
    each: u32,
    old: VecDeque<Message>,
    /// The future ones of the own vertex of a round, the same for everybody.
    future: (Round, Vec<Message>),
}

impl Flood {
    pub fn new(each: u32) -> Flood {
        Flood { each, old: VecDeque::new(), future: (Round(0), Vec::new()) }
    }

    fn make_future(&mut self, hand: &Hand, own: &Vertex) {
        let make = |ahead: u64| {
            let round = Round(own.round.0 + 2 + ahead * 7);
            let id =
                |seat: Seat| VertexId(plain(&[&round.0.to_le_bytes()[..], &seat.0.to_le_bytes()].concat()));
            let strong = hand.genesis.committee().iter().map(|author| Parent { author, id: id(author) });
            let (strong, weak, acks) = (strong.collect(), Vec::new(), Vec::new());
            let vertex = Vertex { round, strong, weak, acks, parts: Vec::new(), ..own.clone() };
            Message::Vertex(sign_vertex(&hand.key, &hand.chain, vertex).into())
        };
        self.future = (own.round, (0..u64::from(self.each / 2)).map(make).collect());
    }
}

impl Tells for Flood {
    fn hear(&mut self, _hand: &Hand, message: &Message) {
        if matches!(message, Message::Vertex(_)) {
            self.old.push_back(message.clone());
            if self.old.len() > OLD_MAX {
                self.old.pop_front();
            }
        }
    }

    fn tell(&mut self, hand: &Hand, to: Seat, message: &Message) -> Option<Vec<Letter>> {
        let Message::Vertex(vertex) = message else { return None };
        if vertex.vertex.author != hand.seat {
            return None;
        }
        if self.future.0 != vertex.vertex.round {
            self.make_future(hand, &vertex.vertex);
        }
        let old = self.old.iter().take(self.each.div_ceil(2) as usize);
        let all = self.future.1.iter().chain(old).chain([message]);
        Some(all.map(|message| Letter::new(to, message)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::hand;
    use super::*;
    use crate::consensus::Dag;
    use crate::crypto::{PreparedKey, public_key, verify};
    use crate::types::{Epoch, Time};
    use crate::wire::WireError;

    fn good(hand: &Hand, round: u64) -> SignedVertex {
        let parent = |seat| Parent { author: Seat(seat), id: VertexId([seat as u8; 32]) };
        let vertex = Vertex {
            epoch: Epoch(0),
            round: Round(round),
            author: hand.seat,
            time: Time(1),
            strong: (0..4).map(parent).collect(),
            weak: Vec::new(),
            acks: Vec::new(),
            parts: Vec::new(),
        };
        sign_vertex(&hand.key, &hand.chain, vertex)
    }

    /// What a node finds wrong with a vertex by itself.
    fn fault_of(hand: &Hand, bytes: Bytes) -> String {
        let read = match SignedVertex::decode(bytes) {
            Ok(read) => read,
            Err(WireError::Value(what)) => return what.to_owned(),
            Err(error) => return error.to_string(),
        };
        let dag = Dag::new(hand.genesis.committee(), hand.genesis.rules.depth, None);
        if let Err(reason) = dag.well_formed(&read) {
            return reason.to_owned();
        }
        let key = PreparedKey::new(&public_key(&hand.key)).expect("a key");
        let signed = |digest: &[u8; 32], signature: &[u8; 64]| verify(&key, digest, signature);
        let vote = |vote: &CheckpointVote| {
            let digest = crate::wire::checkpoint_digest(&hand.chain, Epoch(0), vote.height, &vote.hash);
            signed(&digest, &vote.signature)
        };
        match (
            signed(&read.digest(&hand.chain), &read.signature),
            read.vertex.checkpoint_votes().iter().all(vote),
        ) {
            (true, true) => "nothing".to_owned(),
            (true, false) => "the signature of a vote".to_owned(),
            (false, _) => "the signature".to_owned(),
        }
    }

    #[test]
    fn each_form_is_bad_as_it_is_meant_to_be() {
        let hand = hand();
        let first = FORMS * 2 * 5;
        assert_eq!(fault_of(&hand, good(&hand, first).bytes), "nothing");
        let seat = "a vertex that names a seat outside of the committee";
        let other = "a vertex of another epoch or without a seat";
        let mut faults: Vec<String> = Vec::new();
        for form in 0..FORMS {
            faults.push(fault_of(&hand, spoilt(&hand, &good(&hand, first + 2 * form))));
        }
        let expected = [
            (0, "the signature"),
            (4, "a vertex with fewer strong parents than a quorum"),
            (5, "order of strong parents"),
            (6, "order of strong parents"),
            // Parents that nobody has, a round that is far ahead or long over: who waits for them waits in its own space.
            (7, "nothing"),
            (8, "nothing"),
            (9, "two acks for one batch slot"),
            // Out of every window: ignored.
            (10, "nothing"),
            (11, other),
            (12, other),
            (13, "nothing"),
            (14, "nothing"),
            (15, "seat"),
            (16, "a vertex with a weak parent below the collection depth"),
            (17, "round of a weak parent"),
            (18, "round of a weak parent"),
            (19, seat),
            (20, seat),
            (22, "the signature of a vote"),
            (23, "verdict"),
        ];
        for (form, fault) in expected {
            assert_eq!(faults[form], fault, "form {form}: {faults:#?}");
        }
        // A version, bytes too many, bytes too few, a malformed accusation: the parser has its own words for them.
        for form in [1, 2, 3, 21] {
            assert_ne!(faults[form], "nothing", "form {form}");
        }
    }
}
