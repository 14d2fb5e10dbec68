//! Asking for what is missing: first whom is known to have it, then others at random.

use crate::types::{Seat, SeatSet, Time};
use std::collections::BTreeMap;
use std::time::Duration;

/// The most things of one kind wanted at once in the name of one seat. When full, more are not noted: the regular look
/// at what waits for them names them again. Each seat has its own share, so that nobody's junk keeps out what another's vertex needs.
const WANTED_PER_SEAT: usize = 256;

#[derive(Debug)]
struct Wanted {
    /// In whose name.
    charged: Seat,
    /// Who should have it.
    holders: SeatSet,
    /// Who was asked since everybody was.
    tried: SeatSet,
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
    /// holder, and hastens what was not asked for yet; what was asked for keeps its timer. False: there is no room.
    pub(super) fn want(&mut self, key: K, charged: Seat, holder: Seat, due: Time) -> bool {
        if !self.wanted.contains_key(&key) {
            let share = self.shares.entry(charged).or_default();
            if *share >= WANTED_PER_SEAT {
                return false;
            }
            *share += 1;
        }
        let fresh =
            || Wanted { charged, holders: SeatSet::default(), tried: SeatSet::default(), asked: 0, due };
        let wanted = self.wanted.entry(key).or_insert_with(fresh);
        wanted.holders.insert(holder);
        if wanted.asked == 0 {
            wanted.due = wanted.due.min(due);
        }
        true
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

    /// Whom to ask now for what: each holder once, then everybody else once, then all again. The next holder is asked after
    /// the shortest time, however often it took: one that keeps it back costs no more than that. Who has nobody left who
    /// should have it waits longer and longer.
    pub(super) fn due(&mut self, now: Time, connected: &SeatSet, dice: &mut Dice) -> Vec<(Seat, K)> {
        let mut asks = Vec::new();
        for (key, wanted) in self.wanted.iter_mut().filter(|(_, wanted)| wanted.due <= now) {
            let untried = |seats: &SeatSet, tried: &SeatSet| -> Vec<Seat> {
                seats.iter().filter(|&seat| connected.contains(seat) && !tried.contains(seat)).collect()
            };
            let mut from = untried(&wanted.holders, &wanted.tried);
            if from.is_empty() {
                from = untried(connected, &wanted.tried);
            }
            if from.is_empty() {
                wanted.tried = SeatSet::default();
                let holders = untried(&wanted.holders, &wanted.tried);
                from = if holders.is_empty() { connected.iter().collect() } else { holders };
            }
            if let Some(&seat) = from.get(dice.below(from.len())) {
                asks.push((seat, *key));
                wanted.tried.insert(seat);
                let more = !untried(&wanted.holders, &wanted.tried).is_empty();
                wanted.due = now + self.again * if more { 1 } else { 2u32.pow(wanted.asked.min(3)) };
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
    fn every_holder_is_asked_before_anybody_else_and_nobody_twice_before_all() {
        let mut fetcher = Fetcher::new(Duration::from_millis(100));
        let mut connected = SeatSet::default();
        (1..6).for_each(|seat| _ = connected.insert(Seat(seat)));
        [2, 4, 5].into_iter().for_each(|holder| _ = fetcher.want(7, Seat(1), Seat(holder), Time(0)));
        let (mut dice, mut now, mut asked, mut waits) = (Dice(3), Time(0), Vec::new(), Vec::new());
        for _ in 0..6 {
            let asks = fetcher.due(now, &connected, &mut dice);
            asked.extend(asks.iter().map(|(seat, _)| seat.0));
            let due = fetcher.wanted[&7].due;
            waits.push((due.0 - now.0) / 100_000);
            now = due;
        }
        let (holders, others) = (&mut asked[..3].to_vec(), &mut asked[3..5].to_vec());
        holders.sort_unstable();
        others.sort_unstable();
        assert_eq!((&holders[..], &others[..]), (&[2, 4, 5][..], &[1, 3][..]));
        assert!([2, 4, 5].contains(&asked[5]), "then from the beginning");
        assert_eq!(waits[..2], [1, 1], "the next holder is not waited for");
        assert!(waits[4] >= 8);
    }

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
