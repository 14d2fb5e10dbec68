//! At which checkpoints snapshots are taken: at the same ones on all nodes, so that a joiner can have pieces of one
//! table from several.
//!
//! - **Upon a block**: weigh what the log takes for it at the least: the batches that it settles, and the vertices of a
//!   quorum in each round that it moved on. That is a figure of the chain, the same on every node, where what a node really
//!   wrote is not.
//! - **Upon a checkpoint**, the `c`-th: take the weight of the last `2^z` intervals, where `2^z` is the largest power of two
//!   that divides `c`, as far as they lie behind the last one that was due. If it is as much as snapshots have to lie apart,
//!   one is due here, whether this node can take it or not.
//!
//! Why so: it is a function of the chain and of how far apart they have to lie, so nodes that are configured alike take the
//! same ones, and who begins at one of them goes on like the others. With a steady load all multiples of one power of two are
//! due, one to two times as far apart as they must be. Who wants them further apart has every second, fourth or eighth of
//! them: nodes that are configured differently share most, and whoever was out of step is in step again at a multiple of a
//! larger power.
//!
//! What it costs: at least so much log as was asked for lies between two of them.
//!
//! Memory: one number for each bit of the count of checkpoints.

use crate::types::Round;

/// What the log takes at the least for a vertex that names so many parents, in bytes.
fn vertex_bytes(parents: u64) -> u64 {
    100 + 34 * parents
}

/// The weights of the last intervals between checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spacing {
    /// Checkpoints so far.
    count: u64,
    /// The round of the last leader.
    round: Round,
    /// The weight since the last checkpoint.
    open: u64,
    /// The weights of the intervals up to there, in stretches of powers of two, longest first: one for each bit of the
    /// count that is set.
    stretches: Vec<u64>,
}

impl Spacing {
    /// At the `count`-th checkpoint, whose leader is of this round; nothing is known of what lies before.
    pub(super) fn at(count: u64, round: Round) -> Spacing {
        Spacing { count, round, open: 0, stretches: vec![0; count.count_ones() as usize] }
    }

    /// A block with the leader of this round settles so many bytes of batches, in a committee whose quorum is this.
    pub(super) fn block(&mut self, round: Round, batch_bytes: u64, quorum: usize) {
        let (rounds, quorum) = (round.0.saturating_sub(self.round.0), quorum as u64);
        self.round = self.round.max(round);
        let vertices = rounds.saturating_mul(quorum * vertex_bytes(quorum));
        self.open = self.open.saturating_add(batch_bytes).saturating_add(vertices);
    }

    /// The last block is a checkpoint: the weight of the stretch that ends with it.
    pub(super) fn checkpoint(&mut self) -> u64 {
        self.count += 1;
        let joined = self.stretches.len().saturating_sub(self.count.trailing_zeros() as usize);
        let stretch =
            self.stretches.drain(joined..).fold(std::mem::take(&mut self.open), u64::saturating_add);
        self.stretches.push(stretch);
        stretch
    }

    /// One was due at the last checkpoint: what lies before it counts no more.
    pub(super) fn was_due(&mut self) {
        self.open = 0;
        self.stretches.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checkpoints of `weights` at which something of at least `apart` is due, from the `begun`-th on.
    fn due(weights: &[u64], apart: u64, begun: usize) -> Vec<usize> {
        let mut spacing = Spacing::at(begun as u64, Round(0));
        let weigh = |(at, weight): (usize, &u64)| {
            spacing.block(Round(0), *weight, 3);
            let is_due = spacing.checkpoint() >= apart;
            if is_due {
                spacing.was_due();
            }
            is_due.then_some(at + 1)
        };
        weights.iter().enumerate().skip(begun).filter_map(weigh).collect()
    }

    #[test]
    fn a_steady_load_makes_every_so_manyth_due_and_larger_steps_are_among_the_smaller() {
        let steady = vec![10; 200];
        assert_eq!(due(&steady, 10, 0).len(), 200);
        assert_eq!(due(&steady, 31, 0), (4..=200).step_by(4).collect::<Vec<_>>());
        assert_eq!(due(&steady, 80, 0), (8..=200).step_by(8).collect::<Vec<_>>());
        assert!(due(&steady, 2_001, 0).is_empty());
    }

    #[test]
    fn what_is_due_lies_apart_and_never_far_whatever_the_load() {
        let mut seed = 7u64;
        let mut weights: Vec<u64> = Vec::new();
        for at in 0..3_000u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            weights.push(if at / 200 % 2 == 0 { seed >> 54 } else { seed >> 60 });
        }
        for apart in [1_000, 5_000, 50_000] {
            let found = due(&weights, apart, 0);
            assert!(found.len() > 5, "{apart}: {found:?}");
            let between = |from: usize, to: usize| weights[from..to].iter().sum::<u64>();
            let gaps: Vec<u64> = found.windows(2).map(|pair| between(pair[0], pair[1])).collect();
            assert!(gaps.iter().all(|gap| *gap >= apart), "{apart}: {gaps:?}");
            assert!(gaps.iter().all(|gap| *gap < 4 * apart), "{apart}: {gaps:?}");
            // Who begins at one of them goes on like the others; who begins elsewhere is soon in step with them.
            for begun in found.iter().copied().take(20).chain([1, 5, 64, 777, 1_024]) {
                let late = due(&weights, apart, begun);
                let rest: Vec<usize> = found.iter().copied().filter(|at| *at > begun).collect();
                let other = late.iter().filter(|at| !rest.contains(at)).count();
                let most = if found.contains(&begun) { 0 } else { 3 };
                assert!(other <= most, "{begun}: {late:?} {rest:?}");
            }
        }
    }

    #[test]
    fn a_round_weighs_as_the_vertices_of_a_quorum() {
        let mut spacing = Spacing::at(3, Round(10));
        spacing.block(Round(12), 500, 3);
        spacing.block(Round(12), 1, 3);
        // What lies before the third checkpoint counts for nothing in the stretch of the four.
        assert_eq!(spacing.checkpoint(), 501 + 2 * 3 * (100 + 34 * 3));
        assert_eq!(spacing.checkpoint(), 0, "the fifth has an interval of its own");
    }
}
