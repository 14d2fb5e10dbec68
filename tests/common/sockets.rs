//! Whole nodes on loopback sockets and real files, and clients of them.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use throng::crypto::{SigningKey, public_key, sign, signing_key_from_seed};
use throng::net::{NetConfig, NodeSetup, RunningNode, StartError, Stopped};
use throng::node::{NodeConfig, Setup};
use throng::store::StoreConfig;
use throng::types::{
    AccountNumber, BlockHash, Effect, Genesis, GenesisAccount, Key, Policy, Rules, Seat, SeatInfo, Time,
    Witness,
};
use throng::wire::client::{BlockNotice, Reply, Request, Submission};
use throng::wire::{FrameReader, Rows, chain_id, frame_header, transaction_digest};

/// How long a test waits for bytes that must come before it gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const ACCOUNTS: u32 = 32;
/// The number of the key of a node without a seat.
pub const OBSERVER: u32 = 1_000;

pub fn key_of(kind: u8, number: u32) -> SigningKey {
    let mut seed = [kind; 32];
    seed[..4].copy_from_slice(&number.to_le_bytes());
    signing_key_from_seed(seed)
}

pub fn genesis(nodes: u16, policy: Policy) -> Arc<Genesis> {
    let seat = |seat: u16| SeatInfo {
        key: Key(public_key(&key_of(1, seat.into()))),
        fee_account: AccountNumber(ACCOUNTS - u32::from(seat)),
    };
    let account = |number: u32| GenesisAccount { key: public_key(&key_of(2, number)), balance: 1_000_000 };
    let genesis = Genesis {
        name: "loopback".into(),
        time: Time(1),
        rules: Rules { policy, checkpoint_blocks: 8, ..Rules::default() },
        seats: (0..nodes).map(seat).collect(),
        accounts: (1..=ACCOUNTS).map(account).collect(),
    };
    genesis.check().unwrap();
    Arc::new(genesis)
}

/// A chain's listeners and directories, so that a node can be started again in its place.
pub struct Chain {
    pub genesis: Arc<Genesis>,
    pub dir: tempfile::TempDir,
    pub peers: Vec<SocketAddr>,
    pub config: NodeConfig,
    pub segment_bytes: u64,
}

impl Chain {
    /// Starts all nodes of a new chain.
    pub fn start(nodes: u16, policy: Policy) -> (Chain, Vec<RunningNode>) {
        Chain::start_with(nodes, policy, NodeConfig::default())
    }

    pub fn start_with(nodes: u16, policy: Policy, config: NodeConfig) -> (Chain, Vec<RunningNode>) {
        Chain::start_on(genesis(nodes, policy), config, 16 << 20)
    }

    pub fn start_on(
        genesis: Arc<Genesis>,
        config: NodeConfig,
        segment_bytes: u64,
    ) -> (Chain, Vec<RunningNode>) {
        let nodes = genesis.seats.len() as u16;
        let bound: Vec<_> = (0..nodes).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let peers = bound.iter().map(|listener| listener.local_addr().unwrap()).collect();
        let dir = tempfile::tempdir().unwrap();
        let chain = Chain { genesis, dir, peers, config, segment_bytes };
        let start = |(seat, listener)| chain.node(seat, listener).unwrap();
        let running = (0..nodes).zip(bound).map(start).collect();
        (chain, running)
    }

    pub fn node(&self, seat: u16, peer_listener: TcpListener) -> Result<RunningNode, StartError> {
        let (peers, new) = (self.peers.clone(), self.setup(Seat(seat), &self.path(seat), peer_listener));
        RunningNode::start(NodeSetup { peers, ..new })
    }

    /// A node of the chain, with or without a seat, that knows of nobody yet.
    pub fn setup(&self, seat: Seat, dir: &Path, peer_listener: TcpListener) -> NodeSetup {
        let number = if seat == Seat::NONE { OBSERVER } else { seat.0.into() };
        let setup = Setup {
            genesis: self.genesis.clone(),
            seat,
            key: key_of(1, number),
            config: self.config,
            seed: number.into(),
        };
        let listeners = [peer_listener, TcpListener::bind("127.0.0.1:0").unwrap()];
        let store = StoreConfig { segment_bytes: self.segment_bytes, ..StoreConfig::default() };
        NodeSetup {
            store: StoreConfig { payload_bytes_max: 4 << 20, ..store },
            net: NetConfig { verify_threads: 1, ..NetConfig::default() },
            ..NodeSetup::new(setup, dir, listeners)
        }
    }

