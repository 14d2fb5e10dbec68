//! What goes into the machine and what comes out of it.

use super::Wanted;
use super::jobs::{Done, ExecuteJob, Job};
use super::observe::Forged;
use crate::consensus::Divergence;
use crate::store::Append;
use crate::types::{Height, Round, Seat};
use crate::wire::client::BlockNotice;
use crate::wire::{Evidence, Message};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use thiserror::Error;

/// Something that happened outside. The machine learns nothing in any other way.
#[derive(Debug)]
pub enum Input {
    /// An authenticated connection to a validator stands; to an observer also one to another observer that it chose.
    Connected(Seat),
    /// It is gone.
    Disconnected(Seat),
    /// A peer without a seat wants to be served, under this number ([`Seat::guest`]).
    GuestCame(Seat),
    /// It is gone.
    GuestLeft(Seat),
    /// A peer sent a message (decoded, otherwise unchecked).
    Received {
        /// Who sent it.
        from: Seat,
        /// What it sent.
        message: Message,
    },
    /// A job that the machine had put out is finished.
    Done(Done),
    /// A record that the machine had put out is durable.
    Persisted {
        /// The number of the record.
        number: u64,
        /// A view of its bytes where they are stored.
        view: Bytes,
    },
    /// A snapshot that the machine had put out is durable, or was given up.
    Snapshotted {
        /// Its height.
        height: Height,
        /// Whether it is durable.
        written: bool,
    },
    /// The disk has no room for what comes next (true), or has room again (false). Records that the machine had put out are
    /// kept by the driver meanwhile, and answered when they are durable.
    DiskFull(bool),
    /// What the machine had let go of is removed as far as it could be.
    Pruned,
    /// Rows were admitted to the mempool.
    Rows,
    /// Nothing but the time: the deadline has come.
    Tick,
}

/// What a machine holds in memory, counted: each count has a bound, whatever peers send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Vertices that wait for parents: at most four collection depths for each seat.
    pub waiting_vertices: usize,
    /// Of these, the most of one author that came unasked: at most two collection depths.
    pub waiting_of_author: usize,
    /// And the most that are demanded in one seat's name: at most two collection depths.
    pub waiting_on_demand: usize,
    /// Vertices asked for: at most 256 in the name of each seat.
    pub wanted_vertices: usize,
    /// Batches asked for: at most 256 of each author.
    pub wanted_batches: usize,
    /// Vertices and batches whose check the driver has not answered: at most what it lets in.
    pub checking: usize,
    /// Rows that validators handed on and that are not checked: at most 4,096 of each.
    pub handed_rows: usize,
    /// Slots with a batch that is here and not settled: at most three windows for each author.
    pub unsettled_batches: usize,
    /// All batches that are here and not executed: with those of open slots their twins, which were asked for, and what
    /// the blocks that wait have settled.
    pub batches: usize,
    /// Acks of batches that are not here: at most one of each validator for each of three windows of slots.
    pub named_batches: usize,
    /// Executed batches at hand for peers that are behind: at most [`super::NodeConfig::batches_kept`].
    pub executed_batches: usize,
    /// Own batches sealed and not settled: at most a window; of an author that lost its records three.
    pub outstanding: usize,
    /// Blocks that wait for execution: at most 1,024.
    pub waiting_blocks: usize,
    /// Records whose writing the driver has not answered.
    pub unwritten: usize,
    /// Blocks that are to be adopted: at most three legs of 512 blocks, or of a checkpoint interval if that is longer.
    pub to_adopt: usize,
    /// Pieces of an account table that is being fetched: at most [`crate::wire::PIECES_MAX`], the memory of one table.
    pub table_pieces: usize,
    /// Charges that wait for accounts: of each peer against at most `f` seats, a record of [`crate::wire::Evidence`] each.
    pub charges: usize,
}

