//! Nodes in processes of their own, under load, ended by SIGKILL at arbitrary instants and started again.
//!
//! `THRONG_KILLS=200 cargo test --test kill` ends more of them than the few of every run.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use throng::audit;
use throng::crypto::{SigningKey, public_key, sign, signing_key_from_seed};
use throng::net::{NetConfig, NodeSetup, RunningNode};
use throng::node::{NodeConfig, Setup};
use throng::store::{Append, RecordKind, Store, StoreConfig};
use throng::types::{
    AccountNumber, BlockHash, Effect, Genesis, GenesisAccount, Key, Rules, Seat, SeatInfo, Time, VertexId,
    Witness,
};
use throng::wire::client::{BlockNotice, Reply, Request, Submission};
use throng::wire::{
    FrameReader, Rows, SignedVertex, block_hash, chain_id, decode_block, frame_header, transaction_digest,
};

const NODES: u16 = 4;
const ACCOUNTS: u32 = 32;
/// Kills without being asked for more.
const KILLS: u64 = 4;
/// In whose environment a test is a child, and what it is to do.
const SEAT: &str = "THRONG_TEST_SEAT";
const PEERS: &str = "THRONG_TEST_PEERS";
const DIR: &str = "THRONG_TEST_DIR";

fn key_of(kind: u8, number: u32) -> SigningKey {
    let mut seed = [kind; 32];
    seed[..4].copy_from_slice(&number.to_le_bytes());
    signing_key_from_seed(seed)
}

fn genesis() -> Genesis {
    let seat = |seat: u16| SeatInfo {
        key: Key(public_key(&key_of(1, seat.into()))),
        fee_account: AccountNumber(u32::from(seat) + 1),
    };
    let account =
        |number: u32| GenesisAccount { key: public_key(&key_of(2, number)), balance: 1_000_000_000 };
    Genesis {
        name: "killed".into(),
        time: Time(1),
        rules: Rules { checkpoint_blocks: 16, ..Rules::default() },
        seats: (0..NODES).map(seat).collect(),
        accounts: (1..=ACCOUNTS).map(account).collect(),
    }
}

/// Runs a node until its standard input ends, if this process was started for that.
#[test]
fn child_node() {
    let Ok(seat) = std::env::var(SEAT) else { return };
    let seat = Seat(seat.parse().expect("a seat"));
    let peers: Vec<SocketAddr> = std::env::var(PEERS)
        .expect("peers")
        .split(',')
        .map(|peer| peer.parse().expect("an address"))
        .collect();
    let listener = |address: SocketAddr| TcpListener::bind(address).expect("the port is free again");
    let setup = Setup {
        genesis: Arc::new(genesis()),
        seat,
        key: key_of(1, seat.0.into()),
        // So that starts go on from snapshots, and are killed while these are written.
        config: NodeConfig { snapshot_after_bytes: 64 << 10, ..NodeConfig::default() },
        seed: seat.0.into(),
    };
    let listeners = [listener(peers[seat.index()]), listener("127.0.0.1:0".parse().expect("an address"))];
    let node = RunningNode::start(NodeSetup {
        store: StoreConfig { segment_bytes: 16 << 20, ..StoreConfig::default() },
        net: NetConfig { verify_threads: 1, ..NetConfig::default() },
        peers,
        ..NodeSetup::new(setup, std::env::var(DIR).expect("a directory"), listeners)
    });
    let node = node.unwrap_or_else(|error| panic!("node {seat}: {error}"));
    println!("\nready {}", node.client_address());
    io::stdin().read_to_end(&mut Vec::new()).expect("standard input ends");
    node.stop().unwrap_or_else(|reason| panic!("node {seat}: {reason}"));
    println!("\nstopped");
}

/// A node's process, and where its clients connect.
struct Process {
    child: Child,
    out: BufReader<ChildStdout>,
    clients: SocketAddr,
}

impl Process {
    fn start(seat: u16, peers: &str, dir: &Path) -> Process {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "child_node", "--nocapture"])
            .env(SEAT, seat.to_string())
            .env(PEERS, peers)
            .env(DIR, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let clients = said(&mut out, "ready ").unwrap_or_else(|| panic!("node {seat} did not start"));
        Process { child, out, clients: clients.parse().expect("an address") }
    }

    fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("it ended");
    }

    fn stop(mut self) {
        drop(self.child.stdin.take());
        assert!(said(&mut self.out, "stopped").is_some(), "a node stops when it is asked to");
        assert!(self.child.wait().expect("it ended").success());
    }
}

/// The rest of the first line that begins so; `None` at the end.
fn said(out: &mut impl BufRead, begin: &str) -> Option<String> {
    out.lines().map_while(Result::ok).find_map(|line| Some(line.strip_prefix(begin)?.to_owned()))
}

