//! When no leader commits for long: memory stays bounded, rounds go on, and a commit sets everything free.

use super::*;
use crate::types::params::{ACKS_MAX, UNCOMMITTED_BYTES_MAX};

/// A round of the other three of which no leader can commit: seat 3 names nobody who leads, and who votes is named by
/// too few. Each vertex is as large as it can be, by acks that count for nothing.
fn barren_round(world: &mut World, round: u64) {
    let closed = |place: usize| {
        let sequence = Sequence(1_000_000 + place as u64);
        ack(BatchRef { author: Seat(1), sequence, id: BatchId([1; 32]) }, Verdict::Held)
    };
    let acks: Vec<Ack> = (0..ACKS_MAX).map(closed).collect();
    let own = world.own.iter().rev().find(|v| v.vertex.round.0 + 1 == round).map(|v| v.reference());
    let leader = world.shared.committee.leader(Round(round.saturating_sub(1)));
    let mut made = Vec::new();
    for author in 1..4 {
        let mut parents = world.last.clone();
        if author == 3 && leader != Seat(0) && round > 1 {
            parents.retain(|p| p.author != leader);
            parents.insert(0, own.expect("the node makes every round"));
        }
        made.push(world.vertex((round, author), &parents, &acks, round));
    }
    world.last = made.iter().map(|v| v.reference()).collect();
    for v in made {
        world.receive(v.vertex.author.0, Message::Vertex(v));
    }
    world.pass(DELAY * 2);
}

#[test]
fn above_the_cap_on_uncommitted_bytes_nothing_new_is_acked_or_sealed_but_rounds_go_on() {
    let mut world = World::new(Policy::Quorum);
    let mut round = 0;
    while world.node.consensus.dag().uncommitted_bytes() <= UNCOMMITTED_BYTES_MAX {
        round += 1;
        barren_round(&mut world, round);
        assert!(round < 1_000 && world.durable.is_empty(), "no leader commits");
    }
    let made = world.own.len();
    let batch = world.batch(1, 1, &rows(&world.genesis, 2, 1..4, None));
    world.receive(1, Message::Batch(batch.clone()));
    let mine = rows(&world.genesis, 1, 1..4, None);
    let submission = Submission::pack(columns(&mine)).unwrap();
    ingress::admit(&world.shared, std::slice::from_ref(&submission));
    world.handle(Input::Rows);
    for _ in 0..4 {
        round += 1;
        barren_round(&mut world, round);
    }
    assert!(world.own.len() >= made + 3, "rounds never stop");
    assert!(world.said(batch.id).is_empty(), "no new acks");
    let sealed = |world: &World| {
        world.disk.log.iter().any(|(kind, bytes)| {
            *kind == RecordKind::Batch && Batch::decode(bytes.clone()).unwrap().header.author == Seat(0)
        })
    };
    assert!(!sealed(&world), "no new batch");
    // Now the others agree with each other.
    world.rounds(8);
    assert!(!world.durable.is_empty());
    assert!(world.node.consensus.dag().uncommitted_bytes() < UNCOMMITTED_BYTES_MAX / 4);
    world.pass(DELAY * 3);
    world.rounds(2);
    assert!(!world.said(batch.id).is_empty() && sealed(&world), "a commit sets it free");
}

#[test]
fn above_two_caps_a_leader_is_waited_for_four_times_as_long() {
    let mut world = World::new(Policy::Quorum);
    let mut round = 0;
    let leads = |world: &World, round: u64| world.node.consensus.dag().leader(Round(round));
    while world.node.consensus.dag().uncommitted_bytes() <= 2 * UNCOMMITTED_BYTES_MAX
        || leads(&world, round + 1) == Seat(0)
    {
        round += 1;
        barren_round(&mut world, round);
        assert!(round < 1_000 && world.durable.is_empty(), "no leader commits");
    }
    // There is something to settle, and the leader of the next round stays away.
    let batch = world.batch(1, 1, &rows(&world.genesis, 2, 1..4, None));
    world.receive(1, Message::Batch(batch));
    round += 1;
    let (leader, parents) = (leads(&world, round), world.last.clone());
    let made: Vec<_> = (1..4).map(|author| world.vertex((round, author), &parents, &[], round)).collect();
    let (late, here): (Vec<_>, Vec<_>) = made.into_iter().partition(|v| v.vertex.author == leader);
    here.into_iter().for_each(|v| world.receive(v.vertex.author.0, Message::Vertex(v)));
    let step = Duration::from_millis(1);
    while world.own.last().unwrap().vertex.round.0 < round {
        world.pass(step);
    }
    // With its own vertex the round has a quorum: it has just entered the next one.
    let due = world.node.vote_due().expect("it waits for the leader").since(world.now);
    let wait = DELAY * 2 * 2u32.pow(2);
    assert!(due <= wait && due >= wait - step, "{due:?}");
    world.pass(wait - step * 2);
    assert_eq!(world.own.last().unwrap().vertex.round.0, round);
    world.receive(leader.0, Message::Vertex(late[0].clone()));
    world.pass(step);
    assert_eq!(world.own.last().unwrap().vertex.round.0, round + 1, "it is here");
}
