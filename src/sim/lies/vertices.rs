//! Vertices that no honest validator makes: malformed ones of every kind, and floods of old and future ones.
//!
//! What stands against it: form is checked before anything is kept, one vertex of a slot is taken unasked, what waits is
//! bounded for each author, and nothing at or below the floor is taken.

use super::{Hand, Letter, Tells};
use crate::crypto::plain;
use crate::types::{
    Ack, BatchId, BatchRef, Parent, Round, Seat, Sequence, Verdict, Vertex, VertexId, VertexRef,
};
use crate::wire::{Message, SignedVertex, sign_vertex};
use bytes::Bytes;
use std::collections::VecDeque;

/// How many ways there are for a vertex to be bad.
const FORMS: u64 = 16;
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
        8 => vertex.weak = under_wrong_round(&vertex),
        9 => vertex.acks.extend([ack(Seat(0), Sequence(1)), ack(Seat(0), Sequence(1))]),
        10 => vertex.acks.push(ack(Seat(0), Sequence(u64::MAX))),
        11 => vertex.author = Seat(hand.genesis.seats.len() as u16),
        12 => vertex.epoch.0 += 1,
        13 => vertex.round = Round(u64::MAX),
        14 => vertex.round = Round(vertex.round.0.saturating_sub(200).max(2)),
        _ => vertex.acks.push(ack(Seat(u16::MAX), Sequence(0))),
    }
    sign_vertex(&hand.key, &hand.chain, vertex).bytes
}

fn flipped(place: usize, bytes: &[u8]) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[place] ^= 1;
    bytes.into()
}

/// The strong parents once more as weak ones, a round below theirs.
fn under_wrong_round(vertex: &Vertex) -> Vec<VertexRef> {
    let round = vertex.round.back(2);
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
