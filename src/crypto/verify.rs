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
//! A batch checks `[8]( Σ zᵢRᵢ + Σ (zᵢkᵢ)Aᵢ − (Σ zᵢsᵢ)B ) = 0` with random `zᵢ` of 128 bits, in one multi-scalar
//! multiplication, as in Bernstein et al., "High-speed high-security signatures" (2012), §5; terms of equal keys
//! are merged. Multiplied by 8, every term lies in the group of prime order, so a batch that holds one bad
//! signature passes with probability 2⁻¹²⁸ at most, and a batch of good ones always passes.
//!
//! The coefficients come from BLAKE3 as a keyed stream: the key is drawn once per process from the operating
//! system, the input is a counter that never repeats. They must not come from a node's seed: who can predict
//! them can make bad signatures cancel out. The verdict does not depend on them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use rayon::prelude::*;
use sha2::{Digest, Sha512};

/// Fewer signatures than this are not worth a thread of their own: the multiplication gains with its length.
const PIECE_MIN: usize = 512;

/// Longest multiplication, in signatures. Beyond it little is gained; it bounds the scratch memory of one
/// piece to about 5 MiB (1.2 KiB per signature).
const PIECE_MAX: usize = 4_096;

/// From this many signatures on one multiplication is faster than single checks: measured 30 against 33 µs per
/// signature for two, 20 for eight, 15 for 64, 12 from 1,024 on (all keys different).
const BATCH_MIN: usize = 2;

/// A public key ready for verification: its bytes, and the point that they decode to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreparedKey {
    bytes: [u8; 32],
    point: EdwardsPoint,
}

