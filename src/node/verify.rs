//! Whose turn it is to verify a batch, under the policy of a quorum.
//!
//! - **Upon a batch**: its author and the `f` who are drawn first verify it at once, each passing over those from whom no ack
//!   that counts is to come.
//! - **Upon a batch that a quorum holds and that does not settle**: who comes next verifies it too, after a while that doubles
//!   with each step.
//! - **Upon a drawn validator that has not said that a batch is valid by then**: it is late. Those that are late far more often
//!   than others are passed over at once, at most `f` of them: a liar that only ever says that it holds what is drawn to it
//!   proves nothing against itself, and would have the others wait anew for each batch. Nobody is barred: what it does say
//!   counts, and makes up for what it did not.
//!
//! Each node judges this for itself: it decides who works, and nothing about what is valid.

use super::batches::{Check, Held};
use super::jobs::Job;
use super::{Node, Output};
use crate::consensus::{Draw, draw};
use crate::types::{Ack, BatchId, BatchRef, Policy, Seat, SeatSet, Sequence, Verdict};
use crate::wire::Accusation;

/// So many message delays after a quorum holds a batch that does not settle, the next validator in the draw verifies it
/// too; doubling per step.
const WIDEN_AFTER_DELAYS: u32 = 8;

/// Points for a batch that a drawn validator holds and has not verified in time; each that it does verify in time takes one off.
const LATE_POINTS: u8 = 4;
/// Points where it has not even said that it holds it: it may not have been sent it.
const SILENT_POINTS: u8 = 1;
/// No seat has more points.
const POINTS_MAX: u8 = 32;
/// Nobody with fewer points is passed over.
const PASSED_OVER_FROM: u8 = 8;

/// Who is late with what is drawn to it, as this node sees it.
#[derive(Debug)]
pub(super) struct Lateness {
    points: Vec<u8>,
    faulty_max: usize,
    /// Who is not waited for.
    passed_over: SeatSet,
}

impl Lateness {
    pub(super) fn new(seats: usize, faulty_max: usize) -> Lateness {
        Lateness { points: vec![0; seats], faulty_max, passed_over: SeatSet::default() }
    }

    fn note(&mut self, seat: Seat, change: impl FnOnce(u8) -> u8) {
        let Some(points) = self.points.get_mut(seat.index()) else { return };
        let before = std::mem::replace(points, change(*points).min(POINTS_MAX));
        if before != self.points[seat.index()] {
            self.judge();
        }
    }

    /// The `f` worst, if they are far worse than the next: where all are late nobody is to blame.
    fn judge(&mut self) {
        let mut worst: Vec<(u8, Seat)> = self.points.iter().copied().zip((0..).map(Seat)).collect();
        worst.sort_unstable_by(|a, b| b.cmp(a));
        let others = worst.get(self.faulty_max).map_or(0, |next| next.0);
        let from = PASSED_OVER_FROM + 2 * others;
        self.passed_over = SeatSet::default();
        let far = worst.iter().take(self.faulty_max).filter(|(points, _)| *points >= from);
        far.for_each(|(_, seat)| _ = self.passed_over.insert(*seat));
    }
}

impl Node {
    /// A drawn validator says for the first time that a batch is valid, before it counts as late.
    pub(super) fn note_timely(&mut self, ack: &Ack, by: Seat) {
        let Some(held) = self.batches.get(&ack.batch.id) else { return };
        let first = ack.verdict == Verdict::Valid && !held.valid_by.contains_key(&by);
        if first && !held.judged && held.draw.first.contains(by) {
            self.lateness.note(by, |points| points.saturating_sub(1));
        }
    }

    /// Drawn validators that have not verified what a quorum has held for long are late.
    fn note_late(&mut self) {
        let (accounts, now) = (self.chain.accounts, self.now);
        let wait = self.shared.rules.delay() * WIDEN_AFTER_DELAYS;
        let due = |held: &&Held| {
            let long = held.spread.is_some_and(|since| now >= since + wait);
            long && !held.judged && held.batch.header.accounts <= accounts
        };
        let due: Vec<BatchId> = self.batches.unsettled().filter(due).map(|held| held.batch.id).collect();
        for id in due {
            let Some(held) = self.batches.get_mut(&id) else { continue };
            held.judged = true;
            let silent = |seat: &Seat| !held.valid_by.contains_key(seat) && !held.doubted_by.contains(*seat);
            let late: Vec<(Seat, bool)> = held
                .draw
                .first
                .iter()
                .filter(silent)
                .map(|seat| (seat, held.acked_by.contains(seat)))
                .collect();
            for (seat, holds) in late.into_iter().filter(|(seat, _)| *seat != self.shared.seat) {
                let points = if holds { LATE_POINTS } else { SILENT_POINTS };
                self.lateness.note(seat, |before| before.saturating_add(points));
            }
        }
    }

    pub(super) fn verifies_at_once(&self, held: &Held) -> bool {
        self.observes()
            || self.shared.rules.policy == Policy::All
            || self.rank(held) <= self.shared.committee.faulty_max()
    }

