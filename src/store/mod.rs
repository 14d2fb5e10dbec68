//! The durable log of a node: segment files that are only appended to, checked, and read through memory maps; and beside
//! it the guard, which says what was signed last.
//!
//! **Owns** one directory: a lock file, the `genesis` whose hash is the chain id, `guard`, `segment-000001.blk`,
//! `segment-000002.blk` and so on, `snapshot-<height>` beside them, `pruned-000001.blk` in place of a segment that was
//! removed, `damaged-000001-1.blk` for what was set aside, `abandoned` while a whole log is, and `*.new` files that are being prepared. **May not** know what a record means: it
//! keeps bytes of a kind, in order. Only the index and the mending look into them, for their names.
//!
//! - Upon `open`: refuse what is not ours (another chain, a newer format, foreign files) before anything changes;
//!   lock; check every record; cut a torn tail and say so; report damage anywhere else with file and offset, or, where others can give back what
//!   is lost, set aside all from there on, or all up to there (`aside.rs`); sync what
//!   a killed process may have left only in memory, before it is handed out as durable.
//! - Upon what was set aside below the log: what is lost in it is looked for by name, and written again once it is brought
//!   (`mend.rs`); what is whole is taken back when the store is opened (`ruin.rs`).
//! - Upon `append`: queue, within bounds. The writer thread takes all that waits, writes it as one group, syncs
//!   once, and only then hands back a view of each record. A group never spans two segments: at a change of segment the
//!   first part is written and synced before the second is begun. If a record of the group raises the guard, the guard is
//!   written and synced after the group and before any of it is reported.
//! - Upon a name that a peer asks for: the index, which opening and appending fill, knows the place; the record is read
//!   and checked anew ([`Finder`]). Upon a piece of a snapshot: likewise (`pieces.rs`).
//! - Upon a full segment: the newest few stay in the system's memory, older ones leave it. Views on them stay good.
//! - Upon a snapshot: a thread of its own writes it beside the log, and removes older ones only once it is durable
//!   (`snapshot.rs`).
//! - Upon a pruning: whole segments go, oldest first, and only once what must be left of them is durable (`prune.rs`).
//! - Upon a disk without room for the next segment: tell it, keep what waits, and try again every so often (`room.rs`).
//! - Upon any other failed write, and upon a failed sync: report it once and stop. The kernel may have marked the lost pages clean, so a second
//!   sync that succeeds proves nothing: nothing is retried.
//!
//! Why that is safe:
//!
//! - A segment exists under its name only when all its zeros and its header are on disk (written under another name,
//!   synced, renamed, directory synced). So a short file or a bad header is damage, never an interrupted creation.
//! - A record's check is keyed by its segment's header (chain, number, random salt) and covers its own position:
//!   a record copied elsewhere, left over from an earlier life of the file or of another chain never passes. Headers
//!   are chained, so segments cannot be exchanged between stores.
//! - Each record says up to where the log was durable when it was written. A bad spot below that mark of any later good
//!   record had been synced: it is damage. Everything else that is bad belongs to the last, unacknowledged group, whose
//!   sectors a power cut may keep or lose in any order: it is a torn tail, and is cut.
//! - A sealed segment ends in a seal, written when its successor exists. So neither a tail that was wiped to
//!   zeros nor a missing segment passes for a shorter log. The loss of the newest records is indistinguishable from a
//!   tear: what was signed last stands in the guard as well.
//! - Files are never truncated, and what was synced and is good is never written again: a view stays valid while it is held,
//!   even of a segment that was removed.

mod aside;
mod bus;
mod cache;
mod config;
mod disk;
mod error;
mod finder;
mod format;
mod genesis;
pub mod guard;
mod handle;
mod image;
mod index;
mod keeper;
mod map;
mod mend;
mod pieces;
mod prepare;
mod prune;
mod recover;
mod remains;
mod room;
mod ruin;
mod sealed;
mod segment;
mod snapshot;
mod walk;
mod writer;

#[cfg(test)]
mod tests;

pub use aside::{Abandoned, Aside, Part, Salvage};
pub use config::{ConfigError, StoreConfig};
pub use disk::{Cache, Disk, SystemDisk};
pub use error::{AppendError, Damage, StoreError};
pub use finder::Finder;
pub use guard::{Guard, GuardState};
pub use handle::{Held, OnDamage, OnSynced, Opened, Store, StoreMeter};
pub use image::{damaged, surviving};
pub use index::Index;
pub use keeper::{Errand, Kept, OnKept};
pub use mend::{Brought, Lost, Mending};
pub use prune::{Fate, Judge, Pruned};
pub use recover::{Recovered, TornTail};
pub use remains::{Remain, Remaining};
pub use room::OnRoom;
pub use ruin::Beyond;
pub use segment::{BOOK_NAME, BOOK_NEW_NAME};
pub use snapshot::Unwritten;
pub use walk::{Place, RecordIter};

use bytes::Bytes;

/// What a record holds. The number is what stands on disk and is never given another meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum RecordKind {
    /// The bytes of a batch.
    Batch = 1,
    /// The bytes of a vertex.
    Vertex = 2,
    /// The bytes of a block.
    Block = 3,
    /// The bytes of a checkpoint's certificate.
    Certificate = 4,
    /// The bytes of evidence against a validator.
    Evidence = 5,
    /// The bytes of the settlement record that the next block names, which is a checkpoint.
    Settlement = 6,
}

impl RecordKind {
    fn from_u8(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Batch),
            2 => Some(Self::Vertex),
            3 => Some(Self::Block),
            4 => Some(Self::Certificate),
            5 => Some(Self::Evidence),
            6 => Some(Self::Settlement),
            _ => None,
        }
    }
}

/// One record to append.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Append {
    /// The caller's running number, returned when the record is durable; the store gives it no meaning.
    pub number: u64,
    /// What the bytes are.
    pub kind: RecordKind,
    /// The payload, shared and not copied; at most [`StoreConfig::payload_bytes_max`] bytes.
    pub bytes: Bytes,
    /// What the guard must say, durably, before this record is reported as durable.
    pub guard: Option<Guard>,
}

/// A record that is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Synced {
    /// The number that its [`Append`] carried.
    pub number: u64,
    /// A view of the bytes in the memory-mapped segment, without a copy; it keeps the map alive.
    pub view: Bytes,
}
