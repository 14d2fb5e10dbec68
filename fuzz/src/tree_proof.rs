//! The BLAKE3 tree: a recipe writes to an array, lets it grow and shrink, and asks for roots and proofs. The root must
//! be the plain hash, an honest proof must prove, and no other proof may prove different bytes.
//!
//! The recipe: the first length, then one step after the other: what it is (modulo 6, but 254 shrinks and 253 proves a
//! subtree), followed by what that needs. Bytes that are missing at the end read as zero.

use std::ops::Range;
use throng::crypto::{
    PROOF_BYTES_MAX, ProveError, Threads, Tree, plain, verify_range, verify_range_of, verify_subtree,
};

/// Most steps of a recipe, and the longest array: many chunks, and quick.
const STEPS_MAX: usize = 64;
const ARRAY_MAX: usize = 200_000;

/// What is left of a recipe.
struct Recipe<'a>(&'a [u8]);

impl Recipe<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    /// A number below `bound`, or 0.
    fn below(&mut self, bound: usize) -> usize {
        let number = u32::from_le_bytes([self.byte(), self.byte(), self.byte(), 0]) as usize;
        number % bound.max(1)
    }

    /// A range that may be empty, and may end a little beyond `len`.
    fn range(&mut self, len: usize) -> Range<u64> {
        let start = self.below(len + 2);
        let length = self.below(5_000);
        start as u64..(start + length) as u64
    }
}

/// An array, its tree, and the root after which nothing was written.
struct World {
    bytes: Vec<u8>,
    tree: Tree,
    root: Option<[u8; 32]>,
}

impl World {
    fn write(&mut self, recipe: &mut Recipe<'_>) {
        let start = recipe.below(self.bytes.len());
        let end = self.bytes.len().min(start + recipe.below(3_000));
        let value = recipe.byte();
        self.bytes[start..end].iter_mut().for_each(|byte| *byte = byte.wrapping_add(value));
        self.tree.mark(start..end);
        if start < end {
            self.root = None;
        }
    }

    fn grow(&mut self, more: usize) {
        let end = (self.bytes.len() + more).min(ARRAY_MAX);
        // Neither constant nor periodic in chunks.
        if end > self.bytes.len() {
            self.bytes.extend((self.bytes.len()..end).map(|at| (at % 251) as u8 ^ (at >> 10) as u8));
            self.root = None;
        }
    }

    /// A tree learns of a shorter array by its next root, which is therefore asked for at once.
    fn shrink(&mut self, len: usize) {
        self.bytes.truncate(len);
        self.root();
    }

    fn root(&mut self) -> [u8; 32] {
        let root = self.tree.root(&self.bytes, Threads::Caller);
        assert_eq!(root, plain(&self.bytes));
        self.root = Some(root);
        root
    }

    /// The honest proof of a range; whatever has none has the right error.
    fn prove(&mut self, range: &Range<u64>) -> Option<Vec<u8>> {
        let len = self.bytes.len() as u64;
        let result = self.tree.prove(&self.bytes, range.clone());
        if range.is_empty() {
            assert_eq!(result, Err(ProveError::EmptyRange));
            return None;
        }
        if range.end > len {
            assert_eq!(result, Err(ProveError::PastEnd { end: range.end, len }));
            return None;
        }
        let Some(root) = self.root else {
            assert_eq!(result, Err(ProveError::Stale));
            return None;
        };
        let proof = result.expect("a range of an array that has not changed");
        assert!(proof.len() <= PROOF_BYTES_MAX);
        assert_eq!(verify_range_of(&root, len, range.clone(), &proof).as_deref(), Ok(self.part(range)));
        Some(proof)
    }

