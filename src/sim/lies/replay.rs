//! Replay: what was received is sent again, to others, some of it with flipped bits.
//!
//! What stands against it: ids, signatures and roots; who sends what does not hold is blamed, and never its author.

use super::{Hand, Letter, Tells};
use crate::sim::random::{below, draw};
use crate::types::Seat;
use crate::wire::{KINDS, Message};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// The latest messages that are remembered.
const LATEST: usize = 64;
/// Of each kind so many of all that ever came are remembered, whenever they came: of rounds below the floor by now, of the time
/// before others started anew, and of kinds that come seldom.
const OF_KIND: usize = 32;
/// Longer ones are not: they would cost more than they show.
const BYTES_MAX: usize = 64 << 10;
/// The purposes of draws.
const CHOICE: u64 = 61;
const KEEP: u64 = 62;

/// A sample of all messages of a kind, each as likely to be in it as any other (Vitter 1985, algorithm R).
#[derive(Default)]
struct Sample {
    came: u64,
    kept: Vec<Bytes>,
}

pub(super) struct Replay {
    each: u32,
    latest: VecDeque<(u8, Bytes)>,
    samples: BTreeMap<u8, Sample>,
    /// Counts what was drawn.
    count: u64,
}

impl Replay {
    pub fn new(each: u32) -> Replay {
        Replay { each, latest: VecDeque::new(), samples: BTreeMap::new(), count: 0 }
    }

    fn remember(&mut self, hand: &Hand, kind: u8, payload: Bytes) {
        let sample = self.samples.entry(kind).or_default();
        sample.came += 1;
        if sample.kept.len() < OF_KIND {
            sample.kept.push(payload.clone());
        } else {
            let drawn = draw(hand.seed, &[KEEP, hand.seat.0.into(), kind.into(), sample.came]);
            if let Some(kept) = sample.kept.get_mut(below(drawn, sample.came) as usize) {
                *kept = payload.clone();
            }
        }
        self.latest.push_back((kind, payload));
        if self.latest.len() > LATEST {
            self.latest.pop_front();
        }
    }

    /// One of the latest, or of any time one of a kind: each kind as often as any other.
    fn recall(&self, drawn: u64) -> Option<(u8, Bytes)> {
        let place = |purpose: u64, sides: usize| below(draw(drawn, &[purpose]), sides as u64) as usize;
        if place(5, 2) == 0 {
            return self.latest.get(place(6, self.latest.len())).cloned();
        }
        let (kind, sample) = self.samples.iter().nth(place(7, self.samples.len()))?;
        sample.kept.get(place(8, sample.kept.len())).map(|payload| (*kind, payload.clone()))
    }

    fn choose(&mut self, hand: &Hand, to: Seat) -> Option<Letter> {
        self.count += 1;
        let drawn = draw(hand.seed, &[CHOICE, hand.seat.0.into(), self.count]);
        let (kind, payload) = self.recall(drawn)?;
        let mut letter = Letter { to, after: 0, kind, payload };
        let how = draw(drawn, &[1]);
        match below(how, 8) {
            0..=3 => {}
            4 => letter.kind = 1 + below(draw(how, &[2]), KINDS.into()) as u8,
            5 => letter.payload = letter.payload.slice(..letter.payload.len() / 2),
            _ if letter.payload.is_empty() => {}
            _ => {
                let mut bytes = letter.payload.to_vec();
                let place = below(draw(how, &[3]), bytes.len() as u64) as usize;
                bytes[place] ^= 1 << below(draw(how, &[4]), 8);
                letter.payload = bytes.into();
            }
        }
        Some(letter)
    }
}

impl Tells for Replay {
    fn hear(&mut self, hand: &Hand, message: &Message) {
        let payload = message.payload();
        if payload.len() <= BYTES_MAX {
            self.remember(hand, message.kind(), payload);
        }
    }

    fn tell(&mut self, hand: &Hand, to: Seat, message: &Message) -> Option<Vec<Letter>> {
        let own = matches!(message, Message::Vertex(vertex) if vertex.vertex.author == hand.seat);
        own.then(|| {
            let mut letters: Vec<Letter> = (0..self.each).filter_map(|_| self.choose(hand, to)).collect();
            letters.push(Letter::new(to, message));
            letters
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::hand;
    use super::*;
    use crate::types::{Height, Round};

    #[test]
    fn what_came_long_ago_and_what_comes_seldom_is_sent_again_as_well() {
        let (hand, long_ago) = (hand(), 2_000);
        let frontier = |at| Message::Frontier { began: Round(0), rounds: vec![Round(at); 4] };
        let mut replay = Replay::new(1);
        for at in 0..10_000 {
            replay.hear(&hand, &frontier(at));
            if at % 1_000 == 5 {
                replay.hear(&hand, &Message::WantRecord(Height(at)));
            }
        }
        assert!(replay.latest.len() == LATEST && replay.samples[&frontier(0).kind()].kept.len() == OF_KIND);
        let early: Vec<Bytes> = (0..long_ago).map(|at| frontier(at).payload()).collect();
        let letters: Vec<Letter> = (0..2_000).filter_map(|_| replay.choose(&hand, Seat(0))).collect();
        let old = letters.iter().filter(|letter| early.contains(&letter.payload)).count();
        let seldom = letters.iter().filter(|letter| letter.payload.len() == 8).count();
        // One of two is of any time, one of two of these of either kind; a fifth of it is of the first fifth.
        assert!(
            (30..300).contains(&old) && (250..750).contains(&seldom),
            "{old} old ones, {seldom} seldom ones"
        );
    }
}
