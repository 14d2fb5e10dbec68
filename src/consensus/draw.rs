//! Who verifies a batch under the policy `quorum`.

use crate::crypto::{Domain, hash};
use crate::types::{ChainId, Committee, Epoch, Seat, SeatSet, Sequence};

/// The seed of an epoch's draws.
pub fn epoch_seed(chain: &ChainId, epoch: Epoch) -> [u8; 32] {
    hash(Domain::EpochSeed, &[&chain.0, &epoch.0.to_le_bytes()])
}

/// Who verifies the batch of a slot, as one seat needs to know it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Draw {
    /// Who comes before this seat: the author first of all.
    pub before: SeatSet,
    /// The `f` others who verify at once with the author.
    pub first: SeatSet,
}

/// The order in which validators verify the batch of a slot: the author, then the others as drawn. The first `f + 1` verify
/// at once, the others only while it does not settle. The draw is from the slot and not from the digest, which its author
/// could grind.
pub fn draw(
    seed: &[u8; 32],
    committee: &Committee,
    (author, sequence): (Seat, Sequence),
    seat: Seat,
) -> Draw {
    let lot = |s: Seat| {
        let parts: [&[u8]; 4] =
            [seed, &author.0.to_le_bytes(), &sequence.0.to_le_bytes(), &s.0.to_le_bytes()];
        (hash(Domain::Draw, &parts), s)
    };
    let mut lots: Vec<_> = committee.iter().filter(|other| *other != author).map(lot).collect();
    lots.sort_unstable();
    let mut draw = Draw::default();
    lots.iter().take(committee.faulty_max()).for_each(|(_, other)| _ = draw.first.insert(*other));
    if seat != author {
        draw.before.insert(author);
        let earlier = lots.iter().map(|(_, other)| *other).take_while(|other| *other != seat);
        earlier.for_each(|other| _ = draw.before.insert(other));
    }
    draw
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{AccountNumber, Key, SeatInfo};

    #[test]
    fn every_slot_draws_each_seat_once_and_the_author_first() {
        let seat = SeatInfo { key: Key([1; 32]), fee_account: AccountNumber(1) };
        let committee = Committee { epoch: Epoch(0), seats: vec![seat; 10] };
        let mut second = [0u32; 10];
        for sequence in 1..=500 {
            let slot = (Seat(3), Sequence(sequence));
            let draws: Vec<Draw> = committee.iter().map(|s| draw(&[5; 32], &committee, slot, s)).collect();
            let ranks: Vec<usize> = draws.iter().map(|draw| draw.before.count()).collect();
            let first = committee.iter().filter(|s| (1..=3).contains(&ranks[s.index()]));
            assert_eq!(draws[0].first.iter().collect::<Vec<_>>(), first.collect::<Vec<_>>());
            assert!(draws.iter().all(|draw| draw.first == draws[0].first));
            assert_eq!(ranks[3], 0);
            let mut sorted = ranks.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
            second[ranks.iter().position(|&rank| rank == 1).unwrap()] += 1;
        }
        assert!(
            second.iter().enumerate().all(|(s, &count)| s == 3 || (20..100).contains(&count)),
            "{second:?}"
        );
    }
}
