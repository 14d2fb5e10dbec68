//! The way of a client's rows into the mempool: form, state, signature, admission. A pure function of the shared
//! parts of a node, run by a driver on its verification pool with as many submissions at once as wait.
//!
//! Every row is judged by itself, so that one bad row does not cost the client the others of its submission. The
//! checks go from cheap to dear: what form, state or room already refuse costs no signature check.

#[cfg(test)]
#[path = "ingress_tests.rs"]
mod tests;

use super::Shared;
use super::jobs::verify_rows;
use crate::mempool::{Admit, Entry};
use crate::types::{Account, Effect};
use crate::wire::Row;
use crate::wire::client::{Refusal, Submission};

/// What became of one submission.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Admission {
    /// Rows admitted.
    pub accepted: u32,
    /// Rows refused, ascending.
    pub refused: Vec<(u32, Refusal)>,
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

/// Verifies the rows of several submissions as one batch and inserts what is good. One answer per submission.
/// Refusals are looked for in the order form, accounts, nonce, balance, duplicate, room, signature, duplicate again and fees in
/// the mempool. A key that no open row takes is passed over.
pub fn admit(shared: &Shared, submissions: &[Submission]) -> Vec<Admission> {
    let mut answers = Answers(vec![Admission::default(); submissions.len()]);
    let mut candidates = well_formed(shared, submissions, &mut answers);
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
    let room = shared.mempool.room().min(candidates.len());
    for candidate in candidates.drain(room..) {
        answers.refuse(&candidate, Refusal::Full);
    }
    let candidates = well_signed(shared, candidates, &mut answers);
    insert(shared, &candidates, &mut answers);
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
        let is_bad = bad.next_if_eq(&place).is_some();
        place += 1;
        !is_bad || answers.refuse(candidate, Refusal::BadSignature)
    });
    candidates
}

/// Offers the rows to the mempool.
fn insert(shared: &Shared, candidates: &[Candidate<'_>], answers: &mut Answers) {
    let entry = |Candidate { row, balance, .. }: &Candidate<'_>| {
        (Entry { effect: *row.effect, key: row.key.copied(), witness: *row.witness }, *balance)
    };
    let entries: Vec<_> = candidates.iter().map(entry).collect();
    for (candidate, admit) in candidates.iter().zip(shared.mempool.insert(&entries)) {
        match admit {
            Admit::Admitted => answers.0[candidate.submission].accepted += 1,
            Admit::Duplicate => _ = answers.refuse(candidate, Refusal::Duplicate),
            Admit::NotCovered => _ = answers.refuse(candidate, Refusal::NotCovered),
            Admit::Full => _ = answers.refuse(candidate, Refusal::Full),
        }
    }
}
