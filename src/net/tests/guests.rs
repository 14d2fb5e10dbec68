//! What is served to peers without a seat: to how many, how much, and in turn.

use super::meet::{guests, met, observer, open, together};
use super::*;
use crate::metrics::Dismissal;
use crate::net::config::{
    GUEST_MESSAGES_PER_SECOND, GUEST_MESSAGES_PER_TURN, GUEST_OUT_PAUSE, GUEST_WRITE_BUDGET, GUESTS_BURST,
    PEER_READ_BUDGET, REFUSED_CHANCE,
};
use crate::net::conn::Gone;
use crate::net::noise::{PREFACE_BYTES, Role};
use crate::net::records::Channel;
use crate::types::Round;
use std::collections::BTreeSet;

#[test]
fn guests_are_bounded_and_a_key_has_one_connection() {
    let config = NetConfig { guests_max: 2, ..NetConfig::default() };
    let mut node = met(identity(1, 2, 4), Side::bind(), &[], None, &config);
    let known = [node.addresses[0]];
    let mut crowd: Vec<Side> = [71, 72, 73].iter().map(|byte| observer(*byte, &known)).collect();
    let [first, second, third] = &mut crowd[..] else { unreachable!() };
    together(&mut [&mut node, first, second], |sides| guests(sides[0]) == 2);
    together(&mut [&mut node, first, second, third], |sides| {
        sides[3].sockets.acquaintance.book.due((&BTreeSet::new(), &BTreeSet::new())) > Some(Time(0))
            && sides[3].sockets.acquaintance.outbound.is_empty()
    });
    assert_eq!(guests(&node), 2);
    // The same key again takes the place of its older connection.
    let mut again = observer(71, &known);
    let events = together(&mut [&mut node, &mut again], |sides| sides[1].sockets.peers() == 1);
    assert!(events[0].iter().any(|event| matches!(event, Event::GuestClosed(_))));
    assert_eq!(guests(&node), 2);
}

/// An observer that is connected to a node which serves it: to a validator, then to another observer.
fn served() -> [(Side, Side, Seat); 2] {
    let nodes = [(Side::alone(identity(1, 2, 4)), Seat(2)), (observer(78, &[]), Seat::guest(0))];
    nodes.map(|(mut node, served_by)| {
        let mut watching = observer(77, &node.addresses[..1]);
        together(&mut [&mut node, &mut watching], |sides| guests(sides[0]) == 1 && open(sides[1]) == 1);
        (node, watching, served_by)
    })
}

#[test]
fn a_guest_that_asks_more_than_its_rate_waits_and_loses_nothing() {
    for (node, watching, served_by) in served() {
        asks_more_than_its_rate(node, watching, served_by);
    }
}

fn asks_more_than_its_rate(mut node: Side, mut watching: Side, served_by: Seat) {
    // Of a size of which a turn reads far fewer than the rate lets through at once.
    let (count, want) = (800, Message::Frontier { began: Round(0), rounds: vec![Round(1); 128] });
    (0..count).for_each(|_| watching.send(served_by, &want));
    let a_turn = PEER_READ_BUDGET / want.payload().len();
    let (mut came, mut still, mut waits) = (0, 0, Vec::new());
    while came < count {
        watching.turn();
        let events = node.turn();
        still = if events.is_empty() { still + 1 } else { 0 };
        came += events.len();
        if still == 100 {
            (node.now, still) = (node.now + Duration::from_secs(1), 0);
            waits.push(came);
            assert!(waits.len() < 10, "{waits:?}");
        }
    }
    let at_once = GUEST_MESSAGES_PER_SECOND..=GUEST_MESSAGES_PER_SECOND + a_turn;
    assert!(waits.first().is_some_and(|came| at_once.contains(came)), "{waits:?}");
    assert_eq!((came, node.dropped()), (count, 0));
}

/// Messages that come to a node while the time stands still, and `other` has its turns.
fn messages(node: &mut Side, mut other: impl FnMut()) -> usize {
    let (mut came, mut idle) = (0, 0);
    while idle < 30 {
        other();
        let events = node.turn();
        let more = events.iter().filter(|event| matches!(event, Event::Message { .. })).count();
        (came, idle) = (came + more, if more == 0 { idle + 1 } else { 0 });
    }
    came
}

