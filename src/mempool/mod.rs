//! Bounded admission, duplicates, fee order, draining.
use crate::types::{Effect, Witness};

/// A verified row with what it needs to be sealed.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The effects row.
    pub effect: Effect,
    /// The key that an open row names.
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

/// Columns taken for a batch, highest fee class first; one account's rows in nonce order of arrival.
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
pub struct Mempool {}

impl Mempool {
    /// A mempool of at most `rows_max` rows.
    pub fn new(rows_max: usize) -> Mempool {
        let _ = rows_max;
        Mempool {}
    }

    /// Admits entries whose form, signature and nonce were checked; `balance` is the executed balance of the sender.
    pub fn insert(&self, entries: &[(Entry, u64)]) -> Vec<Admit> {
        let _ = entries;
        Vec::new()
    }

    /// Rows that wait to be sealed.
    pub fn len(&self) -> usize {
        0
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows that still find room.
    pub fn room(&self) -> usize {
        0
    }

    /// Takes up to `rows_max` rows that `keep` approves; others are let go (their nonce was used meanwhile).
    pub fn take(&self, rows_max: usize, keep: &dyn Fn(&Effect) -> bool) -> Taken {
        let _ = (rows_max, keep);
        Taken::default()
    }

    /// Rows that were taken have been executed: their account and nonce may come again.
    pub fn release(&self, effects: &[Effect]) {
        let _ = effects;
    }

    /// Rows that were taken, but whose batch died: they go out first in the next one. Beyond the bound they are let go.
    pub fn put_back(&self, rows: crate::wire::Rows<'_>) {
        let _ = rows;
    }
}
