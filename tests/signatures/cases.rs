//! Signatures, honest and crafted, each with the verdict that its construction implies.

use std::sync::LazyLock;

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::Identity;
use sha2::{Digest, Sha512};
use throng::crypto::{Domain, SigningKey, hash, public_key, sign, signing_key_from_seed};

use crate::curve::{l_times, plus, small_order_encodings, torsion};

/// Everything that a verdict depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub key: [u8; 32],
    pub message: [u8; 32],
    pub signature: [u8; 64],
}

/// A case, and whether it is valid.
pub type Judged = (Case, bool);

impl Case {
    pub fn s(&self) -> [u8; 32] {
        self.signature[32..].try_into().expect("half of 64")
    }

    fn r(&self) -> [u8; 32] {
        self.signature[..32].try_into().expect("half of 64")
    }

    fn with_s(mut self, s: [u8; 32]) -> Self {
        self.signature[32..].copy_from_slice(&s);
        self
    }

    fn with_r(mut self, r: [u8; 32]) -> Self {
        self.signature[..32].copy_from_slice(&r);
        self
    }

    fn new(key: [u8; 32], r: [u8; 32], s: Scalar, message: [u8; 32]) -> Self {
        Self { key, message, signature: [0; 64] }.with_r(r).with_s(s.to_bytes())
    }

    /// As an adversary signs who knows both scalars and adds what he likes to the key and to R, before the hash.
    fn forged((secret, nonce): (Scalar, Scalar), key: [u8; 32], r: [u8; 32], message: [u8; 32]) -> Self {
        Self::new(key, r, nonce + challenge(&key, &r, &message) * secret, message)
    }
}

fn challenge(key: &[u8; 32], r: &[u8; 32], message: &[u8; 32]) -> Scalar {
    let hash = Sha512::new().chain_update(r).chain_update(key).chain_update(message).finalize();
    Scalar::from_bytes_mod_order_wide(&hash.into())
}

fn numbered(kind: u8, number: u64) -> [u8; 32] {
    hash(Domain::Draw, &[&[kind], &number.to_le_bytes()])
}

fn scalar(kind: u8, number: u64) -> Scalar {
    Scalar::from_bytes_mod_order(numbered(kind, number))
}

fn shifted(scalar: &Scalar, by: EdwardsPoint) -> [u8; 32] {
    (EdwardsPoint::mul_base(scalar) + by).compress().to_bytes()
}

/// `count` honest signatures over different messages, by `signers` keys in turn.
pub fn honest(count: usize, signers: usize) -> Vec<Case> {
    static KEYS: LazyLock<Vec<(SigningKey, [u8; 32])>> = LazyLock::new(|| {
        let key = |i| signing_key_from_seed(numbered(0, i));
        (0..1_000).map(key).map(|key| (key.clone(), public_key(&key))).collect()
    });
    let case = |i: usize| {
        let (key, public) = &KEYS[i % signers];
        let message = numbered(1, i as u64);
        Case { key: *public, message, signature: sign(key, &message) }
    };
    (0..count).map(case).collect()
}

/// One bit changed: 256 of the key, then 256 of the message, 512 of the signature.
pub fn flipped(case: &Case, bit: usize) -> Case {
    let mut case = case.clone();
    let byte = match bit / 8 {
        at @ 0..32 => &mut case.key[at],
        at @ 32..64 => &mut case.message[at - 32],
        at => &mut case.signature[at - 64],
    };
    *byte ^= 1 << (bit % 8);
    case
}

/// The 14 encodings of points of small order as key, with the 14 as R, and s = 0.
pub fn small_order() -> Vec<Judged> {
    let encodings = small_order_encodings();
    let pairs = encodings.iter().flat_map(|key| encodings.iter().map(move |r| (*key, *r)));
    pairs.map(|(key, r)| (Case::new(key, r, Scalar::ZERO, numbered(2, key[0].into())), true)).collect()
}

