//! Batches: a fixed header and its columns, viewed in place.
//!
//! ```text
//! version u8 · content u8 · author u16 · epoch u32 · sequence u64 · accounts u32 · rows u32 · keys u32 · blob bytes u32
//! root of E · root of K · root of W · signature            192 bytes in all
//! E: rows × 32 · K: keys × 32 · W: rows × 64
//! ```
//!
//! Where the content is opaque, `rows` counts blobs of `blob bytes` each, which are the only column; accounts, keys and
//! the second and third root are zero. Where it is rows, the blob bytes are zero.

use super::WireError;
use super::blobs::{Gathered, check_blobs};
use super::cursor::{Put, Reader};
use crate::crypto::{self, Domain, DomainHasher, SigningKey};
use crate::types::params::{
    ACCOUNTS_MAX, BATCH_HEADER_BYTES, EFFECT_BYTES, KEY_BYTES, OPAQUE_BYTES_MAX, ROWS_MAX, VERSION,
    WITNESS_BYTES,
};
use crate::types::{
    BatchHeader, BatchId, BatchRef, ChainId, Content, Effect, Epoch, Kind, Rules, Seat, Sequence, Witness,
};
use bytes::Bytes;
use thiserror::Error;
use zerocopy::{FromBytes, IntoBytes};

pub(super) const SIGNED_BYTES: usize = BATCH_HEADER_BYTES - 64;

/// A batch whose form was checked: lengths fit, columns are views on the shared bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// The decoded header.
    pub header: BatchHeader,
    /// The id of the batch.
    pub id: BatchId,
    bytes: Bytes,
}

/// The columns of rows, borrowed: in a batch, or in what a client submits.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// One effects row for each transaction.
    pub effects: &'a [Effect],
    /// The keys of open rows, in order.
    pub keys: &'a [[u8; 32]],
    /// One signature for each transaction.
    pub witnesses: &'a [Witness],
}

/// One transaction of [`Rows`].
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Its effects row.
    pub effect: &'a Effect,
    /// The key of an open row: the k-th open row takes the k-th key. `None` for every other kind, and for an open
    /// row without a key left, which is malformed.
    pub key: Option<&'a [u8; 32]>,
    /// Its signature.
    pub witness: &'a Witness,
}

/// Why a row makes its batch malformed; decided by bytes and genesis alone.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("row {row}: {reason}")]
pub struct RowError {
    /// The index of the row.
    pub row: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Batch {
    /// Views `bytes` as a batch. Checks the form of the header and every length; not the rows, roots or signature.
    pub fn decode(bytes: Bytes) -> Result<Batch, WireError> {
        let header = decode_header(&bytes)?;
        let row_bytes = match header.content {
            Content::Rows => EFFECT_BYTES + WITNESS_BYTES,
            Content::Opaque => header.blob_bytes as usize,
        };
        let expected =
            BATCH_HEADER_BYTES + header.rows as usize * row_bytes + header.keys as usize * KEY_BYTES;
        match bytes.len() {
            found if found < expected => Err(WireError::Short("batch")),
            found if found > expected => Err(WireError::Trailing("batch")),
            _ => {
                let id = BatchId(crypto::hash(Domain::BatchId, &[&bytes[..SIGNED_BYTES]]));
                Ok(Batch { header, id, bytes })
            }
        }
    }

    /// The canonical bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The same batch over another copy of its bytes, such as the view of the block file that now holds them.
    /// `None` if the bytes are not this batch.
    pub fn rebase(&self, bytes: Bytes) -> Option<Batch> {
        let same = bytes.len() == self.bytes.len()
            && bytes[..BATCH_HEADER_BYTES] == self.bytes[..BATCH_HEADER_BYTES];
        same.then(|| Batch { header: self.header, id: self.id, bytes })
    }

    /// Its slot and id.
    pub fn reference(&self) -> BatchRef {
        BatchRef { author: self.header.author, sequence: self.header.sequence, id: self.id }
    }

    /// The columns of rows; empty where the content is opaque.
    pub fn rows(&self) -> Rows<'_> {
        if self.header.content == Content::Opaque {
            return Rows { effects: &[], keys: &[], witnesses: &[] };
        }
        Rows::view(&self.bytes[BATCH_HEADER_BYTES..], self.header.rows as usize, self.header.keys as usize)
            .expect("lengths were checked when the batch was decoded")
    }

