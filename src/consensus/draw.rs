//! Who verifies a batch under the policy `quorum`.

use crate::crypto::{Domain, hash};
use crate::types::{ChainId, Committee, Epoch, Seat, SeatSet, Sequence};

/// The seed of an epoch's draws.
pub fn epoch_seed(chain: &ChainId, epoch: Epoch) -> [u8; 32] {
    hash(Domain::EpochSeed, &[&chain.0, &epoch.0.to_le_bytes()])
}

/// The seats that come before `seat` in the order in which validators verify the batch of this slot: the author, then
/// the others as drawn. The first `f + 1` verify at once, the others only while it does not settle. The draw is from
/// the slot and not from the digest, which its author could grind.
pub fn verify_before(
    seed: &[u8; 32],
    committee: &Committee,
    author: Seat,
    sequence: Sequence,
    seat: Seat,
) -> SeatSet {
    let mut before = SeatSet::default();
    if seat == author {
        return before;
    }
    before.insert(author);
    let lot = |s: Seat| {
        let parts: [&[u8]; 4] =
            [seed, &author.0.to_le_bytes(), &sequence.0.to_le_bytes(), &s.0.to_le_bytes()];
        (hash(Domain::Draw, &parts), s)
    };
    let own = lot(seat);
    let others = committee.iter().filter(|&other| other != author && other != seat);
    others.filter(|&other| lot(other) < own).for_each(|other| _ = before.insert(other));
    before
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
            let ranks: Vec<usize> = committee
                .iter()
                .map(|s| verify_before(&[5; 32], &committee, Seat(3), Sequence(sequence), s).count())
                .collect();
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
