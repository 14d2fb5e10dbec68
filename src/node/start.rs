//! What one may sign after a start.
//!
//! The guard says what was signed last: it is on disk before a vertex or a batch is sent. The log says the same, and more; but
//! its newest records may be lost. Either, or the whole directory, may be damaged, gone, or a copy of an earlier time.
//!
//! - **Upon a start**: sign nothing, and ask. An answer is a frontier that came over a connection of this life: it names the
//!   latest own vertex of its sender, the latest of ours that it knows, and from where on it knows. With `2f` answers of
//!   others (`f = 0`: of all others) that know nothing above the guard, go on after the guard. A chain of one asks nobody.
//! - **Upon an answer of one that began above the guard** (on a snapshot or a settlement record) and knows no vertex of ours:
//!   it counts once the order has passed the round it began at, and the first vertex is of a later one; its sequences go on as
//!   after a loss. Of what lies below it can say nothing, so nothing is signed there.
//! - **Upon no valid guard, upon an own vertex above the guard that a peer shows, or upon a guard of round 0 while others
//!   are past round 1**: the validator is *lost*. So it is upon `f + 1` answers that know an own vertex above the guard, at
//!   or below the floor, where nobody can show it any more, as long as too few know of none. It waits until `2f` others have
//!   proved their own latest vertex: until it is accepted here, with all that lies below. `M` is the highest round accepted
//!   then. Once the order has passed `M`, it comes back in round `M + 2` or later, and its sequences go on above all that are
//!   *reserved*: those up to a window above the highest settled one, and those that its own acks in the order name
//!   ([`crate::consensus::Settlement::reserved`]). With `f = 0` it goes on after the highest own vertex that the others know.
//! - **Upon a batch sealed here**: show it to nobody, not even on request, before its number is reserved. Below the window that
//!   is so from the start; above it, where one is after a loss, once the own vertex that acks it is output. There one batch at a
//!   time is sealed, until it settles.
//!
//! Why that is safe:
//!
//! - The forgotten vertex of round `r` was made upon a quorum of `r - 1`. Of `2f` others at least one is honest, not lost
//!   and among these, as long as at most `f` are lost or lie, the lost one included. So `M >= r - 1`, and `M + 2 > r`.
//! - Whoever takes itself for lost without need comes back a few rounds later, and `f` liars cannot bring that about. They
//!   must not: who is lost waits for an order that moves, and it may move only with this validator.
//! - What is accepted has a quorum in each round below: nobody can make `M` large by words, and a claim to know a vertex of
//!   ours counts for nothing until the vertex is shown, signed. Who claims and does not show is not counted.
//! - A forgotten batch had a reserved number when it was first shown, by an order whose last leader was of some round `R`.
//!   That leader was emitted because of a quorum of vertices of `R + 2` or above; one of the `2f` is honest, not lost, and an
//!   author of such a one. So `M >= R + 2`, the order passes `R` before anything is signed, and what was reserved then is
//!   reserved now: it never falls. So nothing that others may have seen is sealed anew, however often the directory goes
//!   before anything settles. What nobody saw is no second batch to anybody.
//! - A number that another's ack names is not taken for used because of that: one liar could name the highest one that counts,
//!   and leave its victim none. What `f + 1` others ack is, and what carries the own signature: acks in an own vertex, and
//!   batches.
//! - Each loss costs one number, as long as nothing settles in between; there is a window of them. When they are used up, an own
//!   batch has to settle that others hold and give back.
//! - Acks need no guard: only the first id that is output counts.
//! - Who says that it began far above gains what a lie about our vertices would gain, and no more: it does not count before
//!   the order is there.
//!
//! What it cannot do: a copied key in a second process that runs at the same time cannot be detected beforehand. Both sign, and
//! their vertices are evidence against the key. One that hears a newer vertex of its own name stops signing, as if lost.
//! Nor is a copy of an earlier time noticed if no vertex that was signed since has reached any of the `2f` that answer first,
//! be it that another has it who is away, or that a batch arrived: the guard of the copy is believed, and what is signed
//! then may convict its owner. Put back no copies: a directory that is lost costs a few rounds. With `f = 0` the same holds of a vertex that was lost on its way, while a batch that
//! was sent after it arrived.

use super::{Node, OpenError};
use crate::store::{Guard, GuardState};
use crate::types::{Committee, Round, Seat, Sequence, Time, VertexRef};
use crate::wire::{Message, SignedVertex};
use std::collections::BTreeMap;

/// Where a start stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The guard is believed unless others know better.
    Asking,
    /// Nobody here knows what was signed.
    Lost,
    /// All up to this round is proved; the order has to pass it.
    Proved(Round),
    /// The validator signs.
    Signing,
    /// There is no seat to sign for.
    Watching,
}

/// What another validator said since this life began.
#[derive(Clone, Copy, Debug)]
struct Answer {
    /// The round of its own latest vertex when it first said so.
    its: Round,
    /// Of rounds up to here it knows nothing.
    began: Round,
    /// The highest round of ours that it knows, if it knows any above.
    ours: Option<Round>,
}

