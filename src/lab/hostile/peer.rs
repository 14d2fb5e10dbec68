//! Those who speak as peers: they have a key and no seat, as observers have, and shake hands as these do.

use super::conduct::{Birth, Conduct, Hand, Next, Occasion};
use super::stranger::identity;
use crate::net::{PeerEvent, PeerLink};
use crate::types::Height;
use crate::wire::{BLOCKS_MAX, Message};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How long each of the three steps of a handshake is held back: all of them together, not quite as long as the deadline.
const STEP_HELD: Duration = Duration::from_millis(1_550);
/// Steps of a handshake: preface, exchange, identity.
const STEPS: usize = 3;
/// Between two turns of a flood.
const FLOOD_EVERY: Duration = Duration::from_millis(10);
/// Requests of a turn.
const FLOOD_REQUESTS: usize = 16;

/// Holds back every step of the handshake, and says nothing more from one of them on; or comes to its end, and leaves.
struct SlowHandshake {
    link: PeerLink,
    held: VecDeque<Vec<u8>>,
    preface_bytes: usize,
    /// Steps that it takes: after the last one, silence.
    steps: usize,
}

/// Holds back each step.
pub(super) fn slow_handshake(birth: &Birth<'_>) -> Box<dyn Conduct> {
    let identity = identity(birth.world, birth.draw);
    let (preface_bytes, steps) = (identity.preface().len(), birth.number % (STEPS + 1));
    match PeerLink::dial_anyone(Arc::new(identity)) {
        Ok(link) => Box::new(SlowHandshake { link, held: VecDeque::new(), preface_bytes, steps }),
        Err(_) => Box::new(Lost),
    }
}

impl Conduct for SlowHandshake {
    fn act(&mut self, occasion: Occasion<'_>, hand: &mut Hand<'_>) -> Next {
        let mut events = Vec::new();
        match occasion {
            Occasion::Connected => {
                let first = take_out(&mut self.link);
                let (preface, exchange) = first.split_at(self.preface_bytes);
                self.held.extend([preface.to_vec(), exchange.to_vec()]);
                Next::Wake(STEP_HELD)
            }
            Occasion::Heard(bytes) => {
                if self.link.receive(bytes, &mut events).is_err() {
                    return Next::HangUp;
                }
                let more = take_out(&mut self.link);
                if !events.is_empty() {
                    return Next::Wake(STEP_HELD); // known to each other by now: it leaves
                }
                if more.is_empty() {
                    return Next::Stay;
                }
                self.held.push_back(more);
                Next::Wake(STEP_HELD)
            }
            Occasion::Due if self.steps == 0 => Next::Stay,
            Occasion::Due => match self.held.pop_front() {
                Some(step) => {
                    hand.out.extend_from_slice(&step);
                    self.steps -= 1;
                    if self.held.is_empty() { Next::Stay } else { Next::Wake(STEP_HELD) }
                }
                None => Next::HangUp,
            },
        }
    }
}

/// What a peer does once it is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Sends frames that do not decode.
    Malformed,
    /// Stays.
    Stay,
    /// Asks for all that it can think of.
    Flood,
}

/// Shakes hands, and then does something.
struct Known {
    link: PeerLink,
    then: Then,
    known: bool,
    turns: usize,
}

/// Sends what does not decode.
pub(super) fn malformed(birth: &Birth<'_>) -> Box<dyn Conduct> {
    known(birth, Then::Malformed)
}

/// Has an identity and stays.
pub(super) fn identities(birth: &Birth<'_>) -> Box<dyn Conduct> {
    known(birth, Then::Stay)
}

/// Asks and asks.
pub(super) fn flood(birth: &Birth<'_>) -> Box<dyn Conduct> {
    known(birth, Then::Flood)
}

fn known(birth: &Birth<'_>, then: Then) -> Box<dyn Conduct> {
    match PeerLink::dial_anyone(Arc::new(identity(birth.world, birth.draw))) {
        Ok(link) => Box::new(Known { link, then, known: false, turns: birth.number }),
        Err(_) => Box::new(Lost),
    }
}

impl Conduct for Known {
    fn act(&mut self, occasion: Occasion<'_>, hand: &mut Hand<'_>) -> Next {
        let mut next = Next::Stay;
        match occasion {
            Occasion::Connected => {}
            Occasion::Heard(bytes) => {
                let mut events = Vec::new();
                if self.link.receive(bytes, &mut events).is_err() {
                    return Next::HangUp;
                }
                hand.counts.answers += messages(&events);
                if !self.known && events.iter().any(|event| !matches!(event, PeerEvent::Message(_))) {
                    self.known = true;
                    next = self.turn(hand);
                }
            }
            Occasion::Due => next = self.turn(hand),
        }
        if self.link.seal().is_err() {
            return Next::HangUp;
        }
        hand.out.extend(take_out(&mut self.link));
        next
    }
}

impl Known {
    fn turn(&mut self, hand: &mut Hand<'_>) -> Next {
        self.turns += 1;
        match self.then {
            Then::Stay => Next::Stay,
            Then::Malformed => {
                let (message, payload) = malformed_message(self.turns, hand.draw());
                let _ = self.link.send(&message, payload); // so little always fits
                hand.counts.requests += 1;
                Next::Stay
            }
            Then::Flood => {
                // What the node has not read yet is enough for a while.
                if hand.out.is_empty() {
                    for number in 0..FLOOD_REQUESTS {
                        let message = question(number + self.turns);
                        hand.counts.requests += u64::from(self.link.send(&message, message.payload()));
                    }
                }
                Next::Wake(FLOOD_EVERY)
            }
        }
    }
}

/// What a peer without a seat may ask.
fn question(number: usize) -> Message {
    match number % 4 {
        0 => Message::WantBlocks { first: Height(1), count: BLOCKS_MAX as u32 },
        1 => Message::WantCertificate(Height(0)),
        2 => Message::WantSnapshots,
        _ => Message::WantAddresses,
    }
}

/// A kind of frame, and bytes that are none of it: too many, too few, or noise.
fn malformed_message(turn: usize, draw: u64) -> (Message, Bytes) {
    let noise = Bytes::from([draw; 5].map(u64::to_le_bytes).concat());
    match turn % 4 {
        0 => (Message::WantSnapshots, noise),
        1 => (Message::WantCertificate(Height(0)), noise.slice(..3)),
        2 => (Message::WantVertices(Vec::new()), noise),
        _ => (Message::Addresses(Vec::new()), noise),
    }
}

fn messages(events: &[PeerEvent]) -> u64 {
    events.iter().filter(|event| matches!(event, PeerEvent::Message(_))).count() as u64
}

/// The bytes that a link has for its socket.
fn take_out(link: &mut PeerLink) -> Vec<u8> {
    let bytes = link.out.pending().to_vec();
    link.out.consume(bytes.len());
    bytes
}

/// Without randomness from the system there is no exchange of keys.
struct Lost;

impl Conduct for Lost {
    fn act(&mut self, _: Occasion<'_>, _: &mut Hand<'_>) -> Next {
        Next::HangUp
    }
}
