//! Proofs of whole subtrees, against the plain hash of the array and a walk over all its nodes.

use super::*;

/// All subtrees of an array of so many bytes that a proof may have, with the length of their path: the tree by its definition
/// (BLAKE3 paper, §2.1).
fn subtrees(at: Range<u64>, depth: usize) -> Vec<(Range<u64>, usize)> {
    let chunks = (at.end - at.start).div_ceil(CHUNK as u64);
    let mut all = Vec::new();
    if chunks > 1 {
        // The left one is full, and holds as many chunks as a power of two below their number.
        let middle = at.start + (chunks.next_power_of_two() / 2) * CHUNK as u64;
        all = subtrees(at.start..middle, depth + 1);
        all.extend(subtrees(middle..at.end, depth + 1));
    }
    all.push((at, depth));
    all
}

fn proof_of(tree: &Tree, bytes: &[u8], range: &Range<u64>) -> Vec<u8> {
    let mut proof = Vec::new();
    tree.put_path(range.clone(), &mut proof).expect("a subtree of the array");
    proof.extend_from_slice(&bytes[range.start as usize..range.end as usize]);
    proof
}

#[test]
fn every_subtree_has_a_proof_of_its_path_and_its_bytes() {
    for len in edges().into_iter().filter(|len| *len > 0) {
        let bytes = painted(len);
        let (tree, root) = tree(&bytes);
        for (range, depth) in subtrees(0..len as u64, 0) {
            let proof = proof_of(&tree, &bytes, &range);
            let part = &bytes[range.start as usize..range.end as usize];
            assert_eq!(proof.len(), depth * PATH_STEP_BYTES + part.len(), "{range:?} of {len}");
            assert_eq!(verify_subtree(&root, len as u64, range, &proof), Ok(part));
        }
    }
}

#[test]
fn pieces_of_an_array_of_many_sections_have_their_proofs() {
    let len = (9 << 20) + 77_777;
    let bytes = painted(len);
    let (tree, root) = tree(&bytes);
    for start in (0..len as u64).step_by(256 << 10) {
        let range = start..(start + (256 << 10)).min(len as u64);
        let proof = proof_of(&tree, &bytes, &range);
        assert!(proof.len() as u64 <= range.end - range.start + 6 * 32);
        let part = &bytes[range.start as usize..range.end as usize];
        assert_eq!(verify_subtree(&root, len as u64, range, &proof), Ok(part));
    }
}

#[test]
fn every_flipped_bit_and_every_other_place_length_and_root_is_refused() {
    let bytes = painted(21 * CHUNK + 100);
    let (tree, root) = tree(&bytes);
    let len = bytes.len() as u64;
    let (all, other) = (subtrees(0..len, 0), hash(b"other"));
    for (range, depth) in all.iter().filter(|(range, _)| range.end - range.start <= 2 * CHUNK as u64) {
        let proof = proof_of(&tree, &bytes, range);
        let refused = |root, len, range, proof: &[u8]| verify_subtree(root, len, range, proof).unwrap_err();
        let here = ProofError::Mismatch(range.start);
        for bit in 0..8 * proof.len() {
            let mut forged = proof.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(refused(&root, len, range.clone(), &forged), here, "bit {bit}");
        }
        assert_eq!(refused(&other, len, range.clone(), &proof), here);
        assert_eq!(refused(&root, len, range.clone(), &proof[1..]), ProofError::TooShort);
        assert_eq!(refused(&root, len, range.clone(), &[]), ProofError::TooShort);
        assert_eq!(refused(&root, len, range.clone(), &[&[0], &proof[..]].concat()), ProofError::Trailing(1));
        for (elsewhere, _) in all.iter().filter(|(elsewhere, _)| elsewhere != range) {
            verify_subtree(&root, len, elsewhere.clone(), &proof).expect_err("of another place");
        }
        // Two values of the path in each other's place.
        for step in 1..*depth {
            let mut moved = proof.clone();
            moved[(step - 1) * PATH_STEP_BYTES..(step + 1) * PATH_STEP_BYTES].rotate_left(PATH_STEP_BYTES);
            assert_eq!(refused(&root, len, range.clone(), &moved), here);
        }
    }
}

