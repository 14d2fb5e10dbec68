//! The account: one cache line.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// An account, 64 bytes as they stand in the account table, in snapshots and in proofs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Account {
    /// The Ed25519 key that signs for the account; never changes.
    pub key: [u8; 32],
    /// Balance in the smallest unit.
    pub balance: U64,
    /// The highest nonce used, `h`.
    pub nonce_high: U64,
    /// Bit `i` says that nonce `h - i` is used.
    pub nonce_window: U64,
    /// The account whose key follows in byte order (reserved, 0 for now).
    pub next: U32,
    /// Reserved, 0.
    pub flags: U32,
}

/// How many nonces an account's window spans below and above its highest one.
pub const NONCE_WINDOW: u64 = 64;

impl Account {
    /// A fresh account: nonce 0 counts as used, so that it is never valid.
    pub fn new(key: [u8; 32], balance: u64) -> Account {
        Account {
            key,
            balance: U64::new(balance),
            nonce_high: U64::new(0),
            nonce_window: U64::new(1),
            next: U32::new(0),
            flags: U32::new(0),
        }
    }

    /// Whether `nonce` may be used: unused within the 63 below the highest one, or up to 64 above it.
    pub fn accepts(&self, nonce: u64) -> bool {
        let high = self.nonce_high.get();
        match nonce.checked_sub(high) {
            Some(0) => false,
            Some(step) => step <= NONCE_WINDOW,
            None => high - nonce < NONCE_WINDOW && self.nonce_window.get() & (1 << (high - nonce)) == 0,
        }
    }

    /// Marks an acceptable `nonce` as used; false, and no change, if it is not acceptable.
    pub fn use_nonce(&mut self, nonce: u64) -> bool {
        if !self.accepts(nonce) {
            return false;
        }
        let (high, window) = (self.nonce_high.get(), self.nonce_window.get());
        if nonce > high {
            let step = nonce - high;
            let shifted = if step == NONCE_WINDOW { 0 } else { window << step };
            self.nonce_high = U64::new(nonce);
            self.nonce_window = U64::new(shifted | 1);
        } else {
            self.nonce_window = U64::new(window | 1 << (high - nonce));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn an_account_is_one_cache_line() {
        assert_eq!(size_of::<Account>(), 64);
    }

    #[test]
    fn the_window_agrees_with_a_set_of_used_nonces() {
        let mut account = Account::new([7; 32], 0);
        let (mut used, mut high, mut state) = (BTreeSet::from([0u64]), 0u64, 1u64);
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let nonce = (high + (state >> 33) % 140).saturating_sub(70);
            let expected = !used.contains(&nonce) && nonce + 64 > high && nonce <= high + 64;
            assert_eq!(account.accepts(nonce), expected, "nonce {nonce} at {high}");
            assert_eq!(account.use_nonce(nonce), expected);
            if expected {
                used.insert(nonce);
                high = high.max(nonce);
            }
        }
        assert!(high > 1_000);
    }

    #[test]
    fn a_nonce_near_the_end_of_the_range_neither_wraps_nor_panics() {
        let mut account = Account::new([7; 32], 0);
        account.nonce_high = U64::new(u64::MAX - 1);
        assert!(account.use_nonce(u64::MAX));
        assert!(!account.accepts(0) && !account.accepts(1) && !account.accepts(u64::MAX));
    }
}
