//! Batches: sealing one's own, taking others', acking, fetching.

use super::batches::Check;
use super::jobs::{BatchError, Job};
use super::serve::REPLY_BYTES_MAX;
use super::{Node, OnDisk, Output, Wanted};
use crate::store::RecordKind;
use crate::types::params::{
    ACCOUNTS_AHEAD_MAX, ROWS_MAX, SEAL_AGE_BLOBS_MAX, SEAL_AGE_MAX, UNCOMMITTED_BYTES_MAX,
};
use crate::types::{Ack, BatchId, BatchRef, Content, Effect, Round, Seat, SeatSet, Sequence, Time, Verdict};
use crate::wire::{Batch, Evidence, Message, SignedHeader};
use bytes::Bytes;

/// So many of the batches that the lowest blocks wait for are noted again at a time.
const ABSENT_AGAIN: usize = 1024;

impl Node {
    /// When rows must be sealed, if there are any and they may be.
    pub(super) fn seal_due(&self) -> Option<Time> {
        let since = self.rows_since?;
        let (full, age_max) = match self.shared.rules.content {
            Content::Rows => (self.shared.mempool.len() >= ROWS_MAX as usize, SEAL_AGE_MAX),
            Content::Opaque => (self.shared.blobs.is_full(), SEAL_AGE_BLOBS_MAX),
        };
        self.may_seal().then(|| if full { self.now } else { since + age_max })
    }

    /// An author keeps at most a window of batches outstanding, none beyond what others would count: that is two windows
    /// above the highest settled one. The second of them is for who lost its records, one batch at a time: so it has a
    /// number left after many a loss.
    fn may_seal(&self) -> bool {
        let window = self.shared.rules.window;
        let highest = self.consensus.settlement().highest(self.shared.seat).0;
        let first = highest.saturating_add(window);
        let next = self.next_sequence.0;
        !self.sealing
            && self.start.signs()
            && !self.catch_up.is_behind()
            && (self.outstanding.len() as u64) < window
            && (next <= first || self.outstanding.keys().all(|sequence| sequence.0 <= first))
            && next <= first.saturating_add(window)
            && self.consensus.dag().uncommitted_bytes() <= UNCOMMITTED_BYTES_MAX
    }

    /// Whether others may see a batch. One's own only once the order tells whoever forgets it that its number is used.
    pub(super) fn may_show(&self, batch: &Batch) -> bool {
        let BatchRef { author, sequence, .. } = batch.reference();
        author != self.shared.seat || sequence <= self.consensus.settlement().reserved(author)
    }

    pub(super) fn seal_if_due(&mut self) {
        if self.nothing_to_seal() {
            self.rows_since = None;
            return;
        }
        self.rows_since.get_or_insert(self.now);
        if self.seal_due().is_none_or(|due| due > self.now) {
            return;
        }
        match self.shared.rules.content {
            Content::Rows => self.seal_rows(),
            Content::Opaque => self.seal_blobs(),
        }
        self.rows_since = (!self.nothing_to_seal()).then_some(self.now);
    }

    fn nothing_to_seal(&self) -> bool {
        match self.shared.rules.content {
            Content::Rows => self.shared.mempool.is_empty(),
            Content::Opaque => self.shared.blobs.is_empty(),
        }
    }

    fn seal_blobs(&mut self) {
        if let Some(blobs) = self.shared.blobs.take() {
            let sequence = self.begin_seal();
            self.outputs.push_back(Output::Job(Job::SealBlobs { sequence, blobs }));
        }
    }

    fn seal_rows(&mut self) {
        let ledger = &self.shared.ledger;
        let rows = ledger.read(|accounts| {
            let keep = |effect: &Effect| {
                let account = accounts.get(effect.from.get() as usize);
                // Rows of an own batch that peers gave back may name accounts that are not executed here yet.
                let knows = (effect.to.get() as usize) < accounts.len();
                knows
                    && account.is_some_and(|a| {
                        a.accepts(effect.nonce.get()) && a.balance.get() >= effect.fee.get().into()
                    })
            };
            self.shared.mempool.take(ROWS_MAX as usize, &keep)
        });
        if rows.effects.is_empty() {
            return;
        }
        // Read after the rows were taken: every account that they name exists, or they were let go.
        let accounts = self.shared.ledger.len();
        let sequence = self.begin_seal();
        self.outputs.push_back(Output::Job(Job::Seal { sequence, accounts, rows }));
    }

