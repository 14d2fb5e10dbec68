//! The committee of an epoch.

use super::ids::{AccountNumber, Epoch, Key, Round, Seat};

/// One seat: who signs, and where its fees go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeatInfo {
    /// The validator's Ed25519 key.
    pub key: Key,
    /// The account that receives the fees of its batches.
    pub fee_account: AccountNumber,
}

/// The validators of an epoch, with equal weight.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Committee {
    /// The epoch that it serves.
    pub epoch: Epoch,
    /// Its seats in order; at least one.
    pub seats: Vec<SeatInfo>,
}

impl Committee {
    /// How many seats there are, `n`.
    pub fn size(&self) -> usize {
        self.seats.len()
    }

    /// How many of them may be Byzantine: `f = (n - 1) / 3` rounded down.
    pub fn faulty_max(&self) -> usize {
        (self.size() - 1) / 3
    }

    /// A quorum, `Q = n - f`.
    pub fn quorum(&self) -> usize {
        self.size() - self.faulty_max()
    }

    /// The seat that leads a round: each in turn.
    pub fn leader(&self, round: Round) -> Seat {
        let turn = round.0.wrapping_add(u64::from(self.epoch.0)) % self.size() as u64;
        Seat(turn as u16)
    }

    /// All seats in order.
    pub fn iter(&self) -> impl Iterator<Item = Seat> + use<> {
        (0..self.size() as u16).map(Seat)
    }

    /// Whether the seat exists.
    pub fn has(&self, seat: Seat) -> bool {
        seat.index() < self.size()
    }
}
