//! Agreement without signatures: what it costs per vertex to take a vertex in and to decide, order and count what it
//! completes.
//!
//! One thread. Every seat writes in every round and names every vertex of the round before; vertices come round by
//! round, and every committed leader is emitted at once. The figure is per vertex: a round costs `n` of them.
//! `decide` has vertices without acks; `settle` lets every seat ack one batch of every seat in each round, so that each
//! vertex carries `n` acks and all of them settle; `silent` leaves the last `f` seats out for ever.
//!
//! Not measured: signatures, decoding and hashing of vertices, making one's own (choosing parents), disk, network, the
//! machine around it; twins; vertices that come before their parents; cold caches between vertices.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use throng::consensus::{Consensus, Insert};
use throng::types::{
    AccountNumber, Ack, BatchId, BatchRef, Epoch, Genesis, GenesisAccount, Key, Parent, Round, Rules, Seat,
    SeatInfo, Sequence, Time, Verdict, Vertex, VertexId,
};
use throng::wire::SignedVertex;

/// Seats and rounds: some collection depths at least, so that the floor moves and old rounds are let go.
const SIZES: [(u16, u64); 4] = [(4, 400), (10, 300), (50, 150), (100, 120)];

fn genesis(n: u16) -> Genesis {
    let seat = |s: u16| SeatInfo { key: Key([s as u8; 32]), fee_account: AccountNumber(1) };
    Genesis {
        name: "bench".into(),
        time: Time(1),
        rules: Rules::default(),
        seats: (0..n).map(seat).collect(),
        accounts: vec![GenesisAccount { key: [1; 32], balance: 1 }],
    }
}

fn id(round: u64, author: u16) -> VertexId {
    let mut id = [7; 32];
    id[..8].copy_from_slice(&round.to_le_bytes());
    id[8..10].copy_from_slice(&author.to_le_bytes());
    VertexId(id)
}

/// Full rounds of the first `writing` of `n` seats, each vertex with `acks` acks.
fn rounds(writing: u16, rounds: u64, acks: u16) -> Vec<Arc<SignedVertex>> {
    let ack = |round: u64, author: u16| Ack {
        batch: BatchRef { author: Seat(author), sequence: Sequence(round), id: BatchId([author as u8; 32]) },
        verdict: Verdict::Valid,
    };
    let vertex = |round: u64, author: u16| {
        let below = if round > 1 { 0..writing } else { 0..0 };
        let vertex = Vertex {
            epoch: Epoch(0),
            round: Round(round),
            author: Seat(author),
            time: Time(round * 1_000 + u64::from(author)),
            strong: below.map(|a| Parent { author: Seat(a), id: id(round - 1, a) }).collect(),
            weak: Vec::new(),
            acks: (0..acks).map(|a| ack(round, a)).collect(),
            parts: Vec::new(),
        };
        let bytes = Bytes::from_static(&[0; 64]);
        Arc::new(SignedVertex { vertex, id: id(round, author), signature: [0; 64], bytes })
    };
    (1..=rounds).flat_map(|round| (0..writing).map(move |author| vertex(round, author))).collect()
}

/// Takes everything in and returns how many leaders were emitted and how many batches settled.
fn play(mut consensus: Consensus, vertices: &[Arc<SignedVertex>]) -> (usize, usize, Consensus) {
    let (mut leaders, mut settled) = (0, 0);
    for vertex in vertices {
        assert!(matches!(consensus.insert(vertex.clone()), Insert::Accepted(_)));
        while let Some(emitted) = consensus.next_emitted() {
            leaders += 1;
            settled += emitted.settled.len();
        }
    }
    (leaders, settled, consensus)
}

fn measure(group: &mut BenchmarkGroup<'_, WallTime>, n: u16, writing: u16, count: u64, acks: u16) {
    let genesis = genesis(n);
    let vertices = rounds(writing, count, acks);
    // What is measured does what it should, before its time counts.
    let (leaders, settled, _) = play(Consensus::new(&genesis, Some(Seat(0))), &vertices);
    assert!(leaders as u64 + 3 > count * u64::from(writing) / u64::from(n) / 2, "{leaders} leaders");
    assert_eq!(settled > 0, acks > 0, "{settled} batches");
    group.throughput(Throughput::Elements(vertices.len() as u64));
    group.bench_function(format!("n={n}"), |bencher| {
        let fresh = || Consensus::new(&genesis, Some(Seat(0)));
        // Letting go of the world is not part of it.
        bencher.iter_batched(fresh, |consensus| play(consensus, &vertices), BatchSize::PerIteration);
    });
}

fn consensus(criterion: &mut Criterion) {
    // As a test it runs once each: small worlds show that it works.
    let test =
        std::env::args().any(|argument| argument == "--test") || !std::env::args().any(|a| a == "--bench");
    let sizes = if test { vec![(4, 12), (10, 12)] } else { SIZES.to_vec() };
    for kind in ["decide", "settle", "silent"] {
        let mut group = criterion.benchmark_group(format!("consensus/{kind}"));
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(3));
        for &(n, count) in &sizes {
            let (silent, acks) = match kind {
                "settle" => (0, n),
                "silent" => ((n - 1) / 3, 0),
                _ => (0, 0),
            };
            measure(&mut group, n, n - silent, count, acks);
        }
        group.finish();
    }
}

criterion_group!(benches, consensus);
criterion_main!(benches);
