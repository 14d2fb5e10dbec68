//! What strangers, silent ones and slow readers can take from a node: little, and not for long.

use super::*;
use crate::net::config::*;
use crate::types::{Height, Round};
use crate::wire::client::{BlockNotice, Status};

/// Clients with what they say first, each of which is dropped for it.
#[test]
fn clients_that_break_the_rules_are_dropped() {
    let hello = [&frame_header(1, 1)[..], &[1]].concat();
    let bad: [Vec<u8>; 6] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        frame_header(4, 0).to_vec(),
        [&hello[..], &hello].concat(),
        [&hello[..], &frame_header(99, 0)].concat(),
        [&hello[..], &frame_header(2, 1 << 24)].concat(),
        [&hello[..], &frame_header(2, 20), &[0xFF; 20]].concat(),
    ];
    let mut side = Side::alone(identity(1, 0, 1));
    for (number, bytes) in bad.iter().enumerate() {
        let mut client = Raw::connect(side.addresses[1]);
        client.send(bytes);
        side.until_it(|side| side.dropped() == number as u64 + 1);
        side.until_it(|_| client.hung_up());
        assert_eq!((side.sockets.clients, side.sockets.silent_clients), (0, 0), "{number}");
    }
}

#[test]
fn who_says_nothing_valid_in_time_is_dropped() {
    let mut side = Side::alone(identity(1, 0, 1));
    let mut quiet = [Raw::connect(side.addresses[0]), Raw::connect(side.addresses[1])];
    let mut slow = Raw::connect(side.addresses[0]);
    slow.send(&identity(1, 0, 1).preface()[..5]);
    let mut honest = Raw::connect(side.addresses[1]);
    honest.ask(&Request::Hello);
    side.until_it(|side| side.sockets.inbound_strangers == 2 && side.sockets.silent_clients == 1);
    side.now = side.now + HANDSHAKE_DEADLINE;
    side.until_it(|side| side.dropped() == 3);
    side.until_it(|_| quiet.iter_mut().all(Raw::hung_up) && slow.hung_up());
    assert!(!honest.hung_up());
    assert_eq!((side.sockets.inbound_strangers, side.sockets.clients), (0, 1));
}

#[test]
fn the_oldest_stranger_makes_room_for_the_next() {
    let mut side = Side::alone(identity(1, 0, 2));
    let mut first = Raw::connect(side.addresses[0]);
    side.until_it(|side| side.sockets.inbound_strangers == 1);
    let mut others = Vec::new();
    for number in 1..STRANGERS_MAX + 3 {
        others.push(Raw::connect(side.addresses[0]));
        side.until_it(|side| side.sockets.inbound_strangers == (number + 1).min(STRANGERS_MAX));
    }
    side.until_it(|side| side.dropped() == 3);
    assert!(first.hung_up() && others[0].hung_up() && others[1].hung_up() && !others[2].hung_up());
    assert_eq!(side.sockets.strangers.len(), STRANGERS_MAX);
}

#[test]
fn clients_beyond_the_limit_are_refused_unless_a_silent_one_makes_room() {
    let mut side = Side::new(identity(1, 0, 1), Side::bind(), &["127.0.0.1:1".parse().unwrap()], 2);
    let mut silent = Raw::connect(side.addresses[1]);
    side.until_it(|side| side.sockets.clients == 1);
    let mut clients = Vec::new();
    for _ in 0..2 {
        clients.push(Raw::connect(side.addresses[1]));
        clients.last_mut().unwrap().ask(&Request::Hello);
        side.until(|event| matches!(event, Event::Request { .. }));
    }
    assert_eq!((side.sockets.clients, side.dropped()), (2, 1), "the silent one made room");
    let mut late = Raw::connect(side.addresses[1]);
    side.until_it(|_| late.hung_up());
    assert_eq!(side.sockets.clients, 2);
    assert!(silent.hung_up());
}

