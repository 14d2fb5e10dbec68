//! Who makes room for another, where places are few and strangers can have as many as they like.
//!
//! - Upon a stranger when all places are taken: the oldest goes of the network that has the most of them; and within it, of the
//!   source that has the most. A network without groups, as a private one, counts by its sources.
//! - Upon a guest that comes: of one source no more than a quarter of all places, of one network no more than half. Where all
//!   places are taken, or half of them by its own network, one of those goes of which there are more than there will be of it.
//!
//! Why that is safe: who holds many places loses one of its own, so a flood out of one network costs those elsewhere nothing; and
//! nobody who has no more than others is pushed out by them, so places do not go back and forth.

use super::limits::Source;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Of these, in the order in which they came, the one that makes room.
pub fn makes_room<T: Copy>(all: &[(T, Source)]) -> Option<(T, Source)> {
    let (mut networks, mut sources) = (BTreeMap::new(), BTreeMap::new());
    for (_, source) in all {
        *networks.entry(source.network()).or_insert(0) += 1;
        *sources.entry(*source).or_insert(0) += 1;
    }
    // The first of those that are equal.
    all.iter().min_by_key(|(_, source)| Reverse((networks[&source.network()], sources[source]))).copied()
}

/// Whether a guest finds a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place<T> {
    /// One is free.
    Free,
    /// That of this one.
    Of(T),
    /// None.
    None,
}

/// The place of a guest that comes from a source, among so many at most; `guests`: those that have come, in that order.
pub fn place_of<T: Copy>(guests: &[(T, Source)], source: Source, most: usize) -> Place<T> {
    let network = source.network();
    let of_source = |wanted: Source| guests.iter().filter(|(_, other)| *other == wanted).count();
    let near: Vec<(T, Source)> =
        guests.iter().filter(|(_, other)| other.network() == network).copied().collect();
    let is_grouped = source.group().is_some();
    if is_grouped && of_source(source) >= most.div_ceil(4) {
        return Place::None;
    }
    let among = match is_grouped && near.len() >= most.div_ceil(2) {
        true => &near[..],
        false if guests.len() >= most => guests,
        false => return Place::Free,
    };
    let Some((other, theirs)) = makes_room(among) else { return Place::None };
    let (mine, others) = match theirs.network() == network {
        true => (of_source(source), of_source(theirs)),
        false => {
            let of_theirs = guests.iter().filter(|(_, other)| other.network() == theirs.network()).count();
            (near.len(), of_theirs)
        }
    };
    if mine + 1 < others { Place::Of(other) } else { Place::None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(addresses: &[&str]) -> Vec<(usize, Source)> {
        addresses.iter().enumerate().map(|(number, address)| (number, source(address))).collect()
    }

    fn source(address: &str) -> Source {
        Source::of(address.parse().unwrap())
    }

    #[test]
    fn the_oldest_goes_of_the_network_that_has_the_most() {
        let one_of = |addresses: &[&str]| makes_room(&from(addresses)).map(|(number, _)| number);
        assert_eq!(one_of(&[]), None);
        assert_eq!(one_of(&["8.8.1.1", "9.9.1.1", "9.9.2.2"]), Some(1));
        assert_eq!(one_of(&["9.9.1.1", "8.8.1.1", "9.9.2.2", "9.9.2.2"]), Some(2), "and of its source");
        assert_eq!(one_of(&["8.8.1.1", "9.9.1.1"]), Some(0), "of equal ones the oldest");
        assert_eq!(one_of(&["9.9.1.1", "10.0.0.1", "10.0.0.2", "9.9.2.2"]), Some(0), "no groups there");
        assert_eq!(one_of(&["2001:db8:1::1", "2001:db9::1", "2001:db8:2::1"]), Some(0));
    }

    #[test]
    fn no_stranger_holds_all_places_of_guests() {
        let (mut guests, mut taken) = (Vec::new(), 0);
        // Four networks of 64 bits out of one of 32.
        for number in 0..40 {
            let source = source(&format!("2001:db8:{}::{number}", number % 4));
            if place_of(&guests, source, 16) == Place::Free {
                guests.push((number, source));
                taken += 1;
            }
        }
        assert_eq!(taken, 8);
        assert_eq!(place_of(&guests, source("2001:db8:9::1"), 16), Place::Of(0), "none against two");
        assert_eq!(place_of(&guests, source("2001:db9::1"), 16), Place::Free);
        // Two networks have all places: who comes from a third has one of theirs, and not more than they.
        let guests: Vec<_> = (0..16)
            .map(|number| (number, source(&format!("2001:{}:{}::1", number / 8, number % 4))))
            .collect();
        assert_eq!(place_of(&guests, source("2001:9::1"), 16), Place::Of(0));
        assert_eq!(place_of(&guests, source("2001:1:9::1"), 16), Place::Of(8));
        assert_eq!(place_of(&guests, source("2001:1:3::1"), 16), Place::None, "two against two");
        let near = from(&["7.7.1.1", "7.7.1.1", "7.7.1.1", "7.7.2.1"]);
        assert_eq!(place_of(&near, source("7.7.9.9"), 8), Place::Of(0), "of its own network");
        assert_eq!(place_of(&near, source("7.7.1.1"), 8), Place::None, "a quarter");
        // Each from elsewhere: nobody has more than another.
        let apart: Vec<_> =
            (0..16).map(|number| (number, source(&format!("{}.1.1.1", 20 + number)))).collect();
        assert_eq!(place_of(&apart, source("99.1.1.1"), 16), Place::None);
        // One's own machine has no groups, and all places if it wants them.
        let own = from(&["127.0.0.1"; 16]);
        assert_eq!(place_of(&own[..15], source("127.0.0.1"), 16), Place::Free);
        assert_eq!(place_of(&own, source("127.0.0.1"), 16), Place::None);
        assert_eq!(place_of(&own, source("8.8.8.8"), 16), Place::Of(0));
    }
}
