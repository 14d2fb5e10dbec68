//! Proofs of single records of the account table.

use super::Ledger;
use crate::crypto::{ProofError, verify_range_of};
use crate::types::{Account, AccountNumber, Root};
use std::ops::Range;
use zerocopy::{FromBytes, IntoBytes};

/// A record and what proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountProof {
    /// The root of the table after the last executed block.
    pub root: Root,
    /// Accounts in that table, the sentinel counted: a verifier takes it from the block that names the root.
    pub accounts: u32,
    /// The Bao slice of the record's 64 bytes: 8 bytes, 64 for each level of the tree, and the record's chunk.
    pub proof: Vec<u8>,
}

impl Ledger {
    /// Proves an account's record against the root of the state after the last executed block, which is brought up
    /// to date first. A checkpoint's root is that of this state until the next block executes. `None` if there is no
    /// such account.
    pub fn prove(&self, number: AccountNumber) -> Option<AccountProof> {
        let state = self.state.read();
        let accounts = u32::try_from(state.accounts.len()).expect("the table's limit lies far below 2^32");
        if number.0 >= accounts {
            return None;
        }
        let mut tree = self.tree.lock();
        let root = self.root_of(&state, &mut tree);
        let proof = tree.prove(state.accounts.as_bytes(), record(number));
        Some(AccountProof {
            root,
            accounts,
            proof: proof.expect("a record of the table whose root was just made"),
        })
    }
}

impl Ledger {
    /// The proof of an account's record, if the state after the last executed block is still the one with this root, which a
    /// checkpoint names: without hashing anything anew, so that whoever asks holds up nobody. `None` also if there is no such
    /// account.
    pub fn prove_at(&self, root: &Root, number: AccountNumber) -> Option<AccountProof> {
        let state = self.state.read();
        let accounts = u32::try_from(state.accounts.len()).expect("the table's limit lies far below 2^32");
        let mut tree = self.tree.lock();
        let fresh = tree.root_if_fresh(state.accounts.as_bytes())?;
        if fresh != root.0 || number.0 >= accounts {
            return None;
        }
        let proof = tree.prove(state.accounts.as_bytes(), record(number)).ok()?;
        Some(AccountProof { root: *root, accounts, proof })
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
