//! The formats: a full batch as it comes from a peer, and vertices of committees of several sizes.
//!
//! One thread. A vertex of a committee of n carries n parents and n acks.
//!
//! Not measured: sockets, frames and encryption, checking any signature, cold caches (a batch here is in the
//! cache, one from a socket may not be). Encoding a vertex includes its id and its signature, which is most of it;
//! decoding includes its id. Decoding a batch is a check of the header and a hash of 128 bytes, however many rows
//! there are, because the columns are views; so its throughput is in batches, not in rows.

use std::hint::black_box;

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use throng::crypto::{SigningKey, signing_key_from_seed};
use throng::types::*;
use throng::wire::{Batch, Rows, SignedVertex, seal, sign_vertex};

const CHAIN: ChainId = ChainId([7; 32]);
/// Accounts that the rows of a batch move between.
const ACCOUNTS: u32 = 100_000;

fn key() -> SigningKey {
    signing_key_from_seed([1; 32])
}

/// A batch of transfers, with an open row among every 64.
fn batch(count: u32) -> Batch {
    let account = |n: u32| 1 + n.wrapping_mul(2_654_435_761) % (ACCOUNTS - 1);
    let row = |n: u32| match n % 64 {
        0 => Effect::open(account(n), 5, 1, 100),
        _ => Effect::transfer(account(n), account(n + 1), 5, 1, 1),
    };
    let effects: Vec<Effect> = (0..count).map(row).collect();
    let keys = vec![[9; 32]; count.div_ceil(64) as usize];
    let witnesses = vec![Witness([5; 64]); count as usize];
    let rows = Rows { effects: &effects, keys: &keys, witnesses: &witnesses };
    seal(&key(), &CHAIN, (Epoch(0), Seat(1), Sequence(1)), ACCOUNTS, rows)
}

fn vertex(size: u16) -> Vertex {
    let seats = || (0..size).map(Seat);
    let batch = |author| BatchRef { author, sequence: Sequence(9), id: BatchId([3; 32]) };
    Vertex {
        epoch: Epoch(0),
        round: Round(9),
        author: Seat(0),
        time: Time(1_700_000_000_000_000),
        strong: seats().map(|author| Parent { author, id: VertexId([2; 32]) }).collect(),
        weak: vec![],
        acks: seats().map(|author| Ack { batch: batch(author), verdict: Verdict::Held }).collect(),
        parts: vec![],
    }
}

fn bench_batch(group: &mut BenchmarkGroup<'_, WallTime>, count: u32) {
    let batch = batch(count);
    group.throughput(Throughput::Elements(1));
    group.bench_function(format!("decode_batch/rows={count}"), |bench| {
        bench.iter(|| Batch::decode(black_box(batch.bytes()).clone()).expect("sealed here"));
    });
    group.throughput(Throughput::Elements(count.into()));
    group.bench_function(format!("check_rows/rows={count}"), |bench| {
        bench.iter(|| assert_eq!(black_box(&batch).rows().check(&Rules::default(), ACCOUNTS), Ok(())));
    });
    group.throughput(Throughput::Bytes(batch.bytes().len() as u64));
    group.bench_function(format!("check_roots/rows={count}"), |bench| {
        bench.iter(|| assert!(black_box(&batch).roots_match()));
    });
}

fn bench_vertex(group: &mut BenchmarkGroup<'_, WallTime>, size: u16) {
    let (key, vertex) = (key(), vertex(size));
    let signed = sign_vertex(&key, &CHAIN, vertex.clone());
    group.throughput(Throughput::Bytes(signed.bytes.len() as u64));
    group.bench_function(format!("encode_and_sign_vertex/n={size}"), |bench| {
        bench.iter_batched(
            || vertex.clone(),
            |vertex| sign_vertex(&key, &CHAIN, vertex),
            criterion::BatchSize::SmallInput,
        );
    });
    group.bench_function(format!("decode_vertex/n={size}"), |bench| {
        bench.iter(|| SignedVertex::decode(black_box(&signed.bytes).clone()).expect("signed here"));
    });
}

fn bench_wire(criterion: &mut Criterion) {
    // Without `--bench` cargo runs this as a test, and criterion runs each function once.
    let tiny = !std::env::args().any(|arg| arg == "--bench") || std::env::args().any(|arg| arg == "--test");
    let (rows, sizes): (u32, &[u16]) = if tiny { (3, &[4]) } else { (4_096, &[4, 10, 100]) };

    let mut group = criterion.benchmark_group("wire");
    group.sample_size(20);
    group.measurement_time(std::time::Duration::from_secs(1));
    group.warm_up_time(std::time::Duration::from_millis(500));
    bench_batch(&mut group, rows);
    for &size in sizes {
        bench_vertex(&mut group, size);
    }
    group.finish();
}

criterion_group!(benches, bench_wire);
criterion_main!(benches);
