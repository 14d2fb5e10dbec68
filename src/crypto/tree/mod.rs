//! The BLAKE3 tree over a large array, with kept chaining values; proofs of ranges.
//!
//! **Owns** the chaining value of every chunk (1 KiB) and of every node above, and a bit per chunk that says that the
//! value is old. **May not** own or copy the array, and starts no thread.
//!
//! - Upon a write to the array: the writer calls [`Tree::mark`] or [`Tree::mark_at`]. Bytes beyond the length of the
//!   last root need no mark: they are new to the tree and count as written.
//! - Upon [`Tree::root`]: the marked chunks and all nodes above them are rehashed; the result is `blake3::hash` of
//!   the bytes. An array that has become *shorter* makes the tree forget everything: correct, at the price of a
//!   full rehash, for nothing that is kept here ever shrinks.
//! - Upon an array that lies elsewhere, as in a file: [`Tree::read_root`] takes it in by sections of 4 MiB.
//! - Upon [`Tree::prove`]: a Bao slice of the range, from kept values, without rehashing. Only while nothing is
//!   marked: a proof belongs to the last root. Of an array that lies elsewhere: [`Tree::prove_part`], which holds the bytes
//!   against the kept values first. Upon a slice from outside: [`verify_range`].
//! - Upon a whole subtree, such as a piece of a table: [`Tree::put_path`] and [`verify_subtree`], with fewer bytes and less
//!   to hash.
//!
//! Why the root is right: the shape of the tree depends on the length alone (BLAKE3 paper, §2.1: left subtrees are
//! full), so a node changes only if bytes under it change or arrive, and then a chunk under it is marked or new.
//!
//! **Cost**, one thread with AVX-512 (`benches/crypto/hash.rs`): a lone chunk costs about 1 µs, and 0.2 in the company
//! of 15 others; so marked chunks are hashed with clean neighbours where that is cheaper (the cheapest runs wherever
//! they begin: 6 % better at 3,000 scattered updates than runs at multiples of their length), and the worst case (all
//! marked) is one full rehash, without a switch between two ways. Parents are hashed in batches of 16 per level. State:
//! 64 bytes per KiB of array, and 8 more with a tally.
//!
//! Tried, and of no use: values kept only for groups of 2 to 16 chunks (a scattered update then pays 1.5 to 3.7 µs
//! instead of 1.1, more than the spared parents cost); one chunk and one parent at a time through `hazmat`
//! (building all kept values takes 4.8 times as long as the plain hash, and a parent 60 ns); a prefetch instruction in
//! place of the early loads of `section.rs` (3 % better, and unsafe).

mod levels;
mod proof;
mod section;
mod subtree;
#[cfg(test)]
mod tests;
mod wide;

pub use proof::{PROOF_BYTES_MAX, PROOF_RANGE_BYTES_MAX, ProofError, ProveError};
pub use proof::{verify_range, verify_range_of};
pub use section::Tally;
pub use subtree::{PATH_STEP_BYTES, verify_subtree};

use blake3::hazmat::{Mode, merge_subtrees_root};
use levels::Levels;
use rayon::prelude::*;
use section::{SECTION, SECTION_CHUNKS, SECTION_LEVELS, SECTION_WORDS, Section};
use std::ops::Range;
use wide::{CHUNK, Cv, Wide};

/// With fewer marked chunks than this (a quarter of a millisecond) even [`Threads::Pool`] stays on its thread.
const POOL_CHUNKS_MIN: u32 = 256;

/// Who hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// The calling thread alone: right for a thread outside any pool, where rayon would start its global one.
    Caller,
    /// The threads of the rayon pool that the call is made on, once there is enough to do.
    Pool,
}

/// The kept nodes of the BLAKE3 tree over an array that the caller owns.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// Bytes of the array at the last root.
    len: usize,
    /// One bit per chunk: to be rehashed. As many words as `len` needs.
    dirty: Vec<u64>,
    sections: Vec<Section>,
    /// The nodes over the sections.
    top: Levels,
    tally: Option<Tally>,
}

impl Tree {
    /// A tree of the empty array.
    pub fn new() -> Tree {
        Tree::default()
    }

    /// A tree that also sums `tally` over the chunks of the array, from the bytes that it hashes.
    pub fn with_tally(tally: Tally) -> Tree {
        Tree { tally: Some(tally), ..Tree::default() }
    }

    /// Bytes of the array at the last root.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the array was empty at the last root, or there was none yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Says that the byte at `at` was written. Beyond the length of the last root that is known anyway.
    #[inline]
    pub fn mark_at(&mut self, at: usize) {
        let chunk = at / CHUNK;
        if at < self.len
            && let Some(word) = self.dirty.get_mut(chunk / 64)
        {
            *word |= 1 << (chunk % 64);
        }
    }

    /// Says that the bytes of `range` were written.
    pub fn mark(&mut self, range: Range<usize>) {
        let end = range.end.min(self.len);
        if range.start >= end {
            return;
        }
        for chunk in range.start / CHUNK..end.div_ceil(CHUNK) {
            self.mark_at(chunk * CHUNK);
        }
    }

