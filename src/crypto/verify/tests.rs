//! The search in a failing batch, counted in work, and keys that stay against the single check.

use std::cell::Cell;

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::traits::Identity;
use proptest::prelude::*;

use super::batch::{PIECE_MIN, bad_in_piece};
use super::bisect::{LEAF, SHORT};
use super::key_set::BATCH_FROM;
use super::*;
use crate::crypto::{Domain, hash, plain, public_key, sign, signing_key_from_seed};

/// What was done on this thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Work {
    /// Points that entered a multi-scalar multiplication.
    multiplied: usize,
    /// Signatures checked alone.
    alone: usize,
}

thread_local! {
    static WORK: Cell<Work> = const { Cell::new(Work { multiplied: 0, alone: 0 }) };
}

/// Points that enter a multiplication.
pub(super) fn count_multiplied(points: usize) {
    WORK.set(Work { multiplied: WORK.get().multiplied + points, ..WORK.get() });
}

/// Signatures that are checked alone, counted where the checks are handed out.
pub(super) fn count_alone(signatures: usize) {
    WORK.set(Work { alone: WORK.get().alone + signatures, ..WORK.get() });
}

/// The bad ones of one piece, and what it took to find them.
fn search(items: &[Item<'_>]) -> (Vec<usize>, Work) {
    WORK.set(Work::default());
    (bad_in_piece(items), WORK.get())
}

/// Honest signatures, by `signers` keys in turn.
struct Signed {
    keys: Vec<PreparedKey>,
    messages: Vec<[u8; 32]>,
    signatures: Vec<[u8; 64]>,
}

impl Signed {
    fn new(count: usize, signers: usize) -> Self {
        let numbered = |i: usize| plain(&(i as u64).to_le_bytes());
        let secrets: Vec<_> = (0..signers).map(|i| signing_key_from_seed(numbered(i))).collect();
        let messages: Vec<_> = (0..count).map(|i| hash(Domain::Transaction, &[&numbered(i)])).collect();
        let key = |i: usize| PreparedKey::new(&public_key(&secrets[i % signers])).expect("a real key");
        Self {
            keys: (0..signers).map(key).collect(),
            signatures: (0..count).map(|i| sign(&secrets[i % signers], &messages[i])).collect(),
            messages,
        }
    }

    /// Makes a well-formed signature a bad one, or a good one again.
    fn spoil(&mut self, index: usize) {
        self.messages[index][0] ^= 1;
    }

    fn items(&self) -> Vec<Item<'_>> {
        let parts = self.messages.iter().zip(&self.signatures).enumerate();
        let item = |(i, (message, signature)): (usize, (&[u8; 32], _))| Item {
            key: self.keys[i % self.keys.len()],
            message: *message,
            signature,
        };
        parts.map(item).collect()
    }

    fn claims(&self) -> Vec<Claim<'_>> {
        let parts = self.messages.iter().zip(&self.signatures).enumerate();
        let claim = |(i, (message, signature)): (usize, (&[u8; 32], _))| Claim {
            signer: i % self.keys.len(),
            message: *message,
            signature,
        };
        parts.map(claim).collect()
    }

    fn key_set(&self) -> KeySet {
        KeySet::new(self.keys.iter().map(PreparedKey::bytes))
    }
}

/// What a batch of good ones takes: the yardstick.
fn work_of_good(signed: &Signed) -> usize {
    let (bad, work) = search(&signed.items());
    assert_eq!((bad, work.alone), (vec![], 0));
    work.multiplied
}

#[test]
fn one_bad_signature_among_4096_costs_less_than_three_batches_wherever_it_is() {
    for signers in [4096, 64] {
        let mut signed = Signed::new(4096, signers);
        let good = work_of_good(&signed);
        for index in [0, 1, 17, 2047, 2048, 4095] {
            signed.spoil(index);
            let (bad, work) = search(&signed.items());
            assert_eq!(bad, [index]);
            // Where keys are few, each short range names most of them again, so it is not quite twice.
            assert!(work.multiplied <= 5 * good / 2, "{work:?} after {good}");
            assert!(work.alone <= LEAF);
            signed.spoil(index);
        }
    }
}

