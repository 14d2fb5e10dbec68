//! Observers on loopback sockets and real files: they follow, verify, serve others, and come late; and nodes that know one
//! other find the rest.

#[path = "common/sockets.rs"]
mod sockets;

use sockets::*;
use std::net::{SocketAddr, TcpListener};
use throng::audit::{Options, verify};
use throng::consensus::Retention;
use throng::net::{Name, Named, NodeSetup, Resolve, RunningNode, StartError};
use throng::node::NodeConfig;
use throng::types::{AccountNumber, Policy, Seat};
use throng::wire::client::{Refusal, Reply, Request};

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// How a node finds others, and what it says of itself.
struct Way {
    bootstrap: Vec<SocketAddr>,
    announce: Option<SocketAddr>,
}

/// Starts a node of a chain that knows only where these are.
fn start(
    chain: &Chain,
    seat: Seat,
    dir: &str,
    listener_at: TcpListener,
    way: Way,
) -> Result<RunningNode, StartError> {
    let Way { bootstrap, announce } = way;
    let mut new = chain.setup(seat, &chain.dir.path().join(dir), listener_at);
    if seat == Seat::NONE {
        // A key for each of them, by the name of its directory.
        (new.setup.key, new.setup.seed) = (key_of(1, OBSERVER + dir.len() as u32), dir.len() as u64);
    }
    RunningNode::start(NodeSetup { bootstrap, announce, ..new })
}

fn observer(chain: &Chain, dir: &str, bootstrap: &[SocketAddr]) -> RunningNode {
    let way = Way { bootstrap: bootstrap.to_vec(), announce: None };
    start(chain, Seat::NONE, dir, listener(), way).unwrap()
}

/// Waits until a client has been told of a block of this hash.
fn until_told(client: &mut Client, of: &throng::wire::client::BlockNotice) {
    while client.notices.iter().all(|told| told.height != of.height) {
        let Reply::Block(notice) = client.next() else { panic!("another answer") };
        client.notices.push(notice);
    }
    assert!(client.notices.iter().any(|told| told.hash == of.hash), "another block at {}", of.height);
}

#[test]
fn observers_follow_a_chain_by_each_other_serve_what_they_have_and_seal_nothing() {
    let (chain, running) = Chain::start(4, Policy::Quorum);
    let first = observer(&chain, "a", &chain.peers[1..2]);
    // The second knows nobody but the first.
    let second = observer(&chain, "bb", &[first.peer_address()]);
    let mut told: Vec<Client> = [&running[0], &first, &second].map(Client::connect).into();
    let mut sent = 0;
    for turn in 0..5 {
        sent += told[0].submit(chain.transfers(1 + turn, 1, 20));
        told.iter_mut().for_each(|client| client.until_settled(sent));
    }
    // What it is asked for it answers, what is to be sealed it refuses.
    told[2].ask(&Request::Account(AccountNumber(1)));
    let Reply::Account(_, Some(account)) = told[2].answer() else { panic!("no account") };
    assert_eq!(account.nonce_high.get(), 20);
    told[1].ask(&Request::Submit { id: 4, rows: chain.transfers(9, 1, 2) });
    let Reply::Submitted { id: 4, accepted: 0, refused } = told[1].answer() else { panic!("another answer") };
    assert_eq!(refused, [(0, Refusal::NoSeat), (1, Refusal::NoSeat)]);
    let last = told[0].notices.iter().rfind(|notice| notice.ok > 0).copied().unwrap();
    told[1..].iter_mut().for_each(|client| until_told(client, &last));
    assert!(running.iter().all(|node| node.progress().peers == 3), "observers are no validators");
    let stopped: Vec<_> = [first, second].into_iter().map(|node| node.stop().unwrap()).collect();
    let veterans: Vec<_> = running.into_iter().map(|node| node.stop().unwrap()).collect();
    assert!(stopped.iter().all(|stopped| stopped.root == veterans[0].root), "{stopped:?} {veterans:?}");
    // Its directory is as good as anybody's.
    let options = Options { from_height: 1, signatures: true, threads: 1 };
    let verified = verify(&chain.dir.path().join("bb"), &options, &|_, _| false).unwrap();
    assert_eq!((verified.fault, verified.report.root), (None, stopped[1].root.to_string()));
}

