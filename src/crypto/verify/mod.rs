//! The one rule for a valid signature: ZIP-215, alone and in batches.
//!
//! A signature `(R, s)` of a message `M` under a key `A` is valid exactly when
//!
//! - `A` and `R` decode to points of the curve; an encoding whose `y` is not reduced, or that puts a sign on
//!   `x = 0`, is allowed;
//! - `s < l`, the order of the base point `B`;
//! - `[8](s·B − R − k·A) = 0` with `k = SHA-512(R ‖ A ‖ M) mod l` over the bytes as they came.
//!
//! Source: ZIP 215 of the Zcash project, "Explicitly Defining and Modifying Ed25519 Validation Rules", after
//! de Valence, "It's 255:19AM. Do you know what your validation criteria are?" (2020).
//!
//! Three ways lead to the same verdict. [`verify`] evaluates the equation for one signature. [`verify_batch`]
//! evaluates a random combination of many, and searches when it does not hold. [`KeySet`] keeps tables of
//! multiples for keys that stay, such as those of validators.
//!
//! Tried, and no help (one core, AVX2): Straus' method beyond the length where the library leaves it (13.3 µs per
//! signature for 128, as against 8.4); the library's tables for keys that stay (12.5 µs a multiple and 1 ms to make,
//! as against 9 µs and 0.2 ms); for them also a multiplication with precomputed `{B, Aⱼ}` (for 16 seats: 16
//! signatures 2 µs less each, four of them 7 µs more).

mod batch;
mod bisect;
mod key_set;

#[cfg(test)]
mod tests;

pub use batch::verify_batch;
#[cfg(test)]
pub(super) use batch::{bad_in_pieces, coefficients};
pub use key_set::{Claim, KeySet, TABLES_MAX};

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use sha2::{Digest, Sha512};

/// A public key ready for verification: its bytes, and the point that they decode to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreparedKey {
    bytes: [u8; 32],
    point: EdwardsPoint,
}

impl PreparedKey {
    /// Decompresses a key (about 4 µs). `None` when the bytes are not a point: then no signature under this key
    /// is valid. Encodings that are not canonical and points of small order are keys, as ZIP-215 wants.
    pub fn new(bytes: &[u8; 32]) -> Option<Self> {
        decompress(bytes).map(|point| Self { bytes: *bytes, point })
    }

    /// The key as it came: it is these bytes, not the point, that the signature's hash covers.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Puts together what [`PreparedKey::new`] computed for the same bytes before.
    pub(super) fn from_parts(bytes: [u8; 32], point: EdwardsPoint) -> Self {
        Self { bytes, point }
    }
}

/// The point of an encoding, canonical or not.
pub(super) fn decompress(bytes: &[u8; 32]) -> Option<EdwardsPoint> {
    CompressedEdwardsY(*bytes).decompress()
}

/// One signature of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// Who is said to have signed.
    pub key: PreparedKey,
    /// The digest under its domain.
    pub message: [u8; 32],
    /// `R`, then `s`.
    pub signature: &'a [u8; 64],
}

/// Whether one signature is valid by ZIP-215: `A` and `R` are points in any encoding, `s < l`, and
/// `[8](s·B − R − k·A) = 0` with `k = SHA-512(R ‖ A ‖ M) mod l`.
pub fn verify(key: &PreparedKey, message: &[u8; 32], signature: &[u8; 64]) -> bool {
    Terms::new(&key.bytes, message, signature).is_some_and(|terms| terms.hold(key))
}

/// A well-formed signature: what the equation needs beside the key.
struct Terms {
    r: EdwardsPoint,
    s: Scalar,
    k: Scalar,
}

impl Terms {
    /// `None` when `s` is not below `l` or `R` is not a point: bad, whatever the key.
    fn new(key: &[u8; 32], message: &[u8; 32], signature: &[u8; 64]) -> Option<Self> {
        let (r_bytes, s_bytes) = halves(signature);
        let s = in_range(s_bytes)?;
        let r = decompress(&r_bytes)?;
        Some(Self { r, s, k: challenge(&r_bytes, key, message) })
    }

    /// The equation for this one signature.
    fn hold(&self, key: &PreparedKey) -> bool {
        let sum = EdwardsPoint::vartime_double_scalar_mul_basepoint(&self.k, &key.point, &-self.s) + self.r;
        is_zero(&sum)
    }
}

/// Whether a sum of the equation's terms counts as zero: after the multiplication by the cofactor, so that points
/// of small order never matter.
fn is_zero(sum: &EdwardsPoint) -> bool {
    sum.mul_by_cofactor().is_identity()
}

/// `R` and `s` of a signature.
fn halves(signature: &[u8; 64]) -> ([u8; 32], [u8; 32]) {
    let (mut r, mut s) = ([0; 32], [0; 32]);
    r.copy_from_slice(&signature[..32]);
    s.copy_from_slice(&signature[32..]);
    (r, s)
}

/// `s`, if it is below `l`.
fn in_range(s: [u8; 32]) -> Option<Scalar> {
    Scalar::from_canonical_bytes(s).into()
}

/// `k` of the equation.
fn challenge(r: &[u8; 32], key: &[u8; 32], message: &[u8; 32]) -> Scalar {
    let digest = Sha512::new().chain_update(r).chain_update(key).chain_update(message).finalize();
    Scalar::from_bytes_mod_order_wide(&digest.into())
}
