//! Proofs that a range of bytes stands in the array with a given root: slices of the Bao format.
//!
//! A proof is the length of the array (8 bytes, little-endian), then the nodes above the range in pre-order: a
//! parent as the chaining values of its two children, a chunk as its bytes (Bao specification, "Slice Format"). So a
//! proof proves whole chunks, and ranges that touch the same chunks have the same proof.
//!
//! - Upon an empty range, or one past the end: a typed error. Bao takes an empty range for one byte, and for a range
//!   past the end proves the last chunk; here a range is exactly what the verifier gets.
//! - Upon a proof from outside: the range and the claimed length bound what is hashed and kept, however long the
//!   proof is; every node is hashed before it is used; a byte too few or too many refuses the whole.
//!
//! What the length is worth: bytes that verify are those of the array, whatever length the proof claims, for parents
//! and chunks at any place hash differently. But the length itself is proven only by a range that reaches the end:
//! otherwise a claim that leads to the same path passes. A verifier that knows the length says so
//! ([`verify_range_of`]), and then one string of bytes alone passes.

use super::wide::{CHUNK, Cv, LANES, PARENT, Wide};
use super::{Tree, section::chunk_cv};
use blake3::hazmat::{Mode, left_subtree_len, merge_subtrees_root};
use std::ops::Range;

/// The longest range that one proof covers: 1 MiB.
pub const PROOF_RANGE_BYTES_MAX: u64 = 1 << 20;

/// The longest array: 2^48 bytes. Longer claims are refused, so that no sum of lengths overflows.
pub(super) const ARRAY_BYTES_MAX: u64 = 1 << 48;

/// Levels of parents above the chunks of the longest array.
const DEPTH_MAX: usize = 38;

/// Bytes of the length at the head of a proof.
const HEAD: usize = 8;

/// The most chunks that the longest range touches.
const CHUNKS_MAX: usize = PROOF_RANGE_BYTES_MAX as usize / CHUNK + 1;

/// The longest proof, about 1.07 MiB: the chunks, the parents among them, and those on the two edges.
pub const PROOF_BYTES_MAX: usize = HEAD + CHUNKS_MAX * (CHUNK + PARENT) + 2 * DEPTH_MAX * PARENT;

/// Why there is no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProveError {
    /// The range is empty.
    #[error("an empty range has no proof")]
    EmptyRange,
    /// The range ends beyond the array.
    #[error("the range ends at {end} of {len} bytes")]
    PastEnd {
        /// End of the range.
        end: u64,
        /// Bytes of the array.
        len: u64,
    },
    /// The range is longer than [`PROOF_RANGE_BYTES_MAX`].
    #[error("a range of {0} bytes is too long for one proof")]
    TooLong(u64),
    /// The range is no subtree of the array.
    #[error("the range is no subtree of the array")]
    NoSubtree,
    /// Bytes were written, or the array has grown, since the last root.
    #[error("the array has changed since its last root")]
    Stale,
}

/// Why a proof is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The range is empty.
    #[error("an empty range has no proof")]
    EmptyRange,
    /// The range is longer than [`PROOF_RANGE_BYTES_MAX`].
    #[error("a range of {0} bytes is too long for one proof")]
    TooLong(u64),
    /// The claimed length is not the expected one, or longer than any array.
    #[error("the proof is of an array of {0} bytes")]
    BadLength(u64),
    /// The range ends beyond the claimed length.
    #[error("the range ends at {end} of {len} bytes")]
    PastEnd {
        /// End of the range.
        end: u64,
        /// Claimed bytes of the array.
        len: u64,
    },
    /// The range is no subtree of an array of the expected length.
    #[error("the range is no subtree of the array")]
    NoSubtree,
    /// The proof ends before the range is proven.
    #[error("the proof is too short")]
    TooShort,
    /// The proof goes on after the range is proven, by so many bytes.
    #[error("{0} bytes follow the proof")]
    Trailing(usize),
    /// The node over the bytes from this offset does not hash to what the node above it says (for the topmost: to
    /// the root): the proof is forged, or of another root, or of another range.
    #[error("the node at offset {0} does not belong to this root and range")]
    Mismatch(u64),
}

