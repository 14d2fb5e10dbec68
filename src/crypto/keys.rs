//! Signing keys and signing, of which only clients and a validator's own identity have need.
//!
//! What is signed is always a 32-byte digest under a domain of [`super::hash()`], so that the message fits into one
//! SHA-512 block together with `R` and `A`.

use ed25519_dalek::Signer;

pub use ed25519_dalek::SigningKey;

/// The signing key of an Ed25519 seed (RFC 8032, §5.1.5).
pub fn signing_key_from_seed(seed: [u8; 32]) -> SigningKey {
    SigningKey::from_bytes(&seed)
}

/// The 32-byte public key: canonical, and of prime order.
pub fn public_key(key: &SigningKey) -> [u8; 32] {
    key.verifying_key().to_bytes()
}

/// The signature of a digest: `R`, then `s` (RFC 8032, §5.1.6). The same key and digest give the same bytes.
pub fn sign(key: &SigningKey, digest: &[u8; 32]) -> [u8; 64] {
    key.sign(digest).to_bytes()
}
