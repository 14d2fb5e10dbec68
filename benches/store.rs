//! Block files: durable appends, and opening a directory.
//!
//! `append/bytes=…/together=…` appends records of one size, so many for each wait, and counts what is durable.
//! `open/transactions=…` opens a directory and checks every record; `recover/transactions=…` also replays it: the order
//! from its vertices, every block executed again and compared; `restart/transactions=…` does so from the newest snapshot of
//! the account table on. `copy/accounts=…` is what the executor stops for at a snapshot, `snapshot/accounts=…` writes one
//! durably, beside a log that is idle. The directory's one node has settled unsigned transfers among 100,000
//! accounts, since opening checks no signatures. Files are warm; what a cold disk adds is not measured, nor are peers'
//! engines (`perf/`).

use bytes::Bytes;
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use throng::crypto::{Domain, hash, public_key, signing_key_from_seed};
use throng::ledger::Ledger;
use throng::mempool::{Entry, Offer};
use throng::node::{Input, Node, NodeConfig, Output, Setup, Snapshots, TABLE_BYTES_MAX};
use throng::store::{Append, Errand, Guard, GuardState, Kept, Opened, RecordKind, Store, StoreConfig};
use throng::types::{
    AccountNumber, Effect, Genesis, GenesisAccount, Height, Key, Rules, Seat, SeatInfo, Time, Witness,
};
use throng::wire::encode_genesis;

/// Rows of a full batch.
const BATCH: u64 = 4096;

/// Whether this is a test and not a measurement.
fn tiny() -> bool {
    let has = |flag: &str| std::env::args().any(|arg| arg == flag);
    !has("--bench") || has("--test")
}

fn genesis(accounts: u32) -> Arc<Genesis> {
    let key = signing_key_from_seed([1; 32]);
    let account = |number: u32| GenesisAccount {
        key: hash(Domain::Draw, &[&number.to_le_bytes()]),
        balance: 1_000_000,
    };
    Arc::new(Genesis {
        name: "bench".into(),
        time: Time(1),
        // The few blocks of a test have checkpoints, too.
        rules: Rules { checkpoint_blocks: if tiny() { 2 } else { 64 }, ..Rules::default() },
        seats: vec![SeatInfo { key: Key(public_key(&key)), fee_account: AccountNumber(1) }],
        accounts: (0..accounts).map(account).collect(),
    })
}

fn setup(genesis: &Arc<Genesis>) -> Setup {
    let key = signing_key_from_seed([1; 32]);
    Setup { genesis: genesis.clone(), seat: Seat(0), key, config: NodeConfig::default(), seed: 1 }
}

/// Lets a node without peers settle so many transfers, and keeps what it writes.
fn fill(dir: &Path, genesis: &Arc<Genesis>, transactions: u64, after_bytes: u64) {
    let mut store =
        Store::open(dir, &encode_genesis(genesis), &StoreConfig::default()).expect("a new one").store;
    let (sender, synced) = channel();
    let (keeper, kept) = channel();
    store.start_keeper(Box::new(move |done| keeper.send(done).unwrap_or_default())).expect("it starts");
    store.start(Box::new(move |result| sender.send(result).unwrap_or_default())).expect("it starts");
    let config = NodeConfig { snapshot_after_bytes: after_bytes, ..NodeConfig::default() };
    let (mut node, shared) = Node::open(
        Setup { config, ..setup(genesis) },
        std::iter::empty(),
        GuardState::Intact(Guard::default()),
        Time(1),
    )
    .expect("nothing to recover");
    let accounts = genesis.accounts.len() as u64;
    let (mut now, mut offered, mut settled) = (Time(1), 0, 0);
    while settled < transactions {
        now = now + Duration::from_millis(20);
        let count = shared.mempool.room().min((transactions - offered) as usize).min(BATCH as usize) as u64;
        let rows: Vec<Offer> = (offered..offered + count)
            .map(|row| {
                let to = (row * 7_919 + 13) % accounts;
                let effect =
                    Effect::transfer((row % accounts) as u32 + 1, to as u32 + 1, 1, row / accounts + 1, 1);
                let entry = Entry { effect, key: None, witness: Witness([5; 64]) };
                Offer { entry, balance: 1_000_000, from: Seat::NONE, sealed_here: true }
            })
            .collect();
        shared.mempool.insert(&rows);
        offered += count;
        let mut inputs = vec![Input::Rows];
        while let Some(input) = inputs.pop() {
            node.handle(now, input);
            while let Some(output) = node.poll() {
                match output {
                    Output::Job(job) => inputs.push(Input::Done(job.run(&shared))),
                    Output::Execute(job) => inputs.push(Input::Done(job.run(&shared).into())),
                    Output::Persist(records) => {
                        let count = records.len();
                        store.append(records).expect("nothing else waits");
                        let mut views = Vec::new();
                        while views.len() < count {
                            views.extend(synced.recv().expect("it runs").expect("the disk works"));
                        }
                        let persisted = |synced: throng::store::Synced| Input::Persisted {
                            number: synced.number,
                            view: synced.view,
                        };
                        inputs.extend(views.into_iter().map(persisted).rev());
                    }
                    Output::Snapshot { height, table, kept: older } => {
                        let kept = write_snapshot(&store, &kept, height, table, older);
                        inputs.push(Input::Snapshotted { height, written: kept });
                    }
                    Output::Prune { .. } => panic!("all blocks are kept"),
                    Output::Durable(notice) => settled += u64::from(notice.ok),
                    Output::Send { .. } | Output::Broadcast(_) | Output::Misbehaved { .. } => {}
                    Output::Serve { .. } => panic!("nobody asks"),
                    Output::Convicted(_) => panic!("a chain of one that is honest"),
                    Output::Forged(forged) => panic!("{forged}"),
                    Output::Diverged(divergence) => panic!("{divergence}"),
                }
            }
        }
    }
    store.close().expect("all is durable");
}

