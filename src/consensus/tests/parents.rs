//! Whom the own next vertex names.

use super::*;

const N: u16 = 4;

/// Seat 0's view after some full rounds of all but the named late ones.
fn view(rounds: u64, late: &[(u64, u16)]) -> (Consensus, Vec<Vec<Arc<SignedVertex>>>) {
    let mut consensus = Consensus::new(&genesis(N, 6, 4, Policy::Quorum), Some(Seat(0)));
    let mut all: Vec<Vec<Arc<SignedVertex>>> = Vec::new();
    for round in 1..=rounds {
        let below: Vec<VertexRef> = all.last().into_iter().flatten().map(|v| v.reference()).collect();
        let here = (0..N).filter(|&author| !late.contains(&(round, author)));
        all.push(here.map(|author| vertex((round, author, 0), &below, &[], Vec::new())).collect());
        all.last().unwrap().iter().for_each(|v| accept(&mut consensus, v));
    }
    (consensus, all)
}

fn accept(consensus: &mut Consensus, vertex: &Arc<SignedVertex>) {
    assert!(matches!(consensus.insert(vertex.clone()), Insert::Accepted(_)), "{:?}", vertex.reference());
}

fn refs(vertices: &[Arc<SignedVertex>]) -> Vec<VertexRef> {
    vertices.iter().map(|v| v.reference()).collect()
}

/// The own vertex of a round on the parents that are chosen for it.
fn make(consensus: &mut Consensus, round: u64) -> (Vec<VertexRef>, Vec<VertexRef>) {
    let (strong, weak) = consensus.choose_parents(Round(round));
    accept(consensus, &vertex((round, 0, 0), &strong, &weak, Vec::new()));
    (strong, weak)
}

#[test]
fn what_comes_late_is_a_weak_parent_exactly_once() {
    let (mut consensus, mut all) = view(3, &[(2, 3), (3, 3), (3, 0)]);
    assert_eq!(make(&mut consensus, 3).1, []);
    let late = vertex((2, 3, 0), &refs(&all[0]), &[], Vec::new());
    accept(&mut consensus, &late);
    let (strong, weak) = make(&mut consensus, 4);
    assert_eq!(strong.iter().map(|p| p.author.0).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(weak, [late.reference()]);
    // It stays silent; whoever names it again would make vertices grow for nothing.
    for round in 4..6 {
        let mut below = vec![consensus.dag().first(Round(round - 1), Seat(0)).unwrap().reference()];
        below.extend(refs(&all[round as usize - 2]));
        let made = [1, 2].map(|author| vertex((round, author, 0), &below, &[], Vec::new()));
        made.iter().for_each(|v| accept(&mut consensus, v));
        all.push(made.to_vec());
        assert_eq!(make(&mut consensus, round + 1).1, [], "round {}", round + 1);
    }
}

#[test]
fn of_a_late_author_only_the_newest_is_named_since_it_brings_the_rest() {
    let (mut consensus, all) = view(4, &[(2, 3), (3, 3), (4, 3), (4, 0)]);
    make(&mut consensus, 4);
    let second = vertex((2, 3, 0), &refs(&all[0]), &[], Vec::new());
    let mut below = refs(&all[1]);
    below.push(second.reference());
    let third = vertex((3, 3, 0), &below, &[], Vec::new());
    [&second, &third].into_iter().for_each(|v| accept(&mut consensus, v));
    assert_eq!(make(&mut consensus, 5).1, [third.reference()]);
}

#[test]
fn of_an_author_whose_twin_is_in_the_history_the_other_one_is_not_named() {
    for twin_in_history in [false, true] {
        let (mut consensus, all) = view(2, &[(2, 0), (2, 3)]);
        let [first, second] = [0, 1].map(|face| vertex((2, 3, face), &refs(&all[0]), &[], Vec::new()));
        make(&mut consensus, 2);
        accept(&mut consensus, &first);
        let mut below = [consensus.dag().first(Round(2), Seat(0)).unwrap().reference()].to_vec();
        below.extend(refs(&all[1]));
        assert_eq!(consensus.restore(second.clone()), Insert::Accepted(vec![second.clone()]));
        let named: &[VertexRef] = if twin_in_history { &[second.reference()] } else { &[] };
        for author in [0, 1, 2] {
            let strong = if author == 1 { [&below[..], named].concat() } else { below.clone() };
            accept(&mut consensus, &vertex((3, author, 0), &strong, &[], Vec::new()));
        }
        let expected: &[VertexRef] = if twin_in_history { &[] } else { &[first.reference()] };
        assert_eq!(make(&mut consensus, 4).1, expected);
    }
}

#[test]
fn of_twins_the_first_seen_is_the_strong_parent() {
    for order in [[0, 1], [1, 0]] {
        let (mut consensus, _) = view(1, &[(1, 3)]);
        let twins = order.map(|face| vertex((1, 3, face), &[], &[], Vec::new()));
        twins.iter().for_each(|twin| _ = consensus.restore(twin.clone()));
        let (strong, weak) = make(&mut consensus, 2);
        assert_eq!((strong[3], strong.len(), weak), (twins[0].reference(), 4, Vec::new()));
    }
}
