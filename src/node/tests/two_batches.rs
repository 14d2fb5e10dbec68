//! Two batches of one sequence: compared as long as the first one is at hand, whatever comes with the second.

use super::evidence::convicted;
use super::*;
use crate::node::batches::Batches;
use crate::types::params::BATCH_HEADER_BYTES;
use crate::wire::{Gathered, seal_blobs};

const TWO: (u16, &str) = (1, "two batches of one sequence");

/// Batches of seat 1 that all have the number 1.
fn alike<const N: usize>(world: &World) -> [Batch; N] {
    std::array::from_fn(|k| world.batch(1, 1, &rows(&world.genesis, 2, 1..k as u64 + 3, None)))
}

/// Settles and executes a batch, and waits until its block is durable.
fn execute(world: &mut World, batch: &Batch) {
    world.receive(1, Message::Batch(batch.clone()));
    world.round(&[1, 2, 3].map(|by| (by, ack(batch.reference(), Verdict::Valid))));
    world.rounds(6);
    assert_eq!(world.settled_ok(), batch.header.rows);
    assert_eq!(world.node.batches.slot(Seat(1), batch.header.sequence), None);
}

/// The same batch with another byte at a place: in the columns, or in the signature of the header.
fn changed(batch: &Batch, place: usize) -> Batch {
    let mut bytes = batch.bytes().to_vec();
    bytes[place] ^= 1;
    let changed = Batch::decode(bytes.into()).unwrap();
    assert_eq!(changed.id, batch.id);
    changed
}

fn with_other_columns(batch: &Batch) -> Batch {
    changed(batch, batch.bytes().len() - 1)
}

fn with_forged_header(batch: &Batch) -> Batch {
    changed(batch, BATCH_HEADER_BYTES - 1)
}

/// How many batches are checked upon one that a peer sends.
fn checks(world: &mut World, from: u16, batch: &Batch) -> usize {
    let input = Input::Received { from: Seat(from), message: Message::Batch(batch.clone()) };
    world.node.handle(world.now, input);
    let begun =
        world.node.outputs.iter().filter(|o| matches!(o, Output::Job(Job::CheckBatch { .. }))).count();
    world.work();
    begun
}

#[test]
fn who_shows_a_second_batch_when_the_first_is_executed_is_convicted() {
    for reopened in [false, true] {
        let mut world = World::new(Policy::Quorum);
        let [first, second, third] = alike(&world);
        execute(&mut world, &first);
        if reopened {
            world = world.reopen();
        }
        assert_eq!(checks(&mut world, 1, &second), 1);
        assert_eq!((convicted(&world), &world.misbehaved[..]), (vec![TWO], &[][..]));
        assert!(!world.node.batches.has(&second.id), "it is of no other use");
        let told = world.sent.iter().filter(|(_, message)| matches!(message, Message::Evidence(_)));
        assert_eq!(told.count(), 3);
        assert_eq!(checks(&mut world, 1, &third), 0, "once is enough");
    }
}

#[test]
fn a_copy_of_an_executed_batch_is_not_checked_and_a_forged_second_one_is_held_against_its_sender() {
    let mut world = World::new(Policy::Quorum);
    let [first, second] = alike(&world);
    execute(&mut world, &first);
    for copy in [&first, &with_other_columns(&first), &with_forged_header(&first)] {
        assert_eq!(checks(&mut world, 3, copy), 0);
    }
    assert_eq!(world.misbehaved, []);
    assert_eq!(checks(&mut world, 3, &with_forged_header(&second)), 1);
    assert_eq!(
        (convicted(&world), &world.misbehaved[..]),
        (vec![], &[(Seat(3), "bad header signature")][..])
    );
}

#[test]
fn a_batch_that_is_no_longer_at_hand_is_not_compared() {
    let mut world = World::new(Policy::Quorum);
    let [first, second] = alike(&world);
    execute(&mut world, &first);
    world.node.batches.let_go(world.node.tip().0);
    assert_eq!(checks(&mut world, 1, &second), 0);
    assert_eq!((convicted(&world), &world.misbehaved[..]), (vec![], &[][..]));
}

#[test]
fn no_more_executed_batches_are_known_than_are_kept() {
    let world = World::new(Policy::Quorum);
    let mut batches = Batches::new(2);
    let made: Vec<Batch> =
        (1..=4).map(|sequence| world.batch(1, sequence, &rows(&world.genesis, 2, 1..3, None))).collect();
    for batch in made.iter().chain([&made[3]]) {
        batches.recall(batch.clone(), Height(batch.header.sequence.0));
    }
    let known = |batches: &Batches| -> Vec<Option<BatchId>> {
        made.iter().map(|b| batches.known(Seat(1), b.header.sequence).map(|known| known.id)).collect()
    };
    assert_eq!(known(&batches), [None, None, Some(made[2].id), Some(made[3].id)]);
    batches.let_go(Height(3));
    assert_eq!(known(&batches), [None, None, None, Some(made[3].id)]);
    assert_eq!(batches.counts().executed, 1);
    // Of what was let go of no trace is left: another one of its number is the first.
    let [.., another] = alike::<2>(&world);
    batches.recall(another.clone(), Height(5));
    assert_eq!(batches.known(Seat(1), Sequence(1)), Some(&another));
}

#[test]
fn the_header_of_a_second_batch_convicts_its_author_though_the_columns_are_refused() {
    for executed in [false, true] {
        let world = World::new(Policy::Quorum);
        let [first, second] = alike(&world);
        let mut zero = rows(&world.genesis, 2, 1..3, None);
        zero.effects[1].amount = 0.into();
        let mut blobs = Gathered::new(8);
        blobs.gather(&[7; 16]);
        let slot = (world.shared.committee.epoch, Seat(1), Sequence(1));
        let refused = [
            (with_other_columns(&second), "columns do not match the roots"),
            (world.batch(1, 1, &zero), "the amount is zero"),
            (
                seal_blobs(&seat_key(1), &world.shared.chain, slot, blobs),
                "content that this chain does not carry",
            ),
        ];
        for (second, reason) in refused {
            let mut world = World::new(Policy::Quorum);
            if executed {
                execute(&mut world, &first);
            } else {
                world.receive(1, Message::Batch(first.clone()));
            }
            world.receive(3, Message::Batch(second));
            assert_eq!((convicted(&world), &world.misbehaved[..]), (vec![TWO], &[(Seat(3), reason)][..]));
        }
    }
}

#[test]
fn columns_that_somebody_else_made_up_convict_nobody() {
    let mut world = World::new(Policy::Quorum);
    let [first, second] = alike(&world);
    // A copy that was changed on its way, before the good one and after it.
    world.receive(3, Message::Batch(with_other_columns(&first)));
    world.receive(1, Message::Batch(first.clone()));
    world.receive(3, Message::Batch(with_other_columns(&first)));
    world.receive(2, Message::Batch(with_forged_header(&second)));
    assert_eq!(convicted(&world), []);
    let blamed = [(Seat(3), "columns do not match the roots"), (Seat(2), "bad header signature")];
    assert_eq!(world.misbehaved, blamed);
    assert!(world.node.batches.get(&first.id).is_some_and(|held| held.durable));
}
