//! Keys that stay: few, and each signs again and again, as the seats of a committee do.
//!
//! For each key a table of multiples makes `k·A` a sum of 51 points, without a doubling; a larger one for the base
//! point, one per process, makes `s·B` a sum of 32. Then `R' = s·B − k·A` is encoded and compared with the bytes of
//! `R`: when they are equal, `R` decodes to `R'` and the equation holds. When they are not, because the signature is
//! bad or because it was made with a point of small order or an encoding that is not canonical, `R` is decoded and
//! `[8](R' − R) = 0` decides, as in the rule. So the verdict is that of [`super::verify`] on every input.
//!
//! The windowed table without doublings is that of Brickell, Gordon, McCurley and Wilson, "Fast exponentiation with
//! precomputation" (1992), with signed digits; encoding many points shares one inversion (Montgomery's trick).

use std::sync::OnceLock;

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::Identity;

use super::{Item, PreparedKey, challenge, decompress, halves, in_range, is_zero, verify_batch};

/// Keys with a table in a set; a set with more keys has no tables at all, so that no signer is cheaper to check than
/// another. A table takes 128 KiB and, when its key is used first, about 0.2 ms: a full set takes 8 MiB.
pub const TABLES_MAX: usize = 64;

/// From this many signatures on, one multiplication over all is used and not the tables. Measured for 16 seats, in µs
/// per signature, tables and multiplication: one 20 and 32, two 18 and 27, four 17 and 20, seven 17 and 18; then the
/// multiplication alone: eight 17, sixteen 16, 48 (three of each seat) 11. That was with tables in the cache. With
/// AVX-512, in the cache and after other work has passed through it: tables at four 17 and 23, eight 16 and 20, sixteen
/// 14 and 19; multiplication 21, 18, 15 either way. With 4 seats (merged keys) and 64 (8 MiB of tables) it wins sooner.
/// So below eight the tables lose little at worst, and from eight on the multiplication. Under load a turn of a node's
/// event loop brought one vertex nine times in ten with 4 nodes, five times in ten with 16; then eight or more came
/// one time in thirty.
pub(super) const BATCH_FROM: usize = 8;

/// A signature and which key of a set is said to have made it.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The place of the key in the set.
    pub signer: usize,
    /// The digest under its domain.
    pub message: [u8; 32],
    /// `R`, then `s`.
    pub signature: &'a [u8; 64],
}

/// Keys that stay, with what makes checking their signatures fast.
pub struct KeySet {
    pub(super) keys: Vec<Option<Kept>>,
}

pub(super) struct Kept {
    pub(super) key: PreparedKey,
    /// Made when the key is used first; never in a set that is too large.
    pub(super) table: OnceLock<Table<KEY_BITS>>,
}

impl KeySet {
    /// The set of these keys, in their order. One that is not a point has its place, and no valid signature.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a [u8; 32]>) -> Self {
        let kept = |bytes| PreparedKey::new(bytes).map(|key| Kept { key, table: OnceLock::new() });
        Self { keys: keys.into_iter().map(kept).collect() }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key at a place; `None` if there is no such place or its key is not a point.
    pub fn key(&self, place: usize) -> Option<&PreparedKey> {
        Some(&self.keys.get(place)?.as_ref()?.key)
    }

    /// Whether a signature under the key at the place `signer` is valid. Not, if there is no such key or it is not
    /// a point.
    pub fn verify(&self, signer: usize, message: &[u8; 32], signature: &[u8; 64]) -> bool {
        self.bad(&[Claim { signer, message: *message, signature }]).is_empty()
    }