/// A node on the way: the offset and length of the bytes below it.
pub(super) type Span = (u64, u64);

fn overlaps((start, len): Span, range: &Range<u64>) -> bool {
    start < range.end && range.start < start + len
}

/// The spans of a parent's children.
pub(super) fn children((start, len): Span) -> [Span; 2] {
    let left = left_subtree_len(len);
    [(start, left), (start + left, len - left)]
}

/// The bounds that a range has in any array.
pub(super) fn checked(range: &Range<u64>) -> Result<(), ProofError> {
    match range.end.checked_sub(range.start) {
        None | Some(0) => Err(ProofError::EmptyRange),
        Some(len) if len > PROOF_RANGE_BYTES_MAX => Err(ProofError::TooLong(len)),
        Some(_) => Ok(()),
    }
}

impl Tree {
    /// The proof that `range` of `bytes` stands in the array with the last [`Tree::root`]. About 2 KiB for one
    /// record of a table of 64 MB; at most [`PROOF_BYTES_MAX`].
    pub fn prove(&self, bytes: &[u8], range: Range<u64>) -> Result<Vec<u8>, ProveError> {
        self.check_provable(bytes.len(), &range)?;
        let mut proof = Vec::new();
        self.put_proof(0, bytes, range, &mut proof);
        Ok(proof)
    }

    /// The same for an array that the caller has elsewhere: of it `part`, which begins at `start` and at a chunk, and holds
    /// all chunks that the range touches, and no other. They are hashed once more: what is not as it was at the last root is
    /// [`ProveError::Stale`]. The proof is appended to `out`, which stays as it is upon an error.
    pub fn prove_part(
        &self,
        start: u64,
        part: &[u8],
        range: Range<u64>,
        out: &mut Vec<u8>,
    ) -> Result<(), ProveError> {
        self.check_provable(self.len(), &range)?;
        if !self.has_chunks(range.start / CHUNK as u64, part) {
            return Err(ProveError::Stale);
        }
        let chunks = range.start / CHUNK as u64..range.end.div_ceil(CHUNK as u64);
        let end = (chunks.end * CHUNK as u64).min(self.len() as u64);
        if start != chunks.start * CHUNK as u64 || start + part.len() as u64 != end {
            return Err(ProveError::Stale);
        }
        self.put_proof(start, part, range, out);
        Ok(())
    }

    pub(super) fn check_provable(&self, bytes: usize, range: &Range<u64>) -> Result<(), ProveError> {
        let len = bytes as u64;
        match checked(range) {
            Err(ProofError::TooLong(bytes)) => Err(ProveError::TooLong(bytes)),
            Err(_) => Err(ProveError::EmptyRange),
            Ok(()) if range.end > len => Err(ProveError::PastEnd { end: range.end, len }),
            Ok(()) if !self.is_fresh(bytes) => Err(ProveError::Stale),
            Ok(()) => Ok(()),
        }
    }

    /// Whether the kept values of the chunks from `first` on are those of `bytes`.
    fn has_chunks(&self, first: u64, bytes: &[u8]) -> bool {
        let (mut chunk, mut same) = (first, true);
        each_chunk(first, bytes.chunks(CHUNK), |value| {
            same &= self.chunk(chunk) == Some(value);
            chunk += 1;
        });
        same
    }

    /// Appends the proof of a range; `bytes` are those from `start` on.
    fn put_proof(&self, start: u64, bytes: &[u8], range: Range<u64>, proof: &mut Vec<u8>) {
        let len = self.len() as u64;
        proof.reserve(HEAD + bytes.len().min(CHUNKS_MAX * CHUNK) * 17 / 16 + DEPTH_MAX * PARENT);
        proof.extend(len.to_le_bytes());
        let mut ahead = vec![(0, len)];
        while let Some(span) = ahead.pop() {
            if span.1 <= CHUNK as u64 {
                let from = (span.0 - start) as usize;
                proof.extend(&bytes[from..from + span.1 as usize]);
                continue;
            }
            let [left, right] = children(span);
            for child in [left, right] {
                proof.extend(self.node(child.0, child.1).expect("a node of an array of this length is kept"));
            }
            ahead.extend([right, left].into_iter().filter(|child| overlaps(*child, &range)));
        }
    }
}