#[test]
fn a_batch_full_of_bad_signatures_gives_up_after_two_levels() {
    for (count, multiplications) in [(4096, 2.0), (SHORT, 2.0), (SHORT - 1, 1.5), (LEAF, 1.0)] {
        let mut signed = Signed::new(count, count);
        let good = work_of_good(&signed);
        (0..count).for_each(|index| signed.spoil(index));
        let (bad, work) = search(&signed.items());
        assert_eq!(bad, (0..count).collect::<Vec<_>>());
        assert_eq!(work.alone, count);
        assert!(work.multiplied as f64 <= 1.01 * multiplications * good as f64, "{count}: {work:?}");
    }
}

#[test]
fn a_few_bad_signatures_are_found_without_checking_most_of_the_batch_alone() {
    let mut signed = Signed::new(2048, 2048);
    let good = work_of_good(&signed);
    let bad = [3, 5];
    bad.iter().for_each(|&index| signed.spoil(index));
    let (found, work) = search(&signed.items());
    assert_eq!(found, bad);
    assert!(work.multiplied <= 3 * good && work.alone <= 256, "{work:?}");
}

#[test]
fn bad_signatures_at_every_kind_of_position_are_named_alone_and_in_pairs() {
    for count in [2, 3, LEAF, LEAF + 1] {
        let mut signed = Signed::new(count, 3);
        for first in 0..count {
            for second in [first, (first + 1) % count, count - 1 - first, count / 2] {
                let mut expected = vec![first, second];
                expected.sort_unstable();
                expected.dedup();
                expected.iter().for_each(|&index| signed.spoil(index));
                assert_eq!(search(&signed.items()).0, expected, "{count}");
                expected.iter().for_each(|&index| signed.spoil(index));
            }
        }
    }
}

#[test]
fn one_bad_signature_in_each_piece_is_named_by_every_split_and_number_of_threads() {
    let mut signed = Signed::new(2 * PIECE_MIN + 100, 7);
    let bad: Vec<usize> = (0..signed.messages.len()).step_by(97).collect();
    bad.iter().for_each(|&index| signed.spoil(index));
    for size in [97, 300, PIECE_MIN, 5000] {
        assert_eq!(batch::bad_in_pieces(&signed.items(), size), bad, "{size}");
    }
    for threads in [1, 2, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a small pool starts");
        assert_eq!(pool.install(|| verify_batch(&signed.items())), Err(bad.clone()), "{threads}");
    }
}

#[test]
fn pieces_are_equal_and_a_multiple_of_the_threads() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("a small pool starts");
    let sizes = [(0, 1), (1, 1), (1023, 1023), (1024, 512), (8192, 4096), (10_000, 2500), (16_384, 4096)];
    for (items, size) in sizes {
        assert_eq!(pool.install(|| batch::piece_size(items)), size, "{items}");
    }
}

#[test]
fn malformed_signatures_are_named_beside_bad_ones() {
    let mut signed = Signed::new(100, 100);
    for index in [0, 50, 99] {
        signed.signatures[index][32..].fill(0xff); // s out of range
    }
    assert_eq!(search(&signed.items()).0, [0, 50, 99]);
    signed.spoil(7);
    signed.signatures[8][..32].copy_from_slice(&not_a_point());
    assert_eq!(search(&signed.items()).0, [0, 7, 8, 50, 99]);
}

#[test]
fn equal_first_bytes_of_different_keys_do_not_confuse_them() {
    // Two encodings of the identity that begin alike, and a stranger's signature between them.
    let (plus, minus) = (encoding_of_one(false), encoding_of_one(true));
    let signed = Signed::new(1, 1);
    let zero = [plus.as_slice(), &[0; 32]].concat().try_into().expect("64 bytes");
    let small = |key: [u8; 32]| Item {
        key: PreparedKey::new(&key).expect("a point"),
        message: [0; 32],
        signature: &zero,
    };
    let mut items = vec![small(plus), small(minus), signed.items()[0], small(plus), small(minus)];
    assert_eq!(verify_batch(&items), Ok(()));
    items[2].key = items[0].key;
    assert_eq!(verify_batch(&items), Err(vec![2]));
}

