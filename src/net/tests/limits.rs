//! What strangers, silent ones and slow readers can take from a node: little, and not for long.

use super::*;
use crate::metrics::Dismissal;
use crate::net::config::*;
use crate::net::peer::PeerLink;
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
    let config = NetConfig { client_questions_per_second: usize::MAX, ..NetConfig::default() };
    let mut side = Side::with(identity(1, 0, 1), Side::bind(), &["127.0.0.1:1".parse().unwrap()], &config);
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
        a.send(Seat(1), &big);
    }
    let dropped = Metrics::read(&a.metrics.messages_dropped);
    assert!(dropped > 0);
    a.send(Seat(1), &Message::Frontier { began: Round(0), rounds: vec![Round(1)] });
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
    a.send(Seat(1), &vertex);
    for _ in 0..TURNS_MAX {
        a.turn();
        if b.turn().iter().any(|event| matches!(event, Event::Closed(Seat(0)))) {
            break;
        }
    }
    assert_eq!((b.sockets.peers(), b.dropped()), (0, 1));
    assert_eq!(Metrics::read(&b.metrics.peer_faults), 1);
}

/// Makes all strangers of a node come from such addresses, in the order in which they came.
fn place_strangers(side: &mut Side, address: impl Fn(usize) -> String) {
    let tokens: Vec<Token> = side.sockets.strangers.iter().map(|(_, token)| *token).collect();
    for (number, token) in tokens.into_iter().enumerate() {
        if let Some(conn) = side.sockets.conns.get_mut(token) {
            conn.address = SocketAddr::new(address(number).parse().unwrap(), 9);
        }
    }
}

/// A node whose strangers have all places, with these.
fn crowded() -> (Side, Vec<Raw>) {
    let mut side = Side::alone(identity(1, 1, 2));
    let mut raws = Vec::new();
    for number in 1..=STRANGERS_MAX {
        raws.push(Raw::connect(side.addresses[0]));
        side.until_it(|side| side.sockets.inbound_strangers == number);
    }
    (side, raws)
}

/// Which of them are gone.
fn gone(raws: &mut [Raw]) -> Vec<usize> {
    raws.iter_mut().enumerate().filter_map(|(number, raw)| raw.hung_up().then_some(number)).collect()
}

#[test]
fn a_network_with_many_strangers_makes_room_and_not_the_oldest_of_all() {
    let (mut side, mut raws) = crowded();
    place_strangers(&mut side, |number| match number {
        0 => "7.7.7.7".to_owned(),
        _ => format!("2001:db8:{number}::1"),
    });
    let _more = Raw::connect(side.addresses[0]);
    side.until_it(|side| side.dropped() == 1);
    assert_eq!(gone(&mut raws), [1]);
    // Where a validator lives strangers are spared, however many they are.
    let (mut side, mut raws) = crowded();
    place_strangers(&mut side, |number| if number == 9 { "7.7.7.7" } else { "8.8.8.8" }.to_owned());
    side.sockets.limits.set_validators(["8.8.8.8".parse().unwrap()].into_iter());
    let mut more = vec![Raw::connect(side.addresses[0])];
    side.until_it(|side| side.dropped() == 1);
    assert_eq!(gone(&mut raws), [9]);
    place_strangers(&mut side, |_| "8.8.8.8".to_owned());
    more.push(Raw::connect(side.addresses[0]));
    side.until_it(|side| side.dropped() == 2);
    assert_eq!(gone(&mut raws), [0, 9], "unless there are no others");
}

#[test]
fn a_network_that_has_its_share_of_strangers_makes_room_itself() {
    let config = NetConfig { per_group_max: 3, ..NetConfig::default() };
    let mut side = Side::with(identity(1, 1, 2), Side::bind(), &["192.0.2.1:1".parse().unwrap()], &config);
    let mut raws: Vec<Raw> = (0..4).map(|_| Raw::connect(side.addresses[0])).collect();
    side.until_it(|side| side.sockets.inbound_strangers == 4);
    let addresses = ["7.7.7.7", "8.8.1.1", "8.8.2.2", "8.8.3.3"];
    place_strangers(&mut side, |number| addresses[number].to_owned());
    let (now, mut events) = (side.now, Vec::new());
    addresses.iter().for_each(|address| side.sockets.limits.admit(address.parse().unwrap(), 0, now).unwrap());
    // As the listener does for a caller from there.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let caller = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    caller.set_nonblocking(true).unwrap();
    let stream = mio::net::TcpStream::from_std(caller);
    let let_in = |side: &mut Side, address: &str, events: &mut Vec<Event>| {
        side.sockets.let_in((Door::Peers, false), &stream, address.parse().unwrap(), now, events).is_ok()
    };
    assert!(let_in(&mut side, "8.8.4.4", &mut events));
    side.until_it(|side| side.metrics.dismissed(Dismissal::Full) == 1);
    assert_eq!(gone(&mut raws), [1], "the oldest of that network");
    assert_eq!(side.sockets.inbound_strangers, 3);
    // Where it has none left that could go, nobody comes in.
    place_strangers(&mut side, |_| "7.7.7.7".to_owned());
    assert!(!let_in(&mut side, "8.8.5.5", &mut events) && let_in(&mut side, "9.9.5.5", &mut events));
    assert_eq!(gone(&mut raws), [1]);
}

