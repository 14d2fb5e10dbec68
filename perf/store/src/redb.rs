//! redb: one write transaction per group, durable at its commit.

use crate::{Outcome, ROWS, Reader, Store, TRANSACTIONS, taste, transaction};
use bytes::Bytes;
use redb::{Database, ReadableDatabase, TableDefinition};
use std::path::Path;

const VALUES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("values");

struct Redb {
    database: Database,
    next: u64,
}

fn open(dir: &Path) -> Outcome<Redb> {
    Ok(Redb { database: Database::create(dir.join("redb"))?, next: 0 })
}

pub fn begin(dir: &Path) -> Outcome<Box<dyn Store>> {
    Ok(Box::new(open(dir)?))
}

impl Redb {
    fn put<'a>(&mut self, values: impl Iterator<Item = &'a [u8]>) -> Outcome<()> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(VALUES)?;
            for value in values {
                table.insert(self.next, value)?;
                self.next += 1;
            }
        }
        Ok(transaction.commit()?)
    }
}

impl Store for Redb {
    fn append(&mut self, values: &[Bytes]) -> Outcome<()> {
        self.put(values.iter().map(AsRef::as_ref))
    }
}

pub fn fill(dir: &Path) -> Outcome<Box<dyn Reader>> {
    let mut redb = open(dir)?;
    for first in (0..TRANSACTIONS).step_by(ROWS) {
        let rows: Vec<_> = (first..TRANSACTIONS.min(first + ROWS)).map(transaction).collect();
        redb.put(rows.iter().map(|row| row.as_slice()))?;
    }
    Ok(Box::new(redb))
}

impl Reader for Redb {
    fn read(&self, numbers: &[usize]) -> Outcome<u64> {
        let table = self.database.begin_read()?.open_table(VALUES)?;
        let mut sum = 0u64;
        for number in numbers {
            let value = table.get(*number as u64)?.ok_or("a transaction is missing")?;
            sum = sum.wrapping_add(taste(value.value()));
        }
        Ok(sum)
    }
}
