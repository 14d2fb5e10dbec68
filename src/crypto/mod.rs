//! Hashing domains, keys, and the one rule for a valid signature.
//!
//! **Owns** every use of BLAKE3, SHA-512 and curve arithmetic in the crate. **May not** read a clock, start a
//! thread (it borrows the rayon pool it is called on), keep a signing key, or know what the bytes mean.
//!
//! - Upon bytes to sign or to name as an id: [`hash()`] them under their own [`Domain`]. Upon a large array whose
//!   root others recompute with `b3sum`: [`plain`]. Upon such an array that changes in places: [`Tree`], which also
//!   proves ranges of it; upon a proof from outside: [`verify_range`], [`verify_subtree`].
//! - Upon one signature: [`verify()`]. Upon many: [`verify_batch`]. Both answer with a verdict, never with a
//!   panic; a key that is not a point, an `R` that is not a point and an `s` out of range are bad signatures.
//! - Upon signatures by few keys that stay, such as a committee's: [`KeySet`], which keeps tables for them.
//! - Upon an account's number instead of its key: [`KeyTable`], which also remembers the decompressed point.
//!
//! Why that is safe: the rule is ZIP-215, `[8](s·B − R − k·A) = 0`. It is a statement about one signature that
//! stays true or false whatever its company is, because a batch multiplies by the cofactor only once, at the
//! end, and each signature enters with a coefficient of 128 bits that no sender can predict. So alone, in any
//! batch and in any split of a batch the verdict is the same, and nodes that split differently do not fork.

mod exposed;
mod hash;
mod key_table;
mod keys;
mod tree;
mod verify;

#[cfg(test)]
mod tests;

pub use exposed::{ExposedKey, sign_exposed};
pub use hash::{Domain, DomainHasher, hash, plain};
pub use key_table::{KEYS_MAX, KeyTable};
pub use keys::{SigningKey, public_key, sign, signing_key_from_seed};
pub use tree::{
    PATH_STEP_BYTES, PROOF_BYTES_MAX, PROOF_RANGE_BYTES_MAX, ProofError, ProveError, Tally, Threads, Tree,
    verify_range, verify_range_of, verify_subtree,
};
pub use verify::{Claim, Item, KeySet, PreparedKey, TABLES_MAX, verify, verify_batch};
