//! One node's place in the world: its machine, its disk, its cores, its clock, and what waits to be read.

use super::config::SimConfig;
use super::cpu::Cpu;
use super::disk::{DirectoryCopy, Disk};
use super::net::Flight;
use super::queue::{Nanos, US};
use crate::node::{Input, Node, Progress, Shared};
use crate::store::RecordKind;
use crate::types::Time;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The world begins at this time by every good clock, in microseconds: far enough from zero that a clock which runs
/// late does not reach it.
const EPOCH_US: u64 = 10_000_000_000;
/// A node's timer fires this much later than now at the earliest: no clock is finer.
const TIMER_LEAST: Nanos = 100 * US;

/// What a node did in all its lives.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Times that it stopped.
    pub crashes: u64,
    /// Messages that it read.
    pub messages: u64,
    /// What it accused others of.
    pub accusations: u64,
    /// Peers that it cut off for what does not decode, counted each time.
    pub cut_off: u64,
    /// Pieces of account tables that it was given.
    pub pieces: u64,
    /// Replays at starts, in records.
    pub replayed: u64,
    /// Times that it began to adopt blocks that others had certified.
    pub adoptions: u64,
    /// Logs of which damage left nothing to begin with.
    pub abandoned: u64,
}

/// One node.
pub struct Place {
    /// Whose machine runs here: that of the place's number, or, in places beyond the seats, of the seat that has a twin.
    pub seat: u16,
    /// Its seat lies at some time.
    pub lies: bool,
    /// The machine while it runs.
    pub machine: Option<(Node, Arc<Shared>)>,
    /// Counts starts.
    pub life: u32,
    /// When each earlier life ended.
    pub ends: Vec<Nanos>,
    /// It does not start before this.
    pub down_until: Nanos,
    /// It never starts.
    pub silent: bool,
    pub disk: Disk,
    /// Copies of its directory, by the fault that will put them back.
    pub copies: BTreeMap<usize, DirectoryCopy>,
    /// Records that its log lost, and that lie beside it at its next start.
    pub apart: Vec<(RecordKind, Bytes)>,
    /// Records that it had told to be durable are gone.
    pub forgot: bool,
    /// How many times as long the disk takes.
    pub disk_factor: u64,
    /// There is no room on the disk: what is to be written waits.
    pub disk_full: bool,
    /// The fault that crashes it at its next sync.
    pub crash_at_sync: Option<usize>,
    pub cpu: Cpu,
    /// By how much its clock is off, in microseconds.
    pub skew_us: i64,
    /// What its own threads report.
    pub inputs: VecDeque<Input>,
    /// Messages, with the time from which they can be read; ascending.
    pub inbox: VecDeque<(Nanos, Flight)>,
    pub inbox_bytes: usize,
    /// The turn that is planned.
    pub turn_at: Option<Nanos>,
    /// Whom its machine believes to be connected to.
    pub knows: Vec<bool>,
    /// Where it stood when it last ran.
    pub progress: Progress,
    /// The highest block that it told to be durable, over all lives.
    pub told: u64,
    pub tally: Tally,
}

impl Place {
    /// A place, one of so many, whose node has not started.
    pub fn new(config: &SimConfig, chain: [u8; 32], seat: u16, places: usize) -> Place {
        Place {
            seat,
            lies: false,
            machine: None,
            life: 0,
            ends: Vec::new(),
            down_until: 0,
            silent: false,
            disk: Disk::new(chain),
            copies: BTreeMap::new(),
            apart: Vec::new(),
            forgot: false,
            disk_factor: 1,
            disk_full: false,
            crash_at_sync: None,
            cpu: Cpu::new(config.cores),
            skew_us: 0,
            inputs: VecDeque::new(),
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            turn_at: None,
            knows: vec![false; places],
            progress: Progress::default(),
            told: 0,
            tally: Tally::default(),
        }
    }

    /// Where its node stands now.
    pub fn note(&mut self, progress: Progress) {
        let adopted = std::mem::replace(&mut self.progress, progress).catching_up;
        self.tally.adoptions += u64::from(progress.catching_up && !adopted);
    }

    /// The time by the node's clock.
    pub fn clock(&self, now: Nanos) -> Time {
        Time((EPOCH_US + now / US).saturating_add_signed(self.skew_us))
    }

    /// When the node's clock will show `time`, later than `now`.
    fn when(&self, time: Time, now: Nanos) -> Nanos {
        let us = time.0.saturating_add_signed(self.skew_us.saturating_neg()).saturating_sub(EPOCH_US);
        us.saturating_mul(US).max(now + TIMER_LEAST)
    }

    /// When the node's loop has something to do next.
    pub fn next_turn(&mut self, now: Nanos) -> Option<Nanos> {
        let deadline = self.machine.as_mut()?.0.deadline();
        let free = self.cpu.loop_free_at().max(now);
        let reported = (!self.inputs.is_empty()).then_some(now);
        let message = self.inbox.front().filter(|_| !self.disk.is_behind()).map(|(ready, _)| *ready);
        let deadline = deadline.map(|time| self.when(time, now));
        [reported, message, deadline].into_iter().flatten().min().map(|at| at.max(free))
    }

    /// Whether a message of an earlier life of its sender left before that life ended.
    pub fn had_sent(&self, life: u32, departed: Nanos) -> bool {
        self.ends.get(life as usize).is_none_or(|end| departed <= *end)
    }

    /// The time of the genesis: the world's beginning.
    pub fn genesis_time() -> Time {
        Time(EPOCH_US)
    }
}
