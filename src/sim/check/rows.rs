//! The rules of execution once more, as plainly as they can be written: a map of balances, a set of used nonces. And no
//! batch of a liar settles with a row whose signature does not hold, checked one by one.

use crate::crypto::{PreparedKey, verify};
use crate::types::{BatchId, Block, ChainId, Effect, Genesis, Kind, Outcome, RootKind};
use crate::wire::{Batch, chain_id, outcomes_hash, transaction_digest};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Nonces below the highest used one by this much can never be used again.
const WINDOW: u64 = 64;
/// Batches that never settle are forgotten from so many on, oldest first: dead ones.
const BATCHES_MAX: usize = 1 << 16;

#[derive(Default)]
struct Account {
    balance: u64,
    used: BTreeSet<u64>,
}

/// The model.
pub struct RowsCheck {
    accounts: BTreeMap<u32, Account>,
    numbers: BTreeMap<[u8; 32], u32>,
    fee_accounts: Vec<u32>,
    supply: u128,
    /// Batches that some node wrote, and that no block has settled.
    batches: BTreeMap<BatchId, Bytes>,
    order: VecDeque<BatchId>,
    settled: BTreeSet<(u16, u64)>,
    chain: ChainId,
    /// The keys of the accounts, by number.
    keys: BTreeMap<u32, [u8; 32]>,
    liars: BTreeSet<u16>,
}

impl RowsCheck {
    /// The model at the genesis of a world with these liars.
    pub fn new(genesis: &Genesis, liars: &[u16]) -> RowsCheck {
        let mut accounts = BTreeMap::new();
        let mut numbers = BTreeMap::new();
        for (account, number) in genesis.accounts.iter().zip(1..) {
            accounts.insert(number, Account { balance: account.balance, used: BTreeSet::new() });
            numbers.insert(account.key, number);
        }
        RowsCheck {
            supply: genesis.accounts.iter().map(|account| u128::from(account.balance)).sum(),
            chain: chain_id(genesis),
            keys: numbers.iter().map(|(key, number)| (*number, *key)).collect(),
            liars: liars.iter().copied().collect(),
            accounts,
            numbers,
            fee_accounts: genesis.seats.iter().map(|seat| seat.fee_account.0).collect(),
            batches: BTreeMap::new(),
            order: VecDeque::new(),
            settled: BTreeSet::new(),
        }
    }

