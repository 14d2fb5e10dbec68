//! LMDB, through heed: one write transaction per group, durable at its commit; numbers ascend, so values are appended.

use crate::{Outcome, ROWS, Reader, Store, TRANSACTIONS, taste, transaction};
use bytes::Bytes;
use heed::byteorder::BigEndian;
use heed::types::{self, U64};
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions, PutFlags};
use std::path::Path;

/// Room for all that a run writes; a sparse file.
const MAP_BYTES: usize = 64 << 30;

struct Lmdb {
    env: &'static Env,
    values: Database<'static, U64<BigEndian>, types::Bytes>,
    next: u64,
}

fn open(dir: &Path) -> Outcome<Lmdb> {
    // SAFETY: the directory is new and this process' own; nothing else maps or changes its files.
    let env = unsafe { EnvOpenOptions::new().map_size(MAP_BYTES).open(dir)? };
    // A database lives as long as its environment is borrowed: till the end, there are few.
    let env: &'static Env = Box::leak(Box::new(env));
    let created = env.create_databases_and_commit(env.write_txn()?, |open, transaction| {
        open.create_database(transaction, None).map(CommitOrAbort::<_, ()>::Commit)
    });
    let values = created?.unwrap_commit();
    Ok(Lmdb { env, values, next: 0 })
}

pub fn begin(dir: &Path) -> Outcome<Box<dyn Store>> {
    Ok(Box::new(open(dir)?))
}

impl Lmdb {
    fn put<'a>(&mut self, values: impl Iterator<Item = &'a [u8]>) -> Outcome<()> {
        let mut transaction = self.env.write_txn()?;
        for value in values {
            self.values.put_with_flags(&mut transaction, PutFlags::APPEND, &self.next, value)?;
            self.next += 1;
        }
        Ok(transaction.commit()?)
    }
}

impl Store for Lmdb {
    fn append(&mut self, values: &[Bytes]) -> Outcome<()> {
        self.put(values.iter().map(AsRef::as_ref))
    }
}

pub fn fill(dir: &Path) -> Outcome<Box<dyn Reader>> {
    let mut lmdb = open(dir)?;
    for first in (0..TRANSACTIONS).step_by(ROWS) {
        let rows: Vec<_> = (first..TRANSACTIONS.min(first + ROWS)).map(transaction).collect();
        lmdb.put(rows.iter().map(|row| row.as_slice()))?;
    }
    Ok(Box::new(lmdb))
}

impl Reader for Lmdb {
    fn read(&self, numbers: &[usize]) -> Outcome<u64> {
        let transaction = self.env.read_txn()?;
        let mut sum = 0u64;
        for number in numbers {
            let value =
                self.values.get(&transaction, &(*number as u64))?.ok_or("a transaction is missing")?;
            sum = sum.wrapping_add(taste(value));
        }
        Ok(sum)
    }
}
