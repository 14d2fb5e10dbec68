//! The account table, execution, state root.
//!
//! **Owns** the accounts (64-byte records by number, the sentinel at 0), the numbers by key, and the keys by number
//! that verification reads. **May not** check a signature, judge the form of a row, or know rounds and votes.
//!
//! - Upon a block ([`Ledger::execute`]): *debits* in block order, then new accounts, then *credits*. A debit is
//!   checked in this order: an unknown number, a nonce that is not acceptable, a fee above the balance give a code
//!   and change nothing; amount and fee together above the balance give a code, but the fee is paid and the nonce
//!   used; all else is `ok`. The fee of a row goes to the fee account of its batch's author.
//! - Upon an open row: a key that has an account makes it a transfer to that account. So does a key that an earlier
//!   row of the same block opens. Otherwise it takes the next number.
//! - Upon a full table ([`ACCOUNTS_MAX`]): opening a new key has the outcome `UnknownAccount`, with no change.
//! - Upon [`Ledger::root`]: the records that blocks have touched since the last root are rehashed and summed, chunk
//!   by chunk; the rest keeps its chaining values and sums. So the sum is that of the bytes that the root names.
//! - Upon a snapshot ([`Ledger::copy`]): one copy of the table, taken between two blocks.
//! - Upon a later table of the chain ([`Ledger::go_on_from`]), which a quorum vouches for: it takes the place of this one.
//!   No key changes its number, so that whoever checks signatures meanwhile is not misled.
//! - Upon a question ([`Ledger::account`], [`Ledger::read`]): the state after the last executed block, never one in
//!   the middle of a block: a block is written under one lock.
//!
//! Why that is safe: what arrives in a block can be spent only from the next one on, so the debits of a block do
//! not depend on its credits, and credits are additions that commute; any split of the work has one result. A
//! failed payment that still pays its fee leaves later rows of the same account valid. Supply is constant: every
//! block asserts that what was taken is what was given, and every root that the balances of the whole table add up.
//! The rows were checked before, yet execution is total: whatever rows come, each gets a code and nothing panics.
//!
//! Locks are taken in one order, the table before its tree. A root holds the table for reading only, so questions
//! are answered meanwhile and the next block waits.

mod proof;
#[cfg(test)]
mod tests;

pub use proof::verify_account;

use crate::crypto::{KeyTable, Threads, Tree};
use crate::types::params::ACCOUNTS_MAX;
use crate::types::{Account, AccountNumber, Effect, Kind, Outcome, Root};
use crate::wire::{Row, Rows};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, IntoBytes};

/// Decompressed keys that are remembered for verification: at about 180 bytes each, 24 MiB when all are in use.
const POINTS_MAX: usize = 1 << 17;

/// The account table of one node.
pub struct Ledger {
    state: RwLock<State>,
    /// The kept hashes of the table, and the sums of its balances; locked after `state`.
    tree: Mutex<Tree>,
    keys: KeyTable,
    supply: u128,
    accounts_max: usize,
    /// Memory of a copy of the table that was dropped.
    spare: Arc<Mutex<Vec<u8>>>,
}

/// What the lock guards: written by [`Ledger::execute`] only.
struct State {
    accounts: Vec<Account>,
    numbers: BTreeMap<[u8; 32], u32>,
}

/// A copy of the table, whose memory goes back to the ledger.
struct TableCopy {
    bytes: Vec<u8>,
    spare: Arc<Mutex<Vec<u8>>>,
}

impl AsRef<[u8]> for TableCopy {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for TableCopy {
    fn drop(&mut self) {
        *self.spare.lock() = std::mem::take(&mut self.bytes);
    }
}

/// Why a table is not a later one of the same chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LaterTableError {
    /// Accounts are never given up, and have a limit.
    #[error("it has {found} accounts; here are {known}, and at most {most} may be")]
    Accounts {
        /// How many it has.
        found: usize,
        /// How many there are by now.
        known: usize,
        /// How many there may be.
        most: usize,
    },
    /// Supply is constant.
    #[error("its balances do not add up to the supply")]
    Supply,
    /// The key of a number never changes.
    #[error("account {0} has another key here")]
    Key(usize),
}

