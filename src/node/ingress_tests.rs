//! Admission: every refusal by name, each row by itself, several submissions at once.

use super::*;
use crate::crypto::{self, SigningKey, signing_key_from_seed};
use crate::node::{NodeConfig, Setup};
use crate::types::{AccountNumber, Genesis, GenesisAccount, Key, Kind, Rules, Seat, SeatInfo, Time, Witness};
use crate::wire::{Rows, transaction_digest};
use std::sync::Arc;

fn signer(number: u32) -> SigningKey {
    signing_key_from_seed([number as u8; 32])
}

fn key(number: u32) -> [u8; 32] {
    crypto::public_key(&signer(number))
}

/// A node with accounts 1 to 4 of 1,000 each, whose mempool holds `rows_max` rows.
fn node(rows_max: usize) -> Shared {
    seat_of(1, 0, rows_max)
}

/// The same of a larger committee.
fn seat_of(seats: u32, seat: u16, rows_max: usize) -> Shared {
    let info = |number| SeatInfo { key: Key(key(number)), fee_account: AccountNumber(1) };
    let seats = (1..=seats).map(info).collect();
    let accounts = (1..=4).map(|number| GenesisAccount { key: key(number), balance: 1_000 }).collect();
    let genesis =
        Genesis { name: "ingress".to_owned(), time: Time(0), rules: Rules::default(), seats, accounts };
    genesis.check().expect("a genesis of this test");
    let shared = Shared::new(&Setup {
        genesis: Arc::new(genesis),
        seat: Seat(seat),
        key: signer(u32::from(seat) + 1),
        config: NodeConfig { mempool_rows_max: rows_max, ..NodeConfig::default() },
        seed: 0,
    });
    shared.tell_sealing(true);
    shared
}

/// Signs the rows as their senders would; a sender without an account signs with the zero key in its place.
fn submit(shared: &Shared, effects: &[Effect], keys: &[[u8; 32]]) -> Submission {
    let (mut opened, mut witnesses) = (keys.iter(), Vec::new());
    for effect in effects {
        let known = |number: u32| shared.ledger.keys().key(number).unwrap_or_default();
        let to = match Kind::from_byte(effect.kind) {
            Some(Kind::Open) => opened.next().copied().unwrap_or_default(),
            _ => known(effect.to.get()),
        };
        let digest = transaction_digest(&shared.chain, effect, &known(effect.from.get()), &to);
        witnesses.push(Witness(crypto::sign(&signer(effect.from.get()), &digest)));
    }
    Submission::pack(Rows { effects, keys, witnesses: &witnesses }).expect("a few rows")
}

fn pay(from: u32, to: u32, nonce: u64) -> Effect {
    Effect::transfer(from, to, 10, nonce, 1)
}

#[test]
fn good_rows_of_several_submissions_are_admitted_at_once() {
    let shared = node(100);
    let one = submit(&shared, &[pay(1, 2, 1), Effect::open(2, 10, 1, 100), pay(1, 2, 2)], &[[9; 32]]);
    let other = submit(&shared, &[pay(3, 4, 1)], &[]);
    let answers = admit(&shared, &[one, other]);
    assert_eq!(
        answers,
        [
            Admission { accepted: 3, refused: vec![], checked: 3 },
            Admission { accepted: 1, refused: vec![], checked: 1 }
        ]
    );
    let taken = shared.mempool.take(10, &|_| true);
    assert_eq!((taken.effects.len(), taken.keys), (4, vec![[9; 32]]));
    assert!(admit(&shared, &[]).is_empty());
}

