//! Peers without a seat, and how peers find each other, on sockets turned by hand.

use super::*;
use crate::metrics::Dismissal;
use crate::net::PeerLink;
use crate::net::config::{DIAL_LOWER_AFTER, LOOK_EVERY, OUTBOUND_MAX, REDIAL_ADDRESS_MIN};
use crate::net::names::{Name, Named, Names};
use crate::wire::AddressRecord;
use std::collections::BTreeSet;

/// An observer of a chain of four seats that knows these addresses.
pub(super) fn observer(byte: u8, known: &[SocketAddr]) -> Side {
    let identity = Identity { key: key(byte), seat: Seat::NONE, ..identity(1, 0, 4) };
    met(identity, Side::bind(), known, None, &NetConfig::default())
}

/// A node that knows these addresses, and tells others where it is.
pub(super) fn met(
    identity: Identity,
    bound: [TcpListener; 2],
    known: &[SocketAddr],
    announce: Option<SocketAddr>,
    config: &NetConfig,
) -> Side {
    let (own, chain, secret) = (public_key(&identity.key), identity.chain, identity.key.clone());
    let mut side = Side::with(identity, bound, &[], config);
    let seats: Vec<[u8; 32]> = (0..4).map(|seat| public_key(&key(seat))).collect();
    let book = Book::new(own, seats.iter().copied().collect(), known);
    let record = announce.map(|address| AddressRecord::sign(&secret, &chain, address, side.now));
    side.sockets.acquaintance = Acquaintance::new(book, record, seats, 3);
    side
}

/// Lets all turn until something holds; the events of each.
pub(super) fn together(
    sides: &mut [&mut Side],
    mut holds: impl FnMut(&mut [&mut Side]) -> bool,
) -> Vec<Vec<Event>> {
    let mut all: Vec<Vec<Event>> = sides.iter().map(|_| Vec::new()).collect();
    for _ in 0..TURNS_MAX {
        sides.iter_mut().zip(&mut all).for_each(|(side, events)| events.extend(side.turn()));
        if holds(sides) {
            return all;
        }
    }
    panic!("it never came to hold: {all:?}");
}

pub(super) fn guests(side: &Side) -> usize {
    side.sockets.guests.iter().flatten().count()
}

#[test]
fn an_observer_is_a_guest_where_it_dials_and_leaves_as_one() {
    let mut validator = Side::alone(identity(1, 2, 4));
    let mut watching = observer(77, &validator.addresses[..1]);
    let events = together(&mut [&mut validator, &mut watching], |sides| {
        guests(sides[0]) == 1 && sides[1].sockets.peers() == 1
    });
    assert!(
        events[0].iter().any(|event| matches!(event, Event::GuestOpened(peer) if *peer == Seat::guest(0)))
    );
    assert!(events[1].iter().any(|event| matches!(event, Event::Opened(Seat(2)))));
    // Messages go both ways, by those numbers.
    validator.send(Seat::guest(0), &Message::WantFrontier);
    watching.send(Seat(2), &Message::WantSnapshots);
    let (mut here, mut there) = (false, false);
    for _ in 0..TURNS_MAX {
        here |= validator.turn().iter().any(|event| matches!(event, Event::Message { from, message: Message::WantSnapshots } if *from == Seat::guest(0)));
        there |= watching
            .turn()
            .iter()
            .any(|event| matches!(event, Event::Message { from: Seat(2), message: Message::WantFrontier }));
        if here && there {
            break;
        }
    }
    assert!(here && there);
    drop(watching);
    validator.until(|event| matches!(event, Event::GuestClosed(peer) if *peer == Seat::guest(0)));
    assert_eq!(guests(&validator), 0);
}

