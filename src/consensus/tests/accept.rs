//! What is taken into the DAG, what waits, and what is refused.

use super::*;

const N: u16 = 4;
const DEPTH: u64 = 4;

fn consensus() -> Consensus {
    Consensus::new(&genesis(N, DEPTH, 4, Policy::Quorum), Some(Seat(0)))
}

/// A node that accepted full rounds 1 to `rounds` and emitted what they decide.
fn grown(rounds: u64) -> (Consensus, Vec<Vec<Arc<SignedVertex>>>) {
    let (mut consensus, all) = (consensus(), full_rounds(N, rounds));
    for v in all.iter().flatten() {
        assert!(matches!(consensus.insert(v.clone()), Insert::Accepted(_)));
    }
    emit_all(&mut consensus);
    (consensus, all)
}

fn refs(vertices: &[Arc<SignedVertex>]) -> Vec<VertexRef> {
    vertices.iter().map(|v| v.reference()).collect()
}

fn accepted(insert: Insert) -> Vec<VertexRef> {
    match insert {
        Insert::Accepted(vertices) => refs(&vertices),
        other => panic!("not accepted: {other:?}"),
    }
}

fn waiting(charged: u16, absent: Vec<VertexRef>) -> Insert {
    Insert::Waiting { charged: Seat(charged), absent }
}

/// A reference to a vertex that nobody made.
fn nobody(round: u64, author: u16) -> VertexRef {
    VertexRef { round: Round(round), author: Seat(author), id: VertexId([0xee; 32]) }
}

#[test]
fn form_is_checked_against_the_committee() {
    let consensus = consensus();
    let strong: Vec<VertexRef> = (0..3).map(|a| nobody(9, a)).collect();
    let weak = [nobody(6, 1), nobody(8, 3)];
    let acks = vec![ack(3, 1, 0, Verdict::Held)];
    let good = vertex((10, 1, 0), &strong, &weak, acks.clone());
    assert_eq!(consensus.dag().well_formed(&good), Ok(()));
    let changed = |change: &dyn Fn(&mut Vertex)| {
        let mut signed = (*good).clone();
        change(&mut signed.vertex);
        consensus.dag().well_formed(&signed)
    };
    assert!(changed(&|v| v.epoch = Epoch(1)).is_err(), "another epoch");
    assert!(changed(&|v| v.author = Seat(4)).is_err(), "an author without a seat");
    assert!(changed(&|v| _ = v.strong.pop()).is_err(), "fewer strong parents than a quorum");
    assert!(changed(&|v| v.strong[2].author = Seat(4)).is_err(), "a strong parent without a seat");
    assert!(changed(&|v| v.weak[1].author = Seat(4)).is_err(), "a weak parent without a seat");
    assert!(changed(&|v| v.weak[0].round = Round(5)).is_err(), "a weak parent below the depth");
    assert!(changed(&|v| v.acks[0].batch.author = Seat(4)).is_err(), "an ack of nobody's batch");
    assert!(changed(&|v| v.acks[0].batch.sequence = Sequence(0)).is_err(), "sequences start at 1");
    assert!(
        consensus.dag().well_formed(&vertex((1, 0, 0), &[], &[], acks)).is_ok(),
        "round 1 has no parents"
    );
    assert!(consensus.dag().well_formed(&vertex((2, 0, 0), &[], &[], Vec::new())).is_err());
}

#[test]
fn a_vertex_is_accepted_after_its_parents_and_once() {
    let (mut consensus, all) = (consensus(), full_rounds(N, 2));
    let late = all[1][0].clone();
    assert_eq!(consensus.insert(late.clone()), waiting(0, refs(&all[0])));
    assert_eq!(consensus.insert(late.clone()), Insert::Ignored, "it waits already");
    for v in &all[0][..3] {
        assert_eq!(accepted(consensus.insert(v.clone())), [v.reference()]);
    }
    assert_eq!(consensus.dag().absent(9), [(Seat(0), all[0][3].reference())]);
    assert_eq!(accepted(consensus.insert(all[0][3].clone())), [all[0][3].reference(), late.reference()]);
    assert_eq!(consensus.insert(late), Insert::Ignored, "it is known");
    assert_eq!((consensus.dag().waiting(), consensus.dag().absent(9).len()), (0, 0));
}

