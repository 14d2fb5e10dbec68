//! Bounded admission, duplicates, fee order, draining.
//!
//! **Owns** the rows that wait on this node, to be sealed here or elsewhere, and the nonces and fees of every row that waits
//! or is sealed here and not yet executed (*in flight*). **May not** check signatures or nonces against the state (who
//! inserts has done so), read the account table, know whose turn it is to seal a row, or order blocks.
//!
//! - Upon rows to admit ([`Mempool::insert`]): refuse one whose account has a row in flight on the same place of a
//!   ring of 128 nonces; one whose fee the executed balance does not cover beside the fees in flight of its account;
//!   and one that finds no room. Else it waits, behind the rows of its fee class; or, if it is not to be sealed here, until
//!   its holder says what becomes of it.
//! - Upon a holder that looks after such rows ([`Mempool::pass_on`]): each new one, and each that is due, is held on, waits
//!   to be sealed here after all, or is let go.
//! - Upon a seal ([`Mempool::take`]): rows put back first, then the highest fee class (classes double), first come
//!   first. A row that the caller does not keep is let go.
//! - Upon an executed batch of one's own ([`Mempool::release`]), and whenever a row is let go: its nonce and fee are free
//!   again. Upon any executed batch ([`Mempool::executed`]): so are those of the same rows that wait or are held here.
//! - Upon a dead batch ([`Mempool::put_back`]): its rows wait again, before all others.
//! - When full: refuse. A row that waits is not displaced by a higher fee. A quarter is kept free for the rows that
//!   validators hand on, in equal shares of all seats: so neither clients nor one validator keep out what the others hand on.
//!   Beyond its share a validator's rows find room while more than half of the mempool is free. Rows of dead batches may take
//!   all of it.
//! - Where the chain carries blobs instead ([`BlobQueue`]): they wait in order of arrival, bounded by bytes.
//!
//! Why that is safe: acceptable nonces span 128 (63 below the highest used one to 64 above), so two that are
//! acceptable at one time never share a place in the ring. A row whose nonce fell out of the window while it is
//! in flight keeps its place until it is released: a newer nonce on that place is refused as a duplicate until then,
//! which costs a retry and never admits a row twice. Fees are reserved so that an account cannot fill the mempool
//! with rows that it cannot pay for; a row that is held reserves its fee like any other. What was taken here is released
//! by the batch in which it was sealed only: another's batch may hold a row of that account that shares its place in the
//! ring and was never worth a fee.

mod blobs;
mod pool;
#[cfg(test)]
mod tests;

pub use blobs::{BlobQueue, GATHERED_MAX};

use crate::types::{Effect, Kind, Seat, Time, Witness};
use crate::wire::{Row, Rows};
use parking_lot::Mutex;
use pool::{Pool, ROWS_LIMIT};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

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

/// A row to be admitted, whose form, signature and nonce were checked.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// The row.
    pub entry: Entry,
    /// The executed balance of its sender.
    pub balance: u64,
    /// The validator that handed it on; [`Seat::NONE`] of a client's.
    pub from: Seat,
    /// Whether it is to be sealed here at once; else it is first for another.
    pub sealed_here: bool,
}

/// How far a row has come that is first for others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Held {
    /// Until when it is held.
    pub until: Time,
    /// In which turn of homes the row came: by it its seats are ranked.
    pub turn: u32,
    /// The place in the order of seats whose turn it is.
    pub rank: u16,
    /// How often the row was offered to that seat.
    pub offers: u16,
    /// How often it was held.
    pub waits: u16,
}

/// What becomes of a row that is first for others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is held, until a time no earlier than that of any held before.
    Hold(Held),
    /// It waits to be sealed here.
    Seal,
    /// It is let go.
    LetGo,
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
    /// Rows that wait to be sealed, rows that are held, and rows of clients that find room, as of the last change: read
    /// without the lock.
    waiting: AtomicUsize,
    held: AtomicUsize,
    room: AtomicUsize,
    /// Rows that others may seal as well, likewise.
    shared: AtomicUsize,
    /// When the next held row is due, likewise.
    due: AtomicU64,
    pool: Mutex<Pool>,
}

impl Mempool {
    /// A mempool of at most `rows_max` rows on a node of a committee of so many seats.
    pub fn new(rows_max: usize, seats: usize) -> Mempool {
        let rows_max = rows_max.min(ROWS_LIMIT);
        let pool = Pool::new(rows_max, seats);
        let due = AtomicU64::new(pool.due().0);
        let room = AtomicUsize::new(pool.room(Seat::NONE));
        let (waiting, held, shared) = Default::default();
        Mempool { waiting, held, room, shared, due, pool: Mutex::new(pool) }
    }

