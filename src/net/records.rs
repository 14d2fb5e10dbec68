//! Sealed records: what a connection carries once its keys are exchanged.
//!
//! ```text
//! length u16, of what follows · ciphertext · tag 16
//! ```
//!
//! AES-128-GCM (NIST SP 800-38D), one key for each direction, with the length as associated data. X25519, from which
//! the keys come, gives no more security than 128 bits; and this cipher moves several gigabytes a second on one core
//! where ChaCha20-Poly1305 moves one: every byte of a batch is sealed for each peer and opened by each.
//!
//! - Upon a record: its nonce is its number under the key, which is never sent. So a record that is left out, repeated,
//!   moved or sent back to its maker does not open, and a connection on which one does not open is given up.
//! - Upon [`RECORDS_PER_KEY`] records: both sides go on to the next key, without a word. They counted the same
//!   records.
//!
//! Why that is safe: what comes out of the exchange of keys is never a key itself, but the secret of a chain: each
//! secret is hashed, under a domain of its own, to the key of its records and to the next secret. So a key says
//! nothing about those before it. No nonce comes twice, for the count begins anew only with another key. One key
//! seals at most 2^18 records of 2^12 blocks of 16 bytes: an advantage of 2^-69 over a random function at most (half
//! the square of the blocks over 2^128), and a forger's 2^-116 per try.

use super::noise::PeerError;
use crate::crypto::{self, Domain};
use ring::aead::{
    AES_128_GCM, Aad, BoundKey, NONCE_LEN, Nonce, NonceSequence, OpeningKey, SealingKey, UnboundKey,
};
use ring::error::Unspecified;

/// Bytes in front of each record: its length, little-endian.
pub const RECORD_HEADER_BYTES: usize = 2;
/// The longest record without its header. Longer ones would be no faster to seal, and a record is of no use before its
/// last byte has come: more of what one read brings would be set aside.
pub const RECORD_BYTES_MAX: usize = u16::MAX as usize;
/// Bytes that sealing adds.
pub const TAG_BYTES: usize = 16;
/// The longest plaintext of a record.
pub const PLAIN_BYTES_MAX: usize = RECORD_BYTES_MAX - TAG_BYTES;
/// Records under one key.
const RECORDS_PER_KEY: u64 = 1 << 18;
const _: () = {
    // What the advantage above is reckoned with: 16 GiB under one key, in blocks of 16 bytes.
    assert!(RECORDS_PER_KEY * (RECORD_BYTES_MAX as u64).div_ceil(16) <= 1 << 30);
    // And a count of records never comes near the end of its nonce.
    assert!(RECORDS_PER_KEY < 1 << 32);
};

type Header = [u8; RECORD_HEADER_BYTES];

/// An encrypted channel: what one side seals, the other opens, in the same order.
pub struct Channel {
    out: Direction<SealingKey<Count>>,
    into: Direction<OpeningKey<Count>>,
}

/// The keys of one direction.
struct Direction<K> {
    key: K,
    /// Records that the key still takes.
    left: u64,
    next: [u8; 32],
    records_per_key: u64,
}

impl Channel {
    /// A channel over the secrets of both directions, as the exchange of keys gave them; `binding` is its hash.
    pub fn new(out: &[u8; 32], into: &[u8; 32], binding: &[u8; 32]) -> Channel {
        Channel::rekeyed_after(RECORDS_PER_KEY, out, into, binding)
    }

    fn rekeyed_after(records: u64, out: &[u8; 32], into: &[u8; 32], binding: &[u8; 32]) -> Channel {
        let first = |secret: &[u8; 32]| crypto::hash(Domain::PeerSecret, &[secret, binding]);
        Channel { out: Direction::new(first(out), records), into: Direction::new(first(into), records) }
    }

    /// Makes room for the header of a record at the end of `out`; returns where it begins. The plaintext is to be
    /// appended.
    pub fn begin(out: &mut Vec<u8>) -> usize {
        out.extend_from_slice(&Header::default());
        out.len() - RECORD_HEADER_BYTES
    }

    /// Seals the record that begins at `start` in its place, and appends its tag.
    ///
    /// # Errors
    /// The plaintext is longer than a record can be.
    pub fn seal(&mut self, out: &mut Vec<u8>, start: usize) -> Result<(), PeerError> {
        let length = out.len() - start - RECORD_HEADER_BYTES + TAG_BYTES;
        let header = u16::try_from(length).map_err(|_| PeerError::RecordLength(length))?.to_le_bytes();
        let (front, plain) = out[start..].split_at_mut(RECORD_HEADER_BYTES);
        front.copy_from_slice(&header);
        let sealed = self.out.key.seal_in_place_separate_tag(Aad::from(header), plain);
        let tag = sealed.map_err(|Unspecified| PeerError::Noise)?;
        out.extend_from_slice(tag.as_ref());
        self.out.count();
        Ok(())
    }

    /// Opens a record, given with its header, in its place; the plaintext.
    ///
    /// # Errors
    /// It is not the next record that the other side sealed.
    pub fn open<'a>(&mut self, record: &'a mut [u8]) -> Result<&'a mut [u8], PeerError> {
        let (header, sealed) = record.split_first_chunk_mut().ok_or(PeerError::Noise)?;
        let header: Header = *header;
        let plain = self.into.key.open_in_place(Aad::from(header), sealed);
        let plain = plain.map_err(|Unspecified| PeerError::Noise)?;
        self.into.count();
        Ok(plain)
    }
}