/// Something that the driver has to do. Order among outputs matters only within one kind.
#[derive(Debug)]
pub enum Output {
    /// Send a message to one peer; may be dropped when its queue is full (the protocol asks again).
    Send {
        /// To whom.
        to: Seat,
        /// What.
        message: Message,
    },
    /// Send a message to every peer in [`Input::Connected`].
    Broadcast(Message),
    /// Run a job ([`Job::run`]) and hand back its result as [`Input::Done`]. Urgent jobs ([`Job::urgent`]) are short
    /// and go first, several at once where they come together ([`Job::run_all`]); the others go to the verification
    /// pool.
    Job(Job),
    /// Execute a block ([`ExecuteJob::run`]), in the order of output, one at a time, and hand back the result.
    Execute(ExecuteJob),
    /// Write the records in this order; answer each with [`Input::Persisted`] once it is synced, and after it the guard, if
    /// the record raises that.
    Persist(Vec<Append>),
    /// Write the account table of a durable checkpoint to a file of its own, and once that is durable remove all older
    /// ones but `kept`. Answer with [`Input::Snapshotted`]. There is never more than one on its way.
    Snapshot {
        /// The height of the checkpoint.
        height: Height,
        /// The table: `b3sum` of these bytes is the account root in its block.
        table: Bytes,
        /// The older one that stays.
        kept: Option<Height>,
    },
    /// Of blocks up to a height, and of rounds up to this, nothing is needed any more but the blocks themselves: remove the
    /// oldest segments as far as [`super::snapshots::fate`] lets them go, and answer with [`Input::Pruned`].
    Prune {
        /// The height.
        first: Height,
        /// The round.
        last: Round,
    },
    /// A block is final, executed and durable here.
    Durable(BlockNotice),
    /// A peer broke a rule.
    Misbehaved {
        /// Who.
        peer: Seat,
        /// Which rule.
        reason: &'static str,
    },
    /// Find in the store what a validator wants, and send it the answer ([`Wanted::answer`]). Nothing comes back to the
    /// machine. May be dropped when too much of it waits: the peer asks again, or somebody else.
    Serve {
        /// To whom.
        to: Seat,
        /// What.
        wanted: Wanted,
    },
    /// A validator is proven to have lied; told once for each.
    Convicted(Arc<Evidence>),
    /// The others hold another chain: the node has stopped for good and says why. Nothing comes after it.
    Diverged(Divergence),
    /// The validators settled a forged row: the observer has stopped for good. Nothing comes after it.
    Forged(Forged),
}

fn beginning(first: u64) -> String {
    match first {
        0 => "the log has no block".to_owned(),
        first => format!("the log is whole from block {first} on"),
    }
}

/// Why a machine does not open on what its store recovered.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum OpenError {
    /// A replayed block differs from the one on disk.
    #[error("block {height} on disk has hash {stored}, but executing it again gives {replayed}")]
    Replay {
        /// The height.
        height: u64,
        /// The hash on disk.
        stored: String,
        /// The hash computed.
        replayed: String,
    },
    /// A record on disk does not decode, or is not of this chain.
    #[error("a {kind} record on disk cannot be used: {reason}")]
    Record {
        /// Its kind.
        kind: &'static str,
        /// Why.
        reason: String,
    },
    /// Records that were durable are gone, and there is no other validator who could give them back.
    #[error(
        "the log ends at the own vertex of round {log}, but the guard says that round {guard} was signed: the disk lost \
         records that it had synced, and a committee of one has nobody to get them from; use a copy of the directory \
         that has them, or begin a new chain"
    )]
    LogBehindGuard {
        /// The latest own round in the log.
        log: u64,
        /// The latest own round in the guard.
        guard: u64,
    },
    /// The log does not begin at the genesis, or lacks blocks where the node began anew at a checkpoint, and no snapshot is
    /// good.
    #[error(
        "{}, what comes before was removed or never here, and no snapshot is good to begin with ({refused}): use a copy of the \
         directory that has one",
        beginning(*first)
    )]
    NoBase {
        /// The block from which on none is missing, 0 if there is none at all.
        first: u64,
        /// What speaks against each snapshot.
        refused: String,
    },
    /// What a base was to be cannot be begun at.
    #[error("cannot begin at checkpoint {height}: {reason}")]
    Base {
        /// Its height.
        height: u64,
        /// Why.
        reason: super::base::BaseError,
    },
    /// A block on disk settles a batch that is not on disk before it.
    #[error("block {height} settles a batch that is missing on disk")]
    MissingBatch {
        /// The height.
        height: u64,
    },
}

/// Where a node stands; read by drivers to tell people, never by the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The last round of its own vertex.
    pub round: u64,
    /// The highest round with an accepted vertex.
    pub highest: u64,
    /// The round of the last emitted leader.
    pub emitted: u64,
    /// The last height that has its place in the order.
    pub ordered: u64,
    /// The last height executed.
    pub executed: u64,
    /// The last height durable here.
    pub durable: u64,
    /// The height of the newest certificate at hand.
    pub certified: u64,
    /// Own batches that are sealed and not settled.
    pub outstanding: usize,
    /// Blocks that wait for execution, perhaps for the bytes of a settled batch.
    pub waiting_blocks: usize,
    /// Vertices that wait for parents.
    pub waiting_vertices: usize,
    /// Validators connected.
    pub peers: usize,
    /// It adopts blocks that others certified, and neither orders nor signs meanwhile.
    pub catching_up: bool,
    /// Pieces of an account table that it has fetched, and of how many; zeros unless it is fetching one.
    pub table_pieces: (usize, usize),
    /// Its disk has no room: it neither signs nor takes anything in until it has.
    pub disk_full: bool,
    /// Rows that validators handed on and that found no place here, mostly copies of what is in flight; since the start.
    pub rows_passed_over: u64,
    /// Rows of clients that were let go because they were not executed in time, since the start.
    pub rows_let_go: u64,
}
