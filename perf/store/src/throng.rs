//! The engine's block files.

use crate::{Outcome, ROWS, Reader, Store, TRANSACTION, TRANSACTIONS, taste, transaction};
use bytes::Bytes;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use throng::store::{Append, RecordKind, StoreConfig, StoreError, Synced};

type Group = Result<Vec<Synced>, StoreError>;

struct BlockFiles {
    store: throng::store::Store,
    synced: Receiver<Group>,
}

fn open(dir: &Path) -> Outcome<BlockFiles> {
    let mut store = throng::store::Store::open(dir, b"a genesis", &StoreConfig::default())?.store;
    let (sender, synced) = channel();
    store.start(Box::new(move |group| sender.send(group).unwrap_or_default()))?;
    Ok(BlockFiles { store, synced })
}

pub fn begin(dir: &Path) -> Outcome<Box<dyn Store>> {
    Ok(Box::new(open(dir)?))
}

impl BlockFiles {
    /// The views of these records, once they are durable.
    fn put(&self, values: impl Iterator<Item = Bytes>) -> Outcome<Vec<Bytes>> {
        let mut count = 0;
        for (bytes, number) in values.zip(0..) {
            let record = Append { number, kind: RecordKind::Batch, bytes, guard: None };
            self.store.append(vec![record]).map_err(|_| "the queue is full")?;
            count += 1;
        }
        let mut views = Vec::with_capacity(count);
        while views.len() < count {
            views.extend(self.synced.recv()??.into_iter().map(|synced| synced.view));
        }
        Ok(views)
    }
}

impl Store for BlockFiles {
    fn append(&mut self, values: &[Bytes]) -> Outcome<()> {
        self.put(values.iter().cloned()).map(drop)
    }
}

/// Batches of transactions, as views of their segments.
struct Batches {
    _store: BlockFiles,
    batches: Vec<Bytes>,
}

pub fn fill(dir: &Path) -> Outcome<Box<dyn Reader>> {
    let store = open(dir)?;
    let mut batches = Vec::new();
    for first in (0..TRANSACTIONS).step_by(ROWS) {
        let rows = first..TRANSACTIONS.min(first + ROWS);
        let bytes: Vec<u8> = rows.flat_map(transaction).collect();
        batches.extend(store.put(std::iter::once(Bytes::from(bytes)))?);
    }
    Ok(Box::new(Batches { _store: store, batches }))
}

impl Reader for Batches {
    fn read(&self, numbers: &[usize]) -> Outcome<u64> {
        let read = |number: &usize| {
            let at = number % ROWS * TRANSACTION;
            taste(&self.batches[number / ROWS][at..at + TRANSACTION])
        };
        Ok(numbers.iter().map(read).fold(0, u64::wrapping_add))
    }
}