#[test]
fn whoever_knows_one_node_finds_the_others_by_what_they_say_of_themselves() {
    let [first, second] = [(); 2].map(|()| Side::bind());
    let [one, two] = [&first, &second].map(|bound| bound[0].local_addr().unwrap());
    let mut known = met(identity(1, 0, 4), first, &[], Some(one), &NetConfig::default());
    // Seat 1 knows seat 0, and an observer as well: it learns of seat 1 from seat 0.
    let mut unknown = met(identity(1, 1, 4), second, &[one], Some(two), &NetConfig::default());
    together(&mut [&mut known, &mut unknown], |sides| {
        sides[0].sockets.acquaintance.book.of_key(&public_key(&key(1))) == Some(two)
    });
    let mut watching = observer(77, &[one]);
    together(&mut [&mut known, &mut unknown, &mut watching], |sides| sides[2].sockets.peers() == 2);
    let book = &watching.sockets.acquaintance.book;
    assert_eq!([0, 1].map(|seat| book.of_key(&public_key(&key(seat)))), [Some(one), Some(two)]);
    // What is written down holds both, and the connections to them.
    let text = watching.sockets.book_text(watching.now, true).unwrap();
    assert_eq!((text.lines().count(), text.matches("\"anchor\":true").count()), (2, 2));
}

#[test]
fn a_validator_that_moved_calls_those_that_should_have_called_it() {
    let lower = Side::bind();
    let at = lower[0].local_addr().unwrap();
    let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
    // Seat 0 has an old address of seat 1.
    let mut zero = Side::new(identity(1, 0, 2), lower, &[at, nobody], 10);
    let bound = Side::bind();
    let moved_to = bound[0].local_addr().unwrap();
    let mut one = Side::new(identity(1, 1, 2), bound, &[at, nobody], 10);
    one.sockets.acquaintance.own = Some(AddressRecord::sign(&key(1), &ChainId([1; 32]), moved_to, one.now));
    for _ in 0..50 {
        zero.turn();
        one.turn();
    }
    assert_eq!((zero.sockets.peers(), one.sockets.peers()), (0, 0));
    one.now = one.now + DIAL_LOWER_AFTER;
    together(&mut [&mut zero, &mut one], |sides| sides.iter().all(|side| side.sockets.peers() == 1));
    together(&mut [&mut zero, &mut one], |sides| {
        sides[0].sockets.acquaintance.book.of_key(&public_key(&key(1))) == Some(moved_to)
    });
    // From then on seat 0 knows where to call.
    let (seat, _) = (Seat(1), zero.sockets.dialer.lost(Seat(1), Duration::ZERO, "", Time(0), zero.now));
    zero.now = zero.now + Duration::from_secs(5);
    assert_eq!(zero.sockets.dialer.next(zero.now), Some((seat, Some(moved_to))));
}

#[test]
fn what_nobody_asked_for_is_not_taken_into_the_book() {
    let mut node = Side::alone(identity(1, 2, 4));
    let mut watching = observer(77, &node.addresses[..1]);
    // What it was asked when it came is answered, with nothing.
    together(&mut [&mut node, &mut watching], |sides| {
        let token = sides[0].sockets.token_of(Seat::guest(0));
        let conn = token.and_then(|token| sides[0].sockets.conns.get(token));
        conn.is_some_and(|conn| conn.asked_addresses.is_none())
    });
    let record = |number: u8| {
        AddressRecord::sign(
            &key(number),
            &ChainId([1; 32]),
            SocketAddr::from(([20, number, 1, 1], 9)),
            Time(9),
        )
    };
    let before = node.sockets.acquaintance.book.len();
    // Hearsay without a question; what it says of itself is taken, and once.
    for told in [vec![record(90), record(91)], vec![record(92)], vec![record(77)], vec![record(93)]] {
        watching.send(Seat(2), &Message::Addresses(told));
    }
    together(&mut [&mut node, &mut watching], |sides| {
        sides[0].sockets.acquaintance.book.of_key(&public_key(&key(77))).is_some()
    });
    for _ in 0..50 {
        node.turn();
        watching.turn();
    }
    assert_eq!(node.sockets.acquaintance.book.len(), before + 1);
    // A forged one is not taken from whom was asked.
    let mut forged = record(94);
    forged.address.set_port(10);
    let told = Message::Addresses(vec![forged, record(95)]);
    let token = watching.sockets.seats[2].unwrap();
    watching.sockets.conns.get_mut(token).unwrap().asked_addresses = Some(watching.now);
    node.send(Seat::guest(0), &told);
    for _ in 0..200 {
        node.turn();
        watching.turn();
    }
    let book = &watching.sockets.acquaintance.book;
    assert!(book.of_key(&forged.key).is_none() && REDIAL_ADDRESS_MIN > Duration::ZERO);
    // Nor is it heard any longer.
    assert_eq!((watching.metrics.dismissed(Dismissal::Malformed), watching.dropped()), (1, 1));
}

