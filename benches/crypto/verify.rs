//! Signature checking: the engine's batch and single check against `ed25519-dalek`, `ed25519-zebra` and
//! `ed25519-consensus`; and signing.
//!
//! Ids are `verify/<who>/signatures=…/signers=…`, all on one thread unless they say `threads=2`. Signed are random
//! digests of 32 bytes. The engine's keys are decompressed beforehand, as they are for accounts that have sent before,
//! but where the id says `first_sight`; `throng_seats` has a set of 16 keys that stay, tables made, and takes so many
//! claims at a time; the others decode each key from its bytes, as who has only bytes must, and
//! `dalek_batch`, whose interface takes decoded keys, decodes them too. All verdicts are checked in each iteration.
//!
//! Not measured: hashing the transaction into its digest, the look-up of keys by account number, cold caches (tables of
//! keys that stay then cost some 5 µs more per signature, so that eight together are better off in a batch), waiting
//! for a batch to fill. Nor is every verdict the same: the equation of `ed25519-dalek` is cofactorless and differs on
//! crafted signatures, while `ed25519-zebra` and `ed25519-consensus` follow ZIP-215 as the engine does. Their batches
//! get coefficients from BLAKE3, as fast as the engine's own.

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput};
use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use throng::crypto::{
    Claim, Domain, ExposedKey, Item, KeySet, PreparedKey, SigningKey, hash, public_key, sign, sign_exposed,
    signing_key_from_seed, verify, verify_batch,
};

use crate::random::Stream;

/// Signatures over different digests, by `signers` keys in turn.
struct Signed {
    keys: Vec<[u8; 32]>,
    messages: Vec<[u8; 32]>,
    signatures: Vec<[u8; 64]>,
}

fn numbered(kind: u8, number: usize) -> [u8; 32] {
    hash(Domain::Draw, &[&[kind], &(number as u64).to_le_bytes()])
}

impl Signed {
    /// The same for the same arguments, on every machine.
    fn new(count: usize, signers: usize) -> Self {
        let keys: Vec<SigningKey> = (0..signers).map(|i| signing_key_from_seed(numbered(0, i))).collect();
        let publics: Vec<[u8; 32]> = keys.iter().map(public_key).collect();
        let messages: Vec<[u8; 32]> = (0..count).map(|i| numbered(1, i)).collect();
        Self {
            keys: (0..count).map(|i| publics[i % signers]).collect(),
            signatures: messages.iter().enumerate().map(|(i, m)| sign(&keys[i % signers], m)).collect(),
            messages,
        }
    }

    /// The first `count`.
    fn first(&self, count: usize) -> impl Iterator<Item = (&[u8; 32], &[u8; 32], &[u8; 64])> {
        let rest = self.messages.iter().zip(&self.signatures);
        self.keys.iter().zip(rest).take(count).map(|(key, (message, signature))| (key, message, signature))
    }

    fn items(&self, count: usize) -> Vec<Item<'_>> {
        let item = |(key, message, signature): (&[u8; 32], &[u8; 32], _)| {
            let key = PreparedKey::new(key).expect("made from a signing key");
            Item { key, message: *message, signature }
        };
        self.first(count).map(item).collect()
    }

    /// Makes every signature bad whose place `bad` names: a well-formed one, of another message.
    fn spoil(&mut self, bad: impl Fn(usize) -> bool) {
        for (place, message) in self.messages.iter_mut().enumerate() {
            message[0] ^= u8::from(bad(place));
        }
    }

    fn dalek_loop(&self, count: usize) -> bool {
        self.first(count).all(|(key, message, signature)| {
            VerifyingKey::from_bytes(key)
                .is_ok_and(|key| key.verify(message, &Signature::from_bytes(signature)).is_ok())
        })
    }

    fn dalek_batch(&self, count: usize) -> bool {
        let messages: Vec<&[u8]> = self.messages[..count].iter().map(|message| &message[..]).collect();
        let signatures: Vec<_> = self.signatures[..count].iter().map(Signature::from_bytes).collect();
        let keys: Result<Vec<_>, _> = self.keys[..count].iter().map(VerifyingKey::from_bytes).collect();
        keys.is_ok_and(|keys| ed25519_dalek::verify_batch(&messages, &signatures, &keys).is_ok())
    }

    fn zebra_loop(&self, count: usize) -> bool {
        self.first(count).all(|(key, message, signature)| {
            let signature = ed25519_zebra::Signature::from_bytes(signature);
            ed25519_zebra::VerificationKey::try_from(*key)
                .is_ok_and(|key| key.verify(&signature, message).is_ok())
        })
    }

    fn zebra_batch(&self, count: usize) -> bool {
        let mut verifier = ed25519_zebra::batch::Verifier::new();
        for (key, message, signature) in self.first(count) {
            verifier.queue(((*key).into(), ed25519_zebra::Signature::from_bytes(signature), message));
        }
        verifier.verify(Stream::new()).is_ok()
    }

    fn consensus_loop(&self, count: usize) -> bool {
        self.first(count).all(|(key, message, signature)| {
            let signature = ed25519_consensus::Signature::from(*signature);
            ed25519_consensus::VerificationKey::try_from(*key)
                .is_ok_and(|key| key.verify(&signature, message).is_ok())
        })
    }

    fn consensus_batch(&self, count: usize) -> bool {
        let mut verifier = ed25519_consensus::batch::Verifier::new();
        for (key, message, signature) in self.first(count) {
            verifier.queue(((*key).into(), ed25519_consensus::Signature::from(*signature), message));
        }
        verifier.verify(Stream::new()).is_ok()
    }
}

