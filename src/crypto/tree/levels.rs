//! The nodes above a row of leaves, level by level.

use super::wide::{Cv, LANES, PARENT, Wide};

/// `levels[k][i]` is the node over the leaves from `i << k` to `(i + 1) << k`, or to the end. A last node without a
/// neighbour stands unchanged one level up: so the shape is that of BLAKE3, whose left subtrees are full. The
/// highest level has one node.
#[derive(Clone, Debug, Default)]
pub(super) struct Levels {
    levels: Vec<Vec<Cv>>,
}

impl Levels {
    /// Makes room for `leaves` leaves; those that are new must be written and raised.
    pub(super) fn resize(&mut self, leaves: usize) {
        let mut size = leaves;
        for level in 0.. {
            if level == self.levels.len() {
                self.levels.push(Vec::new());
            }
            self.levels[level].resize(size, [0; 32]);
            if size <= 1 {
                self.levels.truncate(level + 1);
                return;
            }
            size = size.div_ceil(2);
        }
    }

    /// The leaves, to be written.
    pub(super) fn leaves_mut(&mut self) -> &mut [Cv] {
        self.levels.first_mut().map_or(&mut [], Vec::as_mut_slice)
    }

    /// The node at `index` of `level`. Above the highest level stands its only node.
    pub(super) fn node(&self, level: usize, index: usize) -> Option<&Cv> {
        let level = level.min(self.levels.len().checked_sub(1)?);
        self.levels[level].get(index)
    }

    /// The node over everything, as if it were not the root.
    pub(super) fn top(&self) -> Option<&Cv> {
        self.node(usize::MAX, 0)
    }

    /// The two children of the node over everything; `None` below two leaves.
    pub(super) fn children_of_top(&self) -> Option<[&Cv; 2]> {
        let below = self.levels.len().checked_sub(2)?;
        Some([&self.levels[below][0], &self.levels[below][1]])
    }

    /// Rewrites every node above the `changed` leaves, which are ascending; `changed` is used up.
    pub(super) fn raise(&mut self, wide: Wide, changed: &mut Vec<u32>) {
        for level in 1..self.levels.len() {
            for index in changed.iter_mut() {
                *index /= 2;
            }
            changed.dedup();
            let (below, above) = self.levels.split_at_mut(level);
            rewrite(wide, &below[level - 1], &mut above[0], changed);
        }
    }

    /// Bytes that the nodes take.
    pub(super) fn state_bytes(&self) -> usize {
        self.levels.iter().map(|level| level.capacity() * size_of::<Cv>()).sum()
    }
}

/// Writes the nodes `changed` of one level from the level below, [`LANES`] of them at a time.
fn rewrite(wide: Wide, below: &[Cv], level: &mut [Cv], changed: &[u32]) {
    let (pairs, lone) = below.as_flattened().as_chunks::<PARENT>();
    let mut changed = changed;
    if let (Some((&last, others)), [_, ..]) = (changed.split_last(), lone)
        && last as usize == pairs.len()
    {
        level[pairs.len()] = below[2 * pairs.len()];
        changed = others;
    }
    let (mut inputs, mut out) = ([&[0; PARENT]; LANES], [[0; 32]; LANES]);
    for batch in changed.chunks(LANES) {
        for (input, &index) in inputs.iter_mut().zip(batch) {
            *input = &pairs[index as usize];
        }
        wide.parents(&inputs[..batch.len()], &mut out[..batch.len()]);
        for (cv, &index) in out.iter().zip(batch) {
            level[index as usize] = *cv;
        }
    }
}