    /// The column of blobs; empty where the content is rows.
    pub fn blobs(&self) -> &[u8] {
        if self.header.content == Content::Opaque { &self.bytes[BATCH_HEADER_BYTES..] } else { &[] }
    }

    /// The digest under the author's signature.
    pub fn digest(&self, chain: &ChainId) -> [u8; 32] {
        crypto::hash(Domain::BatchHeader, &[&chain.0, &self.bytes[..SIGNED_BYTES]])
    }

    /// Whether the columns have the roots that the header names.
    pub fn roots_match(&self) -> bool {
        match self.header.content {
            Content::Rows => self.rows().roots() == self.header.roots,
            // The other two are zero, or it would not have decoded.
            Content::Opaque => crypto::plain(self.blobs()) == self.header.roots[0],
        }
    }
}

impl<'a> Rows<'a> {
    /// Views the columns E, K, W that follow each other in `bytes`; `None` if the length does not fit exactly.
    pub fn view(bytes: &'a [u8], rows: usize, keys: usize) -> Option<Rows<'a>> {
        let (effects, rest) = bytes.split_at_checked(rows.checked_mul(EFFECT_BYTES)?)?;
        let (keys, witnesses) = rest.split_at_checked(keys.checked_mul(KEY_BYTES)?)?;
        let rows_view = Rows {
            effects: <[Effect]>::ref_from_bytes(effects).ok()?,
            keys: <[[u8; 32]]>::ref_from_bytes(keys).ok()?,
            witnesses: <[Witness]>::ref_from_bytes(witnesses).ok()?,
        };
        (rows_view.witnesses.len() == rows).then_some(rows_view)
    }

    /// How many transactions there are.
    pub fn len(&self) -> usize {
        self.effects.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.effects.is_empty()
    }

    /// The root of each column: the plain BLAKE3 hash of its bytes.
    pub fn roots(&self) -> [[u8; 32]; 3] {
        [self.effects.as_bytes(), self.keys.as_bytes(), self.witnesses.as_bytes()].map(crypto::plain)
    }

    /// The transactions in order, each open row with its key.
    pub fn iter(&self) -> impl Iterator<Item = Row<'a>> + use<'a> {
        let mut keys = self.keys.iter();
        self.effects.iter().zip(self.witnesses).map(move |(effect, witness)| {
            let opens = effect.kind == Kind::Open as u8;
            Row { effect, key: if opens { keys.next() } else { None }, witness }
        })
    }

    /// Checks the rows of a batch: the form of each against the rules and the number of accounts that the header
    /// promises, and that those which open an account come first. So the key of a row has the row's own index, and
    /// one row can be proven without the others ([`super::Accusation`]).
    pub fn check(&self, rules: &Rules, accounts: u32) -> Result<(), RowError> {
        for (index, row) in self.iter().enumerate() {
            let effect = row.effect;
            let refuse = |reason| RowError { row: index, reason };
            row.check_form(rules).map_err(refuse)?;
            if effect.from.get() >= accounts || effect.to.get() >= accounts {
                return Err(refuse("an account number lies beyond the accounts of the header"));
            }
            // An open row behind the keys has none, and was refused above.
            if row.key.is_none() && index < self.keys.len() {
                return Err(refuse("a key beside a row that opens nothing: open rows come first"));
            }
        }
        Ok(())
    }
}

impl Row<'_> {
    /// Checks everything about a row that bytes and rules alone decide, whatever accounts there are.
    ///
    /// # Errors
    /// What makes the row malformed, in words.
    pub fn check_form(&self, rules: &Rules) -> Result<(), &'static str> {
        let effect = self.effect;
        let Some(kind) = Kind::from_byte(effect.kind) else { return Err("unknown kind") };
        if effect.zero != [0; 3] {
            return Err("a reserved byte is not zero");
        }
        if effect.amount.get() == 0 {
            return Err("the amount is zero");
        }
        if effect.from.get() == 0 {
            return Err("account 0 cannot send");
        }
        let fee_min = match (kind, self.key) {
            (Kind::Transfer, _) if effect.to.get() == 0 => return Err("account 0 cannot receive"),
            (Kind::Transfer, _) => rules.fee_min,
            (Kind::Open, _) if effect.to.get() != 0 => return Err("an open row names a receiver"),
            (Kind::Open, None) => return Err("an open row has no key"),
            (Kind::Open, Some(&[0, ref rest @ ..])) if rest.iter().all(|&b| b == 0) => {
                return Err("the zero key");
            }
            (Kind::Open, Some(_)) => rules.fee_open,
        };
        if effect.fee.get() < fee_min { Err("the fee lies below the least fee") } else { Ok(()) }
    }
}

