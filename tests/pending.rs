//! What callers cost a node that never finish their handshake: so many places, so much memory for each, and not for long. Alone
//! in its process, because memory and descriptors are the process'.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use throng::crypto::{KeySet, public_key, signing_key_from_seed};
use throng::metrics::Dismissal;
use throng::net::{Identity, NOWHERE, NodeSetup, PeerLink, RunningNode};
use throng::node::{NodeConfig, Setup};
use throng::store::StoreConfig;
use throng::types::{AccountNumber, Genesis, GenesisAccount, Key, Rules, Seat, SeatInfo, Time};
use throng::wire::chain_id;

/// Callers on the peer port that a node keeps waiting at once, at most.
const PLACES: usize = 256;
/// What one of them may cost, in bytes of memory, both ends of its socket apart.
const BYTES_MAX: usize = 16 << 10;
/// How long one may take, and a while for a busy machine.
const DEADLINE: Duration = Duration::from_secs(5 + 25);

fn start(dir: &std::path::Path) -> (RunningNode, Arc<Identity>) {
    let keys = [1, 2].map(|seed| signing_key_from_seed([seed; 32]));
    let seat = |key| SeatInfo { key: Key(public_key(key)), fee_account: AccountNumber(1) };
    let genesis = Genesis {
        name: "pending".into(),
        time: Time(1),
        rules: Rules::default(),
        seats: keys.iter().map(seat).collect(),
        accounts: vec![GenesisAccount { key: [1; 32], balance: 5 }],
    };
    let seats = Arc::new(KeySet::new(&keys.each_ref().map(public_key)));
    let [other, key] = keys;
    let other = Identity { chain: chain_id(&genesis), seat: Seat(0), key: other, seats };
    let config = NodeConfig::default();
    let setup = Setup { genesis: Arc::new(genesis), seat: Seat(1), key, config, seed: 1 };
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let node = RunningNode::start(NodeSetup {
        store: StoreConfig { segment_bytes: 16 << 20, ..StoreConfig::default() },
        peers: vec![NOWHERE; 2],
        ..NodeSetup::new(setup, dir, listeners)
    });
    (node.unwrap(), Arc::new(other))
}

/// Memory of this process that is its own, in bytes.
fn memory() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Everything up to the own identity, which never comes: the dearest way to wait.
fn exchange(node: &RunningNode, of: &Arc<Identity>) -> TcpStream {
    let mut stream = TcpStream::connect(node.peer_address()).unwrap();
    let mut link = PeerLink::dial(of.clone(), Seat(1)).unwrap();
    stream.write_all(link.out.pending()).unwrap();
    link.out.consume(link.out.pending().len());
    // The node has answered once its keys are made.
    while link.out.pending().is_empty() {
        let mut buffer = [0; 512];
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the node hung up");
        link.receive(&mut buffer[..count], &mut Vec::new()).unwrap();
    }
    stream
}

#[test]
fn callers_that_never_finish_their_handshake_are_few_cheap_and_gone_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let (node, other) = start(dir.path());
    let ended = |dismissal| node.metrics().dismissed(dismissal);
    let descriptors_before = descriptors();
    // What is made once is there before; not more, or the memory would be some that was used already.
    let warm: Vec<TcpStream> = (0..4).map(|_| exchange(&node, &other)).collect();
    drop(warm);
    while descriptors() > descriptors_before {
        std::thread::yield_now();
    }
    let bytes_before = memory();
    let mut callers: Vec<TcpStream> = (0..PLACES).map(|_| exchange(&node, &other)).collect();
    let bytes = memory().saturating_sub(bytes_before) / PLACES;
    println!("a caller that never proves itself: {bytes} bytes of memory, both ends");
    assert!(bytes < BYTES_MAX, "{bytes} bytes for each");
    assert_eq!(descriptors() - descriptors_before, 2 * PLACES, "a descriptor for each, at either end");
    // More of them take the places of the oldest.
    let full = ended(Dismissal::Full);
    callers.extend((0..100).map(|_| exchange(&node, &other)));
    while ended(Dismissal::Full) < full + 100 {
        std::thread::yield_now();
    }
    assert_eq!(descriptors() - descriptors_before, 2 * PLACES + 100, "the node has no more than before");
    // And all of them are hung up on, without another word from anybody.
    for caller in &mut callers {
        caller.set_read_timeout(Some(DEADLINE)).unwrap();
        match caller.read(&mut [0; 64]) {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("{other:?}"),
        }
    }
    // Their ends are closed before they are counted.
    while ended(Dismissal::Silent) < PLACES as u64 {
        std::thread::yield_now();
    }
    assert_eq!(ended(Dismissal::Silent), PLACES as u64);
    assert_eq!(descriptors() - descriptors_before, callers.len(), "what is left is the callers' own");
    node.stop().unwrap();
}
