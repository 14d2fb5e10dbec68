//! Batches from arrival to execution: what is held, what is checked, what is to be acked.

use crate::consensus::Draw;
use crate::types::params::ACKS_MAX;
use crate::types::{Ack, BatchId, BatchRef, Content, Height, Round, Seat, SeatSet, Sequence, Time, Verdict};
use crate::wire::Batch;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How far the own check of the signatures has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Check {
    /// Not asked for, or not yet.
    No,
    /// A job is on it.
    Running,
    /// Every signature is good.
    Valid,
    /// A row is bad.
    Invalid,
}

/// A batch whose bytes are here.
#[derive(Debug)]
pub(super) struct Held {
    pub batch: Batch,
    pub durable: bool,
    pub check: Check,
    /// What the own latest ack of it said.
    pub acked: Option<Verdict>,
    /// Who acked it in accepted vertices.
    pub acked_by: SeatSet,
    /// Who of them said that it is valid, and in a vertex of which round first.
    pub valid_by: BTreeMap<Seat, Round>,
    /// Who said that it is not.
    pub doubted_by: SeatSet,
    /// When the regular look found that a quorum holds it.
    pub spread: Option<Time>,
    /// Who verifies it.
    pub draw: Draw,
    /// Whether those who were drawn and had not verified it in time were noted.
    pub judged: bool,
    /// When it was last pushed, if it is one's own.
    pub pushed: Time,
    pub settled: bool,
    /// The highest round of a vertex that stood in the log when this batch was last written to it.
    pub logged: Round,
}

/// What a validator said of a slot first.
#[derive(Clone, Copy, Debug)]
struct Said {
    id: BatchId,
    /// In a vertex of which round it said first that the batch is valid.
    valid: Option<Round>,
}

impl Held {
    fn verdict(&self) -> Option<Verdict> {
        match self.check {
            _ if !self.durable => None,
            Check::No | Check::Running => Some(Verdict::Held),
            Check::Valid => Some(Verdict::Valid),
            Check::Invalid => Some(Verdict::Invalid),
        }
    }
}

/// All batches that matter now.
#[derive(Debug, Default)]
pub(super) struct Batches {
    held: BTreeMap<BatchId, Held>,
    /// The first id held of each slot that is not executed: no other is taken unasked.
    slots: BTreeMap<(Seat, Sequence), BatchId>,
    /// Who acked which batch of a slot whose bytes are not here: the first id of each validator, as in settling. So a
    /// liar takes no more room than an honest one: three windows of slots per author, a name per validator in each.
    named: BTreeMap<(Seat, Sequence), BTreeMap<Seat, Said>>,
    /// Executed batches, and in which order, with the height of the block; 0 where that is not known.
    executed: BTreeMap<BatchId, Batch>,
    oldest: VecDeque<(Height, BatchId)>,
    /// The first id of each slot among them: at most as many as there are.
    past: BTreeMap<(Seat, Sequence), BatchId>,
    /// So many of them stay at hand.
    kept: usize,
    /// Settled batches whose bytes are not here; bounded by the blocks that wait for execution.
    absent: BTreeSet<BatchId>,
    /// Whose ack may have something new to say.
    to_ack: BTreeSet<BatchRef>,
}

/// How many batches there are of each kind.
pub(super) struct Counts {
    pub held: usize,
    pub named: usize,
    pub executed: usize,
}

impl Batches {
    /// No batch yet; so many executed ones stay at hand.
    pub(super) fn new(kept: usize) -> Batches {
        Batches { kept, ..Batches::default() }
    }

    pub(super) fn counts(&self) -> Counts {
        let named = self.named.values().map(BTreeMap::len).sum();
        Counts { held: self.held.len(), named, executed: self.executed.len() }
    }

    pub(super) fn get(&self, id: &BatchId) -> Option<&Held> {
        self.held.get(id)
    }

    /// The batch of this id if it is durable here, executed or not.
    pub(super) fn at_hand(&self, id: &BatchId) -> Option<&Batch> {
        let held = self.held.get(id).filter(|held| held.durable);
        held.map(|held| &held.batch).or_else(|| self.executed.get(id))
    }

    /// Whether the batch of this id is here.
    pub(super) fn has(&self, id: &BatchId) -> bool {
        self.held.contains_key(id) || self.executed.contains_key(id)
    }

    pub(super) fn get_mut(&mut self, id: &BatchId) -> Option<&mut Held> {
        self.held.get_mut(id)
    }

    /// The id that is held for a slot.
    pub(super) fn slot(&self, author: Seat, sequence: Sequence) -> Option<BatchId> {
        self.slots.get(&(author, sequence)).copied()
    }

