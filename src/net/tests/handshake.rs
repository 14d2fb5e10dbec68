//! Two links that exchange bytes in memory: every way in which a connection between validators comes about or fails.

use super::*;
use crate::net::noise::Who;
use crate::net::noise::{Exchange, PREFACE_BYTES, PeerError, Role};
use crate::net::peer::{PeerEvent, PeerLink};
use crate::net::records::Channel;
use crate::types::params::{ACKS_MAX, PARTS_BYTES_MAX, SEATS_MAX};
use crate::types::{Ack, BatchId, BatchRef, Parent, Part, Round, Verdict, Vertex, VertexId, VertexRef};
use crate::wire::{
    EVIDENCE_BYTES_MAX, Evidence, PEER_FRAME_BYTES_MAX, SMALL_FRAME_BYTES_MAX, WireError, sign_vertex,
};

/// What one side sends goes to the other, in pieces of `piece` bytes, until neither has more or one fails.
fn converse(a: &mut PeerLink, b: &mut PeerLink, piece: usize) -> Result<[Vec<PeerEvent>; 2], PeerError> {
    let mut events = [Vec::new(), Vec::new()];
    loop {
        let mut quiet = true;
        for turn in 0..2 {
            let (from, to) = if turn == 0 { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
            from.seal()?;
            let mut bytes = from.out.pending().to_vec();
            from.out.consume(bytes.len());
            quiet &= bytes.is_empty();
            for bytes in bytes.chunks_mut(piece) {
                to.receive(bytes, &mut events[1 - turn])?;
            }
        }
        if quiet {
            return Ok(events);
        }
    }
}

fn receive(link: &mut PeerLink, bytes: &[u8]) -> Result<(), PeerError> {
    link.receive(&mut bytes.to_vec(), &mut Vec::new())
}

fn links(dialer: Identity, acceptor: Identity, dialed: u16) -> (PeerLink, PeerLink) {
    let dialer = PeerLink::dial(Arc::new(dialer), Seat(dialed)).unwrap();
    (dialer, PeerLink::accept(Arc::new(acceptor)))
}

#[test]
fn validators_prove_their_seats_to_each_other_however_the_bytes_are_cut() {
    for piece in [1, 2, 7, 16, 1 << 20] {
        let (mut a, mut b) = links(identity(1, 0, 4), identity(1, 3, 4), 3);
        let [first, second] = converse(&mut a, &mut b, piece).unwrap();
        assert!(matches!(first[..], [PeerEvent::Opened(Seat(3))]), "{piece}");
        assert!(matches!(second[..], [PeerEvent::Opened(Seat(0))]), "{piece}");
        assert_eq!((a.seat(), b.seat()), (Some(Seat(3)), Some(Seat(0))));
    }
}

#[test]
fn who_has_no_seat_proves_a_key_and_no_seat_can_be_had_with_it() {
    let observer = |byte| Identity { key: key(byte), seat: Seat::NONE, ..identity(1, 0, 4) };
    let link = |of: Identity| PeerLink::dial_anyone(Arc::new(of)).unwrap();
    for piece in [1, 7, 1 << 20] {
        let (mut a, mut b) = (link(observer(77)), PeerLink::accept(Arc::new(identity(1, 3, 4))));
        let [first, second] = converse(&mut a, &mut b, piece).unwrap();
        assert!(matches!(first[..], [PeerEvent::Opened(Seat(3))]) && !a.is_inbound());
        assert!(matches!(second[..], [PeerEvent::Guest(found)] if found == public_key(&key(77))));
        assert_eq!((a.seat(), b.seat(), b.is_inbound()), (Some(Seat(3)), None, true));
        b.name(Seat::guest(5));
        assert_eq!(b.seat(), Some(Seat::guest(5)));
    }
    // Two observers, and one that meets itself.
    let (mut a, mut b) = (link(observer(77)), PeerLink::accept(Arc::new(observer(78))));
    let [first, second] = converse(&mut a, &mut b, 9).unwrap();
    assert!(matches!(first[..], [PeerEvent::Guest(found)] if found == public_key(&key(78))));
    assert!(matches!(second[..], [PeerEvent::Guest(found)] if found == public_key(&key(77))));
    let (mut a, mut b) = (link(observer(77)), PeerLink::accept(Arc::new(observer(77))));
    assert_eq!(converse(&mut a, &mut b, 9).unwrap_err(), PeerError::OwnKey);
    // Where a validator was dialed, a key without a seat is nobody.
    let (mut a, mut b) = (
        PeerLink::dial(Arc::new(identity(1, 0, 4)), Seat(2)).unwrap(),
        PeerLink::accept(Arc::new(observer(77))),
    );
    assert!(matches!(converse(&mut a, &mut b, 9), Err(PeerError::OtherSeat { expected: 2, .. })));
    // Another's key, without its secret.
    let binding = [7; 32];
    let mut proof = observer(77).prove(Role::Dialer, &binding);
    let other = identity(1, 1, 4);
    assert_eq!(other.verify(Role::Acceptor, &binding, &proof), Ok(Who::Guest(public_key(&key(77)))));
    proof[2..34].copy_from_slice(&public_key(&key(78)));
    assert_eq!(other.verify(Role::Acceptor, &binding, &proof), Err(PeerError::Identity(u16::MAX)));
    for length in (0..proof.len()).chain([proof.len() + 1]) {
        let cut: Vec<u8> = proof.iter().copied().chain([0]).take(length).collect();
        assert!(other.verify(Role::Acceptor, &binding, &cut).is_err(), "{length} bytes");
    }
}

#[test]
fn another_chain_is_refused_before_any_exchange_and_named_to_both() {
    let (mut a, mut b) = links(identity(1, 0, 2), identity(2, 1, 2), 1);
    let chain = |error| matches!(error, Err(PeerError::Chain { .. }));
    assert!(chain(receive(&mut b, a.out.pending())));
    assert_eq!(b.out.pending().len(), PREFACE_BYTES, "nothing but its own preface");
    assert!(chain(receive(&mut a, b.out.pending())));
}

#[test]
fn another_version_and_other_software_are_refused() {
    let mut preface = identity(1, 0, 2).preface();
    preface[7] += 1;
    let mut link = PeerLink::accept(Arc::new(identity(1, 1, 2)));
    let refused = receive(&mut link, &preface);
    assert_eq!(refused, Err(PeerError::Version(preface[7])));
    let mut link = PeerLink::accept(Arc::new(identity(1, 1, 2)));
    let refused = receive(&mut link, b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(refused, Err(PeerError::Magic));
    assert!(link.out.pending().is_empty(), "a stranger learns nothing");
}

#[test]
fn nobody_passes_for_a_seat_without_its_key() {
    let thief = |seat: u16| Identity { key: key(9), seat: Seat(seat), ..identity(1, 0, 4) };
    let (mut a, mut b) = links(thief(0), identity(1, 3, 4), 3);
    assert_eq!(converse(&mut a, &mut b, 99).unwrap_err(), PeerError::Identity(0));
    let (mut a, mut b) = links(identity(1, 0, 4), thief(3), 3);
    assert_eq!(converse(&mut a, &mut b, 99).unwrap_err(), PeerError::Identity(3));
    let (mut a, mut b) = links(thief(7), identity(1, 3, 4), 3);
    assert_eq!(converse(&mut a, &mut b, 99).unwrap_err(), PeerError::Seat(7));
}

#[test]
fn the_dialed_seat_and_no_other_must_answer_and_oneself_never() {
    let (mut a, mut b) = links(identity(1, 0, 4), identity(1, 2, 4), 3);
    assert_eq!(converse(&mut a, &mut b, 99).unwrap_err(), PeerError::OtherSeat { expected: 3, found: 2 });
    let (mut a, mut b) = links(identity(1, 1, 4), identity(1, 1, 4), 3);
    assert_eq!(converse(&mut a, &mut b, 99).unwrap_err(), PeerError::OwnKey);
}

#[test]
fn one_in_the_middle_cannot_pass_an_identity_on() {
    // Two exchanges that know nothing of each other: what binds a proof to one of them differs.
    let finish = |a: Identity, b: Identity| {
        let (mut x, mut y) = (a.exchange(Role::Dialer).unwrap(), b.exchange(Role::Acceptor).unwrap());
        y.read(&x.write().unwrap()).unwrap();
        x.read(&y.write().unwrap()).unwrap();
        x.finish().unwrap().1
    };
    let honest = identity(1, 0, 2);
    let with_middle = finish(identity(1, 0, 2), identity(1, 1, 2));
    let from_middle = finish(identity(1, 0, 2), identity(1, 1, 2));
    let proof = honest.prove(Role::Dialer, &with_middle);
    let target = identity(1, 1, 2);
    assert_eq!(target.verify(Role::Acceptor, &with_middle, &proof), Ok(Who::Seat(Seat(0))));
    assert_eq!(target.verify(Role::Acceptor, &from_middle, &proof), Err(PeerError::Identity(0)));
    assert_eq!(target.verify(Role::Dialer, &with_middle, &proof), Err(PeerError::Identity(0)), "reflected");
}

#[test]
fn garbage_inside_the_handshake_ends_it() {
    let preface = identity(1, 0, 2).preface();
    let refused = |bytes: &[u8]| {
        let mut link = PeerLink::accept(Arc::new(identity(1, 1, 2)));
        receive(&mut link, &[&preface, bytes].concat())
    };
    let record = |length: u16| [&length.to_le_bytes()[..], &vec![0xAB; length.into()]].concat();
    assert_eq!(refused(&record(20)), Err(PeerError::Noise), "too short for an exchange");
    assert_eq!(refused(&record(257)), Err(PeerError::RecordLength(257)));
    assert_eq!(refused(&record(3)), Err(PeerError::RecordLength(3)));
    assert_eq!(
        refused(&u16::MAX.to_le_bytes()),
        Err(PeerError::RecordLength(65_535)),
        "before its bytes came"
    );
    // 32 bytes pass for an ephemeral key; what follows is not sealed with the agreed keys.
    assert_eq!(refused(&[record(32), record(82)].concat()), Err(PeerError::Noise));
}

#[test]
fn a_frame_or_lane_beyond_the_limits_ends_an_open_connection() {
    let sealed = |plain: &[u8]| {
        let acceptor = identity(1, 1, 2);
        let mut link = PeerLink::accept(Arc::new(acceptor));
        let dialer = identity(1, 0, 2);
        let mut exchange: Exchange = dialer.exchange(Role::Dialer).unwrap();
        let first = exchange.write().unwrap();
        let opening = [&dialer.preface()[..], &(first.len() as u16).to_le_bytes(), &first].concat();
        receive(&mut link, &opening).unwrap();
        exchange.read(&link.out.pending()[PREFACE_BYTES + 2..]).unwrap();
        let (mut channel, binding) = exchange.finish().unwrap();
        let mut bytes = Vec::new();
        for plain in [&dialer.prove(Role::Dialer, &binding), plain] {
            let start = Channel::begin(&mut bytes);
            bytes.extend_from_slice(plain);
            channel.seal(&mut bytes, start).unwrap();
        }
        receive(&mut link, &bytes)
    };
    let limit = |found: usize, most: usize| {
        Err(PeerError::Wire(WireError::Limit { what: "frame", found: found as u64, most: most as u64 }))
    };
    let over = |lane: u8, length: usize| [&[lane][..], &frame_header(2, length)].concat();
    let (small, bulk) = (SMALL_FRAME_BYTES_MAX + 1, PEER_FRAME_BYTES_MAX + 1);
    assert_eq!(sealed(&over(0, small)), limit(small, small - 1));
    assert_eq!(sealed(&over(1, bulk)), limit(bulk, bulk - 1));
    assert_eq!(sealed(&over(2, 0)), Err(PeerError::Lane));
    assert_eq!(sealed(&[]), Err(PeerError::Lane));
    let frontier = frame(&Message::Frontier { began: Round(0), rounds: vec![Round(1)] });
    let wrong_lane =
        [&[1][..], &frame_header(frontier.kind, frontier.payload.len()), &frontier.payload].concat();
    assert_eq!(sealed(&wrong_lane), Err(PeerError::Lane));
    assert_eq!(sealed(&[&[0][..], &frame_header(77, 0)].concat()), Err(PeerError::Wire(WireError::Kind(77))));
}

#[test]
fn a_vote_overtakes_requests_and_batches_that_wait_and_requests_overtake_batches() {
    let (mut a, mut b) = links(identity(1, 0, 2), identity(1, 1, 2), 1);
    converse(&mut a, &mut b, 4096).unwrap();
    let (strong, weak, acks, parts) = Default::default();
    let (epoch, round, author, time) = (Epoch(0), Round(1), Seat(0), Time(1));
    let vertex = Vertex { epoch, round, author, time, strong, weak, acks, parts };
    let vote = Message::Vertex(Arc::new(sign_vertex(&key(0), &ChainId([1; 32]), vertex)));
    let request = Message::Frontier { began: Round(0), rounds: vec![Round(5)] };
    for message in [&batch(1, 10), &request, &request, &vote, &request] {
        assert!(a.send(message, message.payload()));
    }
    let [_, events] = converse(&mut a, &mut b, 1 << 16).unwrap();
    let kinds = events.iter().map(|event| match event {
        PeerEvent::Message(message) => message.kind(),
        other => panic!("{other:?}"),
    });
    let wanted = [vote.kind(), request.kind(), request.kind(), request.kind(), batch(1, 10).kind()];
    assert_eq!(kinds.collect::<Vec<_>>(), wanted);
}

#[test]
fn the_largest_proof_that_a_liar_can_leave_behind_passes_from_peer_to_peer() {
    let (mut a, mut b) = links(identity(1, 0, 2), identity(1, 1, 2), 1);
    converse(&mut a, &mut b, 4096).unwrap();
    let batch =
        |number: usize| BatchRef { author: Seat(0), sequence: Sequence(number as u64), id: BatchId([0; 32]) };
    let seats = || (0..SEATS_MAX as u16).map(Seat);
    let [one, other] = [1, 2].map(|time| {
        let vertex = Vertex {
            epoch: Epoch(0),
            round: Round(3),
            author: Seat(1),
            time: Time(time),
            strong: seats().map(|author| Parent { author, id: VertexId([0; 32]) }).collect(),
            weak: seats()
                .map(|author| VertexRef { round: Round(1), author, id: VertexId([0; 32]) })
                .collect(),
            acks: (1..=ACKS_MAX).map(|n| Ack { batch: batch(n), verdict: Verdict::Held }).collect(),
            parts: vec![Part::Other(0, vec![0; PARTS_BYTES_MAX - 5])],
        };
        Arc::new(sign_vertex(&key(1), &ChainId([1; 32]), vertex))
    });
    let proof = Message::Evidence(Arc::new(Evidence::of_vertices(&one, &other).unwrap()));
    assert_eq!(proof.payload().len(), EVIDENCE_BYTES_MAX);
    assert!(a.send(&proof, proof.payload()));
    let [_, events] = converse(&mut a, &mut b, 1 << 16).unwrap();
    assert!(matches!(&events[..], [PeerEvent::Message(came)] if *came == proof));
}

#[test]
fn a_request_overtakes_batches_that_were_begun() {
    let (mut a, mut b) = links(identity(1, 0, 2), identity(1, 1, 2), 1);
    converse(&mut a, &mut b, 4096).unwrap();
    for sequence in 1..=20 {
        let message = batch(sequence, 4096);
        assert!(a.send(&message, message.payload()));
    }
    a.seal().unwrap();
    let request = Message::Frontier { began: Round(0), rounds: vec![Round(5)] };
    assert!(a.send(&request, request.payload()));
    let [_, events] = converse(&mut a, &mut b, 1 << 16).unwrap();
    let place = |wanted: fn(&Message) -> bool| {
        events.iter().position(|event| matches!(event, PeerEvent::Message(message) if wanted(message)))
    };
    assert_eq!(
        place(|message| matches!(message, Message::Frontier { .. })),
        Some(0),
        "before the first is complete"
    );
    assert_eq!(events.len(), 21);
}

#[test]
fn what_is_more_than_a_turn_takes_stays_as_bytes_and_comes_next_in_its_order() {
    let (mut a, mut b) = links(identity(1, 0, 2), identity(1, 1, 2), 1);
    converse(&mut a, &mut b, 4096).unwrap();
    // More than one record of small frames, and a few of several records.
    let count = 15_000;
    let number = |round: u64| Message::Frontier { began: Round(round), rounds: vec![] };
    for round in 0..count {
        let message = if round % 5_000 == 77 { batch(round, 2_000) } else { number(round) };
        assert!(a.send(&message, message.payload()));
    }
    let mut sealed = Vec::new();
    while sealed.is_empty() || !a.out.pending().is_empty() {
        a.seal().unwrap();
        sealed.extend_from_slice(a.out.pending());
        a.out.consume(a.out.pending().len());
        a.seal().unwrap();
    }
    let (mut taken, mut all) = (Vec::new(), Vec::new());
    b.receive_some(&mut sealed, 7, &mut taken).unwrap();
    assert!(b.is_behind() && taken.len() == 7);
    while !taken.is_empty() {
        assert!(taken.len() <= 7);
        all.append(&mut taken);
        b.go_on(7, &mut taken).unwrap();
    }
    assert!(!b.is_behind());
    let rounds = all.iter().filter_map(|event| match event {
        PeerEvent::Message(Message::Frontier { began, .. }) => Some(began.0),
        _ => None,
    });
    assert!(rounds.eq((0..count).filter(|round| round % 5_000 != 77)));
    assert_eq!(all.len(), count as usize);
}
