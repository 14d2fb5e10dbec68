//! The book of addresses: where other peers of the chain are reached, as far as anybody has said.
//!
//! - **Upon a signed record**: it is kept if it is news of its maker, and whoever brought it has room left for what it brings.
//!   A validator's has room always, since there are few.
//! - **Upon a record of an address that the configuration names**: it says nothing of who lives there, until that is proved.
//! - **Upon a need of a connection**: one of those is named whose time has come; mostly one that has answered before, of a
//!   network in which there is no connection yet. At a start those come first to which there was a connection last.
//! - **Upon an answer, or none**: that is noted. Who does not answer is tried more and more seldom.
//! - **Upon a peer that asks**: it is told of some who have answered here, or have said themselves where they are. So what a
//!   liar makes up goes no further than to whom it tells it.
//!
//! Why that is safe: an address is a hint and nothing more. Who answers there has to prove its key, and what it gives is
//! proved by the chain's own signatures. A liar can fill its own share of the book, and make a node dial in vain.
//!
//! The book has no clock and no dice of its own, and makes no system call.

use super::config::{REDIAL_ADDRESS_MAX, REDIAL_ADDRESS_MIN};
use super::limits::{Group, Source};
use crate::types::Time;
use crate::wire::AddressRecord;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// Addresses in the book at most, beside those of validators and of the configuration.
pub const ENTRIES_MAX: usize = 2_048;
/// Of them, brought by one peer.
pub const PER_SOURCE_MAX: usize = 64;
/// Of them, in one network group.
pub const PER_GROUP_MAX: usize = 64;
/// Addresses that are tried first at a start.
pub const ANCHORS: usize = 3;
/// The largest file that is read.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// What is known of an address.
#[derive(Clone, Debug)]
struct Entry {
    /// Who said that it is reached there; none: the configuration did.
    record: Option<AddressRecord>,
    /// Which peer brought it.
    source: Option<[u8; 32]>,
    /// Whose it is, if that is known: by its record, or since it answered; where the configuration names it, only by that.
    key: Option<[u8; 32]>,
    /// It may not be pushed out.
    stays: bool,
    /// When it last answered, 0: never.
    answered: Time,
    /// Its maker said so on a connection of its own.
    own_word: bool,
    /// How often in a row it did not answer.
    failures: u32,
    next_try: Time,
    /// A connection to it stood when the file was written.
    anchor: bool,
}

/// An entry in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// The record, hexadecimal.
    record: String,
    /// When it last answered, in microseconds since 1970.
    answered: u64,
    /// Whether there was a connection to it.
    anchor: bool,
}

/// What a record changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Learned {
    /// Nothing: it is known, or older than what is.
    Nothing,
    /// There was no room for it.
    NoRoom,
    /// It is in the book now.
    New,
}

/// The book.
#[derive(Debug, Default)]
pub struct Book {
    entries: BTreeMap<SocketAddr, Entry>,
    keys: BTreeMap<[u8; 32], SocketAddr>,
    /// Keys of validators, which have room always.
    validators: BTreeSet<[u8; 32]>,
    own: [u8; 32],
}

impl Book {
    /// A book of these addresses, which the configuration names, for who has this key.
    pub fn new(own: [u8; 32], validators: BTreeSet<[u8; 32]>, named: &[SocketAddr]) -> Book {
        let mut book = Book { own, validators, ..Book::default() };
        for address in named {
            book.entries.insert(*address, Entry::new(None, None, true));
        }
        book
    }

    /// Takes a record whose signature holds, brought by the peer with key `source`.
    pub fn learn(&mut self, record: &AddressRecord, source: [u8; 32], now: Time) -> Learned {
        let known = self.keys.get(&record.key).and_then(|address| self.entries.get(address));
        let known = known.and_then(|entry| entry.record);
        if record.key == self.own || known.is_some_and(|known| known.time >= record.time) {
            if source == record.key
                && let Some(entry) = self.entries.get_mut(&record.address)
                && entry.record == Some(*record)
            {
                entry.own_word = true;
            }
            return Learned::Nothing;
        }
        let stays = self.validators.contains(&record.key);
        if let Some(taken) = self.entries.get_mut(&record.address).filter(|taken| taken.source.is_none()) {
            // The configuration names it. Whose it is shows when somebody answers there, and not by words: else a stranger could
            // claim it, and it would not be dialed while there is a connection to that stranger.
            let has_proved = taken.key == Some(record.key);
            if !has_proved && (taken.key.is_some() || taken.record.is_some() && !stays) {
                return Learned::NoRoom;
            }
            taken.own_word = source == record.key;
            let before = taken.record.replace(*record);
            self.unlist(before, &record.address);
            return self.rekeyed(record);
        }
        let claimed =
            |taken: &Entry| taken.key != Some(record.key) && (taken.answered > Time(0) || taken.stays);
        if self.entries.get(&record.address).is_some_and(|taken| claimed(taken) && !stays) {
            // Another peer has answered there, or is a validator: nobody takes its place by words.
            return Learned::NoRoom;
        }
        if !stays && !self.make_room(record, source, now) {
            return Learned::NoRoom;
        }
        self.forget(&record.address);
        let mut entry = Entry::new(Some(*record), Some(source), stays);
        entry.own_word = source == record.key;
        self.entries.insert(record.address, entry);
        self.rekeyed(record)
    }