    /// Admits rows. One answer for each. Refusals are looked for in the order duplicate, fees, room.
    pub fn insert(&self, offers: &[Offer]) -> Vec<Admit> {
        self.change(|pool| offers.iter().map(|offer| pool.admit(offer)).collect())
    }

    /// Of each row, whether its account and nonce wait here or are sealed here and not yet executed. (It may change at once:
    /// [`Mempool::insert`] looks again.)
    pub fn in_flight<'a>(&self, effects: impl Iterator<Item = &'a Effect>) -> Vec<bool> {
        let pool = self.pool.lock();
        effects.map(|effect| pool.is_in_flight(effect)).collect()
    }

    /// Rows that wait to be sealed. Without the lock: as of the last change.
    pub fn len(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Whether none waits to be sealed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows that are held for others. As [`Mempool::len`].
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }

    /// Rows of clients that still find room: the bound less the rows that wait or are held, and less what is kept free for
    /// those that validators hand on. As [`Mempool::len`].
    pub fn room(&self) -> usize {
        self.room.load(Ordering::Acquire)
    }

    /// Rows that still find room if this validator hands them on.
    pub fn room_for(&self, peer: Seat) -> usize {
        self.pool.lock().room(peer)
    }

    /// When [`Mempool::pass_on`] has something to look at, the highest time if nothing is held. As [`Mempool::len`].
    pub fn due(&self) -> Time {
        Time(self.due.load(Ordering::Acquire))
    }

    /// Of each row whether its fee would be refused as not covered now, by this executed balance of its sender, beside the
    /// fees of those before it.
    pub fn uncovered<'a>(&self, rows: impl Iterator<Item = (&'a Effect, u64)>) -> Vec<bool> {
        let pool = self.pool.lock();
        let mut asked: BTreeMap<u32, u64> = BTreeMap::new();
        let mut uncovered = |(effect, balance): (&Effect, u64)| {
            let asked = asked.entry(effect.from.get()).or_default();
            let fees = pool.fees(effect).saturating_add(*asked).saturating_add(u64::from(effect.fee.get()));
            if fees <= balance {
                *asked += u64::from(effect.fee.get());
            }
            fees > balance
        };
        rows.map(&mut uncovered).collect()
    }

    /// Lets `decide` say what becomes of the rows that are first for others: of those that are new, in order of arrival, and
    /// of those that were held until `now` or earlier; it hears which validator handed a row on. It is called under the lock, so
    /// it may not wait. How many were let go.
    pub fn pass_on(&self, now: Time, decide: &mut dyn FnMut(&Entry, Seat, Held) -> Fate) -> usize {
        self.change(|pool| pool.pass_on(now, decide))
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

    /// Rows that were taken have been executed in a batch of one's own: their account and nonce may come again. A row that
    /// was not taken here, or was released before, is passed over.
    pub fn release(&self, effects: &[Effect]) {
        self.change(|pool| effects.iter().for_each(|effect| pool.release(effect)));
    }

    /// Rows have been executed, whoever sealed them: those of them that are held here, or wait to be sealed, are let go. Where
    /// nothing is for others to seal, which is the rule, it is not looked for: an odd row is found when it is taken.
    pub fn executed(&self, effects: &[Effect]) {
        if self.shared.load(Ordering::Acquire) > 0 {
            self.change(|pool| effects.iter().for_each(|effect| pool.executed(effect)));
        }
    }

    /// Rows that were taken, but whose batch died: they go out first in the next one. Beyond the bound they are let
    /// go. Rows from before a restart, of which nothing is known here, come in likewise, unless the same account and
    /// nonce was admitted anew. How many were let go.
    pub fn put_back(&self, rows: Rows<'_>) -> usize {
        self.change(|pool| {
            // An open row without a key never was sealed here, and would shift the keys of those behind it.
            let whole = |row: &Row<'_>| row.key.is_some() == (row.effect.kind == Kind::Open as u8);
            let entry =
                |row: Row<'_>| Entry { effect: *row.effect, key: row.key.copied(), witness: *row.witness };
            rows.iter().filter(whole).filter(|row| !pool.put_back(&entry(*row))).count()
        })
    }

    /// Changes the pool and tells what is read without the lock.
    fn change<R>(&self, change: impl FnOnce(&mut Pool) -> R) -> R {
        let mut pool = self.pool.lock();
        let result = change(&mut pool);
        self.waiting.store(pool.waiting, Ordering::Release);
        self.held.store(pool.held, Ordering::Release);
        self.room.store(pool.room(Seat::NONE), Ordering::Release);
        self.shared.store(pool.shared, Ordering::Release);
        self.due.store(pool.due().0, Ordering::Release);
        result
    }
}

impl Taken {
    /// Adds a row; open rows in their order.
    pub fn push(&mut self, entry: &Entry) {
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
