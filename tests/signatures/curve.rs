//! Points and encodings that no honest key or signature has, computed from the curve's equation and group law.

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::Identity;

/// The encoding of `y` (below 19) or, with `above`, of the same number plus p; `sign` is the sign bit of x.
pub fn encoding(y: u8, above: bool, sign: bool) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = y;
    if above {
        assert!(y < 19, "p + y must stay below 2^255");
        bytes = [0xff; 32];
        bytes[0] = 0xed + y; // p = 2^255 - 19
        bytes[31] = 0x7f;
    }
    bytes[31] |= u8::from(sign) << 7;
    bytes
}

/// `times` l, the order of the base point, as 32 bytes, as long as it fits.
pub fn l_times(times: u8) -> Option<[u8; 32]> {
    let mut l = (-Scalar::ONE).to_bytes();
    l[0] += 1; // l - 1 is even
    (0..times).try_fold([0; 32], |sum, _| plus(&sum, &l))
}

/// The sum of two numbers of 256 bits, as long as it fits.
pub fn plus(one: &[u8; 32], other: &[u8; 32]) -> Option<[u8; 32]> {
    let (mut sum, mut carry) = ([0; 32], 0);
    for (digit, (a, b)) in sum.iter_mut().zip(one.iter().zip(other)) {
        let add = u16::from(*a) + u16::from(*b) + carry;
        *digit = add as u8;
        carry = add >> 8;
    }
    (carry == 0).then_some(sum)
}

/// The eight points of the torsion group: the multiples of one of order eight, which is l times some point.
pub fn torsion() -> [EdwardsPoint; 8] {
    let l = l_times(1).expect("l has 253 bits");
    let of_order_eight = (2..=255)
        .filter_map(|y| CompressedEdwardsY(encoding(y, false, false)).decompress())
        .map(|point| multiple(&l, point))
        .find(|point| multiple(&encoding(4, false, false), *point) != EdwardsPoint::identity())
        .expect("half of all points have a torsion part of order eight");
    std::array::from_fn(|times| multiple(&encoding(times as u8, false, false), of_order_eight))
}

/// A multiple by a number that is not reduced, bit by bit.
fn multiple(times: &[u8; 32], point: EdwardsPoint) -> EdwardsPoint {
    (0..256).rev().fold(EdwardsPoint::identity(), |sum, bit| {
        let doubled = sum + sum;
        if times[bit / 8] >> (bit % 8) & 1 == 1 { doubled + point } else { doubled }
    })
}

/// Every encoding that stands for a point of small order: the y of each with either sign (also a sign on x = 0), and
/// the same y not reduced, where 255 bits have room for that.
pub fn small_order_encodings() -> Vec<[u8; 32]> {
    let mut encodings = Vec::new();
    for point in torsion() {
        let mut y = point.compress().to_bytes();
        y[31] &= 0x7f;
        let unreduced = (y[1..] == [0; 31] && y[0] < 19).then(|| encoding(y[0], true, false));
        for mut bytes in [Some(y), unreduced].into_iter().flatten() {
            encodings.push(bytes);
            bytes[31] |= 0x80;
            encodings.push(bytes);
        }
    }
    encodings.sort_unstable();
    encodings.dedup();
    encodings
}
