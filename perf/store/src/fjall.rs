//! fjall: one batch per group, and a data sync of the journal.

use crate::{Outcome, ROWS, Reader, Store, TRANSACTIONS, taste, transaction};
use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::path::Path;

struct Fjall {
    database: Database,
    values: Keyspace,
    next: u64,
}

fn open(dir: &Path) -> Outcome<Fjall> {
    let database = Database::builder(dir.join("fjall")).open()?;
    let values = database.keyspace("values", KeyspaceCreateOptions::default)?;
    Ok(Fjall { database, values, next: 0 })
}

pub fn begin(dir: &Path) -> Outcome<Box<dyn Store>> {
    Ok(Box::new(open(dir)?))
}

impl Fjall {
    fn put<'a>(&mut self, values: impl Iterator<Item = &'a [u8]>) -> Outcome<()> {
        let mut batch = self.database.batch();
        for value in values {
            batch.insert(&self.values, self.next.to_be_bytes(), value);
            self.next += 1;
        }
        batch.commit()?;
        Ok(self.database.persist(PersistMode::SyncData)?)
    }
}

impl Store for Fjall {
    fn append(&mut self, values: &[Bytes]) -> Outcome<()> {
        self.put(values.iter().map(AsRef::as_ref))
    }
}

pub fn fill(dir: &Path) -> Outcome<Box<dyn Reader>> {
    let mut fjall = open(dir)?;
    for first in (0..TRANSACTIONS).step_by(ROWS) {
        let rows: Vec<_> = (first..TRANSACTIONS.min(first + ROWS)).map(transaction).collect();
        fjall.put(rows.iter().map(|row| row.as_slice()))?;
    }
    Ok(Box::new(fjall))
}

impl Reader for Fjall {
    fn read(&self, numbers: &[usize]) -> Outcome<u64> {
        let mut sum = 0u64;
        for number in numbers {
            let value = self.values.get((*number as u64).to_be_bytes())?.ok_or("a transaction is missing")?;
            sum = sum.wrapping_add(taste(&value));
        }
        Ok(sum)
    }
}
