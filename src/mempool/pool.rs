//! What the mempool's lock guards: slots for rows, the queues that link them, and what each account has in flight.

use super::{Admit, Entry, Fate, Held, Offer};
use crate::types::params::ACCOUNTS_MAX;
use crate::types::{Effect, Seat, Time};

/// Nonces of one account that can be in flight at once.
const RING: u64 = u128::BITS as u64;
/// Fee classes, one for each bit of a fee.
const CLASSES: usize = u32::BITS as usize;
/// The queue of rows that were put back: above every fee class. All queues up to it are sealed from.
const RETURNED: usize = CLASSES;
/// Rows that nobody was given yet though another node comes first.
const FRESH: usize = RETURNED + 1;
/// Rows that are held until a time; ascending.
const HELD: usize = FRESH + 1;
const QUEUES: usize = HELD + 1;
/// No slot.
const NIL: u32 = u32::MAX;
/// The most rows that any mempool holds, whatever it is asked for: slots are numbered in 32 bits.
pub(super) const ROWS_LIMIT: usize = NIL as usize;

/// Slots, queues and accounts.
#[derive(Debug)]
pub(super) struct Pool {
    rows_max: usize,
    /// Rows of each validator for which room is kept free, whatever clients and others bring.
    share: usize,
    /// What of these shares is not taken, all together.
    kept_free: usize,
    /// Grows to the bound and stays; 176 bytes each.
    slots: Vec<Slot>,
    /// A stack of free slots.
    free: u32,
    queues: [Queue; QUEUES],
    /// Rows that wait to be sealed.
    pub waiting: usize,
    /// Rows that are fresh or held.
    pub held: usize,
    /// Rows in slots that others may seal as well: fresh ones at first, or handed on.
    pub shared: usize,
    /// By seat: how many of the rows in slots that validator handed on.
    of_peer: Vec<usize>,
    /// By account number; grows to the highest sender seen (48 bytes each, 768 MiB for a full account table).
    accounts: Vec<InFlight>,
}

/// A place for a row, linked into one queue and into the rows of its account.
#[derive(Debug)]
struct Slot {
    entry: Entry,
    /// The validator that handed it on; [`Seat::NONE`] of a client's.
    from: Seat,
    /// Others may seal it as well.
    shared: bool,
    queue: u8,
    held: Held,
    next: u32,
    previous: u32,
    /// The account's next row in a slot, and the one before.
    sibling: u32,
    elder: u32,
}

/// A queue of slots, first in, first out.
#[derive(Clone, Copy, Debug)]
struct Queue {
    head: u32,
    tail: u32,
}

/// One account's rows in flight.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    /// Bit `nonce % 128` of every row in a slot.
    waiting: u128,
    /// The same of every row that was taken and not released.
    taken: u128,
    /// The fees of both together; at most 128 of 32 bits.
    fees: u64,
    /// The first of its rows in slots, the newest; at most 128 follow.
    first: u32,
}

const _: () = assert!(size_of::<Slot>() == 176 && size_of::<InFlight>() == 48);

impl Pool {
    pub fn new(rows_max: usize, seats: usize) -> Pool {
        // Where there is one validator, nobody hands anything on.
        let share = if seats > 1 { rows_max / 4 / seats } else { 0 };
        Pool {
            rows_max,
            share,
            kept_free: share * seats,
            slots: Vec::new(),
            free: NIL,
            queues: [Queue::EMPTY; QUEUES],
            waiting: 0,
            held: 0,
            shared: 0,
            of_peer: vec![0; seats],
            accounts: Vec::new(),
        }
    }

    pub fn admit(&mut self, offer: &Offer) -> Admit {
        let effect = &offer.entry.effect;
        // Who inserts knows that the account exists; a number that none can have covers nothing.
        let Some(account) = self.account(effect) else { return Admit::NotCovered };
        if (account.waiting | account.taken) & bit(effect) != 0 {
            return Admit::Duplicate;
        }
        if account.fees.saturating_add(fee(effect)) > offer.balance {
            return Admit::NotCovered;
        }
        if self.room(offer.from) == 0 {
            return Admit::Full;
        }
        let queue = if offer.sealed_here { class(effect) } else { FRESH };
        self.enter(&offer.entry, offer.from, queue);
        Admit::Admitted
    }

    /// Rows of a validator, or of clients, that still find room. What is kept free for the shares of validators, nobody else
    /// takes; and beyond its share a validator's rows find room only while half of the mempool is free.
    pub fn room(&self, from: Seat) -> usize {
        let free = self.rows_max - self.waiting - self.held;
        let Some(of_peer) = self.of_peer.get(from.index()) else {
            return free.saturating_sub(self.kept_free);
        };
        let share = self.share.saturating_sub(*of_peer);
        free.min(share.max(free.saturating_sub(self.rows_max - self.rows_max / 2)))
    }