#[test]
fn an_observer_that_comes_late_catches_up_from_an_observer_and_again_after_a_stop() {
    let vertices_kept = Retention { depths: 3, bytes: 0 };
    let config = NodeConfig { vertices_kept, batches_kept: 16, ..NodeConfig::default() };
    let (chain, running) = Chain::start_with(4, Policy::Quorum, config);
    let first = observer(&chain, "a", &chain.peers);
    let mut told: Vec<Client> = [&running[0], &first].map(Client::connect).into();
    let (mut sent, mut turn) = (0, 0);
    let mut pay = |told: &mut [Client]| {
        sent += told[0].submit(chain.transfers(turn % 20 + 1, 1 + u64::from(turn) / 20 * 3, 3));
        turn += 1;
        told.iter_mut().for_each(|client| client.until_settled(sent));
    };
    // Beyond what anybody keeps in memory.
    while running[0].progress().emitted < 300 {
        pay(&mut told);
    }
    let away = running[0].progress().durable;
    let mut late = observer(&chain, "bb", &[first.peer_address()]);
    for life in 0..2 {
        while late.progress().durable < away || late.progress().catching_up {
            pay(&mut told);
            assert_eq!(late.failure(), None);
        }
        let mut client = Client::connect(&late);
        pay(&mut told);
        pay(&mut told);
        let last = told[0].notices.iter().rfind(|notice| notice.ok > 0).copied().unwrap();
        until_told(&mut client, &last);
        let stopped = late.stop().unwrap();
        assert!(stopped.height >= last.height, "life {life}");
        late = observer(&chain, "bb", &[first.peer_address()]);
    }
    let stopped = late.stop().unwrap();
    let last = first.stop().unwrap();
    assert!(running.into_iter().all(|node| node.stop().is_ok()));
    let options = Options { from_height: 1, signatures: true, threads: 1 };
    for (dir, stopped) in [("a", last), ("bb", stopped)] {
        let verified = verify(&chain.dir.path().join(dir), &options, &|_, _| false).unwrap();
        assert_eq!((verified.fault, verified.report.root), (None, stopped.root.to_string()), "{dir}");
    }
}

#[test]
fn validators_that_know_one_of_them_find_each_other_also_after_one_has_moved() {
    let (chain, running) = Chain::start(4, Policy::Quorum);
    running.into_iter().for_each(|node| _ = node.stop().unwrap());
    let bound: Vec<TcpListener> = (0..4).map(|_| listener()).collect();
    let addresses: Vec<SocketAddr> = bound.iter().map(|bound| bound.local_addr().unwrap()).collect();
    let way = |seat: usize| Way {
        bootstrap: if seat == 2 { vec![addresses[0]] } else { vec![addresses[2]] },
        announce: Some(addresses[seat]),
    };
    let named = |seat: u16| format!("node-{seat}");
    let mut running: Vec<Option<RunningNode>> = (0..4u16)
        .zip(bound)
        .map(|(seat, bound)| Some(start(&chain, Seat(seat), &named(seat), bound, way(seat.into())).unwrap()))
        .collect();
    let all_know = |running: &[Option<RunningNode>]| {
        while !running.iter().flatten().all(|node| node.progress().peers == 3) {
            assert!(running.iter().flatten().all(|node| node.failure().is_none()));
            std::thread::yield_now();
        }
    };
    all_know(&running);
    let mut client = Client::connect(running[1].as_ref().unwrap());
    client.submit(chain.transfers(1, 1, 20));
    client.until_settled(20);
    // Seat 3 comes back elsewhere, and knows nobody but by its own book.
    running[3].take().unwrap().stop().unwrap();
    let moved = listener();
    let announce = Some(moved.local_addr().unwrap());
    let way = Way { bootstrap: vec!["127.0.0.1:1".parse().unwrap()], announce };
    running[3] = Some(start(&chain, Seat(3), &named(3), moved, way).unwrap());
    all_know(&running);
    client.submit(chain.transfers(2, 1, 20));
    client.until_settled(40);
    let stopped: Vec<_> = running.into_iter().flatten().map(|node| node.stop().unwrap()).collect();
    assert!(stopped.windows(2).all(|pair| pair[0].root == pair[1].root));
}

#[test]
fn an_observer_without_a_way_or_with_a_validators_key_does_not_start() {
    let (chain, running) = Chain::start(1, Policy::Quorum);
    drop(running);
    let start = |bootstrap: Vec<SocketAddr>, key: u32| {
        let mut new = chain.setup(Seat::NONE, &chain.dir.path().join("o"), listener());
        new.setup.key = key_of(1, key);
        RunningNode::start(NodeSetup { bootstrap, ..new }).err()
    };
    assert!(matches!(start(Vec::new(), 50), Some(StartError::Bootstrap)));
    assert!(matches!(start(chain.peers.clone(), 0), Some(StartError::Observer(0))));
    assert!(start(chain.peers.clone(), 50).is_none());
}

