//! A node whose process has run out of descriptors turns callers away instead of spinning or dying. Alone in its
//! process, because the limit is the process'.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use throng::crypto::{public_key, signing_key_from_seed};
use throng::net::{NodeSetup, RunningNode};
use throng::node::{NodeConfig, Setup};
use throng::store::StoreConfig;
use throng::types::{AccountNumber, Genesis, GenesisAccount, Key, Rules, Seat, SeatInfo, Time};
use throng::wire::client::{Reply, Request};
use throng::wire::{FrameReader, frame_header};

fn start(dir: &std::path::Path) -> RunningNode {
    let key = signing_key_from_seed([1; 32]);
    let public = public_key(&key);
    let genesis = Genesis {
        name: "descriptors".into(),
        time: Time(1),
        rules: Rules::default(),
        seats: vec![SeatInfo { key: Key(public), fee_account: AccountNumber(1) }],
        accounts: vec![GenesisAccount { key: public, balance: 5 }],
    };
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let config = NodeConfig::default();
    let setup = Setup { genesis: Arc::new(genesis), seat: Seat(0), key, config, seed: 1 };
    RunningNode::start(NodeSetup {
        store: StoreConfig { segment_bytes: 16 << 20, ..StoreConfig::default() },
        peers: vec!["127.0.0.1:1".parse().unwrap()],
        ..NodeSetup::new(setup, dir, listeners)
    })
    .unwrap()
}

#[test]
fn out_of_descriptors_callers_are_turned_away_until_there_are_some_again() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(256), maximum: limit.maximum }).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path());
    let mut hoard = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }
    for _ in 0..5 {
        // One descriptor for the caller, none for the node.
        hoard.pop();
        let mut caller = TcpStream::connect(node.client_address()).unwrap();
        let hung_up = caller.read(&mut [0; 1]).map_or(true, |count| count == 0);
        assert!(hung_up);
        drop(caller);
        while let Ok(file) = File::open("/dev/null") {
            hoard.push(file);
        }
    }
    assert_eq!(node.metrics().connections_dropped(), 5);
    // Some are left: clients are turned away all the same, so that the block files find one when they need it.
    hoard.truncate(hoard.len() - 10);
    let mut caller = TcpStream::connect(node.client_address()).unwrap();
    assert!(caller.read(&mut [0; 1]).map_or(true, |count| count == 0));
    assert_eq!(node.metrics().connections_dropped(), 6);
    drop(File::open("/dev/null").unwrap());
    drop((hoard, caller));
    let mut caller = TcpStream::connect(node.client_address()).unwrap();
    let (kind, payload) = Request::Hello.encode();
    caller.write_all(&[&frame_header(kind, payload.len())[..], &payload].concat()).unwrap();
    let mut reader = FrameReader::new(1024);
    let welcome = loop {
        if let Some(frame) = reader.next().unwrap() {
            break Reply::decode(&frame).unwrap();
        }
        let mut buffer = [0; 256];
        let count = caller.read(&mut buffer).unwrap();
        assert!(count > 0, "hung up");
        reader.push(&buffer[..count]);
    };
    assert!(matches!(welcome, Reply::Welcome { .. }));
    assert_eq!(node.failure(), None);
    node.stop().unwrap();
}