/// The bytes of `range` of the array with this root, if `proof` proves them. What the proof claims about the length
/// of the array is believed only as far as the range reaches: see [`verify_range_of`].
pub fn verify_range(root: &[u8; 32], range: Range<u64>, proof: &[u8]) -> Result<Vec<u8>, ProofError> {
    verify(root, None, range, proof).map(|parts| parts.concat())
}

/// The same for an array whose length is known from elsewhere. Exactly one proof of a range passes.
pub fn verify_range_of(
    root: &[u8; 32],
    len: u64,
    range: Range<u64>,
    proof: &[u8],
) -> Result<Vec<u8>, ProofError> {
    verify(root, Some(len), range, proof).map(|parts| parts.concat())
}

fn verify<'a>(
    root: &[u8; 32],
    expected: Option<u64>,
    range: Range<u64>,
    proof: &'a [u8],
) -> Result<Vec<&'a [u8]>, ProofError> {
    checked(&range)?;
    let (head, mut rest) = proof.split_first_chunk::<HEAD>().ok_or(ProofError::TooShort)?;
    let len = u64::from_le_bytes(*head);
    if len > ARRAY_BYTES_MAX || expected.is_some_and(|expected| expected != len) {
        return Err(ProofError::BadLength(len));
    }
    if range.end > len {
        return Err(ProofError::PastEnd { end: range.end, len });
    }
    let mut nodes = Nodes::default();
    let whole = nodes.read((0, len), root, &range, &mut rest);
    // What is there is checked even if something is missing after it.
    nodes.check(len)?;
    whole?;
    if !rest.is_empty() {
        return Err(ProofError::Trailing(rest.len()));
    }
    let mut parts = nodes.bytes;
    if let Some(last) = parts.last_mut() {
        *last = &last[..((range.end - 1) % CHUNK as u64) as usize + 1];
    }
    if let Some(first) = parts.first_mut() {
        *first = &first[(range.start % CHUNK as u64) as usize..];
    }
    Ok(parts)
}

/// The nodes of a proof, in its order, each with the value that the node above it says it has. They are hashed side by
/// side, several times faster than one after the other, and nothing of them is used before all were compared.
#[derive(Default)]
struct Nodes<'a, 'p: 'a> {
    /// Place in the proof's order, offset, children, value.
    parents: Vec<(usize, u64, &'p [u8; PARENT], &'a Cv)>,
    /// Place, offset, value; their bytes are those of `bytes`.
    chunks: Vec<(usize, u64, &'a Cv)>,
    bytes: Vec<&'p [u8]>,
}

