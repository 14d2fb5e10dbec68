//! Signature checking: the engine's batch and single check against a loop over `ed25519-dalek`.
//!
//! One thread, unless the name says `threads=2`. Signed are random digests, all valid; the engine's keys are
//! decompressed beforehand, as they are for accounts that have sent before, while the loop decodes the key each
//! time, as who has only bytes must.
//!
//! Not measured: the first sight of a key (a decompression more), hashing the transaction into its digest, the
//! look-up of keys by account number, cold caches, batches that hold a bad signature. Nor is the loop's verdict
//! the engine's: its equation is cofactorless and differs on crafted signatures.

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use throng::crypto::{
    Domain, Item, PreparedKey, SigningKey, hash, public_key, sign, signing_key_from_seed, verify,
    verify_batch,
};

/// Signatures over different digests, by `signers` keys in turn.
struct Signed {
    keys: Vec<[u8; 32]>,
    messages: Vec<[u8; 32]>,
    signatures: Vec<[u8; 64]>,
}

impl Signed {
    /// The same for the same arguments, on every machine.
    fn new(count: usize, signers: usize) -> Self {
        let numbered = |kind: u8, i: usize| hash(Domain::Draw, &[&[kind], &(i as u64).to_le_bytes()]);
        let keys: Vec<SigningKey> = (0..signers).map(|i| signing_key_from_seed(numbered(0, i))).collect();
        let messages: Vec<[u8; 32]> = (0..count).map(|i| numbered(1, i)).collect();
        Self {
            keys: (0..count).map(|i| public_key(&keys[i % signers])).collect(),
            signatures: messages.iter().enumerate().map(|(i, m)| sign(&keys[i % signers], m)).collect(),
            messages,
        }
    }

    fn items(&self) -> Vec<Item<'_>> {
        let prepared = self.keys.iter().map(|key| PreparedKey::new(key).expect("made from a signing key"));
        let rest = self.messages.iter().zip(&self.signatures);
        prepared
            .zip(rest)
            .map(|(key, (message, signature))| Item { key, message: *message, signature })
            .collect()
    }

    /// Whether the first `count` signatures hold for `ed25519-dalek`.
    fn dalek_loop(&self, count: usize) -> bool {
        self.keys.iter().zip(&self.messages).zip(&self.signatures).take(count).all(
            |((key, message), signature)| {
                VerifyingKey::from_bytes(key)
                    .is_ok_and(|key| key.verify(message, &Signature::from_bytes(signature)).is_ok())
            },
        )
    }
}

fn group<'a>(criterion: &'a mut Criterion, name: &str, count: usize) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(format!("verify::{name}"));
    group.sampling_mode(SamplingMode::Flat).sample_size(10).nresamples(1000);
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(1500));
    group.throughput(Throughput::Elements(count as u64));
    group
}

fn bench_batch(criterion: &mut Criterion, items: &[Item<'_>], keys: usize, threads: usize) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a small pool starts");
    let suffix = if threads == 1 { String::new() } else { format!("/threads={threads}") };
    let id = format!("signatures={}/keys={keys}{suffix}", items.len());
    group(criterion, "batch", items.len()).bench_function(id, |bench| {
        pool.install(|| bench.iter(|| assert_eq!(verify_batch(black_box(items)), Ok(()))));
    });
}

fn bench_single(criterion: &mut Criterion, item: &Item<'_>) {
    group(criterion, "single", 1).bench_function("signatures=1/keys=1", |bench| {
        bench.iter(|| assert!(verify(&item.key, black_box(&item.message), item.signature)));
    });
}

fn bench_dalek_loop(criterion: &mut Criterion, signed: &Signed, count: usize) {
    let id = format!("signatures={count}/keys={count}");
    group(criterion, "dalek_loop", count).bench_function(id, |bench| {
        bench.iter(|| assert!(black_box(signed).dalek_loop(count)));
    });
}

fn bench_verify(criterion: &mut Criterion) {
    // Without `--bench` cargo runs this as a test, and criterion runs each function once.
    let tiny = !std::env::args().any(|arg| arg == "--bench") || std::env::args().any(|arg| arg == "--test");
    let sizes: &[usize] = if tiny { &[3] } else { &[8, 64, 1024, 4096] };
    let largest = sizes[sizes.len() - 1];

    let signed = Signed::new(largest, largest);
    let items = signed.items();
    bench_single(criterion, &items[0]);
    for &count in sizes {
        bench_dalek_loop(criterion, &signed, count);
        bench_batch(criterion, &items[..count], count, 1);
    }
    bench_batch(criterion, &items, largest, 2);
    let few = (largest / 2).min(64);
    bench_batch(criterion, &Signed::new(largest, few).items(), few, 1);
}

criterion_group!(name = benches; config = Criterion::default().without_plots(); targets = bench_verify);
criterion_main!(benches);
