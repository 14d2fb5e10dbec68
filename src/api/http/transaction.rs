//! Where a transaction stands.
//!
//! There is no index of transactions: writing one would cost every row that the engine settles. What is known at once is whether
//! the account has used the nonce. Where its row stands is looked for in the blocks.
//!
//! - Upon a question: the newest blocks are looked through, within bounds on blocks and bytes, and who asks pays for it as for
//!   twenty other questions. If they do not have it, the answer says that it stands below them, and from where to go on
//!   (`below`): so however far one looks, a single question costs no more.
//! - Upon a block whose rows are removed here, there is no going on; who has the directory of a node that keeps all finds more by
//!   `throng inspect`.

use super::account::unreadable;
use super::parse::{Refused, number};
use super::routes::{ACCOUNT_BOUNDS, Asked, Parameter, Place, json_answer};
use crate::net::NodeView;
use crate::types::{Account, AccountNumber, BatchRef, Height, Kind, NONCE_WINDOW};
use crate::wire::{Batch, Row, decode_block};
use axum::response::Response;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

/// Bytes of batches that are looked through at most, unless a single block has more.
const BYTES_MAX: usize = 32 << 20;
/// Places that are shown at most: rows of one account and nonce stand in several where they were sealed by several.
const PLACES_MAX: usize = 8;
/// How long, and how often, it is waited until what was executed is on disk too.
const MOMENT: Duration = Duration::from_millis(20);
const MOMENTS_MAX: usize = 50;
/// What it costs beside what every question costs.
const COST: u32 = 19;

pub(super) const DESCRIPTION: &str = "`used` is true if the account has used the nonce: the transaction has settled. It is null \
    for a nonce that lies 64 or more below the account's highest: it has settled, or was passed over and can never be used. \
    Where it stands is looked for in the newest 1,024 blocks, or as many as hold 32 MiB of batches. If it is in none of them, \
    `note` says what that means, and `below` is the height from which to go on: ask again with `?below=` it. `below` is null \
    where it was found, and where nothing is left to look through. A row that several validators sealed stands in several \
    `places`, of which up to 8 are shown; it was executed in one at most. One such question counts as twenty.";

pub(super) const BELOW: Parameter = Parameter {
    name: "below",
    place: Place::Query,
    schema: "HeightAbove",
    description: "Only blocks below this height are looked through, the newest of them first.",
};

/// Answers by the account and nonce of a transaction.
pub(super) async fn by_nonce(asked: Asked) -> Result<Response, Refused> {
    let (least, most) = ACCOUNT_BOUNDS;
    let account = number("the account's number", asked.parameter("account"), least, most)?;
    let nonce = number("the nonce", asked.parameter("nonce"), 1, u64::MAX)?;
    let below = asked.query("below").map(|text| number("below", text, 2, u64::MAX)).transpose()?;
    let account = AccountNumber(account as u32);
    let found = asked.site.view.account(account);
    let found =
        found.ok_or_else(|| Refused::new(404, format!("there is no account {account} on this chain")))?;
    let Some(used) = Used::of(&found, nonce) else {
        return Err(Refused::new(404, format!("account {account} has not used nonce {nonce} yet")));
    };
    asked.site.pay(asked.address, COST)?;
    let shown = if below.is_none() { written(&asked.site.view).await } else { 0 };
    let blocks_max = asked.site.limits.search_blocks_max;
    let wanted = Wanted { account, nonce, below, shown, blocks_max };
    let looked = asked.site.on_disk(move |view| look(view, &wanted)).await?;
    let note = looked.places.is_empty().then(|| looked.note(used));
    let on = looked.places.is_empty() && looked.rest == Rest::Further;
    let document = json!({
        "account": account, "nonce": nonce, "used": (used == Used::Surely).then_some(true),
        "looked_from": looked.from, "looked_to": looked.to, "below": on.then_some(looked.from),
        "places": looked.places, "note": note,
    });
    Ok(json_answer(200, &document))
}

/// The height up to which the account may show what was executed, a moment later: commonly all of that is on disk then.
async fn written(view: &NodeView) -> u64 {
    // The node tells where it stands once a turn.
    sleep(MOMENT).await;
    let executed = view.progress().executed;
    for _ in 0..MOMENTS_MAX {
        if view.progress().durable >= executed {
            break;
        }
        sleep(MOMENT).await;
    }
    executed
}

/// How a nonce that can no longer be used came to that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Used {
    /// A transaction used it.
    Surely,
    /// The account remembers no nonce as old as this: a transaction used it, or nothing ever will.
    OrPassedOver,
}

impl Used {
    /// `None`: it may still be used.
    fn of(account: &Account, nonce: u64) -> Option<Used> {
        let below = account.nonce_high.get().checked_sub(nonce)?;
        if below >= NONCE_WINDOW {
            return Some(Used::OrPassedOver);
        }
        (!account.accepts(nonce)).then_some(Used::Surely)
    }
}

/// What lies below the blocks that were looked through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rest {
    /// Blocks that may be looked through too.
    Further,
    /// Blocks whose rows are not kept here.
    Removed,
    /// Nothing: the first block was looked through.
    Nothing,
}

/// What was found, and in which blocks it was looked for: none, if the first is above the last.
struct Looked {
    from: u64,
    to: u64,
    rest: Rest,
    /// Whether all newer blocks were looked through that were on disk.
    from_tip: bool,
    /// Whether the account may show blocks that are not on disk yet.
    above: bool,
    places: Vec<Value>,
}

