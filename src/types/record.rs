//! The settlement record: all that agreement remembers at an emitted leader, beside the vertices above the floor.

use super::ids::{BatchId, Epoch, Round, Seat, Sequence};
use super::{LeaderRef, SeatSet, Time, Verdict};

/// What a node needs beside the vertices above the floor to decide, order and settle from a leader on exactly as those
/// who were there from the start. A pure function of the emitted leaders.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SettlementRecord {
    /// The epoch.
    pub epoch: Epoch,
    /// The last emitted leader.
    pub leader: LeaderRef,
    /// The time of its block.
    pub time: Time,
    /// For each round above the floor up to the leader's, lowest first: of whom a vertex was output.
    pub output: Vec<SeatSet>,
    /// By seat: how it has done as leader.
    pub standings: Vec<Standing>,
    /// By seat: its batches.
    pub authors: Vec<AuthorRecord>,
}

/// How a seat has done as leader lately.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Standing {
    /// Its skips since its last commit, up to [`super::params::GIVE_WAY_STEPS_MAX`].
    pub skips: u32,
    /// It gives way in rounds up to this one.
    pub until: Round,
}

/// What is settled, and what is said, of one author's batches.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct AuthorRecord {
    /// Its highest settled sequence, 0 at first.
    pub highest: Sequence,
    /// Bit `i` says that sequence `highest - i` is settled, as far as the window reaches.
    pub settled: u64,
    /// Slots that are not settled and have counted acks, sequences ascending.
    pub slots: Vec<SlotRecord>,
}

/// The counted acks of a batch slot that has not settled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotRecord {
    /// The slot's sequence.
    pub sequence: Sequence,
    /// By id, ascending: who acked it, seats ascending, and whether `Held` or `Valid`. A seat stands under one id only.
    pub acks: Vec<(BatchId, Vec<(Seat, Verdict)>)>,
}