impl<'a, 'p: 'a> Nodes<'a, 'p> {
    /// Reads the nodes below a span that the range touches: a bounded number, whatever the proof says.
    fn read(
        &mut self,
        span: Span,
        root: &'a Cv,
        range: &Range<u64>,
        rest: &mut &'p [u8],
    ) -> Result<(), ProofError> {
        let chunks = (range.end - range.start) as usize / CHUNK + 2;
        self.bytes.reserve(chunks);
        self.chunks.reserve(chunks);
        self.parents.reserve(chunks + 2 * DEPTH_MAX);
        let mut ahead: Vec<(Span, &Cv)> = vec![(span, root)];
        while let Some((span, value)) = ahead.pop() {
            let place = self.parents.len() + self.chunks.len();
            if span.1 <= CHUNK as u64 {
                self.bytes.push(take(rest, span.1 as usize)?);
                self.chunks.push((place, span.0, value));
                continue;
            }
            let (pair, after) = rest.split_first_chunk::<PARENT>().ok_or(ProofError::TooShort)?;
            *rest = after;
            self.parents.push((place, span.0, pair, value));
            let ([first, second], (left, right)) = (children(span), halves(pair));
            let both = [(second, right), (first, left)];
            ahead.extend(both.into_iter().filter(|(span, _)| overlaps(*span, range)));
        }
        Ok(())
    }

    /// Compares all of them; the first in the proof's order that is not what it should be.
    fn check(&self, len: u64) -> Result<(), ProofError> {
        let bad = self.bad_parents(len).chain(self.bad_chunks(len)).min();
        bad.map_or(Ok(()), |(_, offset)| Err(ProofError::Mismatch(offset)))
    }

    fn bad_parents(&self, len: u64) -> impl Iterator<Item = (usize, u64)> {
        let (wide, mut values) = (Wide::new(), Vec::with_capacity(self.parents.len()));
        for some in self.parents.chunks(LANES) {
            let (mut pairs, mut out) = ([&[0; PARENT]; LANES], [[0; 32]; LANES]);
            pairs.iter_mut().zip(some).for_each(|(pair, parent)| *pair = parent.2);
            wide.parents(&pairs[..some.len()], &mut out[..some.len()]);
            values.extend_from_slice(&out[..some.len()]);
        }
        // The first one is the root, unless a chunk is.
        if let (Some((.., pair, _)), true) = (self.parents.first(), len > CHUNK as u64) {
            let (left, right) = halves(pair);
            values[0] = *merge_subtrees_root(left, right, Mode::Hash).as_bytes();
        }
        self.parents.iter().zip(values).filter(|(parent, value)| parent.3 != value).map(|(p, _)| (p.0, p.1))
    }

    fn bad_chunks(&self, len: u64) -> impl Iterator<Item = (usize, u64)> {
        let mut values = Vec::with_capacity(self.chunks.len());
        match self.chunks.first() {
            Some(_) if len <= CHUNK as u64 => values.push(*blake3::hash(self.bytes[0]).as_bytes()),
            Some((_, start, _)) => {
                let chunks = self.bytes.iter().copied();
                each_chunk(start / CHUNK as u64, chunks, |value| values.push(*value));
            }
            None => {}
        }
        self.chunks.iter().zip(values).filter(|(chunk, value)| chunk.2 != value).map(|(c, _)| (c.0, c.1))
    }
}

/// The values of chunks in a row, of which the first has the number `first`, and only the last may be a part of one.
fn each_chunk<'a>(mut first: u64, chunks: impl Iterator<Item = &'a [u8]>, mut see: impl FnMut(&Cv)) {
    let (wide, mut chunks) = (Wide::new(), chunks.peekable());
    while chunks.peek().is_some() {
        let (mut inputs, mut values, mut whole) = ([&[0; CHUNK]; LANES], [[0; 32]; LANES], 0);
        let wholes = std::iter::from_fn(|| chunks.next_if(|chunk| chunk.len() == CHUNK));
        for (input, chunk) in inputs.iter_mut().zip(wholes) {
            *input = chunk.try_into().expect("a whole chunk");
            whole += 1;
        }
        wide.chunks_at(first, &inputs[..whole], &mut values[..whole]);
        values[..whole].iter().for_each(&mut see);
        first += whole as u64;
        if let Some(part) = chunks.next_if(|chunk| chunk.len() < CHUNK) {
            see(&chunk_cv(first, part));
        }
    }
}

/// The chaining values of a parent's children.
fn halves(pair: &[u8; PARENT]) -> (&Cv, &Cv) {
    let (left, right) = pair.split_at(PARENT / 2);
    (left.try_into().expect("a half"), right.try_into().expect("a half"))
}

/// The next `count` bytes of a proof.
fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], ProofError> {
    let (taken, after) = rest.split_at_checked(count).ok_or(ProofError::TooShort)?;
    *rest = after;
    Ok(taken)
}
