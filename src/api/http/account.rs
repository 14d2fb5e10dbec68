//! Accounts, with what proves them.
//!
//! - Upon a question: the record after the last executed block, which is this node's word; and the record at a checkpoint that
//!   a quorum certified, with its proof. That is the newest one, while no row was executed since, else that of the newest
//!   snapshot. If there is neither yet, the answer says so, and when to ask again; it is a refusal for those only who take
//!   nothing without a proof.

use super::parse::{Refused, hex_key, number};
use super::routes::{ACCOUNT_BOUNDS, Answer, Asked, Body, Parameter, Place, json_answer};
use crate::api::documents::account_document;
use crate::api::proof::AccountEvidence;
use crate::net::NodeView;
use crate::node::Progress;
use crate::store::StoreError;
use crate::types::params::IDLE_BEAT;
use crate::types::{AccountNumber, Height, RootKind};
use crate::wire::{decode_block, decode_certificate};
use axum::response::Response;
use serde_json::{Value, json};

/// Blocks after a checkpoint in which the votes on it come.
const SIGNED_AFTER: u64 = 4;

pub(super) const DESCRIPTION: &str = "The record after the last executed block, which is this node's word, and in `proof` what \
    proves the record at a checkpoint to whoever has the genesis: the checkpoint's certificate, its block, and a Bao slice of \
    the account table. `throng account N --prove --genesis FILE` checks it. Without a proof, `no_proof` says why: before the \
    first checkpoint is certified (block 64 by default: half a minute of a chain with nothing to do) there is none, and none \
    while rows are executed all the time until a snapshot is written.";

pub(super) const PROOF: Parameter = Parameter {
    name: "proof",
    place: Place::Query,
    schema: "ProofWish",
    description: "`required`: without a proof the answer is 503, and Retry-After says when the next checkpoint is due. `none`: \
                  no proof is looked for, which is cheaper. Else the proof comes if there is one.",
};

pub(super) const ANSWERS: &[Answer] = &[
    Answer { status: 200, description: "The account.", body: Body::Json("Account") },
    Answer {
        status: 400,
        description: "The number or key is out of form or range.",
        body: Body::Json("Error"),
    },
    Answer { status: 404, description: "There is no such account.", body: Body::Json("Error") },
    Answer {
        status: 503,
        description: "The node is not ready, or busy, and why; or a proof is required and there is none yet.",
        body: Body::Json("Error"),
    },
];

/// What somebody makes of a proof.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    IfAny,
    Required,
    None,
}

impl Wish {
    fn of(asked: &Asked) -> Result<Wish, Refused> {
        match asked.query("proof") {
            None => Ok(Wish::IfAny),
            Some("required") => Ok(Wish::Required),
            Some("none") => Ok(Wish::None),
            Some(_) => Err(Refused::new(400, "proof must be `required` or `none`, or not be there")),
        }
    }
}

/// Answers by the number of an account.
pub(super) async fn by_number(asked: Asked) -> Result<Response, Refused> {
    let (least, most) = ACCOUNT_BOUNDS;
    let wish = Wish::of(&asked)?;
    let account = number("the account's number", asked.parameter("number"), least, most)?;
    let account = AccountNumber(account as u32);
    let none = format!("there is no account {account} on this chain");
    let found = asked.site.on_disk(move |view| show(view, account, wish)).await?;
    found.map(|document| json_answer(200, &document)).ok_or_else(|| Refused::new(404, none))
}

/// Answers by the key of an account.
pub(super) async fn by_key(asked: Asked) -> Result<Response, Refused> {
    let (wish, key) = (Wish::of(&asked)?, hex_key("the key", asked.parameter("key"))?);
    let found = asked.site.on_disk(move |view| match view.number_of(&key) {
        Some(number) => show(view, number, wish),
        None => Ok(None),
    });
    let none = || Refused::new(404, "no account on this chain has this key");
    found.await?.map(|document| json_answer(200, &document)).ok_or_else(none)
}