#[test]
fn keys_that_differ_in_the_sign_alone_are_not_merged() {
    // A and -A: 31 equal bytes, different points, and who knows one's secret knows the other's.
    let secret = Scalar::from(77_u8);
    let signed: Vec<([u8; 32], [u8; 64])> = (0..16_u8)
        .map(|number| {
            let secret = if number % 2 == 0 { secret } else { -secret };
            let nonce = Scalar::from(1_000 + u64::from(number));
            let key = EdwardsPoint::mul_base(&secret).compress().to_bytes();
            let r = EdwardsPoint::mul_base(&nonce).compress().to_bytes();
            let s = nonce + challenge(&r, &key, &plain(&[number])) * secret;
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&r);
            signature[32..].copy_from_slice(s.as_bytes());
            (key, signature)
        })
        .collect();
    assert_eq!(signed[0].0[..31], signed[1].0[..31]);
    assert_ne!(signed[0].0, signed[1].0);
    let items: Vec<Item<'_>> = (0..16_u8)
        .zip(&signed)
        .map(|(number, (key, signature))| Item {
            key: PreparedKey::new(key).expect("a point"),
            message: plain(&[number]),
            signature,
        })
        .collect();
    // None was checked alone: a search after a wrong sum would hide the mistake.
    let (bad, work) = search(&items);
    assert_eq!((bad, work.alone), (vec![], 0));
}

fn encoding_of_one(sign: bool) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = 1;
    bytes[31] = u8::from(sign) << 7;
    bytes
}

fn not_a_point() -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = 2;
    bytes
}

/// The verdicts of the single check, of the tables and of the batch; they are the same.
fn verdicts(set: &KeySet, claims: &[Claim<'_>]) -> Vec<usize> {
    let single = |claim: &Claim<'_>| {
        let key = set.keys.get(claim.signer).and_then(|kept| Some(kept.as_ref()?.key));
        key.is_some_and(|key| verify(&key, &claim.message, claim.signature))
    };
    let bad: Vec<usize> = (0..claims.len()).filter(|&index| !single(&claims[index])).collect();
    assert_eq!(set.bad(claims), bad);
    assert_eq!(set.bad_by_tables(claims), bad);
    assert_eq!(set.bad_in_batch(claims), bad);
    for (index, claim) in claims.iter().enumerate() {
        let good = set.verify(claim.signer, &claim.message, claim.signature);
        assert_eq!(good, !bad.contains(&index), "{claim:?}");
    }
    bad
}

#[test]
fn keys_that_stay_give_the_verdict_of_single_checks_at_every_count() {
    for seats in [1, 4, TABLES_MAX, TABLES_MAX + 1] {
        let mut signed = Signed::new(20, seats);
        let set = signed.key_set();
        assert_eq!(set.len(), seats);
        for index in [2, 11] {
            signed.spoil(index);
        }
        for count in 0..20 {
            let expected: Vec<usize> = [2, 11].into_iter().filter(|&index| index < count).collect();
            assert_eq!(verdicts(&set, &signed.claims()[..count]), expected);
        }
        let tables = set.keys.iter().flatten().filter(|kept| kept.table.get().is_some()).count();
        assert!(seats <= TABLES_MAX && tables == seats.min(20) || tables > 0, "{seats}: {tables}");
    }
}

#[test]
fn a_large_set_makes_no_tables_in_use() {
    let signed = Signed::new(TABLES_MAX + 1, TABLES_MAX + 1);
    let set = signed.key_set();
    for claims in signed.claims().chunks(5) {
        assert!(set.bad(claims).is_empty());
    }
    assert!(set.keys.iter().flatten().all(|kept| kept.table.get().is_none()));
}

#[test]
fn few_claims_use_tables_and_many_a_multiplication() {
    let signed = Signed::new(BATCH_FROM, BATCH_FROM);
    let (set, claims) = (signed.key_set(), signed.claims());
    let tables = || set.keys.iter().flatten().filter(|kept| kept.table.get().is_some()).count();
    assert!(set.bad(&claims).is_empty());
    assert_eq!(tables(), 0);
    assert!(set.bad(&claims[1..]).is_empty());
    assert_eq!(tables(), BATCH_FROM - 1);
}

