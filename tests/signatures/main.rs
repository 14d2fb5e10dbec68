//! The rule for a valid signature against two independent implementations of ZIP-215, `ed25519-zebra` and
//! `ed25519-consensus` (the second on curve arithmetic of its own), and against what the construction of each case
//! says: alone, in a batch of one, among honest ones and with other bad ones, everybody must say the same.
//!
//! `cases.rs` makes the signatures, `curve.rs` the points that they need, `oracle.rs` asks for verdicts, `mixes.rs` holds
//! the random batches, `key_set.rs` keys that stay, `bad_input.rs` what is no signature at all.

mod bad_input;
mod cases;
mod curve;
mod key_set;
mod mixes;
mod oracle;
#[path = "../common/random.rs"]
mod random;

use cases::{Case, Judged, all, cancelling, flipped, honest, out_of_range, small_order, torsioned};
use curve::{encoding, l_times, small_order_encodings, torsion};
use curve25519_dalek::scalar::Scalar;
use oracle::{bad_of, bad_of_consensus, bad_of_zebra, batch_of_consensus, batch_of_zebra, verdict};

/// Around every size at which an implementation of batches could change its ways.
const SIZES: [usize; 20] =
    [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 511, 512, 513, 1_024, 4_097];

/// No bad ones.
const ALL_GOOD: [usize; 0] = [];

/// Runs on a pool of one thread, where a batch is not cut until it is thousands long.
fn in_one_piece<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a small pool starts").install(run)
}

/// Alone and in a batch of one, here and at the oracles; then first, in the middle and last of small batches.
fn holds_everywhere(cases: &[Judged]) {
    for (case, valid) in cases {
        assert_eq!(verdict(case), *valid, "{case:?}");
        let alone = std::slice::from_ref(case);
        let batches = (batch_of_zebra(alone), batch_of_consensus(alone), bad_of(alone).is_empty());
        assert_eq!(batches, (*valid, *valid, *valid), "batch of one: {case:?}");
    }
    for (number, (case, valid)) in cases.iter().enumerate() {
        let company = honest(2 + number % 11, 5);
        let place = [0, company.len() / 2, company.len()][number % 3];
        let together = [&company[..place], std::slice::from_ref(case), &company[place..]].concat();
        assert_eq!(bad_of(&together), if *valid { vec![] } else { vec![place] }, "in company: {case:?}");
        if number % 8 == 0 {
            assert_eq!((batch_of_zebra(&together), batch_of_consensus(&together)), (*valid, *valid));
        }
    }
    holds_together(cases);
}

/// All of the cases in one batch, and each valid one with every other: exactly the bad ones are named.
fn holds_together(cases: &[Judged]) {
    let expected: Vec<usize> = (0..cases.len()).filter(|&i| !cases[i].1).collect();
    let all: Vec<Case> = cases.iter().map(|(case, _)| case.clone()).collect();
    assert_eq!(bad_of(&all), expected);
    let valid: Vec<Case> = cases.iter().filter(|(_, valid)| *valid).map(|(case, _)| case.clone()).collect();
    assert_eq!(bad_of(&valid), ALL_GOOD);
    assert!(batch_of_zebra(&valid) && batch_of_consensus(&valid));
}

#[test]
fn the_points_of_small_order_have_fourteen_encodings_and_everybody_decodes_them() {
    let torsion = torsion();
    for (i, point) in torsion.iter().enumerate() {
        assert!(point.is_small_order());
        assert!(torsion[..i].iter().all(|other| other != point));
    }
    let encodings = small_order_encodings();
    assert_eq!(encodings.len(), 14);
    let canonical = torsion.map(|point| point.compress().to_bytes());
    assert_eq!(encodings.iter().filter(|bytes| canonical.contains(bytes)).count(), 8);
    encodings.iter().for_each(|bytes| assert!(oracle::decodes(bytes)));
}

#[test]
fn every_pair_of_small_order_encodings_is_valid_with_s_zero() {
    let cases = small_order();
    assert_eq!(cases.len(), 196);
    assert!(cases.iter().all(|(_, valid)| *valid));
    holds_everywhere(&cases);
}

