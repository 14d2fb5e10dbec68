//! An observer and a guest, by hand.

use super::*;

/// Hands over a batch to whoever asked for it.
fn give(world: &mut World, batch: &Batch) -> Vec<u16> {
    let wants = |message: &Message| matches!(message, Message::WantBatches(refs) if refs.contains(&batch.reference()));
    let asked: Vec<u16> =
        world.sent.iter().filter(|(_, message)| wants(message)).map(|(to, _)| to.0).collect();
    world.sent.clear();
    asked.first().into_iter().for_each(|from| world.receive(*from, Message::Batch(batch.clone())));
    asked
}

/// All three say that a batch is valid, and rounds go on until it has settled.
fn settle(world: &mut World, batch: &Batch) -> Vec<u16> {
    world.round(&[1, 2, 3].map(|by| (by, ack(batch.reference(), Verdict::Valid))));
    let asked = give(world, batch);
    world.rounds(6);
    asked
}

#[test]
fn an_observer_asks_for_what_validators_hold_checks_all_of_it_and_signs_nothing() {
    let mut world = World::observing();
    world.rounds(2);
    let batch = world.batch(1, 1, &rows(&world.genesis, 2, 1..4, None));
    let asked = settle(&mut world, &batch);
    assert!(asked.iter().all(|seat| (1..4).contains(seat)) && !asked.is_empty(), "{asked:?}");
    assert_eq!((world.verified.as_slice(), world.settled_ok()), (&[batch.id][..], 3));
    world.pass(DELAY * 50);
    assert!(world.own.is_empty() && world.misbehaved.is_empty());
    assert!(!world.sent.iter().any(|(_, message)| matches!(message, Message::Vertex(_))), "relays to nobody");
    assert_eq!(world.node.guard().round, Round(0));
    // It has the proof of what it says.
    world.rounds(80);
    assert!(world.node.tip().0 > Height(64));
}

#[test]
fn an_observer_stops_where_validators_settle_a_forged_row() {
    let mut world = World::observing();
    world.rounds(2);
    let bad = world.batch(1, 1, &rows(&world.genesis, 2, 1..4, Some(2)));
    let before = world.node.tip().0;
    settle(&mut world, &bad);
    assert_eq!(world.forged.iter().map(|forged| forged.batch).collect::<Vec<_>>(), [bad.reference()]);
    let (height, settled) = (world.forged[0].height, world.settled_ok());
    assert!(height > before && world.node.tip().0 < height && settled == 0);
    assert!(world.forged[0].to_string().contains("batch 1 of seat 1"), "{}", world.forged[0]);
    world.rounds(6);
    assert!(
        world.node.tip().0 < height && world.forged.len() == 1,
        "it follows no further, and says so once"
    );
}

#[test]
fn what_guests_say_of_own_vertices_lets_no_validator_sign() {
    // It has signed before, and asks what the others know.
    let mut world = World::new(Policy::Quorum);
    world.rounds(3);
    let made = world.own.len();
    assert!(made > 0);
    let disk = world.disk.clone();
    let mut again = World::open(world.genesis.clone(), disk, world.now);
    for number in 0..4 {
        again.handle(Input::GuestCame(Seat::guest(number)));
        let frontier = Message::Frontier { began: Round(0), rounds: vec![Round(0); 4] };
        again.receive(Seat::guest(number).0, frontier);
    }
    again.pass(DELAY * 20);
    assert!(again.own.is_empty(), "it signs on the word of strangers");
    again.last = world.last.clone();
    again.answer();
    again.pass(DELAY * 20);
    again.rounds(2);
    assert!(!again.own.is_empty(), "it signs when validators have answered");
}

#[test]
fn a_guest_is_told_of_every_vertex_gets_what_it_asks_for_and_is_not_listened_to() {
    let mut world = World::new(Policy::Quorum);
    let (guest, other) = (Seat::guest(0), Seat::guest(255));
    world.handle(Input::GuestCame(guest));
    world.handle(Input::GuestCame(other));
    let told = |world: &World, guest: Seat| {
        let to_guest = world.sent.iter().filter(|(to, _)| *to == guest);
        to_guest.filter(|(_, message)| matches!(message, Message::Vertex(_))).count()
    };
    world.rounds(3);
    assert_eq!((told(&world, guest), told(&world, other)), (9 + world.own.len(), 9 + world.own.len()));
    world.handle(Input::GuestLeft(other));
    world.sent.clear();
    // It asks.
    let frontier = Message::Frontier { began: Round(0), rounds: vec![Round(0); 4] };
    world.receive(guest.0, frontier);
    assert_eq!(told(&world, guest), 9 + world.own.len());
    world.receive(guest.0, Message::WantBlocks { first: Height(1), count: 1 });
    world.receive(guest.0, Message::WantSnapshots);
    assert!(
        world.sent.iter().any(|(to, message)| *to == guest && matches!(message, Message::Snapshots { .. }))
    );
    // It speaks.
    let accepted = world.node.progress().highest;
    let parents = world.last.clone();
    let vertex = world.vertex((4, 1), &parents, &[], 4);
    world.receive(guest.0, Message::Vertex(vertex));
    let batch = world.batch(1, 1, &rows(&world.genesis, 2, 1..4, None));
    world.receive(guest.0, Message::Batch(batch.clone()));
    assert_eq!(world.node.progress().highest, accepted);
    assert!(
        !world.disk.log.iter().any(|(kind, _)| *kind == RecordKind::Batch) && world.misbehaved.is_empty()
    );
    world.sent.clear();
    world.rounds(1);
    assert_eq!(told(&world, other), 0, "it is gone");
}
