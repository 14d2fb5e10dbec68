//! Vertices: twins, broken copies, missing parents, restarts.

use super::*;

#[test]
fn a_node_that_accepted_twins_restarts_on_its_log() {
    // The log holds twins in the order of acceptance: each comes before the vertex that demanded it.
    let mut world = World::new(Policy::Quorum);
    world.round(&[]);
    let twin = world.vertex((1, 3), &[], &[], 99);
    let mut named = world.last.clone();
    named[2] = twin.reference();
    let child = world.vertex((2, 2), &named, &[], 2);
    world.receive(2, Message::Vertex(child.clone()));
    world.receive(2, Message::Vertex(twin.clone()));
    assert!(world.node.consensus.dag().get(child.reference()).is_some());
    // The others go on upon the child, so that leaders commit and blocks are made of it.
    let others = world.last.clone();
    let rest: Vec<_> = [1, 3].map(|author| world.vertex((2, author), &others, &[], 2)).to_vec();
    for v in rest.iter() {
        world.receive(v.vertex.author.0, Message::Vertex(v.clone()));
    }
    world.last = vec![rest[0].reference(), child.reference(), rest[1].reference()];
    world.rounds(12);
    let (tip, highest) = (world.node.tip(), world.node.consensus.dag().highest());
    assert!(tip.0.0 >= 5, "{tip:?}");
    let mut world = world.reopen();
    assert_eq!((world.node.tip(), world.node.consensus.dag().highest()), (tip, highest));
    assert_eq!(world.node.progress().waiting_vertices, 0);
    world.rounds(6);
    assert!(world.node.tip().0 > tip.0);
    super::evidence::assert_judged_again(world);
}

#[test]
fn every_prefix_of_the_log_opens() {
    let mut world = World::new(Policy::Quorum);
    world.seal(1, 1..4);
    for sequence in 1..6 {
        let nonces = sequence * 2..sequence * 2 + 2;
        let batch = world.batch(1, sequence, &rows(&world.genesis, 2, nonces, None));
        world.round(&[1, 2, 3].map(|by| (by, ack(batch.reference(), Verdict::Valid))));
        world.receive(1, Message::Batch(batch));
        world.rounds(2);
    }
    assert!(world.durable.iter().any(|notice| notice.ok > 0));
    let log = world.disk.log.clone();
    for cut in 0..=log.len() {
        let mut disk = Disk::new(world.shared.chain);
        disk.log = log[..cut].to_vec();
        let opened = World::open(world.genesis.clone(), disk, world.now);
        let blocks = log[..cut].iter().filter(|(kind, _)| *kind == RecordKind::Block).count() as u64;
        // What was ordered and not yet executed is executed at once where the bytes are there.
        assert!(opened.node.tip().0.0 >= blocks, "cut at {cut}");
    }
}

#[test]
fn a_broken_copy_of_a_vertex_does_not_keep_out_the_good_one() {
    let mut world = World::new(Policy::Quorum);
    let vertex = world.vertex((1, 1), &[], &[], 1);
    let mut bytes = vertex.bytes.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let broken = Arc::new(SignedVertex::decode(bytes.into()).unwrap());
    assert_eq!(broken.id, vertex.id);
    for (from, message) in [(3, broken), (1, vertex.clone())] {
        let input = Input::Received { from: Seat(from), message: Message::Vertex(message) };
        world.node.handle(world.now, input);
    }
    world.work();
    assert!(world.node.consensus.dag().get(vertex.reference()).is_some());
    assert_eq!(world.misbehaved, [(Seat(3), "a vertex with a bad signature")]);
}

