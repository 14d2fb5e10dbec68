//! Documents in JSON that more than one way to ask gives.

use crate::types::{Account, AccountNumber, ChainId, Effect, Height, Seat, Witness};
use crate::wire::client::{BlockNotice, Status};
use serde_json::{Value, json};

/// Where a node stands.
pub fn status_document(
    (chain, seat, seats): (ChainId, Seat, usize),
    status: &Status,
    certified: Option<Height>,
) -> Value {
    json!({
        "chain": chain.to_string(),
        "seat": seat.taken(),
        "seats": seats,
        "height": status.height,
        "hash": status.hash.to_string(),
        "certified": certified,
        // Account 0 is the sentinel: nobody's.
        "accounts": status.accounts.saturating_sub(1),
        "pending": status.pending,
        "peers": status.peers,
    })
}

/// A block that became durable on the node that tells of it.
pub fn notice_document(notice: &BlockNotice) -> Value {
    json!({
        "height": notice.height, "hash": notice.hash.to_string(), "durable_us": notice.durable.0,
        "batches": notice.batches, "rows": notice.rows, "ok": notice.ok,
    })
}

/// An account's record.
pub fn account_document(number: AccountNumber, account: &Account) -> Value {
    json!({
        "account": number,
        "key": hex::encode(account.key),
        "balance": account.balance.get(),
        "nonce": account.nonce_high.get(),
        "nonce_window": format!("{:016x}", account.nonce_window.get()),
    })
}

/// Signed transfers as a submission over HTTP has them.
pub fn transfers_document(effects: &[Effect], witnesses: &[Witness]) -> Value {
    let row = |(effect, witness): (&Effect, &Witness)| {
        json!({
            "kind": "transfer", "from": effect.from.get(), "to": effect.to.get(), "amount": effect.amount.get(),
            "nonce": effect.nonce.get(), "fee": effect.fee.get(), "signature": hex::encode(witness.0),
        })
    };
    let rows: Vec<Value> = effects.iter().zip(witnesses).map(row).collect();
    json!({ "rows": rows })
}