/// The 14 encodings as key under an honest R, and as R under an honest key.
pub fn half_small_order() -> Vec<Judged> {
    let (secret, nonce, message) = (scalar(3, 0), scalar(3, 1), numbered(3, 2));
    let (key, r) = (shifted(&secret, EdwardsPoint::identity()), shifted(&nonce, EdwardsPoint::identity()));
    let both = |small: [u8; 32]| {
        [
            Case::forged((Scalar::ZERO, nonce), small, r, message),
            Case::forged((secret, Scalar::ZERO), key, small, message),
        ]
    };
    small_order_encodings().into_iter().flat_map(both).map(|case| (case, true)).collect()
}

/// Each point of the torsion group added to the key, with each added to R.
pub fn torsioned() -> Vec<Judged> {
    let torsion = torsion();
    let pairs = torsion.iter().flat_map(|in_key| torsion.iter().map(move |in_r| (*in_key, *in_r)));
    let case = |(number, (in_key, in_r))| {
        let scalars = (scalar(4, number % 3), scalar(5, number));
        let (key, r) = (shifted(&scalars.0, in_key), shifted(&scalars.1, in_r));
        (Case::forged(scalars, key, r, numbered(4, number)), true)
    };
    (0..).zip(pairs).map(case).collect()
}

/// Every s that proves the same modulo l: of an honest signature, of one with s = 0, and of one with s = l - 1, the
/// greatest; and s with all bits set.
pub fn out_of_range() -> Vec<Judged> {
    let message = numbered(6, 0);
    let small = small_order_encodings()[0];
    let zero = Case::new(small, small, Scalar::ZERO, message);
    let greatest = Case::new(small, shifted(&-Scalar::ONE, torsion()[5]), -Scalar::ONE, message);
    let mut cases = Vec::new();
    for case in [honest(1, 1).remove(0), zero, greatest] {
        let sums = (0..=u8::MAX).map_while(|times| plus(&case.s(), &l_times(times)?));
        cases.extend(sums.enumerate().map(|(times, s)| (case.clone().with_s(s), times == 0)));
        cases.push((case.with_s([0xff; 32]), false));
    }
    cases
}

/// Bytes in the place of the key, of R, and of both, of an otherwise honest signature, which that makes bad whatever
/// point they are.
pub fn with_point(bytes: &[u8; 32]) -> Vec<Judged> {
    let good = honest(1, 1).remove(0);
    let cases = [
        Case { key: *bytes, ..good.clone() },
        good.clone().with_r(*bytes),
        Case { key: *bytes, ..good.clone().with_r(*bytes) },
    ];
    cases.map(|case| (case, false)).to_vec()
}

/// Bytes that are no point in the place of R and of the key, with an `s` that would be right if they stood for the
/// neutral element, as from a decoder whose failure is overlooked.
pub fn as_if_neutral(bytes: &[u8; 32]) -> Vec<Judged> {
    let (secret, nonce, message) = (scalar(12, 0), scalar(12, 1), numbered(12, bytes[0].into()));
    let (key, r) = (shifted(&secret, EdwardsPoint::identity()), shifted(&nonce, EdwardsPoint::identity()));
    let small = small_order_encodings()[6];
    let cases = [
        Case::forged((secret, Scalar::ZERO), key, *bytes, message),
        Case::forged((Scalar::ZERO, nonce), *bytes, r, message),
        Case::new(small, *bytes, Scalar::ZERO, message),
        Case::new(*bytes, small, Scalar::ZERO, message),
        Case::new(*bytes, *bytes, Scalar::ZERO, message),
    ];
    cases.map(|case| (case, false)).to_vec()
}