    /// The own place among those who verify a batch. Seats from which no ack that counts is to come are passed over: those that
    /// have been silent for a collection depth; that are shunned, for nobody names their vertices; whose counted ack of the slot
    /// names another id; that say it is invalid, which they have to prove elsewhere; and that are late with what is drawn to them
    /// ([`Lateness`]).
    fn rank(&self, held: &Held) -> usize {
        let (dag, settlement) = (self.consensus.dag(), self.consensus.settlement());
        let (recent, reference) = (dag.highest().back(self.shared.rules.depth), held.batch.reference());
        let comes = |&seat: &Seat| {
            dag.latest(seat) >= recent
                && !dag.shuns(seat)
                && !self.lateness.passed_over.contains(seat)
                && !held.doubted_by.contains(seat)
                && !settlement.counts_another(seat, &reference)
        };
        held.draw.before.iter().filter(comes).count()
    }

    /// Of how many seats the order has counted, or may still count, that a batch is valid. An ack that was accepted is not enough:
    /// a liar's need never be counted, be it that it had acked another id of the slot, or that its vertex is too late to be
    /// output by any leader.
    pub(super) fn valid_or_pending(&self, held: &Held) -> usize {
        let (settlement, reference) = (self.consensus.settlement(), held.batch.reference());
        let output_from = self.chain.last_round.back(self.shared.rules.depth).next();
        let pending = |seat: Seat| {
            held.valid_by.get(&seat).is_some_and(|round| *round >= output_from)
                && !settlement.counts_another(seat, &reference)
                && !self.consensus.dag().shuns(seat)
        };
        let committee = &self.shared.committee;
        committee.iter().filter(|&seat| settlement.counts_valid(seat, &reference) || pending(seat)).count()
    }

    pub(super) fn draw(&self, author: Seat, sequence: Sequence) -> Draw {
        draw(&self.draw_seed, &self.shared.committee, (author, sequence), self.shared.seat)
    }

    /// Has the signatures of a held batch checked, unless that is done, running, pointless, or too early because the
    /// batch names accounts that are not executed here yet.
    pub(super) fn verify(&mut self, id: &BatchId) {
        let (accounts, observes) = (self.chain.accounts, self.observes());
        let Some(held) = self.batches.get_mut(id) else { return };
        if held.check == Check::No && (!held.settled || observes) && held.batch.header.accounts <= accounts {
            held.check = Check::Running;
            self.outputs.push_back(Output::Job(Job::VerifyRows(held.batch.clone())));
        }
    }

    /// Batches that waited for accounts to be executed are verified now.
    pub(super) fn verify_deferred(&mut self) {
        let unchecked = self.batches.unsettled().filter(|held| held.check == Check::No);
        let waiting: Vec<BatchId> =
            unchecked.filter(|held| self.verifies_at_once(held)).map(|held| held.batch.id).collect();
        waiting.iter().for_each(|id| self.verify(id));
    }

    pub(super) fn on_batch_verified(&mut self, batch: BatchRef, bad_row: Option<usize>) {
        self.batches.checked(&batch.id, bad_row.is_none());
        if let (Some(row), Some(held)) = (bad_row, self.batches.get(&batch.id)) {
            // The columns are hashed for it: once for each liar.
            let accusation = Accusation::new(&held.batch, row);
            accusation.into_iter().for_each(|accusation| self.accuse(accusation));
        }
        self.widen();
    }

    /// Notes which batches a quorum holds by now, and verifies one that does not settle though its turn is another's:
    /// one at a time and only while no check runs, so that a queue of late checks does not make everybody verify
    /// everything and the queue longer.
    pub(super) fn widen(&mut self) {
        let (quorum, now) = (self.shared.committee.quorum(), self.now);
        let unchecked = |held: &&Held| held.check == Check::No && held.durable;
        let spread: Vec<BatchId> = self
            .batches
            .unsettled()
            .filter(|held| held.durable && held.spread.is_none() && held.acked_by.count() + 1 >= quorum)
            .map(|held| held.batch.id)
            .collect();
        for id in spread {
            if let Some(held) = self.batches.get_mut(&id) {
                held.spread = Some(now);
            }
        }
        self.note_late();
        if self.batches.unsettled().any(|held| held.check == Check::Running) {
            return;
        }
        let slow = self.batches.unsettled().filter(unchecked).find(|held| self.is_slow(held));
        if let Some(id) = slow.map(|held| held.batch.id) {
            self.verify(&id);
        }
    }

    /// Whether a batch that a quorum holds should have settled by now, had those verified it who come before this node.
    fn is_slow(&self, held: &Held) -> bool {
        let drawn = self.shared.committee.faulty_max() + 1;
        let step = u32::try_from(self.rank(held).saturating_sub(drawn)).unwrap_or(u32::MAX).min(16);
        let wait = self.shared.rules.delay() * WIDEN_AFTER_DELAYS.saturating_mul(1 << step);
        let executed = held.batch.header.accounts <= self.chain.accounts;
        executed
            && self.valid_or_pending(held) < drawn
            && held.spread.is_some_and(|since| self.now >= since + wait)
    }
}