    /// The key is reached at another address from now on.
    fn rekeyed(&mut self, record: &AddressRecord) -> Learned {
        if let Some(before) = self.keys.insert(record.key, record.address).filter(|at| *at != record.address)
            && let Some(entry) = self.entries.get_mut(&before)
        {
            match entry.source {
                // Named by the configuration: the address stays, whose it is is not known any more.
                None => {
                    entry.record = None;
                    entry.key = entry.key.filter(|key| *key != record.key);
                }
                Some(_) => _ = self.entries.remove(&before),
            }
        }
        Learned::New
    }

    fn make_room(&mut self, record: &AddressRecord, source: [u8; 32], now: Time) -> bool {
        let group = Source::of(record.address.ip()).group();
        let loose = || self.entries.iter().filter(|(_, entry)| !entry.stays);
        let same = |address: &SocketAddr| group.is_some() && Source::of(address.ip()).group() == group;
        let of_group = loose().filter(|(address, _)| same(address)).count();
        let before = self.keys.get(&record.key);
        if of_group >= PER_GROUP_MAX && !before.is_some_and(same) {
            return false;
        }
        if before.is_some() {
            // In the place of what was known of its maker.
            return true;
        }
        let of_source = loose().filter(|(_, entry)| entry.source == Some(source)).count();
        if of_source >= PER_SOURCE_MAX {
            return false;
        }
        if loose().count() >= ENTRIES_MAX {
            // Who never answered goes, the least promising first.
            let silent = loose().filter(|(_, entry)| entry.answered == Time(0) && entry.next_try <= now);
            let worst = silent.max_by_key(|(_, entry)| (entry.failures, !entry.own_word));
            let Some(worst) = worst.map(|(address, _)| *address) else { return false };
            self.forget(&worst);
        }
        true
    }

    fn forget(&mut self, address: &SocketAddr) {
        let record = self.entries.remove(address).and_then(|entry| entry.record);
        self.unlist(record, address);
    }

    /// What a record said of an address holds no more.
    fn unlist(&mut self, record: Option<AddressRecord>, address: &SocketAddr) {
        if let Some(record) = record.filter(|record| self.keys.get(&record.key) == Some(address)) {
            self.keys.remove(&record.key);
        }
    }

    /// Where a peer with this key has said that it is reached.
    pub fn of_key(&self, key: &[u8; 32]) -> Option<SocketAddr> {
        self.keys.get(key).copied()
    }

    /// An address to dial, if one's time has come. `connected`: those to which there are connections, or are about to be;
    /// `keys`: who is connected, wherever it lives. With `named` only one that the configuration names.
    pub fn pick(
        &self,
        now: Time,
        (connected, keys): (&BTreeSet<SocketAddr>, &BTreeSet<[u8; 32]>),
        named: bool,
        draw: u64,
    ) -> Option<SocketAddr> {
        let groups: BTreeSet<Group> =
            connected.iter().filter_map(|address| Source::of(address.ip()).group()).collect();
        let apart = |address: &SocketAddr| {
            Source::of(address.ip()).group().is_none_or(|group| !groups.contains(&group))
        };
        let mut open: Vec<(&SocketAddr, &Entry)> = self
            .entries
            .iter()
            .filter(|(address, entry)| entry.next_try <= now && entry.is_open(address, (connected, keys)))
            .filter(|(_, entry)| !named || entry.source.is_none())
            .collect();
        if open.iter().any(|(address, _)| apart(address)) {
            open.retain(|(address, _)| apart(address));
        }
        // First those to which there was a connection; then, mostly, those that have answered or that a person named.
        let class = |entry: &Entry| match entry {
            entry if entry.anchor && entry.failures == 0 => 0,
            entry if entry.answered > Time(0) || entry.record.is_none() => 1,
            _ => 2,
        };
        let classes: BTreeSet<u8> = open.iter().map(|(_, entry)| class(entry)).collect();
        let wanted = match classes.iter().next() {
            Some(1) if classes.contains(&2) && draw.is_multiple_of(4) => 2,
            first => *first?,
        };
        open.retain(|(_, entry)| class(entry) == wanted);
        open.get((draw / 4) as usize % open.len().max(1)).map(|(address, _)| **address)
    }

    /// When an address is due that is not connected.
    pub fn due(&self, connected: (&BTreeSet<SocketAddr>, &BTreeSet<[u8; 32]>)) -> Option<Time> {
        let open = self.entries.iter().filter(|(address, entry)| entry.is_open(address, connected));
        open.map(|(_, entry)| entry.next_try).min()
    }

    /// It is being dialed: whatever becomes of that, it is not dialed again at once.
    pub fn dialed(&mut self, address: &SocketAddr, now: Time) {
        if let Some(entry) = self.entries.get_mut(address) {
            entry.next_try = now + REDIAL_ADDRESS_MIN;
        }
    }

