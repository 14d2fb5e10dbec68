//! Blocks.

use super::account::unreadable;
use super::parse::{Refused, number};
use super::routes::{Asked, json_answer};
use crate::types::{Block, Height, RootKind};
use crate::wire::{block_hash, decode_block};
use axum::response::Response;
use serde_json::{Value, json};

/// Answers by the height of a block.
pub(super) async fn by_height(asked: Asked) -> Result<Response, Refused> {
    let tip = asked.site.view.progress().durable;
    let height = match asked.parameter("height") {
        "latest" => tip,
        text => number("the height, unless it is `latest`,", text, 1, u64::MAX)?,
    };
    let found = asked.site.on_disk(move |view| view.block(Height(height)).map_err(unreadable)).await?;
    let Some(bytes) = found else {
        let why = if height > tip { "it is not decided or not here yet" } else { "it is not kept here" };
        return Err(Refused::new(404, format!("there is no block {height}: {why}; the last one is {tip}")));
    };
    let unreadable = |_| Refused::busy("this block cannot be read: ask another node");
    let block = decode_block(&bytes).map_err(unreadable)?;
    Ok(json_answer(200, &document(&block, &bytes)))
}

fn document(block: &Block, bytes: &[u8]) -> Value {
    let root = |kind| block.root(kind).map(|root| root.to_string());
    let settled = block.settled.iter().map(
        |batch| json!({ "author": batch.author, "sequence": batch.sequence, "batch": batch.id.to_string() }),
    );
    let roots = block.root(RootKind::Accounts).map(|_| {
        json!({
            "accounts": root(RootKind::Accounts), "settlement": root(RootKind::Settlement),
            "committee": root(RootKind::Committee),
        })
    });
    json!({
        "height": block.height,
        "hash": block_hash(bytes).to_string(),
        "previous": block.previous.to_string(),
        "epoch": block.epoch,
        "leader": {
            "round": block.leader.round, "author": block.leader.author, "vertex": block.leader.id.to_string(),
        },
        "time_us": block.time.0,
        "accounts": block.accounts.saturating_sub(1),
        "settled": settled.collect::<Vec<_>>(),
        "outcomes": hex::encode(block.outcomes),
        "roots": roots,
    })
}