impl PreparedKey {
    /// Decompresses a key (about 5 µs). `None` when the bytes are not a point: then no signature under this key
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

/// Whether one signature is valid (module documentation: the rule).
pub fn verify(key: &PreparedKey, message: &[u8; 32], signature: &[u8; 64]) -> bool {
    Terms::new(key, message, signature).is_some_and(|terms| terms.hold(key))
}

/// Whether every signature of a batch is valid, with the verdict that [`verify`] gives on each of them.
///
/// Runs on the current rayon pool: a pool of k threads gets k pieces, but none under 512 signatures. So a batch
/// of fewer than 1,024 stays on the calling thread, and one of fewer than 512 never touches a pool; with more,
/// who calls from outside a pool uses rayon's global one. An empty batch is valid.
///
/// # Errors
/// The indices of every bad item, ascending.
pub fn verify_batch(items: &[Item<'_>]) -> Result<(), Vec<usize>> {
    let pieces = match items.len() / PIECE_MIN {
        0 | 1 => 1, // without asking for the size of the pool: asking would start the global one
        worthwhile => worthwhile.min(rayon::current_num_threads()),
    };
    let size = items.len().div_ceil(pieces).clamp(1, PIECE_MAX);
    let bad = bad_in_pieces(items, size);
    if bad.is_empty() { Ok(()) } else { Err(bad) }
}

/// The bad indices, found in pieces of `size` that run in parallel. The verdict is the same for every size.
pub(super) fn bad_in_pieces(items: &[Item<'_>], size: usize) -> Vec<usize> {
    if items.len() <= size {
        return bad_in_piece(items);
    }
    let bad_of_piece = |(piece, items): (usize, &[Item<'_>])| {
        let first = piece * size;
        bad_in_piece(items).into_iter().map(move |index| first + index).collect::<Vec<_>>()
    };
    items.par_chunks(size).enumerate().map(bad_of_piece).collect::<Vec<_>>().concat()
}

/// The bad indices of one piece: one multiplication when it holds, single checks when it does not. What was
/// decoded and hashed for the first serves the second.
fn bad_in_piece(items: &[Item<'_>]) -> Vec<usize> {
    let all: Vec<Option<Terms>> =
        items.iter().map(|item| Terms::new(&item.key, &item.message, item.signature)).collect();
    let well_formed: Vec<(&PreparedKey, &Terms)> =
        items.iter().zip(&all).filter_map(|(item, terms)| Some((&item.key, terms.as_ref()?))).collect();
    if sum_is_zero(&well_formed) {
        return (0..items.len()).filter(|&index| all[index].is_none()).collect();
    }
    let bad = |index: &usize| !all[*index].as_ref().is_some_and(|terms| terms.hold(&items[*index].key));
    if items.len() < PIECE_MIN {
        return (0..items.len()).filter(bad).collect();
    }
    (0..items.len()).into_par_iter().filter(bad).collect()
}

/// A well-formed signature: what the equation needs beside the key.
struct Terms {
    r: EdwardsPoint,
    s: Scalar,
    k: Scalar,
}

impl Terms {
    /// `None` when `s` is not below `l` or `R` is not a point: bad, whatever the key.
    fn new(key: &PreparedKey, message: &[u8; 32], signature: &[u8; 64]) -> Option<Self> {
        let (r_bytes, s_bytes) = halves(signature);
        let s = Option::<Scalar>::from(Scalar::from_canonical_bytes(s_bytes))?;
        let r = decompress(&r_bytes)?;
        let digest =
            Sha512::new().chain_update(r_bytes).chain_update(key.bytes).chain_update(message).finalize();
        Some(Self { r, s, k: Scalar::from_bytes_mod_order_wide(&digest.into()) })
    }

    /// The equation for this one signature.
    fn hold(&self, key: &PreparedKey) -> bool {
        let sum = EdwardsPoint::vartime_double_scalar_mul_basepoint(&self.k, &key.point, &-self.s) + self.r;
        sum.mul_by_cofactor().is_identity()
    }
}

fn halves(signature: &[u8; 64]) -> ([u8; 32], [u8; 32]) {
    let (mut r, mut s) = ([0; 32], [0; 32]);
    r.copy_from_slice(&signature[..32]);
    s.copy_from_slice(&signature[32..]);
    (r, s)
}

/// The batch equation. `false` also says "do not know" (too few to be worth it, no randomness to be had): the
/// caller then checks one by one.
fn sum_is_zero(batch: &[(&PreparedKey, &Terms)]) -> bool {
    if batch.is_empty() {
        return true;
    }
    if batch.len() < BATCH_MIN {
        return false;
    }
    let Some(coefficients) = coefficients(batch.len()) else { return false };

    let mut scalars = Vec::with_capacity(1 + 2 * batch.len());
    let mut points = Vec::with_capacity(1 + 2 * batch.len());
    let base: Scalar = batch.iter().zip(&coefficients).map(|((_, terms), z)| z * terms.s).sum();
    scalars.push(-base);
    points.push(curve25519_dalek::constants::ED25519_BASEPOINT_POINT);
    for ((_, terms), z) in batch.iter().zip(&coefficients) {
        scalars.push(*z);
        points.push(terms.r);
    }
    for group in order_by_key(batch).chunk_by(|&a, &b| batch[a].0.bytes == batch[b].0.bytes) {
        scalars.push(group.iter().map(|&index| coefficients[index] * batch[index].1.k).sum());
        points.push(batch[group[0]].0.point);
    }
    EdwardsPoint::vartime_multiscalar_mul(&scalars, &points).mul_by_cofactor().is_identity()
}

/// The indices of a batch with equal keys side by side.
fn order_by_key(batch: &[(&PreparedKey, &Terms)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..batch.len()).collect();
    order.sort_unstable_by_key(|&index| &batch[index].0.bytes);
    order
}

/// `count` coefficients of 128 bits that nobody outside the process can predict. `None` when the operating
/// system has no randomness to give.
pub(super) fn coefficients(count: usize) -> Option<Vec<Scalar>> {
    static SECRET: OnceLock<Option<[u8; 32]>> = OnceLock::new();
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let secret = SECRET.get_or_init(|| {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).ok().map(|()| secret)
    });
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let mut stream = blake3::Hasher::new_keyed(secret.as_ref()?).update(&call.to_le_bytes()).finalize_xof();
    let mut bytes = vec![0; 16 * count];
    stream.fill(&mut bytes);
    let (coefficients, _) = bytes.as_chunks::<16>();
    Some(coefficients.iter().map(|bytes| Scalar::from(u128::from_le_bytes(*bytes))).collect())
}