#[test]
fn every_refusal_has_its_name_and_spares_the_other_rows() {
    let shared = node(100);
    let no_receiver = Effect { kind: Kind::Transfer as u8, ..Effect::open(1, 1, 1, 100) };
    let odd_kind = Effect { kind: 9, ..pay(1, 2, 1) };
    let rows = [
        (odd_kind, Some(Refusal::Malformed)),
        (pay(1, 2, 1), None),
        (no_receiver, Some(Refusal::Malformed)),
        (Effect::transfer(1, 2, 10, 3, 0), Some(Refusal::Malformed)),
        (Effect::open(1, 10, 4, 99), Some(Refusal::Malformed)),
        (Effect::open(1, 10, 4, 100), Some(Refusal::Malformed)),
        (Effect::open(1, 10, 4, 100), None),
        (Effect::open(1, 10, 5, 100), Some(Refusal::Malformed)),
        (pay(0, 2, 1), Some(Refusal::Malformed)),
        (pay(5, 2, 1), Some(Refusal::UnknownAccount)),
        (pay(2, 5, 1), Some(Refusal::UnknownAccount)),
        (pay(u32::MAX, u32::MAX, 1), Some(Refusal::UnknownAccount)),
        (pay(2, 1, 0), Some(Refusal::BadNonce)),
        (pay(2, 1, 65), Some(Refusal::BadNonce)),
        (pay(2, 1, 64), None),
        (Effect::transfer(2, 1, 1_000, 2, 1), Some(Refusal::NotCovered)),
        (Effect::transfer(2, 1, u64::MAX, 2, 1), Some(Refusal::NotCovered)),
        (Effect::transfer(2, 1, 999, 2, 1), None),
        (pay(1, 2, 1), Some(Refusal::Duplicate)),
    ];
    // Of the four open rows the first pays too little, the second finds the zero key, the last finds none at all.
    let effects = rows.map(|(effect, _)| effect);
    let answers = admit(&shared, &[submit(&shared, &effects, &[[7; 32], [0; 32], [8; 32]])]);
    let refused = rows.iter().zip(0..).filter_map(|((_, refusal), index)| Some((index, (*refusal)?)));
    let expected: Vec<_> = refused.collect();
    assert_eq!(answers, [Admission { accepted: 4, refused: expected, checked: 4 }]);
    assert_eq!(shared.mempool.take(10, &|_| true).keys, [[8; 32]]);
}

#[test]
fn a_bad_signature_is_found_wherever_it_stands() {
    let shared = node(1_000);
    let effects: Vec<_> = (1..=60).map(|nonce| pay(1, 2, nonce)).collect();
    let good = submit(&shared, &effects, &[]);
    let others: Vec<_> = (1..=60).map(|nonce| pay(3, 2, nonce)).collect();
    let other = submit(&shared, &others, &[]);
    let mut witnesses = other.rows().witnesses.to_vec();
    let bad = [0u32, 17, 59];
    bad.iter().for_each(|&row| witnesses[row as usize].0[40] ^= 1);
    let mixed = Submission::pack(Rows { witnesses: &witnesses, ..other.rows() }).expect("as many as before");
    let answers = admit(&shared, &[mixed, good]);
    let refused = bad.map(|row| (row, Refusal::BadSignature)).to_vec();
    let good = Admission { accepted: 60, refused: vec![], checked: 60 };
    assert_eq!(answers, [Admission { accepted: 57, refused, checked: 60 }, good]);
}

#[test]
fn a_row_is_bound_to_chain_receiver_and_sender() {
    let shared = node(100);
    let signed = submit(&shared, &[pay(1, 2, 1)], &[]);
    for effect in [pay(1, 3, 1), pay(3, 2, 1), pay(1, 2, 2), Effect::transfer(1, 2, 11, 1, 1)] {
        let stolen = Submission::pack(Rows { effects: &[effect], ..signed.rows() }).expect("one row");
        assert_eq!(admit(&shared, &[stolen])[0].refused, [(0, Refusal::BadSignature)]);
    }
}

