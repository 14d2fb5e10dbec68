//! Whoever goes on from a settlement record emits and settles what those do who were there from the start; and every
//! part of the record is needed for that.

use super::*;
use throng::types::SettlementRecord;
use throng::wire::{decode_record, encode_record};

/// What a joiner emits that has a record and is given these vertices in turn, and its record at the end. `demanded`:
/// twins are taken as from a network, where another vertex has to name them.
fn join(
    genesis: &Genesis,
    record: &SettlementRecord,
    offered: &[Arc<SignedVertex>],
    demanded: bool,
) -> (Vec<Link>, Option<SettlementRecord>) {
    let consensus = Consensus::from_record(genesis, record, Some(Seat(0))).expect("a record of this chain");
    let mut joiner = Seen::new(consensus);
    joiner.emit();
    let mut offered = offered.to_vec();
    let mut vain = 0;
    while vain < 3 {
        let before = joiner.accepted.len();
        for v in &offered {
            let vertex = v.clone();
            let taken =
                if demanded { joiner.consensus.insert(vertex) } else { joiner.consensus.restore(vertex) };
            if let Insert::Accepted(accepted) = taken {
                joiner.note(accepted);
            }
            joiner.emit();
        }
        offered.retain(|v| !joiner.accepted.contains_key(&v.id));
        vain = if joiner.accepted.len() == before { vain + 1 } else { 0 };
    }
    let record = joiner.records.pop().or_else(|| joiner.consensus.record());
    (joiner.links, record)
}

/// Takes something out of a record; whether there was anything to take.
type Gap = fn(&mut SettlementRecord, &mut Dice) -> bool;

/// What may be missing in a record.
const GAPS: [(&str, Gap); 4] = [
    ("two old acks", |record, dice| {
        let slots = record.authors.iter_mut().flat_map(|author| &mut author.slots);
        let mut slots: Vec<_> =
            slots.filter(|slot| slot.acks.iter().any(|(_, acks)| acks.len() > 2)).collect();
        let Some(slot) = (!slots.is_empty()).then(|| dice.below(slots.len() as u64) as usize) else {
            return false;
        };
        let acks = slots[slot].acks.iter_mut().map(|(_, acks)| acks).max_by_key(|acks| acks.len());
        acks.is_some_and(|acks| acks.drain(..2).count() == 2)
    }),
    ("what was output", |record, _| {
        let leader = record.leader.author;
        let rounds = record.output.len();
        record.output[..rounds - 1].fill_with(Default::default);
        record.output[rounds - 1] = Default::default();
        record.output[rounds - 1].insert(leader);
        rounds > 1
    }),
    ("what is settled", |record, _| {
        let settled = record.authors.iter_mut().filter(|author| author.settled > 1);
        settled.map(|author| author.settled = 1).count() > 0
    }),
    ("who gives way", |record, _| {
        let away = record.standings.iter_mut().filter(|standing| standing.skips > 0);
        away.map(|standing| *standing = Default::default()).count() > 0
    }),
];

/// Plays one world, cuts it at a random leader, and lets joiners go on. For each gap: whether it was made, and whether
/// the joiner then came to another chain.
fn check(seed: u64) -> [[u64; 2]; 4] {
    let world = World::new(seed);
    let mut dice = Dice(seed ^ 0xc01d);
    let arrival = if dice.chance(50) { Arrival::InOrder } else { Arrival::Shuffled { emit_percent: 30 } };
    let veteran = play(&world, arrival, &mut dice);
    let mut seen = [[0; 2]; 4];
    if veteran.links.is_empty() {
        return seen;
    }
    let cut = dice.below(veteran.links.len() as u64) as usize;
    let (link, record) = (&veteran.links[cut], &veteran.records[cut]);
    assert_eq!((record.leader.round, record.leader.author, record.leader.id), link.leader);
    assert_eq!(record.time, link.time);
    // It travels as bytes.
    let record = decode_record(&encode_record(record)).expect("a record decodes");
    assert_eq!(record, veteran.records[cut]);
    let floor = Round(record.leader.round.0.saturating_sub(world.genesis.rules.depth));
    let mut above: Vec<_> = veteran.order.iter().filter(|v| v.vertex.round > floor).cloned().collect();
    let expected = (veteran.links[cut + 1..].to_vec(), veteran.records.last().cloned());
    let join_here = |record: &SettlementRecord, above: &[_]| join(&world.genesis, record, above, false);
    assert_eq!(join_here(&record, &above), expected, "seed {seed}: a joiner at link {cut} differs");
    for ((_, gap), seen) in GAPS.iter().zip(&mut seen) {
        let mut lacking = record.clone();
        if gap(&mut lacking, &mut dice) {
            *seen = [1, u64::from(join_here(&lacking, &above).0 != expected.0)];
        }
    }
    dice.shuffle(&mut above);
    let (links, _) = join(&world.genesis, &record, &above, true);
    let common = links.len().min(expected.0.len());
    assert_eq!(links[..common], expected.0[..common], "seed {seed}: shuffled, it differs");
    seen
}

#[test]
fn a_joiner_with_the_record_goes_on_as_the_veterans_and_without_any_part_of_it_does_not() {
    let mut sums = [[0; 2]; 4];
    let count = worlds();
    for seed in 0..count {
        for (sum, more) in sums.iter_mut().zip(check(seed)) {
            *sum = [sum[0] + more[0], sum[1] + more[1]];
        }
    }
    for ((part, _), [made, differ]) in GAPS.iter().zip(sums) {
        println!("without {part}: {differ} of {made} joiners fork");
        assert!(made > count / 30 && differ > 0, "without {part}: {differ} of {made} joiners fork");
    }
}
