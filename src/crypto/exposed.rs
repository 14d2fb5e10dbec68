//! Signing in bulk with keys that everybody may know: for load generators only.
//!
//! A signature spends its time on `R = r·B`. With consecutive nonces each `R` is one addition away from the one before,
//! and many are compressed with one inversion: some ten times faster than signing one at a time. The price is that two
//! signatures of one key give the key away (`r` differs by a known number), so it is for keys that a published seed gives
//! away already. What comes out are valid Ed25519 signatures like any other, and no cheaper to verify.

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::hazmat::ExpandedSecretKey;
use sha2::{Digest, Sha512};

/// A key that is no secret.
pub struct ExposedKey {
    scalar: Scalar,
    public: [u8; 32],
}

impl ExposedKey {
    /// The key of an Ed25519 seed: the same as [`super::signing_key_from_seed`] gives.
    pub fn from_seed(seed: [u8; 32]) -> ExposedKey {
        let scalar = ExpandedSecretKey::from(&seed).scalar;
        ExposedKey { scalar, public: EdwardsPoint::mul_base(&scalar).compress().0 }
    }

    /// The 32-byte public key.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }
}

/// Signs 32-byte digests, each with its key; the nonces count up from one that `start` gives. No two calls may share a
/// `start`, else signatures repeat their `R`.
pub fn sign_exposed(items: &[(&ExposedKey, [u8; 32])], start: &[u8; 32]) -> Vec<[u8; 64]> {
    let first = Scalar::from_bytes_mod_order_wide(&Sha512::digest(start).into());
    let mut point = EdwardsPoint::mul_base(&first);
    let points: Vec<_> = items
        .iter()
        .map(|_| {
            let this = point;
            point += ED25519_BASEPOINT_POINT;
            this
        })
        .collect();
    let mut nonce = first;
    let compressed = EdwardsPoint::compress_batch_alloc(&points);
    let sign = |((key, digest), r): (&(&ExposedKey, [u8; 32]), _)| {
        let curve25519_dalek::edwards::CompressedEdwardsY(r) = r;
        let hash = Sha512::new().chain_update(r).chain_update(key.public).chain_update(digest).finalize();
        let s = nonce + Scalar::from_bytes_mod_order_wide(&hash.into()) * key.scalar;
        nonce += Scalar::ONE;
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&r);
        signature[32..].copy_from_slice(s.as_bytes());
        signature
    };
    items.iter().zip(compressed).map(sign).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{PreparedKey, public_key, signing_key_from_seed, verify};

    #[test]
    fn bulk_signatures_are_valid_under_the_same_key_as_any_other() {
        let keys: Vec<_> = (0..5).map(|seed| ExposedKey::from_seed([seed; 32])).collect();
        let items: Vec<_> = (0..40).map(|item| (&keys[item % 5], [item as u8; 32])).collect();
        let signatures = sign_exposed(&items, &[9; 32]);
        for (item, ((key, digest), signature)) in items.iter().zip(&signatures).enumerate() {
            assert_eq!(key.public(), &public_key(&signing_key_from_seed([(item % 5) as u8; 32])));
            let prepared = PreparedKey::new(key.public()).unwrap();
            assert!(verify(&prepared, digest, signature));
            let signature = ed25519_dalek::Signature::from_bytes(signature);
            let strict = ed25519_dalek::VerifyingKey::from_bytes(key.public()).unwrap();
            strict.verify_strict(digest, &signature).unwrap();
        }
        assert!(sign_exposed(&[], &[9; 32]).is_empty());
    }
}
