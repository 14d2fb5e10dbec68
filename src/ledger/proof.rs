//! Proofs of single records of the account table.

use super::Ledger;
use crate::crypto::{ProofError, verify_range_of};
use crate::types::{Account, AccountNumber, Root};
use std::ops::Range;
use zerocopy::{FromBytes, IntoBytes};

impl Ledger {
    /// The proof of an account's record, if the state after the last executed block is still the one with this root, which a
    /// checkpoint names: the Bao slice of its 64 bytes, which is 8 bytes, 64 for each level of the tree, and the record's
    /// chunk. Nothing is hashed anew for it, so that whoever asks holds up nobody. `None` also if there is no such account.
    pub fn prove_at(&self, root: &Root, number: AccountNumber) -> Option<Vec<u8>> {
        let state = self.state.read();
        let table = state.accounts.as_bytes();
        let mut tree = self.tree.lock();
        let is_present = tree.root_if_fresh(table)? == root.0;
        is_present.then(|| tree.prove(table, record(number)).ok()).flatten()
    }
}

/// The record of account `number` in the table of `accounts` accounts with this root, if `proof` proves it. Root and
/// count come from a block that the caller trusts, the proof from anybody.
pub fn verify_account(
    root: &Root,
    accounts: u32,
    number: AccountNumber,
    proof: &[u8],
) -> Result<Account, ProofError> {
    let table = record(AccountNumber(accounts)).start;
    let bytes = verify_range_of(&root.0, table, record(number), proof)?;
    Ok(Account::read_from_bytes(&bytes).expect("a proven range has the length that was asked for"))
}

/// Where a record stands in the table.
fn record(number: AccountNumber) -> Range<u64> {
    let size = size_of::<Account>() as u64;
    let start = u64::from(number.0) * size;
    start..start + size
}