impl Answer {
    /// It knows no vertex of ours above `last`, and whatever it cannot know of has been passed by the order.
    fn knows_none_above(&self, last: Round, ordered: Round) -> bool {
        self.ours.unwrap_or_default() <= last && self.began <= last.max(ordered)
    }
}

/// A start in its course.
#[derive(Debug)]
pub(super) struct Start {
    stage: Stage,
    /// How many others have to answer.
    needed: usize,
    /// No other may fail, so that all answer.
    all_answer: bool,
    answers: BTreeMap<Seat, Answer>,
    next_ask: Time,
}

impl Start {
    pub(super) fn new(committee: &Committee, seat: Seat, now: Time) -> Start {
        let faulty = committee.faulty_max();
        let needed = if faulty == 0 { committee.size() - 1 } else { 2 * faulty };
        Start {
            stage: if seat == Seat::NONE { Stage::Watching } else { Stage::Asking },
            needed,
            all_answer: faulty == 0,
            answers: BTreeMap::new(),
            next_ask: now,
        }
    }

    /// Whether the validator may sign.
    pub(super) fn signs(&self) -> bool {
        self.stage == Stage::Signing
    }

    /// A start of somebody who never signs.
    pub(super) fn watches(&self) -> bool {
        self.stage == Stage::Watching
    }

    fn sign(&mut self) {
        self.stage = Stage::Signing;
        self.answers.clear();
    }
}

impl Node {
    /// What the guard must say by now.
    pub fn guard(&self) -> Guard {
        self.guard
    }

    /// Of rounds up to this one its agreement knows nothing: it went on from a snapshot or from a settlement record.
    pub fn began(&self) -> Round {
        self.consensus.dag().began()
    }

    /// Takes in what the guard says, after the log was replayed: no slot up to there is signed again.
    ///
    /// # Errors
    /// The log lacks what was signed, and there is nobody to get it from.
    pub(super) fn take_guard(&mut self, state: GuardState) -> Result<(), OpenError> {
        if self.start.watches() {
            return Ok(());
        }
        let guard = match state {
            GuardState::Intact(guard) if guard.epoch == self.guard.epoch => guard,
            _ => {
                self.lose();
                return Ok(());
            }
        };
        if guard.lost {
            self.lose();
        }
        if guard.round > self.guard.round {
            if self.shared.committee.size() == 1 {
                return Err(OpenError::LogBehindGuard { log: self.guard.round.0, guard: guard.round.0 });
            }
            (self.guard.round, self.guard.id) = (guard.round, guard.id);
            self.pace.found(guard.round);
            // The log lost its end: whoever was sent the vertex gives it back.
            let me = self.shared.seat;
            let forgotten = VertexRef { round: guard.round, author: me, id: guard.id };
            let others: Vec<Seat> = self.shared.committee.iter().filter(|&seat| seat != me).collect();
            others.into_iter().for_each(|seat| _ = self.want_vertices.want(forgotten, me, seat, self.now));
        }
        self.guard.sequence = self.guard.sequence.max(guard.sequence);
        self.next_sequence = self.next_sequence.max(Sequence(guard.sequence.0.saturating_add(1)));
        Ok(())
    }

    /// Nobody here knows any more what was signed. The guard says so with the next write: an own vertex that a peer gives
    /// back does not stand in the log as if it had been remembered.
    fn lose(&mut self) {
        if !matches!(self.start.stage, Stage::Lost | Stage::Proved(_) | Stage::Watching) {
            self.start.stage = Stage::Lost;
            self.guard.lost = true;
        }
    }

    /// An own vertex that was made in an earlier life, from the log or given back by a peer.
    pub(super) fn signed_before(&mut self, signed: &SignedVertex) {
        let vertex = &signed.vertex;
        self.pace.found(vertex.round);
        self.guard_vertex(signed);
        self.signing.found(signed);
        for ack in &vertex.acks {
            self.batches.said(ack);
            if ack.batch.author == self.shared.seat {
                self.used(ack.batch.sequence);
            }
        }
        if !vertex.acks.is_empty() {
            self.own_acks.insert(vertex.round, vertex.acks.clone());
        }
    }

    /// A peer shows an own vertex whose signature holds. One above all that was signed by what is known here was signed by
    /// somebody who remembered more.
    pub(super) fn shown(&mut self, signed: &SignedVertex) {
        if signed.vertex.round > self.guard.round {
            self.lose();
            self.guard_vertex(signed);
        }
    }

    /// The guard must know of an own vertex.
    pub(super) fn guard_vertex(&mut self, signed: &SignedVertex) {
        if signed.vertex.round > self.guard.round {
            (self.guard.round, self.guard.id) = (signed.vertex.round, signed.id);
        }
    }

    /// The guard must know of an own batch.
    pub(super) fn guard_batch(&mut self, sequence: Sequence) {
        self.guard.sequence = self.guard.sequence.max(sequence);
    }