    /// An honest node wrote a batch; returns it.
    pub fn batch(&mut self, bytes: &Bytes) -> Option<Batch> {
        let batch = Batch::decode(bytes.clone()).ok()?;
        if !self.settled.contains(&(batch.header.author.0, batch.header.sequence.0))
            && self.batches.insert(batch.id, bytes.clone()).is_none()
        {
            self.order.push_back(batch.id);
        }
        while self.order.len() > BATCHES_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.batches.remove(&oldest);
            }
        }
        Some(batch)
    }

    /// Every signature in a batch holds.
    fn is_signed(&self, height: u64, batch: &Batch) -> Result<(), String> {
        for (row, number) in batch.rows().iter().zip(0..) {
            let from = self.keys.get(&row.effect.from.get());
            let to = row.key.or_else(|| self.keys.get(&row.effect.to.get()));
            let holds = from.zip(to).is_some_and(|(from, to)| {
                let digest = transaction_digest(&self.chain, row.effect, from, to);
                PreparedKey::new(from).is_some_and(|key| verify(&key, &digest, &row.witness.0))
            });
            if !holds {
                let (author, sequence) = (batch.header.author, batch.header.sequence);
                return Err(format!(
                    "block {height} settles batch {sequence} of node {author}, whose row {number} has a forged signature"
                ));
            }
        }
        Ok(())
    }

    /// Executes the next block; account and nonce of every row that used one, and how many rows moved something.
    ///
    /// # Errors
    /// The block says something else than the model, or the model broke its own rules.
    pub fn block(&mut self, block: &Block) -> Result<(Vec<(u32, u64)>, u64), String> {
        let height = block.height.0;
        let (mut codes, mut used) = (Vec::new(), Vec::new());
        let mut credits: Vec<(u32, u64)> = Vec::new();
        let mut opened: Vec<[u8; 32]> = Vec::new();
        let known = self.accounts.len() as u32;
        for settled in &block.settled {
            if !self.settled.insert((settled.author.0, settled.sequence.0)) {
                let (sequence, author) = (settled.sequence, settled.author);
                return Err(format!("block {height} settles batch {sequence} of node {author} once more"));
            }
            let bytes = self.batches.get(&settled.id).cloned();
            let bytes = bytes.ok_or_else(|| {
                let (sequence, author) = (settled.sequence, settled.author);
                format!("block {height} settles batch {sequence} of node {author}, which nobody wrote")
            })?;
            let batch = Batch::decode(bytes).map_err(|error| format!("a batch that was written: {error}"))?;
            // An honest one can seal what a liar handed on.
            if !self.liars.is_empty() {
                self.is_signed(height, &batch)?;
            }
            let mut fees = 0;
            for row in batch.rows().iter() {
                let to = row.effect.to.get();
                let receives = match Kind::from_byte(row.effect.kind) {
                    Some(Kind::Transfer) => (1..=known).contains(&to),
                    Some(Kind::Open) => row.key.is_some_and(|key| *key != [0; 32]),
                    None => false,
                };
                let outcome = self.debit(row.effect, receives);
                if matches!(outcome, Outcome::Ok | Outcome::AmountNotCovered) {
                    fees += u64::from(row.effect.fee.get());
                    used.push((row.effect.from.get(), row.effect.nonce.get()));
                }
                if outcome == Outcome::Ok {
                    let to = row.key.map_or(to, |key| self.number(key, known, &mut opened));
                    credits.push((to, row.effect.amount.get()));
                }
                codes.push(outcome as u8);
            }
            credits.push((self.fee_accounts[settled.author.index()], fees));
        }
        for key in opened {
            let number = self.accounts.len() as u32 + 1;
            self.accounts.insert(number, Account::default());
            self.numbers.insert(key, number);
            self.keys.insert(number, key);
        }
        for (to, amount) in credits {
            let account = self.accounts.get_mut(&to).ok_or("a credit to no account")?;
            account.balance = account.balance.checked_add(amount).ok_or("a balance beyond 64 bits")?;
        }
        self.batches_settled(block);
        self.compare(block, &codes)?;
        let ok = codes.iter().filter(|code| **code == Outcome::Ok as u8).count();
        Ok((used, ok as u64))
    }

    fn batches_settled(&mut self, block: &Block) {
        for settled in &block.settled {
            self.batches.remove(&settled.id);
        }
    }

    fn compare(&self, block: &Block, codes: &[u8]) -> Result<(), String> {
        let height = block.height.0;
        let sum: u128 = self.accounts.values().map(|account| u128::from(account.balance)).sum();
        if sum != self.supply {
            return Err(format!("after block {height} the balances are {sum} in all, not {}", self.supply));
        }
        if outcomes_hash(codes) != block.outcomes {
            return Err(format!("block {height} has other outcomes than its {} rows", codes.len()));
        }
        let accounts = self.accounts.len() as u32 + 1;
        if block.accounts != accounts {
            return Err(format!("block {height} counts {} accounts, not {accounts}", block.accounts));
        }
        // What is true of the model's table, such as its sum, is true of the nodes' then.
        let root = block.roots.iter().find(|(kind, _)| *kind == RootKind::Accounts);
        match root.is_none_or(|(_, root)| root.0 == self.root()) {
            true => Ok(()),
            false => {
                Err(format!("block {height} has another root than the account table of the plain rules"))
            }
        }
    }

    /// BLAKE3 of the account table: 64 bytes for each account, the sentinel first.
    fn root(&self) -> [u8; 32] {
        let mut keys = vec![&[0; 32]; self.accounts.len() + 1];
        self.numbers.iter().for_each(|(key, number)| keys[*number as usize] = key);
        let mut table = Vec::with_capacity(keys.len() * 64);
        for (key, number) in keys.into_iter().zip(0..) {
            let account = self.accounts.get(&number);
            let highest = account.and_then(|account| account.used.last()).copied().unwrap_or(0);
            let used = account.into_iter().flat_map(|account| &account.used).chain([&0]);
            let window = used.filter_map(|nonce| 1u64.checked_shl((highest - nonce).try_into().ok()?));
            table.extend(key);
            let words =
                [account.map_or(0, |account| account.balance), highest, window.fold(0, |all, bit| all | bit)];
            words.iter().for_each(|word| table.extend(word.to_le_bytes()));
            table.extend([0; 8]);
        }
        crate::crypto::plain(&table)
    }

    /// The number of a key, or the one that it will get in this block.
    fn number(&self, key: &[u8; 32], known: u32, opened: &mut Vec<[u8; 32]>) -> u32 {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        let place = opened.iter().position(|other| other == key).unwrap_or_else(|| {
            opened.push(*key);
            opened.len() - 1
        });
        known + 1 + place as u32
    }

    fn debit(&mut self, effect: &Effect, receiver: bool) -> Outcome {
        let Some(account) = self.accounts.get_mut(&effect.from.get()).filter(|_| receiver) else {
            return Outcome::UnknownAccount;
        };
        let nonce = effect.nonce.get();
        let highest = account.used.last().copied().unwrap_or(0);
        let late = nonce + WINDOW <= highest;
        let far = nonce > highest.saturating_add(WINDOW);
        if nonce == 0 || late || far || account.used.contains(&nonce) {
            return Outcome::BadNonce;
        }
        let fee = u64::from(effect.fee.get());
        if account.balance < fee {
            return Outcome::FeeNotCovered;
        }
        account.used.insert(nonce);
        while account.used.first().is_some_and(|first| first + 2 * WINDOW < nonce) {
            account.used.pop_first();
        }
        account.balance -= fee;
        if account.balance < effect.amount.get() {
            return Outcome::AmountNotCovered;
        }
        account.balance -= effect.amount.get();
        Outcome::Ok
    }
}
