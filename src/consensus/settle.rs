//! Counting acks in the output order: which batches settle in which block.

use crate::types::{
    Ack, AuthorRecord, BatchId, BatchRef, Committee, Policy, Seat, SeatSet, Sequence, SlotRecord, Verdict,
};
use crate::wire::SignedVertex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The acks of one batch slot.
#[derive(Debug, Default)]
struct Slot {
    /// The first id of each validator's `Held` and `Valid` acks in output order; no other of its acks counts.
    fixed: BTreeMap<Seat, BatchId>,
    tallies: BTreeMap<BatchId, Tally>,
}

impl Slot {
    fn restored(record: &SlotRecord) -> Slot {
        let mut slot = Slot::default();
        for (id, acks) in &record.acks {
            let tally = slot.tallies.entry(*id).or_default();
            for (seat, verdict) in acks {
                slot.fixed.insert(*seat, *id);
                tally.held.insert(*seat);
                if *verdict == Verdict::Valid {
                    tally.valid.insert(*seat);
                }
            }
        }
        slot
    }
}

#[derive(Debug, Default)]
struct Tally {
    held: SeatSet,
    valid: SeatSet,
}

#[derive(Debug, Default)]
struct Author {
    /// The highest settled sequence as of the previous block.
    highest: u64,
    /// Settled sequences inside the window.
    settled: BTreeSet<u64>,
    slots: BTreeMap<u64, Slot>,
}

/// The acks counted so far. A pure function of the outputs.
#[derive(Debug)]
pub struct Settlement {
    window: u64,
    quorum: usize,
    valid_needed: usize,
    authors: Vec<Author>,
}

impl Settlement {
    /// Nothing settled yet.
    pub fn new(committee: &Committee, policy: Policy, window: u64) -> Settlement {
        let valid_needed = match policy {
            Policy::All => committee.quorum(),
            Policy::Quorum => committee.faulty_max() + 1,
        };
        let authors = committee.iter().map(|_| Author::default()).collect();
        Settlement { window, quorum: committee.quorum(), valid_needed, authors }
    }

    /// Counts the acks of one leader's output and returns what settles, in the order in which the last needed ack was
    /// output. Windows move only afterwards, so that acks inside one output cannot move them.
    pub fn count(&mut self, output: &[Arc<SignedVertex>]) -> Vec<BatchRef> {
        let mut settled = Vec::new();
        for signed in output {
            for ack in &signed.vertex.acks {
                if self.count_ack(signed.vertex.author, ack) {
                    settled.push(ack.batch);
                }
            }
        }
        for batch in &settled {
            let author = &mut self.authors[batch.author.index()];
            author.highest = author.highest.max(batch.sequence.0);
        }
        let window = self.window;
        for author in &mut self.authors {
            let dead = author.highest.saturating_sub(window);
            author.settled = author.settled.split_off(&(dead + 1));
            author.slots = author.slots.split_off(&(dead + 1));
        }
        settled
    }

    /// Whether an ack on this slot can count: `(h - W, h + 2W]`, not settled.
    pub fn open(&self, author: Seat, sequence: Sequence) -> bool {
        let Some(state) = self.authors.get(author.index()) else { return false };
        self.in_window(state, sequence.0) && !state.settled.contains(&sequence.0)
    }

    /// The highest settled sequence of an author, as of the last block; 0 of who has no seat.
    pub fn highest(&self, author: Seat) -> Sequence {
        Sequence(self.authors.get(author.index()).map_or(0, |author| author.highest))
    }

    /// Up to which sequence an author's batches may be about, as far as the order tells: a window above the highest settled one,
    /// and whatever the author's own counted acks name. It never falls.
    pub fn reserved(&self, author: Seat) -> Sequence {
        let Some(state) = self.authors.get(author.index()) else { return Sequence(0) };
        let named = state.slots.iter().rev().find(|(_, slot)| slot.fixed.contains_key(&author));
        let named = named.map_or(0, |(sequence, _)| *sequence);
        Sequence(state.highest.saturating_add(self.window).max(named))
    }