#[test]
fn nothing_at_or_below_the_floor_is_taken_and_parents_there_count_as_accepted() {
    let (mut consensus, all) = grown(12);
    let floor = consensus.dag().floor().0;
    assert_eq!(floor, 10 - DEPTH, "the leader of round 10 is the last that two more rounds commit");
    let below: Vec<VertexRef> = (0..3).map(|a| nobody(floor - 1, a)).collect();
    assert_eq!(consensus.insert(vertex((floor, 3, 1), &below, &[], Vec::new())), Insert::Ignored);
    // Another world's vertex of the next round: its parents were never seen and do not matter.
    let at: Vec<VertexRef> = (0..3).map(|a| nobody(floor, a)).collect();
    let twin = vertex((floor + 1, 3, 1), &at, &[], Vec::new());
    assert_eq!(consensus.insert(twin.clone()), Insert::Ignored, "a twin that nobody names");
    let mut named = refs(&all[floor as usize]);
    named[3] = twin.reference();
    let namer = vertex((floor + 2, 2, 1), &named, &[], Vec::new());
    assert_eq!(consensus.insert(namer), Insert::Ignored, "a twin itself");
    let next = vertex((13, 0, 0), &refs(&all[11]), &[nobody(floor, 1)], Vec::new());
    assert_eq!(accepted(consensus.insert(next.clone())), [next.reference()]);
}

#[test]
fn a_free_slot_at_the_floor_stays_free_though_all_parents_are_accepted() {
    let mut consensus = consensus();
    let mut all: Vec<Vec<Arc<SignedVertex>>> = Vec::new();
    // Seat 3 is silent for some rounds around the later floor.
    for round in 1..=14 {
        let below = all.last().map(|v| refs(v)).unwrap_or_default();
        let here = (0..N).filter(|&author| author != 3 || !(5..=9).contains(&round));
        all.push(here.map(|author| vertex((round, author, 0), &below, &[], Vec::new())).collect());
        all.last().unwrap().iter().for_each(|v| _ = accepted(consensus.insert(v.clone())));
        emit_all(&mut consensus);
        if consensus.dag().floor() >= Round(6) {
            break;
        }
    }
    let next = Round(all.len() as u64 + 1);
    consensus.choose_parents(next);
    let (floor, before) = (consensus.dag().floor().0, consensus.dag().uncommitted_bytes());
    assert!((6..9).contains(&floor), "{floor}");
    let late = |round: u64| vertex((round, 3, 0), &refs(&all[round as usize - 2]), &[], Vec::new());
    for round in [floor - 1, floor] {
        assert_eq!(consensus.insert(late(round)), Insert::Ignored);
        assert_eq!(consensus.restore(late(round)), Insert::Ignored);
    }
    assert_eq!(consensus.dag().uncommitted_bytes(), before);
    // Just above it is taken.
    assert_eq!(accepted(consensus.insert(late(floor + 1))), [late(floor + 1).reference()]);
    assert_eq!(consensus.dag().uncommitted_bytes(), before, "no own vertex can name it any more");
}

#[test]
fn what_waits_only_for_what_the_floor_passed_is_let_in() {
    let (mut consensus, all) = (consensus(), full_rounds(N, 9));
    // Seat 3 names a vertex of round 1 that nobody has.
    let odd = vertex((5, 3, 0), &refs(&all[3]), &[nobody(1, 2)], Vec::new());
    for v in all[..4].iter().flatten().chain(&all[4][..3]) {
        consensus.insert(v.clone());
    }
    assert_eq!(consensus.insert(odd.clone()), waiting(3, vec![nobody(1, 2)]));
    let mut below: Vec<_> = all[4][..3].to_vec();
    let mut let_in = Vec::new();
    for round in 6..=8 {
        let parents = refs(&below);
        below = (0..3).map(|a| vertex((round, a, 0), &parents, &[], Vec::new())).collect();
        for v in &below {
            consensus.insert(v.clone());
            for emitted in emit_all(&mut consensus) {
                let_in.extend(emitted.accepted.iter().map(|v| v.reference()));
            }
        }
    }
    assert!(consensus.dag().floor() >= Round(1));
    assert_eq!(let_in, [odd.reference()]);
    assert_eq!(consensus.dag().waiting(), 0);
}

