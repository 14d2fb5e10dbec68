//! A full subtree of the array, which one thread brings up to date.

use super::levels::Levels;
use super::wide::{CHUNK, Cv, LANES, Wide};
use blake3::Hasher;
use blake3::hazmat::HasherExt;
use std::hint::black_box;
use std::ops::Range;

/// How many levels a section has above its chunks.
pub(super) const SECTION_LEVELS: usize = 12;

/// Chunks of a section.
pub(super) const SECTION_CHUNKS: usize = 1 << SECTION_LEVELS;

/// Bytes of a section, 4 MiB: large enough that the lanes are full at a thousand scattered updates of 64 MB, small
/// enough that its nodes stay in the cache and that threads share the work evenly.
pub(super) const SECTION: usize = SECTION_CHUNKS * CHUNK;

/// Words of dirty bits, one bit per chunk, of a section.
pub(super) const SECTION_WORDS: usize = SECTION_CHUNKS / 64;

/// Sums something over the bytes of one chunk.
pub type Tally = fn(&[u8]) -> u64;

/// The chaining values of up to [`SECTION_CHUNKS`] chunks, and the tallies of the same bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Section {
    pub(super) nodes: Levels,
    tallies: Vec<u64>,
    pub(super) total: u128,
}

impl Section {
    /// Rehashes the chunks whose bit is set in `dirty`, and what stands above them; clears the bits. `bytes` are
    /// those of this section, `first` is the number of its first chunk.
    pub(super) fn update(&mut self, first: u64, bytes: &[u8], dirty: &mut [u64], tally: Option<Tally>) {
        let chunks = bytes.len().div_ceil(CHUNK);
        self.nodes.resize(chunks);
        if tally.is_some() {
            self.tallies.resize(chunks, 0);
        }
        let mut changed = Vec::new();
        for (word, base) in dirty.iter_mut().zip((0..chunks).step_by(64)) {
            changed.extend(ones(std::mem::take(word)).map(|bit| (base + bit) as u32));
        }
        self.rehash(first, bytes, &changed);
        if let Some(tally) = tally {
            self.count(bytes, &changed, tally);
        }
        self.nodes.raise(Wide::new(), &mut changed);
    }

    /// Rehashes the chunks `changed`, which are ascending.
    fn rehash(&mut self, first: u64, bytes: &[u8], changed: &[u32]) {
        let whole = bytes.len() / CHUNK;
        let leaves = self.nodes.leaves_mut();
        let in_whole = match changed.split_last() {
            Some((&last, others)) if last as usize == whole => {
                leaves[whole] = chunk_cv(first + whole as u64, &bytes[whole * CHUNK..]);
                others
            }
            _ => changed,
        };
        let wide = Wide::new();
        for runs in cover(in_whole, whole).chunks(WARM_RUNS) {
            for run in runs {
                warm(&bytes[run.start * CHUNK..run.end * CHUNK]);
            }
            for run in runs {
                let part = &bytes[run.start * CHUNK..run.end * CHUNK];
                wide.chunks(first + run.start as u64, part, &mut leaves[run.clone()]);
            }
        }
    }

    /// Takes the tallies of the chunks `changed` anew.
    fn count(&mut self, bytes: &[u8], changed: &[u32], tally: Tally) {
        for chunk in changed.iter().map(|&chunk| chunk as usize) {
            let end = bytes.len().min((chunk + 1) * CHUNK);
            let new = tally(&bytes[chunk * CHUNK..end]);
            let old = std::mem::replace(&mut self.tallies[chunk], new);
            self.total = self.total + u128::from(new) - u128::from(old);
        }
    }

    /// Bytes that the nodes and tallies take.
    pub(super) fn state_bytes(&self) -> usize {
        self.nodes.state_bytes() + self.tallies.capacity() * size_of::<u64>()
    }
}

/// So many runs are read before the first of them is hashed.
const WARM_RUNS: usize = 8;

/// Reads every cache line of a short run. Loads that do not depend on one another miss the cache together, those of
/// hashing one after the other: 8 % of a root after 3,000 scattered updates. A long run the memory unit foresees by
/// itself.
fn warm(run: &[u8]) {
    if run.len() < LANES * CHUNK {
        black_box(run.iter().step_by(64).fold(0, |mixed, byte| mixed ^ byte));
    }
}

/// The chaining value of the chunk number `chunk`, which may be short but not empty, and is not the root.
pub(super) fn chunk_cv(chunk: u64, bytes: &[u8]) -> Cv {
    Hasher::new().set_input_offset(chunk * CHUNK as u64).update(bytes).finalize_non_root()
}

/// The positions of the bits that are set.
fn ones(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
        word &= word - 1;
        Some(bit)
    })
}

/// Lengths of runs of chunks, and what hashing one costs in tenths of a lone chunk, measured with AVX-512. With
/// narrower lanes the choice is less good and the result the same.
const RUNS: [(u32, u32); 4] = [(1, 10), (4, 16), (8, 20), (LANES as u32, 33)];

/// Among 64 chunks with so many marked ones the longest runs are the cheapest.
const DENSE_MIN: usize = 24;

/// Cheap runs among the first `whole` chunks that contain all `marked` ones, which are ascending: clean neighbours
/// are hashed where company is cheaper than solitude.
fn cover(marked: &[u32], whole: usize) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let mut sparse = 0..0;
    for near in marked.chunk_by(|a, b| a / 64 == b / 64) {
        let end = sparse.end + near.len();
        if near.len() < DENSE_MIN {
            sparse.end = end;
            continue;
        }
        cover_sparse(&marked[sparse], &mut runs);
        sparse = end..end;
        for row in near.chunk_by(|a, b| a / LANES as u32 == b / LANES as u32) {
            let start = row[0] as usize / LANES * LANES;
            runs.push(start..whole.min(start + LANES));
        }
    }
    cover_sparse(&marked[sparse], &mut runs);
    runs
}

/// The cheapest runs that contain all `marked` ones.
///
/// The best way to cover the first `i` marked chunks ends with one run whose last chunk is the `i`-th; what lies
/// before that run is covered in the best way. So one pass forth finds the costs, and one back the runs.
fn cover_sparse(marked: &[u32], runs: &mut Vec<Range<usize>>) {
    // Per count of marked chunks: what covering them costs, how many are left to the runs before the last one, and
    // how long that is.
    let mut best = Vec::with_capacity(marked.len() + 1);
    best.push((0, 0, 0));
    let mut before = [0; RUNS.len()];
    for &last in marked {
        let mut choice = (u32::MAX, 0, 0);
        for ((len, cost), before) in RUNS.into_iter().zip(&mut before) {
            while marked[*before] + len <= last {
                *before += 1;
            }
            choice = choice.min((best[*before].0 + cost, *before, len as usize));
        }
        best.push(choice);
    }
    let from = runs.len();
    let mut covered = marked.len();
    while covered > 0 {
        let (_, before, len) = best[covered];
        let end = marked[covered - 1] as usize + 1;
        runs.push(end.saturating_sub(len)..end);
        covered = before;
    }
    runs[from..].reverse();
}