/// Moved by a row: to whom, how much.
type Credit = (u32, u64);

/// A block while it executes.
struct Execution<'a> {
    accounts: &'a mut [Account],
    numbers: &'a mut BTreeMap<[u8; 32], u32>,
    tree: &'a mut Tree,
    accounts_max: usize,
    /// Keys opened by this block, in the order of their numbers.
    opened: Vec<[u8; 32]>,
    credits: Vec<Credit>,
    codes: Vec<u8>,
    /// Everything taken from balances, fees included.
    debited: u128,
}

impl Ledger {
    /// A ledger over a first table (the sentinel first).
    ///
    /// # Panics
    /// If the table has no sentinel, more than [`ACCOUNTS_MAX`] accounts, or balances that exceed 64 bits
    /// together: the caller has checked the genesis or the snapshot that it comes from.
    pub fn new(table: Vec<Account>) -> Ledger {
        Ledger::with_limit(table, ACCOUNTS_MAX as usize)
    }

    /// The same with another limit of accounts, so that a test can fill the table.
    fn with_limit(table: Vec<Account>, accounts_max: usize) -> Ledger {
        assert!((1..=accounts_max).contains(&table.len()), "a table holds the sentinel and has a limit");
        let supply = total(&table);
        assert!(supply <= u128::from(u64::MAX), "the supply fits 64 bits");
        let keys = KeyTable::new(POINTS_MAX);
        for account in &table {
            keys.push(&account.key).expect("the key table is larger than the account table");
        }
        let numbers = table.iter().zip(0..).skip(1).map(|(account, number)| (account.key, number)).collect();
        let tree = Mutex::new(Tree::with_tally(balances));
        Ledger {
            state: RwLock::new(State { accounts: table, numbers }),
            tree,
            keys,
            supply,
            accounts_max,
            spare: Arc::default(),
        }
    }

    /// Goes on from a later table of the same chain, whose root the caller has checked: nothing of what lies between was
    /// executed here.
    ///
    /// # Errors
    /// [`LaterTableError`] if it cannot be a later table of this chain; then nothing is changed.
    pub fn go_on_from(&self, table: Vec<Account>) -> Result<(), LaterTableError> {
        let mut state = self.state.write();
        let mut tree = self.tree.lock();
        let known = state.accounts.len();
        if table.len() < known || table.len() > self.accounts_max {
            return Err(LaterTableError::Accounts { found: table.len(), known, most: self.accounts_max });
        }
        if total(&table) != self.supply {
            return Err(LaterTableError::Supply);
        }
        let changed = state.accounts.iter().zip(&table).position(|(old, new)| old.key != new.key);
        if let Some(number) = changed {
            return Err(LaterTableError::Key(number));
        }
        for (account, number) in table[known..].iter().zip(known as u32..) {
            self.keys.push(&account.key).expect("the key table is larger than the account table");
            state.numbers.insert(account.key, number);
        }
        state.accounts = table;
        let bytes = size_of_val(state.accounts.as_slice());
        tree.mark(0..bytes);
        Ok(())
    }

    /// Accounts in the table, the sentinel counted. Does not wait for a block that executes.
    pub fn len(&self) -> u32 {
        self.keys.len()
    }

    /// Whether there is no account: never, for the sentinel is always there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The keys by account number, readable while blocks execute.
    pub fn keys(&self) -> &KeyTable {
        &self.keys
    }

    /// An account's record after the last executed block.
    pub fn account(&self, number: AccountNumber) -> Option<Account> {
        self.state.read().accounts.get(number.0 as usize).copied()
    }

    /// The number of the account with a key, after the last executed block.
    pub fn number_of(&self, key: &[u8; 32]) -> Option<AccountNumber> {
        self.state.read().numbers.get(key).copied().map(AccountNumber)
    }

    /// Calls `read` with a reader of several accounts under one short lock.
    pub fn read<R>(&self, read: impl FnOnce(&[Account]) -> R) -> R {
        read(&self.state.read().accounts)
    }

