//! Asking for what is missing: first whom is known to have it, then others at random.

use crate::types::{Seat, SeatSet, Time};
use std::collections::BTreeMap;
use std::time::Duration;

/// The most things wanted at once of one kind. When full, more are not noted: whatever needs them names them again.
const WANTED_MAX: usize = 4096;

#[derive(Debug)]
struct Wanted {
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
    again: Duration,
}

impl<K: Ord + Copy> Fetcher<K> {
    /// Asks again after `again`, doubling up to eight times that.
    pub(super) fn new(again: Duration) -> Fetcher<K> {
        Fetcher { wanted: BTreeMap::new(), again }
    }

    /// Wants `key` from `due` on; `holder` should have it. Wanting again only adds the holder.
    pub(super) fn want(&mut self, key: K, holder: Seat, due: Time) {
        if self.wanted.len() >= WANTED_MAX && !self.wanted.contains_key(&key) {
            return;
        }
        let wanted =
            self.wanted.entry(key).or_insert_with(|| Wanted { holders: SeatSet::default(), asked: 0, due });
        wanted.holders.insert(holder);
        wanted.due = wanted.due.min(due);
    }

    /// It came, or is no longer needed.
    pub(super) fn got(&mut self, key: &K) {
        self.wanted.remove(key);
    }

    /// Whether it is wanted.
    pub(super) fn wants(&self, key: &K) -> bool {
        self.wanted.contains_key(key)
    }

    /// Lets go of what is no longer needed.
    pub(super) fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.wanted.retain(|key, _| keep(key));
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
