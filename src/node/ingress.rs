//! The way of rows into the mempool: form, state, signature, admission. Pure functions of the shared parts of a node, run
//! by a driver on its verification pool with as many submissions at once as wait: of clients ([`admit`]), or of one validator
//! that hands rows on ([`take_over`]; see [`super::home`]).
//!
//! Every row is judged by itself, so that one bad row does not cost the client the others of its submission. The
//! checks go from cheap to dear: what form, state, a copy that is in flight, or room already refuse costs no signature check.
//! So a row that comes `n` times is checked once, or once for each of the few tasks that it happens to come in at one time.

#[cfg(test)]
#[path = "ingress_tests.rs"]
mod tests;

use super::Shared;
use super::jobs::verify_rows;
use crate::mempool::{Admit, Entry, Offer};
use crate::types::{Account, Effect, Kind, Seat};
use crate::wire::Row;
use crate::wire::client::{Refusal, Submission};

/// What became of one submission.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Admission {
    /// Rows admitted.
    pub accepted: u32,
    /// Rows refused, ascending.
    pub refused: Vec<(u32, Refusal)>,
    /// Signatures checked.
    pub checked: u32,
}

/// What became of rows that a validator handed on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TakenOver {
    /// The validator.
    pub from: Seat,
    /// Rows in all.
    pub rows: usize,
    /// Rows admitted; the others are passed over.
    pub admitted: u32,
    /// Signatures checked.
    pub checked: u32,
    /// What no honest validator hands on, if it was among them.
    pub fault: Option<&'static str>,
}

/// A row that nothing has refused so far.
struct Candidate<'a> {
    submission: usize,
    index: u32,
    row: Row<'a>,
    /// The executed balance of its sender, once the state was read.
    balance: u64,
}

/// The answers as they come about.
struct Answers(Vec<Admission>);

/// Verifies the rows of several submissions of clients as one batch and inserts what is good: what has its home here waits to
/// be sealed, the rest to be handed on. One answer per submission. Refusals are looked for in the order form, accounts,
/// nonce, balance, duplicate, room, signature, and once more duplicate, fees and room in the mempool. A key that no open row
/// takes is passed over.
pub fn admit(shared: &Shared, submissions: &[Submission]) -> Vec<Admission> {
    enter(shared, Seat::NONE, submissions)
}

/// Verifies the rows that a validator handed on, and inserts what is good and what this seat seals: to be sealed here, at once
/// if it is their home. The
/// sender verified every row, so form and signature are its fault; what the state or the mempool refuses is nobody's.
pub fn take_over(shared: &Shared, from: Seat, submissions: &[Submission]) -> TakenOver {
    let answers = enter(shared, from, submissions);
    let opens = |rows: &Submission| {
        rows.rows().effects.iter().filter(|effect| effect.kind == Kind::Open as u8).count()
    };
    let has =
        |reason: Refusal| answers.iter().flat_map(|a| &a.refused).any(|(_, refusal)| *refusal == reason);
    let fault = if has(Refusal::BadSignature) {
        Some("handed on a row whose signature is bad")
    } else if has(Refusal::Malformed) || submissions.iter().any(|rows| rows.rows().keys.len() != opens(rows))
    {
        Some("handed on a malformed row")
    } else {
        None
    };
    TakenOver {
        from,
        rows: submissions.iter().map(|rows| rows.rows().len()).sum(),
        admitted: answers.iter().map(|answer| answer.accepted).sum(),
        checked: answers.iter().map(|answer| answer.checked).sum(),
        fault,
    }
}

fn enter(shared: &Shared, from: Seat, submissions: &[Submission]) -> Vec<Admission> {
    let mut answers = Answers(vec![Admission::default(); submissions.len()]);
    let mut candidates = well_formed(shared, submissions, &mut answers);
    if from != Seat::NONE {
        let sealed_here = |candidate: &Candidate<'_>| shared.seals(candidate.row.effect.sender());
        candidates.retain(|candidate| sealed_here(candidate) || answers.refuse(candidate, Refusal::NoSeat));
    }
    shared.ledger.read(|accounts| {
        candidates.retain_mut(|candidate| match payable(accounts, candidate.row.effect) {
            Ok(balance) => {
                candidate.balance = balance;
                true
            }
            Err(refusal) => answers.refuse(candidate, refusal),
        });
    });
    refuse_duplicates(shared, &mut candidates, &mut answers);
    if from != Seat::NONE {
        // Not for clients together: else whoever is quick with forged rows would use up another's balance.
        let rows = candidates.iter().map(|candidate| (candidate.row.effect, candidate.balance));
        let mut uncovered = shared.mempool.uncovered(rows).into_iter();
        candidates.retain(|candidate| {
            !uncovered.next().unwrap_or_default() || answers.refuse(candidate, Refusal::NotCovered)
        });
    }
    let room = match from {
        Seat::NONE => shared.mempool.room(),
        peer => shared.mempool.room_for(peer),
    };
    for candidate in candidates.drain(room.min(candidates.len())..) {
        answers.refuse(&candidate, Refusal::Full);
    }
    let candidates = well_signed(shared, candidates, &mut answers);
    insert(shared, from, &candidates, &mut answers);
    for answer in &mut answers.0 {
        answer.refused.sort_unstable();
    }
    answers.0
}

