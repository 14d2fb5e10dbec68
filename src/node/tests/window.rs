//! The window of own batches: how many are outstanding, and what becomes of one that dies.

use super::*;
use Verdict::{Held, Valid};

/// The numbers of the own batches on disk.
fn sealed(world: &World) -> Vec<u64> {
    let batches = world.disk.log.iter().filter(|(kind, _)| *kind == RecordKind::Batch);
    let headers = batches.map(|(_, bytes)| Batch::decode(bytes.clone()).unwrap().header);
    headers.filter(|header| header.author == Seat(0)).map(|header| header.sequence.0).collect()
}

/// Gives the node rows of its own clients and time to seal them.
fn submit(world: &mut World, from: u32, nonces: std::ops::Range<u64>) {
    let rows = rows(&world.genesis, from, nonces, None);
    let submission = Submission::pack(columns(&rows)).unwrap();
    let admitted = ingress::admit(&world.shared, std::slice::from_ref(&submission));
    assert_eq!(admitted[0].accepted as usize, rows.effects.len());
    world.handle(Input::Rows);
    world.rounds(3);
}

#[test]
fn the_rows_of_an_own_batch_that_died_are_sealed_again_and_executed_once() {
    let mut world = World::new(Policy::Quorum);
    let window = world.shared.rules.window;
    let first = world.seal(1, 1..3);
    for sequence in 2..=window + 1 {
        assert!(world.node.batches.get(&first.id).is_some(), "it may still settle");
        let batch = world.seal(mine(2), sequence..sequence + 1);
        assert_eq!(batch.sequence.0, sequence);
        world.round(&[1, 2, 3].map(|by| (by, ack(batch, Valid))));
    }
    let mut waiting = 0;
    for _ in 0..8 {
        world.round(&[]);
        waiting = waiting.max(world.shared.mempool.len());
    }
    assert_eq!(waiting, 2, "back in the mempool");
    assert!(world.node.batches.get(&first.id).is_none());
    assert_eq!(sealed(&world), (1..=window + 2).collect::<Vec<_>>());
    let batches = world.disk.log.iter().filter(|(kind, _)| *kind == RecordKind::Batch);
    let again = Batch::decode(batches.last().unwrap().1.clone()).unwrap();
    let senders: Vec<u32> = again.rows().effects.iter().map(|effect| effect.from.get()).collect();
    assert_eq!(senders, [1, 1]);
    world.round(&[1, 2, 3].map(|by| (by, ack(again.reference(), Valid))));
    // Whatever comes of the first one now is too late.
    world.round(&[1, 2, 3].map(|by| (by, ack(first, Valid))));
    world.rounds(9);
    assert_eq!(u64::from(world.settled_ok()), window + 2);
    assert_eq!((sealed(&world).len() as u64, world.shared.mempool.len()), (window + 2, 0));
    let balance = |number: u32| world.shared.ledger.read(|accounts| accounts[number as usize].balance.get());
    assert_eq!((balance(2), balance(mine(2))), (1_000 + 2 * 5, 1_000 - window * 6), "each once");
}

#[test]
fn at_most_a_window_of_own_batches_is_outstanding() {
    let mut world = World::new(Policy::Quorum);
    let window = world.shared.rules.window;
    let first = world.seal(1, 1..2);
    (2..=window).for_each(|nonce| _ = world.seal(1, nonce..nonce + 1));
    submit(&mut world, mine(2), 1..2);
    world.pass(DELAY * 9);
    assert_eq!(sealed(&world), (1..=window).collect::<Vec<_>>());
    assert_eq!((world.node.progress().outstanding as u64, world.shared.mempool.len()), (window, 1));
    world.round(&[1, 2, 3].map(|by| (by, ack(first, Valid))));
    world.rounds(8);
    assert_eq!(sealed(&world), (1..=window + 1).collect::<Vec<_>>());
}

#[test]
fn nothing_is_sealed_that_others_would_not_count() {
    let last = 2 * World::new(Policy::Quorum).shared.rules.window;
    // Batches of an earlier life of which nothing is left, the last that count.
    for (used, next) in [(last, None), (last - 1, Some(last))] {
        let mut world = World::new(Policy::Quorum);
        let slot = (world.shared.committee.epoch, Seat(0), Sequence(used));
        let taken = rows(&world.genesis, 3, 1..2, None);
        let lost = seal(&seat_key(0), &world.shared.chain, slot, ACCOUNTS + 1, columns(&taken));
        world.round(&[1, 2].map(|by| (by, ack(lost.reference(), Held))));
        submit(&mut world, 1, 1..2);
        submit(&mut world, mine(2), 1..2);
        assert_eq!(sealed(&world), next.into_iter().collect::<Vec<_>>(), "after {used}");
        world.receive(2, Message::Batch(lost.clone()));
        world.round(&[1, 2, 3].map(|by| (by, ack(lost.reference(), Valid))));
        world.rounds(8);
        assert_eq!(sealed(&world).last(), Some(&(last + 1)), "others count more now");
    }
}
