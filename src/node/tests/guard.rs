//! Restarts: whatever the disk kept, nothing that was sent is signed a second time in another way.

use super::disk::Left;
use super::*;
use std::collections::BTreeMap;

/// One own vertex per round and one own batch per sequence among all that was sent.
fn assert_one_each(world: &World, story: &str) {
    let mut vertices = BTreeMap::new();
    for vertex in &world.own {
        let first = *vertices.entry(vertex.vertex.round).or_insert(vertex.id);
        assert_eq!(first, vertex.id, "{story}: a second vertex of round {}", vertex.vertex.round);
    }
    let mut batches = BTreeMap::new();
    for (_, message) in &world.sent {
        let Message::Batch(batch) = message else { continue };
        let first = *batches.entry(batch.header.sequence).or_insert(batch.id);
        assert_eq!(first, batch.id, "{story}: a second batch {}", batch.header.sequence);
    }
}

/// A short story: rows to be sealed, rounds of the others in between; the machine is restarted when it dies.
fn play(dies_at: Option<(usize, Left)>) -> World {
    let mut world = World::new(Policy::Quorum);
    world.disk.dies_at = dies_at;
    for step in 0..8_u64 {
        if step % 2 == 0 {
            let rows = rows(&world.genesis, mine(step as u32 + 1), 1..3, None);
            let submission = Submission::pack(columns(&rows)).unwrap();
            ingress::admit(&world.shared, std::slice::from_ref(&submission));
            world.handle(Input::Rows);
            world.pass(Duration::from_millis(60));
            world.revive();
        }
        world.round(&[]);
        world.revive();
    }
    for _ in 0..4 {
        world.round(&[]);
        world.revive();
    }
    world
}

#[test]
fn a_crash_at_any_write_or_sync_never_leads_to_a_second_signature() {
    let calm = play(None);
    let batches = |world: &World| world.node.guard().sequence.0;
    assert!(calm.own.len() >= 10 && batches(&calm) >= 3, "{} {}", calm.own.len(), batches(&calm));
    let steps = calm.disk.steps;
    assert!(steps > 60, "{steps}");
    for at in 0..steps {
        for left in [Left::Nothing, Left::Half, Left::All] {
            let world = play(Some((at, left)));
            let story = format!("step {at} of {steps}, {left:?} left");
            assert_eq!(world.disk.dies_at, None, "{story}: it died");
            assert_one_each(&world, &story);
            let last = world.own.last().expect("it signs").vertex.round;
            assert!(last.0 + 2 >= calm.own.last().unwrap().vertex.round.0, "{story}: it goes on, {last}");
            assert!(world.misbehaved.is_empty(), "{story}: {:?}", world.misbehaved);
        }
    }
}

#[test]
fn a_log_that_forgot_what_the_guard_remembers_is_not_signed_again() {
    for forgotten in 1..12 {
        let mut world = play(None);
        let (signed, sealed) = (world.node.guard().round, world.node.guard().sequence);
        let sent = world.own.clone();
        let kept = world.disk.log.len() - forgotten;
        world.disk.log.truncate(kept);
        world.disk.dead = true;
        world.revive();
        let before = world.own.len();
        world.seal(mine(7), 1..4);
        world.rounds(3);
        let story = format!("{forgotten} records forgotten");
        assert_one_each(&world, &story);
        assert!(world.own[before..].iter().all(|v| v.vertex.round > signed), "{story}");
        let wanted = |message: &Message| match message {
            Message::WantVertices(refs) => refs.iter().find(|r| r.author == Seat(0)).copied(),
            _ => None,
        };
        // What the log lacks of it is asked for, given back, and built upon.
        let asked: Vec<_> = world.sent.iter().filter_map(|(_, message)| wanted(message)).collect();
        for reference in asked {
            let back = sent.iter().find(|v| v.reference() == reference).expect("it was sent").clone();
            world.receive(1, Message::Vertex(back));
        }
        world.rounds(8);
        assert!(world.own.len() > before, "{story}: it goes on");
        assert!(world.node.guard().sequence >= sealed, "{story}");
        assert_one_each(&world, &story);
    }
}