/// The digest that a transaction's signature covers: the chain, both full keys and every field, but not the epoch.
/// So a node that lies about an account's number cannot make a signature fit.
pub fn transaction_digest(
    chain: &ChainId,
    effect: &Effect,
    from_key: &[u8; 32],
    to_key: &[u8; 32],
) -> [u8; 32] {
    let mut tail = [0u8; 21];
    tail[..8].copy_from_slice(effect.amount.as_bytes());
    tail[8..16].copy_from_slice(effect.nonce.as_bytes());
    tail[16..20].copy_from_slice(effect.fee.as_bytes());
    tail[20] = effect.kind;
    let mut hasher = DomainHasher::new(Domain::Transaction);
    hasher.update(&chain.0).update(from_key).update(to_key).update(&tail);
    hasher.finish()
}

/// Seals columns into a signed batch.
///
/// # Panics
/// If the columns exceed [`ROWS_MAX`] or do not fit each other: the caller took them from checked rows.
pub fn seal(
    key: &SigningKey,
    chain: &ChainId,
    (epoch, author, sequence): (Epoch, Seat, Sequence),
    accounts: u32,
    rows: Rows<'_>,
) -> Batch {
    assert!(
        rows.len() <= ROWS_MAX as usize && rows.keys.len() <= rows.len(),
        "a batch has at most ROWS_MAX rows"
    );
    assert_eq!(rows.len(), rows.witnesses.len(), "every row has a witness");
    let mut header = BatchHeader {
        epoch,
        author,
        sequence,
        content: Content::Rows,
        accounts,
        rows: rows.len() as u32,
        keys: rows.keys.len() as u32,
        blob_bytes: 0,
        roots: rows.roots(),
        signature: [0; 64],
    };
    let columns = [rows.effects.as_bytes(), rows.keys.as_bytes(), rows.witnesses.as_bytes()];
    let mut bytes = Vec::with_capacity(BATCH_HEADER_BYTES + columns.iter().map(|c| c.len()).sum::<usize>());
    let id = sign_header(key, chain, &mut header, &mut bytes);
    for column in columns {
        bytes.put(column);
    }
    Batch { header, id, bytes: Bytes::from(bytes) }
}

/// Seals gathered blobs into a signed batch, in the bytes in which they lie.
///
/// # Panics
/// If there is no blob.
pub fn seal_blobs(
    key: &SigningKey,
    chain: &ChainId,
    (epoch, author, sequence): (Epoch, Seat, Sequence),
    blobs: Gathered,
) -> Batch {
    assert!(!blobs.is_empty(), "a batch has a blob at least");
    let mut header = BatchHeader {
        epoch,
        author,
        sequence,
        content: Content::Opaque,
        accounts: 0,
        rows: blobs.len() as u32,
        keys: 0,
        blob_bytes: blobs.blob_bytes(),
        roots: [crypto::plain(blobs.column()), [0; 32], [0; 32]],
        signature: [0; 64],
    };
    let mut head = Vec::with_capacity(BATCH_HEADER_BYTES);
    let id = sign_header(key, chain, &mut header, &mut head);
    Batch { header, id, bytes: blobs.finish(&head).into() }
}

