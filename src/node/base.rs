//! Where a node may begin without what lies before: a checkpoint with everything that the chain left behind there.
//!
//! - **Upon a start**: of the snapshots in the directory the newest counts whose height has its block and its settlement
//!   record in the log, and whose bytes have the root that this block names. Whatever speaks against a newer one is said.
//!   Without any, the log is replayed from the genesis, if it begins there and no block in it is missing: where a node began
//!   anew at a later checkpoint ([`super::by_table`]), only that or one after it will do.
//!
//! Why that is enough: what follows a checkpoint is a function of the account table, of the settlement record, and of the
//! vertices above its floor with the batches that are open there. The block names the roots of the first two; the rest
//! stands in the log behind the segments that may have been removed ([`super::snapshots`]). Whoever brings a base from
//! elsewhere must know that its block is the chain's: that a quorum signed its hash.

use super::OpenError;
use crate::consensus::{Consensus, RecordError};
use crate::crypto;
use crate::store::RecordKind;
use crate::types::params::ACCOUNTS_MAX;
use crate::types::{Account, Block, Genesis, Height, Root, RootKind, Seat};
use crate::wire::{WireError, block_height, decode_block, decode_record, record_root};
use bytes::Bytes;
use std::collections::BTreeMap;
use thiserror::Error;
use zerocopy::{FromBytes, IntoBytes};

/// The most bytes of an account table.
pub const TABLE_BYTES_MAX: u64 = ACCOUNTS_MAX as u64 * size_of::<Account>() as u64;

/// A checkpoint to begin at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Base {
    /// The canonical bytes of the checkpoint's block.
    pub block: Bytes,
    /// The canonical bytes of the settlement record that it names.
    pub record: Bytes,
    /// The account table after it: what its root of accounts is the hash of.
    pub table: Vec<Account>,
}

/// Why nothing can begin at a base.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BaseError {
    /// The snapshot is of a height whose block is not in the log.
    #[error("the log has no block of this height")]
    NoBlock,
    /// The block names no roots, or no settlement record with its root is in the log.
    #[error("the log has no settlement record that its block names")]
    NoRecord,
    /// The file could not be read.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// Block or record do not decode.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The record is not one of this chain.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Bytes do not have the root that the block names.
    #[error("the {what} has the root {found}, but its block names {expected}")]
    Root {
        /// Of what.
        what: &'static str,
        /// What the bytes hash to.
        found: Root,
        /// What the block says.
        expected: Root,
    },
    /// The table is none of this chain, though it has the root.
    #[error("its account table {0}")]
    Table(&'static str),
}

/// A snapshot that was passed over, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Its height.
    pub height: Height,
    /// What speaks against it.
    pub reason: BaseError,
}

/// The snapshots of a directory: their heights, and how to read one.
pub struct Snapshots<'a> {
    /// The heights, in any order.
    pub heights: Vec<Height>,
    /// Whether records before the first of the log were removed: then it cannot be replayed from the genesis.
    pub removed: bool,
    /// The bytes of one; the reason if they cannot be read.
    pub read: &'a dyn Fn(Height) -> Result<Vec<u8>, String>,
}

impl Snapshots<'_> {
    /// There is none.
    pub fn none() -> Snapshots<'static> {
        Snapshots { heights: Vec::new(), removed: false, read: &|_| Err("there is none".to_owned()) }
    }
}

/// A base whose parts fit each other and the genesis.
pub(super) struct Ready {
    pub block: Block,
    pub base: Base,
    pub consensus: Consensus,
}

impl Base {
    /// Holds block, record and table against each other and against the genesis, and goes on from there as a seat.
    pub(super) fn ready(self, genesis: &Genesis, me: Seat) -> Result<Ready, BaseError> {
        let block = decode_block(&self.block)?;
        let named = roots(&block).ok_or(BaseError::NoRecord)?;
        expect("settlement record", record_root(&self.record), named.settlement)?;
        expect("account table", Root(crypto::plain(self.table.as_bytes())), named.accounts)?;
        if self.table.len() as u64 != u64::from(block.accounts) {
            return Err(BaseError::Table("has another number of accounts than its block says"));
        }
        check_table(genesis, &self.table).map_err(BaseError::Table)?;
        let record = decode_record(&self.record)?;
        if record.leader != block.leader {
            return Err(BaseError::NoRecord);
        }
        let consensus = Consensus::from_record(genesis, &record, me.taken())?;
        Ok(Ready { block, base: self, consensus })
    }
}