    /// A copy of the table's bytes. The next block waits for it as long as the copying takes: of a million accounts 7 ms,
    /// and six times as long the first time, since memory that was never touched is dearer than the copying. So the memory of the last copy, once that is dropped, is kept for the next one.
    pub fn copy(&self) -> Bytes {
        let mut bytes = std::mem::take(&mut *self.spare.lock());
        bytes.clear();
        bytes.extend_from_slice(self.state.read().accounts.as_bytes());
        Bytes::from_owner(TableCopy { bytes, spare: self.spare.clone() })
    }

    /// Executes one block: (rows, fee account of the author) per settled batch, in order. Returns the outcome code of
    /// every row in order, and how many are `ok`.
    ///
    /// # Panics
    /// If a fee account does not exist (the genesis was checked for that), or if supply was not constant.
    pub fn execute(&self, batches: &[(Rows<'_>, AccountNumber)]) -> (Vec<u8>, u32) {
        let mut state = self.state.write();
        let mut tree = self.tree.lock();
        let State { accounts, numbers } = &mut *state;
        let rows = batches.iter().map(|(rows, _)| rows.len()).sum();
        let mut execution = Execution {
            accounts,
            numbers,
            tree: &mut tree,
            accounts_max: self.accounts_max,
            opened: Vec::new(),
            credits: Vec::with_capacity(rows + batches.len()),
            codes: Vec::with_capacity(rows),
            debited: 0,
        };
        for (rows, fee_account) in batches {
            execution.batch(*rows, *fee_account);
        }
        let Execution { opened, credits, codes, debited, .. } = execution;
        for key in opened {
            self.keys.push(&key).expect("the key table is larger than the account table");
            accounts.push(Account::new(key, 0));
        }
        assert_eq!(credit(accounts, &mut tree, &credits), debited, "what a block takes it gives");
        let ok = codes.iter().filter(|&&code| code == Outcome::Ok as u8).count();
        (codes, u32::try_from(ok).expect("a block has far fewer than 2^32 rows"))
    }

    /// The root of the account table: the plain BLAKE3 hash of its bytes. Hashes on the calling thread what changed
    /// since the last root: 64 MB take about 14 ms when all changed, and about 1.5 ms per thousand touched
    /// accounts when few did.
    ///
    /// # Panics
    /// If the balances no longer add up to the first supply.
    pub fn root(&self) -> Root {
        let state = self.state.read();
        self.root_of(&state, &mut self.tree.lock())
    }

    fn root_of(&self, state: &State, tree: &mut Tree) -> Root {
        let root = tree.root(state.accounts.as_bytes(), Threads::Caller);
        assert_eq!(tree.tally(), self.supply, "supply is constant");
        Root(root)
    }
}

impl Execution<'_> {
    /// The debits of one batch, and its fees as one credit.
    fn batch(&mut self, rows: Rows<'_>, fee_account: AccountNumber) {
        assert!(fee_account.0 != 0 && self.has(fee_account.0), "a seat's fee account is in the genesis");
        let mut fees = 0u64;
        for row in rows.iter() {
            let outcome = self.debit(&row);
            if matches!(outcome, Outcome::Ok | Outcome::AmountNotCovered) {
                fees += u64::from(row.effect.fee.get());
            }
            self.codes.push(outcome as u8);
        }
        // In a loop of its own: inside the one above, which waits for memory, and inside that of the credits, marking
        // cost 3 to 7 ns a row. What it costs here is not measured yet.
        let codes = &self.codes[self.codes.len() - rows.len()..];
        let charged = [Outcome::Ok as u8, Outcome::AmountNotCovered as u8];
        for (effect, code) in rows.effects.iter().zip(codes) {
            if charged.contains(code) {
                mark(self.tree, effect.from.get());
            }
        }
        self.debited += u128::from(fees);
        self.credits.push((fee_account.0, fees));
    }

    /// The checks and the debit of one row.
    fn debit(&mut self, row: &Row<'_>) -> Outcome {
        let (from, effect) = (row.effect.from.get(), row.effect);
        let receiver = self.receiver(row);
        if from == 0 || receiver.is_none() {
            return Outcome::UnknownAccount;
        }
        let Some(account) = self.accounts.get_mut(from as usize) else { return Outcome::UnknownAccount };
        let outcome = charge(account, effect);
        if outcome == Outcome::Ok {
            let amount = effect.amount.get();
            let to = match receiver {
                Some(Receiver::Number(number)) => number,
                Some(Receiver::New(key)) => self.open(key),
                None => return Outcome::UnknownAccount,
            };
            self.debited += u128::from(amount);
            self.credits.push((to, amount));
        }
        outcome
    }

    /// Where a row's amount would go; `None` if there is no such account and none can be opened.
    fn receiver(&self, row: &Row<'_>) -> Option<Receiver> {
        match Kind::from_byte(row.effect.kind)? {
            Kind::Transfer => {
                let to = row.effect.to.get();
                (to != 0 && self.has(to)).then_some(Receiver::Number(to))
            }
            Kind::Open => {
                let key = row.key.filter(|key| **key != [0; 32])?;
                match self.numbers.get(key) {
                    Some(&number) => Some(Receiver::Number(number)),
                    None if self.accounts.len() + self.opened.len() < self.accounts_max => {
                        Some(Receiver::New(*key))
                    }
                    None => None,
                }
            }
        }
    }

    /// Gives a key the next number. The account itself is made after the debits, so that nothing in this block can
    /// be paid from it, or name it.
    fn open(&mut self, key: [u8; 32]) -> u32 {
        let number = u32::try_from(self.accounts.len() + self.opened.len())
            .expect("the table's limit lies far below 2^32");
        self.numbers.insert(key, number);
        self.opened.push(key);
        number
    }

    fn has(&self, number: u32) -> bool {
        (number as usize) < self.accounts.len()
    }
}

/// Where a row's amount goes.
enum Receiver {
    /// To an account, of the table or opened earlier in the block.
    Number(u32),
    /// To a key that has no account yet.
    New([u8; 32]),
}

/// Takes nonce, fee and amount from an account as far as the checks allow.
fn charge(account: &mut Account, effect: &Effect) -> Outcome {
    let (balance, fee) = (account.balance.get(), u64::from(effect.fee.get()));
    if !account.accepts(effect.nonce.get()) {
        return Outcome::BadNonce;
    }
    let Some(after_fee) = balance.checked_sub(fee) else { return Outcome::FeeNotCovered };
    let (after, outcome) = match after_fee.checked_sub(effect.amount.get()) {
        Some(after) => (after, Outcome::Ok),
        None => (after_fee, Outcome::AmountNotCovered),
    };
    account.use_nonce(effect.nonce.get());
    account.balance = U64::new(after);
    outcome
}

/// Adds every credit to its account; returns what was given in all.
fn credit(accounts: &mut [Account], tree: &mut Tree, credits: &[Credit]) -> u128 {
    let mut credited = 0u128;
    for &(number, amount) in credits {
        let account = &mut accounts[number as usize];
        let sum = u128::from(account.balance.get()) + u128::from(amount);
        // Only what was debited before is credited, so no balance can exceed the supply.
        account.balance = U64::new(u64::try_from(sum).expect("a balance is at most the supply"));
        credited += u128::from(amount);
    }
    for &(number, _) in credits {
        mark(tree, number);
    }
    credited
}

/// Says that an account's record was written.
#[inline]
fn mark(tree: &mut Tree, number: u32) {
    tree.mark_at(number as usize * size_of::<Account>());
}

/// The balances of the records in one chunk of the table.
fn balances(chunk: &[u8]) -> u64 {
    let records = <[Account]>::ref_from_bytes(chunk).expect("a chunk holds 16 records, the last one fewer");
    u64::try_from(total(records)).expect("the supply fits 64 bits")
}

fn total(accounts: &[Account]) -> u128 {
    accounts.iter().map(|account| u128::from(account.balance.get())).sum()
}