    /// A peer's frontier is its answer.
    pub(super) fn answered(&mut self, from: Seat, began: Round, frontier: &[Round]) {
        let of = |seat: Seat| frontier.get(seat.index()).copied().unwrap_or_default();
        // What guests say of our vertices is nobody's word: anybody can be many of them.
        let validator = self.shared.committee.has(from);
        if self.start.signs() || self.start.watches() || !validator || from == self.shared.seat {
            return;
        }
        let (its, ours) = (of(from), Some(of(self.shared.seat)).filter(|&ours| ours > began));
        let answer = self.start.answers.entry(from).or_insert(Answer { its, began, ours });
        // What it knew when it was first asked it need not know any more.
        answer.began = answer.began.min(began);
        answer.ours = answer.ours.max(ours);
    }

    /// Asks those again who are connected and have not answered, and lets those push who answered and have not shown what
    /// they told of.
    pub(super) fn ask_what_is_known(&mut self) {
        if self.start.signs() || self.start.watches() || self.now < self.start.next_ask {
            return;
        }
        self.start.next_ask = self.now + self.shared.rules.delay() * 2;
        for seat in self.connected.iter().collect::<Vec<_>>() {
            let Some(answer) = self.start.answers.get(&seat).copied() else {
                self.send(seat, Message::WantFrontier);
                continue;
            };
            let dag = self.consensus.dag();
            let lacks = answer.its > dag.latest(seat) || answer.ours > Some(dag.latest(self.shared.seat));
            if lacks && !self.catch_up.is_behind() {
                self.send_frontier(seat);
            }
        }
    }

    /// Goes on with the start as far as the answers carry.
    pub(super) fn go_on_starting(&mut self) {
        if self.catch_up.is_behind() {
            // What blocks that are adopted settled is known when agreement goes on.
            return;
        }
        let highest = self.consensus.dag().highest();
        if self.start.stage == Stage::Asking && self.guard.round.0 == 0 && highest.0 > 1 {
            self.lose();
        }
        match self.start.stage {
            Stage::Signing | Stage::Watching => {}
            Stage::Asking => {
                let (guard, answers) = (self.guard.round, &self.start.answers);
                let ordered = self.chain.last_round;
                // Who is past round 1 proves that a validator without a vertex is lost, by its vertices.
                let fits = |a: &&Answer| a.knows_none_above(guard, ordered) && (guard.0 > 0 || a.its.0 <= 1);
                // Words: but of what lies below the floor nothing else is left.
                let floor = self.consensus.dag().floor();
                let claims = |a: &&Answer| a.ours.is_some_and(|ours| ours > guard && ours <= floor);
                let fitting: Vec<Answer> = answers.values().filter(fits).copied().collect();
                if fitting.len() >= self.start.needed {
                    self.sign_above(guard, &fitting);
                } else if answers.values().filter(claims).count() > self.shared.committee.faulty_max() {
                    self.lose();
                }
            }
            Stage::Lost if self.start.all_answer => self.resume_after_reported(),
            Stage::Lost => {
                if self.proved().count() >= self.start.needed {
                    self.start.stage = Stage::Proved(highest);
                }
            }
            Stage::Proved(last) if self.chain.last_round >= last => {
                self.pace.return_at(Round(last.0.saturating_add(2)));
                self.sign_again();
            }
            Stage::Proved(_) => {}
        }
    }

    /// The answers of those whose own latest vertex is accepted here.
    fn proved(&self) -> impl Iterator<Item = Answer> {
        let (dag, answers) = (self.consensus.dag(), self.start.answers.iter());
        answers.filter(|(seat, answer)| answer.its <= dag.latest(**seat).max(dag.floor())).map(|(_, a)| *a)
    }

    /// Without tolerance no other forgets or lies: the highest own vertex that they know is the last.
    fn resume_after_reported(&mut self) {
        let here = self.consensus.dag().latest(self.shared.seat);
        let ordered = self.chain.last_round;
        let known: Vec<Answer> = self.proved().filter(|a| a.knows_none_above(here, ordered)).collect();
        if known.len() >= self.start.needed {
            self.sign_above(here, &known);
            self.sign_again();
        }
    }

    /// Goes on after `last`, and above all of which those who answered can know nothing. The fewest that are needed count: those
    /// who know from the earliest on.
    fn sign_above(&mut self, last: Round, answers: &[Answer]) {
        let mut began: Vec<Round> = answers.iter().map(|answer| answer.began).collect();
        began.sort_unstable();
        let unknown = began.get(self.start.needed.saturating_sub(1)).copied().unwrap_or_default();
        if unknown > last {
            self.pace.return_at(unknown.next());
            self.skip_sequences();
        }
        self.start.sign();
    }

    fn sign_again(&mut self) {
        self.start.sign();
        self.guard.lost = false;
        self.skip_sequences();
    }

    fn skip_sequences(&mut self) {
        self.lost_own();
        // From the first vertex on the guard knows that the numbers up to there may be used.
        self.guard_batch(Sequence(self.next_sequence.0.saturating_sub(1)));
    }
}