    /// Whether the row's place among its account's nonces is taken.
    pub fn is_in_flight(&self, effect: &Effect) -> bool {
        let account = self.accounts.get(effect.from.get() as usize);
        account.is_some_and(|account| (account.waiting | account.taken) & bit(effect) != 0)
    }

    /// The fees of what a row's sender has in flight.
    pub fn fees(&self, effect: &Effect) -> u64 {
        self.accounts.get(effect.from.get() as usize).map_or(0, |account| account.fees)
    }

    /// When the next row wants to be looked at; the highest time if none does.
    pub fn due(&self) -> Time {
        let head = |queue: usize| self.slots.get(self.queues[queue].head as usize);
        match (head(FRESH), head(HELD)) {
            (Some(_), _) => Time(0),
            (None, Some(slot)) => slot.held.until,
            (None, None) => Time(u64::MAX),
        }
    }

    /// Lets `decide` say what becomes of every row that is fresh, or held until `now` or earlier. How many were let go.
    pub fn pass_on(&mut self, now: Time, decide: &mut dyn FnMut(&Entry, Seat, Held) -> Fate) -> usize {
        let mut let_go = 0;
        // What is held anew goes behind these.
        let last = (self.queues[FRESH].tail, self.queues[HELD].tail);
        for (queue, last) in [(FRESH, last.0), (HELD, last.1)] {
            let mut next = if last == NIL { NIL } else { self.queues[queue].head };
            while let Some(slot) = self.slots.get_mut(next as usize)
                && (queue == FRESH || slot.held.until <= now)
            {
                let (number, fate) = (next, decide(&slot.entry, slot.from, slot.held));
                next = if number == last { NIL } else { slot.next };
                match fate {
                    Fate::Hold(held) => {
                        slot.held = held;
                        self.shift(number, HELD);
                    }
                    Fate::Seal => {
                        let class = class(&slot.entry.effect);
                        self.shift(number, class);
                    }
                    Fate::LetGo => {
                        self.leave(number, false);
                        let_go += 1;
                    }
                }
            }
        }
        let_go
    }

