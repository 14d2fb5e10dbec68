//! The transaction: an effects row and a witness row.

use super::ids::AccountNumber;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What a row does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Moves an amount to the account numbered `to`.
    Transfer = 0,
    /// Opens an account for the row's key in the key column; `to` is 0.
    Open = 1,
}

impl Kind {
    /// The kind of a byte; unknown kinds are malformed.
    pub fn from_byte(byte: u8) -> Option<Kind> {
        match byte {
            0 => Some(Kind::Transfer),
            1 => Some(Kind::Open),
            _ => None,
        }
    }
}

/// The effects row of a transaction, 32 bytes as they stand in a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Effect {
    /// The number of the account that pays.
    pub from: U32,
    /// The number of the account that receives; 0 for an open row.
    pub to: U32,
    /// What is moved, at least 1.
    pub amount: U64,
    /// Used once per account, inside a window of 64.
    pub nonce: U64,
    /// Paid to the fee account of the batch's author.
    pub fee: U32,
    /// A [`Kind`].
    pub kind: u8,
    /// Zero.
    pub zero: [u8; 3],
}

impl Effect {
    /// A transfer row.
    pub fn transfer(from: u32, to: u32, amount: u64, nonce: u64, fee: u32) -> Effect {
        Effect {
            from: U32::new(from),
            to: U32::new(to),
            amount: U64::new(amount),
            nonce: U64::new(nonce),
            fee: U32::new(fee),
            kind: Kind::Transfer as u8,
            zero: [0; 3],
        }
    }

    /// An open row; its key stands in the key column.
    pub fn open(from: u32, amount: u64, nonce: u64, fee: u32) -> Effect {
        Effect { kind: Kind::Open as u8, ..Effect::transfer(from, 0, amount, nonce, fee) }
    }

    /// The account that pays.
    pub fn sender(&self) -> AccountNumber {
        AccountNumber(self.from.get())
    }
}

/// The witness row of a transaction: its Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Witness(pub [u8; 64]);