    pub fn path(&self, seat: u16) -> std::path::PathBuf {
        Path::join(self.dir.path(), format!("node-{seat}"))
    }

    /// Starts a node again on its directory and at its address.
    pub fn restart(&self, seat: u16) -> RunningNode {
        self.node(seat, TcpListener::bind(self.peers[usize::from(seat)]).unwrap()).unwrap()
    }

    /// Transfers of one account with so many nonces from one on.
    pub fn transfers(&self, from: u32, first_nonce: u64, count: u64) -> Submission {
        let (chain, key) = (chain_id(&self.genesis), key_of(2, from));
        let to = from % ACCOUNTS + 1;
        let to_key = self.genesis.accounts[to as usize - 1].key;
        let row = |nonce| {
            let effect = Effect::transfer(from, to, 3, nonce, 1);
            let digest = transaction_digest(&chain, &effect, &public_key(&key), &to_key);
            (effect, Witness(sign(&key, &digest)))
        };
        let (effects, witnesses): (Vec<_>, Vec<_>) = (first_nonce..first_nonce + count).map(row).unzip();
        Submission::pack(Rows { effects: &effects, keys: &[], witnesses: &witnesses }).unwrap()
    }
}

/// A client on a blocking socket.
pub struct Client {
    pub stream: TcpStream,
    pub reader: FrameReader,
    pub notices: Vec<BlockNotice>,
}

impl Client {
    pub fn connect(node: &RunningNode) -> Client {
        let stream = TcpStream::connect(node.client_address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Client { stream, reader: FrameReader::new(1 << 20), notices: Vec::new() };
        client.ask(&Request::Hello);
        assert!(matches!(client.next(), Reply::Welcome { .. }));
        client.ask(&Request::Subscribe);
        client
    }

    pub fn ask(&mut self, request: &Request) {
        let (kind, payload) = request.encode();
        let frame = [&frame_header(kind, payload.len())[..], &payload].concat();
        self.stream.write_all(&frame).unwrap();
    }

    pub fn next(&mut self) -> Reply {
        loop {
            if let Some(frame) = self.reader.next().unwrap() {
                return Reply::decode(&frame).unwrap();
            }
            let mut buffer = [0; 4096];
            let count = self.stream.read(&mut buffer).expect("the node answers in time");
            assert!(count > 0, "the node hung up");
            self.reader.push(&buffer[..count]);
        }
    }

    /// The next answer; notices of blocks are kept.
    pub fn answer(&mut self) -> Reply {
        loop {
            match self.next() {
                Reply::Block(notice) => self.notices.push(notice),
                reply => return reply,
            }
        }
    }

    pub fn next_block(&mut self) -> BlockNotice {
        match self.next() {
            Reply::Block(notice) => notice,
            other => panic!("{other:?}"),
        }
    }

    pub fn submit(&mut self, rows: Submission) -> u32 {
        self.ask(&Request::Submit { id: 7, rows });
        let Reply::Submitted { id: 7, accepted, refused } = self.answer() else { panic!("another answer") };
        assert_eq!(refused, []);
        accepted
    }

    /// Waits until so many rows have settled in blocks that this client was told of.
    pub fn until_settled(&mut self, rows: u32) {
        while self.notices.iter().map(|notice| notice.ok).sum::<u32>() < rows {
            match self.next() {
                Reply::Block(notice) => self.notices.push(notice),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// The same hash at every height that two nodes told of, and the same state.
pub fn assert_agreed(told: &[Vec<BlockNotice>], stopped: &[Stopped]) {
    let mut chain: BTreeMap<u64, BlockHash> = BTreeMap::new();
    for notice in told.iter().flatten() {
        let first = *chain.entry(notice.height.0).or_insert(notice.hash);
        assert_eq!(first, notice.hash, "height {}", notice.height);
    }
    assert!(stopped.windows(2).all(|pair| pair[0].root == pair[1].root), "{stopped:?}");
    assert!(stopped.windows(2).all(|pair| pair[0].last_full == pair[1].last_full), "{stopped:?}");
}