#[test]
fn nothing_is_held_against_a_stranger_whom_this_node_did_not_read() {
    let mut side = strict(NetConfig::default());
    side.peers = false;
    let mut waiting = Raw::connect(side.addresses[0]);
    waiting.send(&opening(identity(1, 0, 2)));
    let mut silent = Raw::connect(side.addresses[0]);
    side.until_it(|side| side.sockets.inbound_strangers == 2 && side.sockets.waiting_peers.len() == 1);
    side.now = side.now + HANDSHAKE_DEADLINE;
    side.until_it(|_| waiting.hung_up() && silent.hung_up());
    let ip = side.addresses[0].ip();
    let points = SCORE_MAX - SCORE_MAX / 50;
    assert_eq!(side.sockets.limits.fault(ip, points - 1, side.now), None, "the silent one brought two");
    assert!(side.sockets.limits.fault(ip, 1, side.now).is_some());
}

/// A node whose limits hold for loopback too.
fn strict(config: NetConfig) -> Side {
    let nowhere = ["192.0.2.1:1".parse().unwrap(); 2];
    Side::with(identity(1, 1, 2), Side::bind(), &nowhere[..1], &NetConfig { limit_local: true, ..config })
}

/// What a validator says first on a connection.
fn opening(of: Identity) -> Vec<u8> {
    PeerLink::dial(Arc::new(of), Seat(1)).unwrap().out.pending().to_vec()
}

#[test]
fn an_address_over_its_rate_is_refused_before_any_exchange_of_keys() {
    let mut side = strict(NetConfig { handshakes_per_second: 2, ..NetConfig::default() });
    let most = 2 * CALLS_BURST.as_secs() as usize;
    let opening = opening(identity(1, 0, 2));
    let mut callers: Vec<_> = (0..most + 5).map(|_| Raw::connect(side.addresses[0])).collect();
    callers.iter_mut().for_each(|caller| caller.send(&opening));
    side.until_it(|side| side.metrics.dismissed(Dismissal::Rate) == 5);
    side.until_it(|_| callers.iter_mut().filter_map(|caller| caller.hung_up().then_some(())).count() == 5);
    let answered = |side: &mut Side, caller: &mut Raw| {
        side.until_it(|_| caller.hung_up() || caller.reader.waiting() > 0);
        caller.reader.waiting() > 0
    };
    assert_eq!(callers.iter_mut().filter_map(|c| answered(&mut side, c).then_some(())).count(), most);
    // It is a matter of time, not of what they did: later they come in.
    side.now = side.now + Duration::from_secs(1);
    let mut later = Raw::connect(side.addresses[0]);
    later.send(&opening);
    assert!(answered(&mut side, &mut later));
    assert_eq!(side.metrics.dismissed(Dismissal::Refused), 0);
}

#[test]
fn who_sends_garbage_is_refused_by_its_address_for_a_while() {
    let mut side = strict(NetConfig { handshakes_per_second: 1000, ..NetConfig::default() });
    while side.metrics.dismissed(Dismissal::Foreign) < SCORE_MAX / 20 {
        let mut caller = Raw::connect(side.addresses[0]);
        caller.send(b"GET / HTTP/1.1\r\n\r\n");
        side.until_it(|_| caller.hung_up());
        if side.metrics.dismissed(Dismissal::Refused) > 0 {
            break;
        }
    }
    let garbage = side.metrics.dismissed(Dismissal::Foreign);
    assert_eq!(garbage, 5, "that many points are too many");
    let refused = |side: &mut Side, door: usize| {
        let before = side.metrics.dismissed(Dismissal::Refused);
        let mut caller = Raw::connect(side.addresses[door]);
        let mut inside = false;
        side.until_it(|side| {
            inside = side.sockets.inbound_strangers + side.sockets.clients > 0;
            inside || side.metrics.dismissed(Dismissal::Refused) > before
        });
        drop(side.until_it(|_| inside || caller.hung_up()));
        !inside
    };
    assert!(refused(&mut side, 0) && refused(&mut side, 1));
    side.now = side.now + ADDRESS_REFUSAL_MIN;
    assert!(!refused(&mut side, 0));
}