    /// A subtree has a proof, and none that is changed proves anything.
    fn subtree(&mut self, recipe: &mut Recipe<'_>) {
        let (root, len) = (self.root(), self.bytes.len() as u64);
        let size = 1_024 << recipe.below(8);
        let start = len.min(recipe.below((len / size) as usize + 1) as u64 * size);
        let range = start..len.min(start + size);
        let mut proof = Vec::new();
        let path = self.tree.put_path(range.clone(), &mut proof);
        if range.is_empty() {
            assert_eq!(path, Err(ProveError::EmptyRange));
            return;
        }
        path.expect(
            "left subtrees are full, so each place that begins at a multiple of its size is a subtree",
        );
        proof.extend_from_slice(self.part(&range));
        assert_eq!(verify_subtree(&root, len, range.clone(), &proof), Ok(self.part(&range)));
        let (at, value) = (recipe.below(proof.len()), recipe.byte());
        proof[at] ^= value;
        assert_eq!(verify_subtree(&root, len, range, &proof).is_ok(), value == 0);
    }

    fn part(&self, range: &Range<u64>) -> &[u8] {
        &self.bytes[range.start as usize..range.end as usize]
    }

    /// Whatever a proof is, it proves the bytes of the array or nothing; knowing the length, only `honest` passes.
    fn offer(&self, root: &[u8; 32], range: &Range<u64>, proof: &[u8], honest: Option<&[u8]>) {
        if let Ok(proven) = verify_range(root, range.clone(), proof) {
            assert!(range.end <= self.bytes.len() as u64, "bytes beyond the end");
            assert_eq!(proven, self.part(range));
        }
        let strict = verify_range_of(root, self.bytes.len() as u64, range.clone(), proof);
        if honest.is_some_and(|honest| honest != proof) {
            assert!(strict.is_err(), "one proof alone passes");
        }
    }
}

/// A recipe of steps on an array; says whether it asked for a root.
pub fn tree_proof(bytes: &[u8]) -> bool {
    let mut recipe = Recipe(bytes);
    let mut world = World { bytes: Vec::new(), tree: Tree::new(), root: None };
    world.grow(recipe.below(ARRAY_MAX));
    let mut rooted = false;
    for _ in 0..STEPS_MAX {
        if recipe.0.is_empty() {
            break;
        }
        let kind = match recipe.byte() {
            254 => 6,
            253 => 7,
            byte => byte % 6,
        };
        match kind {
            0 => world.write(&mut recipe),
            1 => {
                let more = recipe.below(20_000);
                world.grow(more);
            }
            2 => {
                world.root();
                rooted = true;
            }
            3 => {
                let range = recipe.range(world.bytes.len());
                world.prove(&range);
            }
            6 => {
                let len = recipe.below(world.bytes.len() + 1);
                world.shrink(len);
            }
            7 => {
                world.subtree(&mut recipe);
                rooted = true;
            }
            kind => rooted |= mutate(&mut world, &mut recipe, kind),
        }
    }
    world.root();
    rooted
}

/// An honest proof that is changed (4), or offered for another range (5).
fn mutate(world: &mut World, recipe: &mut Recipe<'_>, kind: u8) -> bool {
    let root = world.root();
    let range = recipe.range(world.bytes.len());
    let Some(honest) = world.prove(&range) else { return false };
    if kind == 5 {
        let other = recipe.range(world.bytes.len());
        let of_other = world.prove(&other);
        world.offer(&root, &other, &honest, of_other.as_deref());
        return true;
    }
    let mut proof = honest.clone();
    for _ in 0..=recipe.byte() % 4 {
        let (at, value) = (recipe.below(proof.len()), recipe.byte());
        match value % 5 {
            0 => proof.truncate(at),
            1 => proof.insert(at, value),
            2 => proof.extend_from_within(at..),
            _ => proof.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= value),
        }
        if recipe.byte().is_multiple_of(4) {
            proof.iter_mut().take(8).zip(recipe.0).for_each(|(byte, new)| *byte = *new);
        }
    }
    world.offer(&root, &range, &proof, Some(&honest));
    true
}
