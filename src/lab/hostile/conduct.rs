//! What a hostile peer does on a connection: a machine without I/O that is told what happens and says what comes next.

use super::crowd::Counts;
use super::{Door, World};
use std::sync::Arc;
use std::time::Duration;

/// Where and as the how manieth a peer comes into being, for one connection.
pub(super) struct Birth<'a> {
    /// The chain.
    pub world: &'a Arc<World>,
    /// The port that it comes to.
    pub door: Door,
    /// Its number among those of its kind.
    pub number: usize,
    /// Arbitrary, and another one for each connection.
    pub draw: u64,
}

/// What has happened.
pub(super) enum Occasion<'a> {
    /// The connection stands.
    Connected,
    /// Bytes have come.
    Heard(&'a mut [u8]),
    /// The time that was asked for has come.
    Due,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Nothing, until something else happens. (A time that was asked for still comes.)
    Stay,
    /// Tell it after so long that it is due, instead of any time that it asked for before.
    Wake(Duration),
    /// End the connection, and come back as somebody new.
    HangUp,
    /// The same, by a reset.
    Reset,
}

/// What a peer has in its hands while it acts.
pub(super) struct Hand<'a> {
    /// Bytes that the socket has not taken yet; it appends here.
    pub out: &'a mut Vec<u8>,
    /// What its kind did so far.
    pub counts: &'a mut Counts,
    /// Arbitrary numbers.
    pub random: &'a mut u64,
    /// Set: one byte is read of what has come, and thrown away.
    pub sip: bool,
}

impl Hand<'_> {
    /// An arbitrary number.
    pub fn draw(&mut self) -> u64 {
        draw(self.random)
    }
}

/// One connection of a hostile peer.
pub(super) trait Conduct {
    /// Something happens.
    fn act(&mut self, occasion: Occasion<'_>, hand: &mut Hand<'_>) -> Next;

    /// Whether it takes the bytes that come.
    fn reads(&self) -> bool {
        true
    }
}

/// Xorshift64* (Vigna 2016): noise, not secrets.
pub(super) fn draw(state: &mut u64) -> u64 {
    *state |= 1; // zero would stay zero
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}
