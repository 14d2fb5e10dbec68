//! The genesis: everything that all nodes of a chain must agree on before the first round.

use super::ids::Epoch;
use super::params::{ACCOUNTS_MAX, NAME_BYTES_MAX, SEATS_MAX, window_max};
use super::{Account, Committee, Rules, SeatInfo, Time};
use thiserror::Error;

/// An account that exists from the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GenesisAccount {
    /// Its key.
    pub key: [u8; 32],
    /// Its first balance.
    pub balance: u64,
}

/// The start of a chain. The hash of its canonical bytes is the chain id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Genesis {
    /// A name for people, at most 64 bytes.
    pub name: String,
    /// The time of the first round's leader's parents.
    pub time: Time,
    /// The parameters that the rules read.
    pub rules: Rules,
    /// The first committee.
    pub seats: Vec<SeatInfo>,
    /// Accounts numbered from 1; account 0 is the sentinel and not listed.
    pub accounts: Vec<GenesisAccount>,
}

/// Why a genesis is refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum GenesisError {
    /// A limit of form.
    #[error("genesis: {what} must lie between {least} and {most}, not {found}")]
    Range {
        /// What is out of range.
        what: &'static str,
        /// Its least value.
        least: usize,
        /// Its greatest value.
        most: usize,
        /// What was found.
        found: usize,
    },
    /// Two rules contradict each other or a rule is out of range.
    #[error("genesis: {0}")]
    Rules(&'static str),
    /// Liars could make a settlement record larger than what is kept and handed on.
    #[error("genesis: with {seats} seats the window can be {most} batches at most, not {window}")]
    Window {
        /// The window.
        window: u64,
        /// The seats.
        seats: usize,
        /// The widest window.
        most: u64,
    },
    /// A seat's fee account does not exist.
    #[error(
        "genesis: seat {seat} names fee account {account}, but the accounts are numbered 1 to {accounts}"
    )]
    FeeAccount {
        /// The seat.
        seat: usize,
        /// What it names.
        account: u32,
        /// How many accounts there are.
        accounts: usize,
    },
    /// Two seats or two accounts have one key, or a key is zero.
    #[error("genesis: {0}")]
    Keys(&'static str),
    /// All balances together exceed 64 bits.
    #[error("genesis: the balances together exceed 18446744073709551615")]
    Supply,
}

impl Genesis {
    /// Checks the limits against each other.
    pub fn check(&self) -> Result<(), GenesisError> {
        let ranges = [
            ("name bytes", 1, NAME_BYTES_MAX, self.name.len()),
            ("seats", 1, SEATS_MAX, self.seats.len()),
            ("accounts", 1, ACCOUNTS_MAX as usize - 1, self.accounts.len()),
        ];
        for (what, least, most, found) in ranges {
            if !(least..=most).contains(&found) {
                return Err(GenesisError::Range { what, least, most, found });
            }
        }
        self.rules.check().map_err(GenesisError::Rules)?;
        let (seats, Rules { window, depth, .. }) = (self.seats.len(), self.rules);
        let most = window_max(seats, depth);
        if window > most {
            return Err(GenesisError::Window { window, seats, most });
        }
        for (seat, info) in self.seats.iter().enumerate() {
            let account = info.fee_account.0;
            if account == 0 || account as usize > self.accounts.len() {
                return Err(GenesisError::FeeAccount { seat, account, accounts: self.accounts.len() });
            }
        }
        if !distinct(self.seats.iter().map(|seat| seat.key.0)) {
            return Err(GenesisError::Keys("the seats' keys must be distinct and not zero"));
        }
        if !distinct(self.accounts.iter().map(|account| account.key)) {
            return Err(GenesisError::Keys("the accounts' keys must be distinct and not zero"));
        }
        let supply = self.accounts.iter().try_fold(0u64, |sum, account| sum.checked_add(account.balance));
        supply.map(|_| ()).ok_or(GenesisError::Supply)
    }

    /// The committee of epoch 0.
    pub fn committee(&self) -> Committee {
        Committee { epoch: Epoch(0), seats: self.seats.clone() }
    }

    /// The account table before the first block, the sentinel first.
    pub fn table(&self) -> Vec<Account> {
        let sentinel = Account::new([0; 32], 0);
        std::iter::once(sentinel)
            .chain(self.accounts.iter().map(|a| Account::new(a.key, a.balance)))
            .collect()
    }
}

fn distinct(keys: impl Iterator<Item = [u8; 32]>) -> bool {
    let mut keys: Vec<_> = keys.collect();
    keys.sort_unstable();
    keys.first() != Some(&[0; 32]) && keys.windows(2).all(|pair| pair[0] != pair[1])
}