/// Signs a header that is whole but for its signature and appends its bytes to `out`, which is empty; the batch' id.
fn sign_header(key: &SigningKey, chain: &ChainId, header: &mut BatchHeader, out: &mut Vec<u8>) -> BatchId {
    encode_header(header, out);
    let signed = &out[..SIGNED_BYTES];
    let id = BatchId(crypto::hash(Domain::BatchId, &[signed]));
    header.signature = crypto::sign(key, &crypto::hash(Domain::BatchHeader, &[&chain.0, signed]));
    out[SIGNED_BYTES..].copy_from_slice(&header.signature);
    id
}

/// The content that a byte stands for.
pub(super) fn content(byte: u8) -> Result<Content, WireError> {
    match byte {
        0 => Ok(Content::Rows),
        1 => Ok(Content::Opaque),
        _ => Err(WireError::Value("content")),
    }
}

pub(super) fn encode_header(header: &BatchHeader, out: &mut Vec<u8>) {
    out.put_u8(VERSION).put_u8(header.content as u8).put_u16(header.author.0).put_u32(header.epoch.0);
    out.put_u64(header.sequence.0)
        .put_u32(header.accounts)
        .put_u32(header.rows)
        .put_u32(header.keys)
        .put_u32(header.blob_bytes);
    out.put(header.roots.as_bytes()).put(&header.signature);
}

pub(super) fn decode_header(bytes: &[u8]) -> Result<BatchHeader, WireError> {
    let mut reader = Reader::new("batch header", bytes);
    reader.version()?;
    let content = content(reader.u8()?)?;
    let author = reader.seat()?;
    let epoch = Epoch(reader.u32()?);
    let sequence = Sequence(reader.u64()?);
    let (accounts, rows, keys) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let blob_bytes = reader.u32()?;
    let roots = [reader.array()?, reader.array()?, reader.array()?];
    let signature = reader.array()?;
    let header =
        BatchHeader { epoch, author, sequence, content, accounts, rows, keys, blob_bytes, roots, signature };
    if rows == 0 || sequence.0 == 0 {
        return Err(WireError::Value("batch without rows or sequence"));
    }
    match content {
        Content::Rows => check_rows_header(&header)?,
        Content::Opaque => check_opaque_header(&header)?,
    }
    Ok(header)
}

fn check_rows_header(header: &BatchHeader) -> Result<(), WireError> {
    let &BatchHeader { rows, keys, blob_bytes, .. } = header;
    if blob_bytes != 0 {
        return Err(WireError::Value("blob bytes of a batch of rows"));
    }
    if header.accounts > ACCOUNTS_MAX {
        let (found, most) = (header.accounts.into(), ACCOUNTS_MAX.into());
        return Err(WireError::Limit { what: "accounts", found, most });
    }
    if rows > ROWS_MAX || keys > rows {
        let (found, most) = if rows > ROWS_MAX { (rows, ROWS_MAX) } else { (keys, rows) };
        return Err(WireError::Limit { what: "batch rows", found: found.into(), most: most.into() });
    }
    Ok(())
}

fn check_opaque_header(header: &BatchHeader) -> Result<(), WireError> {
    let BatchHeader { rows, blob_bytes, .. } = *header;
    check_blobs(blob_bytes, u64::from(rows) * u64::from(blob_bytes), OPAQUE_BYTES_MAX)?;
    let zero = header.accounts == 0 && header.keys == 0 && header.roots[1..] == [[0; 32]; 2];
    if zero { Ok(()) } else { Err(WireError::Value("a field of rows in an opaque batch")) }
}