/// Somebody without a seat who sends its identity and so many questions in one piece, as if from another address.
fn come_from(node: &mut Side, address: &str, byte: u8, count: usize) -> Raw {
    let of = Identity { key: key(byte), seat: Seat::NONE, ..identity(1, 0, 4) };
    let mut exchange = of.exchange(Role::Dialer).unwrap();
    let first = exchange.write().unwrap();
    let mut raw = Raw::connect(node.addresses[0]);
    raw.send(&[&of.preface()[..], &(first.len() as u16).to_le_bytes(), &first].concat());
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while answer.len() < PREFACE_BYTES + 2
        || answer.len() < PREFACE_BYTES + 2 + usize::from(answer[PREFACE_BYTES])
    {
        node.turn();
        let count = raw.stream.read(&mut buffer).unwrap_or(0);
        answer.extend_from_slice(&buffer[..count]);
    }
    for token in node.sockets.conns.tokens().collect::<Vec<_>>() {
        let conn = node.sockets.conns.get_mut(token).unwrap();
        if !conn.established() {
            conn.address = SocketAddr::new(address.parse().unwrap(), 9);
        }
    }
    exchange.read(&answer[PREFACE_BYTES + 2..]).unwrap();
    let (mut channel, binding) = exchange.finish().unwrap();
    let question = frame(&Message::WantFrontier);
    let question = [&frame_header(question.kind, question.payload.len())[..], &question.payload].concat();
    let mut bytes = Vec::new();
    for plain in [of.prove(Role::Dialer, &binding), [&[0][..], &question.repeat(count)].concat()] {
        let start = Channel::begin(&mut bytes);
        bytes.extend_from_slice(&plain);
        channel.seal(&mut bytes, start).unwrap();
    }
    raw.send(&bytes);
    raw
}

fn come_and_ask(node: &mut Side, byte: u8, count: usize) -> Raw {
    come_from(node, "127.0.0.1", byte, count)
}

#[test]
fn guests_of_one_network_leave_places_for_others() {
    let mut node = Side::alone(identity(1, 2, 4));
    let mut raws = Vec::new();
    let mut come = |node: &mut Side, address: &str| {
        let byte = 80 + raws.len() as u8;
        raws.push(come_from(node, address, byte, 0));
        (0..20).for_each(|_| drop(node.turn()));
        let key = public_key(&key(byte));
        node.sockets.guests.iter().flatten().any(|guest| guest.key == key)
    };
    let came = (0..20).filter(|number| come(&mut node, &format!("2001:db8:{}::1", number % 4))).count();
    assert_eq!((came, guests(&node)), (8, 8));
    assert!(come(&mut node, "2001:db9::1"));
    let more = (0..20).filter(|number| come(&mut node, &format!("2001:dba:{}::1", number % 4))).count();
    assert_eq!((more, guests(&node)), (7, 16));
    assert!(come(&mut node, "2001:dbb::1") && come(&mut node, "8.8.8.8"), "one of those that have many went");
    assert_eq!((guests(&node), node.sockets.inbound_strangers), (16, 0));
}

#[test]
fn a_guest_that_connects_anew_has_no_new_allowance() {
    // Where addresses have limits a new key is worth nothing; on one's own machine each has its own allowance.
    for limit_local in [false, true] {
        let config = NetConfig { limit_local, handshakes_per_second: 100, ..NetConfig::default() };
        let mut node = met(identity(1, 2, 4), Side::bind(), &[], None, &config);
        let mut came = Vec::new();
        for number in 0..20 {
            let _guest = come_and_ask(&mut node, if limit_local { 80 + number } else { 80 }, 2000);
            came.push(messages(&mut node, || ()));
            assert_eq!(guests(&node), 1);
            if limit_local {
                let token = node.sockets.token_of(Seat::guest(0)).unwrap();
                node.sockets.drop_conn(token, &Gone::Useless, node.now, &mut Vec::new());
            }
        }
        let most = GUEST_MESSAGES_PER_SECOND + GUEST_MESSAGES_PER_TURN;
        let all = came.iter().sum::<usize>();
        assert!((GUEST_MESSAGES_PER_SECOND..=most).contains(&all), "{came:?}");
    }
}

#[test]
fn a_validator_that_connects_anew_has_no_new_allowance_either() {
    let config = NetConfig { peer_messages_per_second: 100, ..NetConfig::default() };
    let nowhere = ["127.0.0.1:1".parse().unwrap()];
    let mut node = Side::with(identity(1, 1, 2), Side::bind(), &nowhere, &config);
    let peers = [node.addresses[0]; 2];
    let mut came = Vec::new();
    for _ in 0..5 {
        let mut validator = Side::new(identity(1, 0, 2), Side::bind(), &peers, 10);
        together(&mut [&mut node, &mut validator], |sides| open(sides[1]) == 1 && open(sides[0]) == 1);
        (0..500).for_each(|_| validator.send(Seat(1), &Message::WantFrontier));
        came.push(messages(&mut node, || drop(validator.turn())));
    }
    assert!(came[0] >= 100 && came[1..].iter().all(|came| *came == 0), "{came:?}");
}

#[test]
fn a_guest_that_breaks_rules_is_refused_by_its_address_and_that_is_said() {
    let config = NetConfig { limit_local: true, ..NetConfig::default() };
    let mut node = met(identity(1, 2, 4), Side::bind(), &[], None, &config);
    let log = logged(|| {
        for _ in 0..4 {
            let _guest = come_and_ask(&mut node, 80, 0);
            node.until_it(|side| guests(side) == 1);
            node.sockets.broke_rule(Seat::guest(0), "as a test", node.now, &mut Vec::new());
        }
    });
    let said: Vec<_> = log.lines().filter(|line| line.contains("the address is refused")).collect();
    assert!(matches!(said[..], [line] if line.contains("127.0.0.1")), "{log}");
    let _late = Raw::connect(node.addresses[0]);
    node.until_it(|side| side.metrics.dismissed(Dismissal::Refused) == 1);
    // Somebody else who lives there gets in a moment later, and stays.
    node.now = node.now + REFUSED_CHANCE;
    let _honest = come_and_ask(&mut node, 81, 0);
    node.until_it(|side| guests(side) == 1);
    let _late = Raw::connect(node.addresses[0]);
    node.until_it(|side| side.metrics.dismissed(Dismissal::Refused) == 2);
    assert_eq!(guests(&node), 1);
}