impl Answers {
    /// Notes a refusal; false, so that it serves as the verdict "not kept".
    fn refuse(&mut self, candidate: &Candidate<'_>, refusal: Refusal) -> bool {
        self.0[candidate.submission].refused.push((candidate.index, refusal));
        false
    }
}

/// The rows whose form the rules allow.
fn well_formed<'a>(
    shared: &Shared,
    submissions: &'a [Submission],
    answers: &mut Answers,
) -> Vec<Candidate<'a>> {
    let all = submissions.iter().enumerate().flat_map(|(submission, rows)| {
        let rows = rows.rows().iter().zip(0..);
        rows.map(move |(row, index)| Candidate { submission, index, row, balance: 0 })
    });
    let keep = |candidate: &Candidate<'a>| match candidate.row.check_form(&shared.rules) {
        Ok(()) => true,
        Err(_) => answers.refuse(candidate, Refusal::Malformed),
    };
    all.filter(keep).collect()
}

/// The sender's balance, if the row would execute with `ok` on these accounts.
fn payable(accounts: &[Account], effect: &Effect) -> Result<u64, Refusal> {
    let from = accounts.get(effect.from.get() as usize).ok_or(Refusal::UnknownAccount)?;
    if effect.to.get() as usize >= accounts.len() {
        return Err(Refusal::UnknownAccount);
    }
    if !from.accepts(effect.nonce.get()) {
        return Err(Refusal::BadNonce);
    }
    let balance = from.balance.get();
    let cost = effect.amount.get().checked_add(u64::from(effect.fee.get()));
    if cost.is_some_and(|cost| cost <= balance) { Ok(balance) } else { Err(Refusal::NotCovered) }
}

/// Refuses what needs no check of its signature because a good row of the same account and nonce is under way, and copies of
/// rows that are here already: a flood of one row costs no more than that row. (Another row of the same account and nonce is no
/// copy: which of both is good, only the signatures tell, and nobody is refused for what another forged.)
fn refuse_duplicates(shared: &Shared, candidates: &mut Vec<Candidate<'_>>, answers: &mut Answers) {
    let mut known = shared.mempool.in_flight(candidates.iter().map(|candidate| candidate.row.effect));
    let head = |Row { effect, witness, .. }: &Row<'_>| {
        (effect.from.get(), effect.nonce.get(), witness.0.first_chunk::<8>().copied())
    };
    // The first of equal ones is the one that stays.
    let mut order: Vec<_> = candidates.iter().zip(0..).map(|(it, place)| (head(&it.row), place)).collect();
    order.sort_unstable();
    for pair in order.windows(2) {
        let (before, this): (usize, usize) = (pair[0].1, pair[1].1);
        known[this] |= pair[0].0 == pair[1].0 && same(&candidates[before].row, &candidates[this].row);
    }
    let mut known = known.into_iter();
    candidates.retain(|candidate| {
        !known.next().unwrap_or_default() || answers.refuse(candidate, Refusal::Duplicate)
    });
}

fn same(a: &Row<'_>, b: &Row<'_>) -> bool {
    a.effect == b.effect && a.witness == b.witness && a.key == b.key
}

/// The rows whose signatures hold, checked as one batch.
fn well_signed<'a>(
    shared: &Shared,
    mut candidates: Vec<Candidate<'a>>,
    answers: &mut Answers,
) -> Vec<Candidate<'a>> {
    let bad =
        verify_rows(&shared.chain, shared.ledger.keys(), candidates.iter().map(|candidate| candidate.row));
    let (mut place, mut bad) = (0, bad.into_iter().peekable());
    candidates.retain(|candidate| {
        answers.0[candidate.submission].checked += 1;
        let is_bad = bad.next_if_eq(&place).is_some();
        place += 1;
        !is_bad || answers.refuse(candidate, Refusal::BadSignature)
    });
    candidates
}

/// Offers the rows to the mempool.
fn insert(shared: &Shared, from: Seat, candidates: &[Candidate<'_>], answers: &mut Answers) {
    let offer = |&Candidate { row, balance, .. }: &Candidate<'_>| Offer {
        entry: Entry { effect: *row.effect, key: row.key.copied(), witness: *row.witness },
        balance,
        from,
        sealed_here: shared.seals_first(row.effect.sender()),
    };
    let offers: Vec<_> = candidates.iter().map(offer).collect();
    for (candidate, admit) in candidates.iter().zip(shared.mempool.insert(&offers)) {
        match admit {
            Admit::Admitted => answers.0[candidate.submission].accepted += 1,
            Admit::Duplicate => _ = answers.refuse(candidate, Refusal::Duplicate),
            Admit::NotCovered => _ = answers.refuse(candidate, Refusal::NotCovered),
            Admit::Full => _ = answers.refuse(candidate, Refusal::Full),
        }
    }
}
