//! Connections between validators under attack: bytes of a stranger, an exchange of keys that somebody changes on its
//! way, identities and records that are sealed correctly and lie inside.
//!
//! A recipe: how the bytes are cut, the kind of attack, then what it says.
//!
//! | kind | the rest |
//! | --- | --- |
//! | 0 | all that a stranger sends to the side that was dialed |
//! | 1 | all that answers to the side that dialed |
//! | 2 | changes on the way to the side that was dialed: place, bits to flip |
//! | 3 | changes on the way back |
//! | 4 | bits to flip in a proof of identity that is sealed with the agreed keys; what is beyond its end comes after it |
//! | 5 | records of one that is known: length, plaintext |

use std::sync::{Arc, OnceLock};
use throng::crypto::{KeySet, public_key, signing_key_from_seed};
use throng::net::{Channel, Identity, PeerError, PeerEvent, PeerLink, Role};
use throng::types::{ChainId, Seat};
use throng::wire::frame_header;

/// What the side that was dialed says before it knows anybody: its preface and its half of the exchange.
const ANSWER_BYTES_MAX: usize = 16 + 2 + 48;
/// What the side that dials says until it is known: preface, exchange, identity.
const OPENING_BYTES: usize = 16 + 2 + 32 + 2 + 66 + 16;
/// What the other side says until then: preface, exchange, identity.
const REPLY_BYTES: usize = 16 + 2 + 48 + 2 + 66 + 16;
const DIALER: Seat = Seat(0);
const ACCEPTOR: Seat = Seat(1);

fn identities() -> &'static [Arc<Identity>; 2] {
    static BOTH: OnceLock<[Arc<Identity>; 2]> = OnceLock::new();
    BOTH.get_or_init(|| {
        let key = |seat: Seat| signing_key_from_seed([seat.0 as u8 + 1; 32]);
        let seats = Arc::new(KeySet::new(&[public_key(&key(DIALER)), public_key(&key(ACCEPTOR))]));
        let chain = ChainId([7; 32]);
        [DIALER, ACCEPTOR]
            .map(|seat| Arc::new(Identity { chain, seat, key: key(seat), seats: seats.clone() }))
    })
}

fn dial() -> PeerLink {
    PeerLink::dial(identities()[0].clone(), ACCEPTOR).expect("an exchange of keys")
}

fn accept() -> PeerLink {
    PeerLink::accept(identities()[1].clone())
}

/// The recipe of an attack; whether it came as far as an attack of its kind can.
pub fn handshake(bytes: &[u8]) -> bool {
    let [cut, kind, rest @ ..] = bytes else { return false };
    let cut = usize::from(*cut).max(1);
    match kind % 6 {
        0 => stranger(&accept, rest, cut),
        1 => stranger(&dial, rest, cut),
        2 => changed(rest, cut, 1),
        3 => changed(rest, cut, 0),
        4 => false_proof(rest, cut),
        _ => records(rest, cut),
    }
}

/// Hands bytes to a link in pieces; how that ended, and what came of it.
fn hand(link: &mut PeerLink, bytes: &[u8], cut: usize) -> (Vec<PeerEvent>, Result<(), PeerError>) {
    let mut events = Vec::new();
    let end = bytes.chunks(cut).try_for_each(|piece| link.receive(&mut piece.to_vec(), &mut events));
    (events, end)
}

/// Nobody gets in by bytes alone, nobody gets much out, and it does not matter how they are cut.
fn stranger(link: &dyn Fn() -> PeerLink, bytes: &[u8], cut: usize) -> bool {
    let (mut one, mut other) = (link(), link());
    let before = one.out.pending().len();
    let (events, end) = hand(&mut one, bytes, cut);
    assert!(events.is_empty() && one.seat().is_none());
    let (_, whole) = hand(&mut other, bytes, bytes.len().max(1));
    assert_eq!(end, whole);
    assert!(one.out.pending().len() <= before + ANSWER_BYTES_MAX + OPENING_BYTES);
    bytes.len() >= 16
        && !matches!(end, Err(PeerError::Magic | PeerError::Version(_) | PeerError::Chain { .. }))
}

