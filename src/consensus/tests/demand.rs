//! Twins that somebody needs: whose space they take, and that no liar keeps them out.

use super::*;

const N: u16 = 4;
const DEPTH: u64 = 4;
/// Vertices that one space holds.
const SPACE: u64 = 2 * DEPTH;

/// A node that accepted `rounds` full rounds of which no leader is emitted, so that the floor stays at 0.
fn grown(rounds: u64) -> (Consensus, Vec<Vec<Arc<SignedVertex>>>) {
    let mut consensus = Consensus::new(&genesis(N, DEPTH, 4, Policy::Quorum), Some(Seat(0)));
    let all = full_rounds(N, rounds);
    all.iter().flatten().for_each(|v| _ = consensus.insert(v.clone()));
    (consensus, all)
}

fn refs(vertices: &[Arc<SignedVertex>]) -> Vec<VertexRef> {
    vertices.iter().map(|v| v.reference()).collect()
}

/// Names everybody of a round, of one author another face.
fn with_face(below: &[Arc<SignedVertex>], face: &Arc<SignedVertex>) -> Vec<VertexRef> {
    let mut named = refs(below);
    named[face.vertex.author.index()] = face.reference();
    named
}

/// A chain of twins of seat 3 over these rounds, each naming the one below.
fn twin_chain(all: &[Vec<Arc<SignedVertex>>], face: u8, rounds: u64) -> Vec<Arc<SignedVertex>> {
    let mut chain: Vec<Arc<SignedVertex>> = Vec::new();
    for round in 1..=rounds {
        let parents = match chain.last() {
            Some(below) => with_face(&all[round as usize - 2], below),
            None => Vec::new(),
        };
        chain.push(vertex((round, 3, face), &parents, &[], Vec::new()));
    }
    chain
}

/// Offers what the node says it lacks, as peers do when they are asked, until it lacks nothing more.
fn serve(consensus: &mut Consensus, known: &[Arc<SignedVertex>]) {
    for _ in 0..1_000 {
        let wanted = consensus.dag().absent(64);
        let found: Vec<_> = known.iter().filter(|v| wanted.iter().any(|w| w.1 == v.reference())).collect();
        if found.is_empty() {
            return;
        }
        found.into_iter().for_each(|v| _ = consensus.insert(v.clone()));
    }
    panic!("it asks for ever");
}

/// Seat 3 fills its own space with vertices whose parents do not exist.
fn junk(consensus: &mut Consensus, rounds: std::ops::Range<u64>, author: u16, face: u8) {
    for round in rounds {
        let nobody = |a| VertexRef { round: Round(round - 1), author: Seat(a), id: VertexId([0xee; 32]) };
        let strong: Vec<VertexRef> = [0, 1, 2].map(nobody).to_vec();
        consensus.insert(vertex((round, author, face), &strong, &[], Vec::new()));
    }
}

#[test]
fn who_is_shunned_is_named_only_where_there_is_no_quorum_without() {
    let (mut consensus, all) = grown(3);
    consensus.shun(Seat(0));
    consensus.shun(Seat(3));
    let authors = |named: Vec<VertexRef>| named.iter().map(|v| v.author.0).collect::<Vec<_>>();
    assert_eq!(consensus.dag().count_trusted(Round(3)), 3, "never the own seat");
    assert_eq!(authors(consensus.choose_parents(Round(4)).0), [0, 1, 2]);
    // Of the next round two others are missing: with it there is a quorum.
    for author in [0, 1, 3] {
        consensus.insert(vertex((4, author, 0), &refs(&all[2]), &[], Vec::new()));
    }
    assert_eq!((consensus.dag().count(Round(4)), consensus.dag().count_trusted(Round(4))), (3, 2));
    assert_eq!(authors(consensus.choose_parents(Round(5)).0), [0, 1, 3]);
    // Two of four cannot be done without.
    consensus.shun(Seat(2));
    assert_eq!(consensus.dag().count_trusted(Round(4)), 3);
    assert_eq!(authors(consensus.choose_parents(Round(4)).0), [0, 1, 2, 3]);
}

#[test]
fn what_would_be_dropped_is_known_beforehand() {
    let (mut consensus, all) = grown(6);
    let nobody = |round| VertexRef { round: Round(round), author: Seat(0), id: VertexId([0xee; 32]) };
    let orphan = |round| {
        vertex(
            (round, 3, 8),
            &[0, 1, 2].map(|a| VertexRef { author: Seat(a), ..nobody(round - 1) }),
            &[],
            Vec::new(),
        )
    };
    assert!(consensus.dag().would_keep(&orphan(60)));
    junk(&mut consensus, 8..8 + SPACE, 3, 9);
    // The space is full: what lies above is dropped, and what lies below takes the place of the highest.
    for (round, kept) in [(60, false), (7, true)] {
        assert_eq!(consensus.dag().would_keep(&orphan(round)), kept);
        assert_eq!(consensus.insert(orphan(round)) != Insert::Dropped, kept);
    }
    // What need not wait needs no room, and what an honest vertex needs has that one's.
    let next = vertex((7, 3, 0), &refs(&all[5]), &[], Vec::new());
    assert!(consensus.dag().would_keep(&next));
    let demanded = orphan(60);
    let child = vertex(
        (61, 1, 0),
        &[0, 1, 3]
            .map(|a| if a == 3 { demanded.reference() } else { VertexRef { author: Seat(a), ..nobody(60) } }),
        &[],
        Vec::new(),
    );
    assert!(matches!(consensus.insert(child), Insert::Waiting { .. }));
    assert!(consensus.dag().would_keep(&demanded));
}