/// Signatures whose errors add up to nothing: of the equation's left sides, `weights` times one and the same point.
/// Kind 0 has the error in s, kind 1 in R, kind 2 a part in each.
pub fn cancelling(kind: usize, weights: &[i8], number: u64) -> Vec<Case> {
    let error = scalar(7, number);
    let weighted = |weight: &i8| {
        let size = error * Scalar::from(weight.unsigned_abs());
        if *weight < 0 { -size } else { size }
    };
    let case = |(turn, weight)| {
        // Two by different keys; more by one and the same, so that they stay side by side where keys are sorted.
        let signer = if weights.len() == 2 { number + turn } else { number };
        let scalars @ (secret, nonce) = (scalar(8, signer), scalar(9, number * 16 + turn));
        let (error, none) = (weighted(weight), EdwardsPoint::identity());
        let message = numbered(10, number * 16 + turn);
        let (key, honest_r) = (shifted(&secret, none), shifted(&nonce, none));
        let (in_s, in_r) = match kind {
            0 => (error, Scalar::ZERO),
            1 => (Scalar::ZERO, error),
            _ => (error + scalar(11, turn), -scalar(11, turn)),
        };
        let r = if kind == 0 { honest_r } else { shifted(&(nonce - in_r), none) };
        let off = Case::forged(scalars, key, r, message);
        let s = Scalar::from_bytes_mod_order(off.s()) + in_s;
        off.with_s(s.to_bytes())
    };
    (0..).zip(weights).map(case).collect()
}

/// Valid signatures that only an adversary makes.
pub fn crafted_good() -> Vec<Case> {
    let judged = [small_order(), half_small_order(), torsioned()].concat();
    judged.into_iter().map(|(case, _)| case).collect()
}

/// A signature by whoever knows the key, right but for R, which is the negative: the last bit of its bytes alone differs
/// from those of the R that the equation wants.
fn opposite_r() -> Case {
    let (scalars, none) = ((scalar(13, 0), scalar(13, 1)), EdwardsPoint::identity());
    let (key, r) = (shifted(&scalars.0, none), shifted(&-scalars.1, none));
    Case::forged(scalars, key, r, numbered(13, 2))
}

/// Bad signatures: wrong message, key, R and s, R off the curve, s out of range, R and s of different signatures.
pub fn one_of_each_bad_kind() -> Vec<Case> {
    let good = honest(40, 40);
    let off_curve = (2..).map(|y| crate::curve::encoding(y, false, false));
    let off_curve =
        off_curve.into_iter().find(|bytes| !crate::oracle::decodes(bytes)).expect("y = 2 or soon after");
    let torsioned = &torsioned()[27].0;
    vec![
        Case { message: good[1].message, ..good[0].clone() },
        Case { key: good[3].key, ..good[2].clone() },
        good[4].clone().with_r(good[5].r()),
        good[6].clone().with_s(good[7].s()),
        good[8].clone().with_r(off_curve),
        good[9].clone().with_s(plus(&good[9].s(), &l_times(1).expect("fits")).expect("fits")),
        Case { signature: good[11].signature, ..good[10].clone() },
        as_if_neutral(&off_curve)[0].0.clone(),
        as_if_neutral(&off_curve)[2].0.clone(),
        opposite_r(),
        flipped(torsioned, 8 * 32),
        good[12].clone().with_s([0; 32]),
        good[13].clone().with_r(small_order_encodings()[3]),
        Case { key: small_order_encodings()[5], ..good[14].clone() },
        Case { key: [0xff; 32], message: [0; 32], signature: [0xff; 64] },
    ]
}

/// Every kind together: a few hundred valid ones and as many bad ones, in a mixed order.
pub fn all() -> Vec<Judged> {
    let bad = one_of_each_bad_kind().into_iter().map(|case| (case, false));
    let cancelling = (0..3).flat_map(|kind| cancelling(kind, &[1, -1], 77)).map(|case| (case, false));
    let honest = honest(40, 7).into_iter().map(|case| (case, true));
    let flipped = (0..256).map(|bit| (flipped(&crate::cases::honest(1, 1)[0], 4 * bit + 1), false));
    let mut all: Vec<Judged> =
        small_order().into_iter().chain(half_small_order()).chain(torsioned()).collect();
    let off_curve = (2..20).map(|y| crate::curve::encoding(y, false, y % 3 == 0));
    let off_curve = off_curve.filter(|bytes| !crate::oracle::decodes(bytes));
    all.extend(off_curve.flat_map(|bytes| as_if_neutral(&bytes)));
    all.extend(out_of_range().into_iter().chain(bad).chain(cancelling).chain(honest).chain(flipped));
    all.sort_by_key(|(case, _)| hash(Domain::Draw, &[&case.key, &case.message, &case.signature]));
    all
}