    /// The root of the array: `blake3::hash(bytes)`. Every byte that differs from the last call is marked or lies
    /// beyond the length of then.
    pub fn root(&mut self, bytes: &[u8], threads: Threads) -> [u8; 32] {
        self.fit(bytes.len());
        let marked: u32 = self.dirty.iter().map(|word| word.count_ones()).sum();
        let mut changed: Vec<u32> = if threads == Threads::Pool && marked >= POOL_CHUNKS_MIN {
            let sections = self.sections.par_iter_mut().zip(self.dirty.par_chunks_mut(SECTION_WORDS));
            let parts = sections.zip(bytes.par_chunks(SECTION)).enumerate();
            parts
                .filter_map(|(at, ((section, dirty), part))| update(self.tally, at, section, dirty, part))
                .collect()
        } else {
            let sections = self.sections.iter_mut().zip(self.dirty.chunks_mut(SECTION_WORDS));
            let parts = sections.zip(bytes.chunks(SECTION)).enumerate();
            parts
                .filter_map(|(at, ((section, dirty), part))| update(self.tally, at, section, dirty, part))
                .collect()
        };
        self.raise(&mut changed, bytes)
    }

    /// The root of an array of `len` bytes that the caller has elsewhere: `read` fills in what stands from an offset on. What
    /// was known before is forgotten. Takes the memory of one section, 4 MiB, beside the kept values.
    ///
    /// # Errors
    /// The first one of `read`; then nothing is known.
    pub fn read_root<E>(
        &mut self,
        len: usize,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<[u8; 32], E> {
        *self = Tree { tally: self.tally, ..Tree::default() };
        let mut fresh = self.clone();
        fresh.fit(len);
        let mut bytes = vec![0; len.min(SECTION)];
        let parts = fresh.sections.iter_mut().zip(fresh.dirty.chunks_mut(SECTION_WORDS));
        for (at, (section, dirty)) in parts.enumerate() {
            let start = at * SECTION;
            bytes.truncate(len - start);
            read(start as u64, &mut bytes)?;
            update(fresh.tally, at, section, dirty, &bytes);
        }
        let root = fresh.raise(&mut (0..fresh.sections.len() as u32).collect(), &bytes);
        *self = fresh;
        Ok(root)
    }

    /// Brings the nodes over the sections up to date; the root. `first` are the bytes of the first section if there is no
    /// other.
    fn raise(&mut self, changed: &mut Vec<u32>, first: &[u8]) -> [u8; 32] {
        for (leaf, section) in self.top.leaves_mut().iter_mut().zip(&self.sections) {
            *leaf = *section.nodes.top().expect("a section has a chunk");
        }
        self.top.raise(Wide::new(), changed);
        match self.top.children_of_top().or_else(|| self.sections.first()?.nodes.children_of_top()) {
            Some([left, right]) => *merge_subtrees_root(left, right, Mode::Hash).as_bytes(),
            // One chunk is its own root, and hashed as such.
            None => *blake3::hash(first).as_bytes(),
        }
    }

    /// The root of an array that was not written since the last [`Tree::root`]; `None` if it was. Hashes one parent at most.
    pub fn root_if_fresh(&mut self, bytes: &[u8]) -> Option<[u8; 32]> {
        (!bytes.is_empty() && self.is_fresh(bytes.len())).then(|| self.raise(&mut Vec::new(), bytes))
    }

    /// The sum of the tally over all chunks at the last root; 0 without a tally.
    pub fn tally(&self) -> u128 {
        self.sections.iter().map(|section| section.total).sum()
    }

    /// Bytes of memory that the kept values, bits and tallies take.
    pub fn state_bytes(&self) -> usize {
        let sections = self.sections.iter().map(|s| s.state_bytes() + size_of::<Section>()).sum::<usize>();
        sections + self.top.state_bytes() + self.dirty.capacity() * size_of::<u64>()
    }

    /// Takes on a new length: what is new is marked, and so is the chunk that the old end may have cut.
    fn fit(&mut self, len: usize) {
        if len < self.len {
            *self = Tree { tally: self.tally, ..Tree::default() };
        }
        if len > self.len {
            let old = self.len;
            self.len = len;
            self.dirty.resize(len.div_ceil(CHUNK).div_ceil(64), 0);
            self.mark(old..len);
            self.sections.resize_with(len.div_ceil(SECTION), Section::default);
            self.top.resize(self.sections.len());
        }
    }

    /// Whether the kept values are those of an array of `len` bytes without a mark.
    fn is_fresh(&self, len: usize) -> bool {
        len == self.len && self.dirty.iter().all(|word| *word == 0)
    }

    /// The kept value of a chunk.
    fn chunk(&self, chunk: u64) -> Option<&Cv> {
        let section = self.sections.get((chunk / SECTION_CHUNKS as u64) as usize)?;
        section.nodes.node(0, (chunk % SECTION_CHUNKS as u64) as usize)
    }

    /// The kept value over the `len` bytes from `start`, a node of the tree other than the root.
    fn node(&self, start: u64, len: u64) -> Option<&Cv> {
        let level = len.div_ceil(CHUNK as u64).next_power_of_two().trailing_zeros() as usize;
        let (section, chunk) = ((start / SECTION as u64) as usize, (start % SECTION as u64) as usize / CHUNK);
        match level.checked_sub(SECTION_LEVELS) {
            None | Some(0) => self.sections.get(section)?.nodes.node(level, chunk >> level),
            Some(above) => self.top.node(above, section >> above),
        }
    }
}

/// Brings one section up to date; its number if anything was marked.
fn update(
    tally: Option<Tally>,
    at: usize,
    section: &mut Section,
    dirty: &mut [u64],
    bytes: &[u8],
) -> Option<u32> {
    if dirty.iter().all(|word| *word == 0) {
        return None;
    }
    section.update((at * SECTION_CHUNKS) as u64, bytes, dirty, tally);
    Some(at as u32)
}
