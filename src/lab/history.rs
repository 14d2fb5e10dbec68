//! What a node's block files say happened: which rows each block settled.

use crate::store::{RecordKind, Store, StoreError};
use crate::types::{BatchId, ChainId, Height};
use crate::wire::{Batch, WireError, decode_block};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::Path;
use thiserror::Error;

/// Why block files could not be read back.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// The files.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record.
    #[error("a record does not decode: {0}")]
    Wire(#[from] WireError),
    /// A block settles what is not there.
    #[error("block {0} settles a batch that is not in the files before it")]
    Missing(Height),
}

/// Calls `settled` with the height and every batch of every block in the directory, in the chain's order.
/// Holds only the batches that are not settled yet. Where segments were removed, batches that are gone are passed over.
pub fn replay(dir: &Path, chain: &ChainId, settled: impl FnMut(Height, &Batch)) -> Result<(), HistoryError> {
    let records = Store::records(dir, Some(&chain.0))?;
    let (_, removed) = Store::remaining(dir, Some(&chain.0))?.progress();
    walk(records.map(|record| record.map_err(HistoryError::from)), removed > 0, settled)
}

fn walk(
    records: impl Iterator<Item = Result<(RecordKind, Bytes), HistoryError>>,
    pruned: bool,
    mut tell: impl FnMut(Height, &Batch),
) -> Result<(), HistoryError> {
    let mut waiting: BTreeMap<BatchId, Batch> = BTreeMap::new();
    for record in records {
        let (kind, bytes) = record?;
        match kind {
            RecordKind::Batch => {
                let batch = Batch::decode(bytes)?;
                waiting.insert(batch.id, batch);
            }
            RecordKind::Block => {
                let block = decode_block(&bytes)?;
                for settled in &block.settled {
                    match waiting.remove(&settled.id) {
                        Some(batch) => tell(block.height, &batch),
                        None if pruned => {}
                        None => return Err(HistoryError::Missing(block.height)),
                    }
                }
            }
            RecordKind::Vertex | RecordKind::Certificate | RecordKind::Evidence | RecordKind::Settlement => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::signing_key_from_seed;
    use crate::types::{
        Block, BlockHash, Effect, Epoch, LeaderRef, Round, Seat, Sequence, Time, VertexId, Witness,
    };
    use crate::wire::{Rows, encode_block, seal};

    fn batch(sequence: u64, nonces: std::ops::Range<u64>) -> Batch {
        let effects: Vec<_> = nonces.map(|nonce| Effect::transfer(5, 6, 1, nonce, 1)).collect();
        let witnesses = vec![Witness([0; 64]); effects.len()];
        let rows = Rows { effects: &effects, keys: &[], witnesses: &witnesses };
        let key = signing_key_from_seed([1; 32]);
        seal(&key, &ChainId::default(), (Epoch(0), Seat(0), Sequence(sequence)), 10, rows)
    }

    fn block(height: u64, settled: &[&Batch]) -> Bytes {
        let block = Block {
            epoch: Epoch(0),
            height: Height(height),
            previous: BlockHash::default(),
            leader: LeaderRef { round: Round(height), author: Seat(0), id: VertexId::default() },
            time: Time(0),
            accounts: 10,
            settled: settled.iter().map(|batch| batch.reference()).collect(),
            outcomes: [0; 32],
            roots: Vec::new(),
        };
        encode_block(&block).into()
    }

    #[test]
    fn rows_come_in_the_order_of_the_chain_and_not_of_the_files() {
        let (first, second) = (batch(1, 1..3), batch(2, 3..6));
        let records = [
            (RecordKind::Batch, second.bytes().clone()),
            (RecordKind::Batch, first.bytes().clone()),
            (RecordKind::Vertex, Bytes::from_static(b"not looked at")),
            (RecordKind::Block, block(1, &[])),
            (RecordKind::Block, block(2, &[&first, &second])),
        ];
        let mut rows = Vec::new();
        walk(records.into_iter().map(Ok), false, |height, batch| {
            let effects = batch.rows().effects.iter();
            rows.extend(effects.map(|effect| (height.0, effect.from.get(), effect.nonce.get())));
        })
        .unwrap();
        assert_eq!(rows, [(2, 5, 1), (2, 5, 2), (2, 5, 3), (2, 5, 4), (2, 5, 5)]);
    }

    #[test]
    fn a_block_that_settles_a_missing_batch_is_an_error() {
        let lost = batch(1, 1..3);
        let result = walk([Ok((RecordKind::Block, block(1, &[&lost])))].into_iter(), false, |_, _| ());
        assert!(walk([Ok((RecordKind::Block, block(1, &[&lost])))].into_iter(), true, |_, _| ()).is_ok());
        assert!(matches!(result, Err(HistoryError::Missing(Height(1)))));
    }
}
