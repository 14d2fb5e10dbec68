//! Home: who seals whose rows, so that a row which is sent to `n` nodes is not sealed `n` times for one fee.
//!
//! The *rank* of a seat for an account is its place after the account's home ([`Committee::home_rank`]). A row is sealed by its
//! home, and by those of rank 1 to `f` only if it does not settle.
//!
//! - **Upon a client's row that was admitted**: at rank 0 it waits to be sealed. If this node cannot sign at present, its turn
//!   is passed over like that of a node which is not connected, until it can. Else it is handed on at once to the home and
//!   held, not to be sealed, for [`HOME_WAIT_DELAYS`]. Within that time it is offered [`HOME_OFFERS`] times: a home that is a
//!   block behind may not know the account or its nonce yet, and one that is full has room later.
//! - **Upon the end of that wait**: the next in rank has its turn, likewise; whoever is not connected, or is convicted, is
//!   passed over. When it is this seat's own, the row waits to be sealed here, behind what waits already. After the `f`-th it is
//!   let go, and so is a row for which nobody was connected all the time: its client sends it again.
//! - **Upon an executed row**, whoever sealed it: a copy is held no longer, and its fee and nonce are free
//!   ([`super::jobs::ExecuteJob`]).
//! - **Upon rows that a validator hands on**: they are admitted like a client's, as far as this seat's rank is `f` or lower, the
//!   row is not in flight here, its fee is covered, and there is room. At rank 0 they are sealed; above it they are held for
//!   [`HOME_GRACE_STEPS`] first, unless nobody before is connected: else one validator would have all that the others seal
//!   sealed `f` times more, by handing on the rows of their batches. They are never handed on again.
//! - **Upon the turn of homes**: what is under way goes on by the order in which it began; the seats of the turn before still
//!   take it for a while.
//! - **Upon a row that no honest validator hands on**, malformed or with a bad signature: its sender has misbehaved, and is not
//!   taken from any more for ten minutes. It proves nothing to others, for a row carries no signature of who hands it on.
//! - **Upon an observer or a guest**: neither hands on, nor is taken from.
//! - **Upon a restart**: rows that wait or are held are lost, here as there: their clients send again.
//!
//! Why that is enough: of a home and the next `f` one is honest, so a row that a client gave to one honest node comes to an honest
//! seat that may seal it after `f` waits at the latest; and honest seats of other ranks never seal it, so there are `f + 1`
//! copies at most (one more if its seats change meanwhile), and one where nothing is wrong. It is no promise: where all of them
//! are full or far behind, the row waits or is let go, and its client sends it again. Rows that wait to be sealed when a node
//! falls behind wait until it has caught up. The wait is several times what settling takes. Should all be so slow that
//! it passes, a second copy queues behind a backlog, and is let go there if the first is executed meanwhile: so more waiting
//! does not make more work without bound. A copy that settles late has no effect, and no fee: the nonce is used.
//!
//! It is a rule of mempools, not of validity: who breaks it seals what it could have invented.
//!
//! Bounds: each validator may have 4,096 rows here unchecked, which are checked as one batch, one at a time, so
//! that a bad one costs its own sender; what is more is passed over, since the sender keeps its copy and offers it again. In the
//! mempool each has a share that neither clients nor other validators can take ([`crate::mempool`]).
//!
//! [`Committee::home_rank`]: crate::types::Committee::home_rank

use super::ingress::TakenOver;
use super::jobs::Job;
use super::{Node, Output};
use crate::mempool::{Entry, Fate, Held, Taken};
use crate::types::params::{HOME_GRACE_STEPS, HOME_OFFERS, HOME_TURN, HOME_WAIT_DELAYS};
use crate::types::{Content, Height, Seat, Time};
use crate::wire::Message;
use crate::wire::Rows;
use crate::wire::client::{SUBMIT_ROWS_MAX, Submission};
use std::collections::BTreeMap;
use std::time::Duration;

/// Rows that one validator handed on and that are not checked, at most: 512 KiB. More are passed over.
pub(super) const HANDED_ROWS_MAX: usize = 4 * SUBMIT_ROWS_MAX;
/// For how long nothing is taken over from a validator that handed on what no honest one does: it cost a batch of checks.
pub(super) const DEAF_FOR: Duration = Duration::from_secs(600);

/// What is under way between validators.
#[derive(Default)]
pub(super) struct Homes {
    handed: BTreeMap<Seat, Handed>,
    /// Rows that others handed on and that found no place here, since the start.
    pub(super) passed_over: u64,
    /// Rows of clients that were not executed in time, since the start.
    pub(super) let_go: u64,
}

/// What one validator has handed on.
#[derive(Default)]
struct Handed {
    waiting: Vec<Submission>,
    /// Rows that wait to be checked or are being checked.
    rows: usize,
    checking: bool,
    deaf_until: Time,
}

impl Node {
    /// Rows that validators handed on and that are not checked.
    pub(super) fn handed_rows(&self) -> usize {
        self.homes.handed.values().map(|handed| handed.rows).sum()
    }

    /// When the next row that is first for others wants to be looked at.
    pub(super) fn hand_on_due(&self) -> Option<Time> {
        Some(self.shared.mempool.due()).filter(|due| *due < Time(u64::MAX))
    }

