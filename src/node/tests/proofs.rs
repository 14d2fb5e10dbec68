//! Proofs that did not arrive when they were told: they are asked for.

use super::*;
use crate::types::Epoch;
use crate::wire::{Accusation, Evidence};

/// Two vertices of a seat in the round 9, whose parents nobody has.
fn proof(world: &World, author: u16) -> Evidence {
    let strong: Vec<_> = (1..4).map(|author| world.vertex((8, author), &[], &[], 1).reference()).collect();
    let [one, other] = [1, 2].map(|time| world.vertex((9, author), &strong, &[], time));
    Evidence::of_vertices(&one, &other).expect("two faces")
}

fn convict(world: &mut World, author: u16) {
    let evidence = proof(world, author);
    world.receive(author % 3 + 1, Message::Evidence(Arc::new(evidence)));
    assert!(world.node.court.is_convicted(Seat(author)));
}

/// Who was asked for proofs since the last time, and against whom it need send none.
fn asked(world: &mut World) -> Vec<(u16, Vec<u16>)> {
    let ask = |(to, message)| match message {
        Message::WantEvidence(known) => Some((Seat::index(to) as u16, known.iter().map(|s| s.0).collect())),
        _ => None,
    };
    world.sent.drain(..).filter_map(ask).collect()
}

/// Whom a peer is shown proofs against when it says that it knows of these.
fn shown(world: &mut World, to: u16, known: &[u16]) -> Vec<u16> {
    world.sent.clear();
    world.receive(to, Message::WantEvidence(known.iter().copied().map(Seat).collect()));
    let shown = |(seat, message): (Seat, Message)| match message {
        Message::Evidence(evidence) => {
            assert_eq!(seat.0, to, "nobody else is shown any");
            Some(evidence.accused().0)
        }
        _ => None,
    };
    world.sent.drain(..).filter_map(shown).collect()
}

#[test]
fn the_peers_are_asked_in_turn_and_slowly_and_none_that_lied() {
    let mut world = World::new(Policy::Quorum);
    world.pass(DELAY * 4);
    asked(&mut world);
    let mut whom = Vec::new();
    for _ in 0..6 {
        world.pass(DELAY * 4);
        let asked = asked(&mut world);
        assert!(asked.len() <= 1 && asked.iter().all(|(_, known)| known.is_empty()), "{asked:?}");
        whom.extend(asked.into_iter().map(|(to, _)| to));
    }
    let after = |seat: u16| seat % 3 + 1;
    assert!(whom.len() >= 5 && whom.is_sorted_by(|one, next| after(*one) == *next), "{whom:?}");
    convict(&mut world, 2);
    world.pass(DELAY * 30);
    let mut asked = asked(&mut world);
    assert!(asked.len() >= 6 && asked.iter().all(|(_, known)| known[..] == [2]), "{asked:?}");
    asked.dedup();
    assert!(asked.iter().all(|(to, _)| *to != 2) && asked.windows(2).all(|two| two[0] != two[1]));
    // Nobody is there to be asked; then somebody is.
    (1..4).for_each(|seat| world.handle(Input::Disconnected(Seat(seat))));
    world.sent.clear();
    world.pass(DELAY * 30);
    assert_eq!(self::asked(&mut world), []);
    world.handle(Input::Connected(Seat(3)));
    world.pass(DELAY * 5);
    assert_eq!(self::asked(&mut world)[0], (3, vec![2]));
    // If there is nobody but liars, they may know of others.
    world.handle(Input::Connected(Seat(2)));
    world.handle(Input::Disconnected(Seat(3)));
    world.sent.clear();
    world.pass(DELAY * 5);
    assert_eq!(self::asked(&mut world)[0], (2, vec![2]));
}

#[test]
fn who_lacks_a_proof_gets_it_and_who_has_it_does_not() {
    let mut world = World::new(Policy::Quorum);
    assert_eq!(shown(&mut world, 1, &[]), [0; 0], "there is none");
    convict(&mut world, 2);
    assert_eq!(shown(&mut world, 1, &[2]), [0; 0]);
    assert_eq!(shown(&mut world, 1, &[]), [2], "what it lacked before takes nothing from it");
    assert_eq!(shown(&mut world, 1, &[]), [0; 0], "not again so soon");
    assert_eq!(shown(&mut world, 3, &[]), [2], "another has its own turn");
    convict(&mut world, 3);
    world.pass(DELAY * 2);
    assert_eq!(shown(&mut world, 1, &[2]), [0; 0], "still too soon");
    world.pass(DELAY);
    assert_eq!(shown(&mut world, 1, &[2]), [3]);
    world.pass(DELAY * 3);
    assert_eq!(shown(&mut world, 1, &[0, 1]), [2], "one at a time: the next one with the next question");
    // A guest asks as anybody, and one with the number of one that left is another.
    let guest = Seat::guest(0);
    for _ in 0..2 {
        world.handle(Input::GuestCame(guest));
        assert_eq!(shown(&mut world, guest.0, &[3]), [2]);
        assert_eq!(shown(&mut world, guest.0, &[3]), [0; 0]);
        world.handle(Input::GuestLeft(guest));
    }
    // And a disk without room keeps nobody from reading.
    world.pass(DELAY * 3);
    world.handle(Input::DiskFull(true));
    assert_eq!(shown(&mut world, 1, &[3]), [2]);
    assert_eq!(world.misbehaved, []);
}

#[test]
fn a_node_that_was_cut_off_when_it_was_told_learns_of_a_liar_from_whomever_it_asks() {
    let mut veteran = World::new(Policy::Quorum);
    convict(&mut veteran, 3);
    // The same seat once more: it heard nothing of it.
    let mut cut_off = World::new(Policy::Quorum);
    cut_off.pass(DELAY * 5);
    let (to, known) = asked(&mut cut_off).swap_remove(0);
    assert_eq!(shown(&mut veteran, to, &known), [3]);
    let answer = veteran.node.evidence().next().expect("a proof").clone();
    cut_off.receive(to, Message::Evidence(answer));
    assert!(cut_off.node.court.is_convicted(Seat(3)));
}

#[test]
fn what_a_peer_sent_and_waits_for_accounts_is_not_asked_of_it_again() {
    let mut world = World::new(Policy::Quorum);
    let effect = Effect::transfer(ACCOUNTS + 1, 1, 5, 1, 1);
    let taken = Taken { effects: vec![effect], keys: Vec::new(), witnesses: vec![Witness([1; 64])] };
    let slot = (Epoch(0), Seat(1), Sequence(1));
    let batch = seal(&seat_key(1), &world.shared.chain, slot, ACCOUNTS + 2, columns(&taken));
    let early = Arc::new(Evidence::BadRow(Accusation::new(&batch, 0).expect("a row")));
    world.receive(3, Message::Evidence(early.clone()));
    let repeated = Input::Received { from: Seat(3), message: Message::Evidence(early) };
    world.node.handle(world.now, repeated);
    assert!(world.node.poll().is_none(), "nor checked again when it says it once more");
    world.sent.clear();
    world.pass(DELAY * 4 * 3);
    let asked = asked(&mut world);
    let [of_3, of_others]: [Vec<_>; 2] = [true, false].map(|of_3| {
        asked.iter().filter(|(to, _)| (*to == 3) == of_3).map(|(_, known)| known.clone()).collect()
    });
    assert!(!of_3.is_empty() && of_3.iter().all(|known| known[..] == [1]), "{asked:?}");
    assert!(!of_others.is_empty() && of_others.iter().all(Vec::is_empty), "its word alone is no proof");
}
