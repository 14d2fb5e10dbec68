//! Accusations and evidence: what is proven, what is refused.

use super::{CHAIN, signer};
use crate::types::params::{ACCUSATION_BYTES_MAX, ROWS_MAX};
use crate::types::*;
use crate::wire::*;
use std::sync::Arc;

/// A batch with so many open rows before so many transfers, every row different.
fn sealed(opens: u32, transfers: u32) -> Batch {
    let open = |n| Effect::open(1, 50 + u64::from(n), 1 + u64::from(n), 100);
    let transfer = |n| Effect::transfer(2, 1, 5 + u64::from(n), 1 + u64::from(n), 2);
    let effects: Vec<_> = (0..opens).map(open).chain((0..transfers).map(transfer)).collect();
    let keys: Vec<[u8; 32]> = (0..opens).map(|n| blake3::hash(&n.to_le_bytes()).into()).collect();
    let witness = |n: usize| {
        let half: [u8; 32] = blake3::hash(&n.to_be_bytes()).into();
        Witness([half, half].concat().try_into().unwrap())
    };
    let witnesses: Vec<_> = (0..effects.len()).map(witness).collect();
    let rows = Rows { effects: &effects, keys: &keys, witnesses: &witnesses };
    seal(&signer(), &CHAIN, (Epoch(0), Seat(2), Sequence(7)), 4, rows)
}

fn vertex(time: u64, parts: Vec<Part>) -> Arc<SignedVertex> {
    let (strong, weak, acks) = Default::default();
    let vertex = Vertex {
        epoch: Epoch(0),
        round: Round(1),
        author: Seat(3),
        time: Time(time),
        strong,
        weak,
        acks,
        parts,
    };
    Arc::new(sign_vertex(&signer(), &CHAIN, vertex))
}

/// Two votes of seat 3 on the checkpoints of height 8 and of this one.
fn votes(height: u64, hashes: [u8; 2]) -> Option<Evidence> {
    let vote =
        |height, hash| sign_checkpoint(&signer(), &CHAIN, Epoch(0), Height(height), BlockHash([hash; 32]));
    Evidence::of_votes(Seat(3), Epoch(0), [vote(8, hashes[0]), vote(height, hashes[1])])
}

/// One of each kind, small.
pub(super) fn samples() -> Vec<Evidence> {
    let batch = sealed(1, 1);
    let accusation = |row| Accusation::new(&batch, row).expect("it has two rows");
    let accuses = vertex(1, vec![Part::Accusation(accusation(1).encode())]);
    let vertices = Evidence::of_vertices(&vertex(1, Vec::new()), &vertex(2, Vec::new()));
    let batches = Evidence::of_batches(&SignedHeader::of(&batch), &SignedHeader::of(&sealed(0, 1)));
    let two = vertices.into_iter().chain(batches);
    let rest =
        [Evidence::BadRow(accusation(0)), Evidence::FalseAccusation(accuses), votes(8, [1, 2]).unwrap()];
    two.chain(rest).collect()
}

#[test]
fn every_row_of_batches_of_many_sizes_is_proven_as_it_stands() {
    for (opens, transfers) in
        [(0, 1), (1, 0), (1, 1), (3, 40), (33, 5), (40, 100), (0, ROWS_MAX), (ROWS_MAX, 0)]
    {
        let batch = sealed(opens, transfers);
        let rows: Vec<_> = batch.rows().iter().collect();
        let step = (rows.len() / 50).max(1);
        for (index, row) in rows.iter().enumerate().step_by(step) {
            let accusation = Accusation::new(&batch, index).expect("there is such a row");
            let bytes = accusation.encode();
            assert!(bytes.len() <= ACCUSATION_BYTES_MAX, "{} bytes", bytes.len());
            let decoded = Accusation::decode(&bytes).expect("what was encoded");
            assert_eq!(decoded, accusation);
            let proven = decoded.prove().expect("an honest accusation");
            assert_eq!(
                (&proven.effect, proven.key.as_ref(), &proven.witness),
                (row.effect, row.key, row.witness)
            );
        }
        assert_eq!(Accusation::new(&batch, rows.len()), None);
    }
}

