//! Who is late with what is drawn to it is not waited for.

use super::*;
use crate::consensus::draw;
use Verdict::{Held, Valid};

/// Batches of one author that are drawn to one other seat; after that this node comes next in the first two.
struct Drawn {
    author: u16,
    to: u16,
    batches: Vec<Batch>,
}

/// Batches of an author that are drawn to a seat, those first in which this node comes next.
fn drawn(world: &World, author: u16, to: u16) -> (Drawn, usize) {
    let (committee, seed) = (&world.shared.committee, &world.node.draw_seed);
    let of = |sequence: &u64| draw(seed, committee, (Seat(author), Sequence(*sequence)), Seat(0));
    let mut sequences: Vec<u64> = (1..=16).filter(|s| of(s).first.contains(Seat(to))).collect();
    sequences.sort_by_key(|sequence| of(sequence).before.count());
    let next = sequences.iter().filter(|sequence| of(sequence).before.count() == 2).count();
    let batch = |(place, sequence): (u64, u64)| {
        let nonces = 2 * place + 1..2 * place + 3;
        world.batch(author, sequence, &rows(&world.genesis, u32::from(4 * author + to), nonces, None))
    };
    (Drawn { author, to, batches: (0..).zip(sequences).map(batch).collect() }, next)
}

/// The author and the seat with batches enough.
fn drawn_often(world: &World) -> Drawn {
    let ways =
        (1..4).flat_map(|author| (1..4).map(move |to| (author, to))).filter(|(author, to)| author != to);
    let mut drawn = ways.map(|(author, to)| drawn(world, author, to));
    drawn.find(|(drawn, next)| *next >= 2 && drawn.batches.len() >= 5).expect("one of six").0
}

/// A quorum holds a batch, and who it is drawn to says so much of it, and nothing more.
fn drawn_says(world: &mut World, drawn: &Drawn, place: usize, verdict: Verdict) {
    let batch = &drawn.batches[place];
    world.receive(drawn.author, Message::Batch(batch.clone()));
    let says = |by| match by {
        _ if by == drawn.author => Valid,
        _ if by == drawn.to => verdict,
        _ => Held,
    };
    world.round(&[1, 2, 3].map(|by| (by, ack(batch.reference(), says(by)))));
    world.pass(DELAY * 12);
}

/// Whether this node, who comes next, verifies at once what is drawn to a seat.
fn steps_in(world: &mut World, drawn: &Drawn, place: usize) -> bool {
    let batch = &drawn.batches[place];
    world.receive(drawn.author, Message::Batch(batch.clone()));
    world.verified.contains(&batch.id)
}

#[test]
fn who_is_late_again_and_again_is_passed_over_until_it_has_made_up_for_it() {
    let mut world = World::new(Policy::Quorum);
    world.round(&[]);
    let drawn = drawn_often(&world);
    drawn_says(&mut world, &drawn, 2, Held);
    drawn_says(&mut world, &drawn, 3, Held);
    assert!(steps_in(&mut world, &drawn, 0), "twice is enough");
    drawn_says(&mut world, &drawn, 4, Valid);
    assert!(!steps_in(&mut world, &drawn, 1), "what it does counts for it");
}

#[test]
fn once_is_not_enough_and_where_all_are_late_nobody_is_to_blame() {
    let mut world = World::new(Policy::Quorum);
    world.round(&[]);
    let late = drawn_often(&world);
    drawn_says(&mut world, &late, 2, Held);
    assert!(!steps_in(&mut world, &late, 0));
    // The third of the others is late as often.
    let third = (1..4).find(|seat| ![late.author, late.to].contains(seat)).unwrap();
    let (other, _) = drawn(&world, late.author, third);
    drawn_says(&mut world, &other, 0, Held);
    drawn_says(&mut world, &late, 3, Held);
    assert!(!steps_in(&mut world, &late, 1));
}
