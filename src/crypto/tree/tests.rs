//! The tree against `blake3::hash`, proofs against the crate `bao`, lanes against `hazmat`.

use super::*;
use blake3::hazmat::merge_subtrees_non_root;
use proptest::prelude::*;
use std::io::{Cursor, Read};
use wide::{LANES, PARENT};

mod subtree;

/// Bytes that differ from place to place, the same on every run.
fn painted(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(b"painted").finalize_xof().fill(&mut bytes);
    bytes
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// A tree with its root, fresh.
fn tree(bytes: &[u8]) -> (Tree, [u8; 32]) {
    let mut tree = Tree::new();
    let root = tree.root(bytes, Threads::Caller);
    assert_eq!(root, hash(bytes), "{} bytes", bytes.len());
    (tree, root)
}

/// The slice that the crate `bao` makes of a range, from start and length.
fn bao_slice(bytes: &[u8], range: &Range<u64>) -> Vec<u8> {
    let (encoded, _) = bao::encode::encode(bytes);
    let length = range.end - range.start;
    let mut slice = Vec::new();
    let mut extractor = bao::encode::SliceExtractor::new(Cursor::new(encoded), range.start, length);
    extractor.read_to_end(&mut slice).expect("memory can be read");
    slice
}

/// What the crate `bao` reads from a slice.
fn bao_verify(root: &[u8; 32], range: &Range<u64>, slice: &[u8]) -> Option<Vec<u8>> {
    let length = range.end - range.start;
    let mut bytes = Vec::new();
    let mut decoder = bao::decode::SliceDecoder::new(slice, &(*root).into(), range.start, length);
    decoder.read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Lengths at which the shape of the tree changes.
fn edges() -> Vec<usize> {
    let chunks = [0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129];
    let around = |chunks: usize| [-65, -1, 0, 1, 64].map(|step| (chunks * CHUNK) as isize + step);
    chunks.into_iter().flat_map(around).filter_map(|len| usize::try_from(len).ok()).collect()
}

#[test]
fn lanes_hash_as_one_at_a_time() {
    let bytes = painted(LANES * CHUNK);
    let wide = Wide::new();
    let (pairs, _) = bytes.as_chunks::<PARENT>();
    for count in 1..=LANES {
        for first in [0, 1, 5, u64::from(u32::MAX) - 3] {
            let mut cvs = [[0; 32]; LANES];
            wide.chunks(first, &bytes[..count * CHUNK], &mut cvs[..count]);
            for (at, cv) in cvs[..count].iter().enumerate() {
                let chunk = &bytes[at * CHUNK..(at + 1) * CHUNK];
                assert_eq!(*cv, section::chunk_cv(first + at as u64, chunk), "{count} chunks from {first}");
            }
        }
        let mut cvs = [[0; 32]; LANES];
        wide.parents(&pairs.iter().take(count).collect::<Vec<_>>(), &mut cvs[..count]);
        for (cv, pair) in cvs.iter().zip(&pairs[..count]) {
            let [left, right] = [0, 32].map(|at| pair[at..at + 32].try_into().expect("half a parent"));
            assert_eq!(*cv, merge_subtrees_non_root(&left, &right, Mode::Hash), "{count} parents");
        }
    }
}

#[test]
fn the_root_is_the_plain_hash_at_every_length_where_the_shape_changes() {
    for len in edges() {
        tree(&painted(len));
    }
    for around in [SECTION, 2 * SECTION, 3 * SECTION] {
        for len in [around - CHUNK, around - 1, around, around + 1, around + CHUNK] {
            tree(&painted(len));
        }
    }
}

#[test]
fn an_array_that_grows_from_nothing_has_the_plain_hash_at_every_step() {
    let lengths = edges().into_iter().chain([SECTION - 1, SECTION, SECTION + 1, 2 * SECTION + 7, 9_000_000]);
    let (bytes, mut kept) = (painted(9_000_000), Tree::new());
    let mut sorted: Vec<usize> = lengths.collect();
    sorted.sort_unstable();
    for len in sorted {
        assert_eq!(kept.root(&bytes[..len], Threads::Caller), hash(&bytes[..len]), "grown to {len}");
        assert_eq!(kept.len(), len);
    }
    assert_eq!(kept.root(&bytes[..77], Threads::Caller), hash(&bytes[..77]), "and shrunk");
}

#[test]
fn every_set_of_marked_chunks_among_sixteen_gives_the_plain_hash() {
    let mut bytes = painted(20 * CHUNK - 300);
    let (mut kept, _) = tree(&bytes);
    for mask in 0..1u32 << 16 {
        for chunk in (0..16).filter(|bit| mask & (1 << bit) != 0) {
            bytes[chunk * CHUNK + 5] ^= 0x5a;
            kept.mark_at(chunk * CHUNK + 5);
        }
        let root = kept.root(&bytes, Threads::Caller);
        assert_eq!(root, hash(&bytes), "marked {mask:#b}");
    }
}

#[test]
fn marks_of_any_density_give_the_plain_hash() {
    let mut bytes = painted(SECTION + 700 * CHUNK + 300);
    let (mut kept, _) = tree(&bytes);
    let mut drawn = 1u64;
    for step in 0..400usize {
        // Between none and 90 draws among 64 chunks, so that sparse stretches lie between dense ones.
        for word in 0..bytes.len() / CHUNK / 64 {
            for _ in 0..(step * 7 + word * 11) % 90 * (word % 3) / 2 {
                drawn = drawn.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                let at = (word * 64 + (drawn >> 58) as usize) * CHUNK + (drawn >> 33) as usize % CHUNK;
                bytes[at] = bytes[at].wrapping_add(1);
                kept.mark_at(at);
            }
        }
        let root = kept.root(&bytes, Threads::Caller);
        assert_eq!(root, hash(&bytes), "step {step}");
    }
}

#[test]
fn a_pool_gives_the_same_root_and_tally_as_the_caller() {
    let ones = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(byte.count_ones())).sum();
    let mut bytes = painted(2 * SECTION + 12_345);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads can be had");
    let (mut one, mut two) = (Tree::with_tally(ones), Tree::with_tally(ones));
    for step in 0..4 {
        let here = one.root(&bytes, Threads::Caller);
        assert_eq!((here, pool.install(|| two.root(&bytes, Threads::Pool))), (hash(&bytes), here));
        assert_eq!((one.tally(), two.tally()), (u128::from(ones(&bytes)), u128::from(ones(&bytes))));
        for at in (step..bytes.len()).step_by(4_099) {
            bytes[at] ^= 0xff;
            one.mark_at(at);
            two.mark(at..at + 1);
        }
        bytes.extend(painted(700));
    }
}

#[test]
fn marks_outside_of_the_array_are_ignored() {
    let bytes = painted(5_000);
    let (mut kept, root) = tree(&bytes);
    kept.mark(5_000..9_000);
    kept.mark_at(usize::MAX);
    kept.mark(usize::MAX - 5..usize::MAX);
    #[allow(clippy::reversed_empty_ranges, reason = "hostile")]
    kept.mark(4_000..10);
    kept.mark_at(5_000);
    kept.mark_at(6_000);
    assert!(kept.prove(&bytes, 0..10).is_ok(), "no root is missing");
    assert_eq!(kept.root(&bytes, Threads::Caller), root);
}

#[test]
fn a_proof_of_one_record_of_a_large_table_has_about_two_kilobytes() {
    let bytes = painted(64_000_000);
    let (kept, root) = tree(&bytes);
    let range = 64 * 777_777..64 * 777_778;
    let proof = kept.prove(&bytes, range.clone()).expect("a range of the array");
    assert_eq!(proof.len(), 8 + 16 * 64 + 1_024);
    assert_eq!(verify_range(&root, range.clone(), &proof).as_deref(), Ok(&bytes[49_777_728..49_777_792]));
    let per_chunk = kept.state_bytes() as f64 / (bytes.len() / CHUNK) as f64;
    assert!((64.0..65.0).contains(&per_chunk), "{per_chunk} bytes of state per chunk");
}

#[test]
fn an_empty_range_inside_of_a_chunk_marks_nothing() {
    // Found by fuzzing: the chunk around it counted as written, so that no proof could be made any more.
    let bytes = painted(5_000);
    let (mut kept, _) = tree(&bytes);
    kept.mark(1_500..1_500);
    assert!(kept.prove(&bytes, 0..10).is_ok());
}

#[test]
fn what_has_no_proof_is_refused_with_the_reason() {
    let mut bytes = painted(5_000);
    let (mut kept, _) = tree(&bytes);
    assert_eq!(kept.prove(&bytes, 7..7), Err(ProveError::EmptyRange));
    #[allow(clippy::reversed_empty_ranges, reason = "hostile")]
    let reversed = 8..7;
    assert_eq!(kept.prove(&bytes, reversed), Err(ProveError::EmptyRange));
    assert_eq!(kept.prove(&bytes, 0..5_001), Err(ProveError::PastEnd { end: 5_001, len: 5_000 }));
    assert_eq!(kept.prove(&bytes, 0..u64::MAX), Err(ProveError::TooLong(u64::MAX)));
    assert_eq!(tree(&[]).0.prove(&[], 0..0), Err(ProveError::EmptyRange));
    assert_eq!(tree(&[]).0.prove(&[], 0..1), Err(ProveError::PastEnd { end: 1, len: 0 }));
    bytes.push(1);
    assert_eq!(kept.prove(&bytes, 0..1), Err(ProveError::Stale));
    kept.root(&bytes, Threads::Caller);
    kept.mark_at(3_000);
    assert_eq!(kept.prove(&bytes, 0..1), Err(ProveError::Stale));
}

#[test]
fn what_is_no_proof_of_the_range_is_refused_with_the_reason() {
    let bytes = painted(100 * CHUNK + 10);
    let (kept, root) = tree(&bytes);
    let len = bytes.len() as u64;
    let range = 5_000..5_100;
    let proof = kept.prove(&bytes, range.clone()).expect("a range of the array");
    let refused = |range: Range<u64>, proof: &[u8]| verify_range(&root, range, proof).expect_err("refused");
    assert_eq!(refused(range.clone(), &[]), ProofError::TooShort);
    assert_eq!(refused(range.clone(), &proof[..proof.len() - 1]), ProofError::TooShort);
    assert_eq!(refused(range.clone(), &[&proof[..], &[0]].concat()), ProofError::Trailing(1));
    assert_eq!(refused(5_000..5_000, &proof), ProofError::EmptyRange);
    assert_eq!(refused(0..PROOF_RANGE_BYTES_MAX + 1, &proof), ProofError::TooLong(PROOF_RANGE_BYTES_MAX + 1));
    assert_eq!(refused(len..len + 1, &proof), ProofError::PastEnd { end: len + 1, len });
    // Of the neighbouring chunk, whose parent is the same; of a chunk far away.
    assert_eq!(refused(5_200..5_210, &proof), ProofError::Mismatch(5_120));
    assert_eq!(refused(90_000..90_001, &proof), ProofError::Mismatch(65_536));
    assert_eq!(refused(5_000..7_000, &proof), ProofError::TooShort);
    assert_eq!(verify_range(&hash(b"other"), range.clone(), &proof), Err(ProofError::Mismatch(0)));
    for claimed in [u64::MAX, 1 << 63, ARRAY_TOO_LONG] {
        let forged = [&claimed.to_le_bytes(), &proof[8..]].concat();
        assert_eq!(refused(range.clone(), &forged), ProofError::BadLength(claimed));
    }
    // A claim of another length with the same path proves the same bytes, unless the length is known.
    let claimed = len + 1;
    let forged = [&claimed.to_le_bytes(), &proof[8..]].concat();
    assert_eq!(verify_range(&root, range.clone(), &forged).as_deref(), Ok(&bytes[5_000..5_100]));
    assert_eq!(verify_range_of(&root, len, range.clone(), &forged), Err(ProofError::BadLength(claimed)));
    assert!(verify_range_of(&root, len, range, &proof).is_ok());
}

const ARRAY_TOO_LONG: u64 = (1 << 48) + 1;

#[test]
fn an_array_that_lies_elsewhere_has_the_same_root_and_proofs_as_long_as_it_is_the_same() {
    for len in edges().into_iter().chain([9 << 20, (4 << 20) + 1]) {
        let bytes = painted(len);
        let (whole, root) = tree(&bytes);
        let mut read = Tree::new();
        let fill = |at: u64, out: &mut [u8]| {
            out.copy_from_slice(&bytes[at as usize..at as usize + out.len()]);
            Ok::<(), ()>(())
        };
        assert_eq!(read.read_root(len, fill), Ok(root), "{len}");
        for start in (0..len as u64).step_by((len / 7 + 1).next_multiple_of(1024)) {
            let range = start..(start + 20_000).min(len as u64);
            let end = (range.end as usize).next_multiple_of(1024).min(len);
            let mut part = bytes[start as usize..end].to_vec();
            let mut out = b"before".to_vec();
            read.prove_part(start, &part, range.clone(), &mut out).unwrap();
            assert_eq!(out[6..], whole.prove(&bytes, range.clone()).unwrap());
            out.truncate(6);
            let stale = Err(ProveError::Stale);
            assert_eq!(read.prove_part(start, &part[1..], range.clone(), &mut out), stale);
            *part.last_mut().unwrap() ^= 1;
            assert_eq!(read.prove_part(start, &part, range, &mut out), stale);
            assert_eq!(out, b"before");
        }
        assert_eq!(read.read_root(len.max(1), |_, _| Err("unreadable")), Err("unreadable"));
        assert!(read.is_empty());
    }
}

#[test]
fn the_end_of_the_array_proves_its_length() {
    for len in edges().into_iter().filter(|len| *len > 0) {
        let bytes = painted(len);
        let (kept, root) = tree(&bytes);
        let len = len as u64;
        let proof = kept.prove(&bytes, len - 1..len).expect("the last byte");
        for claimed in [len - 1, len + 1, len + 1_024, 2 * len, len + 65_536] {
            let forged = [&claimed.to_le_bytes(), &proof[8..]].concat();
            assert!(verify_range(&root, claimed.saturating_sub(1)..claimed, &forged).is_err());
        }
    }
}

#[test]
fn every_flipped_bit_of_a_proof_is_noticed_when_the_length_is_known() {
    let bytes = painted(6 * CHUNK + 100);
    let (kept, root) = tree(&bytes);
    let (len, range) = (bytes.len() as u64, 3_000..3_200);
    let proof = kept.prove(&bytes, range.clone()).expect("a range of the array");
    for bit in 0..8 * proof.len() {
        let mut forged = proof.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(verify_range_of(&root, len, range.clone(), &forged).is_err(), "bit {bit}");
        if let Ok(proven) = verify_range(&root, range.clone(), &forged) {
            assert!(bit < 64 && proven == bytes[3_000..3_200], "bit {bit}");
        }
    }
}

/// A length, and a range in it that is not empty.
fn length_and_range() -> impl Strategy<Value = (usize, Range<u64>)> {
    let length = prop_oneof![1usize..5_000, 1usize..300_000, (1usize..200).prop_map(|n| n * CHUNK)];
    length.prop_flat_map(|len| {
        let ends = (0..len as u64, 1..=len as u64);
        ends.prop_map(move |(one, other)| (len, if one < other { one..other } else { other - 1..one + 1 }))
    })
}

/// What happens to an array.
#[derive(Clone, Debug)]
enum Step {
    Write(prop::sample::Index, usize),
    Grow(usize),
    Shrink(prop::sample::Index),
    Root,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<prop::sample::Index>(), 1usize..3_000).prop_map(|(at, len)| Step::Write(at, len)),
        1 => (1usize..70_000).prop_map(Step::Grow),
        1 => any::<prop::sample::Index>().prop_map(Step::Shrink),
        3 => Just(Step::Root),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_proof_is_the_slice_of_bao_and_proves_the_range((len, range) in length_and_range()) {
        let bytes = painted(len);
        let (kept, root) = tree(&bytes);
        let proof = kept.prove(&bytes, range.clone()).expect("a range of the array");
        prop_assert!(proof.len() <= PROOF_BYTES_MAX);
        prop_assert_eq!(&proof, &bao_slice(&bytes, &range));
        let expected = &bytes[range.start as usize..range.end as usize];
        prop_assert_eq!(verify_range(&root, range.clone(), &proof), Ok(expected.to_vec()));
        prop_assert_eq!(bao_verify(&root, &range, &proof), Some(expected.to_vec()));
    }

    #[test]
    fn a_changed_proof_is_refused_by_bao_and_here_alike(
        (len, range) in length_and_range(),
        at in any::<prop::sample::Index>(),
        flip in 1u8..,
    ) {
        let bytes = painted(len);
        let (kept, root) = tree(&bytes);
        let mut proof = kept.prove(&bytes, range.clone()).expect("a range of the array");
        // The length at the head is another matter, tested by itself.
        let at = 8 + at.index(proof.len() - 8);
        proof[at] ^= flip;
        prop_assert!(verify_range(&root, range.clone(), &proof).is_err());
        prop_assert_eq!(bao_verify(&root, &range, &proof), None);
    }

    #[test]
    fn the_root_is_the_plain_hash_after_any_writes_and_changes_of_length(
        len in 0usize..200_000,
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut bytes = painted(len);
        let ones = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(byte.count_ones())).sum();
        let mut kept = Tree::with_tally(ones);
        for (number, step) in steps.into_iter().chain([Step::Root]).enumerate() {
            match step {
                Step::Write(..) if bytes.is_empty() => {}
                Step::Write(at, length) => {
                    let start = at.index(bytes.len());
                    let end = bytes.len().min(start + length);
                    bytes[start..end].fill(number as u8);
                    kept.mark(start..end);
                }
                Step::Grow(more) => bytes.extend(painted(more)),
                // The tree sees it at a root only: what grew back before that would count as unwritten.
                Step::Shrink(to) => {
                    bytes.truncate(to.index(bytes.len() + 1));
                    prop_assert_eq!(kept.root(&bytes, Threads::Caller), hash(&bytes));
                }
                Step::Root => {
                    prop_assert_eq!(kept.root(&bytes, Threads::Caller), hash(&bytes));
                    prop_assert_eq!(kept.tally(), u128::from(ones(&bytes)));
                }
            }
        }
    }
}
