//! Nodes that start, fail and stop: each for a reason that it names.

use super::*;
use crate::crypto::{public_key, signing_key_from_seed};
use crate::node::{Node, NodeConfig};
use crate::store::GuardState;
use crate::types::{
    AccountNumber, Effect, Genesis, GenesisAccount, Key, Rules, Seat, SeatInfo, Time, Witness,
};
use crate::wire::client::{Refusal, Reply, Request, Submission};
use crate::wire::{self, FrameReader, Rows};
use std::io::{Read, Write};
use std::net::TcpStream;

fn setup() -> Setup {
    let key = signing_key_from_seed([1; 32]);
    let public = public_key(&key);
    let genesis = Arc::new(Genesis {
        name: "one".into(),
        time: Time(1),
        rules: Rules::default(),
        seats: vec![SeatInfo { key: Key(public), fee_account: AccountNumber(1) }],
        accounts: vec![GenesisAccount { key: public, balance: 5 }],
    });
    Setup { genesis, seat: Seat(0), key, config: NodeConfig::default(), seed: 1 }
}

fn start(dir: &std::path::Path) -> RunningNode {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let peers = vec!["127.0.0.1:1".parse().unwrap()];
    RunningNode::start(NodeSetup { peers, ..NodeSetup::new(setup(), dir, listeners) }).unwrap()
}

#[test]
fn a_node_whose_thread_fails_stops_with_the_reason_and_can_start_again() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path());
    node.mailbox.post(Report::Died("the store failed: no space".to_owned()));
    let state = node.state.clone();
    assert_eq!(node.stop(), Err("the store failed: no space".to_owned()));
    assert_eq!(state.failure.lock().as_deref(), Some("the store failed: no space"));
    assert!(start(dir.path()).stop().is_ok());
}

/// Asks over a client's connection, and waits for the answer.
fn ask(stream: &mut TcpStream, reader: &mut FrameReader, request: &Request) -> Reply {
    let (kind, payload) = request.encode();
    stream.write_all(&[&wire::frame_header(kind, payload.len())[..], &payload].concat()).unwrap();
    loop {
        if let Some(frame) = reader.next().unwrap() {
            return Reply::decode(&frame).unwrap();
        }
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the node hung up");
        reader.push(&buffer[..count]);
    }
}

#[test]
fn while_the_disk_is_full_clients_are_told_so_and_then_the_node_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path());
    let (mut stream, mut reader) =
        (TcpStream::connect(node.client_address()).unwrap(), FrameReader::new(1 << 20));
    let mut ask = |request: &Request| ask(&mut stream, &mut reader, request);
    assert!(matches!(ask(&Request::Hello), Reply::Welcome { .. }));
    let (effect, witness) = (Effect::transfer(1, 1, 1, 1, 1), Witness([0; 64]));
    let rows = Rows { effects: &[effect], keys: &[], witnesses: &[witness] };
    let rows = Request::Submit { id: 1, rows: Submission::pack(rows).unwrap() };
    let blobs = Request::SubmitBlobs { id: 2, blobs: wire::Blobs::pack(64, vec![1; 64]).unwrap() };
    let untaken = |refusal| Reply::Taken { id: 2, accepted: Err(refusal) };
    let refused_with = |reply: Reply| match reply {
        Reply::Submitted { id: 1, accepted: 0, refused } => refused[0].1,
        other => panic!("{other:?}"),
    };
    assert_ne!(refused_with(ask(&rows)), Refusal::DiskFull);
    assert_eq!(ask(&blobs), untaken(Refusal::Malformed), "this chain carries none");
    let lacking = StoreError::NoSpace { dir: dir.path().to_owned(), needed: 2, free: 1 };
    node.mailbox.post(Report::Room(Some(lacking)));
    while !node.progress().disk_full {
        ask(&Request::Status);
    }
    assert_eq!(refused_with(ask(&rows)), Refusal::DiskFull);
    assert_eq!(ask(&blobs), untaken(Refusal::DiskFull));
    assert_eq!(Metrics::read(&node.metrics().disk_full), 1);
    let stands = node.progress().round;
    for _ in 0..100 {
        assert!(matches!(ask(&Request::Status), Reply::Status(_)));
    }
    assert_eq!(node.progress().round, stands);
    node.mailbox.post(Report::Room(None));
    while node.progress().round <= stands {
        ask(&Request::Status);
    }
    assert_ne!(refused_with(ask(&rows)), Refusal::DiskFull);
    assert_eq!(Metrics::read(&node.metrics().disk_full), 0);
    node.stop().unwrap();
}

#[test]
fn a_node_that_executes_otherwise_than_the_others_stops_and_names_block_and_seats() {
    let keys = [1, 2, 3, 4].map(|seed| signing_key_from_seed([seed; 32]));
    let seat = |key| SeatInfo { key: Key(public_key(key)), fee_account: AccountNumber(1) };
    let genesis = Arc::new(Genesis {
        name: "four".into(),
        rules: Rules { checkpoint_blocks: 2, ..Rules::default() },
        seats: keys.iter().map(seat).collect(),
        ..(*setup().genesis).clone()
    });
    let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
    let dirs = [(); 4].map(|()| tempfile::tempdir().unwrap());
    let doors = [(); 4].map(|()| bind());
    let peers: Vec<_> = doors.iter().map(|door| door.local_addr().unwrap()).collect();
    let mut nodes = Vec::new();
    for ((number, key), door) in (0..).zip(keys).zip(doors) {
        let setup = Setup { genesis: genesis.clone(), seat: Seat(number), key, ..setup() };
        let new = NodeSetup::new(setup, dirs[usize::from(number)].path(), [door, bind()]);
        nodes.push(RunningNode::start(NodeSetup { peers: peers.clone(), ..new }).unwrap());
    }
    // A payment that no block has, from the only account to itself.
    let stray = Effect::transfer(1, 1, 1, 1, 1);
    let rows = Rows { effects: &[stray], keys: &[], witnesses: &[Witness([0; 64])] };
    let mut wrong = nodes.remove(1);
    wrong.shared.ledger.execute(&[(rows, AccountNumber(1))]);
    let reason = wrong.thread.take().unwrap().join().unwrap().unwrap_err();
    assert!(reason.contains("its block ") && reason.contains("but seats "), "{reason}");
    assert_eq!(wrong.failure(), Some(reason));
    nodes.into_iter().for_each(|node| _ = node.stop().unwrap());
}

#[test]
fn a_panic_in_the_pool_ends_the_node_and_not_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = start(dir.path());
    let (mailbox, metrics) = (node.mailbox.clone(), node.metrics.clone());
    let (_, shared) = Node::open(setup(), std::iter::empty(), GuardState::Missing, Time(1)).unwrap();
    let mut verifiers = Verifiers::start(1, shared, metrics, mailbox).unwrap();
    verifiers.spawn(|_| panic!("as a test"));
    drop(verifiers);
    let thread = node.thread.take().unwrap();
    assert_eq!(thread.join().unwrap(), Err("the verification pool panicked: as a test".to_owned()));
    assert!(node.failure().unwrap().contains("as a test"));
}