#[test]
fn duplicates_across_submissions_and_a_full_mempool_are_refused() {
    let shared = node(3);
    let one = submit(&shared, &[pay(1, 2, 1), pay(1, 2, 2)], &[]);
    let answers = admit(&shared, &[one.clone(), one.clone()]);
    assert_eq!(answers[0], Admission { accepted: 2, refused: vec![], checked: 2 });
    assert_eq!(answers[1].refused, [(0, Refusal::Duplicate), (1, Refusal::Duplicate)], "copies take no room");
    assert_eq!(
        admit(&shared, &[submit(&shared, &[pay(2, 1, 1), pay(2, 1, 2)], &[])])[0].refused,
        [(1, Refusal::Full)]
    );
}

#[test]
fn fees_of_waiting_rows_count_against_the_balance() {
    let shared = node(100);
    let effects: Vec<_> = (1..=5).map(|nonce| Effect::transfer(1, 2, 10, nonce, 300)).collect();
    let answers = admit(&shared, &[submit(&shared, &effects, &[])]);
    let refused = vec![(3, Refusal::NotCovered), (4, Refusal::NotCovered)];
    assert_eq!(answers, [Admission { accepted: 3, refused, checked: 5 }]);
}

#[test]
fn a_clients_row_waits_to_be_sealed_at_its_home_and_is_held_elsewhere() {
    for (seat, waiting) in [(0, 1), (1, 1), (3, 1)] {
        let shared = seat_of(4, seat, 100);
        let rows = [pay(1, 2, 1), pay(2, 1, 1), pay(3, 1, 1), pay(4, 1, 1)];
        assert_eq!(admit(&shared, &[submit(&shared, &rows, &[])])[0].accepted, 4);
        assert_eq!((shared.mempool.len(), shared.mempool.held()), (waiting, 4 - waiting), "seat {seat}");
        let taken = shared.mempool.take(9, &|_| true);
        assert_eq!(taken.effects[0].from.get(), u32::from(seat) + 1);
        // Held or not, it is in flight, and its signature is not checked again.
        let again = admit(&shared, &[submit(&shared, &rows, &[])]);
        assert_eq!((again[0].accepted, again[0].checked), (0, 0));
        assert!(again[0].refused.iter().all(|(_, refusal)| *refusal == Refusal::Duplicate));
    }
}

#[test]
fn one_of_many_copies_is_checked_whoever_hands_them_on() {
    let shared = seat_of(4, 1, 100);
    let copy = submit(&shared, &[pay(2, 1, 1)], &[]);
    let first = take_over(&shared, Seat(0), &[copy.clone(), copy.clone(), copy.clone()]);
    assert_eq!((first.rows, first.admitted, first.checked, first.fault), (3, 1, 1, None));
    for from in [0, 2, 3] {
        let again = take_over(&shared, Seat(from), std::slice::from_ref(&copy));
        assert_eq!((again.rows, again.admitted, again.checked, again.fault), (1, 0, 0, None));
    }
    assert_eq!(admit(&shared, &[copy])[0].checked, 0);
    assert_eq!((shared.mempool.len(), shared.mempool.held()), (1, 0), "to be sealed here");
}

#[test]
fn what_is_handed_on_is_taken_over_by_the_home_and_the_next_f() {
    for (seat, admitted) in [(0, 1), (1, 1), (2, 0), (3, 0)] {
        let shared = seat_of(4, seat, 100);
        let row = submit(&shared, &[pay(1, 2, 1)], &[]);
        let taken = take_over(&shared, Seat((seat + 1) % 4), &[row]);
        assert_eq!((taken.admitted, taken.checked, taken.fault), (admitted, admitted, None), "seat {seat}");
        let expected = if seat == 0 { (1, 0) } else { (0, admitted as usize) };
        assert_eq!(
            (shared.mempool.len(), shared.mempool.held()),
            expected,
            "who is not the home waits first"
        );
    }
}