    fn begin_seal(&mut self) -> Sequence {
        let sequence = self.next_sequence;
        self.next_sequence = Sequence(sequence.0 + 1);
        self.sealing = true;
        sequence
    }

    pub(super) fn on_sealed(&mut self, batch: Batch) {
        self.sealing = false;
        self.stirred = self.now;
        self.outstanding.insert(batch.header.sequence, batch.id);
        self.guard_batch(batch.header.sequence);
        self.keep(batch, Check::Valid);
    }

    /// Takes a checked batch in and sends it to disk; it is valid from the start if it was sealed here.
    fn keep(&mut self, batch: Batch, check: Check) {
        let (id, bytes) = (batch.id, batch.bytes().clone());
        let draw = self.draw(batch.header.author, batch.header.sequence);
        self.batches.add(batch, check, draw, (self.now, self.keeping.highest));
        if check == Check::Valid {
            self.persist_own(RecordKind::Batch, bytes, Some(OnDisk::Batch(id)));
        } else {
            self.persist(RecordKind::Batch, bytes, Some(OnDisk::Batch(id)));
        }
    }

    pub(super) fn on_batch_durable(&mut self, id: &BatchId, view: Bytes) {
        self.batches.durable(id, view);
        let Some(batch) = self.batches.get(id).map(|held| held.batch.clone()) else { return };
        let shown = self.may_show(&batch);
        let Some(held) = self.batches.get_mut(id) else { return };
        // What is held back is pushed by the first regular look that finds it may be.
        held.pushed = if shown { self.now } else { Time(0) };
        // One that came back when it was settled is on everybody's disk.
        if held.batch.header.author == self.shared.seat && !held.settled && shown {
            self.outputs.push_back(Output::Broadcast(Message::Batch(batch)));
        }
    }

    pub(super) fn on_batch(&mut self, from: Seat, batch: Batch) {
        let (header, reference) = (&batch.header, batch.reference());
        let committee = &self.shared.committee;
        if header.epoch != committee.epoch || !committee.has(header.author) {
            return self.misbehaved(from, "a batch of another epoch or without a seat");
        }
        if self.batches.has(&batch.id) || self.checking_batches.contains(&(from, batch.id)) {
            return;
        }
        let wanted = self.needs(&reference);
        let taken = self.batches.slot(header.author, header.sequence).is_some();
        let open = self.consensus.settlement().open(header.author, header.sequence);
        let near = header.accounts <= self.chain.accounts.saturating_add(ACCOUNTS_AHEAD_MAX);
        // A second batch of a slot is looked at once, executed or not: it proves that its author lies.
        let known = self.batches.known(header.author, header.sequence);
        let twin = known.is_some_and(|known| known.id != batch.id) && !self.court.is_convicted(header.author);
        // What carries the own name and is not here is taken only where its loss was found.
        let unasked = header.author != self.shared.seat && !taken && open && near;
        if !wanted && !unasked && !twin {
            return;
        }
        self.checking_batches.insert((from, batch.id));
        self.outputs.push_back(Output::Job(Job::CheckBatch { from, batch }));
    }

    pub(super) fn on_batch_checked(&mut self, from: Seat, batch: Batch, result: Result<(), BatchError>) {
        self.checking_batches.remove(&(from, batch.id));
        if let Err(BatchError { reason, signed }) = result {
            // Who signed the header signed two batches, whatever came along with it and whoever brought it.
            if signed {
                self.compare_slot(&batch);
            }
            return self.misbehaved(from, reason);
        }
        let reference = batch.reference();
        let wanted = self.needs(&reference);
        let (author, sequence) = (reference.author, reference.sequence);
        self.compare_slot(&batch);
        let open = self.consensus.settlement().open(author, sequence);
        let here = self.batches.has(&reference.id);
        if here || !wanted && (!open || self.batches.slot(author, sequence).is_some()) {
            return;
        }
        self.want_batches.got(&reference);
        self.stirred = self.now;
        if author == self.shared.seat {
            self.used(sequence);
        }
        // While blocks are adopted, agreement does not know what they settled.
        if author == self.shared.seat && open && !self.batches.is_absent(&reference.id) {
            self.outstanding.insert(sequence, reference.id);
        }
        self.keep(batch, Check::No);
        if self.batches.get(&reference.id).is_some_and(|held| self.verifies_at_once(held)) {
            self.verify(&reference.id);
        }
    }