#[test]
fn waiting_space_is_bounded_per_author_and_low_rounds_go_first() {
    let mut consensus = consensus();
    let space = 2 * DEPTH;
    let lonely = |round: u64| {
        let strong: Vec<VertexRef> = (0..3).map(|a| nobody(round - 1, a)).collect();
        vertex((round, 3, 0), &strong, &[], Vec::new())
    };
    for round in (100..100 + space).chain([1 << 40]) {
        let full = round == 1 << 40;
        let insert = consensus.insert(lonely(round));
        assert_eq!(matches!(insert, Insert::Waiting { .. }), !full, "round {round}: {insert:?}");
        assert_eq!(insert == Insert::Dropped, full);
    }
    for round in 2..30 {
        consensus.insert(lonely(round));
        assert_eq!(consensus.dag().waiting(), space as usize);
    }
    assert_eq!(consensus.insert(lonely(9)), Insert::Ignored, "the lowest stayed");
    assert_eq!(consensus.insert(lonely(29)), Insert::Dropped, "the highest gave way");
    let other = vertex((50, 2, 0), &[nobody(49, 0), nobody(49, 1), nobody(49, 2)], &[], Vec::new());
    assert!(matches!(consensus.insert(other), Insert::Waiting { .. }), "another author has space of its own");
    let absent = consensus.dag().absent(5);
    let each = [2, 3].map(|author| absent.iter().filter(|(charged, _)| *charged == Seat(author)).count());
    assert_eq!(each, [3, 5], "so does what is asked for in its name");
}

#[test]
fn a_twin_is_taken_only_when_another_author_names_it() {
    let (mut consensus, all) = grown(1);
    let twin = vertex((1, 3, 1), &[], &[], Vec::new());
    assert_eq!(consensus.insert(twin.clone()), Insert::Ignored);
    let mut named = refs(&all[0]);
    named[3] = twin.reference();
    // Its own author's word is not enough.
    let own = vertex((2, 3, 0), &named, &[], Vec::new());
    assert_eq!(consensus.insert(own.clone()), waiting(3, vec![twin.reference()]));
    assert_eq!(consensus.insert(twin.clone()), Insert::Ignored);
    let other = vertex((2, 2, 0), &named, &[], Vec::new());
    assert_eq!(consensus.insert(other.clone()), waiting(2, vec![twin.reference()]));
    assert!(consensus.dag().wants(twin.reference()));
    let mut taken = accepted(consensus.insert(twin.clone()));
    taken.sort();
    let mut expected = [twin.reference(), other.reference(), own.reference()];
    expected.sort();
    assert_eq!(taken, expected);
}

#[test]
fn a_demand_reaches_through_demanded_twins_of_one_author() {
    let (mut consensus, all) = grown(2);
    let first = vertex((1, 3, 1), &[], &[], Vec::new());
    let mut named = refs(&all[0]);
    named[3] = first.reference();
    let second = vertex((2, 3, 1), &named, &[], Vec::new());
    let mut named = refs(&all[1]);
    named[3] = second.reference();
    let honest = vertex((3, 2, 0), &named, &[], Vec::new());
    assert_eq!(consensus.insert(honest.clone()), waiting(2, vec![second.reference()]));
    assert_eq!(consensus.insert(first.clone()), Insert::Ignored, "nothing that is here names it yet");
    assert_eq!(consensus.insert(second.clone()), waiting(2, vec![first.reference()]));
    assert_eq!(
        accepted(consensus.insert(first.clone())),
        [first.reference(), second.reference(), honest.reference()]
    );
}

