//! The search for the bad signatures of a batch that failed.
//!
//! A failing range is halved. Only the sum of its left half is multiplied out; that of the right half is the
//! difference to the sum of the whole, so one bad signature costs 1/2 + 1/4 + … of the batch's multiplication, over
//! terms that are decoded already. Two failing halves say that bad signatures are many: after [`LEVELS`] such
//! levels in a row the range is left to single checks, and so is a range of at most [`LEAF`].
//!
//! The halves use the coefficients of the whole. That is sound: which ranges can be asked for is fixed before the
//! coefficients are drawn, and each of them that holds a bad signature sums to zero with probability 2⁻¹²⁸ at most,
//! for coefficients that are uniform and independent over any fixed range. What comes out as bad was always
//! checked alone, so a good signature is never blamed.

use std::ops::Range;

use curve25519_dalek::edwards::EdwardsPoint;

use super::batch::Piece;
use super::is_zero;

/// Ranges up to this long are not halved any more. Measured with 16: a batch of 64 full of bad ones cost 1.5 times
/// the single checks; with 64 it costs 1.35 times. One bad signature among 4,096 costs 1.6 batches with either, and
/// a batch of 4,096 full of them 1.4 times the single checks.
pub(super) const LEAF: usize = 64;

/// After so many levels in a row at which both halves failed, single checks: each level costs up to half of the
/// batch's multiplication.
const LEVELS: u32 = 2;

/// Ranges shorter than this give up after the first such level: short multiplications gain less.
pub(super) const SHORT: usize = 512;

/// The places of a failing piece that must be checked alone: outside of them all are good. `sum` is the piece's sum.
pub(super) fn suspects(piece: &Piece<'_>, all: Range<usize>, sum: EdwardsPoint) -> Vec<usize> {
    let mut suspects = Vec::new();
    // Ranges that fail, with their sums and the levels in a row at which both halves failed. Each turn takes one
    // and puts back at most its two halves, the longer waiting: never more than log2 of the piece plus one.
    let mut failing = vec![(all, sum, 0)];
    while let Some((range, sum, both_failed)) = failing.pop() {
        let limit = if range.len() < SHORT { 1 } else { LEVELS };
        if range.len() <= LEAF || both_failed >= limit {
            suspects.extend(range);
            continue;
        }
        let middle = range.start + range.len() / 2;
        let (left, right) = (range.start..middle, middle..range.end);
        let left_sum = piece.sum(left.clone());
        let right_sum = sum - left_sum;
        match (is_zero(&left_sum), is_zero(&right_sum)) {
            (true, _) => failing.push((right, right_sum, 0)),
            (_, true) => failing.push((left, left_sum, 0)),
            _ => failing.extend([(right, right_sum, both_failed + 1), (left, left_sum, both_failed + 1)]),
        }
    }
    suspects
}
