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

/// A twin of seat 3 of this round, which needs a weak parent besides the full round below.
fn needing(all: &[Vec<Arc<SignedVertex>>], (round, face): (u64, u8), parent: VertexRef) -> Arc<SignedVertex> {
    vertex((round, 3, face), &refs(&all[round as usize - 2]), &[parent], Vec::new())
}

#[test]
fn one_authors_demand_never_displaces_anothers() {
    let (mut consensus, mut all) = grown(20);
    // Seat 2 falls silent: eight slots of it are free.
    for round in 21..28 {
        let below = refs(&all[round as usize - 2]);
        let made = [0, 1, 3].map(|author| vertex((round, author, 0), &below, &[], Vec::new()));
        made.iter().for_each(|v| assert!(matches!(consensus.insert(v.clone()), Insert::Accepted(_))));
        all.push(made.to_vec());
    }
    // Now it names a twin of seat 3 in each, and each of these a lower one, which needs one that nobody has.
    let (mut upper, mut lower) = (Vec::new(), Vec::new());
    for (round, face) in (21..=28).zip(1..) {
        let nobody = VertexRef { round: Round(round - 9), author: Seat(3), id: VertexId([face; 32]) };
        lower.push(needing(&all, (round - 6, face + 50), nobody));
        upper.push(needing(&all, (round - 3, face), lower.last().unwrap().reference()));
    }
    let top =
        needing(&all, (27, 99), VertexRef { round: Round(25), author: Seat(3), id: VertexId([99; 32]) });
    for (round, twin) in (21..=28).zip(&upper) {
        let below: Vec<_> =
            all[round as usize - 2].iter().filter(|v| v.vertex.author != Seat(3)).cloned().collect();
        let mut strong = refs(&below);
        strong.push(if round == 28 {
            top.reference()
        } else {
            all[round as usize - 2].last().unwrap().reference()
        });
        let demander = vertex((round, 2, 0), &strong, &[twin.reference()], Vec::new());
        assert_eq!(consensus.dag().well_formed(&demander), Ok(()));
        assert!(matches!(consensus.insert(demander), Insert::Waiting { charged: Seat(2), .. }));
        assert!(matches!(consensus.insert(twin.clone()), Insert::Waiting { charged: Seat(2), .. }));
    }
    assert_eq!(consensus.dag().waiting() as u64, 2 * SPACE);
    assert_eq!(consensus.insert(top), Insert::Dropped, "what it demands has no room any more");
    let pour = |consensus: &mut Consensus, twin: &Arc<SignedVertex>, waiting: u64| {
        assert!(matches!(consensus.insert(twin.clone()), Insert::Waiting { charged: Seat(2), .. }));
        assert_eq!(consensus.dag().waiting() as u64, waiting, "a higher one gave way");
    };
    pour(&mut consensus, &lower[0], 2 * SPACE);
    // Seat 1 needs the highest of all, and that needs one more.
    let deep = vertex((24, 3, 200), &refs(&all[22]), &[], Vec::new());
    let needed = needing(&all, (26, 201), deep.reference());
    let honest = vertex((28, 1, 0), &refs(&all[26]), &[needed.reference()], Vec::new());
    assert_eq!(
        consensus.insert(honest.clone()),
        Insert::Waiting { charged: Seat(1), absent: vec![needed.reference()] }
    );
    assert_eq!(
        consensus.insert(needed.clone()),
        Insert::Waiting { charged: Seat(1), absent: vec![deep.reference()] }
    );
    lower[1..4].iter().for_each(|twin| pour(&mut consensus, twin, 2 * SPACE + 2));
    assert_eq!(consensus.insert(needed.clone()), Insert::Ignored, "it still waits");
    assert!(consensus.dag().absent(2).contains(&(Seat(1), deep.reference())), "asked for, whatever else is");
    assert_eq!(consensus.insert(deep.clone()), Insert::Accepted(vec![deep, needed, honest]),);
}

/// Twins of seats 2 and 3, the first of a tree: each names two fresh ones of the round below, the lowest two that nobody
/// has. `faces` counts those of each slot.
fn cascade(
    all: &[Vec<Arc<SignedVertex>>],
    (round, author): (u64, u16),
    lowest: u64,
    faces: &mut std::collections::BTreeMap<(u64, u16), u8>,
    made: &mut Vec<Arc<SignedVertex>>,
) -> VertexRef {
    let face = faces.entry((round, author)).or_default();
    *face += 1;
    let face = *face;
    let mut strong = refs(&all[round as usize - 2]);
    for author in [2, 3] {
        strong[author as usize] = if round == lowest {
            VertexRef { id: VertexId([face; 32]), ..strong[author as usize] }
        } else {
            cascade(all, (round - 1, author), lowest, faces, made)
        };
    }
    made.push(vertex((round, author, face), &strong, &[], Vec::new()));
    made.last().unwrap().reference()
}