    /// Up to `count` rows, which count as taken from now on.
    pub fn pop(&mut self, count: usize) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(count.min(self.waiting));
        for queue in (0..=RETURNED).rev() {
            while entries.len() < count && self.queues[queue].head != NIL {
                entries.push(self.leave(self.queues[queue].head, true));
            }
        }
        entries
    }

    /// A row that was taken is not in flight any more.
    pub fn release(&mut self, effect: &Effect) {
        let Some(account) = self.accounts.get_mut(effect.from.get() as usize) else { return };
        if account.taken & bit(effect) != 0 {
            account.taken &= !bit(effect);
            account.forget_fee(effect);
        }
    }

    /// A row was executed, whoever sealed it: the same one here need not be. Another of its account with its place in the
    /// ring stays.
    pub fn executed(&mut self, effect: &Effect) {
        let Some(account) = self.accounts.get(effect.from.get() as usize) else { return };
        if account.waiting & bit(effect) == 0 {
            return;
        }
        let mut number = account.first;
        while let Some(slot) = self.slots.get(number as usize) {
            if slot.entry.effect.nonce == effect.nonce {
                self.leave(number, false);
                return;
            }
            number = slot.sibling;
        }
    }

    /// False if it is let go, for there is no room, not even what is kept free for validators.
    pub fn put_back(&mut self, entry: &Entry) -> bool {
        self.release(&entry.effect);
        let full = self.waiting + self.held >= self.rows_max;
        let Some(account) = self.account(&entry.effect) else { return true };
        if account.waiting & bit(&entry.effect) != 0 {
            return true;
        }
        if !full {
            self.enter(entry, Seat::NONE, RETURNED);
        }
        !full
    }

    /// Whether nothing is in flight, and nothing reserved.
    #[cfg(test)]
    pub fn is_clean(&self) -> bool {
        let clean = |a: &InFlight| a.waiting | a.taken == 0 && a.fees == 0 && a.first == NIL;
        let none = self.of_peer.iter().all(|count| *count == 0) && self.shared == 0;
        self.accounts.iter().all(clean) && none && self.kept_free == self.share * self.of_peer.len()
    }

    #[cfg(test)]
    pub fn accounts_seen(&self) -> usize {
        self.accounts.len()
    }

    #[cfg(test)]
    pub fn slots_made(&self) -> usize {
        self.slots.len()
    }

    /// The fees and nonces in flight of a row's sender; `None` for a number that no account can have.
    fn account(&mut self, effect: &Effect) -> Option<&mut InFlight> {
        let number = effect.from.get();
        if number >= ACCOUNTS_MAX {
            return None;
        }
        let number = number as usize;
        if number >= self.accounts.len() {
            self.accounts.resize(number + 1, InFlight::NONE);
        }
        self.accounts.get_mut(number)
    }

    /// Puts a row into a queue: nothing of it is in flight yet.
    fn enter(&mut self, entry: &Entry, from: Seat, queue: usize) {
        let number = match self.slots.get(self.free as usize) {
            Some(slot) => std::mem::replace(&mut self.free, slot.next),
            None => self.slots.len() as u32,
        };
        let Some(account) = self.account(&entry.effect) else { return };
        account.waiting |= bit(&entry.effect);
        account.fees += fee(&entry.effect);
        let sibling = std::mem::replace(&mut account.first, number);
        let (held, next, previous) = (Held::default(), NIL, NIL);
        let shared = queue == FRESH || from != Seat::NONE;
        let slot = Slot { entry: *entry, from, shared, queue: 0, held, next, previous, sibling, elder: NIL };
        self.shared += usize::from(shared);
        if let Some(sibling) = self.slots.get_mut(sibling as usize) {
            sibling.elder = number;
        }
        match self.slots.get_mut(number as usize) {
            Some(free) => *free = slot,
            None => self.slots.push(slot),
        }
        if let Some(count) = self.of_peer.get_mut(from.index()) {
            self.kept_free -= usize::from(*count < self.share);
            *count += 1;
        }
        self.link(number, queue);
    }

    /// Takes a row out of its queue, and out of flight unless it counts as taken.
    fn leave(&mut self, number: u32, taken: bool) -> Entry {
        self.unlink(number);
        let Slot { entry, from, shared, sibling, elder, .. } = self.slots[number as usize];
        self.shared -= usize::from(shared);
        if let Some(count) = self.of_peer.get_mut(from.index()) {
            *count -= 1;
            self.kept_free += usize::from(*count < self.share);
        }
        let account = &mut self.accounts[entry.effect.from.get() as usize];
        account.waiting &= !bit(&entry.effect);
        if taken {
            account.taken |= bit(&entry.effect);
        } else {
            account.forget_fee(&entry.effect);
        }
        match elder {
            NIL => account.first = sibling,
            elder => self.slots[elder as usize].sibling = sibling,
        }
        if let Some(sibling) = self.slots.get_mut(sibling as usize) {
            sibling.elder = elder;
        }
        self.slots[number as usize].next = std::mem::replace(&mut self.free, number);
        entry
    }

    /// Moves a row to the end of another queue, or of its own.
    fn shift(&mut self, number: u32, queue: usize) {
        self.unlink(number);
        self.link(number, queue);
    }

    fn link(&mut self, number: u32, queue: usize) {
        let tail = std::mem::replace(&mut self.queues[queue].tail, number);
        let slot = &mut self.slots[number as usize];
        (slot.queue, slot.previous, slot.next) = (queue as u8, tail, NIL);
        match tail {
            NIL => self.queues[queue].head = number,
            tail => self.slots[tail as usize].next = number,
        }
        *self.count(queue) += 1;
    }

    fn unlink(&mut self, number: u32) {
        let Slot { queue, previous, next, .. } = self.slots[number as usize];
        let queue = usize::from(queue);
        match previous {
            NIL => self.queues[queue].head = next,
            previous => self.slots[previous as usize].next = next,
        }
        match next {
            NIL => self.queues[queue].tail = previous,
            next => self.slots[next as usize].previous = previous,
        }
        *self.count(queue) -= 1;
    }

    /// The count that a queue's rows belong to.
    fn count(&mut self, queue: usize) -> &mut usize {
        if queue <= RETURNED { &mut self.waiting } else { &mut self.held }
    }
}

impl InFlight {
    const NONE: InFlight = InFlight { waiting: 0, taken: 0, fees: 0, first: NIL };

    /// The row's bit was cleared: its fee is free again.
    fn forget_fee(&mut self, effect: &Effect) {
        self.fees = match self.taken | self.waiting {
            // Exact again, whatever row of another life of this node was released under the same nonce.
            0 => 0,
            _ => self.fees.saturating_sub(fee(effect)),
        };
    }
}

impl Queue {
    const EMPTY: Queue = Queue { head: NIL, tail: NIL };
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
