//! Sets of seats as bits.

use super::Seat;
use super::params::{GUESTS_MAX, SEATS_MAX};

const WORDS: usize = (SEATS_MAX + GUESTS_MAX) / 64;

/// A set of seats; counting it is a popcount. Grows to the word that its highest member needs, so that small
/// committees pay eight bytes.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SeatSet {
    words: Vec<u64>,
}

impl SeatSet {
    /// Adds a seat; false if it was a member. Numbers beyond those of seats and guests are never members.
    pub fn insert(&mut self, seat: Seat) -> bool {
        let (word, bit) = (seat.index() / 64, 1u64 << (seat.0 % 64));
        if word >= WORDS {
            return false;
        }
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let fresh = self.words[word] & bit == 0;
        self.words[word] |= bit;
        fresh
    }

    /// Adds all members of another set; whether any was not a member yet.
    pub fn extend(&mut self, other: &SeatSet) -> bool {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        let both = self.words.iter_mut().zip(&other.words);
        both.fold(false, |grew, (mine, theirs)| {
            let before = std::mem::replace(mine, *mine | theirs);
            grew | (*mine != before)
        })
    }

    /// Takes a seat out.
    pub fn remove(&mut self, seat: Seat) {
        if let Some(word) = self.words.get_mut(seat.index() / 64) {
            *word &= !(1 << (seat.0 % 64));
        }
    }

    /// Whether the seat is a member.
    pub fn contains(&self, seat: Seat) -> bool {
        self.words.get(seat.index() / 64).is_some_and(|word| word & (1 << (seat.0 % 64)) != 0)
    }

    /// How many members it has.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// How many members it shares with another set.
    pub fn count_common(&self, other: &SeatSet) -> usize {
        self.words.iter().zip(&other.words).map(|(a, b)| (a & b).count_ones() as usize).sum()
    }

    /// The members in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = Seat> + '_ {
        self.words.iter().enumerate().flat_map(|(index, &word)| {
            (0..64u16).filter(move |bit| word & (1 << bit) != 0).map(move |bit| Seat(index as u16 * 64 + bit))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_counted_once_and_listed_in_order() {
        let mut set = SeatSet::default();
        for seat in [130, 3, 64, 3, 1023, 1279] {
            set.insert(Seat(seat));
        }
        assert_eq!(set.count(), 5);
        assert_eq!(set.iter().map(|s| s.0).collect::<Vec<_>>(), [3, 64, 130, 1023, 1279]);
        let mut other = SeatSet::default();
        assert!(
            other.insert(Seat(4))
                && other.extend(&set)
                && !other.extend(&set)
                && !set.extend(&SeatSet::default())
        );
        assert_eq!((other.count(), set.count()), (6, 5));
        let mut other = SeatSet::default();
        assert_eq!(set.count_common(&other), 0);
        [64, 65, 3].into_iter().for_each(|seat| _ = other.insert(Seat(seat)));
        assert_eq!((set.count_common(&other), other.count_common(&set)), (2, 2));
        assert!(!set.insert(Seat(1280)) && !set.contains(Seat(1280)) && set.contains(Seat(64)));
        assert!(!set.insert(Seat::NONE) && !set.contains(Seat::NONE));
    }
}