    /// What another batch of a slot is compared with: the first that is held, or the first executed one at hand.
    pub(super) fn known(&self, author: Seat, sequence: Sequence) -> Option<&Batch> {
        let slot = (author, sequence);
        let held = self.slots.get(&slot).and_then(|id| self.held.get(id));
        held.map(|held| &held.batch).or_else(|| self.executed.get(self.past.get(&slot)?))
    }

    /// Takes a batch whose form and header were checked. Whoever holds blobs has checked all that there is to check:
    /// such a batch is valid from the start, so that the first ack of each honest validator says so, and a quorum of
    /// acks, of which `f + 1` are honest, settles it under the policy of a quorum. No rule of settlement needs to know
    /// what a batch carries, and nobody can lie about it.
    pub(super) fn add(&mut self, batch: Batch, check: Check, draw: Draw, (now, logged): (Time, Round)) {
        let reference = batch.reference();
        let slot = (reference.author, reference.sequence);
        self.slots.entry(slot).or_insert(reference.id);
        let (mut acked_by, mut valid_by) = (SeatSet::default(), BTreeMap::new());
        let named = self.named.get(&slot).into_iter().flatten();
        for (&by, said) in named.filter(|(_, said)| said.id == reference.id) {
            acked_by.insert(by);
            valid_by.extend(said.valid.map(|round| (by, round)));
        }
        let settled = self.absent.remove(&reference.id);
        let check = if batch.header.content == Content::Opaque { Check::Valid } else { check };
        let held = Held {
            batch,
            durable: false,
            check,
            acked: None,
            acked_by,
            valid_by,
            doubted_by: SeatSet::default(),
            spread: None,
            draw,
            judged: false,
            pushed: now,
            settled,
            logged,
        };
        self.held.entry(reference.id).or_insert(held);
    }

    /// The bytes are durable; `view` is where they stand.
    pub(super) fn durable(&mut self, id: &BatchId, view: Bytes) {
        if let Some(held) = self.held.get_mut(id) {
            if let Some(rebased) = held.batch.rebase(view) {
                held.batch = rebased;
            }
            held.durable = true;
            self.to_ack.insert(held.batch.reference());
        }
    }

    /// The own check ended.
    pub(super) fn checked(&mut self, id: &BatchId, good: bool) {
        if let Some(held) = self.held.get_mut(id) {
            held.check = if good { Check::Valid } else { Check::Invalid };
            self.to_ack.insert(held.batch.reference());
        }
    }

    /// An accepted vertex of a round acks a batch of an open slot, `Held` or `Valid`. Returns who acked it, if its bytes are not
    /// here and this ack is its sender's first of the slot.
    pub(super) fn acked_by(&mut self, ack: &Ack, (by, round): (Seat, Round)) -> Vec<Seat> {
        let Ack { batch, verdict } = *ack;
        let valid = (verdict == Verdict::Valid).then_some(round);
        if let Some(held) = self.held.get_mut(&batch.id) {
            held.acked_by.insert(by);
            if let Some(round) = valid {
                held.valid_by.entry(by).or_insert(round);
            }
            return Vec::new();
        }
        let named = self.named.entry((batch.author, batch.sequence)).or_default();
        let said = named.entry(by).or_insert(Said { id: batch.id, valid });
        if said.id != batch.id {
            return Vec::new();
        }
        said.valid = said.valid.or(valid);
        named.iter().filter(|(_, said)| said.id == batch.id).map(|(&seat, _)| seat).collect()
    }

    /// An accepted vertex says that a batch is invalid.
    pub(super) fn doubted_by(&mut self, id: &BatchId, by: Seat) {
        if let Some(held) = self.held.get_mut(id) {
            held.doubted_by.insert(by);
        }
    }

    /// Acks for the next vertex: of every batch the best verdict that was not said yet. `may` tells whether an ack may
    /// be said now; those ahead of their window wait, the others are let go by [`Batches::forget`].
    pub(super) fn take_acks(&mut self, may: impl Fn(&Ack) -> bool) -> Vec<Ack> {
        let mut acks = Vec::new();
        let mut spoken: BTreeSet<(Seat, Sequence)> = BTreeSet::new();
        let (held, slots) = (&mut self.held, &self.slots);
        self.to_ack.retain(|batch| {
            let Some(state) = held.get_mut(&batch.id) else { return false };
            // Only the first id of a slot is acked: an equivocating author gets one answer.
            let ours = slots.get(&(batch.author, batch.sequence)) == Some(&batch.id);
            if state.settled || !ours {
                return false;
            }
            let fresh = state.verdict().filter(|verdict| state.acked.is_none_or(|said| said < *verdict));
            let Some(verdict) = fresh else { return false };
            let now = may(&Ack { batch: *batch, verdict })
                && acks.len() < ACKS_MAX
                && spoken.insert((batch.author, batch.sequence));
            if now {
                state.acked = Some(verdict);
                acks.push(Ack { batch: *batch, verdict });
            }
            !now
        });
        acks
    }

