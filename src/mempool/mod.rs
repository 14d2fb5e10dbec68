//! Bounded admission, duplicates, fee order, draining.
//!
//! **Owns** the rows that wait on this node to be sealed, and the nonces and fees of every row that waits or is
//! sealed here and not yet executed (*in flight*). **May not** check signatures or nonces against the state (who
//! inserts has done so), read the account table, or order blocks.
//!
//! - Upon rows to admit ([`Mempool::insert`]): refuse one whose account has a row in flight on the same place of a
//!   ring of 128 nonces; one whose fee the executed balance does not cover beside the fees in flight of its account;
//!   and one that finds no room. Else it waits, behind the rows of its fee class.
//! - Upon a seal ([`Mempool::take`]): rows put back first, then the highest fee class (classes double), first come
//!   first. A row that the caller does not keep is let go.
//! - Upon an executed batch ([`Mempool::release`]), and whenever a row is let go: its nonce and fee are free again.
//! - Upon a dead batch ([`Mempool::put_back`]): its rows wait again, before all others.
//! - When full: refuse. A row that waits is not displaced by a higher fee.
//! - Where the chain carries blobs instead ([`BlobQueue`]): they wait in order of arrival, bounded by bytes.
//!
//! Why that is safe: acceptable nonces span 128 (63 below the highest used one to 64 above), so two that are
//! acceptable at one time never share a place in the ring. A row whose nonce fell out of the window while it is
//! in flight keeps its place until it is released: a newer nonce on that place is refused as a duplicate until then,
//! which costs a retry and never admits a row twice. Fees are reserved so that an account cannot fill the mempool
//! with rows that it cannot pay for.

mod blobs;
#[cfg(test)]
mod tests;

pub use blobs::{BlobQueue, GATHERED_MAX};

use crate::types::params::ACCOUNTS_MAX;
use crate::types::{Effect, Kind, Witness};
use crate::wire::{Row, Rows};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Nonces of one account that can be in flight at once.
const RING: u64 = u128::BITS as u64;
/// Fee classes, one for each bit of a fee.
const CLASSES: usize = u32::BITS as usize;
/// The queue of rows that were put back: above every fee class.
const RETURNED: usize = CLASSES;
/// No slot.
const NIL: u32 = u32::MAX;
/// The most rows that any mempool holds, whatever it is asked for: slots are numbered in 32 bits.
const ROWS_LIMIT: usize = NIL as usize;

/// A verified row with what it needs to be sealed.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The effects row.
    pub effect: Effect,
    /// The key that an open row names; `None` for every other kind.
    pub key: Option<[u8; 32]>,
    /// The signature.
    pub witness: Witness,
}

/// What became of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admit {
    /// It waits here now.
    Admitted,
    /// Its account and nonce already wait here or are sealed here and not yet executed.
    Duplicate,
    /// With what already waits, the account's balance does not cover the fees.
    NotCovered,
    /// No room.
    Full,
}

/// Columns taken for a batch: open rows first, as a batch wants them, and else the highest fee class first; one
/// account's rows of one class and kind in order of arrival. Any order among acceptable nonces is as good.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Effects rows.
    pub effects: Vec<Effect>,
    /// Keys of the open rows among them.
    pub keys: Vec<[u8; 32]>,
    /// Their signatures.
    pub witnesses: Vec<Witness>,
}

/// The mempool of one node.
#[derive(Debug)]
pub struct Mempool {
    rows_max: usize,
    /// Rows that wait, as of the last change: read without the lock.
    waiting: AtomicUsize,
    pool: Mutex<Pool>,
}

/// What the lock guards.
#[derive(Debug)]
struct Pool {
    /// Grows to the bound and stays; 136 bytes each.
    slots: Vec<Slot>,
    free: Queue,
    /// By fee class, and the rows put back.
    queues: [Queue; CLASSES + 1],
    waiting: usize,
    /// By account number; grows to the highest sender seen (48 bytes each, 768 MiB for a full account table).
    accounts: Vec<InFlight>,
}

/// A place for a row, linked into one queue.
#[derive(Debug)]
struct Slot {
    entry: Entry,
    next: u32,
}

/// A queue of slots, first in, first out.
#[derive(Clone, Copy, Debug)]
struct Queue {
    head: u32,
    tail: u32,
}

/// One account's rows in flight.
#[derive(Clone, Copy, Debug, Default)]
struct InFlight {
    /// Bit `nonce % 128` of every row that waits.
    waiting: u128,
    /// The same of every row that was taken and not released.
    taken: u128,
    /// The fees of both together; at most 128 of 32 bits.
    fees: u64,
}

