//! Signatures: a recipe makes honest, crafted and bad ones; single checks, batches, chunks of batches and sets of keys
//! must give the verdicts of `ed25519-zebra`.
//!
//! The recipe: how long chunks are, then one entry after the other: what it is, followed by what that needs. Bytes that
//! are missing at the end read as zero.

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use sha2::{Digest, Sha512};
use std::sync::LazyLock;
use throng::crypto::{Claim, Item, KeySet, PreparedKey, plain, verify, verify_batch};

#[path = "../../tests/signatures/curve.rs"]
mod curve;

/// Most entries (and up to 63 repetitions of the last): enough for a batch whose search goes two levels down, and quick.
const ENTRIES_MAX: usize = 80;

/// What makes points that no honest signer makes.
static TORSION: LazyLock<[EdwardsPoint; 8]> = LazyLock::new(curve::torsion);
static SMALL: LazyLock<Vec<[u8; 32]>> = LazyLock::new(curve::small_order_encodings);

#[derive(Clone, Debug)]
struct Case {
    key: [u8; 32],
    message: [u8; 32],
    signature: [u8; 64],
}

impl Case {
    fn new(key: [u8; 32], r: [u8; 32], s: [u8; 32], message: [u8; 32]) -> Case {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&r);
        signature[32..].copy_from_slice(&s);
        Case { key, message, signature }
    }

    /// A signature by one of a few keys, with points added to the key and to R before the hash, and an error added to s.
    fn signed(signer: u8, number: u8, (in_key, in_r): (u8, u8), error: Scalar) -> Case {
        let scalar = |kind, number| Scalar::from_bytes_mod_order(plain(&[kind, number]));
        let (secret, nonce) = (scalar(0, signer % 5), scalar(1, number));
        let torsion = |index: u8| TORSION[usize::from(index) % TORSION.len()];
        let key = (EdwardsPoint::mul_base(&secret) + torsion(in_key)).compress().to_bytes();
        let r = (EdwardsPoint::mul_base(&nonce) + torsion(in_r)).compress().to_bytes();
        let message = plain(&[2, number]);
        let k = Sha512::new().chain_update(r).chain_update(key).chain_update(message).finalize();
        let s = nonce + Scalar::from_bytes_mod_order_wide(&k.into()) * secret + error;
        Case::new(key, r, s.to_bytes(), message)
    }

    fn flip(&mut self, bit: u16) {
        let bit = usize::from(bit) % 1_024;
        let byte = match bit / 8 {
            at @ 0..32 => &mut self.key[at],
            at @ 32..64 => &mut self.message[at - 32],
            at => &mut self.signature[at - 64],
        };
        *byte ^= 1 << (bit % 8);
    }

    /// Adds so many times l to s, as long as that fits.
    fn lift(&mut self, times: u8) {
        let s: [u8; 32] = std::array::from_fn(|i| self.signature[32 + i]);
        if let Some(sum) = curve::l_times(times % 16).and_then(|l| curve::plus(&s, &l)) {
            self.signature[32..].copy_from_slice(&sum);
        }
    }

    fn of_zebra(&self) -> bool {
        let signature = ed25519_zebra::Signature::from_bytes(&self.signature);
        ed25519_zebra::VerificationKey::try_from(self.key)
            .is_ok_and(|key| key.verify(&signature, &self.message).is_ok())
    }
}

struct Recipe<'a>(&'a [u8]);