    /// Whether it was asked for, or would be if there were room.
    fn needs(&self, batch: &BatchRef) -> bool {
        self.want_batches.wants(batch) || self.batches.is_absent(&batch.id)
    }

    /// Two batches of one slot, both with good headers, prove that their author lies.
    pub(super) fn compare_slot(&mut self, batch: &Batch) {
        if let Some(known) = self.batches.known(batch.header.author, batch.header.sequence) {
            let evidence = Evidence::of_batches(&SignedHeader::of(known), &SignedHeader::of(batch));
            self.found(evidence);
        }
    }

    /// How many of these seats' acks will count.
    fn counted(&self, seats: &SeatSet) -> usize {
        seats.iter().filter(|&seat| !self.consensus.dag().shuns(seat)).count()
    }

    /// Another validator's accepted vertex of a round acks a batch. What f + 1 validators hold and this one lacks is fetched,
    /// unless the push that is probably under way brings it first.
    pub(super) fn note_ack(&mut self, ack: &Ack, (by, round): (Seat, Round)) {
        let batch = ack.batch;
        if ack.verdict == Verdict::Invalid {
            self.batches.doubted_by(&batch.id, by);
        }
        let relevant = ack.verdict != Verdict::Invalid
            && by != self.shared.seat
            && self.consensus.settlement().open(batch.author, batch.sequence);
        if !relevant {
            return;
        }
        let enough = self.shared.committee.faulty_max() + 1;
        self.note_timely(ack, by);
        let holders = self.batches.acked_by(ack, (by, round));
        let other = self.batches.slot(batch.author, batch.sequence).is_some_and(|id| id != batch.id);
        if other && !holders.is_empty() && !self.court.is_convicted(batch.author) {
            // Who says so holds a second batch of this slot: with it, its author's lie is proven.
            self.want_batches.want(batch, by, by, self.now + self.shared.rules.delay());
        }
        if holders.len() == 1 {
            self.stirred = self.now;
        }
        if holders.len() >= enough {
            if batch.author == self.shared.seat {
                self.used(batch.sequence);
            }
            // Nobody pushes it to an observer.
            let wait = if self.observes() { 0 } else { 4 };
            let due = self.now + self.shared.rules.delay() * wait;
            holders
                .into_iter()
                .for_each(|holder| _ = self.want_batches.want(batch, batch.author, holder, due));
            if self.observes() {
                self.ask();
            }
        }
    }

    /// A batch of one's own is about with this number. If nothing here knows of it, the records were lost.
    pub(super) fn used(&mut self, sequence: Sequence) {
        if sequence >= self.next_sequence {
            self.lost_own();
            self.next_sequence = self.next_sequence.max(Sequence(sequence.0.saturating_add(1)));
        }
    }

    /// The records were lost, and nobody can say which numbers are used. It goes on above all that may be, where others
    /// still count; what the others hold comes back from them.
    pub(super) fn lost_own(&mut self) {
        let reserved = self.consensus.settlement().reserved(self.shared.seat);
        self.next_sequence = self.next_sequence.max(Sequence(reserved.0.saturating_add(1)));
    }

    /// A settled batch that is not here holds up the chain; a push may still be under way.
    pub(super) fn want_settled(&mut self, batch: BatchRef) {
        if batch.author == self.shared.seat {
            self.used(batch.sequence);
        }
        let due = self.now + self.shared.rules.delay();
        self.want_for_the_chain(batch, due);
    }

    /// What the chain needs is wanted whatever else is wanted in the name of its author, who may have filled its share with
    /// things that do not exist: then it is wanted in the own name.
    fn want_for_the_chain(&mut self, batch: BatchRef, due: Time) {
        let author = batch.author;
        if !self.want_batches.want(batch, author, author, due) {
            self.want_batches.want(batch, self.shared.seat, author, due);
        }
    }

