//! The committee of an epoch.

use super::ids::{AccountNumber, Epoch, Height, Key, Round, Seat};
use super::params::HOME_TURN;

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

    /// The place of a seat among those that seal an account's rows, after the block of this height: 0 at the account's
    /// *home*, which is its number less one modulo `n`; [`HOME_TURN`] blocks later, and in the next epoch, the next seat is.
    /// Seats after the `f`-th place seal none. A rule of mempools: a batch is valid whoever sealed its rows.
    pub fn home_rank(&self, account: AccountNumber, executed: Height, seat: Seat) -> usize {
        let (n, home) = (self.size(), self.home_at(account, executed, 0).index());
        (seat.index() % n + n - home) % n
    }

    /// The seat at such a place; see [`Committee::home_rank`].
    pub fn home_at(&self, account: AccountNumber, executed: Height, rank: usize) -> Seat {
        let n = self.size() as u64;
        let turn = executed.0 / HOME_TURN + u64::from(self.epoch.0);
        // Account 0 sends nothing: numbers begin at 1.
        let home = u64::from(account.0) + (n - 1) + turn % n + rank as u64 % n;
        Seat((home % n) as u16)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn committee(size: usize, epoch: u32) -> Committee {
        let seat = SeatInfo { key: Key([0; 32]), fee_account: AccountNumber(1) };
        Committee { epoch: Epoch(epoch), seats: vec![seat; size] }
    }

    #[test]
    fn every_seat_has_one_place_of_each_account_and_the_home_moves_with_turn_and_epoch() {
        for size in [1, 2, 4, 7, 1024] {
            let at = |epoch, account, blocks, rank| {
                committee(size, epoch).home_at(AccountNumber(account), Height(blocks), rank).index()
            };
            for account in [1, 2, 6, u32::MAX] {
                let home = (account as usize - 1) % size;
                assert_eq!(at(0, account, 0, 0), home);
                assert_eq!(at(0, account, HOME_TURN - 1, 0), home, "not before the turn is over");
                assert_eq!(at(0, account, HOME_TURN, 0), (home + 1) % size);
                assert_eq!(at(1, account, 2 * HOME_TURN, 1), (home + 4) % size);
                let now = Height(5 * HOME_TURN);
                let mut seats: Vec<Seat> = Vec::new();
                for rank in 0..size {
                    let seat = committee(size, 3).home_at(AccountNumber(account), now, rank);
                    assert_eq!(committee(size, 3).home_rank(AccountNumber(account), now, seat), rank);
                    seats.push(seat);
                }
                seats.sort_unstable();
                seats.dedup();
                assert_eq!(seats.len(), size);
            }
        }
    }

    #[test]
    fn the_longest_chain_of_the_last_epoch_has_homes() {
        let last = committee(1024, u32::MAX);
        let seat = last.home_at(AccountNumber(u32::MAX), Height(u64::MAX), usize::MAX);
        assert!(last.has(seat));
        assert!(last.home_rank(AccountNumber(0), Height(u64::MAX), Seat::NONE) < last.size());
    }
}