    /// It answered, and who has this key lives there.
    pub fn answered(&mut self, address: &SocketAddr, key: [u8; 32], now: Time) {
        if let Some(entry) = self.entries.get_mut(address) {
            (entry.answered, entry.failures, entry.key) = (now, 0, Some(key));
            if entry.source.is_none() && entry.record.is_some_and(|record| record.key != key) {
                // Somebody else has claimed it.
                let claim = entry.record.take();
                self.unlist(claim, address);
            }
        }
    }

    /// It did not answer, or not as it should.
    pub fn failed(&mut self, address: &SocketAddr, now: Time) {
        if let Some(entry) = self.entries.get_mut(address) {
            let wait = REDIAL_ADDRESS_MIN * 2u32.saturating_pow(entry.failures.min(20));
            entry.next_try = now + wait.min(REDIAL_ADDRESS_MAX);
            entry.failures = entry.failures.saturating_add(1);
        }
    }

    /// Some records to tell a peer, which is not told of itself.
    pub fn share(&self, of: Option<[u8; 32]>, most: usize, draw: u64) -> Vec<AddressRecord> {
        let told = self.entries.values().filter(|entry| entry.answered > Time(0) || entry.own_word);
        let told = told.filter_map(|entry| entry.record).filter(|record| Some(record.key) != of);
        let mut records: Vec<AddressRecord> = told.collect();
        let skip = draw as usize % records.len().max(1);
        records.rotate_left(skip);
        records.truncate(most);
        records
    }

    /// A name of the configuration leads to this address, and nothing leads any more to the one before.
    pub fn renamed(&mut self, before: Option<SocketAddr>, address: SocketAddr) {
        if let Some(before) = before
            && let Some(entry) = self.entries.get_mut(&before).filter(|entry| entry.source.is_none())
        {
            match entry.record {
                // Whoever lives there has said so itself: from now on it counts as one that came from there.
                Some(record) => {
                    entry.source = Some(record.key);
                    entry.stays = self.validators.contains(&record.key);
                }
                None => _ = self.entries.remove(&before),
            }
        }
        let entry = self.entries.entry(address).or_insert_with(|| Entry::new(None, None, true));
        (entry.source, entry.stays) = (None, true);
    }

    /// Whether the configuration names it.
    pub fn is_named(&self, address: &SocketAddr) -> bool {
        self.entries.get(address).is_some_and(|entry| entry.source.is_none())
    }

    /// How many addresses are known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The book as a file, one line for each record.
    pub fn to_text(&self, connected: &BTreeSet<SocketAddr>) -> String {
        let mut text = String::new();
        for (address, entry) in &self.entries {
            let Some(record) = entry.record else { continue };
            let (record, answered) = (hex::encode(record.encode()), entry.answered.0);
            let line = Line { record, answered, anchor: connected.contains(address) };
            text.extend(serde_json::to_string(&line));
            text.push('\n');
        }
        text
    }

    /// Takes in what a file says. Lines that are none, or do not hold, are passed over; returns how many.
    pub fn read_text(&mut self, text: &str, holds: impl Fn(&AddressRecord) -> bool) -> usize {
        let mut refused = 0;
        for line in text.lines().take(2 * ENTRIES_MAX) {
            let read = || {
                let line: Line = serde_json::from_str(line).ok()?;
                let record = AddressRecord::decode(&hex::decode(&line.record).ok()?).ok()?;
                holds(&record).then_some((record, line))
            };
            let Some((record, line)) = read() else {
                refused += 1;
                continue;
            };
            // In the name of its maker: what the file of an earlier life holds was within bounds then.
            self.learn(&record, record.key, Time(0));
            if let Some(entry) = self.entries.get_mut(&record.address) {
                entry.own_word = false;
                (entry.answered, entry.anchor) = (Time(line.answered), line.anchor);
            }
        }
        self.keep_anchors();
        refused
    }

    /// Only the few that answered last are tried first.
    fn keep_anchors(&mut self) {
        let mut anchors: Vec<(Time, SocketAddr)> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.anchor)
            .map(|(address, entry)| (entry.answered, *address))
            .collect();
        anchors.sort_unstable();
        let others = anchors.len().saturating_sub(ANCHORS);
        for (_, address) in &anchors[..others] {
            if let Some(entry) = self.entries.get_mut(address) {
                entry.anchor = false;
            }
        }
    }
}

impl Entry {
    /// Whether there is no connection to it, nor to whoever lives there.
    fn is_open(
        &self,
        address: &SocketAddr,
        (connected, keys): (&BTreeSet<SocketAddr>, &BTreeSet<[u8; 32]>),
    ) -> bool {
        !connected.contains(address) && self.key.is_none_or(|key| !keys.contains(&key))
    }

    fn new(record: Option<AddressRecord>, source: Option<[u8; 32]>, stays: bool) -> Entry {
        let (answered, next_try) = (Time(0), Time(0));
        let (own_word, failures, anchor) = (false, 0, false);
        let key = record.map(|record| record.key);
        Entry { record, source, key, stays, answered, own_word, failures, next_try, anchor }
    }
}