impl<K: BoundKey<Count>> Direction<K> {
    fn new(secret: [u8; 32], records_per_key: u64) -> Direction<K> {
        let key = crypto::hash(Domain::PeerKey, &[&secret]);
        let key = UnboundKey::new(&AES_128_GCM, &key[..AES_128_GCM.key_len()]).expect("a key of its length");
        Direction {
            key: K::new(key, Count(0)),
            left: records_per_key,
            next: crypto::hash(Domain::PeerSecret, &[&secret]),
            records_per_key,
        }
    }

    /// A record was sealed or opened.
    fn count(&mut self) {
        self.left -= 1;
        if self.left == 0 {
            *self = Direction::new(self.next, self.records_per_key);
        }
    }
}

/// The number of the next record under a key.
struct Count(u64);

impl NonceSequence for Count {
    fn advance(&mut self) -> Result<Nonce, Unspecified> {
        let mut nonce = [0; NONCE_LEN];
        nonce[NONCE_LEN - size_of::<u64>()..].copy_from_slice(&self.0.to_be_bytes());
        self.0 = self.0.checked_add(1).ok_or(Unspecified)?;
        Ok(Nonce::assume_unique_for_key(nonce))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ends of a channel whose keys last for so many records.
    fn ends(records_per_key: u64) -> (Channel, Channel) {
        let (there, back, binding) = ([1; 32], [2; 32], [3; 32]);
        let end = |out, into| Channel::rekeyed_after(records_per_key, out, into, &binding);
        (end(&there, &back), end(&back, &there))
    }

    fn sealed(channel: &mut Channel, plain: &[u8]) -> Vec<u8> {
        let mut out = b"before".to_vec();
        let start = Channel::begin(&mut out);
        out.extend_from_slice(plain);
        channel.seal(&mut out, start).unwrap();
        assert_eq!(out.len(), start + RECORD_HEADER_BYTES + plain.len() + TAG_BYTES);
        out.split_off(start)
    }

    fn opened(channel: &mut Channel, record: &[u8]) -> Option<Vec<u8>> {
        channel.open(&mut record.to_vec()).ok().map(|plain| plain.to_vec())
    }

    #[test]
    fn records_of_every_length_open_in_their_order_over_many_keys() {
        let (mut a, mut b) = ends(3);
        let mut ciphers = std::collections::BTreeSet::new();
        for length in [0, 1, 15, 16, 17, 4096, PLAIN_BYTES_MAX, 5, 5, 5, 5, 5] {
            let plain = vec![length as u8; length];
            let record = sealed(&mut a, &plain);
            assert_eq!(opened(&mut b, &record).as_ref(), Some(&plain));
            assert!(ciphers.insert(record), "the same plaintext never looks the same, across keys too");
            let answer = sealed(&mut b, &plain);
            assert_eq!(opened(&mut a, &answer), Some(plain));
        }
    }

    #[test]
    fn what_is_repeated_left_out_moved_or_sent_back_does_not_open() {
        for at in 0..7 {
            // Under the first key, as the last of one, and as the first of the next.
            let [mut replayed, mut skipped, mut reflected] = [(); 3].map(|()| ends(3));
            let mut last = Vec::new();
            for _ in 0..at {
                last = sealed(&mut replayed.0, b"one");
                assert!(opened(&mut replayed.1, &last).is_some());
                let record = sealed(&mut skipped.0, b"one");
                assert!(opened(&mut skipped.1, &record).is_some());
            }
            assert!(at == 0 || opened(&mut replayed.1, &last).is_none(), "replayed");
            let lost = sealed(&mut skipped.0, b"lost");
            let next = sealed(&mut skipped.0, b"next");
            assert!(opened(&mut skipped.1, &next).is_none(), "left out, or moved before another");
            assert!(opened(&mut skipped.1, &lost).is_none(), "too late");
            let own = sealed(&mut reflected.0, b"own");
            assert!(opened(&mut reflected.0, &own).is_none(), "sent back");
        }
    }

    #[test]
    fn a_record_with_any_bit_changed_or_any_byte_less_does_not_open() {
        let record = sealed(&mut ends(9).0, b"some bytes of a vote");
        for bit in 0..record.len() * 8 {
            let mut changed = record.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(opened(&mut ends(9).1, &changed).is_none(), "bit {bit}");
        }
        for length in 0..record.len() {
            assert!(opened(&mut ends(9).1, &record[..length]).is_none(), "{length} bytes");
        }
        assert!(opened(&mut ends(9).1, &record).is_some());
    }

    #[test]
    fn another_exchange_or_another_direction_has_other_keys() {
        let (secret, other) = ([1; 32], [2; 32]);
        let channel = |out, into, binding: u8| Channel::new(out, into, &[binding; 32]);
        let record = sealed(&mut channel(&secret, &other, 3), b"vote");
        assert!(opened(&mut channel(&other, &secret, 3), &record).is_some());
        assert!(opened(&mut channel(&other, &secret, 4), &record).is_none(), "another exchange");
        assert!(opened(&mut channel(&secret, &other, 3), &record).is_none(), "the other direction");
    }

    #[test]
    fn what_is_too_long_is_not_sealed() {
        let mut out = Vec::new();
        let start = Channel::begin(&mut out);
        out.resize(start + RECORD_HEADER_BYTES + PLAIN_BYTES_MAX + 1, 0);
        let found = ends(9).0.seal(&mut out, start);
        assert_eq!(found, Err(PeerError::RecordLength(RECORD_BYTES_MAX + 1)));
    }
}
