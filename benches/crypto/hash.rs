//! Hashing: the kept tree over an account table of 64 MB against rehashing all of it, proofs, small digests.
//!
//! One thread unless the name says `threads=2` (a pool of its own). Before each root, so many records are drawn
//! evenly over the table, one field of each is written and marked: this is set-up and not measured, so the writes leave
//! the touched chunks warm in part, as execution does. `root/updates=all` marks every chunk. The tree is fresh from
//! its last root otherwise.
//!
//! Not measured: the very first root, which also allocates; execution, and the tally of balances that the ledger takes
//! from the same bytes; skewed updates, which touch fewer chunks; tables beyond 64 MB; a machine whose caches other
//! threads use meanwhile; making proofs whose records are cold.

use std::cell::RefCell;
use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, SamplingMode, Throughput};
use throng::crypto::{Domain, Threads, Tree, hash, plain, verify_range};

/// Bytes of a record, as of an account.
const RECORD: usize = 64;

/// A table, its tree, and where the next writes go.
struct Table {
    bytes: Vec<u8>,
    tree: Tree,
    random: u64,
}

impl Table {
    /// The same for the same number of records, on every machine; its tree is fresh.
    fn new(records: usize) -> Table {
        let mut table = Table { bytes: vec![0; records * RECORD], tree: Tree::new(), random: 1 };
        for at in (0..table.bytes.len()).step_by(8) {
            let word = table.next().to_le_bytes();
            table.bytes[at..at + 8].copy_from_slice(&word);
        }
        table.root(Threads::Caller);
        table
    }

    /// A generator of Marsaglia's (xorshift64).
    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// Writes to `count` records, wherever they are.
    fn write(&mut self, count: usize) {
        for _ in 0..count {
            let at = self.next() as usize % (self.bytes.len() / RECORD) * RECORD;
            self.bytes[at + 32] ^= 1;
            self.tree.mark_at(at);
        }
    }

    fn root(&mut self, threads: Threads) -> [u8; 32] {
        self.tree.root(&self.bytes, threads)
    }

    fn grow(&mut self, records: usize) {
        self.bytes.resize(self.bytes.len() + records * RECORD, 7);
    }
}

/// The group `hash`.
pub fn bench_hash(criterion: &mut Criterion) {
    let tiny = crate::tiny();
    let mut group = criterion.benchmark_group("hash");
    group.sampling_mode(SamplingMode::Flat).sample_size(if tiny { 10 } else { 20 });
    group.warm_up_time(Duration::from_millis(if tiny { 1 } else { 300 }));
    group.measurement_time(Duration::from_millis(if tiny { 1 } else { 1_000 }));
    let table = RefCell::new(Table::new(if tiny { 1_000 } else { 1_000_000 }));
    roots(&mut group, &table, tiny);
    proofs(&mut group, &table);
    growth(&mut group, &table);
    digests(&mut group);
    group.finish();
}

fn roots(group: &mut BenchmarkGroup<'_, WallTime>, table: &RefCell<Table>, tiny: bool) {
    group.throughput(Throughput::Bytes(table.borrow().bytes.len() as u64));
    group.bench_function("hash::plain", |b| b.iter(|| plain(black_box(&table.borrow().bytes))));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads can be had");
    let counts = [0, 1, 100, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000];
    for updates in counts.into_iter().filter(|count| !tiny || *count <= 100) {
        let write = || table.borrow_mut().write(updates);
        group.bench_function(format!("hash::root/updates={updates}"), |b| {
            b.iter_batched(write, |()| table.borrow_mut().root(Threads::Caller), BatchSize::PerIteration);
        });
        group.bench_function(format!("hash::root/updates={updates}/threads=2"), |b| {
            let root = |table: &mut Table| pool.install(|| table.root(Threads::Pool));
            b.iter_batched(write, |()| root(&mut table.borrow_mut()), BatchSize::PerIteration);
        });
    }
    let mark_all = || {
        let mut table = table.borrow_mut();
        let all = 0..table.bytes.len();
        table.tree.mark(all);
    };
    group.bench_function("hash::root/updates=all", |b| {
        b.iter_batched(mark_all, |()| table.borrow_mut().root(Threads::Caller), BatchSize::PerIteration);
    });
}

fn proofs(group: &mut BenchmarkGroup<'_, WallTime>, table: &RefCell<Table>) {
    let root = table.borrow_mut().root(Threads::Caller);
    let table = table.borrow();
    let record = (table.bytes.len() / RECORD / 3 * RECORD) as u64;
    let range = record..record + RECORD as u64;
    let proof = table.tree.prove(&table.bytes, range.clone()).expect("a record of the table");
    group.throughput(Throughput::Elements(1));
    group.bench_function(format!("hash::prove/bytes={RECORD}"), |b| {
        b.iter(|| table.tree.prove(&table.bytes, black_box(range.clone())));
    });
    group.bench_function(format!("hash::verify_range/bytes={RECORD}"), |b| {
        b.iter(|| verify_range(black_box(&root), range.clone(), &proof));
    });
}

fn growth(group: &mut BenchmarkGroup<'_, WallTime>, table: &RefCell<Table>) {
    for records in [1, 1_000] {
        group.throughput(Throughput::Elements(records as u64));
        group.bench_function(format!("hash::grow/records={records}"), |b| {
            let grow = || table.borrow_mut().grow(records);
            b.iter_batched(grow, |()| table.borrow_mut().root(Threads::Caller), BatchSize::PerIteration);
        });
    }
}

/// A transaction's digest hashes chain id, two keys, amount, nonce, fee and kind.
fn digests(group: &mut BenchmarkGroup<'_, WallTime>) {
    let parts = [[7; 32], [8; 32], [9; 32]];
    let numbers = [3; 8 + 8 + 4 + 1];
    group.throughput(Throughput::Elements(1));
    group.bench_function("hash::domain/bytes=117", |b| {
        b.iter(|| hash(Domain::Transaction, black_box(&[&parts[0], &parts[1], &parts[2], &numbers])));
    });
}