#[test]
fn a_subscriber_that_does_not_read_is_dropped_and_the_others_hear_on() {
    let mut side = Side::alone(identity(1, 0, 1));
    let mut clients = [Raw::connect(side.addresses[1]), Raw::connect(side.addresses[1])];
    let mut events = Vec::new();
    for client in &mut clients {
        client.ask(&Request::Hello);
        client.ask(&Request::Subscribe);
        let subscribed = |event: &Event| matches!(event, Event::Request { request: Request::Subscribe, .. });
        for event in side.until(subscribed) {
            if let Event::Request { client, request: Request::Subscribe } = event {
                side.sockets.subscribe(client);
            }
        }
    }
    let mut height = 0;
    while side.sockets.clients == 2 {
        for _ in 0..2000 {
            height += 1;
            let (height, hash) = (Height(height), Default::default());
            let notice = BlockNotice { height, hash, durable: Time(9), batches: 1, rows: 2, ok: 2 };
            side.sockets.publish(&Reply::Block(notice), side.now, &mut events);
        }
        side.turn();
        clients[1].hung_up();
        while clients[1].reader.next().unwrap().is_some() {}
        assert!(height < 10_000_000, "its queue grows without a bound");
    }
    assert_eq!(side.dropped(), 1);
    assert!(!clients[1].hung_up(), "who reads stays");
}

#[test]
fn a_client_that_asks_and_never_reads_is_not_read_from() {
    let mut side = Side::alone(identity(1, 0, 1));
    let mut client = Raw::connect(side.addresses[1]);
    client.ask(&Request::Hello);
    let request = frame_header(4, 0).repeat(1000);
    let mut events = Vec::new();
    let (mut idle, mut total) = (0, 0);
    while idle < 50 {
        // The frames are all alike, so that it goes on where the last partial write ended.
        let sent = client.stream.write(&request[total % frame_header(4, 0).len()..]).unwrap_or(0);
        total += sent;
        let turned = side.turn();
        idle = if turned.is_empty() && sent == 0 { idle + 1 } else { 0 };
        for event in turned {
            let Event::Request { client, request } = event else { panic!() };
            if request == Request::Status {
                side.sockets.reply(client, &Reply::Status(Status::default()), 0, side.now, &mut events);
            }
        }
    }
    assert!(events.is_empty() && side.sockets.clients == 1);
    assert_eq!(side.dropped(), 0, "it is only not read from");
    side.now = side.now + STALL_MAX;
    side.until_it(|side| side.sockets.clients == 0);
}

#[test]
fn messages_for_a_validator_that_does_not_read_are_dropped_by_class() {
    let (mut a, mut b) = pair(identity(1, 0, 2), identity(1, 1, 2));
    connect(&mut a, &mut b);
    let big = batch(1, 4096);
    for _ in 0..BULK_BYTES_MAX / (256 << 10) {
        a.sockets.send(Seat(1), &big);
    }
    let dropped = Metrics::read(&a.metrics.messages_dropped);
    assert!(dropped > 0);
    a.sockets.send(Seat(1), &Message::Frontier { began: Round(0), rounds: vec![Round(1)] });
    assert_eq!(Metrics::read(&a.metrics.messages_dropped), dropped, "other classes have room");
    (0..100).for_each(|_| drop(a.turn()));
    a.now = a.now + STALL_MAX;
    let gone = a.until(|event| matches!(event, Event::Closed(Seat(1))));
    assert_eq!(gone.len(), 1);
}

#[test]
fn a_validator_that_sends_what_does_not_decode_is_disconnected() {
    let (mut a, mut b) = pair(identity(1, 0, 2), identity(1, 1, 2));
    connect(&mut a, &mut b);
    let vertex = Message::Frontier { began: Round(0), rounds: vec![Round(1); 2000] };
    a.sockets.send(Seat(1), &vertex);
    for _ in 0..TURNS_MAX {
        a.turn();
        if b.turn().iter().any(|event| matches!(event, Event::Closed(Seat(0)))) {
            break;
        }
    }
    assert_eq!((b.sockets.peers(), b.dropped()), (0, 1));
    assert_eq!(Metrics::read(&b.metrics.peer_faults), 1);
}