#[test]
fn only_what_no_honest_validator_hands_on_is_its_fault() {
    let shared = seat_of(4, 0, 100);
    let fault = |effects: &[Effect], keys: &[[u8; 32]], forged: bool| {
        let good = submit(&shared, effects, keys);
        let mut witnesses = good.rows().witnesses.to_vec();
        witnesses[0].0[40] ^= u8::from(forged);
        let rows =
            Submission::pack(Rows { witnesses: &witnesses, ..good.rows() }).expect("as many as before");
        take_over(&shared, Seat(1), &[rows]).fault
    };
    // What the state here, or the mempool, does not bear: the sender may be ahead, or behind.
    let innocent =
        [pay(1, 2, 0), pay(1, 2, 99), pay(1, 9, 1), pay(5, 1, 1), Effect::transfer(1, 2, 2_000, 1, 1)];
    for effect in innocent {
        assert_eq!(fault(&[effect], &[], true), None, "{effect:?}");
    }
    assert_eq!(fault(&[pay(1, 2, 1)], &[], true), Some("handed on a row whose signature is bad"));
    assert_eq!(fault(&[Effect::transfer(1, 2, 1, 1, 0)], &[], false), Some("handed on a malformed row"));
    assert_eq!(fault(&[Effect::open(1, 1, 1, 100)], &[], false), Some("handed on a malformed row"));
    assert_eq!(fault(&[pay(1, 2, 1)], &[[7; 32]], false), Some("handed on a malformed row"), "a stray key");
    assert_eq!(shared.mempool.len(), 1, "the good row beside it counts all the same");
}

#[test]
fn a_forged_row_does_not_keep_out_the_good_one_that_comes_beside_it() {
    let shared = seat_of(4, 0, 100);
    let good = submit(&shared, &[pay(1, 2, 1)], &[]);
    let forged = Rows { witnesses: &[Witness([3; 64])], ..good.rows() };
    let forged = Submission::pack(forged).expect("one row");
    let answers = admit(&shared, &[forged.clone(), good]);
    assert_eq!((answers[0].accepted, answers[1].accepted), (0, 1));
}

#[test]
fn fees_of_held_rows_count_against_the_balance() {
    let shared = seat_of(4, 2, 100);
    let effects: Vec<_> = (1..=4).map(|nonce| Effect::transfer(1, 2, 10, nonce, 300)).collect();
    let answers = admit(&shared, &[submit(&shared, &effects, &[])]);
    assert_eq!((answers[0].accepted, &answers[0].refused[..]), (3, &[(3, Refusal::NotCovered)][..]));
    assert_eq!(shared.mempool.held(), 3);
    shared.mempool.executed(&effects[..1]);
    assert_eq!(admit(&shared, &[submit(&shared, &effects[3..], &[])])[0].accepted, 1);
}

#[test]
fn copies_are_refused_before_their_signature_and_nobody_for_what_another_forged() {
    let shared = node(100);
    let good = submit(&shared, &[pay(1, 2, 1)], &[]);
    let forged = |effect| {
        let rows = Rows { effects: &[effect], keys: &[], witnesses: &[Witness([7; 64])] };
        Submission::pack(rows).expect("one row")
    };
    let refused = |refusal, checked| Admission { accepted: 0, refused: vec![(0, refusal)], checked };
    // A forged row of the same account and nonce comes first: the good one is not taken for a copy of it.
    let bad = forged(pay(1, 2, 1));
    let answers = admit(&shared, &[bad.clone(), bad.clone(), good.clone(), good.clone()]);
    let admitted = Admission { accepted: 1, refused: vec![], checked: 1 };
    let [wrong, copy] =
        [(Refusal::BadSignature, 1), (Refusal::Duplicate, 0)].map(|(why, checked)| refused(why, checked));
    assert_eq!(answers, [wrong, copy.clone(), admitted, copy.clone()]);
    // Once a good one is under way, none of the same account and nonce needs a check.
    assert_eq!(admit(&shared, std::slice::from_ref(&bad))[0], copy);
    shared.mempool.take(1, &|_| true);
    assert_eq!(admit(&shared, &[bad, good]), [copy.clone(), copy]);
    assert_eq!(
        shared.mempool.in_flight([pay(1, 2, 1), pay(1, 2, 2), pay(9, 2, 1)].iter()),
        [true, false, false]
    );
}
