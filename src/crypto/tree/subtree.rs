//! Proofs that bytes are a whole subtree of the array with a given root: what the pieces of a table are.
//!
//! A proof is the chaining values beside the way from the root down to the subtree (the *path*, as of any Merkle tree), the
//! topmost first, then the bytes. A slice of Bao ([`super::verify_range`]) proves any range, and for that says the value of
//! every node above each of its chunks: a sixteenth more bytes, which a verifier of whole subtrees computes anyway.
//!
//! - Upon a range that is no subtree of an array of that length: a typed error. The length and the range alone say so, and how
//!   long the path is.
//! - Upon a proof from outside: exactly one string of bytes passes for each subtree. The bytes are hashed side by side and
//!   stay where they are.
//!
//! Why a proof of another subtree does not pass: a chunk's value depends on its place, and so does that of all above it. The
//! length is the verifier's own knowledge. With a wrong one that leads to the same path, bytes that pass are still those of
//! the array at this place; the subtree at its end passes with the right one alone.

use super::Tree;
use super::proof::{ARRAY_BYTES_MAX, ProofError, ProveError, Span, checked, children};
use super::wide::{CHUNK, Cv};
use blake3::Hasher;
use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use std::ops::Range;

/// Bytes of a value of the path.
pub const PATH_STEP_BYTES: usize = size_of::<Cv>();

/// The subtrees beside the way from the root of an array of `len` bytes down to `range`, the topmost first; `None` if that is
/// no subtree of it.
fn beside(len: u64, range: &Range<u64>) -> Option<Vec<Span>> {
    let (mut span, mut beside) = ((0, len), Vec::new());
    while span != (range.start, range.end - range.start) {
        if span.1 <= CHUNK as u64 {
            return None;
        }
        let [left, right] = children(span);
        let (below, other) = if range.start < right.0 { (left, right) } else { (right, left) };
        span = below;
        beside.push(other);
    }
    Some(beside)
}

impl Tree {
    /// Appends the path to the subtree over `range`, as of the last [`Tree::root`]. Before the bytes of the subtree that is
    /// its proof.
    ///
    /// # Errors
    /// The array has changed since, or the range is no subtree of it.
    pub fn put_path(&self, range: Range<u64>, out: &mut Vec<u8>) -> Result<(), ProveError> {
        self.check_provable(self.len(), &range)?;
        for (start, len) in beside(self.len() as u64, &range).ok_or(ProveError::NoSubtree)? {
            out.extend_from_slice(self.node(start, len).expect("a node of an array of this length is kept"));
        }
        Ok(())
    }
}

/// The bytes of the subtree over `range` of the array with this root and length, if `proof` proves them: the end of it.
///
/// # Errors
/// [`ProofError`]: why it does not.
pub fn verify_subtree<'a>(
    root: &[u8; 32],
    len: u64,
    range: Range<u64>,
    proof: &'a [u8],
) -> Result<&'a [u8], ProofError> {
    checked(&range)?;
    if len > ARRAY_BYTES_MAX {
        return Err(ProofError::BadLength(len));
    }
    if range.end > len {
        return Err(ProofError::PastEnd { end: range.end, len });
    }
    let beside = beside(len, &range).ok_or(ProofError::NoSubtree)?;
    let path = beside.len() * PATH_STEP_BYTES;
    let whole = path + (range.end - range.start) as usize;
    match proof.len().checked_sub(whole) {
        None => return Err(ProofError::TooShort),
        Some(0) => {}
        Some(more) => return Err(ProofError::Trailing(more)),
    }
    let (path, bytes) = proof.split_at(path);
    let (path, _) = path.as_chunks::<PATH_STEP_BYTES>();
    if root_over(bytes, range.start, beside.iter().zip(path)) == *root {
        Ok(bytes)
    } else {
        Err(ProofError::Mismatch(range.start))
    }
}

/// The root that the array has if a subtree of it that begins at `start` has these bytes, and those beside the way up from it,
/// the topmost first, have these values.
fn root_over<'a>(
    bytes: &[u8],
    start: u64,
    beside: impl DoubleEndedIterator<Item = (&'a Span, &'a Cv)>,
) -> Cv {
    let mut beside = beside;
    let Some(top) = beside.next() else { return *blake3::hash(bytes).as_bytes() };
    let pair = |value: Cv, (span, other): (&Span, &Cv)| {
        if span.0 < start { (*other, value) } else { (value, *other) }
    };
    let value = Hasher::new().set_input_offset(start).update(bytes).finalize_non_root();
    let value = beside.rev().fold(value, |value, step| {
        let (left, right) = pair(value, step);
        merge_subtrees_non_root(&left, &right, Mode::Hash)
    });
    let (left, right) = pair(value, top);
    *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()
}
