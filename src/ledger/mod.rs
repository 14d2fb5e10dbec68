//! The account table, execution, state root.
use crate::crypto::KeyTable;
use crate::types::{Account, AccountNumber, Root};
use crate::wire::Rows;

/// The account table of one node.
pub struct Ledger {}

impl Ledger {
    /// A ledger over a first table (the sentinel first).
    pub fn new(table: Vec<Account>) -> Ledger {
        let _ = table;
        Ledger {}
    }

    /// Accounts in the table, the sentinel counted.
    pub fn len(&self) -> u32 {
        0
    }

    /// The keys by account number, readable while blocks execute.
    pub fn keys(&self) -> &KeyTable {
        unreachable!()
    }

    /// An account's record after the last executed block.
    pub fn account(&self, number: AccountNumber) -> Option<Account> {
        let _ = number;
        None
    }

    /// Calls `read` with a reader of several accounts under one short lock.
    pub fn read<R>(&self, read: impl FnOnce(&[Account]) -> R) -> R {
        read(&[])
    }

    /// Executes one block: (rows, fee account of the author) per settled batch, in order. Returns the outcome code of
    /// every row in order, and how many are `ok`.
    pub fn execute(&self, batches: &[(Rows<'_>, AccountNumber)]) -> (Vec<u8>, u32) {
        let _ = batches;
        (Vec::new(), 0)
    }

    /// The root of the account table: the plain BLAKE3 hash of its bytes.
    pub fn root(&self) -> Root {
        Root::default()
    }
}
