//! Fetching the settlement record that a certified checkpoint names, from one peer after the other.
//!
//! - **Upon a checkpoint whose block is proved**: its root of the record is known. Ask somebody; who does not answer in time,
//!   or has none, is passed over. Once all were, all have more time if somebody was late, and an answer that is late is taken all the same: it may
//!   be large, and a link slow.
//! - **Upon a record**: it is the one if it hashes to that root. Another one is a lie of who sent it.

use super::Node;
use super::catch_up::{Run, answer_wait, settlement_root};
use crate::consensus::Consensus;
use crate::types::{Height, Root, Seat, SeatSet, Time};
use crate::wire::{Message, decode_record, record_root};
use bytes::Bytes;

/// A settlement record that is being fetched.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) height: Height,
    root: Root,
    asked: Option<(Seat, Time)>,
    passed: SeatSet,
    /// Everybody who was ever asked: what is late is as good.
    ever: SeatSet,
    /// In how many rounds of asking everybody somebody was too late, and whether in the present one.
    late: (u32, bool),
    bytes: Option<Bytes>,
}

impl Record {
    /// The one with this root, which the block of a height names.
    pub(super) fn new(height: Height, root: Root) -> Record {
        let (asked, passed, ever, late, bytes) = Default::default();
        Record { height, root, asked, passed, ever, late, bytes }
    }

    /// Its bytes, once they are here.
    pub(super) fn bytes(&self) -> Option<&Bytes> {
        self.bytes.as_ref()
    }
}

/// Which settlement record of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RecordWanted {
    /// That of its goal.
    Goal,
    /// That of the checkpoint to begin anew at.
    Base,
}

impl Run {
    fn wanted(&mut self, which: RecordWanted) -> Option<&mut Record> {
        match which {
            RecordWanted::Goal => self.record.as_mut(),
            RecordWanted::Base => self.table.record(),
        }
    }
}

impl Node {
    /// Asks for the settlement record of the goal, once its block is proved.
    pub(super) fn fetch_record(&mut self) {
        let Some(run) = &mut self.catch_up.run else { return };
        if run.table.record().is_some_and(|record| record.height == run.goal.height) {
            // It is asked for already, and the run ends there.
            return;
        }
        let last = run.proved.back().filter(|last| last.block.height == run.goal.height);
        let Some(last) = last.filter(|_| run.top == run.goal.height) else { return };
        if run.record.as_ref().is_none_or(|record| record.height != last.block.height) {
            let Some(root) = settlement_root(last) else { return };
            run.record = Some(Record::new(last.block.height, root));
        }
        self.ask_record(RecordWanted::Goal);
    }

    /// Asks somebody for a settlement record that is not here, unless somebody was asked just now.
    pub(super) fn ask_record(&mut self, which: RecordWanted) {
        let (delay, now) = (self.shared.rules.delay(), self.now);
        let peers = self.sources();
        let wanted = self.catch_up.run.as_mut().and_then(|run| run.wanted(which));
        let Some(record) = wanted.filter(|record| record.bytes.is_none()) else { return };
        if let Some((seat, due)) = record.asked {
            if due > now && peers.contains(&seat) {
                return;
            }
            record.passed.insert(seat);
            record.asked = None;
            record.late.1 |= due <= now;
        }
        let open: Vec<Seat> = peers.iter().filter(|seat| !record.passed.contains(**seat)).copied().collect();
        let Some(&seat) = open.get(self.dice.below(open.len())) else {
            record.passed = SeatSet::default();
            record.late = (record.late.0 + u32::from(record.late.1), false);
            return;
        };
        record.asked = Some((seat, now + answer_wait(delay, record.late.0)));
        record.ever.insert(seat);
        let height = record.height;
        self.send(seat, Message::WantRecord(height));
    }

    pub(super) fn on_record(&mut self, from: Seat, height: Height, bytes: Bytes) {
        [RecordWanted::Goal, RecordWanted::Base].into_iter().for_each(|which| {
            self.take_given_record(which, from, height, &bytes);
        });
    }

    fn take_given_record(&mut self, which: RecordWanted, from: Seat, height: Height, bytes: &Bytes) {
        let asked = |record: &&mut Record| record.height == height && record.ever.contains(from);
        let wanted = self.catch_up.run.as_mut().and_then(|run| run.wanted(which));
        let Some(record) = wanted.filter(asked) else { return };
        if record.bytes.is_some() {
            return;
        }
        record.asked = record.asked.filter(|(seat, _)| *seat != from);
        record.passed.insert(from);
        if bytes.is_empty() {
            return;
        }
        if record_root(bytes) != record.root {
            return self.misbehaved(from, "a settlement record that its checkpoint does not name");
        }
        let fits = decode_record(bytes)
            .is_ok_and(|fits| Consensus::from_record(&self.genesis, &fits, self.shared.seat.taken()).is_ok());
        if fits {
            record.bytes = Some(bytes.clone());
        }
    }
}