    /// Whether a slot lies below its author's window: it can never settle any more.
    pub fn dead(&self, author: Seat, sequence: Sequence) -> bool {
        let state = &self.authors[author.index()];
        sequence.0.saturating_add(self.window) <= state.highest && !state.settled.contains(&sequence.0)
    }

    /// Whether a seat's ack that a batch is valid is counted, and it has not settled.
    pub fn counts_valid(&self, seat: Seat, batch: &BatchRef) -> bool {
        self.slot(batch)
            .and_then(|slot| slot.tallies.get(&batch.id))
            .is_some_and(|tally| tally.valid.contains(seat))
    }

    /// Whether no ack of a seat on a batch will ever count, for its first of the slot names another id.
    pub fn counts_another(&self, seat: Seat, batch: &BatchRef) -> bool {
        self.slot(batch).and_then(|slot| slot.fixed.get(&seat)).is_some_and(|id| *id != batch.id)
    }

    fn slot(&self, batch: &BatchRef) -> Option<&Slot> {
        self.authors.get(batch.author.index())?.slots.get(&batch.sequence.0)
    }

    /// Whether any slot has a counted ack and has not settled.
    pub fn anything_open(&self) -> bool {
        self.authors.iter().any(|author| !author.slots.is_empty())
    }

    /// What is counted, author by author.
    pub(super) fn record(&self) -> Vec<AuthorRecord> {
        let slot = |(sequence, slot): (&u64, &Slot)| {
            let verdict = |tally: &Tally, seat| {
                if tally.valid.contains(seat) { Verdict::Valid } else { Verdict::Held }
            };
            let acks = slot.tallies.iter().map(|(id, tally)| {
                (*id, tally.held.iter().map(|seat| (seat, verdict(tally, seat))).collect())
            });
            SlotRecord { sequence: Sequence(*sequence), acks: acks.collect() }
        };
        let author = |author: &Author| AuthorRecord {
            highest: Sequence(author.highest),
            settled: author.settled.iter().fold(0, |bits, settled| bits | 1 << (author.highest - settled)),
            slots: author.slots.iter().map(slot).collect(),
        };
        self.authors.iter().map(author).collect()
    }

    /// Goes on from what a record says, author by author.
    ///
    /// # Errors
    /// What does not fit the window.
    pub(super) fn restore(&mut self, authors: &[AuthorRecord]) -> Result<(), &'static str> {
        for (seat, record) in authors.iter().enumerate() {
            let highest = record.highest.0;
            let mut author = Author { highest, ..Author::default() };
            for below in (0..64).filter(|below| record.settled & (1 << below) != 0) {
                if below >= self.window || below >= highest {
                    return Err("a settled batch lies outside of its author's window");
                }
                author.settled.insert(highest - below);
            }
            for slot in &record.slots {
                let sequence = slot.sequence.0;
                if !self.in_window(&author, sequence) || author.settled.contains(&sequence) {
                    return Err("acks of a batch that lies outside of its author's window");
                }
                author.slots.insert(sequence, Slot::restored(slot));
            }
            self.authors[seat] = author;
        }
        Ok(())
    }

    fn in_window(&self, author: &Author, sequence: u64) -> bool {
        sequence > 0
            && sequence.saturating_add(self.window) > author.highest
            && sequence <= author.highest.saturating_add(2 * self.window)
    }

    /// Counts one ack; true if its batch settles by it.
    fn count_ack(&mut self, from: Seat, ack: &Ack) -> bool {
        let BatchRef { author, sequence, id } = ack.batch;
        if ack.verdict == Verdict::Invalid || !self.open(author, sequence) {
            return false;
        }
        let (quorum, valid_needed) = (self.quorum, self.valid_needed);
        let state = &mut self.authors[author.index()];
        let slot = state.slots.entry(sequence.0).or_default();
        if *slot.fixed.entry(from).or_insert(id) != id {
            return false;
        }
        let tally = slot.tallies.entry(id).or_default();
        tally.held.insert(from);
        if ack.verdict == Verdict::Valid {
            tally.valid.insert(from);
        }
        let settles = tally.held.count() >= quorum && tally.valid.count() >= valid_needed;
        if settles {
            state.slots.remove(&sequence.0);
            state.settled.insert(sequence.0);
        }
        settles
    }
}