/// How one peer checks the first so many signatures.
type Check = fn(&Signed, usize) -> bool;

/// What to measure: everything, or each function once in an instant.
struct Sizes {
    batches: &'static [usize],
    peer_batches: &'static [usize],
    most: usize,
    threads: usize,
    few_signers: usize,
    single: usize,
}

const FULL: Sizes = Sizes {
    batches: &[2, 8, 16, 32, 64, 256, 1_024, 4_096, 16_384],
    peer_batches: &[64, 4_096],
    most: 4_096,
    threads: 16_384,
    few_signers: 64,
    single: 64,
};

const TINY: Sizes =
    Sizes { batches: &[2, 3], peer_batches: &[3], most: 3, threads: 4, few_signers: 2, single: 2 };

/// Samples take 5 to 100 milliseconds each; the median of 15 is steady within a few per cent on a quiet machine.
fn group(criterion: &mut Criterion) -> BenchmarkGroup<'_, WallTime> {
    let mut group = criterion.benchmark_group("verify");
    group.sampling_mode(SamplingMode::Flat).sample_size(15).nresamples(1_000);
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(1_500));
    group
}

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a small pool starts")
}

/// One batch on a pool of so many threads, which must give these bad ones.
fn bench_batch(criterion: &mut Criterion, name: &str, items: &[Item<'_>], threads: usize, bad: usize) {
    let mut group = group(criterion);
    group.throughput(Throughput::Elements(items.len() as u64));
    group.bench_function(name, |bench| {
        pool(threads).install(|| {
            bench.iter(|| {
                let found = verify_batch(black_box(items)).err().map_or(0, |bad| bad.len());
                assert_eq!(found, bad);
            });
        });
    });
}

fn bench_check(criterion: &mut Criterion, id: BenchmarkId, signed: &Signed, count: usize, check: Check) {
    let mut group = group(criterion);
    group.throughput(Throughput::Elements(count as u64));
    group.bench_function(id, |bench| bench.iter(|| assert!(check(black_box(signed), count))));
}

fn of(count: usize, signers: usize) -> String {
    format!("signatures={count}/signers={signers}")
}

/// The engine's own.
fn bench_throng(criterion: &mut Criterion, sizes: &Sizes, all: &Signed) {
    let items = all.items(sizes.threads);
    bench_single(criterion, &items[..sizes.single]);
    for &count in sizes.batches {
        let name = format!("throng_batch/{}", of(count, count));
        bench_batch(criterion, &name, &items[..count], 1, 0);
    }
    let most = sizes.most;
    let few = Signed::new(most, sizes.few_signers);
    let name = format!("throng_batch/{}", of(most, sizes.few_signers));
    bench_batch(criterion, &name, &few.items(most), 1, 0);
    let name = format!("throng_batch/{}/threads=2", of(sizes.threads, sizes.threads));
    bench_batch(criterion, &name, &items, 2, 0);

    for (bad, places) in [(1, most / 3..most / 3 + 1), (most, 0..most)] {
        let mut spoilt = Signed::new(most, most);
        spoilt.spoil(|place| places.contains(&place));
        let name = format!("throng_batch/{}/bad={bad}", of(most, most));
        bench_batch(criterion, &name, &spoilt.items(most), 1, bad);
    }
    let mut group = group(criterion);
    group.throughput(Throughput::Elements(most as u64));
    group.bench_function(format!("throng_first_sight/{}", of(most, most)), |bench| {
        let pool = pool(1);
        pool.install(|| bench.iter(|| assert_eq!(verify_batch(&black_box(all).items(most)), Ok(()))));
    });
}

fn bench_single(criterion: &mut Criterion, items: &[Item<'_>]) {
    let count = items.len();
    let mut group = group(criterion);
    group.throughput(Throughput::Elements(count as u64));
    group.bench_function(format!("throng_single/{}", of(count, count)), |bench| {
        let valid = |item: &Item<'_>| verify(&item.key, &item.message, item.signature);
        bench.iter(|| assert!(black_box(items).iter().all(valid)));
    });
}

/// The signatures of validators, as many as arrive together.
fn bench_seats(criterion: &mut Criterion, sizes: &Sizes) {
    let seats = sizes.few_signers.min(16);
    let signed = Signed::new(seats, seats);
    let set = KeySet::new(&signed.keys);
    let rest = signed.messages.iter().zip(&signed.signatures).enumerate();
    let claims: Vec<Claim<'_>> =
        rest.map(|(signer, (message, signature))| Claim { signer, message: *message, signature }).collect();
    assert!(claims.iter().all(|claim| set.bad(&[*claim]).is_empty()), "every table is made");
    let mut group = group(criterion);
    group.throughput(Throughput::Elements(seats as u64));
    for together in [1, 4, 8, 16].into_iter().filter(|together| *together <= seats) {
        group.bench_function(format!("throng_seats/{}/together={together}", of(seats, seats)), |bench| {
            bench.iter(|| assert!(black_box(&claims).chunks(together).all(|some| set.bad(some).is_empty())));
        });
    }
}

/// The peers, each in its loop and its batch.
fn bench_peers(criterion: &mut Criterion, sizes: &Sizes, all: &Signed) {
    let loops: [(&str, Check); 3] = [
        ("dalek_loop", Signed::dalek_loop),
        ("zebra_loop", Signed::zebra_loop),
        ("consensus_loop", Signed::consensus_loop),
    ];
    let batches: [(&str, Check); 3] = [
        ("dalek_batch", Signed::dalek_batch),
        ("zebra_batch", Signed::zebra_batch),
        ("consensus_batch", Signed::consensus_batch),
    ];
    for (name, check) in loops {
        let count = sizes.single;
        bench_check(criterion, BenchmarkId::new(name, of(count, count)), all, count, check);
    }
    // The loop again over as many keys as the largest batches have, which then are not in the cache, and over few.
    let (most, few) = (sizes.most, Signed::new(sizes.most, sizes.few_signers));
    bench_check(criterion, BenchmarkId::new("dalek_loop", of(most, most)), all, most, Signed::dalek_loop);
    let id = BenchmarkId::new("dalek_loop", of(most, sizes.few_signers));
    bench_check(criterion, id, &few, most, Signed::dalek_loop);
    for (name, check) in batches {
        for &count in sizes.peer_batches {
            bench_check(criterion, BenchmarkId::new(name, of(count, count)), all, count, check);
        }
        bench_check(criterion, BenchmarkId::new(name, of(most, sizes.few_signers)), &few, most, check);
    }
}

/// One at a time, as a node signs; and many with keys that are no secret, as the load generator does.
fn bench_sign(criterion: &mut Criterion, sizes: &Sizes) {
    let (count, seeds) = (sizes.single, (0..sizes.few_signers).map(|i| numbered(0, i)));
    let key = signing_key_from_seed(numbered(0, 0));
    let digests: Vec<_> = (0..sizes.most).map(|i| numbered(1, i)).collect();
    let mut group = group(criterion);
    group.throughput(Throughput::Elements(count as u64));
    group.bench_function(format!("sign_single/{}", of(count, 1)), |bench| {
        bench.iter(|| black_box(&digests[..count]).iter().map(|digest| sign(&key, digest)[0]).max());
    });
    let keys: Vec<_> = seeds.map(ExposedKey::from_seed).collect();
    let items: Vec<_> =
        digests.iter().enumerate().map(|(i, digest)| (&keys[i % keys.len()], *digest)).collect();
    group.throughput(Throughput::Elements(items.len() as u64));
    group.bench_function(format!("sign_bulk/{}", of(items.len(), keys.len())), |bench| {
        bench.iter(|| sign_exposed(black_box(&items), &[7; 32]));
    });
}

/// The group `verify`.
pub fn bench_verify(criterion: &mut Criterion) {
    let sizes = if crate::tiny() { &TINY } else { &FULL };
    let all = Signed::new(sizes.threads, sizes.threads);
    bench_throng(criterion, sizes, &all);
    bench_seats(criterion, sizes);
    bench_peers(criterion, sizes, &all);
    bench_sign(criterion, sizes);
}
