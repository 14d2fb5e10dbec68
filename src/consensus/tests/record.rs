//! The settlement record: what a joiner needs, and what is refused.

use super::*;
use crate::consensus::RecordError;
use crate::types::{SettlementRecord, SlotRecord};

const DEPTH: u64 = 6;

/// Full rounds of four, in which some vertices ack the batch (1, 1).
fn rounds_with_acks(rounds: u64, acked: &[(u64, u16)]) -> Vec<Arc<SignedVertex>> {
    let mut all: Vec<Vec<Arc<SignedVertex>>> = Vec::new();
    for round in 1..=rounds {
        let below: Vec<VertexRef> = all.last().into_iter().flatten().map(|v| v.reference()).collect();
        let made = (0..4).map(|author| {
            let acks = acked.contains(&(round, author)).then(|| ack(1, 1, 7, Verdict::Valid));
            vertex((round, author, 0), &below, &[], acks.into_iter().collect())
        });
        all.push(made.collect());
    }
    all.concat()
}

fn feed(consensus: &mut Consensus, vertices: &[Arc<SignedVertex>]) -> Vec<Emitted> {
    let floor = consensus.dag().floor();
    let mut emitted = Vec::new();
    for v in vertices.iter().filter(|v| v.vertex.round > floor) {
        consensus.insert(v.clone());
        emitted.extend(emit_all(consensus));
    }
    emitted
}

/// The record of a node that saw these vertices.
fn record_of(genesis: &Genesis, vertices: &[Arc<SignedVertex>]) -> SettlementRecord {
    let mut consensus = Consensus::new(genesis, None);
    assert_eq!(consensus.record(), None, "nothing is emitted yet");
    feed(&mut consensus, vertices);
    consensus.record().expect("leaders were emitted")
}

fn settling_rounds(emitted: &[Emitted]) -> Vec<u64> {
    emitted.iter().filter(|e| !e.settled.is_empty()).map(|e| e.leader.round.0).collect()
}

#[test]
fn a_joiner_that_lacks_two_old_acks_does_not_settle_with_the_others() {
    let genesis = genesis(4, DEPTH, 4, Policy::Quorum);
    // Two acks long before the cut, so that their vertices are below the floor, and the third after it.
    let vertices = rounds_with_acks(30, &[(2, 0), (2, 1), (20, 2), (26, 3)]);
    let record = record_of(&genesis, &vertices[..4 * 16]);
    assert!(record.leader.round.0 >= 13, "{:?}", record.leader);
    let mut veteran = Consensus::new(&genesis, None);
    let settled = settling_rounds(&feed(&mut veteran, &vertices));
    assert_eq!(settled.len(), 1);
    let mut joiner = Consensus::from_record(&genesis, &record, None).unwrap();
    assert_eq!(settling_rounds(&feed(&mut joiner, &vertices)), settled);
    assert_eq!(joiner.record(), veteran.record());
    let mut lacking = record;
    assert_eq!(lacking.authors[1].slots[0].acks[0].1.len(), 2);
    lacking.authors[1].slots.clear();
    let mut joiner = Consensus::from_record(&genesis, &lacking, None).unwrap();
    assert_eq!(settling_rounds(&feed(&mut joiner, &vertices)), [0; 0], "it forks");
}

#[test]
fn a_joiner_counts_as_uncommitted_what_a_veteran_does() {
    let genesis = genesis(4, DEPTH, 4, Policy::Quorum);
    let vertices = rounds_with_acks(30, &[]);
    let mut veteran = Consensus::new(&genesis, Some(Seat(0)));
    feed(&mut veteran, &vertices[..4 * 16]);
    let mut joiner = Consensus::from_record(&genesis, &veteran.record().unwrap(), Some(Seat(0))).unwrap();
    feed(&mut joiner, &vertices[..4 * 16]);
    assert_eq!(joiner.dag().uncommitted_bytes(), veteran.dag().uncommitted_bytes());
    for consensus in [&mut veteran, &mut joiner] {
        feed(consensus, &vertices[4 * 16..]);
    }
    assert_eq!(joiner.dag().uncommitted_bytes(), veteran.dag().uncommitted_bytes());
    assert!(joiner.dag().uncommitted_bytes() > 0);
    assert_eq!(joiner.dag().frontier(), veteran.dag().frontier());
}

#[test]
fn a_record_of_another_chain_is_refused() {
    let good = genesis(4, DEPTH, 4, Policy::Quorum);
    let record = record_of(&good, &rounds_with_acks(16, &[(2, 0), (2, 1), (3, 2), (14, 3)]));
    assert_eq!((record.authors[1].highest, record.authors[1].settled), (Sequence(1), 1));
    let refused = |genesis: &Genesis, change: fn(&mut SettlementRecord)| {
        let mut record = record.clone();
        change(&mut record);
        Consensus::from_record(genesis, &record, None).err()
    };
    assert_eq!(refused(&good, |_| ()), None);
    let other = |epoch, seats| Some(RecordError::Committee { epoch, seats });
    assert_eq!(refused(&genesis(5, DEPTH, 4, Policy::Quorum), |_| ()), other(0, 4));
    assert_eq!(refused(&good, |r| r.epoch = Epoch(1)), other(1, 4));
    assert_eq!(refused(&good, |r| _ = r.authors.pop()), other(0, 4));
    let rules = |refused: Option<RecordError>| matches!(refused, Some(RecordError::Rules(_)));
    assert!(rules(refused(&genesis(4, DEPTH + 1, 4, Policy::Quorum), |_| ())));
    let window =
        |r: &mut SettlementRecord| (r.authors[0].highest, r.authors[0].settled) = (Sequence(40), 0b10001);
    assert!(rules(refused(&good, window)), "four below with a window of four");
    let beyond = |r: &mut SettlementRecord| {
        let acks = vec![(BatchId([1; 32]), vec![(Seat(0), Verdict::Held)])];
        r.authors[1].slots = vec![SlotRecord { sequence: Sequence(10), acks }];
    };
    assert!(rules(refused(&good, beyond)), "above two windows");
}
