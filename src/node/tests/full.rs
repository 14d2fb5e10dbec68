//! A node whose disk has no room.

use super::*;

#[test]
fn on_a_full_disk_nothing_is_signed_or_taken_but_what_is_here_is_served_and_then_it_goes_on() {
    let mut world = World::new(Policy::Quorum);
    world.rounds(8);
    let (own, height) = (world.own.len(), world.durable.len());
    assert!(own >= 8 && height > 0);
    let known = world.made[world.made.len() - 1].reference();
    let logged = world.disk.log.len();
    let waiting = rows(&world.genesis, 1, 1..4, None);
    let submission = Submission::pack(columns(&waiting)).unwrap();
    ingress::admit(&world.shared, std::slice::from_ref(&submission));

    world.handle(Input::DiskFull(true));
    assert!(world.node.progress().disk_full && world.node.deadline().is_none());
    let batch = world.batch(1, 1, &rows(&world.genesis, 2, 1..4, None));
    world.receive(1, Message::Batch(batch.clone()));
    world.handle(Input::Rows);
    world.rounds(8);
    world.pass(Duration::from_secs(20));
    assert_eq!((world.own.len(), world.durable.len()), (own, height), "it neither signs nor goes on");
    assert_eq!(world.disk.log.len(), logged, "nothing is to be written");
    world.sent.clear();
    world.receive(2, Message::WantVertices(vec![known]));
    world.receive(3, Message::WantFrontier);
    let served = |message: &Message| matches!(message, Message::Vertex(v) if v.reference() == known);
    assert!(world.sent.iter().any(|(to, message)| to.0 == 2 && served(message)), "{:?}", world.sent);
    assert!(world.sent.iter().any(|(to, message)| to.0 == 3 && matches!(message, Message::Frontier { .. })));

    world.handle(Input::DiskFull(false));
    // What came meanwhile was let go of: it is shown a frontier, and pushed again.
    for vertex in world.made.clone() {
        world.receive(vertex.vertex.author.0, Message::Vertex(vertex));
    }
    world.receive(1, Message::Batch(batch.clone()));
    world.rounds(8);
    assert!(world.own.len() > own && world.durable.len() > height, "it goes on");
    assert!(!world.said(batch.id).is_empty(), "it acks");
    let sealed = |(kind, bytes): &(RecordKind, Bytes)| {
        *kind == RecordKind::Batch && Batch::decode(bytes.clone()).unwrap().header.author == Seat(0)
    };
    assert!(world.disk.log.iter().any(sealed), "it seals what waited");
    let rounds: BTreeSet<Round> = world.own.iter().map(|vertex| vertex.vertex.round).collect();
    assert_eq!(rounds.len(), world.own.len(), "no round twice");
}

#[test]
fn what_was_being_checked_when_the_disk_became_full_is_let_go_of_and_comes_again() {
    let mut world = World::new(Policy::Quorum);
    world.rounds(2);
    let (vertex, batch) = {
        let parents = world.last.clone();
        (world.vertex((3, 1), &parents, &[], 3), world.batch(1, 1, &rows(&world.genesis, 2, 1..4, None)))
    };
    let mut jobs = Vec::new();
    for message in [Message::Vertex(vertex.clone()), Message::Batch(batch.clone())] {
        world.node.handle(world.now, Input::Received { from: Seat(1), message });
        while let Some(output) = world.node.poll() {
            if let Output::Job(job) = output {
                jobs.push(job);
            }
        }
    }
    assert_eq!((jobs.len(), world.node.holdings().checking), (2, 2));
    let logged = world.disk.log.len();
    world.handle(Input::DiskFull(true));
    for job in jobs {
        let done = job.run(&world.shared);
        world.handle(Input::Done(done));
    }
    assert_eq!((world.node.holdings().checking, world.disk.log.len()), (0, logged));
    world.handle(Input::DiskFull(false));
    world.receive(1, Message::Vertex(vertex));
    world.receive(1, Message::Batch(batch));
    assert!(world.disk.log.len() >= logged + 2);
}
