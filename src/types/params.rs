//! Every constant and default in one file.
//!
//! [`Rules`] are part of the genesis: nodes that differ in one of them would fork, so none of them is ever node
//! configuration. The constants below are limits of form (the same for every chain of this rule version) and
//! defaults of a node's own conduct.

use super::Content;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The version of the rules in this file and of every encoding. The first release fixes what 1 means; until then nodes of
/// different builds may not understand each other.
pub const VERSION: u8 = 1;

/// The most seats a committee can have.
pub const SEATS_MAX: usize = 1024;
/// The most guests of a node at once: peers without a seat, which have numbers above all seats ([`super::Seat::guest`]).
pub const GUESTS_MAX: usize = 256;
/// The largest collection depth, in rounds.
pub const DEPTH_MAX: u64 = 1_000;
/// The widest window of outstanding batches.
pub const WINDOW_MAX: u64 = 64;
/// The most rows in a batch.
pub const ROWS_MAX: u32 = 4096;
/// The most acks in a vertex: whatever is more waits for the next one.
pub const ACKS_MAX: usize = 2048;
/// The most bytes of optional parts in a vertex, 8 KiB.
pub const PARTS_BYTES_MAX: usize = 8192;
/// The most bytes of an accusation, of which a vertex carries one at most: 5 KiB.
pub const ACCUSATION_BYTES_MAX: usize = 5120;
/// The most checkpoint votes in a vertex: whatever is more waits for the next one.
pub const CHECKPOINT_VOTES_MAX: usize = 8;
/// The newest checkpoints of which a node keeps votes (of each seat), certificates and settlement records at hand.
pub const CHECKPOINTS_KEPT: usize = 64;
/// The most bytes of a settlement record that is kept on disk and handed on: with its frame 4 MiB. Nobody can join from a
/// checkpoint with a larger one, so windows are no wider than [`record_bytes_max`] allows.
pub const RECORD_BYTES_MAX: usize = (4 << 20) - 64;
/// The most batches that one block can settle: every author's whole window.
pub const SETTLED_MAX: usize = SEATS_MAX * WINDOW_MAX as usize;
/// The most accounts in a genesis, and in the table: 16,777,216 of 64 bytes are 1 GiB.
pub const ACCOUNTS_MAX: u32 = 1 << 24;
/// The most bytes of a genesis' name.
pub const NAME_BYTES_MAX: usize = 64;

/// The most bytes of a genesis: every seat and account that it can have, and 256 for the rest.
pub const GENESIS_BYTES_MAX: usize =
    256 + NAME_BYTES_MAX + SEATS_MAX * (KEY_BYTES + 4) + ACCOUNTS_MAX as usize * (KEY_BYTES + 8);

/// Bytes of an effects row.
pub const EFFECT_BYTES: usize = 32;
/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Bytes of a witness row.
pub const WITNESS_BYTES: usize = 64;
/// Bytes of a batch header with its signature.
pub const BATCH_HEADER_BYTES: usize = 192;
/// The most bytes of a batch: header, effects, witnesses and a key for every row.
pub const BATCH_BYTES_MAX: usize =
    BATCH_HEADER_BYTES + ROWS_MAX as usize * (EFFECT_BYTES + KEY_BYTES + WITNESS_BYTES);
/// The most bytes of a blob, 16 KiB.
pub const BLOB_BYTES_MAX: u32 = 16 << 10;
/// The most bytes of the column of blobs in a batch, 512 KiB: as much as a full batch of rows without its header.
pub const OPAQUE_BYTES_MAX: usize = 512 << 10;
const _: () = assert!(BATCH_HEADER_BYTES + OPAQUE_BYTES_MAX <= BATCH_BYTES_MAX);

/// The least time between two of a node's own vertices, for any `n`; each further seat adds
/// [`ROUND_INTERVAL_PER_SEAT`], because a round costs every node `n` vertices.
pub const ROUND_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// See [`ROUND_INTERVAL_MIN`].
pub const ROUND_INTERVAL_PER_SEAT: Duration = Duration::from_millis(1);
/// How often an idle node makes a vertex.
pub const IDLE_BEAT: Duration = Duration::from_millis(500);
/// Rows wait in the mempool at most this long for company before they are sealed.
pub const SEAL_AGE_MAX: Duration = Duration::from_millis(50);
/// The same for blobs. Rows are dear to check one by one, so they wait longer for company; a batch of blobs costs
/// hardly more than its bytes.
pub const SEAL_AGE_BLOBS_MAX: Duration = Duration::from_millis(20);
/// Blocks after which every account's home moves on to the next seat, so that no account stays with a bad one: about a
/// quarter of an hour in a busy committee of four, nine hours in an idle one. Each change costs some rows a detour.
pub const HOME_TURN: u64 = 1 << 16;
/// How many message delays a seat has to get a row executed before the next in rank has its turn: 2 s with the default
/// of 100 ms. Settling takes some six of them, and a slow leader two more each.
pub const HOME_WAIT_DELAYS: u32 = 20;
/// How often a row is offered to a seat within that time: who is a block behind, or full, may take it a little later.
pub const HOME_OFFERS: u16 = 4;
const _: () = assert!(HOME_WAIT_DELAYS.is_multiple_of(HOME_OFFERS as u32));
/// Of those parts of the wait, how many a seat that is not the home leaves to whoever may have sealed the row already, before
/// it seals what it was handed: ten message delays with the others' figures.
pub const HOME_GRACE_STEPS: u16 = 2;
/// For so many blocks after a turn the homes of the turn before still seal what is under way to them.
pub const HOME_TURN_GRACE: u64 = 256;
/// Bytes of accepted vertices not yet output above which vertices carry no new acks, 64 MiB.
pub const UNCOMMITTED_BYTES_MAX: usize = 64 << 20;
/// Rounds of vertices kept below the floor for peers that are behind, at least, as a multiple of the collection depth.
pub const KEPT_DEPTHS: u64 = 10;
/// More rounds than those are kept as long as all vertices take no more memory than this, 64 MiB: in a committee of
/// four some minutes, in one of a hundred none.
pub const KEPT_BYTES: usize = 64 << 20;
/// A seat whose leader slot was skipped gives way for `n` rounds times two to the number of its skips in a row, which
/// counts up to this: a silent seat of four costs one slot in 132.
pub const GIVE_WAY_STEPS_MAX: u32 = 5;
/// How far above a node's own `accounts` a batch header may name more, to be acked `Held` at all.
pub const ACCOUNTS_AHEAD_MAX: u32 = 1 << 20;