#[test]
fn who_does_not_open_as_a_peer_gets_no_place_and_takes_nobodys() {
    let mut side = Side::alone(identity(1, 1, 2));
    let mut waiting = Vec::new();
    for number in 1..=STRANGERS_MAX {
        waiting.push(Raw::connect(side.addresses[0]));
        side.until_it(|side| side.sockets.inbound_strangers == number);
    }
    let flood = 50;
    for number in 1..=flood {
        let mut caller = Raw::connect(side.addresses[0]);
        caller.send(&b"throngs"[..(number as usize % 7) + 1]);
        caller.send(b"GET / HTTP/1.1");
        side.until_it(|side| side.metrics.dismissed(Dismissal::Foreign) == number);
        side.until_it(|_| caller.hung_up());
    }
    assert_eq!((side.sockets.inbound_strangers, side.dropped()), (STRANGERS_MAX, flood));
    assert!(waiting.iter_mut().all(|caller| !caller.hung_up()));
    // The beginning of a preface is no reason to hang up, and one that hangs up by itself is nobody's fault.
    waiting.truncate(1);
    side.until_it(|side| side.sockets.inbound_strangers == 1);
    let mut slow = Raw::connect(side.addresses[0]);
    slow.send(&identity(1, 0, 2).preface()[..3]);
    drop(Raw::connect(side.addresses[0]));
    side.until_it(|side| side.sockets.inbound_strangers == 2);
    slow.send(b"x");
    slow.send(&[0; 20]);
    side.until_it(|side| side.dropped() == flood + 1);
}

#[test]
fn clients_of_one_address_call_at_a_rate_and_those_that_are_in_stay() {
    let mut side = strict(NetConfig { client_calls_per_second: 3, ..NetConfig::default() });
    let most = 3 * CALLS_BURST.as_secs() as usize;
    let mut clients: Vec<_> = (0..most + 5).map(|_| Raw::connect(side.addresses[1])).collect();
    side.until_it(|side| side.metrics.dismissed(Dismissal::Rate) == 5);
    assert_eq!(side.sockets.clients, most);
    side.now = side.now + Duration::from_secs(1);
    (0..4).for_each(|_| clients.push(Raw::connect(side.addresses[1])));
    side.until_it(|side| side.metrics.dismissed(Dismissal::Rate) == 6);
    assert_eq!(side.sockets.clients, most + 3);
    // Peers have a rate of their own, and this machine none unless it is asked for.
    let _peer = Raw::connect(side.addresses[0]);
    side.until_it(|side| side.sockets.inbound_strangers == 1);
    let mut lenient = Side::alone(identity(1, 1, 2));
    let callers: Vec<_> = (0..90).map(|_| Raw::connect(lenient.addresses[1])).collect();
    lenient.until_it(|side| side.sockets.clients == callers.len());
    assert_eq!(lenient.dropped(), 0);
}

#[test]
fn a_validator_behind_the_address_of_a_stranger_is_not_punished_for_it() {
    // Nothing is known of the address at first; the validator of seat 0 proves itself there.
    let bound = [Side::bind(), Side::bind()];
    let target = bound[1][0].local_addr().unwrap();
    let [a, b] = bound;
    let mut a = Side::new(identity(1, 0, 2), a, &[target; 2], 100);
    let config = NetConfig { limit_local: true, handshakes_per_second: 5, ..NetConfig::default() };
    let mut b = Side::with(identity(1, 1, 2), b, &["192.0.2.1:1".parse().unwrap(); 2], &config);
    connect(&mut a, &mut b);
    for _ in 0..20 {
        let mut stranger = Raw::connect(b.addresses[0]);
        stranger.send(b"GET / HTTP/1.1\r\n\r\n");
        b.until_it(|_| stranger.hung_up());
    }
    assert_eq!(b.sockets.peers(), 1, "its connection stands");
    assert!(b.metrics.dismissed(Dismissal::Foreign) > SCORE_MAX / 20, "far more than an address may do");
    // And it comes in again beside the stranger.
    drop(a);
    b.until(|event| matches!(event, Event::Closed(Seat(0))));
    let mut a = Side::new(identity(1, 0, 2), Side::bind(), &[target; 2], 100);
    connect(&mut a, &mut b);
    assert_eq!(b.metrics.dismissed(Dismissal::Refused), 0);
}

