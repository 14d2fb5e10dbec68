//! Many signatures at once.
//!
//! A batch checks `[8]( Σ zᵢRᵢ + Σ (zᵢkᵢ)Aᵢ − (Σ zᵢsᵢ)B ) = 0` with random `zᵢ` of 128 bits, in one multi-scalar
//! multiplication, as in Bernstein et al., "High-speed high-security signatures" (2012), §5; terms of equal keys
//! are merged. Multiplied by 8, every term lies in the group of prime order, so a batch that holds one bad
//! signature passes with probability 2⁻¹²⁸ at most, and a batch of good ones always passes.
//!
//! The coefficients come from BLAKE3 as a keyed stream: the key is drawn once per process from the operating
//! system, the input is a counter that never repeats. They must not come from a node's seed: who can predict
//! them can make bad signatures cancel out. The verdict does not depend on them.

use std::iter::once;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::VartimeMultiscalarMul;
use rayon::prelude::*;

use super::{Item, Terms, bisect, is_zero};

/// Fewer signatures than this are not worth a thread of their own: the multiplication gains with its length.
pub(super) const PIECE_MIN: usize = 512;

/// Longest multiplication, in signatures. It bounds the scratch memory of one piece to about 4 MiB (1 KiB per
/// signature). 16,384 signatures on one thread with AVX-512, in pieces of 512: 10.7 µs each, 1,024: 9.8, 2,048: 9.3,
/// 4,096: 9.2, 8,192: 9.8.
const PIECE_MAX: usize = 4_096;

/// From this many signatures on one multiplication is tried before single checks: measured 20 against 31 µs per
/// signature for four, 17 for eight, 15 for 64, 12 from 512 on (all keys different). For two or three it gains
/// little (27), and a multiplication in vain would cost more than half of the single checks that follow it.
const BATCH_MIN: usize = 4;