    /// Hands on what clients brought for others, and what others did not settle in time.
    pub(super) fn hand_on_if_due(&mut self) {
        if self.shared.mempool.due() > self.now {
            return;
        }
        let (me, committee) = (self.shared.seat, &self.shared.committee);
        let executed = self.chain.executed_height();
        let (last, can_seal) = (committee.faulty_max(), self.can_seal());
        // What a convicted one seals nobody acks.
        let others = |seat| self.connected.contains(seat) && !self.court.is_convicted(seat);
        let until = self.now + self.shared.rules.delay() * (HOME_WAIT_DELAYS / u32::from(HOME_OFFERS));
        let mut parcels: BTreeMap<Seat, Vec<Taken>> = BTreeMap::new();
        let let_go = self.shared.mempool.pass_on(self.now, &mut |entry, from, held| {
            let held = Held { until, waits: held.waits + 1, ..held };
            let account = entry.effect.sender();
            if from != Seat::NONE {
                let mut before = (0..committee.home_rank(account, executed, me))
                    .map(|rank| committee.home_at(account, executed, rank));
                let waits = held.waits <= HOME_GRACE_STEPS && before.any(others);
                return if waits { Fate::Hold(held) } else { Fate::Seal };
            }
            let turn = if held.waits == 1 { (executed.0 / HOME_TURN) as u32 } else { held.turn };
            let height = Height(u64::from(turn) * HOME_TURN);
            let mine = committee.home_rank(account, height, me);
            let first = usize::from(held.rank) + usize::from(held.offers >= HOME_OFFERS);
            // Also if its turn was passed over, because this node could not sign.
            if can_seal && mine <= first.min(last) {
                return Fate::Seal;
            }
            // One wait more than there are turns, should nobody be connected at first.
            if first > last || usize::from(held.waits) > usize::from(HOME_OFFERS) * (last + 2) {
                return Fate::LetGo;
            }
            let mut turns = (first..=last).map(|rank| (rank, committee.home_at(account, height, rank)));
            let there = |seat| if seat == me { can_seal } else { others(seat) };
            match turns.find(|(_, seat)| there(*seat)) {
                Some((_, seat)) if seat == me => Fate::Seal,
                Some((rank, seat)) => {
                    add(parcels.entry(seat).or_default(), entry);
                    let offers = if rank == usize::from(held.rank) { held.offers + 1 } else { 1 };
                    Fate::Hold(Held { turn, rank: rank as u16, offers, ..held })
                }
                // It may seal the row itself, once it can sign; so long as nobody else is there, that is waited for.
                None if mine <= last => Fate::Hold(Held { turn, waits: held.waits.min(2), ..held }),
                None => Fate::Hold(Held { turn, ..held }),
            }
        });
        self.homes.let_go += let_go as u64;
        for (to, parcels) in parcels {
            for Taken { effects, keys, witnesses } in parcels {
                let rows = Rows { effects: &effects, keys: &keys, witnesses: &witnesses };
                Submission::pack(rows).into_iter().for_each(|rows| self.send(to, Message::Rows(rows)));
            }
        }
    }

    /// Whether this node could sign a batch of its own. Who cannot leaves the rows to the next in rank.
    pub(super) fn can_seal(&self) -> bool {
        !self.observes() && self.start.signs() && !self.catch_up.is_behind()
    }

    /// A peer hands rows on.
    pub(super) fn on_rows(&mut self, from: Seat, rows: Submission) {
        let (count, now) = (rows.rows().len(), self.now);
        if !self.can_seal() || !self.shared.committee.has(from) {
            self.homes.passed_over += count as u64;
            return;
        }
        if self.shared.rules.content != Content::Rows {
            return self.misbehaved(from, "handed on rows in a chain of blobs");
        }
        let handed = self.homes.handed.entry(from).or_default();
        if now < handed.deaf_until || handed.rows + count > HANDED_ROWS_MAX {
            self.homes.passed_over += count as u64;
            return;
        }
        handed.rows += count;
        handed.waiting.push(rows);
        self.take_over(from);
    }

    /// Has a peer's rows checked, unless some are.
    fn take_over(&mut self, from: Seat) {
        let Some(handed) = self.homes.handed.get_mut(&from) else { return };
        if !handed.checking && !handed.waiting.is_empty() {
            handed.checking = true;
            let submissions = std::mem::take(&mut handed.waiting);
            self.outputs.push_back(Output::Job(Job::TakeOver { from, submissions }));
        }
    }

    pub(super) fn on_taken_over(&mut self, taken: &TakenOver) {
        let Some(handed) = self.homes.handed.get_mut(&taken.from) else { return };
        handed.checking = false;
        handed.rows -= taken.rows;
        self.homes.passed_over += taken.rows as u64 - u64::from(taken.admitted);
        if let Some(fault) = taken.fault {
            self.homes.passed_over += handed.rows as u64;
            *handed = Handed { deaf_until: self.now + DEAF_FOR, ..Handed::default() };
            self.misbehaved(taken.from, fault);
        }
        self.take_over(taken.from);
    }
}

/// Adds a row to the last parcel, or to a new one.
fn add(parcels: &mut Vec<Taken>, entry: &Entry) {
    match parcels.last_mut() {
        Some(last) if last.effects.len() < SUBMIT_ROWS_MAX => last.push(entry),
        _ => {
            let mut parcel = Taken::default();
            parcel.push(entry);
            parcels.push(parcel);
        }
    }
}
