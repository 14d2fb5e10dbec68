//! Where a peer can be reached, signed by it: what nodes tell each other of others.
//!
//! ```text
//! key 32 · address 16 (IPv6; IPv4 as IPv4-mapped) · port u16 · time u64 (microseconds) · signature 64
//! ```
//!
//! Whoever hands a record on cannot change it; of two by one key the later one counts. It says where its maker wants to be
//! called, not that anybody answers there.

use super::WireError;
use super::cursor::{Put, Reader};
use crate::crypto::{self, Domain, PreparedKey, SigningKey};
use crate::types::{ChainId, Time};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The most records in one message.
pub const ADDRESSES_MAX: usize = 32;
/// Bytes of a record.
pub const ADDRESS_BYTES: usize = 122;

/// A signed address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AddressRecord {
    /// Whose it is.
    pub key: [u8; 32],
    /// Where it is reached: an address of one host, and a port.
    pub address: SocketAddr,
    /// When it was made, by its maker's clock.
    pub time: Time,
    /// The maker's signature.
    pub signature: [u8; 64],
}

impl AddressRecord {
    /// A record of the own address.
    pub fn sign(key: &SigningKey, chain: &ChainId, address: SocketAddr, time: Time) -> AddressRecord {
        let public = crypto::public_key(key);
        let record = AddressRecord { key: public, address, time, signature: [0; 64] };
        AddressRecord { signature: crypto::sign(key, &record.digest(chain)), ..record }
    }

    /// Whether its maker signed it, for this chain.
    pub fn holds(&self, chain: &ChainId) -> bool {
        let key = PreparedKey::new(&self.key);
        key.is_some_and(|key| crypto::verify(&key, &self.digest(chain), &self.signature))
    }

    fn digest(&self, chain: &ChainId) -> [u8; 32] {
        let mut fields = Vec::with_capacity(ADDRESS_BYTES);
        self.put_fields(&mut fields);
        crypto::hash(Domain::PeerAddress, &[&chain.0, &fields])
    }

    fn put_fields(&self, out: &mut Vec<u8>) {
        let address = match self.address.ip() {
            IpAddr::V4(four) => four.to_ipv6_mapped(),
            IpAddr::V6(six) => six,
        };
        out.put(&self.key).put(&address.octets()).put_u16(self.address.port()).put_u64(self.time.0);
    }

    pub(super) fn put_to(&self, out: &mut Vec<u8>) {
        self.put_fields(out);
        out.put(&self.signature);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<AddressRecord, WireError> {
        let key = reader.array()?;
        let six = Ipv6Addr::from(reader.array::<16>()?);
        let (port, time) = (reader.u16()?, Time(reader.u64()?));
        let signature = reader.array()?;
        let ip = six.to_ipv4_mapped().map_or(IpAddr::V6(six), IpAddr::V4);
        let address = SocketAddr::new(ip, port);
        if !is_callable(&address) {
            return Err(WireError::Value("address of a peer"));
        }
        Ok(AddressRecord { key, address, time, signature })
    }

    /// The canonical bytes, [`ADDRESS_BYTES`] of them.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ADDRESS_BYTES);
        self.put_to(&mut out);
        out
    }

    /// Decodes the canonical bytes. Checks form and limits, not the signature.
    ///
    /// # Errors
    /// [`WireError`]: what is wrong with them.
    pub fn decode(bytes: &[u8]) -> Result<AddressRecord, WireError> {
        let mut reader = Reader::new("address record", bytes);
        let record = AddressRecord::read(&mut reader)?;
        reader.end()?;
        Ok(record)
    }
}

/// Whether an address may be one of a single host that listens: no record of another is read.
pub fn is_callable(address: &SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    address.port() > 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

pub(super) fn put_addresses(records: &[AddressRecord], out: &mut Vec<u8>) {
    out.put_count(records.len());
    records.iter().for_each(|record| record.put_to(out));
}

pub(super) fn read_addresses(reader: &mut Reader<'_>) -> Result<Vec<AddressRecord>, WireError> {
    let count = reader.count("addresses", ADDRESSES_MAX, ADDRESS_BYTES)?;
    (0..count).map(|_| AddressRecord::read(reader)).collect()
}