/// Batches that came to a node.
fn batches(side: &mut Side) -> usize {
    side.turn()
        .iter()
        .filter(|event| matches!(event, Event::Message { message: Message::Batch(_), .. }))
        .count()
}

#[test]
fn guests_share_a_rate_in_turn_and_no_validator_waits_for_them() {
    let bound = [Side::bind(), Side::bind()];
    let mut peers: Vec<SocketAddr> = bound.iter().map(|bound| bound[0].local_addr().unwrap()).collect();
    peers.extend(["127.0.0.1:1".parse::<SocketAddr>().unwrap(); 2]);
    let [first, second] = bound;
    let rate = 4 << 20;
    let config = NetConfig { guests_bytes_per_second: rate, ..NetConfig::default() };
    let mut node = Side::with(identity(1, 0, 4), first, &peers, &config);
    let mut validator = Side::new(identity(1, 1, 4), second, &peers, 10);
    let mut watching = [71, 72].map(|byte| observer(byte, &peers[..1]));
    let [one, two] = &mut watching;
    together(&mut [&mut node, &mut validator, one, two], |sides| {
        guests(sides[0]) == 2 && sides[0].sockets.peers() == 1
    });
    let (count, start) = (8, node.now);
    for number in 1..=count {
        for to in [Seat::guest(0), Seat::guest(1), Seat(1)] {
            node.send(to, &batch(number, 2000));
        }
    }
    let bytes = batch(1, 2000).payload().len();
    let (mut came, mut idle) = ([0; 3], 0);
    while idle < 20 {
        let [one, two] = &mut watching;
        node.turn();
        let more = [batches(&mut validator), batches(one), batches(two)];
        idle = if more == [0; 3] { idle + 1 } else { 0 };
        (0..3).for_each(|place| came[place] += more[place]);
    }
    let most = (GUESTS_BURST.as_millis() as usize * rate / 1000 + GUEST_WRITE_BUDGET) / bytes;
    assert_eq!(came[0], count as usize, "all of it, in no time");
    assert!(came[1] + came[2] <= most + 1, "{came:?}");
    assert!(
        node.sockets.deadline(node.now) <= node.now + Duration::from_millis(20),
        "it wakes when it may go on"
    );
    while came[1] + came[2] < 2 * count as usize {
        node.now = node.now + Duration::from_millis(5);
        for _ in 0..4 {
            let [one, two] = &mut watching;
            node.turn();
            (came[1], came[2]) = (came[1] + batches(one), came[2] + batches(two));
        }
        assert!(came[1].abs_diff(came[2]) <= 2, "each in its turn: {came:?}");
        assert!(node.now.since(start) < Duration::from_secs(60), "{came:?}");
    }
    let least = Duration::from_secs_f64(0.9 * ((2 * count as usize - most) * bytes) as f64 / rate as f64);
    assert!(node.now.since(start) >= least, "{:?} instead of {least:?}", node.now.since(start));
}

#[test]
fn a_guest_that_does_not_read_what_it_asked_for_is_not_read_from_until_it_does() {
    for (node, watching, served_by) in served() {
        asks_and_does_not_read(node, watching, served_by);
    }
}

fn asks_and_does_not_read(mut node: Side, mut watching: Side, served_by: Seat) {
    let (count, answer) = (60, batch(1, 4096));
    let want = Message::Frontier { began: Round(0), rounds: vec![Round(1); 1000] };
    let serve = |node: &mut Side| {
        let asked = node.turn().len();
        (0..asked).for_each(|_| node.send(Seat::guest(0), &answer));
        asked
    };
    let (mut asked, mut idle) = (0, 0);
    while idle < 100 {
        if asked < count {
            // One after the other, so that they do not come in one piece.
            watching.sockets.send(served_by, &want, watching.now);
            watching.sockets.write(watching.now, &mut Vec::new());
        }
        let more = serve(&mut node);
        (asked, idle) = (asked + more, if more == 0 { idle + 1 } else { 0 });
    }
    let most = GUEST_OUT_PAUSE / answer.payload().len();
    assert!(asked < count && asked > most / 2, "{asked} of {count} were read, and {most} fit");
    let mut came = 0;
    let start = node.now;
    while came < count {
        // All guests together have a rate too.
        node.now = node.now + Duration::from_millis(5);
        came += batches(&mut watching);
        serve(&mut node);
        assert!(node.now.since(start) < Duration::from_secs(100), "{came} of {count} came");
    }
    assert_eq!((node.dropped(), Metrics::read(&node.metrics.messages_dropped)), (0, 0));
}