#[test]
fn what_an_honest_vertex_needs_is_taken_though_its_author_filled_its_own_space() {
    let (mut consensus, all) = grown(6);
    junk(&mut consensus, 7..40, 3, 9);
    assert_eq!(consensus.dag().waiting() as u64, SPACE);
    let chain = twin_chain(&all, 1, 5);
    let honest = vertex((6, 2, 1), &with_face(&all[4], &chain[4]), &[], Vec::new());
    // A second face of seat 2 is a twin itself: seat 1 needs it.
    let honest_child = vertex((7, 1, 0), &with_face(&all[5], &honest), &[], Vec::new());
    assert_eq!(
        consensus.insert(honest_child.clone()),
        Insert::Waiting { charged: Seat(1), absent: vec![honest.reference()] }
    );
    assert_eq!(
        consensus.insert(honest.clone()),
        Insert::Waiting { charged: Seat(1), absent: vec![chain[4].reference()] },
        "in the name of the author where the demand began"
    );
    serve(&mut consensus, &chain);
    assert!(consensus.dag().get(honest_child.reference()).is_some());
}

#[test]
fn a_chain_of_twins_longer_than_the_space_is_worked_through_from_below() {
    let rounds = SPACE * 3;
    let (mut consensus, all) = grown(rounds + 1);
    let chain = twin_chain(&all, 1, rounds);
    let top = chain.last().unwrap();
    let child = vertex((rounds + 2, 2, 0), &refs(&all[rounds as usize]), &[], Vec::new());
    assert!(matches!(consensus.insert(child), Insert::Accepted(_)));
    let honest = vertex((rounds + 2, 1, 0), &refs(&all[rounds as usize]), &[top.reference()], Vec::new());
    assert_eq!(
        consensus.insert(honest.clone()),
        Insert::Waiting { charged: Seat(1), absent: vec![top.reference()] }
    );
    serve(&mut consensus, &chain);
    assert!(consensus.dag().get(honest.reference()).is_some());
    assert_eq!(consensus.dag().waiting(), 0);
}

#[test]
fn one_authors_demand_never_displaces_anothers() {
    let (mut consensus, all) = grown(20);
    // Seat 2 demands twins of seat 3 without end, lower and lower.
    let mut faces = Vec::new();
    for face in 1..60u8 {
        let round = 17 - u64::from(face) / 4;
        let nobody = VertexRef { round: Round(round - 3), author: Seat(3), id: VertexId([face; 32]) };
        let twin = vertex((round, 3, face), &refs(&all[round as usize - 2]), &[nobody], Vec::new());
        let demander = vertex((21, 2, face), &refs(&all[19]), &[twin.reference()], Vec::new());
        consensus.insert(demander);
        consensus.insert(twin.clone());
        faces.push(twin);
    }
    let held = consensus.dag().waiting() as u64;
    assert!(held <= 3 * SPACE, "{held}");
    // Seat 1 needs one of them that is the highest of all, and then its parent.
    let deep = vertex((16, 3, 200), &refs(&all[14]), &[], Vec::new());
    let needed = vertex((18, 3, 201), &refs(&all[16]), &[deep.reference()], Vec::new());
    let honest = vertex((21, 1, 0), &refs(&all[19]), &[needed.reference()], Vec::new());
    consensus.insert(honest.clone());
    assert_eq!(
        consensus.insert(needed.clone()),
        Insert::Waiting { charged: Seat(1), absent: vec![deep.reference()] }
    );
    assert!(consensus.dag().absent(2).contains(&(Seat(1), deep.reference())), "asked for, whatever else is");
    assert!(matches!(consensus.insert(deep), Insert::Accepted(_)));
    assert!(consensus.dag().get(honest.reference()).is_some());
}

#[test]
fn a_cascade_of_fresh_twins_fills_only_the_space_of_who_began_it() {
    // Seats 2 and 3 are one adversary: each twin names two fresh twins of the round below.
    let (mut consensus, all) = grown(14);
    let mut level = vec![vertex((14, 3, 1), &refs(&all[12]), &[], Vec::new())];
    let root = vertex((15, 2, 0), &with_face(&all[13], &level[0]), &[], Vec::new());
    consensus.insert(root);
    for (round, face) in (3..14u64).rev().zip((1..).step_by(17)) {
        let mut below = Vec::new();
        for (place, twin) in level.iter().enumerate().take(8) {
            let named = [0u8, 1].map(|side| {
                let face = face + place as u8 * 2 + side;
                vertex((round, 3, face), &refs(&all[round as usize - 2]), &[], Vec::new()).reference()
            });
            let nobody = VertexRef { id: VertexId([place as u8; 32]), ..named[1] };
            let strong = refs(&all[twin.vertex.round.0 as usize - 2]);
            let changed = strong.iter().map(|p| if p.author == Seat(3) { nobody } else { *p });
            let face = 100 + place as u8;
            let fresh = vertex((twin.vertex.round.0, 3, face), &changed.collect::<Vec<_>>(), &[], Vec::new());
            consensus.insert(twin.clone());
            consensus.insert(fresh);
            below.extend(named.map(|n| vertex((n.round.0, 3, n.id.0[11]), &[], &[], Vec::new())));
        }
        level = below;
        assert!(consensus.dag().waiting() as u64 <= 3 * SPACE);
    }
    let honest = vertex((15, 1, 0), &refs(&all[13]), &[], Vec::new());
    assert!(matches!(consensus.insert(honest), Insert::Accepted(_)));
}
