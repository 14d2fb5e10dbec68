//! Replay: what was received is sent again, to others, some of it with flipped bits.
//!
//! What stands against it: ids, signatures and roots; who sends what does not hold is blamed, and never its author.

use super::{Hand, Letter, Tells};
use crate::sim::random::{below, draw};
use crate::types::Seat;
use crate::wire::Message;
use bytes::Bytes;
use std::collections::VecDeque;

/// Messages that are remembered.
const REMEMBERED: usize = 64;
/// Longer ones are not: they would cost more than they show.
const BYTES_MAX: usize = 64 << 10;
/// The purpose of draws.
const CHOICE: u64 = 61;

pub(super) struct Replay {
    each: u32,
    heard: VecDeque<(u8, Bytes)>,
    /// Counts what was drawn.
    count: u64,
}

impl Replay {
    pub fn new(each: u32) -> Replay {
        Replay { each, heard: VecDeque::new(), count: 0 }
    }

    fn choose(&mut self, hand: &Hand, to: Seat) -> Option<Letter> {
        self.count += 1;
        let drawn = draw(hand.seed, &[CHOICE, hand.seat.0.into(), self.count]);
        let (kind, payload) = self.heard.get(below(drawn, self.heard.len() as u64) as usize)?.clone();
        let mut letter = Letter { to, after: 0, kind, payload };
        let how = draw(drawn, &[1]);
        match below(how, 8) {
            0..=3 => {}
            4 => letter.kind = 1 + below(draw(how, &[2]), 9) as u8,
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
    fn hear(&mut self, _hand: &Hand, message: &Message) {
        let payload = message.payload();
        if payload.len() <= BYTES_MAX {
            self.heard.push_back((message.kind(), payload));
            if self.heard.len() > REMEMBERED {
                self.heard.pop_front();
            }
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
