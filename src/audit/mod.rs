//! Data directories checked and shown, without trusting who wrote them.
//!
//! **Owns** the reading of a directory that nobody runs: checking it from genesis to tip, showing what is in it, taking
//! the account table out of it. **May not** change a byte in it, map a file of it, or take a node's word for anything:
//! a directory is bytes from outside.
//!
//! - Upon a directory: refuse it while a node runs on it, hold its lock against new ones, and read its genesis, whose
//!   hash is the chain id that every segment names.
//! - Upon a record: the store has checked that it is what was written, at the place where it was written ([`Store`]).
//!   A *vertex* must be well-formed and signed by its seat. A *batch* must have the columns whose roots its header
//!   names and be signed by its author. A *block* must be the one that the vertices before it commit, settle batches
//!   that are there, and name the outcomes, accounts and roots that executing them gives here; every row that it
//!   settles must be signed by its sender. A *certificate* must be of the block of its height, and signed by a quorum.
//!   A block that no vertices commit must be one that a certificate above it proves: so a node writes that was away for
//!   too long. *Evidence* must prove what it says. A *settlement record* must be the one that the vertices before it give, and that
//!   the next block names. (`replay.rs`)
//! - Upon a directory of which segments were removed: what is left of them must be a chain of blocks from the genesis on;
//!   the replay begins at the oldest snapshot that has the account root of its checkpoint. Upon any *snapshot*: it must have
//!   that root. (`kept.rs`)
//! - Upon blocks that are missing: the node began anew at a checkpoint that a certificate proves, and the replay does so as
//!   well, at the snapshot of it or the oldest after it; how many are missing is said. (`replay/passed.rs`)
//! - Upon what is wrong: name the file, the offset of the record, the height and what was expected. Of several faults the
//!   first in the order of the log counts, however the threads ran.
//!
//! Why that is enough: blocks follow from vertices by the rule of agreement, and each vertex carries the signature of a
//! seat that the genesis names. So whoever makes up another history needs the keys of a quorum, and whoever changes or
//! drops a byte of this one is found by a check, a hash or a signature. What cannot be seen is a log that ends early:
//! the newest records of one directory may be cut off without a trace, and only other nodes can tell.
//!
//! How the cores stay busy: one thread reads and checks records, one replays them, and signatures, which cost more than
//! all the rest together, are checked by a pool in pieces as large as pay. All queues between them are bounded.

mod checks;
mod export;
mod fault;
mod inspect;
mod kept;
mod open;
mod replay;
mod shown;
mod verify;

pub use export::{ExportError, Exported, export_state};
pub use fault::{AuditError, Fault};
pub use inspect::{Question, inspect};
pub use shown::{
    AccountShown, At, BatchShown, BlockShown, Overview, RecordShown, SegmentCounts, SegmentShown,
    SettledShown, Shown, TransactionShown,
};
pub use verify::{Options, Report, Signatures, Verified, verify};

#[cfg(doc)]
use crate::store::Store;
