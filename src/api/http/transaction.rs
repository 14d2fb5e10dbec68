//! Where a transaction stands.
//!
//! There is no index of transactions: writing one would cost every row that the engine settles. So the newest blocks are
//! looked through, within bounds on blocks and bytes, and who asks pays for it as for twenty other questions. Older ones are
//! found in the directory by `throng inspect`.

use super::account::unreadable;
use super::parse::{Refused, number};
use super::routes::{ACCOUNT_BOUNDS, Asked, json_answer};
use crate::net::NodeView;
use crate::types::{Account, AccountNumber, BatchRef, Height, Kind};
use crate::wire::{Batch, Row, decode_block};
use axum::response::Response;
use serde_json::{Value, json};

/// Blocks that are looked through at most.
const BLOCKS_MAX: u64 = 1024;
/// Bytes of batches that are looked through at most, unless the newest block alone has more.
const BYTES_MAX: usize = 32 << 20;
/// Places that are shown at most: rows of one account and nonce stand in several where they were sealed by several.
const PLACES_MAX: usize = 8;
/// What it costs beside what every question costs.
const COST: u32 = 19;

pub(super) const DESCRIPTION: &str = "The newest 1,024 blocks are looked through, or as many as hold 32 MiB of batches. A row \
    that several validators sealed stands in several places; it was executed in one at most. `used` says that the account has \
    used the nonce. Older transactions are found by `throng inspect DIR --tx DIGEST`. One such question counts as twenty.";

/// Answers by the account and nonce of a transaction.
pub(super) async fn by_nonce(asked: Asked) -> Result<Response, Refused> {
    let (least, most) = ACCOUNT_BOUNDS;
    let account = number("the account's number", asked.parameter("account"), least, most)?;
    let nonce = number("the nonce", asked.parameter("nonce"), 1, u64::MAX)?;
    let account = AccountNumber(account as u32);
    let found = asked.site.view.account(account);
    let found =
        found.ok_or_else(|| Refused::new(404, format!("there is no account {account} on this chain")))?;
    if !is_used(&found, nonce) {
        return Err(Refused::new(404, format!("account {account} has not used nonce {nonce} yet")));
    }
    asked.site.pay(asked.address, COST)?;
    let looked = asked.site.on_disk(move |view| look(view, account, nonce)).await?;
    if looked.places.is_empty() {
        return Err(Refused::new(
            404,
            format!(
                "nonce {nonce} of account {account} is used or too old, and stands in none of the blocks {} to {}: `throng \
                 inspect` finds older ones in a node's directory",
                looked.from, looked.to
            ),
        ));
    }
    let (from, to) = (looked.from, looked.to);
    Ok(json_answer(
        200,
        &json!({ "account": account, "nonce": nonce, "used": true, "looked_from": from, "looked_to": to, "places": looked.places }),
    ))
}

/// Whether a nonce was used, or can never be used any more.
fn is_used(account: &Account, nonce: u64) -> bool {
    nonce <= account.nonce_high.get() && !account.accepts(nonce)
}

/// What was found, and in which blocks it was looked for.
struct Looked {
    from: u64,
    to: u64,
    places: Vec<Value>,
}

fn look(view: &NodeView, account: AccountNumber, nonce: u64) -> Result<Looked, Refused> {
    let to = view.progress().durable;
    let mut looked = Looked { from: to, to, places: Vec::new() };
    let mut bytes = 0;
    for height in (1..=to).rev().take(BLOCKS_MAX as usize) {
        let Some(block) = view.block(Height(height)).map_err(unreadable)? else { break };
        let Ok(block) = decode_block(&block) else { break };
        for settled in block.settled.iter().rev() {
            // What is removed here is not found, and what is no batch is none.
            let Some(found) = view.batch(&settled.id).map_err(unreadable)? else { return Ok(looked) };
            bytes += found.len();
            let Ok(batch) = Batch::decode(found) else { continue };
            let rows = batch.rows();
            let own = rows
                .iter()
                .enumerate()
                .filter(|(_, row)| row.effect.from.get() == account.0 && row.effect.nonce.get() == nonce);
            looked.places.extend(own.map(|(place, row)| show(height, settled, place, &row)));
            if looked.places.len() >= PLACES_MAX {
                looked.places.truncate(PLACES_MAX);
                return Ok(looked);
            }
        }
        looked.from = height;
        if bytes >= BYTES_MAX {
            break;
        }
    }
    Ok(looked)
}

fn show(height: u64, settled: &BatchRef, place: usize, row: &Row<'_>) -> Value {
    let effect = row.effect;
    let kind = match Kind::from_byte(effect.kind) {
        Some(Kind::Open) => "open",
        _ => "transfer",
    };
    json!({
        "height": height,
        "author": settled.author, "sequence": settled.sequence, "batch": settled.id.to_string(), "row": place,
        "kind": kind, "to": effect.to.get(), "key": row.key.map(hex::encode),
        "amount": effect.amount.get(), "fee": effect.fee.get(),
        "signature": hex::encode(row.witness.0),
    })
}