#[test]
fn a_missing_parent_is_asked_for_at_growing_intervals_until_it_comes() {
    let mut world = World::new(Policy::Quorum);
    let parents: Vec<_> = (1..4).map(|author| world.vertex((1, author), &[], &[], 1)).collect();
    let named: Vec<_> = parents.iter().map(|v| v.reference()).collect();
    let child = world.vertex((2, 2), &named, &[], 2);
    world.receive(2, Message::Vertex(child.clone()));
    world.receive(2, Message::Vertex(parents[1].clone()));
    world.receive(3, Message::Vertex(parents[2].clone()));
    world.pass(DELAY / 2);
    let asks = |world: &mut World| -> Vec<Seat> {
        let sent = std::mem::take(&mut world.sent);
        let asks = sent
            .into_iter()
            .filter(|(_, m)| matches!(m, Message::WantVertices(wanted) if wanted.contains(&named[0])));
        asks.map(|(to, _)| to).collect()
    };
    assert_eq!(asks(&mut world), [Seat(2)], "who sent the child is asked first");
    world.pass(DELAY * 30);
    let again = asks(&mut world).len();
    assert!((3..=8).contains(&again), "asked {again} times in three seconds");
    world.receive(1, Message::Vertex(parents[0].clone()));
    assert!(world.node.consensus.dag().get(child.reference()).is_some());
    world.pass(DELAY * 10);
    assert_eq!(asks(&mut world), []);
}

#[test]
fn a_peer_that_shows_an_old_frontier_is_given_what_it_lacks_and_its_own_that_it_lost() {
    let mut world = World::new(Policy::Quorum);
    world.rounds(5);
    world.sent.clear();
    world.receive(
        3,
        Message::Frontier { began: Round(0), rounds: vec![Round(0), Round(5), Round(3), Round(4)] },
    );
    let given: Vec<(u16, u64)> = world
        .sent
        .iter()
        .filter_map(|(_, m)| if let Message::Vertex(v) = m { Some(v.vertex.clone()) } else { None })
        .filter(|v| v.author != Seat(0))
        .map(|v| (v.author.0, v.round.0))
        .collect();
    assert_eq!(given, [(2, 4), (2, 5), (3, 5)]);
    world.receive(3, Message::Frontier { began: Round(0), rounds: vec![Round(0)] });
    assert_eq!(world.misbehaved, [(Seat(3), "a frontier of another committee")]);
}

#[test]
fn what_an_honest_vertex_needs_is_asked_for_though_a_liar_has_filled_its_share() {
    let mut world = World::new(Policy::Quorum);
    world.rounds(5);
    let fifth = world.last.clone();
    world.rounds(1);
    let sixth = world.last.clone();
    // Seat 3 names vertices that nobody made, each lower than the last, so that all are taken for a while.
    for round in (30..100u64).rev() {
        let nobody =
            |a| VertexRef { round: Round(round - 1), author: Seat(a), id: VertexId([round as u8; 32]) };
        let junk = world.vertex((round, 3), &[0, 1, 2, 3].map(nobody), &[], 1);
        world.receive(3, Message::Vertex(junk));
    }
    assert_eq!(world.node.holdings().wanted_vertices, 256, "all that may be wanted in its name");
    // Two others were shown its twin, and go on upon what it built on that; here only its own vertex names it.
    let twin = world.vertex((6, 3), &fifth, &[], 99);
    let upon = world.vertex((7, 3), &[sixth[0], sixth[1], twin.reference()], &[], 7);
    let others = [1, 2].map(|author| world.vertex((7, author), &sixth, &[], 7));
    let seventh = [others[0].reference(), others[1].reference(), upon.reference()];
    let honest = world.vertex((8, 1), &seventh, &[], 8);
    for vertex in others.iter().chain([&upon, &honest]) {
        world.receive(vertex.vertex.author.0, Message::Vertex(vertex.clone()));
    }
    assert!(world.node.consensus.dag().get(honest.reference()).is_none());
    world.sent.clear();
    world.pass(DELAY * 10);
    let asked = |(to, message): &(Seat, Message)| {
        *to != Seat(3)
            && matches!(message, Message::WantVertices(wanted) if wanted.contains(&twin.reference()))
    };
    assert!(world.sent.iter().any(asked), "of somebody else than the liar");
    world.receive(2, Message::Vertex(twin));
    assert!(world.node.consensus.dag().get(honest.reference()).is_some());
}
