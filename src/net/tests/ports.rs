//! Sockets of two nodes, and of clients, on loopback.

use super::*;
use crate::metrics::Dismissal;
use crate::net::peer::{PeerEvent, PeerLink};
use crate::types::{AccountNumber, Height, Round};
use crate::wire::client::{BlockNotice, Status, Submission};

#[test]
fn frames_of_all_sizes_arrive_in_order_both_ways() {
    let (mut a, mut b) = pair(identity(1, 0, 2), identity(1, 1, 2));
    connect(&mut a, &mut b);
    let rows = [1, 4096, 3, 700, 4000, 2, 4095, 50];
    let count = 48;
    for number in 1..=count {
        for (side, to) in [(&mut a, 1), (&mut b, 0)] {
            side.send(Seat(to), &batch(number, rows[number as usize % rows.len()]));
            side.send(
                Seat(to),
                &Message::Frontier { began: Round(0), rounds: vec![Round(number); number as usize % 7] },
            );
            side.broadcast(&Message::Frontier { began: Round(0), rounds: vec![Round(number + 1000)] });
        }
    }
    let mut seen = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
    for _ in 0..TURNS_MAX {
        for (side, (batches, frontiers)) in [&mut a, &mut b].into_iter().zip(&mut seen) {
            for event in side.turn() {
                match event {
                    Event::Message { message: Message::Batch(batch), .. } => batches.push(batch),
                    Event::Message { message: Message::Frontier { rounds, .. }, .. } => {
                        frontiers.push(rounds)
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        if seen.iter().all(|(batches, frontiers)| batches.len() + frontiers.len() == 3 * count as usize) {
            break;
        }
    }
    for (batches, frontiers) in &seen {
        let sequences: Vec<_> = batches.iter().map(|batch| batch.header.sequence.0).collect();
        assert_eq!(sequences, (1..=count).collect::<Vec<_>>());
        assert!(batches.iter().all(|b| Some(b) == batch_of(&batch(b.header.sequence.0, b.rows().len()))));
        let expected = (1..=count).flat_map(|n| [vec![Round(n); n as usize % 7], vec![Round(n + 1000)]]);
        assert_eq!(*frontiers, expected.collect::<Vec<_>>());
    }
    assert_eq!(Metrics::read(&a.metrics.bytes_sent), Metrics::read(&b.metrics.bytes_received));
}

#[test]
fn a_validator_is_dialed_again_until_it_is_there() {
    let bound = [Side::bind(), Side::bind()];
    let peers: Vec<_> = bound.iter().map(|bound| bound[0].local_addr().unwrap()).collect();
    let [a, b] = bound;
    drop(b);
    let mut a = Side::new(identity(1, 0, 2), a, &peers, 100);
    for _ in 0..5 {
        a.now = a.now + Duration::from_secs(3);
        a.turn();
    }
    assert_eq!(a.sockets.peers(), 0);
    let again = [TcpListener::bind(peers[1]).unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()];
    let mut b = Side::new(identity(1, 1, 2), again, &peers, 100);
    for _ in 0..TURNS_MAX {
        a.now = a.now + Duration::from_millis(100);
        a.turn();
        b.turn();
        if b.sockets.peers() == 1 && a.sockets.peers() == 1 {
            break;
        }
    }
    assert_eq!((a.sockets.peers(), b.sockets.peers()), (1, 1));
    drop(b);
    a.until(|event| matches!(event, Event::Closed(Seat(1))));
    assert_eq!(a.sockets.peers(), 0);
}

#[test]
fn a_second_connection_of_a_seat_replaces_the_first() {
    let (mut a, mut b) = pair(identity(1, 0, 2), identity(1, 1, 2));
    connect(&mut a, &mut b);
    let peers = [a.addresses[0], b.addresses[0]];
    let mut twin = Side::new(identity(1, 0, 2), Side::bind(), &peers, 100);
    let mut events = Vec::new();
    for _ in 0..TURNS_MAX {
        twin.turn();
        events.extend(b.turn());
        if events.len() == 2 {
            break;
        }
    }
    assert!(matches!(events[..], [Event::Closed(Seat(0)), Event::Opened(Seat(0))]), "{events:?}");
    assert_eq!(b.sockets.peers(), 1);
    a.until(|event| matches!(event, Event::Closed(Seat(1))));
    assert_eq!(absent(&b), [], "once is what happens after a crash");
    // Two that do not give up have one key.
    for _ in 0..TURNS_MAX {
        for side in [&mut a, &mut twin] {
            side.now = side.now + Duration::from_millis(20);
            side.turn();
        }
        b.turn();
        if !absent(&b).is_empty() {
            break;
        }
    }
    let said = absent(&b);
    assert!(matches!(&said[..], [(Seat(0), reason)] if reason.contains("in use twice")), "{said:?}");
}

/// Who is not connected, or is but with something to be said of it.
fn absent(side: &Side) -> Vec<(Seat, String)> {
    let Reply::Absent { absent, more: 0 } = side.sockets.absent(side.now) else { panic!() };
    absent.into_iter().map(|absent| (absent.seat, absent.reason)).collect()
}

#[test]
fn a_node_says_why_a_peer_of_its_configuration_is_not_connected() {
    // A validator of another chain at the second place, the node itself at the third, and nobody at the last.
    let bound = [Side::bind(), Side::bind()];
    let mut peers: Vec<SocketAddr> = bound.iter().map(|bound| bound[0].local_addr().unwrap()).collect();
    peers.extend([peers[0], "127.0.0.1:1".parse().unwrap()]);
    let [first, second] = bound;
    let (mut node, mut foreign) = (
        Side::new(identity(1, 0, 4), first, &peers, 10),
        Side::new(identity(2, 1, 4), second, &peers[..2], 10),
    );
    let started = absent(&node);
    assert!(started.iter().all(|(_, reason)| reason == "no connection yet"), "{started:?}");
    let reasons = ["another chain: it belongs to 0202", "this node's own key", "refused"];
    let told = |side: &Side| {
        let said = absent(side);
        said.len() == 3 && said.iter().zip(reasons).all(|((_, said), reason)| said.contains(reason))
    };
    for _ in 0..TURNS_MAX {
        node.turn();
        foreign.turn();
        if told(&node) {
            break;
        }
    }
    assert!(told(&node), "{:?}", absent(&node));
}

#[test]
fn a_peer_of_another_version_is_named_as_one_in_the_status_and_once_in_the_log() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    other.set_nonblocking(true).unwrap();
    let peers = ["127.0.0.1:1".parse().unwrap(), other.local_addr().unwrap()];
    let mut node = Side::new(identity(1, 0, 2), Side::bind(), &peers, 10);
    let mut preface = identity(1, 1, 2).preface();
    preface[7] = 9;
    let log = logged(|| {
        let (mut calls, mut met) = (Vec::new(), 0);
        for _ in 0..TURNS_MAX {
            node.now = node.now + Duration::from_millis(20);
            node.turn();
            if let Ok((mut call, _)) = other.accept() {
                call.write_all(&preface).unwrap();
                calls.push(call);
            }
            met = node.metrics.dismissed(Dismissal::Foreign);
            if met == 3 {
                break;
            }
        }
        assert_eq!(met, 3, "it is tried again");
    });
    let said = absent(&node);
    assert!(
        matches!(&said[..], [(Seat(1), reason)] if reason.starts_with("another version: it speaks 9")),
        "{said:?}"
    );
    let lines: Vec<_> = log.lines().filter(|line| line.contains("another version: it speaks 9")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("validator not connected") && lines[0].contains("seat=1"), "{log}");
}

#[test]
fn validators_of_other_chains_and_strangers_do_not_get_in() {
    let (mut a, mut b) = pair(identity(1, 0, 2), identity(2, 1, 2));
    for _ in 0..TURNS_MAX {
        a.turn();
        b.turn();
        if a.dropped() > 0 && b.dropped() > 0 {
            break;
        }
    }
    assert!(a.dropped() > 0 && b.dropped() > 0);
    assert_eq!((a.sockets.peers(), b.sockets.peers()), (0, 0));
    let mut stranger = Raw::connect(b.addresses[0]);
    stranger.send(&[0xA5; 5000]);
    b.until_it(|_| stranger.hung_up());
    assert_eq!(Metrics::read(&b.metrics.peer_faults), 0, "no validator is to blame");
}

#[test]
fn a_client_is_welcomed_answered_and_told_of_blocks() {
    let mut side = Side::alone(identity(1, 0, 1));
    let mut client = Raw::connect(side.addresses[1]);
    client.ask(&Request::Hello);
    client.ask(&Request::Account(AccountNumber(5)));
    client.ask(&Request::Subscribe);
    client.ask(&Request::Status);
    let mut events = side.until(|event| matches!(event, Event::Request { request: Request::Status, .. }));
    assert_eq!(events.len(), 4);
    let Some(Event::Request { client: token, request: Request::Status }) = events.pop() else { panic!() };
    let (now, mut more) = (side.now, Vec::new());
    let status = Reply::Status(Status { accounts: 7, ..Status::default() });
    side.sockets.reply(token, &status, 0, now, &mut more);
    side.sockets.subscribe(token);
    side.sockets.subscribe(token);
    let (height, hash) = (Height(3), Default::default());
    let notice = BlockNotice { height, hash, durable: Time(9), batches: 1, rows: 2, ok: 2 };
    side.sockets.publish(&Reply::Block(notice), now, &mut more);
    assert_eq!(client.reply(&mut side), status);
    assert_eq!(client.reply(&mut side), Reply::Block(notice));
    drop(client);
    side.until_it(|side| side.sockets.clients == 0);
    side.sockets.publish(&Reply::Block(notice), now, &mut more);
    assert!(more.is_empty());
}

pub(super) fn submission(rows: usize) -> Request {
    let effects = vec![Effect::transfer(1, 2, 3, 4, 1); rows];
    let witnesses = vec![Witness([7; 64]); rows];
    let rows = Submission::pack(Rows { effects: &effects, keys: &[], witnesses: &witnesses }).unwrap();
    Request::Submit { id: 9, rows }
}

fn submits(events: &[Event]) -> usize {
    events.iter().filter(|e| matches!(e, Event::Request { request: Request::Submit { .. }, .. })).count()
}

#[test]
fn rows_wait_in_the_socket_until_there_is_room_and_questions_do_not() {
    let mut side = Side::alone(identity(1, 0, 1));
    side.rows = 0;
    let mut client = Raw::connect(side.addresses[1]);
    let mut curious = Raw::connect(side.addresses[1]);
    client.ask(&Request::Hello);
    client.ask(&submission(1000));
    client.ask(&Request::Status);
    side.until_it(|side| side.sockets.clients == 2 && side.sockets.silent_clients == 1);
    curious.ask(&Request::Hello);
    curious.ask(&Request::Status);
    let events = side.until(|event| matches!(event, Event::Request { request: Request::Status, .. }));
    assert_eq!(submits(&events), 0);
    side.rows = 10_000;
    let events = side.until(|event| matches!(event, Event::Request { request: Request::Status, .. }));
    assert_eq!(submits(&events), 1, "in the order in which the client asked");
}

#[test]
fn one_client_has_only_its_share_of_rows_in_ingress() {
    let mut side = Side::alone(identity(1, 0, 1));
    side.rows = 1_000_000;
    let mut client = Raw::connect(side.addresses[1]);
    client.ask(&Request::Hello);
    let mut events = Vec::new();
    for _ in 0..8 {
        client.ask(&submission(1000));
        events.extend(side.turn());
    }
    events.extend(side.until_it(|side| side.sockets.is_idle()));
    (0..50).for_each(|_| events.extend(side.turn()));
    assert_eq!(submits(&events), 5, "4096 rows are in ingress after the fifth");
    let Some(Event::Request { client: token, .. }) = events.pop() else { panic!() };
    let answer = Reply::Submitted { id: 9, accepted: 1000, refused: Vec::new() };
    for _ in 0..5 {
        side.sockets.reply(token, &answer, 1000, side.now, &mut events);
    }
    let mut submitted = 0;
    while submitted < 3 {
        submitted += submits(&side.until(|event| matches!(event, Event::Request { .. })));
    }
}

#[test]
fn scarce_room_goes_round_among_clients() {
    let mut side = Side::alone(identity(1, 0, 1));
    side.rows = 1024;
    let mut clients: Vec<_> = (0..3).map(|_| Raw::connect(side.addresses[1])).collect();
    for client in &mut clients {
        client.ask(&Request::Hello);
        for _ in 0..20 {
            client.ask(&submission(1000));
        }
    }
    let mut served = std::collections::BTreeMap::new();
    let mut more = Vec::new();
    while served.values().sum::<usize>() < 45 {
        for event in side.until(|event| matches!(event, Event::Request { .. })) {
            if let Event::Request { client, request: Request::Submit { .. } } = event {
                *served.entry(client).or_insert(0) += 1;
                let answer = Reply::Submitted { id: 9, accepted: 1000, refused: Vec::new() };
                side.sockets.reply(client, &answer, 1000, side.now, &mut more);
            }
        }
    }
    assert!(served.len() == 3 && served.values().all(|count| (13..=17).contains(count)), "{served:?}");
}

#[test]
fn what_a_peer_sent_before_it_hung_up_is_its_own_word_and_nobody_elses() {
    let mut side = Side::alone(identity(1, 2, 4));
    // It proves its seat, says something and hangs up, all before the node reads any of it.
    let mut link = PeerLink::dial(Arc::new(identity(1, 0, 4)), Seat(2)).unwrap();
    let mut raw = Raw::connect(side.addresses[0]);
    let mut events = Vec::new();
    while !events.iter().any(|event| matches!(event, PeerEvent::Opened(_))) {
        raw.send(link.out.pending());
        link.out.consume(link.out.pending().len());
        let mut bytes = [0; 4096];
        match raw.stream.read(&mut bytes) {
            // The last word of its handshake is held back.
            Ok(count) if link.receive(&mut bytes[..count], &mut events).is_ok() => break,
            Ok(count) => panic!("{count} bytes that are no handshake"),
            Err(_) => drop(side.turn()),
        }
    }
    raw.send(link.out.pending());
    drop(raw);
    let events = side.until(|event| matches!(event, Event::Closed(Seat(0))));
    assert!(matches!(events[..], [Event::Opened(Seat(0)), Event::Closed(Seat(0))]), "{events:?}");
    assert_eq!((side.sockets.peers(), side.sockets.inbound_strangers), (0, 0));
    // Whoever comes next is itself.
    let mut peers = ["127.0.0.1:1".parse().unwrap(); 4];
    peers[2] = side.addresses[0];
    let mut other = Side::new(identity(1, 1, 4), Side::bind(), &peers, 100);
    let mut events = Vec::new();
    while side.sockets.peers() == 0 {
        other.turn();
        events.extend(side.turn());
    }
    assert!(matches!(events[..], [Event::Opened(Seat(1))]), "{events:?}");
    assert_eq!(side.sockets.inbound_strangers, 0);
}
