//! Accounts, with what proves them.
//!
//! - Upon a question: the record after the last executed block, which is this node's word; and the record at a checkpoint that
//!   a quorum certified, with its proof. That is the newest one, while no row was executed since, else that of the newest
//!   snapshot. If there is neither yet, the answer says so.

use super::parse::{Refused, hex_key, number};
use super::routes::{ACCOUNT_BOUNDS, Answer, Asked, Body, json_answer};
use crate::api::documents::account_document;
use crate::api::proof::AccountEvidence;
use crate::net::NodeView;
use crate::store::StoreError;
use crate::types::{AccountNumber, Height, RootKind};
use crate::wire::{decode_block, decode_certificate};
use axum::response::Response;
use serde_json::{Value, json};

pub(super) const DESCRIPTION: &str = "The record after the last executed block, which is this node's word, and in `proof` what \
    proves the record at a checkpoint to whoever has the genesis: the checkpoint's certificate, its block, and a Bao slice of \
    the account table. `throng account N --prove --genesis FILE` checks it. Without a proof, `no_proof` says why.";

pub(super) const ANSWERS: &[Answer] = &[
    Answer { status: 200, description: "The account.", body: Body::Json("Account") },
    Answer {
        status: 400,
        description: "The number or key is out of form or range.",
        body: Body::Json("Error"),
    },
    Answer { status: 404, description: "There is no such account.", body: Body::Json("Error") },
];

/// Answers by the number of an account.
pub(super) async fn by_number(asked: Asked) -> Result<Response, Refused> {
    let (least, most) = ACCOUNT_BOUNDS;
    let account = number("the account's number", asked.parameter("number"), least, most)?;
    let account = AccountNumber(account as u32);
    let none = format!("there is no account {account} on this chain");
    let found = asked.site.on_disk(move |view| show(view, account)).await?;
    found.map(|document| json_answer(200, &document)).ok_or_else(|| Refused::new(404, none))
}

/// Answers by the key of an account.
pub(super) async fn by_key(asked: Asked) -> Result<Response, Refused> {
    let key = hex_key("the key", asked.parameter("key"))?;
    let found = asked.site.on_disk(move |view| match view.number_of(&key) {
        Some(number) => show(view, number),
        None => Ok(None),
    });
    let none = || Refused::new(404, "no account on this chain has this key");
    found.await?.map(|document| json_answer(200, &document)).ok_or_else(none)
}

fn show(view: &NodeView, number: AccountNumber) -> Result<Option<Value>, Refused> {
    let Some(account) = view.account(number) else { return Ok(None) };
    let mut document = account_document(number, &account);
    match prove(view, number).map_err(unreadable)? {
        Ok(evidence) => document["proof"] = json!(evidence),
        Err(why) => document["no_proof"] = json!(why),
    }
    Ok(Some(document))
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
        return Ok(Err("no checkpoint is certified yet: ask again after the next one"));
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
    Ok(Err(
        "rows were executed since the newest certified checkpoint, and no snapshot holds this account: ask again after \
            the next checkpoint",
    ))
}

/// The proof from the snapshot of a height. One that is damaged is as none: the store says so once.
fn in_snapshot(view: &NodeView, height: Height, number: AccountNumber) -> Option<Vec<u8>> {
    let slice = view.prove_in_snapshot(height, number).unwrap_or_else(|error| {
        tracing::warn!(%error, "a snapshot cannot be used for proofs");
        None
    });
    slice.map(|slice| slice.to_vec())
}