/// Two honest sides, and somebody between them who flips bits on the way to one of them (0: who dialed). Whoever is sent
/// something changed knows nobody afterwards.
fn changed(recipe: &[u8], cut: usize, victim: usize) -> bool {
    let mut flips = [0; if OPENING_BYTES > REPLY_BYTES { OPENING_BYTES } else { REPLY_BYTES }];
    recipe.chunks_exact(2).for_each(|flip| flips[usize::from(flip[0]) % flips.len()] ^= flip[1]);
    let length = [REPLY_BYTES, OPENING_BYTES][victim];
    let touched = flips[..length].iter().any(|bits| *bits != 0);

    let mut links = [dial(), accept()];
    let mut passed = 0;
    let mut failed = false;
    // A turn for each part of the exchange and one more in which nothing is left to say.
    for _ in 0..4 {
        for from in [0, 1] {
            let mut bytes = links[from].out.pending().to_vec();
            links[from].out.consume(bytes.len());
            if victim != from {
                let rest = flips.get(passed..).unwrap_or_default();
                bytes.iter_mut().zip(rest).for_each(|(byte, bits)| *byte ^= bits);
                passed += bytes.len();
            }
            failed |= !failed && hand(&mut links[1 - from], &bytes, cut).1.is_err();
        }
        if failed {
            break;
        }
    }
    let known = links[victim].seat();
    assert_eq!(known.is_some(), !touched, "who is sent anything else knows nobody");
    assert!(known.is_none_or(|seat| seat == [ACCEPTOR, DIALER][victim]));
    true
}

/// The acceptor of a connection whose dialer has agreed on keys, that dialer's channel, and what proves its identity.
fn agreed() -> (PeerLink, Channel, Vec<u8>) {
    let honest = &identities()[0];
    let mut exchange = honest.exchange(Role::Dialer).expect("an exchange of keys");
    let mut acceptor = accept();
    let first = exchange.write().expect("the first message");
    let opening = [&honest.preface()[..], &(first.len() as u16).to_le_bytes(), &first].concat();
    hand(&mut acceptor, &opening, opening.len()).1.expect("honest so far");
    let answer = acceptor.out.pending().to_vec();
    acceptor.out.consume(answer.len());
    exchange.read(&answer[honest.preface().len() + 2..]).expect("an honest answer");
    let (channel, binding) = exchange.finish().expect("both messages passed");
    let proof = honest.prove(Role::Dialer, &binding).to_vec();
    (acceptor, channel, proof)
}

fn sealed(channel: &mut Channel, plain: &[u8]) -> Vec<u8> {
    let mut record = Vec::new();
    let start = Channel::begin(&mut record);
    record.extend_from_slice(plain);
    channel.seal(&mut record, start).expect("a short record");
    record
}

/// Nobody passes for a validator with anything but its proof.
fn false_proof(flips: &[u8], cut: usize) -> bool {
    let (mut acceptor, mut channel, mut proof) = agreed();
    proof.resize(proof.len().max(flips.len()), 0);
    proof.iter_mut().zip(flips).for_each(|(byte, bits)| *byte ^= bits);
    let untouched = flips.len() <= 66 && flips.iter().all(|bits| *bits == 0);
    let (events, end) = hand(&mut acceptor, &sealed(&mut channel, &proof), cut);
    assert_eq!((end.is_ok(), events.len()), (untouched, usize::from(untouched)));
    assert_eq!(acceptor.seat(), untouched.then_some(DIALER));
    true
}

/// What a known validator seals: whatever is taken out of it is what it put in, in its order, each lane by itself.
fn records(recipe: &[u8], cut: usize) -> bool {
    let (mut acceptor, mut channel, proof) = agreed();
    let mut stream = sealed(&mut channel, &proof);
    let mut lanes = [Vec::new(), Vec::new()];
    let mut rest = recipe;
    while let [length, more @ ..] = rest {
        let (plain, after) = more.split_at(more.len().min(usize::from(*length)));
        if let [lane @ 0..=1, frames @ ..] = plain {
            lanes[usize::from(*lane)].extend_from_slice(frames);
        }
        stream.extend(sealed(&mut channel, plain));
        rest = after;
    }
    let (events, _) = hand(&mut acceptor, &stream, cut);
    let mut taken = [Vec::new(), Vec::new()];
    let mut messages = 0;
    for event in events {
        match event {
            PeerEvent::Opened(seat) => assert_eq!(seat, DIALER),
            PeerEvent::Guest(_) => panic!("it has proved a seat"),
            PeerEvent::Message(message) => {
                let payload = message.payload();
                let lane = &mut taken[usize::from(message.is_bulk())];
                lane.extend_from_slice(&frame_header(message.kind(), payload.len()));
                lane.extend_from_slice(&payload);
                messages += 1;
            }
        }
    }
    assert_eq!(acceptor.seat(), Some(DIALER));
    assert!(lanes.iter().zip(&taken).all(|(sent, taken)| sent.starts_with(taken)));
    messages > 0
}