/// Whether every signature of a batch is valid, with the verdict that [`super::verify`] gives on each of them.
///
/// Tests `[8]( Σ zᵢRᵢ + Σ (zᵢkᵢ)Aᵢ − (Σ zᵢsᵢ)B ) = 0` for secret random `zᵢ` of 128 bits (Bernstein et al., "High-speed
/// high-security signatures", 2012, §5, with the cofactor of ZIP-215), and bisects a batch for which it does not hold.
///
/// Runs on the current rayon pool: a pool of k threads gets a multiple of k equal pieces, but none under 512
/// signatures. So a batch of fewer than 1,024 stays on the calling thread, and one of fewer than 512 never touches
/// a pool; with more, who calls from outside a pool uses rayon's global one. An empty batch is valid.
///
/// # Errors
/// The indices of every bad item, ascending.
pub fn verify_batch(items: &[Item<'_>]) -> Result<(), Vec<usize>> {
    let bad = bad_in_pieces(items, piece_size(items.len()));
    if bad.is_empty() { Ok(()) } else { Err(bad) }
}

/// Equal pieces, as many as make every thread finish at the same time.
pub(super) fn piece_size(items: usize) -> usize {
    let threads = match items / PIECE_MIN {
        0 | 1 => 1, // without asking for the size of the pool: asking would start the global one
        worthwhile => worthwhile.min(rayon::current_num_threads()),
    };
    let pieces = threads * items.div_ceil(threads * PIECE_MAX);
    items.div_ceil(pieces.max(1)).max(1)
}

/// The bad indices, found in pieces of `size` that run in parallel. The verdict is the same for every size.
pub(in crate::crypto) fn bad_in_pieces(items: &[Item<'_>], size: usize) -> Vec<usize> {
    if items.len() <= size {
        return bad_in_piece(items);
    }
    let bad_of_piece = |(piece, items): (usize, &[Item<'_>])| {
        let first = piece * size;
        bad_in_piece(items).into_iter().map(move |index| first + index).collect::<Vec<_>>()
    };
    items.par_chunks(size).enumerate().map(bad_of_piece).collect::<Vec<_>>().concat()
}

/// The bad indices of one piece, ascending: one multiplication when all are good, a search when they are not.
pub(super) fn bad_in_piece(items: &[Item<'_>]) -> Vec<usize> {
    let (piece, mut bad) = Piece::new(items);
    bad.extend(piece.bad());
    bad.sort_unstable();
    bad
}

/// The well-formed signatures of a piece, decoded, with equal keys side by side.
pub(super) struct Piece<'a> {
    items: &'a [Item<'a>],
    /// The place in `items`, and what was decoded.
    terms: Vec<(usize, Terms)>,
    /// One for each of the terms; none when there are too few to be worth it, or no randomness to be had.
    coefficients: Vec<Scalar>,
}

impl<'a> Piece<'a> {
    /// The piece, and the indices of what is malformed and therefore bad.
    pub(super) fn new(items: &'a [Item<'a>]) -> (Self, Vec<usize>) {
        let mut bad = Vec::new();
        let mut terms = Vec::with_capacity(items.len());
        for index in order_by_key(items) {
            let Item { key, message, signature } = &items[index];
            match Terms::new(&key.bytes, message, signature) {
                Some(decoded) => terms.push((index, decoded)),
                None => bad.push(index),
            }
        }
        let worthwhile = terms.len() >= BATCH_MIN;
        let coefficients = worthwhile.then(|| coefficients(terms.len())).flatten().unwrap_or_default();
        (Self { items, terms, coefficients }, bad)
    }

    fn bad(&self) -> Vec<usize> {
        let all = 0..self.terms.len();
        if self.coefficients.is_empty() {
            return self.bad_alone(all.collect());
        }
        let sum = self.sum(all.clone());
        if is_zero(&sum) { Vec::new() } else { self.bad_alone(bisect::suspects(self, all, sum)) }
    }

    /// Those of some terms that do not hold alone, as indices of items. What was decoded is used again.
    fn bad_alone(&self, suspects: Vec<usize>) -> Vec<usize> {
        #[cfg(test)]
        super::tests::count_alone(suspects.len());
        let bad = |place: usize| {
            let (index, terms) = &self.terms[place];
            (!terms.hold(&self.items[*index].key)).then_some(*index)
        };
        if suspects.len() < PIECE_MIN {
            return suspects.into_iter().filter_map(bad).collect();
        }
        suspects.into_par_iter().filter_map(bad).collect()
    }

    /// The left side of the batch equation over a range of the terms, before the multiplication by 8.
    pub(super) fn sum(&self, range: Range<usize>) -> EdwardsPoint {
        let (terms, z) = (&self.terms[range.clone()], &self.coefficients[range]);
        let key = |&(index, _): &(usize, Terms)| &self.items[index].key;
        // Per key: the first of its terms, and the sum of its scalars.
        let (mut firsts, mut merged) = (Vec::with_capacity(z.len()), Vec::<Scalar>::with_capacity(z.len()));
        let mut base = Scalar::ZERO;
        for (place, (entry, z)) in terms.iter().zip(z).enumerate() {
            base += z * entry.1.s;
            let zk = z * entry.1.k;
            match merged.last_mut() {
                Some(sum) if key(&terms[place - 1]).bytes == key(entry).bytes => *sum += zk,
                _ => {
                    firsts.push(place);
                    merged.push(zk);
                }
            }
        }
        #[cfg(test)]
        super::tests::count_multiplied(1 + z.len() + merged.len());
        let minus_base = -base;
        let scalars = once(&minus_base).chain(z).chain(&merged);
        let points = once(&ED25519_BASEPOINT_POINT)
            .chain(terms.iter().map(|(_, terms)| &terms.r))
            .chain(firsts.iter().map(|&place| &key(&terms[place]).point));
        EdwardsPoint::vartime_multiscalar_mul(scalars, points)
    }
}

/// The indices of items with equal keys side by side: those whose first eight bytes collide by intent may stand
/// apart, which costs their sender's batch a little speed and nothing else.
fn order_by_key(items: &[Item<'_>]) -> impl Iterator<Item = usize> {
    let first_bytes = |item: &Item<'_>| {
        let (words, _) = item.key.bytes.as_chunks::<8>();
        u64::from_le_bytes(words[0])
    };
    let mut order: Vec<(u64, usize)> =
        items.iter().enumerate().map(|(index, item)| (first_bytes(item), index)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, index)| index)
}

/// `count` coefficients of 128 bits that nobody outside the process can predict. `None` when the operating
/// system has no randomness to give.
pub(in crate::crypto) fn coefficients(count: usize) -> Option<Vec<Scalar>> {
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
