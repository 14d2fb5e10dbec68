//! Forged rows: a batch in which a signature is bad.
//!
//! What stands against it: `f + 1` must find every row good, of whom one is honest; who finds the bad one convicts its sealer,
//! with a proof that anybody can check.

use super::faces::reseal;
use super::{Hand, Tells};
use crate::wire::{Batch, Rows};

pub(super) struct ForgedRows;

impl Tells for ForgedRows {
    fn batch(&mut self, hand: &Hand, _face: u8, batch: &Batch) -> Option<Batch> {
        let rows = batch.rows();
        let mut witnesses = rows.witnesses.to_vec();
        let place = batch.header.sequence.0 as usize % witnesses.len().max(1);
        // A bit of R: its x coordinate, or which point it is.
        witnesses.get_mut(place)?.0[7] ^= 1;
        Some(reseal(hand, batch, Rows { witnesses: &witnesses, ..rows }))
    }
}
