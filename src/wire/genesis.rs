//! The genesis and the chain id.

use super::WireError;
use super::cursor::{Put, Reader};
use crate::crypto::{self, Domain};
use crate::types::params::{ACCOUNTS_MAX, NAME_BYTES_MAX, SEATS_MAX, VERSION};
use crate::types::{AccountNumber, ChainId, Genesis, GenesisAccount, Key, Policy, Rules, SeatInfo, Time};

const SEAT_BYTES: usize = 36;
const ACCOUNT_BYTES: usize = 40;

/// The chain id: the hash of the genesis' canonical bytes.
pub fn chain_id(genesis: &Genesis) -> ChainId {
    chain_id_of(&encode_genesis(genesis))
}

/// The chain id of a genesis' canonical bytes.
pub fn chain_id_of(genesis: &[u8]) -> ChainId {
    ChainId(crypto::hash(Domain::Genesis, &[genesis]))
}

/// The canonical bytes of a genesis: version, name, time, rules, seats, accounts.
pub fn encode_genesis(genesis: &Genesis) -> Vec<u8> {
    let mut out = Vec::with_capacity(128 + genesis.accounts.len() * ACCOUNT_BYTES);
    out.put_u8(VERSION).put_count(genesis.name.len()).put(genesis.name.as_bytes()).put_u64(genesis.time.0);
    let rules = &genesis.rules;
    out.put_u64(rules.depth).put_u64(rules.window).put_u32(rules.delay_ms).put_u8(rules.policy as u8);
    out.put_u32(rules.fee_min).put_u32(rules.fee_open).put_u64(rules.checkpoint_blocks);
    out.put_u8(rules.content as u8);
    put_seats(&genesis.seats, &mut out);
    out.put_count(genesis.accounts.len());
    for account in &genesis.accounts {
        out.put(&account.key).put_u64(account.balance);
    }
    out
}

pub(super) fn put_seats(seats: &[SeatInfo], out: &mut Vec<u8>) {
    out.put_count(seats.len());
    for seat in seats {
        out.put(&seat.key.0).put_u32(seat.fee_account.0);
    }
}

/// Decodes a genesis. Its limits against each other are checked by [`Genesis::check`].
pub fn decode_genesis(bytes: &[u8]) -> Result<Genesis, WireError> {
    let mut reader = Reader::new("genesis", bytes);
    reader.version()?;
    let count = reader.count("name", NAME_BYTES_MAX, 1)?;
    let name = std::str::from_utf8(reader.bytes(count)?).map_err(|_| WireError::Value("name"))?.to_owned();
    let time = Time(reader.u64()?);
    let (depth, window, delay_ms) = (reader.u64()?, reader.u64()?, reader.u32()?);
    let policy = match reader.u8()? {
        0 => Policy::All,
        1 => Policy::Quorum,
        _ => return Err(WireError::Value("policy")),
    };
    let (fee_min, fee_open, checkpoint_blocks) = (reader.u32()?, reader.u32()?, reader.u64()?);
    let content = super::batch::content(reader.u8()?)?;
    let rules = Rules { depth, window, delay_ms, policy, fee_min, fee_open, checkpoint_blocks, content };
    let count = reader.count("seats", SEATS_MAX, SEAT_BYTES)?;
    let mut seats = Vec::with_capacity(count);
    for _ in 0..count {
        seats.push(SeatInfo { key: Key(reader.array()?), fee_account: AccountNumber(reader.u32()?) });
    }
    let count = reader.count("accounts", ACCOUNTS_MAX as usize, ACCOUNT_BYTES)?;
    let mut accounts = Vec::with_capacity(count);
    for _ in 0..count {
        accounts.push(GenesisAccount { key: reader.array()?, balance: reader.u64()? });
    }
    reader.end()?;
    Ok(Genesis { name, time, rules, seats, accounts })
}