impl Looked {
    /// What it means that nothing was found.
    fn note(&self, used: Used) -> String {
        let Looked { from, to, .. } = self;
        let what = match used {
            Used::Surely => "settled",
            Used::OrPassedOver => "settled, or passed over and never to settle",
        };
        let looked = if from > to { String::new() } else { format!("; not in blocks {from} to {to}") };
        let place = match (self.from_tip, self.rest) {
            (true, Rest::Further) => {
                format!("in a block below height {from}, older than what was looked through")
            }
            (true, Rest::Removed) => format!("in a block below height {from}"),
            (true, Rest::Nothing) => "but in no block on this node's disk".to_owned(),
            (false, _) => "in another block".to_owned(),
        };
        let above = match self.above {
            true => format!(", or above height {to} in one that is not on this node's disk yet: ask again"),
            false => String::new(),
        };
        let on = match self.rest {
            Rest::Further => format!("; go on with ?below={from}"),
            Rest::Removed => format!(
                "; rows below height {from} are not kept on this node: ask one that keeps all, or use `throng inspect` on its directory"
            ),
            Rest::Nothing => String::new(),
        };
        let looked = if self.from_tip { String::new() } else { looked };
        format!("{what}, {place}{above}{looked}{on}")
    }
}

/// What is looked for, and where.
struct Wanted {
    account: AccountNumber,
    nonce: u64,
    below: Option<u64>,
    /// What the account showed was executed at or below this height.
    shown: u64,
    blocks_max: u64,
}

fn look(view: &NodeView, wanted: &Wanted) -> Result<Looked, Refused> {
    let below = wanted.below;
    let progress = view.progress();
    let from_tip = below.is_none_or(|below| below > progress.durable);
    let to = progress.durable.min(below.map_or(u64::MAX, |below| below - 1));
    let above = from_tip && wanted.shown > to;
    let mut looked = Looked { from: to + 1, to, rest: Rest::Nothing, from_tip, above, places: Vec::new() };
    let mut bytes = 0;
    for height in (1..=to).rev() {
        looked.rest = Rest::Further;
        if to - height >= wanted.blocks_max || bytes >= BYTES_MAX || !looked.places.is_empty() {
            return Ok(looked);
        }
        match look_at(view, height, wanted)? {
            Some((read, places)) => {
                bytes += read;
                looked.places = places;
                looked.from = height;
            }
            None => return Ok(Looked { rest: Rest::Removed, ..looked }),
        }
    }
    Ok(Looked { rest: Rest::Nothing, ..looked })
}

/// How many bytes the batches of a block have, and where in it such rows stand; `None`: it is not whole here.
fn look_at(view: &NodeView, height: u64, wanted: &Wanted) -> Result<Option<(usize, Vec<Value>)>, Refused> {
    let Some(block) = view.block(Height(height)).map_err(unreadable)? else { return Ok(None) };
    let Ok(block) = decode_block(&block) else { return Ok(None) };
    let (mut bytes, mut places) = (0, Vec::new());
    for settled in &block.settled {
        let Some(found) = view.batch(&settled.id).map_err(unreadable)? else { return Ok(None) };
        bytes += found.len();
        // What is no batch of rows has none.
        let Ok(batch) = Batch::decode(found) else { continue };
        let rows = batch.rows();
        let own = rows.iter().enumerate().filter(|(_, row)| {
            row.effect.from.get() == wanted.account.0 && row.effect.nonce.get() == wanted.nonce
        });
        let room = PLACES_MAX - places.len();
        places.extend(own.take(room).map(|(place, row)| show(height, settled, place, &row)));
    }
    Ok(Some((bytes, places)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_used_open_or_too_old_to_tell() {
        let mut account = Account::new([7; 32], 0);
        assert_eq!(Used::of(&account, 1), None);
        assert!(account.use_nonce(2) && account.use_nonce(65));
        let used = |nonce| Used::of(&account, nonce);
        assert_eq!((used(65), used(2), used(66)), (Some(Used::Surely), Some(Used::Surely), None));
        assert_eq!((used(3), used(1)), (None, Some(Used::OrPassedOver)), "1 is 64 below the highest");
    }

    #[test]
    fn what_was_not_found_is_told_with_where_it_may_be() {
        let looked =
            |from, to, rest, from_tip, above| Looked { from, to, rest, from_tip, above, places: vec![] };
        let says = |looked: Looked, used| looked.note(used);
        assert_eq!(
            says(looked(100, 1123, Rest::Further, true, false), Used::Surely),
            "settled, in a block below height 100, older than what was looked through; go on with ?below=100"
        );
        let again = says(looked(10, 99, Rest::Further, false, false), Used::OrPassedOver);
        assert_eq!(
            again,
            "settled, or passed over and never to settle, in another block; not in blocks 10 to 99; go on with ?below=10"
        );
        let removed = says(looked(6, 5, Rest::Removed, true, true), Used::Surely);
        assert!(
            removed
                .starts_with("settled, in a block below height 6, or above height 5 in one that is not on")
        );
        assert!(removed.contains("rows below height 6 are not kept on this node: ask one that keeps all"));
        let nowhere = says(looked(1, 9, Rest::Nothing, true, true), Used::Surely);
        assert!(nowhere.starts_with("settled, but in no block on this node's disk, or above height 9"));
    }
}