    /// The indices of the bad ones among some claims, ascending, by the rule of [`KeySet::verify`].
    pub fn bad(&self, claims: &[Claim<'_>]) -> Vec<usize> {
        if claims.len() >= BATCH_FROM || self.keys.len() > TABLES_MAX {
            self.bad_in_batch(claims)
        } else {
            self.bad_by_tables(claims)
        }
    }

    fn kept(&self, claim: &Claim<'_>) -> Option<&Kept> {
        self.keys.get(claim.signer)?.as_ref()
    }

    pub(super) fn bad_in_batch(&self, claims: &[Claim<'_>]) -> Vec<usize> {
        let (mut items, mut places, mut bad) = (Vec::with_capacity(claims.len()), Vec::new(), Vec::new());
        for (place, claim) in claims.iter().enumerate() {
            match self.kept(claim) {
                Some(Kept { key, .. }) => {
                    items.push(Item { key: *key, message: claim.message, signature: claim.signature });
                    places.push(place);
                }
                None => bad.push(place),
            }
        }
        if let Err(indices) = verify_batch(&items) {
            bad.extend(indices.into_iter().map(|index| places[index]));
            bad.sort_unstable();
        }
        bad
    }

    pub(super) fn bad_by_tables(&self, claims: &[Claim<'_>]) -> Vec<usize> {
        let (mut bad, mut places, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        for (place, claim) in claims.iter().enumerate() {
            match self.kept(claim).and_then(|kept| kept.expected_r(claim)) {
                Some(r) => {
                    places.push(place);
                    expected.push(r);
                }
                None => bad.push(place),
            }
        }
        let encoded = EdwardsPoint::compress_batch_alloc(&expected);
        for ((place, expected), encoded) in places.into_iter().zip(expected).zip(encoded) {
            let (r, _) = halves(claims[place].signature);
            if encoded.0 != r && !decompress(&r).is_some_and(|r| is_zero(&(expected - r))) {
                bad.push(place);
            }
        }
        bad.sort_unstable();
        bad
    }
}

impl Kept {
    /// The `R` for which the equation holds without a cofactor, or `None` when `s` is out of range.
    fn expected_r(&self, claim: &Claim<'_>) -> Option<EdwardsPoint> {
        static BASE: OnceLock<Table<BASE_BITS>> = OnceLock::new();
        let (r, s) = halves(claim.signature);
        let s = in_range(s)?;
        let k = challenge(&r, &self.key.bytes, &claim.message);
        let base = BASE.get_or_init(|| Table::new(ED25519_BASEPOINT_POINT));
        let table = self.table.get_or_init(|| Table::new(self.key.point));
        Some(base.multiplied(&s) - table.multiplied(&k))
    }
}

/// Bits of a digit: a byte for the base point, whose table takes 640 KiB once per process; fewer for a key.
const BASE_BITS: usize = 8;
const KEY_BITS: usize = 5;

/// Bits of a reduced scalar, and one more for the carry of signed digits.
const SCALAR_BITS: usize = 254;

/// The multiples 1 to 2^(BITS − 1) of `2^(BITS·i)·P` for each digit i of a scalar.
pub(super) struct Table<const BITS: usize> {
    rows: Box<[EdwardsPoint]>,
}

impl<const BITS: usize> Table<BITS> {
    const HALF: usize = 1 << (BITS - 1);
    const ROWS: usize = SCALAR_BITS.div_ceil(BITS);

    pub(super) fn new(mut first: EdwardsPoint) -> Self {
        let mut rows = Vec::with_capacity(Self::ROWS * Self::HALF);
        for _ in 0..Self::ROWS {
            let mut multiple = first;
            rows.push(multiple);
            for _ in 1..Self::HALF {
                multiple += first;
                rows.push(multiple);
            }
            first = multiple + multiple;
        }
        Self { rows: rows.into() }
    }

    /// The multiple of the point by the scalar taken as an integer, so that it is exact for a point of any order.
    pub(super) fn multiplied(&self, scalar: &Scalar) -> EdwardsPoint {
        let (mut sum, mut carry) = (EdwardsPoint::identity(), 0);
        for (digit, row) in self.rows.chunks_exact(Self::HALF).enumerate() {
            let value = bits::<BITS>(scalar.as_bytes(), digit * BITS) + carry;
            carry = usize::from(value > Self::HALF);
            let size = if carry == 1 { (1 << BITS) - value } else { value };
            match size.checked_sub(1) {
                None => {}
                Some(at) if carry == 1 => sum -= row[at],
                Some(at) => sum += row[at],
            }
        }
        sum
    }
}

/// `BITS` (at most 8) bits of a little-endian number from bit `from` on; zeros above it.
fn bits<const BITS: usize>(number: &[u8; 32], from: usize) -> usize {
    let byte = |at: usize| usize::from(number.get(at).copied().unwrap_or(0));
    let (at, shift) = (from / 8, from % 8);
    ((byte(at) | byte(at + 1) << 8) >> shift) & ((1 << BITS) - 1)
}
