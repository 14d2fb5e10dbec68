//! Whole chains in one process: how long chains of 1, 2 and 4 nodes take to settle a load of signed transfers, from
//! the first write to a client port until every node has every row settled, executed and durable.
//!
//! Real TCP, encryption, signatures, execution and disk. Measured is the time per 8,192 transfers, all nodes together,
//! with the queues kept full; both filling and emptying the pipeline are inside, so a run of `throng bench`, which
//! measures a window in the middle, shows more.
//!
//! Not measured: signing the transfers (done beforehand), latency, links between machines, more cores than this
//! machine has: all nodes share them.

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use std::time::Duration;
use throng::lab::Interrupt;
use throng::lab::generator::Pace;
use throng::lab::session::{Session, SessionConfig};
use throng::lab::workload::Wallet;
use throng::net::ShapeConfig;
use throng::node::NodeConfig;
use throng::types::Policy;

/// Transfers per iteration.
const ROWS: u64 = 8192;
/// Accounts that send and receive them.
const ACCOUNTS: u32 = 10_000;
/// How long a chain may take to settle one sample.
const SETTLE_MAX: Duration = Duration::from_secs(120);

fn settle(session: &mut Session<'_>, iterations: u64) -> Duration {
    let interrupt = Interrupt::never();
    let nodes = session.cluster().size() as u64;
    session.stock_up((iterations * ROWS).div_ceil(nodes), &interrupt, &|_, _| ());
    let start = session.clock().now();
    let sent_before = session.flow().counts().accepted;
    session.go(|_| Pace::Saturate { in_flight_max: ROWS * nodes }).expect("clients connect");
    let wanted = sent_before + iterations * ROWS;
    let settled = session.board().wait(SETTLE_MAX, |seen| seen.rows.iter().all(|&rows| rows >= wanted));
    let spent = session.clock().now().since(start);
    assert!(settled, "the chain settles its load: {:?}", session.broken());
    session.halt();
    spent
}

fn cluster(criterion: &mut Criterion) {
    let wallet = Wallet::derive(1, ACCOUNTS);
    let mut group = criterion.benchmark_group("cluster::settle");
    group.sample_size(10).sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(ROWS));
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(6));
    for nodes in [1usize, 2, 4] {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let interrupt = Interrupt::never();
        let chain = SessionConfig {
            nodes,
            policy: Policy::Quorum,
            seed: 1,
            conduct: NodeConfig::default(),
            net_threads: 1,
            shape: ShapeConfig::default(),
            limit_local: false,
            reserved: 0,
            program: None,
        };
        let mut session = Session::start(&wallet, chain, dir.path(), &interrupt).expect("the chain starts");
        group.bench_function(BenchmarkId::from_parameter(format!("nodes={nodes}")), |bencher| {
            bencher.iter_custom(|iterations| settle(&mut session, iterations));
        });
        let ended = session.finish();
        assert!(ended.stopped.iter().all(Result::is_ok), "every node stops cleanly: {:?}", ended.stopped);
    }
    group.finish();
}

criterion_group!(benches, cluster);
criterion_main!(benches);
