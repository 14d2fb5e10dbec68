//! Several chunks or parents hashed side by side in the lanes of the vector unit.
//!
//! `blake3::hazmat` hashes one subtree at a time, so that a lone parent or chunk leaves 15 of 16 lanes idle. The
//! library's own loop over lanes is public but hidden (`blake3::platform`): it is called here and nowhere else, the
//! manifest pins the version, and a test holds every result against `hazmat`. Were it to disappear, the two
//! functions below are loops over `hazmat` calls, and only speed is lost.

use blake3::IncrementCounter;
use blake3::platform::Platform;

/// The chaining value of a node (BLAKE3 paper, §2.1).
pub(super) type Cv = [u8; 32];

/// The most inputs of one call: as many lanes as the widest vector unit has.
pub(super) const LANES: usize = 16;

/// Bytes of a chunk, the leaf of the tree.
pub(super) const CHUNK: usize = blake3::CHUNK_LEN;

/// Bytes of a parent: the chaining values of its children.
pub(super) const PARENT: usize = 64;

/// The initial value and the flags of BLAKE3's default mode (BLAKE3 paper, tables 1 and 3).
const IV: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
const CHUNK_START_FLAG: u8 = 1;
const CHUNK_END_FLAG: u8 = 2;
const PARENT_FLAG: u8 = 4;

/// The vector unit of this machine, looked up once per root.
#[derive(Clone, Copy)]
pub(super) struct Wide(Platform);

impl Wide {
    pub(super) fn new() -> Wide {
        Wide(Platform::detect())
    }

    /// The chaining values of up to [`LANES`] whole chunks in a row, of which the first has the number `first`.
    pub(super) fn chunks(self, first: u64, bytes: &[u8], out: &mut [Cv]) {
        let (chunks, rest) = bytes.as_chunks::<CHUNK>();
        assert!(rest.is_empty(), "whole chunks");
        let mut inputs = [&[0; CHUNK]; LANES];
        for (input, chunk) in inputs.iter_mut().zip(chunks) {
            *input = chunk;
        }
        self.chunks_at(first, &inputs[..chunks.len()], out);
    }

    /// The same of chunks that stand apart from one another.
    pub(super) fn chunks_at(self, first: u64, inputs: &[&[u8; CHUNK]], out: &mut [Cv]) {
        assert_eq!(inputs.len(), out.len(), "one value each");
        let (count, flags) = (IncrementCounter::Yes, (0, CHUNK_START_FLAG, CHUNK_END_FLAG));
        self.0.hash_many(inputs, &IV, first, count, flags.0, flags.1, flags.2, out.as_flattened_mut());
    }

    /// The chaining values of up to [`LANES`] parents, none of them the root.
    pub(super) fn parents(self, pairs: &[&[u8; PARENT]], out: &mut [Cv]) {
        assert_eq!(pairs.len(), out.len(), "one value each");
        let out = out.as_flattened_mut();
        self.0.hash_many(pairs, &IV, 0, IncrementCounter::No, PARENT_FLAG, 0, 0, out);
    }
}