    /// The vertex that carried these acks will never be output: they are said again.
    pub(super) fn repeat(&mut self, acks: &[Ack]) {
        for ack in acks {
            if let Some(held) = self.held.get_mut(&ack.batch.id).filter(|held| !held.settled) {
                held.acked = None;
                self.to_ack.insert(ack.batch);
            }
        }
    }

    /// What an own vertex of an earlier life said.
    pub(super) fn said(&mut self, ack: &Ack) {
        if let Some(held) = self.held.get_mut(&ack.batch.id) {
            held.acked = held.acked.max(Some(ack.verdict));
            if ack.verdict == Verdict::Valid {
                held.check = Check::Valid;
            }
        }
    }

    /// A block settles it. True if the bytes are here.
    pub(super) fn settle(&mut self, batch: &BatchRef) -> bool {
        self.named.remove(&(batch.author, batch.sequence));
        match self.held.get_mut(&batch.id) {
            Some(held) => {
                held.settled = true;
                true
            }
            None => {
                self.absent.insert(batch.id);
                false
            }
        }
    }

    /// The blocks that wait for execution are given up: nothing is settled that is not executed.
    pub(super) fn leave_behind(&mut self) {
        self.absent.clear();
        self.held.values_mut().for_each(|held| held.settled = false);
    }

    /// How many batches blocks wait for.
    pub(super) fn absent(&self) -> usize {
        self.absent.len()
    }

    /// Whether a block waits for its bytes.
    pub(super) fn is_absent(&self, id: &BatchId) -> bool {
        self.absent.contains(id)
    }

    /// It is executed and its block durable: it stays at hand for a while.
    pub(super) fn executed(&mut self, batch: &BatchRef, height: Height) {
        self.slots.remove(&(batch.author, batch.sequence));
        let Some(held) = self.held.remove(&batch.id) else { return };
        self.to_ack.remove(batch);
        self.recall(held.batch, height);
    }

    /// Keeps an executed batch for peers that are behind, and to be compared with what its author shows later.
    pub(super) fn recall(&mut self, batch: Batch, height: Height) {
        let BatchRef { author, sequence, id } = batch.reference();
        if self.executed.insert(id, batch).is_none() {
            self.oldest.push_back((height, id));
            self.past.entry((author, sequence)).or_insert(id);
        }
        while self.oldest.len() > self.kept {
            self.let_go_oldest();
        }
    }

    fn let_go_oldest(&mut self) {
        let Some((_, oldest)) = self.oldest.pop_front() else { return };
        let Some(BatchRef { author, sequence, id }) = self.executed.remove(&oldest).map(|b| b.reference())
        else {
            return;
        };
        if self.past.get(&(author, sequence)) == Some(&id) {
            self.past.remove(&(author, sequence));
        }
    }

    /// Lets go of batches executed up to a height: what is removed from disk takes room there as long as it is held here.
    pub(super) fn let_go(&mut self, last: Height) {
        while self.oldest.front().is_some_and(|(height, _)| *height <= last) {
            self.let_go_oldest();
        }
    }

    /// The bytes of all batches that are not executed and stand in the log, or are on their way to it, before the first vertex
    /// above a floor. They are to be written again, behind vertices of the round `highest`.
    pub(super) fn logged_up_to(&mut self, floor: Round, highest: Round) -> Vec<Bytes> {
        let old = self.held.values_mut().filter(|held| held.logged <= floor);
        let again = |held: &mut Held| {
            held.logged = highest;
            held.batch.bytes().clone()
        };
        old.map(again).collect()
    }

    /// Lets go of unsettled batches that `dead` says can never settle, and of names likewise; returns the batches.
    pub(super) fn forget(&mut self, dead: impl Fn(Seat, Sequence) -> bool) -> Vec<Batch> {
        let gone: Vec<BatchId> = self
            .held
            .iter()
            .filter(|(_, held)| !held.settled && dead(held.batch.header.author, held.batch.header.sequence))
            .map(|(id, _)| *id)
            .collect();
        self.named.retain(|&(author, sequence), _| !dead(author, sequence));
        let mut batches = Vec::new();
        for id in gone {
            if let Some(held) = self.held.remove(&id) {
                let slot = (held.batch.header.author, held.batch.header.sequence);
                if self.slots.get(&slot) == Some(&id) {
                    self.slots.remove(&slot);
                }
                self.to_ack.remove(&held.batch.reference());
                batches.push(held.batch);
            }
        }
        batches
    }

    /// Unsettled batches whose bytes are here.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = &Held> {
        self.slots.values().filter_map(|id| self.held.get(id)).filter(|held| !held.settled)
    }
}