    /// The lowest blocks that wait for bytes name them again: there was no room for all of them at once.
    pub(super) fn want_absent_batches(&mut self) {
        if self.batches.absent() == 0 {
            return;
        }
        let due = self.now + self.shared.rules.delay();
        let absent = self.chain.to_execute().filter(|batch| self.batches.is_absent(&batch.id));
        let absent: Vec<BatchRef> = absent.take(ABSENT_AGAIN).copied().collect();
        absent.into_iter().for_each(|batch| self.want_for_the_chain(batch, due));
    }

    /// A batch of an adopted block that is not here: nobody pushes it any more.
    pub(super) fn want_adopted(&mut self, batch: BatchRef) {
        if batch.author == self.shared.seat {
            self.used(batch.sequence);
        }
        self.want_for_the_chain(batch, self.now);
    }

    /// Lets go of what can never settle. Rows of one's own go back to the mempool and are sealed again.
    pub(super) fn forget_dead(&mut self) {
        let settlement = self.consensus.settlement();
        let dead = self.batches.forget(|author, sequence| settlement.dead(author, sequence));
        for batch in dead.iter().filter(|batch| batch.header.author == self.shared.seat) {
            self.outstanding.remove(&batch.header.sequence);
            match batch.header.content {
                Content::Rows => self.homes.let_go += self.shared.mempool.put_back(batch.rows()) as u64,
                Content::Opaque => self.shared.blobs.put_back(batch),
            }
        }
        let (settlement, absent) = (self.consensus.settlement(), &self.batches);
        self.want_batches.retain(|b| settlement.open(b.author, b.sequence) || absent.is_absent(&b.id));
    }

    /// Pushes own batches again to whom has not acked them, until a quorum has.
    pub(super) fn push_again(&mut self) {
        let delay = self.shared.rules.delay();
        let (me, quorum, now) = (self.shared.seat, self.shared.committee.quorum(), self.now);
        let stale: Vec<BatchId> = self
            .batches
            .unsettled()
            .filter(|h| h.durable && h.batch.header.author == me && self.counted(&h.acked_by) + 1 < quorum)
            .filter(|h| now >= h.pushed + delay * 4 && self.may_show(&h.batch))
            .map(|h| h.batch.id)
            .collect();
        for id in stale {
            let Some(held) = self.batches.get_mut(&id) else { continue };
            held.pushed = now;
            let (batch, acked_by) = (held.batch.clone(), held.acked_by.clone());
            let lacking: Vec<Seat> = self.connected.iter().filter(|&seat| !acked_by.contains(seat)).collect();
            lacking.into_iter().for_each(|seat| self.send(seat, Message::Batch(batch.clone())));
        }
    }

    pub(super) fn serve_batches(&mut self, to: Seat, wanted: &[BatchRef]) {
        // What is not at hand and cannot settle any more may be on disk.
        let settlement = self.consensus.settlement();
        let committee = &self.shared.committee;
        let old = |b: &&BatchRef| {
            committee.has(b.author) && !self.batches.has(&b.id) && !settlement.open(b.author, b.sequence)
        };
        let old: Vec<BatchRef> = wanted.iter().filter(old).copied().collect();
        let found = wanted.iter().filter_map(|b| self.batches.at_hand(&b.id));
        let found = found.filter(|batch| self.may_show(batch)).cloned();
        let mut room = REPLY_BYTES_MAX;
        let fits = found.take_while(|batch| {
            let before = room;
            room = room.saturating_sub(batch.bytes().len());
            before > 0
        });
        let batches: Vec<Batch> = fits.collect();
        batches.into_iter().for_each(|batch| self.send(to, Message::Batch(batch)));
        if !old.is_empty() {
            self.serve(to, Wanted::Batches(old));
        }
    }

    /// What is not in memory is read from disk, and does not come back here.
    pub(super) fn serve(&mut self, to: Seat, wanted: Wanted) {
        self.outputs.push_back(Output::Serve { to, wanted });
    }
}