#[test]
fn a_point_of_small_order_on_one_side_is_valid_with_an_honest_other_side() {
    let cases = cases::half_small_order();
    assert_eq!(cases.len(), 28);
    holds_everywhere(&cases);
    // The same with another message: where the key is honest, the hash of R's bytes as they came no longer fits.
    let moved = cases.into_iter().map(|(mut case, _)| {
        case.message[7] ^= 1;
        let valid = small_order_encodings().contains(&case.key);
        (case, valid)
    });
    holds_everywhere(&moved.collect::<Vec<_>>());
}

#[test]
fn torsion_in_the_key_in_r_or_in_both_does_not_matter() {
    let cases = torsioned();
    assert_eq!(cases.len(), 64);
    holds_everywhere(&cases);
    let spoilt: Vec<Judged> = cases.iter().map(|(case, _)| (flipped(case, 8 * 40), false)).collect();
    holds_everywhere(&spoilt);
}

#[test]
fn an_s_of_l_or_more_is_refused_although_the_equation_holds() {
    let cases = out_of_range();
    assert_eq!(cases.iter().filter(|(_, valid)| *valid).count(), 3);
    assert!(cases.len() > 40);
    holds_everywhere(&cases);
    // l itself is the first that is refused: the greatest s of a valid signature is l - 1.
    let greatest = (-Scalar::ONE).to_bytes();
    assert!(cases.iter().any(|(case, valid)| *valid && case.signature[32..] == greatest));
    assert!(cases.iter().any(|(case, valid)| !valid && Some(case.s()) == l_times(1)));
}

#[test]
fn a_flipped_bit_at_any_of_1024_places_is_noticed() {
    let good = &honest(1, 1)[0];
    let cases: Vec<Judged> = (0..8 * (32 + 32 + 64)).map(|bit| (flipped(good, bit), false)).collect();
    assert_eq!(cases.len(), 1_024);
    holds_everywhere(&cases);
}

#[test]
fn encodings_that_are_not_reduced_are_taken_where_their_y_is_on_the_curve() {
    let (mut points, mut ordinary) = (0, 0);
    for (y, sign) in (0..19).flat_map(|y| [(y, false), (y, true)]) {
        let [bytes, reduced] = [encoding(y, true, sign), encoding(y, false, sign)];
        assert_eq!(oracle::decodes(&bytes), oracle::decodes(&reduced));
        points += usize::from(oracle::decodes(&bytes));
        ordinary += usize::from(oracle::decodes(&bytes) && !small_order_encodings().contains(&bytes));
        // Nobody knows the logarithm of such a point, so no signature under it can be made valid; but it must not be
        // refused for another reason in one place than in another, nor spoil its company.
        holds_everywhere(&cases::with_point(&bytes));
    }
    assert!(points > 4 && ordinary > 4, "{points} points, {ordinary} of them of large order");
}

#[test]
fn points_off_the_curve_are_bad_keys_and_bad_signatures() {
    let cases: Vec<Judged> = (0..60)
        .map(|y| encoding(y, false, y % 2 == 0))
        .filter(|bytes| !oracle::decodes(bytes))
        .flat_map(|bytes| [cases::with_point(&bytes), cases::as_if_neutral(&bytes)].concat())
        .collect();
    assert!(cases.len() > 100 && cases.iter().all(|(_, valid)| !valid));
    holds_everywhere(&cases);
}

#[test]
fn batches_of_every_size_name_the_bad_one_wherever_it_stands() {
    let good = honest(SIZES[SIZES.len() - 1], 700);
    let bad = cases::one_of_each_bad_kind();
    for (turn, size) in SIZES.into_iter().enumerate() {
        let mut batch = good[..size].to_vec();
        assert_eq!(in_one_piece(|| bad_of(&batch)), ALL_GOOD, "{size} honest ones");
        for (kind, place) in [0, size / 2, size - 1].into_iter().enumerate() {
            let kept = std::mem::replace(&mut batch[place], bad[(turn + kind) % bad.len()].clone());
            assert_eq!(in_one_piece(|| bad_of(&batch)), [place], "{place} of {size}");
            batch[place] = kept;
        }
    }
}

#[test]
fn one_bad_signature_is_found_at_any_place() {
    // Of many signers; then of one, among which sorting by keys moves nothing.
    let around = (1..17).flat_map(|turn| [64 * turn - 1, 64 * turn, 64 * turn + 1, 64 * turn + 37]);
    for (signers, places) in [(140, (0..140).collect::<Vec<_>>()), (1, around.collect())] {
        let size = if signers == 1 { 1_100 } else { 140 };
        let mut batch = honest(size, signers);
        for place in places {
            let spoilt = flipped(&batch[place], 256 + (7 * place) % 256);
            let kept = std::mem::replace(&mut batch[place], spoilt);
            assert_eq!(in_one_piece(|| bad_of(&batch)), [place], "of {size} by {signers}");
            batch[place] = kept;
        }
    }
}