#[test]
fn who_tells_what_nobody_has_signed_is_dropped_at_the_first_and_refused_in_the_end() {
    let config = NetConfig { limit_local: true, ..NetConfig::default() };
    let mut node = met(identity(1, 2, 4), Side::bind(), &[], None, &config);
    let chain = ChainId([1; 32]);
    let records: Vec<AddressRecord> = (0..32)
        .map(|number| {
            let place = SocketAddr::from(([20, number, 1, 1], 9));
            AddressRecord { time: Time(10), ..AddressRecord::sign(&key(77), &chain, place, Time(9)) }
        })
        .collect();
    for times in 1..=4 {
        let mut liar = observer(77, &node.addresses[..1]);
        together(&mut [&mut node, &mut liar], |sides| guests(sides[0]) == 1 && open(sides[1]) == 1);
        let token = node.sockets.token_of(Seat::guest(0)).unwrap();
        node.sockets.conns.get_mut(token).unwrap().asked_addresses = Some(node.now);
        liar.send(Seat(2), &Message::Addresses(records.clone()));
        together(&mut [&mut node, &mut liar], |sides| guests(sides[0]) == 0);
        assert_eq!(node.metrics.dismissed(Dismissal::Malformed), times);
    }
    assert_eq!(node.sockets.acquaintance.book.len(), 0);
    let _late = Raw::connect(node.addresses[0]);
    node.until_it(|side| side.metrics.dismissed(Dismissal::Refused) == 1);
}