#[test]
fn what_is_announced_must_be_an_address_at_which_a_host_can_be_called() {
    let (chain, running) = Chain::start(1, Policy::Quorum);
    drop(running);
    let no_host = ["0.0.0.0:7", "[::]:7", "[::ffff:0.0.0.0]:7", "127.0.0.1:0"];
    // Nobody reads a record of these: whoever was told of one would end the connection.
    let many = ["224.0.0.1:7", "[ff02::1]:7", "255.255.255.255:7"];
    for wrong in no_host.into_iter().chain(many) {
        let announce = Some(wrong.parse().unwrap());
        let new = chain.setup(Seat(0), &chain.path(0), listener());
        let refused =
            RunningNode::start(NodeSetup { peers: chain.peers.clone(), announce, ..new }).err().unwrap();
        assert!(refused.to_string().starts_with(wrong), "{refused}");
    }
}

#[test]
fn the_guard_of_a_directory_that_an_observer_opened_is_as_the_validator_left_it() {
    let (chain, running) = Chain::start(2, Policy::Quorum);
    let mut client = Client::connect(&running[0]);
    let sent = client.submit(chain.transfers(1, 1, 5));
    client.until_settled(sent);
    drop(client);
    let [zero, one] = <[RunningNode; 2]>::try_from(running).ok().unwrap();
    zero.stop().unwrap();
    let guard = || std::fs::read(chain.path(0).join("guard")).unwrap();
    let left = guard();
    // An observer with a key of its own goes on from the records of the validator.
    let new = chain.setup(Seat::NONE, &chain.path(0), listener());
    let watching = RunningNode::start(NodeSetup { bootstrap: vec![one.peer_address()], ..new }).unwrap();
    while watching.progress().peers == 0 {
        Client::connect(&watching);
    }
    watching.stop().unwrap();
    assert!(guard() == left, "an observer signs nothing");
    // And the validator is back where it was: the chain of two goes on.
    let zero = chain.restart(0);
    let mut client = Client::connect(&zero);
    let sent = client.submit(chain.transfers(2, 1, 5));
    client.until_settled(sent);
    for node in [zero, one] {
        node.stop().unwrap();
    }
}

/// Names that a test decides upon.
#[derive(Default)]
struct Names(std::sync::Mutex<Option<SocketAddr>>);

impl Resolve for Names {
    fn resolve(&self, name: &str) -> std::io::Result<Vec<SocketAddr>> {
        assert_eq!(name, "one.example:27100");
        let known = self.0.lock().unwrap().ok_or_else(|| std::io::Error::other("no such host"))?;
        Ok(vec![known])
    }
}

#[test]
fn a_validator_is_found_by_its_name_also_after_it_moved() {
    let (chain, running) = Chain::start(2, Policy::Quorum);
    drop(running);
    let nowhere: SocketAddr = throng::net::NOWHERE;
    let table = std::sync::Arc::new(Names::default());
    let name = Name { of: Named::Seat(Seat(1)), name: "one.example:27100".into(), address: None };
    let zero = RunningNode::start(NodeSetup {
        peers: vec![nowhere; 2],
        names: vec![name],
        resolver: table.clone(),
        ..chain.setup(Seat(0), &chain.path(0), listener())
    })
    .unwrap();
    let mut client = Client::connect(&zero);
    let mut absent = || {
        client.ask(&Request::Absent);
        let Reply::Absent { absent, more: 0 } = client.answer() else { panic!("another answer") };
        absent
    };
    while !absent()
        .iter()
        .any(|absent| absent.place == "one.example:27100" && absent.reason.contains("no such host"))
    {}
    for _ in 0..2 {
        // It dials nobody, and is somewhere else each time.
        let new = chain.setup(Seat(1), &chain.path(1), listener());
        let one = RunningNode::start(NodeSetup { peers: vec![nowhere; 2], ..new }).unwrap();
        *table.0.lock().unwrap() = Some(one.peer_address());
        while !absent().is_empty() {}
        one.stop().unwrap();
        while absent().is_empty() {}
    }
    zero.stop().unwrap();
}