impl Recipe<'_> {
    fn byte(&mut self) -> u8 {
        self.bytes::<1>()[0]
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.0.split_at(self.0.len().min(N));
        self.0 = rest;
        std::array::from_fn(|i| taken.get(i).copied().unwrap_or(0))
    }

    /// Appends the next entry to the cases.
    fn entry(&mut self, cases: &mut Vec<Case>) {
        let none = (0, 0);
        match self.byte() % 8 {
            0 => cases.push(Case::signed(self.byte(), self.byte(), none, Scalar::ZERO)),
            1 => {
                let mut case = Case::signed(self.byte(), self.byte(), none, Scalar::ZERO);
                case.flip(u16::from_le_bytes(self.bytes()));
                cases.push(case);
            }
            2 => {
                let mut case = Case::signed(self.byte(), self.byte(), none, Scalar::ZERO);
                case.lift(self.byte());
                cases.push(case);
            }
            3 => {
                let small = |index: u8| SMALL[usize::from(index) % SMALL.len()];
                cases.push(Case::new(small(self.byte()), small(self.byte()), [0; 32], plain(&[self.byte()])));
            }
            4 => {
                let (signer, number, torsion) = (self.byte(), self.byte(), (self.byte(), self.byte()));
                cases.push(Case::signed(signer, number, torsion, Scalar::ZERO));
            }
            5 => cases.push(Case::new(self.bytes(), self.bytes(), self.bytes(), self.bytes())),
            6 => {
                // Two errors that add up to nothing.
                let (signer, number, error) = (self.byte(), self.byte(), Scalar::from(self.byte()));
                cases.push(Case::signed(signer, number, none, error));
                cases.push(Case::signed(signer, number.wrapping_add(1), none, -error));
            }
            _ => {
                // An earlier one again, some times.
                let (index, times) = (usize::from(self.byte()), usize::from(self.byte()) % 64);
                if let Some(case) = cases.get(index % cases.len().max(1)).cloned() {
                    cases.extend(std::iter::repeat_n(case, times));
                }
            }
        }
    }
}

/// A recipe for a batch.
pub fn signatures(bytes: &[u8]) -> bool {
    let mut recipe = Recipe(bytes);
    let (chunk, mut cases) = (usize::from(recipe.byte()).max(1), Vec::new());
    while !recipe.0.is_empty() && cases.len() < ENTRIES_MAX {
        recipe.entry(&mut cases);
    }
    let (mut items, mut bad) = (Vec::new(), Vec::new());
    for case in &cases {
        let (key, expected) = (PreparedKey::new(&case.key), case.of_zebra());
        let valid = key.as_ref().is_some_and(|key| verify(key, &case.message, &case.signature));
        assert_eq!(valid, expected, "{case:?}");
        let Some(key) = key else { continue };
        if !expected {
            bad.push(items.len());
        }
        items.push(Item { key, message: case.message, signature: &case.signature });
    }
    assert_eq!(verify_batch(&items).err().unwrap_or_default(), bad);
    let found = items.chunks(chunk).enumerate().flat_map(|(number, items)| {
        let bad = verify_batch(items).err().unwrap_or_default();
        bad.into_iter().map(move |index| number * chunk + index)
    });
    assert_eq!(found.collect::<Vec<_>>(), bad);
    // The same as claims on keys that stay, few enough at a time for their tables to be used.
    let mut keys: Vec<[u8; 32]> = items.iter().map(|item| *item.key.bytes()).collect();
    keys.sort_unstable();
    keys.dedup();
    let set = KeySet::new(&keys);
    let claim = |item: &Item<'_>| keys.binary_search(item.key.bytes()).map(|signer| (signer, item.message));
    let made: Vec<_> =
        items.iter().map(|item| (claim(item).expect("one of the keys"), item.signature)).collect();
    let claims: Vec<_> = made
        .iter()
        .map(|((signer, message), signature)| Claim { signer: *signer, message: *message, signature })
        .collect();
    let few = 1 + chunk % 7;
    let found = claims.chunks(few).enumerate().flat_map(|(number, some)| {
        let bad = set.bad(some);
        bad.into_iter().map(move |index| number * few + index)
    });
    assert_eq!(found.collect::<Vec<_>>(), bad);
    items.reverse();
    let reversed: Vec<usize> = bad.iter().rev().map(|index| items.len() - 1 - index).collect();
    assert_eq!(verify_batch(&items).err().unwrap_or_default(), reversed);
    !cases.is_empty()
}
