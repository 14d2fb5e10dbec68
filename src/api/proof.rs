//! Accounts that are proven: what a node says of one is believed only as far as a quorum signed it.
//!
//! - Upon a proof: the certificate must be signed by a quorum of the genesis' committee, the block must be the one that it
//!   names, and the slice must lead from the account's record to the root of the account table in that block.
//!
//! Why that is enough: more than two thirds of the validators say that they executed the chain up to that block, and every step
//! below is a hash. What a proof does not say is what happened after its height.

use crate::consensus::{CertificateError, verify_certificate};
use crate::crypto::{KeySet, ProofError};
use crate::ledger::verify_account;
use crate::types::{Account, AccountNumber, Genesis, Height, RootKind};
use crate::wire::{WireError, block_hash, chain_id, decode_block, decode_certificate};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What proves an account's record, as bytes in hex digits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccountEvidence {
    /// The height of the checkpoint; only told, the certificate counts.
    pub height: Height,
    /// The checkpoint's certificate.
    #[serde(with = "hex::serde")]
    pub certificate: Vec<u8>,
    /// Its block.
    #[serde(with = "hex::serde")]
    pub block: Vec<u8>,
    /// The Bao slice of the record in the account table whose root the block names.
    #[serde(with = "hex::serde")]
    pub slice: Vec<u8>,
}

/// Why evidence proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unproven {
    /// The certificate or the block does not decode.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// The certificate is not one of this chain's committee.
    #[error("{0}; is the genesis that of this chain?")]
    Certificate(#[from] CertificateError),
    /// The block is not the one that was signed.
    #[error("the block is not the one of which the certificate is")]
    Block,
    /// The block names no root of the account table.
    #[error("the block names no root of the account table")]
    Root,
    /// The record is not the one in the table.
    #[error("the account's record is not proven: {0}")]
    Slice(#[from] ProofError),
}

/// A record that a quorum vouches for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proven {
    /// As of this height.
    pub height: Height,
    /// How many validators signed.
    pub votes: usize,
    /// The record.
    pub account: Account,
}

impl AccountEvidence {
    /// The record of an account that the evidence proves to whoever trusts the genesis.
    ///
    /// # Errors
    /// [`Unproven`]: what does not hold.
    pub fn check(&self, genesis: &Genesis, number: AccountNumber) -> Result<Proven, Unproven> {
        let certificate = decode_certificate(&self.certificate)?;
        let committee = genesis.committee();
        let keys = KeySet::new(genesis.seats.iter().map(|seat| &seat.key.0));
        verify_certificate(&certificate, &chain_id(genesis), committee.epoch, &keys)?;
        if block_hash(&self.block) != certificate.hash {
            return Err(Unproven::Block);
        }
        let block = decode_block(&self.block)?;
        let root = block.root(RootKind::Accounts).ok_or(Unproven::Root)?;
        let account = verify_account(&root, block.accounts, number, &self.slice)?;
        Ok(Proven { height: block.height, votes: certificate.votes.len(), account })
    }
}