impl Mempool {
    /// A mempool of at most `rows_max` rows.
    pub fn new(rows_max: usize) -> Mempool {
        let queues = [Queue::EMPTY; CLASSES + 1];
        let pool = Pool { slots: Vec::new(), free: Queue::EMPTY, queues, waiting: 0, accounts: Vec::new() };
        let rows_max = rows_max.min(ROWS_LIMIT);
        Mempool { rows_max, waiting: AtomicUsize::new(0), pool: Mutex::new(pool) }
    }

    /// Admits entries whose form, signature and nonce were checked; `balance` is the executed balance of the sender.
    /// One answer for each entry. Refusals are looked for in the order duplicate, fees, room.
    pub fn insert(&self, entries: &[(Entry, u64)]) -> Vec<Admit> {
        self.change(|pool| {
            entries.iter().map(|(entry, balance)| pool.admit(entry, *balance, self.rows_max)).collect()
        })
    }

    /// Of each row, whether its account and nonce wait here or are sealed here and not yet executed. (It may change at once:
    /// [`Mempool::insert`] looks again.)
    pub fn in_flight<'a>(&self, effects: impl Iterator<Item = &'a Effect>) -> Vec<bool> {
        let pool = self.pool.lock();
        let accounts = &pool.accounts;
        let known = |effect: &Effect| {
            let account = accounts.get(effect.from.get() as usize);
            account.is_some_and(|account| (account.waiting | account.taken) & bit(effect) != 0)
        };
        effects.map(known).collect()
    }

    /// Rows that wait to be sealed. Without the lock: as of the last change.
    pub fn len(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows that still find room: the bound less the rows that wait.
    pub fn room(&self) -> usize {
        self.rows_max.saturating_sub(self.len())
    }

    /// Takes up to `rows_max` rows that `keep` approves; others are let go (their nonce was used meanwhile). `keep`
    /// is called without the lock, so it may look at the account table. What arrives meanwhile is left for the next
    /// call.
    pub fn take(&self, rows_max: usize, keep: &dyn Fn(&Effect) -> bool) -> Taken {
        let mut taken = Taken::default();
        let mut unseen = self.len();
        while unseen > 0 && taken.effects.len() < rows_max {
            let count = unseen.min(rows_max - taken.effects.len());
            let entries = self.change(|pool| pool.pop(count));
            if entries.is_empty() {
                break;
            }
            unseen -= entries.len();
            let mut dropped = Vec::new();
            for entry in &entries {
                if keep(&entry.effect) {
                    taken.push(entry);
                } else {
                    dropped.push(entry.effect);
                }
            }
            if !dropped.is_empty() {
                self.release(&dropped);
            }
        }
        taken.open_rows_first();
        taken
    }

    /// Rows that were taken have been executed: their account and nonce may come again. A row that was not taken
    /// here, or was released before, is passed over.
    pub fn release(&self, effects: &[Effect]) {
        self.change(|pool| effects.iter().for_each(|effect| pool.release(effect)));
    }

    /// Rows that were taken, but whose batch died: they go out first in the next one. Beyond the bound they are let
    /// go. Rows from before a restart, of which nothing is known here, come in likewise, unless the same account and
    /// nonce was admitted anew.
    pub fn put_back(&self, rows: Rows<'_>) {
        self.change(|pool| {
            // An open row without a key never was sealed here, and would shift the keys of those behind it.
            let whole = |row: &Row<'_>| row.key.is_some() == (row.effect.kind == Kind::Open as u8);
            for row in rows.iter().filter(whole) {
                let entry = Entry { effect: *row.effect, key: row.key.copied(), witness: *row.witness };
                pool.put_back(entry, self.rows_max);
            }
        });
    }

    /// Changes the pool and tells the new length.
    fn change<R>(&self, change: impl FnOnce(&mut Pool) -> R) -> R {
        let mut pool = self.pool.lock();
        let result = change(&mut pool);
        self.waiting.store(pool.waiting, Ordering::Release);
        result
    }
}

impl Pool {
    fn admit(&mut self, entry: &Entry, balance: u64, rows_max: usize) -> Admit {
        let (fee, bit) = (fee(&entry.effect), bit(&entry.effect));
        // Who inserts knows that the account exists; a number that none can have covers nothing.
        let Some(account) = self.account(&entry.effect) else { return Admit::NotCovered };
        if (account.waiting | account.taken) & bit != 0 {
            return Admit::Duplicate;
        }
        if account.fees.saturating_add(fee) > balance {
            return Admit::NotCovered;
        }
        if self.waiting >= rows_max {
            return Admit::Full;
        }
        self.enqueue(entry, class(&entry.effect));
        Admit::Admitted
    }

