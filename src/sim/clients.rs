//! The clients of a world: accounts that sign transfers at a fixed rate, whatever the nodes do (an open loop), send
//! each row to its account's home, or to another node that runs when that one does not, and send again what does
//! not settle. Some rows they send to every node that runs, at once, as who wants to be sure would, or who wants to make
//! everybody work for one fee.

use super::config::SimConfig;
use super::queue::{MS, Nanos, SECOND};
use super::random::{below, bytes, draw};
use crate::crypto::{ExposedKey, sign_exposed};
use crate::types::{AccountNumber, ChainId, Committee, Effect, Genesis, GenesisAccount, Height, Witness};
use crate::wire::client::{SUBMIT_ROWS_MAX, Submission};
use crate::wire::{Rows, transaction_digest};
use std::collections::{BTreeMap, VecDeque};

/// How often clients look what is due.
pub const TICK: Nanos = 5 * MS;
/// When the first row is due.
pub const FIRST: Nanos = 100 * MS;
/// A row that has not settled is sent again after this time, and again.
const AGAIN: Nanos = 2 * SECOND;
/// Rows of one account that may be under way.
const UNDER_WAY: usize = 40;
/// The span of nonces that may be under way: within the account's window of 64.
const SPAN: u64 = 60;
/// New rows in one tick at most: what is due beyond is sent in the next.
const ROWS_PER_TICK: u64 = 8_192;
/// What every account owns at the start.
const BALANCE: u64 = 1_000_000_000;
/// The purposes of draws.
const ACCOUNT: u64 = 21;
const RECEIVER: u64 = 22;
const DETOUR: u64 = 23;
const TO_ALL: u64 = 24;
/// One row in so many goes to all nodes.
const TO_ALL_ONE_IN: u64 = 8;

/// A row that was signed and has not settled.
struct Pending {
    /// When it was meant to be sent.
    intended: Nanos,
    effect: Effect,
    witness: Witness,
}

#[derive(Default)]
struct Account {
    next_nonce: u64,
    pending: BTreeMap<u64, Pending>,
}

/// All clients.
pub struct Clients {
    seed: u64,
    load: u64,
    nodes: u64,
    committee: Committee,
    chain: ChainId,
    fee: u32,
    keys: Vec<ExposedKey>,
    accounts: Vec<Account>,
    /// Where each node's accounts stand in turn.
    turns: Vec<u64>,
    /// When to look at a row again, oldest first.
    again: VecDeque<(Nanos, u32, u64)>,
    /// What did not settle at home is sent to another node: the home may be against it.
    wary: bool,
    /// New rows so far.
    pub sent: u64,
    /// Rows sent again so far.
    pub repeated: u64,
}

/// The keys of the accounts, numbered from 1.
pub fn keys(config: &SimConfig) -> Vec<ExposedKey> {
    (0..config.accounts)
        .map(|account| ExposedKey::from_seed(bytes(config.seed, ACCOUNT, account.into())))
        .collect()
}

/// The accounts of the genesis.
pub fn genesis_accounts(keys: &[ExposedKey]) -> Vec<GenesisAccount> {
    keys.iter().map(|key| GenesisAccount { key: *key.public(), balance: BALANCE }).collect()
}

impl Clients {
    /// Clients that have not sent anything, in a world with liars or without.
    pub fn new(
        config: &SimConfig,
        chain: ChainId,
        genesis: &Genesis,
        keys: Vec<ExposedKey>,
        wary: bool,
    ) -> Clients {
        let mut accounts = Vec::new();
        accounts.resize_with(keys.len(), || Account { next_nonce: 1, pending: BTreeMap::new() });
        Clients {
            seed: config.seed,
            load: config.load,
            nodes: config.nodes.into(),
            committee: genesis.committee(),
            chain,
            fee: genesis.rules.fee_min,
            keys,
            accounts,
            turns: vec![0; config.nodes.into()],
            again: VecDeque::new(),
            wary,
            sent: 0,
            repeated: 0,
        }
    }

    /// When the row of this number is meant to be sent.
    fn due(&self, number: u64) -> Nanos {
        FIRST + (u128::from(number) * u128::from(SECOND) / u128::from(self.load.max(1))) as u64
    }

