//! A row is sealed by its account's home, and by the next `f` seats only if something is wrong: so by `f + 1` honest nodes at
//! most, however many its client gave it to.

use crate::wire::Batch;
use std::collections::{BTreeMap, BTreeSet};

/// Rows of an account whose nonces lie further below the highest one are forgotten: they cannot settle any more.
const NONCES_KEPT: u64 = 256;

/// Who sealed what.
pub struct HomeCheck {
    faulty_max: usize,
    /// By account and nonce: the honest nodes that sealed the row.
    sealed: BTreeMap<u32, BTreeMap<u64, BTreeSet<u16>>>,
    /// How often an honest node sealed a row that another had sealed.
    pub sealed_again: u64,
}

impl HomeCheck {
    /// Nothing is sealed in a committee that bears so many faulty ones.
    pub fn new(faulty_max: usize) -> HomeCheck {
        HomeCheck { faulty_max, sealed: BTreeMap::new(), sealed_again: 0 }
    }

    /// An honest node wrote a batch of its own.
    ///
    /// # Errors
    /// More seal a row of it than may.
    pub fn batch(&mut self, node: u16, batch: &Batch) -> Result<(), String> {
        for effect in batch.rows().effects {
            let (from, nonce) = (effect.from.get(), effect.nonce.get());
            let rows = self.sealed.entry(from).or_default();
            let nodes = rows.entry(nonce).or_default();
            if nodes.insert(node) && nodes.len() > 1 {
                self.sealed_again += 1;
            }
            if nodes.len() > self.faulty_max + 1 {
                return Err(format!(
                    "row {nonce} of account {from} was sealed by the honest nodes {nodes:?}"
                ));
            }
            while rows.first_key_value().is_some_and(|(first, _)| first + NONCES_KEPT < nonce) {
                rows.pop_first();
            }
        }
        Ok(())
    }
}