    /// The fees and nonces in flight of a row's sender; `None` for a number that no account can have.
    fn account(&mut self, effect: &Effect) -> Option<&mut InFlight> {
        let number = effect.from.get();
        if number >= ACCOUNTS_MAX {
            return None;
        }
        let number = number as usize;
        if number >= self.accounts.len() {
            self.accounts.resize(number + 1, InFlight::default());
        }
        self.accounts.get_mut(number)
    }

    /// Lets a row wait: nothing of it is in flight yet.
    fn enqueue(&mut self, entry: &Entry, queue: usize) {
        let Some(account) = self.account(&entry.effect) else { return };
        account.waiting |= bit(&entry.effect);
        account.fees += fee(&entry.effect);
        let slot = match self.free.pop(&mut self.slots) {
            Some(slot) => slot,
            None => {
                self.slots.push(Slot { entry: *entry, next: NIL });
                (self.slots.len() - 1) as u32
            }
        };
        self.slots[slot as usize].entry = *entry;
        self.queues[queue].push(slot, &mut self.slots);
        self.waiting += 1;
    }

    /// Up to `count` rows, which count as taken from now on.
    fn pop(&mut self, count: usize) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(count.min(self.waiting));
        for queue in (0..self.queues.len()).rev() {
            while entries.len() < count
                && let Some(slot) = self.queues[queue].pop(&mut self.slots)
            {
                let entry = self.slots[slot as usize].entry;
                self.free.push(slot, &mut self.slots);
                self.waiting -= 1;
                if let Some(account) = self.account(&entry.effect) {
                    account.waiting &= !bit(&entry.effect);
                    account.taken |= bit(&entry.effect);
                }
                entries.push(entry);
            }
        }
        entries
    }

    fn release(&mut self, effect: &Effect) {
        let Some(account) = self.accounts.get_mut(effect.from.get() as usize) else { return };
        let bit = bit(effect);
        if account.taken & bit == 0 {
            return;
        }
        account.taken &= !bit;
        account.fees = match account.taken | account.waiting {
            // Exact again, whatever row of another life of this node was released under the same nonce.
            0 => 0,
            _ => account.fees.saturating_sub(fee(effect)),
        };
    }

    fn put_back(&mut self, entry: Entry, rows_max: usize) {
        self.release(&entry.effect);
        let Some(account) = self.account(&entry.effect) else { return };
        if account.waiting & bit(&entry.effect) == 0 && self.waiting < rows_max {
            self.enqueue(&entry, RETURNED);
        }
    }
}

impl Queue {
    const EMPTY: Queue = Queue { head: NIL, tail: NIL };

    fn push(&mut self, slot: u32, slots: &mut [Slot]) {
        slots[slot as usize].next = NIL;
        match self.tail {
            NIL => self.head = slot,
            tail => slots[tail as usize].next = slot,
        }
        self.tail = slot;
    }

    fn pop(&mut self, slots: &mut [Slot]) -> Option<u32> {
        let slot = self.head;
        if slot == NIL {
            return None;
        }
        self.head = slots[slot as usize].next;
        if self.head == NIL {
            self.tail = NIL;
        }
        Some(slot)
    }
}

impl Taken {
    fn push(&mut self, entry: &Entry) {
        self.effects.push(entry.effect);
        self.keys.extend(entry.key);
        self.witnesses.push(entry.witness);
    }

    /// The keys are in the order of the open rows already.
    fn open_rows_first(&mut self) {
        let opens = |effect: &Effect| effect.kind == Kind::Open as u8;
        if self.effects[..self.keys.len()].iter().all(opens) {
            return;
        }
        let mut order: Vec<usize> = (0..self.effects.len()).collect();
        order.sort_by_key(|&row| !opens(&self.effects[row]));
        self.effects = order.iter().map(|&row| self.effects[row]).collect();
        self.witnesses = order.iter().map(|&row| self.witnesses[row]).collect();
    }
}

/// The log-scale fee class, 0 to 31.
fn class(effect: &Effect) -> usize {
    effect.fee.get().max(1).ilog2() as usize
}

fn fee(effect: &Effect) -> u64 {
    u64::from(effect.fee.get())
}

/// The row's place in its account's ring.
fn bit(effect: &Effect) -> u128 {
    1 << (effect.nonce.get() % RING)
}
