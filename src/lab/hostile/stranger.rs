//! Those who never come to an identity or an answer: they need no more than bytes.

use super::conduct::{Birth, Conduct, Hand, Next, Occasion};
use super::{Door, World};
use crate::net::Identity;
use crate::types::Seat;
use crate::wire::client::{CLIENT_FRAME_BYTES_MAX, Request};
use crate::wire::frame_header;
use std::time::Duration;

/// Between two bytes of who writes slowly: a preface and a message of the exchange take longer than their deadline.
const BYTE_EVERY: Duration = Duration::from_millis(150);
/// Between two pieces of noise.
const NOISE_EVERY: Duration = Duration::from_millis(20);
/// A piece of noise.
const NOISE_BYTES: usize = 1024;

/// Sends bytes, in pieces with pauses between them, and then does something else.
struct Drip {
    bytes: Vec<u8>,
    piece: usize,
    pause: Duration,
    then: Then,
}

/// What comes after the last piece.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Silence,
    Noise,
    HangUp,
    Reset,
}

impl Drip {
    /// All at once.
    fn whole(bytes: Vec<u8>, then: Then) -> Box<dyn Conduct> {
        Box::new(Drip { piece: bytes.len(), bytes, pause: Duration::ZERO, then })
    }
}

impl Conduct for Drip {
    fn act(&mut self, occasion: Occasion<'_>, hand: &mut Hand<'_>) -> Next {
        if let Occasion::Heard(_) = occasion {
            return Next::Stay;
        }
        if !self.bytes.is_empty() {
            let piece = self.piece.min(self.bytes.len());
            hand.out.extend(self.bytes.drain(..piece));
            return Next::Wake(self.pause);
        }
        match self.then {
            Then::Silence => Next::Stay,
            Then::HangUp => Next::HangUp,
            Then::Reset => Next::Reset,
            Then::Noise => {
                // What the node does not take waits: nothing is piled up here.
                while hand.out.len() < NOISE_BYTES {
                    let word = hand.draw().to_le_bytes();
                    hand.out.extend_from_slice(&word);
                }
                Next::Wake(NOISE_EVERY)
            }
        }
    }
}

/// Says nothing.
pub(super) fn idle(_: &Birth<'_>) -> Box<dyn Conduct> {
    Drip::whole(Vec::new(), Then::Silence)
}

/// Falls silent within its first words.
pub(super) fn half_open(birth: &Birth<'_>) -> Box<dyn Conduct> {
    let mut words = first_words(birth);
    words.truncate(1 + birth.number % (words.len() - 1));
    Drip::whole(words, Then::Silence)
}

/// Leaves at once.
pub(super) fn churn(birth: &Birth<'_>) -> Box<dyn Conduct> {
    Drip::whole(Vec::new(), if birth.draw.is_multiple_of(2) { Then::HangUp } else { Then::Reset })
}

/// Says what is valid byte by byte: to the peer port the preface and the beginning of an exchange, to the client port a hello
/// and a submission as large as may be.
pub(super) fn slow_write(birth: &Birth<'_>) -> Box<dyn Conduct> {
    let mut bytes = first_words(birth);
    match birth.door {
        Door::Peer => {
            bytes.extend_from_slice(&32_u16.to_le_bytes());
            bytes.extend_from_slice(&[9; 32]);
        }
        Door::Client => {
            bytes.extend_from_slice(&frame_header(2, CLIENT_FRAME_BYTES_MAX));
            bytes.resize(bytes.len() + CLIENT_FRAME_BYTES_MAX, 0);
        }
    }
    Box::new(Drip { bytes, piece: 1, pause: BYTE_EVERY, then: Then::Silence })
}

/// Sends noise.
pub(super) fn garbage(_: &Birth<'_>) -> Box<dyn Conduct> {
    Drip::whole(Vec::new(), Then::Noise)
}

/// Announces too much, after valid first words.
pub(super) fn oversize(birth: &Birth<'_>) -> Box<dyn Conduct> {
    let mut bytes = first_words(birth);
    match birth.door {
        Door::Peer => bytes.extend_from_slice(&u16::MAX.to_le_bytes()),
        Door::Client => bytes.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 2]),
    }
    Drip::whole(bytes, Then::Silence)
}

/// A valid preface, or a valid hello.
fn first_words(birth: &Birth<'_>) -> Vec<u8> {
    match birth.door {
        Door::Peer => identity(birth.world, birth.draw).preface().to_vec(),
        Door::Client => Request::Hello.frame(),
    }
}

/// Somebody without a seat, with a key that `draw` names.
pub(super) fn identity(world: &World, draw: u64) -> Identity {
    let mut seed = [0x1D; 32];
    seed[..8].copy_from_slice(&draw.to_le_bytes());
    let key = crate::crypto::signing_key_from_seed(seed);
    Identity { chain: world.chain, seat: Seat::NONE, key, seats: world.seats.clone() }
}