/// The most bytes of the settlement record of a committee of so many seats with such a window and depth, whatever `f` of them
/// do: they make up an id for each open slot of every author, each its own, and show a batch of their own to each of the
/// others; the others name one id in the slots of each other.
pub const fn record_bytes_max(seats: usize, window: u64, depth: u64) -> usize {
    const SLOT: usize = 12;
    const LONE_ACK: usize = 36 + 3;
    let liars = seats.saturating_sub(1) / 3;
    let honest = seats - liars;
    let slots = 3 * window as usize;
    let of_liar = slots * (SLOT + seats * LONE_ACK);
    let of_honest = slots * (SLOT + 36 + honest * 3 + liars * LONE_ACK);
    61 + depth as usize * seats.div_ceil(8) + seats * (9 + 20) + liars * of_liar + honest * of_honest
}

/// The widest window of a committee of so many seats with such a depth: up to about 290 seats one that no liar can make a
/// record too large by; beyond, 1.
pub const fn window_max(seats: usize, depth: u64) -> u64 {
    let mut window = WINDOW_MAX;
    while window > 1 && record_bytes_max(seats, window, depth) > RECORD_BYTES_MAX {
        window -= 1;
    }
    window
}

/// Who verifies a batch before it settles.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Policy {
    /// Everybody; settles with `Q` valid acks. `n` checks per transaction.
    All = 0,
    /// The author and `f` others, drawn; settles with `f + 1` valid acks. `f + 1` checks per transaction.
    Quorum = 1,
}

/// The parameters that the rules read. Part of the genesis.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Collection depth `D` in rounds: a vertex further below an emitted leader is never output.
    pub depth: u64,
    /// Outstanding batches per author, `W`.
    pub window: u64,
    /// Message delay `Δ` in milliseconds, from which every timer is derived.
    pub delay_ms: u32,
    /// The verification policy.
    pub policy: Policy,
    /// The least fee of a transfer.
    pub fee_min: u32,
    /// The least fee of an open row.
    pub fee_open: u32,
    /// Blocks from checkpoint to checkpoint.
    pub checkpoint_blocks: u64,
    /// What batches carry. A chain of rows takes no blobs, which nobody signs or pays for; a chain of blobs no rows.
    pub content: Content,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            depth: 50,
            window: 16,
            delay_ms: 100,
            policy: Policy::Quorum,
            fee_min: 1,
            fee_open: 100,
            checkpoint_blocks: 64,
            content: Content::Rows,
        }
    }
}

impl Rules {
    /// The defaults for a committee of so many seats.
    pub fn of(seats: usize) -> Rules {
        let rules = Rules::default();
        Rules { window: rules.window.min(window_max(seats, rules.depth)), ..rules }
    }

    /// `Δ` as a span.
    pub fn delay(&self) -> Duration {
        Duration::from_millis(u64::from(self.delay_ms))
    }

    /// The first limit that contradicts another, in words.
    pub fn check(&self) -> Result<(), &'static str> {
        let rules = [
            ((4..=DEPTH_MAX).contains(&self.depth), "depth must lie between 4 and 1000 rounds"),
            ((1..=WINDOW_MAX).contains(&self.window), "window must lie between 1 and 64 batches"),
            ((1..=60_000).contains(&self.delay_ms), "delay_ms must lie between 1 and 60000"),
            (self.fee_min >= 1, "fee_min must be at least 1"),
            (self.fee_open >= self.fee_min, "fee_open must not lie below fee_min"),
            (
                (1..=1 << 20).contains(&self.checkpoint_blocks),
                "checkpoint_blocks must lie between 1 and 1048576",
            ),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, words)| Err(words))
    }

    /// The least time between two own vertices in a committee of `size`.
    pub fn round_interval(size: usize) -> Duration {
        ROUND_INTERVAL_MIN + ROUND_INTERVAL_PER_SEAT * u32::try_from(size).unwrap_or(u32::MAX)
    }
}
