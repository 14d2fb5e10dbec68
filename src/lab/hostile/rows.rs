//! Those who submit rows that a node refuses. All ask for an account's nonce first, as any wallet does.
//!
//! - **Forged**: acceptable nonces, well-formed signatures, of which none is over its row. Nothing cheaper than a check of the
//!   signature tells such a row from a good one. After [`FORGED_PER_CONNECTION`] rows it comes back as somebody new.
//! - **Duplicate**: one good row, again and again, by several clients at several nodes. It is paid for once.
//! - **Nonce gap**: nonces beyond the window of the account, which could only be kept for later.

use super::World;
use super::client::{Answers, ask};
use super::conduct::{Birth, Conduct, Hand, Next, Occasion};
use crate::crypto;
use crate::types::{Account, AccountNumber, Effect, NONCE_WINDOW, Witness};
use crate::wire::client::{Reply, Request, Submission};
use crate::wire::{Rows, transaction_digest};
use std::sync::Arc;
use std::time::Duration;

/// Forged rows that a peer submits on one connection.
const FORGED_PER_CONNECTION: usize = 8;
/// Between two of them.
const FORGED_EVERY: Duration = Duration::from_secs(1);
/// How far ahead of an account's nonce a forged row's is: inside the window, and still there when honest rows of the
/// same account were executed in between.
const NONCE_AHEAD: u64 = 48;
/// Rows of a submission of the others.
const MANY: usize = 32;
/// Between two of those submissions.
const MANY_EVERY: Duration = Duration::from_millis(100);

/// Makes the rows of a submission.
type Make = fn(&Maker, number: u32, account: &Account, draw: u64) -> Option<Submission>;

struct Maker {
    world: Arc<World>,
    /// The account that is asked for; none: another one each time.
    own: Option<usize>,
    make: Make,
    every: Duration,
    /// Submissions on one connection.
    most: usize,
}

/// Asks, submits, counts, and begins again.
struct Submitter {
    maker: Maker,
    answers: Answers,
    done: usize,
    waits: bool,
}

/// Submits forged rows.
pub(super) fn forged(birth: &Birth<'_>) -> Box<dyn Conduct> {
    submitter(birth, None, forge, FORGED_EVERY, FORGED_PER_CONNECTION)
}

/// Submits one row again and again.
pub(super) fn duplicate(birth: &Birth<'_>) -> Box<dyn Conduct> {
    // Neighbours, who talk to other nodes, share an account.
    let own = (birth.number / 4) % birth.world.keys.len().max(1);
    submitter(birth, Some(own), repeat, MANY_EVERY, usize::MAX)
}

/// Submits rows far ahead.
pub(super) fn nonce_gap(birth: &Birth<'_>) -> Box<dyn Conduct> {
    submitter(birth, None, leap, MANY_EVERY, usize::MAX)
}

fn submitter(
    birth: &Birth<'_>,
    own: Option<usize>,
    make: Make,
    every: Duration,
    most: usize,
) -> Box<dyn Conduct> {
    let maker = Maker { world: birth.world.clone(), own, make, every, most };
    Box::new(Submitter { maker, answers: Answers::new(), done: 0, waits: false })
}

impl Conduct for Submitter {
    fn act(&mut self, occasion: Occasion<'_>, hand: &mut Hand<'_>) -> Next {
        match occasion {
            Occasion::Connected => {
                ask(&Request::Hello, hand);
                // Not all at once: who comes together does not go on together.
                Next::Wake(self.maker.every.mul_f64(hand.draw() as f64 / u64::MAX as f64))
            }
            Occasion::Due if self.done == self.maker.most => Next::HangUp,
            Occasion::Due => {
                if self.answers.welcomed && !std::mem::replace(&mut self.waits, true) {
                    let number = self.maker.account(hand.draw());
                    ask(&Request::Account(AccountNumber(number)), hand);
                }
                Next::Wake(self.maker.every)
            }
            Occasion::Heard(bytes) => {
                let Submitter { maker, answers, done, waits } = self;
                let fine = answers.hear(bytes, hand, |reply, hand| maker.take(reply, done, waits, hand));
                if fine { Next::Stay } else { Next::HangUp }
            }
        }
    }
}

impl Maker {
    fn account(&self, draw: u64) -> u32 {
        match self.own.and_then(|own| self.world.keys.get(own)) {
            Some((number, _)) => *number,
            None => 1 + (draw % u64::from(self.world.accounts.max(1))) as u32,
        }
    }

    fn take(&self, reply: Reply, done: &mut usize, waits: &mut bool, hand: &mut Hand<'_>) -> bool {
        match reply {
            Reply::Account(_, None) => *waits = false,
            Reply::Account(number, Some(account)) => {
                let Some(rows) = (self.make)(self, number.0, &account, hand.draw()) else { return false };
                hand.counts.rows += rows.rows().len() as u64;
                ask(&Request::Submit { id: *done as u64, rows }, hand);
            }
            Reply::Submitted { accepted, refused, .. } => {
                (*done, *waits) = (*done + 1, false);
                hand.counts.admitted += u64::from(accepted);
                for (_, refusal) in refused {
                    hand.counts.refused[refusal as usize - 1] += 1;
                }
            }
            _ => {}
        }
        true
    }

    fn effect(&self, from: u32, nonce: u64) -> Effect {
        let to = from % self.world.accounts.max(1) + 1;
        Effect::transfer(from, to, 1, nonce, self.world.fee)
    }
}

/// One row under a signature over something else, by nobody's key.
fn forge(maker: &Maker, number: u32, account: &Account, draw: u64) -> Option<Submission> {
    let nonce = account.nonce_high.get().saturating_add(NONCE_AHEAD);
    let (effect, mut seed) = (maker.effect(number, nonce), [0xF0; 32]);
    seed[..8].copy_from_slice(&draw.to_le_bytes());
    let digest = crypto::plain(&[number.to_le_bytes().as_slice(), &nonce.to_le_bytes()].concat());
    let witness = Witness(crypto::sign(&crypto::signing_key_from_seed(seed), &digest));
    Submission::pack(Rows { effects: &[effect], keys: &[], witnesses: &[witness] })
}

/// The next row of an account, many times.
fn repeat(maker: &Maker, number: u32, account: &Account, _: u64) -> Option<Submission> {
    let (_, key) = maker.world.keys.iter().find(|(own, _)| *own == number)?;
    let effect = maker.effect(number, account.nonce_high.get().saturating_add(1));
    // To oneself: it leaves nothing behind but its fee.
    let effect = Effect::transfer(number, number, effect.amount.get(), effect.nonce.get(), effect.fee.get());
    let public = crypto::public_key(key);
    let witness =
        Witness(crypto::sign(key, &transaction_digest(&maker.world.chain, &effect, &public, &public)));
    let (effects, witnesses) = ([effect; MANY], [witness; MANY]);
    Submission::pack(Rows { effects: &effects, keys: &[], witnesses: &witnesses })
}

/// Rows beyond the window, up to the last nonce that there is.
fn leap(maker: &Maker, number: u32, account: &Account, draw: u64) -> Option<Submission> {
    let first = account.nonce_high.get().saturating_add(2 * NONCE_WINDOW);
    let nonce = |row: u64| if row == 0 { u64::MAX } else { first.saturating_add(row * (1 + draw % 1000)) };
    let effects: Vec<Effect> = (0..MANY as u64).map(|row| maker.effect(number, nonce(row))).collect();
    let witnesses = vec![Witness([0x77; 64]); MANY];
    Submission::pack(Rows { effects: &effects, keys: &[], witnesses: &witnesses })
}
