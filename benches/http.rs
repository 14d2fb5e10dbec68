//! What a node answers over HTTP, on loopback: a chain of one with 100,000 accounts, and a client that keeps eight
//! connections busy.
//!
//! `http::answer` is the time per request, and so requests a second of the server's one thread. `http::cpu` is the CPU time
//! that the whole node spends on one, all of its threads: the process less the client's thread. That includes the beat of an
//! idle chain, some thousandths of a core. A submission (`submit`) brings one signed transfer; its verification, settlement,
//! execution and storage are part of what is measured as CPU, as far as they fall within the run.
//!
//! Not measured: limits for addresses (they are off here; `--http` serves an address 100 requests a second), connections that
//! come and go, streams of blocks, a wire, more than one node.
#![allow(clippy::disallowed_methods, reason = "wall-clock time is what is measured")]

#[path = "../tests/common/sockets.rs"]
mod sockets;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rustix::time::{ClockId, clock_gettime};
use sockets::{Chain, key_of};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use throng::api::http::{HttpLimits, HttpServer};
use throng::api::transfers_document;
use throng::crypto::public_key;
use throng::metrics::thread_cpu;
use throng::node::NodeConfig;
use throng::types::{Genesis, GenesisAccount, Policy};

const ACCOUNTS: u32 = 100_000;
/// Connections on which one request each is under way.
const CONNECTIONS: usize = 8;

/// A connection that stays.
struct Asker {
    stream: TcpStream,
    came: Vec<u8>,
}

impl Asker {
    fn new(server: SocketAddr) -> Asker {
        let stream = TcpStream::connect(server).expect("the server listens");
        stream.set_nodelay(true).expect("a socket");
        Asker { stream, came: Vec::new() }
    }

    /// Reads one answer; its body.
    fn answer(&mut self) -> &[u8] {
        self.came.clear();
        let mut piece = [0; 16 << 10];
        loop {
            if let Some(head) = self.came.windows(4).position(|four| four == b"\r\n\r\n") {
                let text = std::str::from_utf8(&self.came[..head]).expect("a head is text");
                assert!(text.starts_with("HTTP/1.1 200"), "{text}");
                let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
                let end = head + 4 + length.expect("a length").parse::<usize>().expect("a number");
                if self.came.len() == end {
                    return &self.came[head + 4..];
                }
            }
            let count = self.stream.read(&mut piece).expect("an answer");
            assert!(count > 0, "the server ended the connection");
            self.came.extend_from_slice(&piece[..count]);
        }
    }
}

/// Asks all of these, some at a time.
fn ask(askers: &mut [Asker], questions: &[Vec<u8>]) {
    for some in questions.chunks(askers.len()) {
        for (asker, question) in askers.iter_mut().zip(some) {
            asker.stream.write_all(question).expect("it listens");
        }
        askers.iter_mut().take(some.len()).for_each(|asker| _ = asker.answer());
    }
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: node\r\n\r\n").into_bytes()
}

fn process_cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// What is asked, of the count-th request.
type Question<'a> = &'a dyn Fn(u64) -> Vec<u8>;

fn chain() -> (Chain, Vec<throng::net::RunningNode>, HttpServer) {
    let mut genesis = Genesis::clone(&sockets::genesis(1, Policy::Quorum));
    let account = |number| GenesisAccount { key: public_key(&key_of(2, number)), balance: 1_000_000 };
    genesis.accounts = (1..=ACCOUNTS).map(account).collect();
    let (chain, nodes) = Chain::start_on(genesis.into(), NodeConfig::default(), 16 << 20);
    let limits = HttpLimits { requests_per_second: u32::MAX, ..HttpLimits::default() };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = HttpServer::start(listener, nodes[0].view(), limits).expect("it starts");
    (chain, nodes, server)
}

fn http(criterion: &mut Criterion) {
    let (chain, nodes, server) = chain();
    // With nothing executed since, the newest checkpoint proves accounts.
    let began = Instant::now();
    while nodes[0].view().progress().certified == 0 {
        assert!(began.elapsed() < sockets::PATIENCE, "no checkpoint is certified");
        std::thread::sleep(Duration::from_millis(50));
    }
    let number = |place: u64| place * 7919 % u64::from(ACCOUNTS) + 1;
    let submitted = std::cell::Cell::new(0);
    let submit = |_| {
        let place = submitted.replace(submitted.get() + 1);
        let (from, nonce) = (place as u32 % ACCOUNTS + 1, place / u64::from(ACCOUNTS) + 1);
        let transfers = chain.transfers(from, nonce, 1);
        let body = transfers_document(transfers.rows().effects, transfers.rows().witnesses).to_string();
        let head = "POST /v1/tx HTTP/1.1\r\nhost: node\r\ncontent-type: application/json\r\n";
        format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    // Submissions come last: what is executed changes which proof there is.
    let questions: [(&str, Question<'_>); 5] = [
        ("status", &|_| get("/status")),
        ("metrics", &|_| get("/metrics")),
        ("account/proof=none", &|place| get(&format!("/v1/account/{}?proof=none", number(place)))),
        ("account", &|place| get(&format!("/v1/account/{}?proof=required", number(place)))),
        ("submit", &submit),
    ];
    for (what, cpu) in [("http::answer", false), ("http::cpu", true)] {
        let mut group = criterion.benchmark_group(what);
        group.sample_size(10).throughput(Throughput::Elements(1));
        group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
        for (name, question) in questions {
            // After submissions: the table is again that of a checkpoint.
            if name == "account" {
                settle(&nodes[0], server.address());
            }
            group.bench_function(name, |bencher| {
                bencher.iter_custom(|count| {
                    let asked: Vec<_> = (0..count).map(question).collect();
                    // New ones, for a connection that rests is ended.
                    let mut askers: Vec<Asker> =
                        (0..CONNECTIONS).map(|_| Asker::new(server.address())).collect();
                    let before = (Instant::now(), process_cpu() - thread_cpu());
                    ask(&mut askers, &asked);
                    if cpu { process_cpu() - thread_cpu() - before.1 } else { before.0.elapsed() }
                });
            });
        }
        group.finish();
    }
    drop(server);
}

/// Waits until all rows are executed, a checkpoint after them is certified, and its proofs are to be had.
fn settle(node: &throng::net::RunningNode, server: SocketAddr) {
    let (view, began) = (node.view(), Instant::now());
    let height = view.progress().ordered + 8;
    while view.pending() != (0, 0) || view.progress().certified < height || !proves(server) {
        assert!(began.elapsed() < sockets::PATIENCE, "the chain does not settle what it has");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether an account is answered with its proof.
fn proves(server: SocketAddr) -> bool {
    let mut asker = Asker::new(server);
    asker.stream.write_all(&get("/v1/account/1?proof=required")).expect("it listens");
    let mut status = [0; 12];
    asker.stream.read_exact(&mut status).expect("an answer");
    status == *b"HTTP/1.1 200"
}

criterion_group!(benches, http);
criterion_main!(benches);