#[test]
fn an_accusation_that_was_changed_anywhere_proves_nothing() {
    let batch = sealed(3, 40);
    for row in [1, 20] {
        let accusation = Accusation::new(&batch, row).unwrap();
        let bytes = accusation.encode();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let Ok(decoded) = Accusation::decode(&changed) else { continue };
            assert_eq!(decoded.encode(), changed, "byte {at}");
            // Within the header, only the roots and counts bear on the row; its signature is for others to check.
            let same = decoded.prove().is_some_and(|found| Some(found) == accusation.prove());
            let header = at < 192 && decoded.header != accusation.header;
            assert!(header || !same, "byte {at} of row {row}");
        }
        for cut in 0..bytes.len() {
            assert!(Accusation::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(Accusation::decode(&[&bytes[..], &[0]].concat()).is_err());
    }
}

#[test]
fn a_row_whose_kind_does_not_fit_its_place_is_not_proven() {
    // What no honest node would ack: a transfer beside a key.
    let effects = [Effect::transfer(2, 1, 5, 1, 2), Effect::open(1, 5, 1, 100)];
    let rows = Rows { effects: &effects, keys: &[[7; 32]], witnesses: &[Witness([1; 64]); 2] };
    let batch = seal(&signer(), &CHAIN, (Epoch(0), Seat(2), Sequence(7)), 4, rows);
    for row in 0..2 {
        assert_eq!(Accusation::new(&batch, row).unwrap().prove(), None, "row {row}");
    }
}

#[test]
fn evidence_is_of_two_different_things_in_one_slot_in_one_order() {
    let (one, other) = (vertex(1, Vec::new()), vertex(2, Vec::new()));
    let evidence = Evidence::of_vertices(&one, &other).unwrap();
    assert_eq!(Evidence::of_vertices(&other, &one), Some(evidence.clone()));
    assert_eq!(Evidence::of_vertices(&one, &one), None);
    assert_eq!((evidence.accused(), evidence.epoch()), (Seat(3), Epoch(0)));
    let bytes = evidence.encode();
    assert_eq!(Evidence::decode(&bytes), Ok(evidence));
    // The same two the other way round, and one of them twice.
    let half = (bytes.len() - 1) / 2;
    let (low, high) = bytes[1..].split_at(half);
    for pair in [[high, low], [low, low]] {
        assert!(Evidence::decode(&[&[1][..], pair[0], pair[1]].concat()).is_err());
    }
    let (one, other) = (SignedHeader::of(&sealed(0, 1)), SignedHeader::of(&sealed(0, 2)));
    let evidence = Evidence::of_batches(&one, &other).unwrap();
    assert_eq!(Evidence::decode(&evidence.encode()), Ok(evidence));
    assert_eq!(Evidence::of_batches(&one, &one), None);
}

#[test]
fn two_votes_are_of_one_height_and_of_two_hashes_in_order() {
    let evidence = votes(8, [2, 1]).unwrap();
    assert_eq!(votes(8, [1, 2]).as_ref(), Some(&evidence));
    assert_eq!((votes(8, [1, 1]), votes(9, [1, 2])), (None, None));
    assert_eq!((evidence.accused(), evidence.epoch()), (Seat(3), Epoch(0)));
    let bytes = evidence.encode();
    assert_eq!(Evidence::decode(&bytes), Ok(evidence));
    let (low, high) = bytes[7..].split_at(104);
    for pair in [[high, low], [low, low]] {
        assert!(Evidence::decode(&[&bytes[..7], pair[0], pair[1]].concat()).is_err());
    }
    assert!(Evidence::decode(&bytes[..bytes.len() - 1]).is_err());
    assert!(Evidence::decode(&[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn a_signature_is_no_difference() {
    let one = vertex(1, Vec::new());
    let mut bytes = one.bytes.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let varied = Arc::new(SignedVertex::decode(bytes.into()).unwrap());
    assert_ne!(one, varied);
    assert_eq!(Evidence::of_vertices(&one, &varied), None);
}

#[test]
fn only_a_vertex_that_accuses_is_evidence_of_a_false_accusation() {
    let accusation = Accusation::new(&sealed(0, 3), 1).unwrap().encode();
    let accuses = vertex(1, vec![Part::Accusation(accusation)]);
    let evidence = Evidence::FalseAccusation(accuses.clone());
    assert_eq!(Evidence::decode(&evidence.encode()), Ok(evidence));
    let does_not = Evidence::FalseAccusation(vertex(1, Vec::new()));
    assert!(Evidence::decode(&does_not.encode()).is_err());
    assert!(Evidence::decode(&[]).is_err());
    assert!(Evidence::decode(&[9, 1, 2]).is_err());
    // A part of this tag that is no accusation makes the vertex malformed.
    let broken = vertex(1, vec![Part::Accusation(vec![1, 2, 3])]);
    assert!(SignedVertex::decode(broken.bytes.clone()).is_err());
}
