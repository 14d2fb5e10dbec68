//! What peers have for somebody who begins anew, and which checkpoint that makes the way.

use crate::types::{Height, Seat, SeatSet};
use std::collections::BTreeMap;

/// What a peer has for somebody who begins anew.
#[derive(Debug)]
struct Offer {
    first: Height,
    heights: Vec<Height>,
}

/// What peers said since something came last.
#[derive(Debug, Default)]
pub(super) struct Offers {
    /// Who named checkpoints whose table could not be had, in this run or in those before it.
    pub(super) in_vain: SeatSet,
    offers: BTreeMap<Seat, Offer>,
}

impl Offers {
    /// A peer has all blocks from `first` on, and the account tables of these heights.
    pub(super) fn take(&mut self, from: Seat, first: Height, heights: Vec<Height>) {
        self.offers.insert(from, Offer { first, heights });
    }

    /// Nothing that was said counts any more; who named what in vain is remembered.
    pub(super) fn clear(&mut self) {
        self.offers.clear();
    }

    /// The checkpoint to begin anew at, if the offers say that this is the way: what is needed next is gone at one honest
    /// peer at least. Only one above the first and up to the second of `between`: beyond that nothing is certified, and who
    /// names it would have this node wait for what nobody has.
    pub(super) fn choose(
        &mut self,
        needed: Height,
        between: (Height, Height),
        honest_among: usize,
    ) -> Option<Height> {
        let gone = self.offers.values().filter(|offer| offer.first > needed).count();
        if gone < honest_among {
            return None;
        }
        let mut named: BTreeMap<Height, Vec<Seat>> = BTreeMap::new();
        for (seat, offer) in &self.offers {
            let possible =
                offer.heights.iter().filter(|height| **height > between.0 && **height <= between.1);
            possible.for_each(|height| named.entry(*height).or_default().push(*seat));
        }
        if named.values().flatten().all(|seat| self.in_vain.contains(*seat)) {
            self.in_vain = SeatSet::default();
        }
        named.retain(|_, by| by.iter().any(|seat| !self.in_vain.contains(*seat)));
        let believed = named.iter().rev().find(|(_, by)| by.len() >= honest_among);
        believed.or(named.last_key_value()).map(|(height, _)| *height)
    }

    /// Who names a checkpoint.
    pub(super) fn named_by(&self, height: Height) -> Vec<Seat> {
        let naming = self.offers.iter().filter(|(_, offer)| offer.heights.contains(&height));
        naming.map(|(seat, _)| *seat).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers(offers: &[(u16, u64, &[u64])]) -> Offers {
        let offer = |(seat, first, heights): &(u16, u64, &[u64])| {
            let heights = heights.iter().copied().map(Height).collect();
            (Seat(*seat), Offer { first: Height(*first), heights })
        };
        Offers { offers: offers.iter().map(offer).collect(), ..Offers::default() }
    }

    fn choose(table: &mut Offers) -> Option<u64> {
        table.choose(Height(10), (Height(9), Height(640)), 2).map(|height| height.0)
    }

    #[test]
    fn what_f_plus_one_name_comes_first_and_then_the_highest_that_is_certified() {
        assert_eq!(choose(&mut offers(&[(1, 1, &[64]), (2, 50, &[128]), (3, 10, &[])])), None, "one says so");
        assert_eq!(choose(&mut offers(&[(1, 65, &[64]), (2, 50, &[128, 64]), (3, 50, &[320])])), Some(64));
        assert_eq!(choose(&mut offers(&[(1, 65, &[64]), (2, 50, &[128]), (3, 50, &[704])])), Some(128));
        assert_eq!(choose(&mut offers(&[(1, 65, &[8]), (2, 50, &[]), (3, 50, &[704])])), None);
    }

    #[test]
    fn who_named_what_could_not_be_had_is_believed_last_whatever_else_it_names() {
        let mut table = offers(&[(1, 65, &[64]), (2, 129, &[128]), (3, 500, &[576])]);
        let mut tried = Vec::new();
        for turn in 0..6 {
            let height = choose(&mut table).unwrap();
            tried.push(height);
            // It could not be had: what the attempt leaves behind.
            table.named_by(Height(height)).into_iter().for_each(|seat| _ = table.in_vain.insert(seat));
            // The liar names another one each time.
            table.offers.insert(Seat(3), Offer { first: Height(500), heights: vec![Height(584 + turn * 8)] });
        }
        assert_eq!(tried, [576, 128, 64, 600, 128, 64]);
    }
}