/// The roots of a checkpoint.
struct Roots {
    accounts: Root,
    settlement: Root,
}

fn roots(block: &Block) -> Option<Roots> {
    Some(Roots { accounts: block.root(RootKind::Accounts)?, settlement: block.root(RootKind::Settlement)? })
}

fn expect(what: &'static str, found: Root, expected: Root) -> Result<(), BaseError> {
    if found == expected { Ok(()) } else { Err(BaseError::Root { what, found, expected }) }
}

/// What a ledger takes for granted about a table.
fn check_table(genesis: &Genesis, table: &[Account]) -> Result<(), &'static str> {
    let supply = |balances: &mut dyn Iterator<Item = u64>| balances.map(u128::from).sum::<u128>();
    let (before, now) = (
        supply(&mut genesis.accounts.iter().map(|account| account.balance)),
        supply(&mut table.iter().map(|account| account.balance.get())),
    );
    let first: Vec<_> = genesis.table();
    let same = table.len() >= first.len() && first.iter().zip(table).all(|(first, now)| first.key == now.key);
    match () {
        () if !same => Err("does not begin with the accounts of the genesis"),
        () if table.len() > ACCOUNTS_MAX as usize => Err("has more accounts than there can be"),
        () if before != now => Err("has another supply than the genesis"),
        () => Ok(()),
    }
}

/// What a log and the snapshots beside it offer to begin with.
pub(super) struct Found {
    /// The newest base that is good.
    pub ready: Option<Ready>,
    /// Newer snapshots that are not.
    pub refused: Vec<Refused>,
}

/// Looks for the newest good base.
///
/// # Errors
/// There is none, and the log does not begin at the genesis, or blocks are missing in it.
pub(super) fn find(
    genesis: &Genesis,
    me: Seat,
    mut snapshots: Snapshots<'_>,
    records: impl Iterator<Item = (RecordKind, Bytes)>,
) -> Result<Found, OpenError> {
    let (heights, removed, read) = (&mut snapshots.heights, snapshots.removed, snapshots.read);
    heights.sort_unstable();
    let (mut blocks, mut settlements) = (BTreeMap::new(), BTreeMap::new());
    // The last block that does not follow on the one before it: from there on the log is whole.
    let (mut first, mut last) = (Height(1), Height(0));
    for (kind, bytes) in records {
        match kind {
            RecordKind::Block => {
                let Some(height) = block_height(&bytes) else { continue };
                if height != last.next() {
                    first = height;
                }
                last = height;
                if heights.binary_search(&height).is_ok() {
                    blocks.insert(height, bytes);
                }
            }
            RecordKind::Settlement if !heights.is_empty() => {
                settlements.insert(record_root(&bytes), bytes);
            }
            _ => {}
        }
        if heights.is_empty() && last.0 > 0 {
            break;
        }
    }
    let mut refused = Vec::new();
    for height in heights.iter().rev().copied().filter(|height| *height >= first) {
        match at(genesis, me, blocks.remove(&height), &settlements, || read(height)) {
            Ok(ready) => return Ok(Found { ready: Some(ready), refused }),
            Err(reason) => refused.push(Refused { height, reason }),
        }
    }
    if removed || first.0 > 1 {
        let first = if last.0 > 0 { first } else { last };
        return Err(OpenError::NoBase { first: first.0, refused: words(&refused) });
    }
    Ok(Found { ready: None, refused })
}

fn at(
    genesis: &Genesis,
    me: Seat,
    block: Option<Bytes>,
    settlements: &BTreeMap<Root, Bytes>,
    read: impl FnOnce() -> Result<Vec<u8>, String>,
) -> Result<Ready, BaseError> {
    let block = block.ok_or(BaseError::NoBlock)?;
    let named = roots(&decode_block(&block)?).ok_or(BaseError::NoRecord)?;
    let record = settlements.get(&named.settlement).cloned().ok_or(BaseError::NoRecord)?;
    let bytes = read().map_err(BaseError::Unreadable)?;
    let table = match <[Account]>::ref_from_bytes(&bytes) {
        Ok(table) => table.to_vec(),
        Err(_) => return Err(BaseError::Table("is no whole number of accounts long")),
    };
    drop(bytes);
    Base { block, record, table }.ready(genesis, me)
}

fn words(refused: &[Refused]) -> String {
    match refused {
        [] => "there is none".to_owned(),
        refused => {
            let each = refused.iter().map(|Refused { height, reason }| format!("{height}: {reason}"));
            each.collect::<Vec<_>>().join("; ")
        }
    }
}