#[test]
fn batches_of_every_size_hold_with_crafted_good_ones_and_name_all_of_several_bad_ones() {
    let good = honest(SIZES[SIZES.len() - 1], 700);
    let (crafted, bad) = (cases::crafted_good(), cases::one_of_each_bad_kind());
    for size in SIZES {
        let mut batch = good[..size].to_vec();
        let mut places =
            [0, 1, size / 3, size / 2, size / 2 + 1, size - 1].map(|place| place % size).to_vec();
        places.sort_unstable();
        places.dedup();
        for (number, &place) in places.iter().enumerate() {
            batch[place] = crafted[(number * 7 + size) % crafted.len()].clone();
        }
        assert_eq!(bad_of(&batch), ALL_GOOD, "crafted ones among {size}");
        assert!(batch_of_zebra(&batch) && (size > 600 || batch_of_consensus(&batch)));
        for (number, &place) in places.iter().enumerate() {
            batch[place] = bad[(number + size) % bad.len()].clone();
        }
        assert_eq!(bad_of(&batch), places, "bad ones among {size}");
        assert_eq!(in_one_piece(|| bad_of(&batch)), places, "bad ones among {size}, in one piece");
    }
}

#[test]
fn a_batch_of_nothing_but_bad_ones_names_all_of_them() {
    let bad = cases::one_of_each_bad_kind();
    for size in [1, 2, 8, 63, 64, 65, 600, 1_025] {
        let batch: Vec<Case> = bad.iter().cycle().take(size).cloned().collect();
        assert_eq!(bad_of(&batch), (0..size).collect::<Vec<_>>());
    }
}

#[test]
fn errors_that_cancel_out_without_secret_coefficients_are_all_found() {
    // Errors of s, of R and of both, as 1 -1, and as 1 -3 3 -1, which also cancels out when the coefficients count up.
    for (kind, weights) in (0..3).flat_map(|kind| [(kind, &[1, -1][..]), (kind, &[1, -3, 3, -1])]) {
        for (size, first, step) in
            [(weights.len(), 0, 1), (8, 2, 1), (64, 10, 7), (700, 3, 1), (700, 0, 230), (2_100, 600, 490)]
        {
            let mut batch = honest(size, 9);
            let places: Vec<usize> = (0..weights.len()).map(|i| (first + i * step) % size).collect();
            for (&place, case) in places.iter().zip(cancelling(kind, weights, (size + first) as u64)) {
                batch[place] = case;
            }
            let mut expected = places.clone();
            expected.sort_unstable();
            assert_eq!(
                in_one_piece(|| bad_of(&batch)),
                expected,
                "kind {kind}, {weights:?} at {places:?} of {size}"
            );
        }
    }
}

#[test]
fn an_empty_batch_is_valid_and_a_repeated_entry_counts_each_time() {
    assert_eq!(throng::crypto::verify_batch(&[]), Ok(()));
    let (good, bad) = (honest(1, 1)[0].clone(), cases::one_of_each_bad_kind());
    assert_eq!(bad_of(&vec![good.clone(); 5_000]), ALL_GOOD);
    assert_eq!(bad_of(&vec![bad[0].clone(); 5_000]), (0..5_000).collect::<Vec<_>>());
    // The same twice among copies of another, so that all keys and all signatures are equal but these.
    let mut batch = vec![good; 5_000];
    for place in [17, 4_000] {
        batch[place] = bad[0].clone();
    }
    assert_eq!(bad_of(&batch), [17, 4_000]);
}

#[test]
fn a_verdict_does_not_change_from_one_call_to_the_next() {
    let cases = all();
    let batch: Vec<Case> = cases.iter().take(300).map(|(case, _)| case.clone()).collect();
    let first = bad_of(&batch);
    assert_eq!((first.clone(), first.clone()), (bad_of_zebra(&batch), bad_of_consensus(&batch)));
    for _ in 0..4 {
        assert_eq!(bad_of(&batch), first);
    }
}