#[test]
fn a_validator_that_breaks_rules_again_and_again_is_refused_for_a_moment_only() {
    let (mut a, mut b) = pair(identity(1, 0, 2), identity(1, 1, 2));
    connect(&mut a, &mut b);
    let mut events = Vec::new();
    for _ in 1..SCORE_MAX / RULE_POINTS {
        b.sockets.broke_rule(Seat(0), "as a test", b.now, &mut events);
        b.now = b.now + Duration::from_millis(20);
    }
    assert_eq!((b.sockets.peers(), events.len()), (1, 0), "not for the first");
    b.sockets.broke_rule(Seat(0), "as a test", b.now, &mut events);
    assert!(matches!(events[..], [Event::Closed(Seat(0))]), "{events:?}");
    assert_eq!(b.metrics.dismissed(Dismissal::Rules), 1);
    // The other side dials again, and is refused until its time is over.
    while b.metrics.dismissed(Dismissal::Refused) == 0 {
        a.now = a.now + Duration::from_millis(10);
        a.turn();
        b.turn();
    }
    assert_eq!((b.sockets.peers(), b.sockets.inbound_strangers), (0, 0));
    b.now = b.now + SEAT_REFUSAL;
    for _ in 0..TURNS_MAX {
        a.now = a.now + Duration::from_millis(10);
        a.turn();
        b.turn();
        if a.sockets.peers() == 1 && b.sockets.peers() == 1 {
            return;
        }
    }
    panic!("it never came in again");
}

#[test]
fn a_peer_that_sends_more_than_its_rate_waits_and_loses_nothing() {
    let bound = [Side::bind(), Side::bind()];
    let peers: Vec<_> = bound.iter().map(|bound| bound[0].local_addr().unwrap()).collect();
    let [a, b] = bound;
    let mut a = Side::new(identity(1, 0, 2), a, &peers, 100);
    let config = NetConfig { peer_messages_per_second: 100, ..NetConfig::default() };
    let mut b = Side::with(identity(1, 1, 2), b, &peers, &config);
    connect(&mut a, &mut b);
    let count = 350;
    for number in 0..count {
        a.send(Seat(1), &batch(number + 1, 400));
    }
    let mut seen = Vec::new();
    let (mut still, mut seconds) = (0, 0);
    while seen.len() < count as usize {
        a.turn();
        let events = b.turn();
        still = if events.is_empty() { still + 1 } else { 0 };
        seen.extend(events.into_iter().map(|event| match event {
            Event::Message { message, .. } => batch_of(&message).unwrap().header.sequence.0,
            other => panic!("{other:?}"),
        }));
        if still == 200 {
            // Whatever was sent is under way or held back: only time lets more come.
            (b.now, seconds, still) = (b.now + Duration::from_secs(1), seconds + 1, 0);
            assert!(seconds < 10, "{} came", seen.len());
        }
    }
    assert_eq!(seen, (1..=count).collect::<Vec<_>>());
    assert!(seconds >= 2, "100 at once and 100 a second, but {count} came in {seconds} seconds");
    assert_eq!((b.dropped(), b.sockets.peers()), (0, 1));
}

#[test]
fn an_address_with_too_many_connections_makes_room_itself() {
    let mut side = strict(NetConfig { per_address_max: 3, ..NetConfig::default() });
    let mut silent: Vec<_> = (0..3).map(|_| Raw::connect(side.addresses[1])).collect();
    side.until_it(|side| side.sockets.silent_clients == 3);
    let mut client = Raw::connect(side.addresses[1]);
    client.ask(&Request::Hello);
    side.until(|event| matches!(event, Event::Request { .. }));
    assert_eq!(silent.iter_mut().filter_map(|raw| raw.hung_up().then_some(())).count(), 1);
    assert_eq!(side.sockets.clients, 3);
    for _ in 0..2 {
        let mut more = Raw::connect(side.addresses[1]);
        more.ask(&Request::Hello);
        side.until(|event| matches!(event, Event::Request { .. }));
        silent.push(more);
    }
    let mut late = Raw::connect(side.addresses[1]);
    side.until_it(|_| late.hung_up());
    assert!(!client.hung_up(), "who was welcomed stays");
    assert_eq!(side.metrics.dismissed(Dismissal::Full), 4);
    drop((client, silent));
    side.until_it(|side| side.sockets.clients == 0);
    Raw::connect(side.addresses[1]).ask(&Request::Hello);
    side.until(|event| matches!(event, Event::Request { .. }));
}