#[test]
fn an_id_under_a_wrong_round_or_author_is_no_parent_whenever_it_comes() {
    // It must not depend on the order of arrival whether a vertex is accepted: nodes would take each other's for
    // orphans, for ever.
    let all = full_rounds(N, 3);
    let known = all[1][1].clone();
    for false_name in [
        VertexRef { author: Seat(2), ..known.reference() },
        VertexRef { round: Round(1), ..known.reference() },
    ] {
        let odd = vertex((4, 3, 0), &refs(&all[2]), &[false_name], Vec::new());
        for late in [false, true] {
            let mut consensus = consensus();
            let before: Vec<_> =
                all.iter().flatten().filter(|v| !late || v.vertex.round.0 == 1).cloned().collect();
            before.into_iter().for_each(|v| _ = consensus.insert(v));
            assert!(matches!(consensus.insert(odd.clone()), Insert::Waiting { .. }));
            all.iter().flatten().for_each(|v| _ = consensus.insert(v.clone()));
            assert!(consensus.dag().get(odd.reference()).is_none(), "late: {late}, {false_name:?}");
            assert_eq!(consensus.dag().absent(9), [(Seat(3), false_name)]);
        }
    }
}

#[test]
fn restored_vertices_are_twins_unasked() {
    let (mut consensus, all) = grown(1);
    let twin = vertex((1, 3, 1), &[], &[], Vec::new());
    assert_eq!(accepted(consensus.restore(twin.clone())), [twin.reference()]);
    let mut named = refs(&all[0]);
    named[3] = twin.reference();
    let child = vertex((2, 0, 0), &named, &[], Vec::new());
    assert_eq!(accepted(consensus.restore(child.clone())), [child.reference()]);
    assert_eq!(consensus.restore(child), Insert::Ignored);
}

#[test]
fn what_no_leader_has_output_is_weighed_until_the_floor_passes_it() {
    let (mut consensus, all) = grown(12);
    let unseen: usize = 100 * 4 * 2; // rounds 11 and 12
    let output = consensus.dag().uncommitted_bytes();
    assert!((unseen..=unseen + 300).contains(&output), "{output}");
    // A vertex that nobody will name but this node.
    let floor = consensus.dag().floor().0;
    let orphan_parents: Vec<VertexRef> = refs(&all[11])[..3].to_vec();
    let before = consensus.dag().uncommitted_bytes();
    consensus.insert(vertex((13, 3, 0), &orphan_parents, &[], Vec::new()));
    consensus.choose_parents(Round(14));
    assert!(consensus.dag().uncommitted_bytes() >= before + 100);
    let mut below = refs(&all[11]);
    for round in 13..40 {
        let made: Vec<_> = (0..3).map(|a| vertex((round, a, 0), &below, &[], Vec::new())).collect();
        made.iter().for_each(|v| _ = consensus.insert(v.clone()));
        emit_all(&mut consensus);
        below = refs(&made);
    }
    assert!(consensus.dag().floor().0 > floor + 20);
    assert!(consensus.dag().uncommitted_bytes() <= 100 * 3 * 4, "{}", consensus.dag().uncommitted_bytes());
}

#[test]
fn vertices_are_kept_for_ten_depths_and_longer_while_memory_allows() {
    let kept = |vertex_bytes: usize| {
        let (mut consensus, mut all) = (consensus(), full_rounds(N, 120));
        let bytes = bytes::Bytes::from(vec![0; vertex_bytes]);
        for v in all.iter_mut().flatten() {
            *v = Arc::new(SignedVertex { bytes: bytes.clone(), ..(**v).clone() });
            consensus.insert(v.clone());
            emit_all(&mut consensus);
        }
        let kept = all.iter().flatten().filter(|v| consensus.dag().get(v.reference()).is_some());
        (consensus.dag().floor().0, kept.map(|v| v.vertex.round.0).min())
    };
    let floor = 118 - DEPTH;
    assert_eq!(kept(100), (floor, Some(1)), "all that a peer may lack who was away for long");
    assert_eq!(kept(1 << 20), (floor, Some(floor - 9 * DEPTH + 1)), "no more than must be");
}