    /// What is due at `now`, for each node that runs; nothing when none does.
    pub fn tick(&mut self, now: Nanos, running: &[u16]) -> Vec<(u16, Vec<Submission>)> {
        if running.is_empty() || self.load == 0 {
            return Vec::new();
        }
        let mut rows: BTreeMap<u16, Vec<(u32, u64)>> = BTreeMap::new();
        for _ in 0..ROWS_PER_TICK {
            if self.due(self.sent) > now {
                break;
            }
            let Some(account) = self.next_account() else { break };
            let nonce = self.sign(account, now);
            let drawn = draw(self.seed, &[TO_ALL, account.into(), nonce]);
            let one = [self.towards(self.home(account), running, account, nonce)];
            let to = if below(drawn, TO_ALL_ONE_IN) == 0 { running } else { &one };
            to.iter().for_each(|node| rows.entry(*node).or_default().push((account, nonce)));
        }
        for _ in 0..ROWS_PER_TICK {
            let Some(&(due, account, nonce)) = self.again.front() else { break };
            if due > now {
                break;
            }
            self.again.pop_front();
            if self.accounts[account as usize].pending.contains_key(&nonce) {
                self.repeated += 1;
                let home = if self.wary { u16::MAX } else { self.home(account) };
                rows.entry(self.towards(home, running, account, nonce)).or_default().push((account, nonce));
                self.again.push_back((now + AGAIN, account, nonce));
            }
        }
        rows.into_iter().map(|(node, rows)| (node, self.pack(&rows))).collect()
    }

    /// Who seals an account's rows. No run is so long that it changes.
    fn home(&self, account: u32) -> u16 {
        self.committee.home_at(AccountNumber(account + 1), Height(0), 0).0
    }

    /// The home if it runs, else another.
    fn towards(&self, home: u16, running: &[u16], account: u32, nonce: u64) -> u16 {
        if running.binary_search(&home).is_ok() {
            return home;
        }
        let drawn = draw(self.seed, &[DETOUR, account.into(), nonce, self.repeated]);
        running[below(drawn, running.len() as u64) as usize]
    }

    /// An account that may send: of every n-th ones in turn, so that all nodes have as much to seal.
    fn next_account(&mut self) -> Option<u32> {
        for home in (0..self.nodes).map(|step| (self.sent + step) % self.nodes) {
            let count = (self.accounts.len() as u64 - home).div_ceil(self.nodes);
            for _ in 0..count {
                let turn = &mut self.turns[home as usize];
                let account = home + self.nodes * (*turn % count);
                *turn += 1;
                if self.may_send(account as u32) {
                    return Some(account as u32);
                }
            }
        }
        None
    }

    fn may_send(&self, account: u32) -> bool {
        let Account { next_nonce, pending } = &self.accounts[account as usize];
        let lowest = pending.first_key_value().map_or(*next_nonce, |(nonce, _)| *nonce);
        pending.len() < UNDER_WAY && next_nonce - lowest < SPAN
    }

    /// Makes the next row of an account; its nonce.
    fn sign(&mut self, account: u32, now: Nanos) -> u64 {
        let intended = self.due(self.sent);
        self.sent += 1;
        let nonce = self.accounts[account as usize].next_nonce;
        let others = self.accounts.len() as u64 - 1;
        let step = 1 + below(draw(self.seed, &[RECEIVER, account.into(), nonce]), others);
        let to = ((u64::from(account) + step) % self.accounts.len() as u64) as u32;
        let effect = Effect::transfer(account + 1, to + 1, 1 + nonce % 7, nonce, self.fee);
        let (key, to_key) = (&self.keys[account as usize], self.keys[to as usize].public());
        let digest = transaction_digest(&self.chain, &effect, key.public(), to_key);
        let start = crate::crypto::plain(&[&bytes(self.seed, account.into(), nonce)[..], &digest].concat());
        let witness = Witness(sign_exposed(&[(key, digest)], &start)[0]);
        let state = &mut self.accounts[account as usize];
        state.next_nonce += 1;
        state.pending.insert(nonce, Pending { intended, effect, witness });
        self.again.push_back((now + AGAIN, account, nonce));
        nonce
    }

    fn pack(&self, rows: &[(u32, u64)]) -> Vec<Submission> {
        let pending: Vec<&Pending> = rows
            .iter()
            .filter_map(|(account, nonce)| self.accounts[*account as usize].pending.get(nonce))
            .collect();
        let pack = |rows: &[&Pending]| {
            let effects: Vec<_> = rows.iter().map(|row| row.effect).collect();
            let witnesses: Vec<_> = rows.iter().map(|row| row.witness).collect();
            Submission::pack(Rows { effects: &effects, keys: &[], witnesses: &witnesses })
        };
        pending.chunks(SUBMIT_ROWS_MAX).filter_map(pack).collect()
    }

    /// A row of the chain used this nonce: when it was meant to be sent, if that is news.
    pub fn settled(&mut self, number: u32, nonce: u64) -> Option<Nanos> {
        let account = self.accounts.get_mut(number.checked_sub(1)? as usize)?;
        account.pending.remove(&nonce).map(|pending| pending.intended)
    }

    /// Rows that were sent and have not settled.
    pub fn unsettled(&self) -> usize {
        self.accounts.iter().map(|account| account.pending.len()).sum()
    }
}