#[test]
fn the_subtree_at_the_end_says_how_long_the_array_is() {
    let bytes = painted(21 * CHUNK + 100);
    let (tree, root) = tree(&bytes);
    let len = bytes.len() as u64;
    let ends = subtrees(0..len, 0).into_iter().filter(|(range, _)| range.end == len);
    for (range, depth) in ends {
        let proof = proof_of(&tree, &bytes, &range);
        let mut compared = 0;
        for claimed in range.start + 1..range.start + 2 * (len - range.start) {
            // As many bytes as there would be: cut, or more of them.
            let place = range.start..claimed;
            let mut forged = proof.clone();
            forged.resize(depth * PATH_STEP_BYTES + (claimed - range.start) as usize, 0);
            let found = verify_subtree(&root, claimed, place, &forged);
            assert_eq!(found.is_ok(), claimed == len, "{claimed} for {len}: {found:?}");
            compared += usize::from(matches!(found, Err(ProofError::Mismatch(_))));
        }
        assert!(compared > 50, "paths of the same length are compared: {range:?}, {compared}");
    }
}

#[test]
fn a_path_is_the_values_of_the_subtrees_beside_it_from_the_top() {
    let bytes = painted(5 * CHUNK);
    let (tree, _) = tree(&bytes);
    let chunk = |at: u64| section::chunk_cv(at, &bytes[at as usize * CHUNK..][..CHUNK]);
    let pair = |left: u64| merge_subtrees_non_root(&chunk(left), &chunk(left + 1), Mode::Hash);
    let path = |chunk: u64| {
        let mut out = Vec::new();
        tree.put_path(chunk * 1024..(chunk + 1) * 1024, &mut out).unwrap();
        out
    };
    // ((0 1) (2 3)) 4
    assert_eq!(path(2), [chunk(4), pair(0), chunk(3)].concat());
    assert_eq!(path(1), [chunk(4), pair(2), chunk(0)].concat());
    assert_eq!(path(4), merge_subtrees_non_root(&pair(0), &pair(2), Mode::Hash));
}

#[test]
fn what_is_no_subtree_has_no_proof() {
    let bytes = painted(5 * CHUNK + 10);
    let (mut tree, root) = tree(&bytes);
    let len = bytes.len() as u64;
    let good: Vec<Range<u64>> = subtrees(0..len, 0).into_iter().map(|(range, _)| range).collect();
    let edges: Vec<u64> = (0..=6).flat_map(|chunk| [chunk * 1024, chunk * 1024 + 1]).chain([len]).collect();
    for (start, end) in edges.iter().flat_map(|start| edges.iter().map(|end| (*start, *end))) {
        let (range, mut out) = (start..end, b"before".to_vec());
        let reason = if start >= end {
            (ProveError::EmptyRange, ProofError::EmptyRange)
        } else if end > len {
            (ProveError::PastEnd { end, len }, ProofError::PastEnd { end, len })
        } else if good.contains(&range) {
            continue;
        } else {
            (ProveError::NoSubtree, ProofError::NoSubtree)
        };
        assert_eq!(tree.put_path(range.clone(), &mut out), Err(reason.0));
        assert_eq!(out, b"before");
        assert_eq!(verify_subtree(&root, len, range, &bytes), Err(reason.1));
    }
    let long = PROOF_RANGE_BYTES_MAX + 1;
    assert_eq!(tree.put_path(0..long, &mut Vec::new()), Err(ProveError::TooLong(long)));
    assert_eq!(verify_subtree(&root, 2 * long, 0..long, &bytes), Err(ProofError::TooLong(long)));
    let (whole, none) = (0..1024, ARRAY_TOO_LONG);
    assert_eq!(verify_subtree(&root, none, whole, &bytes), Err(ProofError::BadLength(none)));
    tree.mark_at(3_000);
    assert_eq!(tree.put_path(0..1024, &mut Vec::new()), Err(ProveError::Stale));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_proof_of_any_subtree_passes_and_proves_nothing_after_a_change(
        (len, at, place, mask) in (1..400_000_usize, any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1..=255_u8)
    ) {
        let bytes = painted(len);
        let (tree, root) = tree(&bytes);
        let all = subtrees(0..len as u64, 0);
        let (range, _) = at.get(&all);
        let mut proof = proof_of(&tree, &bytes, range);
        let part = &bytes[range.start as usize..range.end as usize];
        prop_assert_eq!(verify_subtree(&root, len as u64, range.clone(), &proof), Ok(part));
        let place = place.index(proof.len());
        proof[place] ^= mask;
        prop_assert!(verify_subtree(&root, len as u64, range.clone(), &proof).is_err());
    }
}