fn show(view: &NodeView, number: AccountNumber, wish: Wish) -> Result<Option<Value>, Refused> {
    let Some(account) = view.account(number) else { return Ok(None) };
    let mut document = account_document(number, &account);
    if wish == Wish::None {
        document["no_proof"] = json!("it was not asked for");
        return Ok(Some(document));
    }
    match prove(view, number).map_err(unreadable)? {
        Ok(evidence) => document["proof"] = json!(evidence),
        Err(why) => {
            let Due { checkpoint, last, seconds } = due(&view.progress(), view.rules().checkpoint_blocks);
            let words =
                format!("{why}: ask again when block {checkpoint} is certified, the last one here is {last}");
            if wish == Wish::Required {
                return Err(Refused::later(words, seconds));
            }
            document["no_proof"] = json!(words);
        }
    }
    Ok(Some(document))
}

/// When there may be a proof.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    /// The next checkpoint that will be certified.
    checkpoint: u64,
    /// The last block.
    last: u64,
    /// How long that takes a chain with nothing to do; with load it is less.
    seconds: u32,
}

fn due(progress: &Progress, interval: u64) -> Due {
    let last = progress.durable;
    let begun = last - last % interval;
    let checkpoint = if begun > progress.certified { begun } else { begun + interval };
    let wait = IDLE_BEAT.as_secs_f64() * (checkpoint.saturating_sub(last) + SIGNED_AFTER) as f64;
    Due { checkpoint, last, seconds: wait.ceil() as u32 }
}

/// A record of the node's that cannot be read.
pub(super) fn unreadable(error: StoreError) -> Refused {
    tracing::warn!(%error, "a record that was asked for over HTTP cannot be read");
    Refused::busy("a record on this node's disk cannot be read: ask another node")
}

/// What proves an account at a certified checkpoint, or why nothing does.
fn prove(
    view: &NodeView,
    number: AccountNumber,
) -> Result<Result<AccountEvidence, &'static str>, StoreError> {
    let newest = Height(view.progress().certified);
    if newest == Height(0) {
        return Ok(Err("no checkpoint is certified yet"));
    }
    let slice = |height: Height, block: &[u8]| {
        let root = decode_block(block).ok().and_then(|block| block.root(RootKind::Accounts));
        let now = root.filter(|_| height == newest).and_then(|root| view.prove_at(&root, number));
        now.or_else(|| in_snapshot(view, height, number))
    };
    let snapshots = view.snapshots()?.into_iter().rev().filter(|height| *height < newest);
    for height in std::iter::once(newest).chain(snapshots) {
        let Some(certificate) = view.certificate(height)? else { continue };
        if decode_certificate(&certificate).map_or(Height(0), |found| found.height) != height {
            continue;
        }
        let Some(block) = view.block(height)? else { continue };
        if let Some(slice) = slice(height, &block) {
            let (certificate, block) = (certificate.to_vec(), block.to_vec());
            return Ok(Ok(AccountEvidence { height, certificate, block, slice }));
        }
    }
    Ok(Err("rows were executed since the newest certified checkpoint, and no snapshot holds this account"))
}

/// The proof from the snapshot of a height. One that is damaged is as none: the store says so once.
fn in_snapshot(view: &NodeView, height: Height, number: AccountNumber) -> Option<Vec<u8>> {
    let slice = view.prove_in_snapshot(height, number).unwrap_or_else(|error| {
        tracing::warn!(%error, "a snapshot cannot be used for proofs");
        None
    });
    slice.map(|slice| slice.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_due_at_the_next_checkpoint_that_is_not_certified() {
        let of = |durable, certified| {
            let due = due(&Progress { durable, certified, ..Progress::default() }, 64);
            (due.checkpoint, due.seconds)
        };
        assert_eq!((of(0, 0), of(14, 0), of(63, 0)), ((64, 34), (64, 27), (64, 3)));
        assert_eq!((of(64, 0), of(66, 0)), ((64, 2), (64, 2)), "its votes are on their way");
        assert_eq!((of(66, 64), of(127, 64), of(128, 64)), ((128, 33), (128, 3), (128, 2)));
    }
}