#[test]
fn a_place_without_a_key_or_with_bytes_that_are_no_point_has_no_valid_signature() {
    let signed = Signed::new(1, 1);
    let set = KeySet::new([&not_a_point(), signed.keys[0].bytes()]);
    let claim = |signer| Claim { signer, ..signed.claims()[0] };
    assert_eq!(verdicts(&set, &[claim(0), claim(1), claim(2), claim(usize::MAX)]), [0, 2, 3]);
}

#[test]
fn keys_that_stay_accept_what_the_cofactor_accepts() {
    let base = EdwardsPoint::mul_base(&Scalar::from(77_u8));
    // Keys of small order, with small-order parts, and the identity with a sign.
    let mut keys: Vec<[u8; 32]> = EIGHT_TORSION.iter().map(|t| t.compress().to_bytes()).collect();
    keys.extend(EIGHT_TORSION.iter().map(|t| (base + t).compress().to_bytes()));
    keys.push(encoding_of_one(true));
    let set = KeySet::new(&keys);
    let mut signed = Vec::new();
    for (signer, key) in keys.iter().enumerate() {
        for in_r in EIGHT_TORSION {
            let nonce = Scalar::from(99_u8);
            let message = plain(&[signer as u8]);
            let r = (EdwardsPoint::mul_base(&nonce) + in_r).compress().to_bytes();
            let secret = if (8..16).contains(&signer) { Scalar::from(77_u8) } else { Scalar::ZERO };
            let s = nonce + challenge(&r, key, &message) * secret;
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&r);
            signature[32..].copy_from_slice(s.as_bytes());
            signed.push((signer, message, signature));
        }
    }
    let claim =
        |(signer, message, signature): &'_ (usize, [u8; 32], [u8; 64])| (*signer, *message, *signature);
    let all: Vec<_> = signed.iter().map(claim).collect();
    let claims: Vec<Claim<'_>> = all
        .iter()
        .map(|(signer, message, signature)| Claim { signer: *signer, message: *message, signature })
        .collect();
    assert!(verdicts(&set, &claims).is_empty());
    // The same claims, each by the next key: bad, unless both keys are of small order.
    let moved: Vec<Claim<'_>> =
        claims.iter().map(|claim| Claim { signer: (claim.signer + 8) % keys.len(), ..*claim }).collect();
    assert!(!verdicts(&set, &moved).is_empty());
}

#[test]
fn a_table_multiplies_by_the_edges_of_scalars() {
    let point = EdwardsPoint::mul_base(&Scalar::from(5_u8)) + EIGHT_TORSION[3];
    let (wide, narrow) = (Table8::new(point), Table5::new(point));
    let mut scalars: Vec<Scalar> = (0..=300_u64).map(Scalar::from).collect();
    scalars.extend((0..=300_u64).map(|i| -Scalar::from(i)));
    scalars.extend((0..253).map(|bit| {
        let mut bytes = [0; 32];
        bytes[bit / 8] = 1 << (bit % 8);
        Scalar::from_bytes_mod_order(bytes) - Scalar::ONE
    }));
    for scalar in scalars {
        let expected = point * scalar;
        assert_eq!(wide.multiplied(&scalar), expected);
        assert_eq!(narrow.multiplied(&scalar), expected);
    }
    assert_eq!(wide.multiplied(&Scalar::ZERO), EdwardsPoint::identity());
}

type Table8 = key_set::Table<8>;
type Table5 = key_set::Table<5>;

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_get_one_verdict_from_keys_that_stay(
        flips in prop::collection::vec((0..20_usize, 0..96_usize, 0..8_u8), 0..12),
    ) {
        let mut signed = Signed::new(20, 3);
        for (index, byte, bit) in flips {
            match byte.checked_sub(64) {
                None => signed.signatures[index][byte] ^= 1 << bit,
                Some(byte) => signed.messages[index][byte] ^= 1 << bit,
            }
        }
        let set = signed.key_set();
        for claims in signed.claims().chunks(7) {
            verdicts(&set, claims);
        }
        verdicts(&set, &signed.claims());
    }
}