/// What a client of one node was told, over all of its lives.
type Told = Vec<BlockNotice>;

/// A client that keeps a node busy while it lives and comes back when it does.
fn load(seat: u16, address: &parking_lot::Mutex<SocketAddr>, over: &AtomicBool) -> Told {
    let mut told = Told::new();
    while !over.load(Ordering::Relaxed) {
        let address = *address.lock();
        if life(seat, address, over, &mut told).is_err() {
            std::thread::yield_now(); // it was killed
        }
    }
    told
}

/// One connection, until it breaks or all is over.
fn life(seat: u16, address: SocketAddr, over: &AtomicBool, told: &mut Told) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_millis(20)))?;
    let mut reader = FrameReader::new(1 << 20);
    let mine: Vec<u32> =
        (1..=ACCOUNTS).filter(|account| account % u32::from(NODES) == u32::from(seat)).collect();
    let mut nonces: BTreeMap<u32, u64> = BTreeMap::new();
    let mut next = vec![Request::Hello, Request::Subscribe];
    next.extend(mine.iter().map(|account| Request::Account(AccountNumber(*account))));
    let (mut outstanding, mut turn) = (0, 0);
    while !over.load(Ordering::Relaxed) {
        if nonces.len() == mine.len() && outstanding == 0 {
            // Eight at a time of an account: within its window even if some never settle.
            let account = mine[turn % mine.len()];
            let nonce = nonces[&account];
            next.push(Request::Submit { id: 1, rows: transfers(account, nonce + 1, 8) });
            nonces.insert(account, nonce + 8);
            (outstanding, turn) = (1, turn + 1);
        }
        for request in next.drain(..) {
            let (kind, payload) = request.encode();
            stream.write_all(&[&frame_header(kind, payload.len())[..], &payload].concat())?;
        }
        let mut buffer = [0; 16 << 10];
        match stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => reader.push(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        while let Some(frame) = reader.next().map_err(io::Error::other)? {
            match Reply::decode(&frame).map_err(io::Error::other)? {
                Reply::Block(notice) => told.push(notice),
                Reply::Account(number, Some(account)) => {
                    nonces.insert(number.0, account.nonce_high.get());
                }
                Reply::Submitted { refused, .. } => {
                    outstanding = 0;
                    // What never settled has left a gap, or is being sealed again: ask where the account stands.
                    if !refused.is_empty() {
                        next.extend(mine.iter().map(|account| Request::Account(AccountNumber(*account))));
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn transfers(from: u32, first_nonce: u64, count: u64) -> Submission {
    let (genesis, key) = (genesis(), key_of(2, from));
    let (chain, to) = (chain_id(&genesis), from % ACCOUNTS + 1);
    let row = |nonce| {
        let effect = Effect::transfer(from, to, 3, nonce, 1);
        let keys = [from, to].map(|number| genesis.accounts[number as usize - 1].key);
        let digest = transaction_digest(&chain, &effect, &keys[0], &keys[1]);
        (effect, Witness(sign(&key, &digest)))
    };
    let (effects, witnesses): (Vec<_>, Vec<_>) = (first_nonce..first_nonce + count).map(row).unzip();
    Submission::pack(Rows { effects: &effects, keys: &[], witnesses: &witnesses }).expect("a few rows")
}

/// The hash of each block in a directory, and every vertex.
fn read(dir: &Path) -> (Vec<BlockHash>, Vec<(u16, u64, VertexId)>) {
    let (mut blocks, mut vertices) = (Vec::new(), Vec::new());
    for record in Store::records(dir, None).expect("a directory of a node") {
        let (kind, bytes) = record.expect("a sound record");
        match kind {
            RecordKind::Block => {
                assert_eq!(decode_block(&bytes).expect("a block").height.0, blocks.len() as u64 + 1);
                blocks.push(block_hash(&bytes));
            }
            RecordKind::Vertex => {
                let vertex = SignedVertex::decode(bytes).expect("a vertex");
                vertices.push((vertex.vertex.author.0, vertex.vertex.round.0, vertex.id));
            }
            _ => {}
        }
    }
    (blocks, vertices)
}

#[test]
fn nodes_that_are_killed_lose_nothing_that_they_told_and_sign_nothing_twice() {
    let kills =
        std::env::var("THRONG_KILLS").map_or(KILLS, |kills| kills.parse().expect("a number of kills"));
    let outer = tempfile::tempdir().expect("a directory for the test");
    let dir = |seat: u16| outer.path().join(format!("node-{seat}"));
    let bound: Vec<_> = (0..NODES).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    let peers: Vec<_> = bound.iter().map(|port| port.local_addr().expect("bound").to_string()).collect();
    drop(bound);
    let peers = peers.join(",");
    let mut nodes: Vec<_> = (0..NODES).map(|seat| Some(Process::start(seat, &peers, &dir(seat)))).collect();
    let addresses: Vec<_> =
        nodes.iter().flatten().map(|node| parking_lot::Mutex::new(node.clients)).collect();
    let over = AtomicBool::new(false);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(std::process::id());
    let mut draw = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let told: Vec<Told> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..NODES)
            .zip(&addresses)
            .map(|(seat, address)| {
                let over = &over;
                scope.spawn(move || load(seat, address, over))
            })
            .collect();
        let pause = crossbeam::channel::never::<()>();
        for kill in 0..kills {
            let _ = pause.recv_timeout(Duration::from_millis(50 + draw(700))); // an arbitrary instant, which is the point
            let seat = draw(NODES.into()) as u16;
            let at = usize::from(seat);
            nodes[at].take().expect("it runs").kill();
            let node = Process::start(seat, &peers, &dir(seat));
            *addresses[at].lock() = node.clients;
            nodes[at] = Some(node);
            if (kill + 1) % 50 == 0 {
                eprintln!("{} kills", kill + 1);
            }
        }
        let _ = pause.recv_timeout(Duration::from_secs(2)); // they go on
        over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("a client")).collect()
    });
    nodes.into_iter().flatten().for_each(Process::stop);

    let found: Vec<_> = (0..NODES).map(|seat| read(&dir(seat))).collect();
    let longest = found.iter().map(|(blocks, _)| blocks).max_by_key(|blocks| blocks.len()).expect("four");
    for (seat, ((blocks, _), told)) in found.iter().zip(&told).enumerate() {
        assert_eq!(blocks[..], longest[..blocks.len()], "node {seat} diverged");
        for notice in told {
            let at = notice.height.0 as usize - 1;
            assert_eq!(
                blocks.get(at),
                Some(&notice.hash),
                "node {seat} lost block {} that it told",
                notice.height
            );
        }
        assert!(told.iter().any(|notice| notice.ok > 0), "node {seat} was never under load");
    }
    let mut signed: BTreeMap<(u16, u64), BTreeSet<VertexId>> = BTreeMap::new();
    for (author, round, id) in found.iter().flat_map(|(_, vertices)| vertices) {
        signed.entry((*author, *round)).or_default().insert(*id);
    }
    let twice: Vec<_> = signed.iter().filter(|(_, ids)| ids.len() > 1).collect();
    assert!(twice.is_empty(), "signed twice: {twice:?}");
    for seat in 0..NODES {
        let options = audit::Options { from_height: 1, signatures: true, threads: 2 };
        let verified = audit::verify(&dir(seat), &options, &|_, _| false).expect("it can be judged");
        assert_eq!(verified.fault, None, "node {seat}");
    }
    let settled: u64 = told[0].iter().map(|notice| u64::from(notice.ok)).sum();
    eprintln!("{kills} kills: {} blocks, node 0 told of {settled} settled rows", longest.len());
}

/// Reads a mapped record whose file was truncated, if this process was started for that.
#[test]
fn child_that_reads_a_truncated_map() {
    let Ok(dir) = std::env::var(DIR) else { return };
    if std::env::var(SEAT).is_ok() {
        return;
    }
    let dir = Path::new(&dir);
    let mut store = Store::open(dir, b"any", &StoreConfig::default()).expect("a new one").store;
    let (sender, synced) = std::sync::mpsc::channel();
    store.start(Box::new(move |result| sender.send(result).unwrap_or_default())).expect("it starts");
    let bytes = vec![1; 100_000].into();
    store
        .append(vec![Append { number: 1, kind: RecordKind::Batch, bytes, guard: None }])
        .expect("there is room");
    let view = synced.recv().expect("it runs").expect("the disk works").remove(0).view;
    let file = std::fs::OpenOptions::new().write(true).open(dir.join("segment-000001.blk")).expect("there");
    file.set_len(4096).expect("truncated");
    println!("{}", view[90_000]);
}

#[test]
fn a_page_that_is_gone_ends_the_process_with_the_name_of_the_file() {
    use std::os::unix::process::ExitStatusExt;
    let dir = tempfile::tempdir().expect("a directory for the test");
    let output = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "child_that_reads_a_truncated_map", "--nocapture"])
        .env(DIR, dir.path())
        .output()
        .expect("it ran");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(7), "{said}");
    let file = dir.path().join("segment-000001.blk");
    assert!(said.contains("mapped page") && said.contains(file.to_str().expect("a path in UTF-8")), "{said}");
}
