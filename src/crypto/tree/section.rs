//! A full subtree of the array, which one thread brings up to date.

use super::levels::Levels;
use super::wide::{CHUNK, Cv, LANES, Wide};
use blake3::Hasher;
use blake3::hazmat::HasherExt;
use std::hint::black_box;

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
        let wide = Wide::new();
        let mut changed = Vec::new();
        for (word, base) in dirty.iter_mut().zip((0..chunks).step_by(64)) {
            let mut bits = std::mem::take(word);
            if chunks - base < 64 {
                bits &= (1 << (chunks - base)) - 1;
            }
            if bits.count_ones() <= WARM_MAX {
                warm(bytes, base, bits);
            }
            let mut at = base;
            while bits != 0 {
                self.rehash(wide, (first, bytes), at, bits as u16, tally);
                changed.extend(ones(bits as u16).map(|bit| (at + bit) as u32));
                (bits, at) = (bits >> LANES, at + LANES);
            }
        }
        self.nodes.raise(wide, &mut changed);
    }

    /// Rehashes the chunks `base + i` for the bits `i` of `mask`.
    fn rehash(
        &mut self,
        wide: Wide,
        (first, bytes): (u64, &[u8]),
        base: usize,
        mask: u16,
        tally: Option<Tally>,
    ) {
        let whole = bytes.len() / CHUNK;
        let leaves = self.nodes.leaves_mut();
        cover(mask, |start, end| {
            let (start, end) = (base + start, base + end);
            let end = if end > whole { whole.max(start) } else { end };
            if start < end {
                let bytes = &bytes[start * CHUNK..end * CHUNK];
                wide.chunks(first + start as u64, bytes, &mut leaves[start..end]);
            }
        });
        if whole < leaves.len() && (base..base + LANES).contains(&whole) && mask & (1 << (whole - base)) != 0
        {
            leaves[whole] = chunk_cv(first + whole as u64, &bytes[whole * CHUNK..]);
        }
        let Some(tally) = tally else { return };
        for chunk in ones(mask).map(|bit| base + bit) {
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

/// With more marked chunks than this among 64 the memory unit foresees by itself what comes next.
const WARM_MAX: u32 = 12;

/// Reads every cache line of the chunks `base + i` for the bits `i`. Loads that do not depend on one another miss the
/// cache together, those of hashing one after the other: 8 % of a root after 3,000 scattered updates.
fn warm(bytes: &[u8], base: usize, mut bits: u64) {
    let mut mixed = 0;
    while bits != 0 {
        let start = (base + bits.trailing_zeros() as usize) * CHUNK;
        let end = bytes.len().min(start + CHUNK);
        mixed = bytes[start..end].iter().step_by(64).fold(mixed, |mixed, byte| mixed ^ byte);
        bits &= bits - 1;
    }
    black_box(mixed);
}

/// The chaining value of the chunk number `chunk`, which may be short but not empty, and is not the root.
pub(super) fn chunk_cv(chunk: u64, bytes: &[u8]) -> Cv {
    Hasher::new().set_input_offset(chunk * CHUNK as u64).update(bytes).finalize_non_root()
}

/// The positions of the bits that are set.
fn ones(mask: u16) -> impl Iterator<Item = usize> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        let bit = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
        rest &= rest - 1;
        Some(bit)
    })
}

/// What hashing 4, 8, 16 chunks in a row costs in tenths of one alone, measured with AVX-512. With narrower lanes
/// the choice is less good and the result the same.
const COST: [u32; 3] = [16, 20, 33];

/// Calls `hash` with runs of chunks that contain all of `mask`, clean ones in between where company is cheaper than
/// solitude.
fn cover(mask: u16, mut hash: impl FnMut(usize, usize)) {
    let quarter = |at: usize| (10 * ((mask >> at) & 0xf).count_ones()).min(COST[0]);
    let half = |at: usize| (quarter(at) + quarter(at + 4)).min(COST[1]);
    if half(0) + half(8) >= COST[2] {
        return hash(0, LANES);
    }
    for at in [0, 8] {
        if quarter(at) + quarter(at + 4) > COST[1] {
            hash(at, at + 8);
            continue;
        }
        for at in [at, at + 4] {
            match quarter(at) {
                0 => {}
                10 => {
                    let one = at + ((mask >> at) & 0xf).trailing_zeros() as usize;
                    hash(one, one + 1);
                }
                _ => hash(at, at + 4),
            }
        }
    }
}