#[test]
fn a_cascade_of_fresh_twins_fills_only_the_space_of_who_began_it() {
    // Seats 2 and 3 are one adversary.
    let (mut consensus, all) = grown(14);
    let (mut faces, mut tree) = Default::default();
    let root = cascade(&all, (15, 2), 9, &mut faces, &mut tree);
    assert_eq!(tree.len(), 127);
    // A vertex of seat 1 needs one of two twins that its sender was shown.
    let shown = twin_chain(&all, 200, 14);
    let honest = vertex((15, 1, 0), &with_face(&all[13], &shown[13]), &[], Vec::new());
    tree.extend(shown[12..].iter().cloned());
    let rest = shown[11].clone();
    // One in a space of its own, and what seats 2 and 3 demand; later also what seat 1 does.
    let (mut bound, mut most) = (1 + 2 * SPACE, 0);
    assert!(matches!(
        consensus.insert(tree.iter().find(|v| v.reference() == root).unwrap().clone()),
        Insert::Waiting { .. }
    ));
    for step in 0..60 {
        if step == 30 {
            assert_eq!(most, bound, "they took all that they could");
            assert!(matches!(consensus.insert(honest.clone()), Insert::Waiting { charged: Seat(1), .. }));
            (bound, most) = (bound + 3, 0);
        }
        let wanted = consensus.dag().absent(64);
        for asked in tree.iter().filter(|v| wanted.iter().any(|w| w.1 == v.reference())) {
            consensus.insert(asked.clone());
            let waiting = consensus.dag().waiting() as u64;
            assert!(waiting <= bound, "{waiting} in step {step}");
            most = most.max(waiting);
        }
    }
    assert_eq!(most, bound, "what it needs waits beside all of theirs");
    assert!(consensus.dag().absent(64).contains(&(Seat(1), rest.reference())));
    // The rest of the chain comes, from below as it is asked for.
    serve(&mut consensus, &shown);
    assert!(consensus.dag().get(honest.reference()).is_some());
}

/// A committee of seven of which seats 5 and 6 are one adversary.
const SEVEN: u16 = 7;

fn grown_of_seven(rounds: u64) -> (Consensus, Vec<Vec<Arc<SignedVertex>>>) {
    let mut consensus = Consensus::new(&genesis(SEVEN, DEPTH, 4, Policy::Quorum), Some(Seat(0)));
    let all = full_rounds(SEVEN, rounds);
    all.iter().flatten().for_each(|v| _ = consensus.insert(v.clone()));
    (consensus, all)
}

#[test]
fn what_the_own_vertices_do_not_build_on_counts_for_nothing() {
    let (mut consensus, all) = grown_of_seven(5);
    consensus.choose_parents(Round(6));
    let before = consensus.dag().uncommitted_bytes();
    // A backlog of large vertices of old slots, none of which names another: their author need not be a proven liar.
    let sized = |(round, author): (u64, u16)| {
        let vertex = SignedVertex::clone(&vertex((round, author, 0), &refs(&all[4]), &[], Vec::new()));
        Arc::new(SignedVertex { bytes: vec![0; 50_000].into(), ..vertex })
    };
    let large: Vec<_> = [(6, 5), (6, 6)].map(sized).to_vec();
    large.iter().for_each(|v| _ = consensus.insert(v.clone()));
    assert_eq!(consensus.dag().uncommitted_bytes(), before);
    // Who is shunned is not named, and counts for nothing still; who is not is named, and counts.
    consensus.shun(Seat(6));
    let sixth = full_round(SEVEN, 6, &all[4]);
    sixth[..5].iter().for_each(|v| _ = consensus.insert(v.clone()));
    // The own vertex of the sixth round builds on nothing of it.
    assert_eq!(consensus.dag().uncommitted_bytes(), before + 100);
    consensus.choose_parents(Round(7));
    let trusted = before + 5 * 100 + 50_000;
    assert_eq!(consensus.dag().uncommitted_bytes(), trusted);
    consensus.choose_parents(Round(7));
    assert_eq!(consensus.dag().uncommitted_bytes(), trusted, "once");
    // One of a shunned seat that an honest vertex names counts once the own vertices build on that.
    let mut named = refs(&sixth[..5]);
    named.extend(refs(&large));
    let child = vertex((7, 1, 0), &named, &[], Vec::new());
    consensus.insert(child);
    assert_eq!(consensus.dag().uncommitted_bytes(), trusted);
    consensus.choose_parents(Round(8));
    assert_eq!(consensus.dag().uncommitted_bytes(), trusted + 100 + 50_000);
}

#[test]
fn two_shunned_seats_cannot_fill_the_memory_with_twins_that_they_name_for_each_other() {
    let (mut consensus, all) = grown_of_seven(4);
    consensus.shun(Seat(5));
    consensus.shun(Seat(6));
    let naming = |round: usize, author: usize, twin: VertexRef| {
        let mut strong = refs(&all[round - 1]);
        strong[author] = twin;
        strong
    };
    // A twin of seat 5 that needs a twin of seat 6.
    let twins = |face: u8| {
        let low = vertex((3, 6, face), &refs(&all[1]), &[], Vec::new());
        let mid = vertex((4, 5, face), &naming(3, 6, low.reference()), &[], Vec::new());
        [mid, low]
    };
    let mut taken = 0;
    for face in 10..30 {
        let [mid, low] = twins(face);
        let nobody = [0, 1, 2, 3, 4].map(|author| VertexRef {
            round: Round(5 + u64::from(face)),
            author: Seat(author),
            id: VertexId([0xee; 32]),
        });
        let root = vertex((6 + u64::from(face), 6, 0), &nobody, &[mid.reference()], Vec::new());
        for vertex in [root, mid.clone(), low] {
            consensus.insert(vertex);
        }
        taken += usize::from(consensus.dag().get(mid.reference()).is_some());
    }
    assert_eq!(taken, 2, "one for each of them beside the first");
    // What an honest vertex names is taken all the same.
    let [mid, low] = twins(40);
    let honest = vertex((5, 1, 0), &naming(4, 5, mid.reference()), &[], Vec::new());
    for vertex in [honest.clone(), mid, low] {
        assert_ne!(consensus.insert(vertex), Insert::Ignored);
    }
    assert!(consensus.dag().get(honest.reference()).is_some());
}