fn write_snapshot(
    store: &Store,
    kept: &Receiver<Kept>,
    height: Height,
    bytes: Bytes,
    older: Option<Height>,
) -> bool {
    let kept_height = older.map(|height| height.0);
    assert!(store.errand(Errand::Snapshot { height: height.0, bytes, kept: kept_height }));
    matches!(kept.recv(), Ok(Kept::Snapshot { written: Ok(()), .. }))
}

fn bench_snapshot(criterion: &mut Criterion) {
    let accounts = if tiny() { 1_000 } else { 1_000_000 };
    let genesis = genesis(accounts);
    let ledger = Ledger::new(genesis.table());
    let dir = tempfile::tempdir().expect("a directory");
    let mut store =
        Store::open(dir.path(), &encode_genesis(&genesis), &StoreConfig::default()).expect("a new one").store;
    let (keeper, kept) = channel();
    store.start_keeper(Box::new(move |done| keeper.send(done).unwrap_or_default())).expect("it starts");
    let mut group = criterion.benchmark_group("store");
    group.sampling_mode(SamplingMode::Flat).sample_size(10).nresamples(1_000);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    group.throughput(Throughput::Bytes(u64::from(accounts) * 64));
    group.bench_function(format!("copy/accounts={accounts}"), |bench| bench.iter(|| ledger.copy()));
    let table = ledger.copy();
    group.bench_function(format!("snapshot/accounts={accounts}"), |bench| {
        bench.iter(|| assert!(write_snapshot(&store, &kept, Height(64), table.clone(), None)));
    });
}

fn bench_open(criterion: &mut Criterion) {
    let (transactions, accounts) = if tiny() { (20_000, 1_000) } else { (10_000_000, 100_000) };
    let dir = tempfile::tempdir().expect("a directory");
    let genesis = genesis(accounts);
    fill(dir.path(), &genesis, transactions, if tiny() { 1 << 20 } else { 256 << 20 });
    let bytes = encode_genesis(&genesis);
    let open = || Store::open(dir.path(), &bytes, &StoreConfig::default()).expect("it is sound");
    let mut group = criterion.benchmark_group("store");
    group.sampling_mode(SamplingMode::Flat).sample_size(10).nresamples(1_000);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(1));
    group.throughput(Throughput::Elements(transactions));
    group.bench_function(format!("open/transactions={transactions}"), |bench| {
        bench.iter(|| drop(open()));
    });
    group.bench_function(format!("recover/transactions={transactions}"), |bench| {
        bench.iter(|| {
            let Opened { records, store, guard, .. } = open();
            let (node, shared) = Node::open(setup(&genesis), records, guard, Time(2)).expect("it replays");
            drop(store);
            (node.tip(), shared)
        });
    });
    group.bench_function(format!("restart/transactions={transactions}"), |bench| {
        bench.iter(|| {
            let Opened { records, store, guard, snapshots, removed, .. } = open();
            assert!(!snapshots.is_empty());
            let read = |height: Height| {
                Store::snapshot(dir.path(), height.0, TABLE_BYTES_MAX).map_err(|error| error.to_string())
            };
            let snapshots =
                Snapshots { heights: snapshots.into_iter().map(Height).collect(), removed, read: &read };
            let opened = Node::open_newest(setup(&genesis), snapshots, records, guard, Time(2));
            let (node, shared, refused) = opened.expect("it goes on");
            assert!(refused.is_empty());
            drop(store);
            (node.tip(), shared)
        });
    });
}

fn bench_append(criterion: &mut Criterion) {
    let genesis = encode_genesis(&genesis(1));
    let sizes: &[(usize, usize)] = if tiny() {
        &[(1 << 10, 2)]
    } else {
        &[(256 << 10, 1), (256 << 10, 16), (16 << 10, 1), (16 << 10, 64)]
    };
    for &(bytes, together) in sizes {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = Store::open(dir.path(), &genesis, &StoreConfig::default()).expect("a new one").store;
        let (sender, synced) = channel();
        store.start(Box::new(move |result| sender.send(result).unwrap_or_default())).expect("it starts");
        let payload = Bytes::from(vec![7; bytes]);
        let mut group = criterion.benchmark_group("store");
        group.sampling_mode(SamplingMode::Flat).sample_size(10).nresamples(1_000);
        group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(1_500));
        group.throughput(Throughput::Bytes((bytes * together) as u64));
        group.bench_function(format!("append/bytes={bytes}/together={together}"), |bench| {
            bench.iter(|| {
                for number in 0..together as u64 {
                    let append =
                        Append { number, kind: RecordKind::Batch, bytes: payload.clone(), guard: None };
                    store.append(vec![append]).expect("there is room");
                }
                let mut durable = 0;
                while durable < together {
                    durable += synced.recv().expect("it runs").expect("the disk works").len();
                }
            });
        });
        group.finish();
        store.close().expect("all is durable");
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots();
    targets = bench_append, bench_snapshot, bench_open
}
criterion_main!(benches);