/// What an honest dialer sends up to and with its identity, and nothing more.
fn identity_and_end(validator: &mut Side, of: Identity) {
    let mut link = PeerLink::dial(Arc::new(of), Seat(2)).unwrap();
    let mut stream = TcpStream::connect(validator.addresses[0]).unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut events = Vec::new();
    let mut buffer = [0; 4096];
    for _ in 0..TURNS_MAX {
        let pending = link.out.pending().to_vec();
        stream.write_all(&pending).unwrap();
        link.out.consume(pending.len());
        validator.turn();
        if let Ok(count) = stream.read(&mut buffer) {
            link.receive(&mut buffer[..count], &mut events).unwrap();
            // The identity is ready: from here on all goes at once, and nothing is read any more.
            break;
        }
    }
    stream.write_all(link.out.pending()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
}

#[test]
fn who_proves_itself_and_hangs_up_at_once_leaves_nothing_to_others() {
    let mut validator = Side::alone(identity(1, 2, 4));
    let guest = || Identity { key: key(77), seat: Seat::NONE, ..identity(1, 0, 4) };
    for turn in 0..3 {
        let of = if turn == 1 { identity(1, 0, 4) } else { guest() };
        identity_and_end(&mut validator, of);
        let mut events = Vec::new();
        for _ in 0..200 {
            events.extend(validator.turn());
        }
        let opened =
            events.iter().filter(|event| matches!(event, Event::Opened(_) | Event::GuestOpened(_))).count();
        let closed =
            events.iter().filter(|event| matches!(event, Event::Closed(_) | Event::GuestClosed(_))).count();
        assert_eq!((opened, closed), (1, 1), "{events:?}");
        assert_eq!(
            (validator.sockets.inbound_strangers, validator.sockets.peers(), guests(&validator)),
            (0, 0, 0)
        );
    }
    // Whoever comes next is only itself.
    let mut watching = observer(78, &validator.addresses[..1]);
    let events = together(&mut [&mut validator, &mut watching], |sides| guests(sides[0]) == 1);
    assert_eq!(events[0].iter().filter(|event| matches!(event, Event::GuestOpened(_))).count(), 1);
    assert_eq!(validator.sockets.inbound_strangers, 0);
}

#[test]
fn validators_that_miss_one_leave_the_connections_that_stand() {
    let bound: Vec<_> = (0..3).map(|_| Side::bind()).collect();
    let mut peers: Vec<SocketAddr> = bound.iter().map(|bound| bound[0].local_addr().unwrap()).collect();
    peers.push("127.0.0.1:1".parse().unwrap());
    let mut sides: Vec<Side> = (0..3u8)
        .zip(bound)
        .map(|(seat, bound)| {
            let mut side = Side::new(identity(1, seat, 4), bound, &peers, 10);
            let own = AddressRecord::sign(&key(seat), &ChainId([1; 32]), peers[usize::from(seat)], side.now);
            side.sockets.acquaintance.own = Some(own);
            side
        })
        .collect();
    let [one, two, three] = &mut sides[..] else { unreachable!() };
    together(&mut [one, two, three], |sides| sides.iter().all(|side| side.sockets.peers() == 2));
    for _ in 0..40 {
        for side in &mut sides {
            side.now = side.now + Duration::from_millis(500);
            for _ in 0..5 {
                let events = side.turn();
                let ended = events.iter().any(|event| matches!(event, Event::Closed(_)));
                assert!(!ended, "{events:?}");
            }
        }
    }
}

/// An observer with as many connections as it chooses, and one more peer in its book.
fn observer_with_all_places_taken() -> (Side, Vec<Side>) {
    let mut others: Vec<Side> = (0..4).map(|seat| Side::alone(identity(1, seat, 4))).collect();
    others.push(observer(90, &[]));
    let known: Vec<SocketAddr> = others.iter().map(|side| side.addresses[0]).collect();
    let mut watching = observer(77, &known);
    for _ in 0..TURNS_MAX {
        watching.turn();
        others.iter_mut().for_each(|side| _ = side.turn());
        if watching.sockets.acquaintance.outbound.len() == OUTBOUND_MAX && open(&watching) == OUTBOUND_MAX {
            return (watching, others);
        }
    }
    panic!("it never had all of them");
}

/// Connections whose other side has proved who it is.
pub(super) fn open(side: &Side) -> usize {
    side.sockets.peers() + guests(side)
}

#[test]
fn of_chosen_connections_the_oldest_gives_way_where_nothing_comes_and_none_where_something_does() {
    let (mut watching, mut others) = observer_with_all_places_taken();
    let all: BTreeSet<SocketAddr> = others.iter().map(|side| side.addresses[0]).collect();
    let chosen = |side: &Side| side.sockets.acquaintance.outbound.clone();
    let first = chosen(&watching);
    let mut pass = |watching: &mut Side| {
        watching.now = watching.now + LOOK_EVERY;
        for _ in 0..50 {
            watching.turn();
            others.iter_mut().for_each(|side| _ = side.turn());
        }
    };
    pass(&mut watching);
    assert_eq!(chosen(&watching), first, "the chain moves here");
    watching.sockets.acquaintance.stuck = true;
    // Which of them stands longest is known by its time.
    let tokens: Vec<Token> = watching.sockets.conns.tokens().collect();
    for (age, token) in tokens.iter().enumerate() {
        watching.sockets.conns.get_mut(*token).unwrap().since = Time(1_000 - age as u64);
    }
    let oldest = watching.sockets.conns.get(*tokens.last().unwrap()).unwrap().address;
    pass(&mut watching);
    let missing: Vec<_> = all.difference(&chosen(&watching)).copied().collect();
    assert_eq!((missing, open(&watching)), (vec![oldest], OUTBOUND_MAX), "the fifth is in its place");
}

#[test]
fn what_a_stranger_says_of_private_addresses_is_not_dialed() {
    let mut node = Side::alone(identity(1, 2, 4));
    let mut watching = observer(77, &node.addresses[..1]);
    together(&mut [&mut node, &mut watching], |sides| sides[1].sockets.peers() == 1);
    let record = |number: u8, address: &str| {
        AddressRecord::sign(&key(number), &ChainId([1; 32]), address.parse().unwrap(), Time(9))
    };
    let records = [record(90, "127.0.0.1:22"), record(91, "192.168.1.1:80"), record(92, "8.8.4.4:1")];
    let told = |watching: &mut Side, from: &str| {
        let token = watching.sockets.seats[2].unwrap();
        let conn = watching.sockets.conns.get_mut(token).unwrap();
        (conn.address, conn.asked_addresses) = (from.parse().unwrap(), Some(Time(1)));
        watching.sockets.hear_addresses(token, &records, Time(9), &mut Vec::new());
        [90, 91, 92]
            .map(|number| watching.sockets.acquaintance.book.of_key(&public_key(&key(number))).is_some())
    };
    assert_eq!(told(&mut watching, "9.9.9.9:1"), [false, false, true], "from afar");
    assert_eq!(told(&mut watching, "10.0.0.1:1"), [false, true, true], "from one's own network");
    assert_eq!(told(&mut watching, "127.0.0.1:1"), [true, true, true], "from this machine");
}

#[test]
fn a_name_that_was_unknown_and_one_whose_address_moved_lead_to_a_connection() {
    let bound = [Side::bind(), Side::bind()];
    let [own, first] = [&bound[0], &bound[1]].map(|bound| bound[0].local_addr().unwrap());
    let [lower, upper] = bound;
    let mut zero = Side::new(identity(1, 0, 2), lower, &[own, crate::net::NOWHERE], 10);
    let name = Name { of: Named::Seat(Seat(1)), name: "one.example:1".into(), address: None };
    zero.sockets.names = Names::new(vec![name], zero.now);
    let reason = |side: &Side| match side.sockets.absent(side.now) {
        Reply::Absent { absent, more: 0 } => {
            absent.into_iter().map(|absent| (absent.seat, absent.place, absent.reason)).collect()
        }
        other => panic!("{other:?}"),
    };
    let said: Vec<_> = reason(&zero);
    assert!(
        matches!(&said[..], [(Seat(1), place, reason)] if place == "one.example:1" && reason.contains("no address")),
        "{said:?}"
    );
    // What the event loop and its thread do.
    let look_up = |side: &mut Side, found: SocketAddr| {
        side.now = side.sockets.names.deadline().expect("it is due");
        let (number, _) = side.sockets.names.next(side.now).expect("it is due");
        side.sockets.found(number, Ok(vec![found]), side.now);
    };
    // Nobody but seat 0 dials.
    let mut one = Side::new(identity(1, 1, 2), upper, &[crate::net::NOWHERE; 2], 10);
    look_up(&mut zero, first);
    together(&mut [&mut zero, &mut one], |sides| sides.iter().all(|side| side.sockets.peers() == 1));
    assert_eq!((reason(&zero).len(), zero.sockets.names.deadline()), (0, None));
    // It comes back elsewhere.
    drop(one);
    zero.until(|event| matches!(event, Event::Closed(Seat(1))));
    let bound = Side::bind();
    let second = bound[0].local_addr().unwrap();
    let mut one = Side::new(identity(1, 1, 2), bound, &[crate::net::NOWHERE; 2], 10);
    look_up(&mut zero, second);
    together(&mut [&mut zero, &mut one], |sides| sides.iter().all(|side| side.sockets.peers() == 1));
}
