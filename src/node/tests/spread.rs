//! Spreading: whom a vertex is passed on to.

use super::*;

/// How seat 1 names seat 2.
#[derive(Clone, Copy, PartialEq)]
enum Names {
    Not,
    Strong,
    /// Only a vertex of two rounds before.
    Weak(VertexRef),
}

/// The next round of the others, seat 2's vertex last. To whom that is passed on.
fn round(world: &mut World, names: Names) -> Vec<u16> {
    let number = world.last.first().map_or(1, |v| v.round.0 + 1);
    let own = world.own.iter().map(|v| v.reference()).find(|v| v.round.0 + 1 == number);
    let parents = world.last.clone();
    world.last.clear();
    let mut made = Vec::new();
    for author in 1..4 {
        let mut strong = parents.clone();
        if author == 1 && names != Names::Strong && number > 1 {
            strong[1] = own.expect("the node makes every round");
            strong.sort_by_key(|p| p.author);
        }
        let mut vertex = world.vertex((number, author), &strong, &[], number).vertex.clone();
        if let (1, Names::Weak(parent)) = (author, names) {
            vertex.weak = vec![parent];
        }
        made.push(Arc::new(sign_vertex(&seat_key(author), &world.shared.chain, vertex)));
        world.last.push(made.last().unwrap().reference());
    }
    made.swap(1, 2);
    world.sent.clear();
    for vertex in &made {
        world.receive(vertex.vertex.author.0, Message::Vertex(vertex.clone()));
    }
    let passed = |(to, message): &(Seat, Message)| match message {
        Message::Vertex(vertex) if vertex.vertex.author != Seat(0) => {
            assert_eq!(vertex.id, made[2].id, "only seat 2's");
            Some(to.0)
        }
        _ => None,
    };
    world.sent.iter().filter_map(passed).collect()
}

#[test]
fn a_vertex_is_passed_on_to_whom_its_author_does_not_reach_and_to_nobody_else() {
    let mut world = World::new(Policy::Quorum);
    let pause = DELAY * 2;
    assert_eq!(round(&mut world, Names::Strong), [0; 0], "of the first round nothing can be told");
    assert_eq!(round(&mut world, Names::Not), [1]);
    world.pass(pause - Duration::from_millis(1));
    assert_eq!(round(&mut world, Names::Not), [0; 0], "not again so soon");
    world.pass(Duration::from_millis(2));
    assert_eq!(round(&mut world, Names::Not), [1], "that it was sent is no sign that it came");
    world.pass(pause * 2);
    assert_eq!(round(&mut world, Names::Strong), [0; 0], "it came");
    let before = world.last[1];
    world.pass(pause * 2);
    assert_eq!(round(&mut world, Names::Strong), [0; 0]);
    world.pass(pause * 2);
    assert_eq!(round(&mut world, Names::Weak(before)), [0; 0], "it came, if late");
    world.pass(pause * 2);
    assert_eq!(round(&mut world, Names::Not), [1], "it does not come any more");
}

#[test]
fn who_shows_its_frontier_again_and_again_is_answered_no_more_often_than_who_needs_it() {
    let mut world = World::new(Policy::Quorum);
    (0..4).for_each(|_| world.round_together(&[]));
    world.pass(DELAY * 2);
    let nothing = || Message::Frontier { began: Round(0), rounds: vec![Round(0); 4] };
    // How many vertices are pushed to seats 2 and 3 in answer to so many frontiers of seat 3 at one time.
    let pushed = |world: &mut World, frontiers: usize| {
        world.sent.clear();
        (0..frontiers).for_each(|_| world.receive(3, nothing()));
        let to = |seat| {
            let pushed =
                |(to, message): &&(Seat, Message)| *to == seat && matches!(message, Message::Vertex(_));
            world.sent.iter().filter(pushed).count()
        };
        (to(Seat(2)), to(Seat(3)))
    };
    let (others, once) = pushed(&mut world, 1);
    assert!(others == 0 && once > 4, "{once}");
    assert_eq!(pushed(&mut world, 1_000), (0, 0), "not again at once");
    world.pass(DELAY);
    assert_eq!(pushed(&mut world, 1_000).1, once, "once after a pause, however often it asks");
}
