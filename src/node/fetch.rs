//! Asking for what is missing: first whom is known to have it, then others at random.

use crate::types::{Seat, SeatSet, Time};
use std::collections::BTreeMap;
use std::time::Duration;

/// The most things of one kind wanted at once in the name of one seat. When full, more are not noted: whatever needs
/// them names them again. Each seat has its own share, so that nobody's junk keeps out what another's vertex needs.
const WANTED_PER_SEAT: usize = 256;

#[derive(Debug)]
struct Wanted {
    /// In whose name.
    charged: Seat,
    /// Who should have it.
    holders: SeatSet,
    asked: u32,
    due: Time,
}

/// A repeatable source of arbitrary numbers (splitmix64, Steele et al. 2014).
#[derive(Debug)]
pub(super) struct Dice(pub u64);

impl Dice {
    /// A number below `sides`, 0 if there is no side.
    pub(super) fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((u128::from(z ^ (z >> 31))) * sides as u128) >> 64) as usize
    }
}

/// Things of one kind that are wanted.
#[derive(Debug)]
pub(super) struct Fetcher<K> {
    wanted: BTreeMap<K, Wanted>,
    /// How much is wanted in the name of each seat.
    shares: BTreeMap<Seat, usize>,
    again: Duration,
}

impl<K: Ord + Copy> Fetcher<K> {
    /// Asks again after `again`, doubling up to eight times that.
    pub(super) fn new(again: Duration) -> Fetcher<K> {
        Fetcher { wanted: BTreeMap::new(), shares: BTreeMap::new(), again }
    }

    /// Wants `key` from `due` on, in the name of the seat `charged`; `holder` should have it. Wanting again adds the
    /// holder, and hastens what was not asked for yet; what was asked for keeps its timer.
    pub(super) fn want(&mut self, key: K, charged: Seat, holder: Seat, due: Time) {
        if !self.wanted.contains_key(&key) {
            let share = self.shares.entry(charged).or_default();
            if *share >= WANTED_PER_SEAT {
                return;
            }
            *share += 1;
        }
        let fresh = || Wanted { charged, holders: SeatSet::default(), asked: 0, due };
        let wanted = self.wanted.entry(key).or_insert_with(fresh);
        wanted.holders.insert(holder);
        if wanted.asked == 0 {
            wanted.due = wanted.due.min(due);
        }
    }

    /// It came, or is no longer needed.
    pub(super) fn got(&mut self, key: &K) {
        if let Some(wanted) = self.wanted.remove(key)
            && let Some(share) = self.shares.get_mut(&wanted.charged)
        {
            *share -= 1;
        }
    }

    /// How much is wanted.
    pub(super) fn len(&self) -> usize {
        self.wanted.len()
    }

    /// Whether it is wanted.
    pub(super) fn wants(&self, key: &K) -> bool {
        self.wanted.contains_key(key)
    }

    /// Lets go of what is no longer needed.
    pub(super) fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        let shares = &mut self.shares;
        self.wanted.retain(|key, wanted| {
            let kept = keep(key);
            if !kept && let Some(share) = shares.get_mut(&wanted.charged) {
                *share -= 1;
            }
            kept
        });
    }

    /// Whom to ask now for what: a holder first, from the second time on anybody in turn.
    pub(super) fn due(&mut self, now: Time, connected: &SeatSet, dice: &mut Dice) -> Vec<(Seat, K)> {
        let everybody: Vec<Seat> = connected.iter().collect();
        let mut asks = Vec::new();
        for (key, wanted) in self.wanted.iter_mut().filter(|(_, wanted)| wanted.due <= now) {
            let holders: Vec<Seat> = wanted.holders.iter().filter(|&s| connected.contains(s)).collect();
            let from = if wanted.asked % 2 == 0 && !holders.is_empty() { &holders } else { &everybody };
            if let Some(&seat) = from.get(dice.below(from.len())) {
                asks.push((seat, *key));
                wanted.due = now + self.again * 2u32.pow(wanted.asked.min(3));
                wanted.asked += 1;
            }
        }
        asks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_seat_has_its_own_share_and_gets_it_back() {
        let mut fetcher = Fetcher::new(Duration::from_millis(100));
        for key in 0..9_999 {
            fetcher.want(key, Seat(1), Seat(1), Time(0));
        }
        fetcher.want(10_000, Seat(2), Seat(1), Time(0));
        assert!(fetcher.wants(&10_000), "another seat's junk does not keep it out");
        assert_eq!(fetcher.wanted.len(), WANTED_PER_SEAT + 1);
        fetcher.retain(|&key| key >= 100);
        fetcher.got(&100);
        fetcher.got(&100);
        for key in 20_000..30_000 {
            fetcher.want(key, Seat(1), Seat(1), Time(0));
        }
        assert_eq!(fetcher.wanted.len(), WANTED_PER_SEAT + 1);
        fetcher.retain(|_| false);
        assert!(fetcher.shares.values().all(|&share| share == 0));
    }
}
