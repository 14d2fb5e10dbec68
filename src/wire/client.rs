//! The client protocol: what a wallet or a load generator says to a node over its client port.
//!
//! A connection opens with the client's [`Request::Hello`], answered by [`Reply::Welcome`]. Frames are those of
//! [`super::FrameReader`]; payloads are canonical. Rows travel in the columns in which a batch keeps them, so that a
//! submission is a view on the bytes that came.

use super::checkpoint::{put_certificate, read_certificate};
use super::cursor::{Put, Reader};
use super::{Blobs, FRAME_HEADER_BYTES, Frame, Rows, WireError, frame_header};
use crate::types::params::{EFFECT_BYTES, KEY_BYTES, VERSION, WITNESS_BYTES};
use crate::types::{Account, AccountNumber, BlockHash, Certificate, ChainId, Height, Seat, Time};
use bytes::Bytes;
use std::num::NonZeroU32;
use std::sync::Arc;
use zerocopy::{FromBytes, IntoBytes};

/// The most rows in one submission.
pub const SUBMIT_ROWS_MAX: usize = 1024;
/// The most bytes of blobs in one submission, 128 KiB.
pub const SUBMIT_BLOB_BYTES_MAX: usize = 128 << 10;
/// The most bytes of a payload from a client.
pub const CLIENT_FRAME_BYTES_MAX: usize = 16 + SUBMIT_ROWS_MAX * (EFFECT_BYTES + KEY_BYTES + WITNESS_BYTES);
const _: () = assert!(CLIENT_FRAME_BYTES_MAX >= BLOBS_HEAD_BYTES + SUBMIT_BLOB_BYTES_MAX);
/// Bytes of a submission of blobs before its column: id u64, how many u32, bytes of each u32.
const BLOBS_HEAD_BYTES: usize = 16;
/// The most refusals that one reply lists: one for each row.
pub const REFUSALS_MAX: usize = SUBMIT_ROWS_MAX;

/// The most peers that one answer names which are not connected.
pub const ABSENT_MAX: usize = 128;
/// The longest text about one of them, in bytes.
pub const ABSENT_TEXT_MAX: usize = u8::MAX as usize;

/// Why a row, or a submission of blobs, was not admitted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Refusal {
    /// Its form breaks a rule of the chain (kind, amount, fee, receiver); or the chain carries no such thing.
    Malformed = 1,
    /// An account number that does not exist here yet.
    UnknownAccount = 2,
    /// The signature is bad.
    BadSignature = 3,
    /// The nonce was used or lies outside of the window.
    BadNonce = 4,
    /// This account and nonce already wait here.
    Duplicate = 5,
    /// The balance does not cover amount and fee.
    NotCovered = 6,
    /// The mempool is full: try again later, or elsewhere.
    Full = 7,
    /// The node's disk is full, and it takes nothing: try elsewhere, or again when there is room.
    DiskFull = 8,
    /// The node is an observer, which seals nothing: send it to a validator.
    NoSeat = 9,
}

impl Refusal {
    /// All of them in order, from 1 on.
    pub const ALL: [Refusal; 9] = {
        use Refusal::*;
        [Malformed, UnknownAccount, BadSignature, BadNonce, Duplicate, NotCovered, Full, DiskFull, NoSeat]
    };

    /// Its place among [`Refusal::ALL`].
    pub fn place(self) -> usize {
        self as usize - 1
    }

    /// Its name in documents for programs.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::Malformed => "malformed",
            Refusal::UnknownAccount => "unknown_account",
            Refusal::BadSignature => "bad_signature",
            Refusal::BadNonce => "bad_nonce",
            Refusal::Duplicate => "duplicate",
            Refusal::NotCovered => "not_covered",
            Refusal::Full => "full",
            Refusal::DiskFull => "disk_full",
            Refusal::NoSeat => "no_seat",
        }
    }

    /// What it means, for people.
    pub fn words(self) -> &'static str {
        match self {
            Refusal::Malformed => "its form breaks a rule of the chain: the amount, the fee or the receiver",
            Refusal::UnknownAccount => "the node does not know one of the accounts yet",
            Refusal::BadSignature => "the signature is bad",
            Refusal::BadNonce => "the nonce was used, or lies too far from the highest used",
            Refusal::Duplicate => "this account and nonce already wait there",
            Refusal::NotCovered => "the balance does not cover amount and fee",
            Refusal::Full => "the mempool is full: try again later, or at another node",
            Refusal::NoSeat => "the node is an observer, which seals nothing: send it to a validator",
            Refusal::DiskFull => "the node's disk is full: try at another node, or again when it has room",
        }
    }

    fn from_byte(byte: u8) -> Option<Refusal> {
        Refusal::ALL.into_iter().find(|refusal| *refusal as u8 == byte)
    }
}

/// Rows as a client submitted them, or as a validator hands them on: columns E, K, W in shared bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Submission {
    rows: u32,
    keys: u32,
    columns: Bytes,
}

impl Submission {
    /// Packs columns; `None` above [`SUBMIT_ROWS_MAX`] rows or with columns that do not fit each other.
    pub fn pack(rows: Rows<'_>) -> Option<Submission> {
        let fits = (1..=SUBMIT_ROWS_MAX).contains(&rows.len())
            && rows.witnesses.len() == rows.len()
            && rows.keys.len() <= rows.len();
        let columns = [rows.effects.as_bytes(), rows.keys.as_bytes(), rows.witnesses.as_bytes()].concat();
        fits.then(|| Submission {
            rows: rows.len() as u32,
            keys: rows.keys.len() as u32,
            columns: columns.into(),
        })
    }

    /// Appends the canonical bytes: how many rows u32, how many keys u32, the columns.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.reserve(8 + self.columns.len());
        out.put_u32(self.rows).put_u32(self.keys).put(&self.columns);
    }

    /// Bytes that it takes in a message between peers.
    pub fn encoded_bytes(&self) -> usize {
        8 + self.columns.len()
    }

    /// Reads what `put` appends, to the end of the payload; the columns stay where they are.
    pub(super) fn read(payload: &Bytes) -> Result<Submission, WireError> {
        let mut reader = Reader::new("submitted rows", payload);
        let (rows, keys) = (reader.u32()?, reader.u32()?);
        if rows as usize > SUBMIT_ROWS_MAX {
            let (found, most) = (rows.into(), SUBMIT_ROWS_MAX as u64);
            return Err(WireError::Limit { what: "submitted rows", found, most });
        }
        if rows == 0 || keys > rows {
            return Err(WireError::Value("submitted rows"));
        }
        let columns = payload.slice(8..);
        Rows::view(&columns, rows as usize, keys as usize).ok_or(WireError::Short("submitted rows"))?;
        Ok(Submission { rows, keys, columns })
    }

    /// The columns.
    pub fn rows(&self) -> Rows<'_> {
        Rows::view(&self.columns, self.rows as usize, self.keys as usize)
            .expect("lengths were checked when the submission was made")
    }
}

impl Blobs {
    /// Packs a column of blobs of this size.
    ///
    /// # Errors
    /// A size outside of its limits, blobs that are not whole, none, or more than [`SUBMIT_BLOB_BYTES_MAX`] bytes.
    pub fn pack(blob_bytes: u32, column: impl Into<Bytes>) -> Result<Blobs, WireError> {
        Blobs::new(blob_bytes, column.into(), SUBMIT_BLOB_BYTES_MAX)
    }
}

/// What a client asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Opens the connection.
    Hello,
    /// Rows to admit; `id` comes back in the reply.
    Submit {
        /// The client's own number for it.
        id: u64,
        /// The rows.
        rows: Submission,
    },
    /// Blobs to order, where the chain carries such; `id` comes back in the reply.
    SubmitBlobs {
        /// The client's own number for it.
        id: u64,
        /// The blobs.
        blobs: Blobs,
    },
    /// Please tell of every block that becomes durable here, from now on.
    Subscribe,
    /// The state of the node.
    Status,
    /// The record of an account.
    Account(AccountNumber),
    /// The certificate of a checkpoint; of height 0: the newest one.
    Certificate(Height),
    /// Which peers of its configuration the node has no connection to, and why.
    Absent,
}

/// A peer that the configuration of a node names, and that is not connected; or one of which something else is to be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Absent {
    /// The seat; [`Seat::NONE`] of an address at which any node may answer.
    pub seat: Seat,
    /// Its address or name; empty: none is known.
    pub place: String,
    /// The last reason, in words for people.
    pub reason: String,
}

impl Absent {
    /// As it fits: what is longer than [`ABSENT_TEXT_MAX`] bytes is cut.
    pub fn new(seat: Seat, place: &str, reason: &str) -> Absent {
        let cut = |text: &str| text[..text.floor_char_boundary(ABSENT_TEXT_MAX)].to_owned();
        Absent { seat, place: cut(place), reason: cut(reason) }
    }
}

/// The state of a node, for people and tools.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Status {
    /// The height of the last durable block.
    pub height: Height,
    /// Its hash.
    pub hash: BlockHash,
    /// Accounts in the table.
    pub accounts: u32,
    /// Rows in the mempool.
    pub pending: u32,
    /// Connected validators, the node itself not counted.
    pub peers: u16,
}

/// A block that became durable on the node that tells of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockNotice {
    /// Its height.
    pub height: Height,
    /// Its hash.
    pub hash: BlockHash,
    /// When it became durable here, by the node's clock.
    pub durable: Time,
    /// Batches settled.
    pub batches: u32,
    /// Rows or blobs settled.
    pub rows: u32,
    /// Rows settled with the outcome `ok`. Blobs have no outcome: all of them count.
    pub ok: u32,
}

/// What a node answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// Opens the connection.
    Welcome {
        /// The chain.
        chain: ChainId,
        /// The node's seat; [`Seat::NONE`] of an observer.
        seat: Seat,
        /// Seats in the committee.
        seats: u16,
    },
    /// A submission was worked through: every row was verified and admitted, but for those refused.
    Submitted {
        /// The client's number.
        id: u64,
        /// Rows admitted.
        accepted: u32,
        /// Rows refused: index and reason, ascending.
        refused: Vec<(u32, Refusal)>,
    },
    /// A subscribed block.
    Block(BlockNotice),
    /// The state of the node.
    Status(Status),
    /// A submission of blobs was taken, or was not: all of them or none.
    Taken {
        /// The client's number.
        id: u64,
        /// How many were taken; or why none was. On the wire 0 and then the reason.
        accepted: Result<NonZeroU32, Refusal>,
    },
    /// An account's record, as it stands in the table; `None` if there is no such account.
    Account(AccountNumber, Option<Account>),
    /// The certificate of a checkpoint, for the height that was asked for; `None` if the node has none of it at hand.
    Certificate(Height, Option<Arc<Certificate>>),
    /// Peers of the configuration that are not connected.
    Absent {
        /// The first of them, at most [`ABSENT_MAX`].
        absent: Vec<Absent>,
        /// How many more there are.
        more: u32,
    },
}

impl Request {
    /// The frame's kind and payload.
    pub fn encode(&self) -> (u8, Vec<u8>) {
        let mut out = Vec::new();
        (self.encode_to(&mut out), out)
    }

    /// The whole frame.
    pub fn frame(&self) -> Vec<u8> {
        let mut out = vec![0; FRAME_HEADER_BYTES];
        let kind = self.encode_to(&mut out);
        let header = frame_header(kind, out.len() - FRAME_HEADER_BYTES);
        out[..FRAME_HEADER_BYTES].copy_from_slice(&header);
        out
    }

    /// Appends the payload; the frame's kind.
    fn encode_to(&self, out: &mut Vec<u8>) -> u8 {
        match self {
            Request::Hello => {
                out.put_u8(VERSION);
                1
            }
            Request::Submit { id, rows } => {
                out.put_u64(*id);
                rows.put(out);
                2
            }
            Request::Subscribe => 3,
            Request::Status => 4,
            Request::Account(number) => {
                out.put_u32(number.0);
                5
            }
            Request::SubmitBlobs { id, blobs } => {
                out.reserve(BLOBS_HEAD_BYTES + blobs.column().len());
                out.put_u64(*id).put_count(blobs.len()).put_u32(blobs.blob_bytes()).put(blobs.column());
                6
            }
            Request::Certificate(height) => {
                out.put_u64(height.0);
                7
            }
            Request::Absent => 8,
        }
    }

    /// Decodes a frame from a client.
    pub fn decode(frame: Frame) -> Result<Request, WireError> {
        let mut reader = Reader::new("request", &frame.payload);
        let request = match frame.kind {
            1 => {
                reader.version()?;
                Request::Hello
            }
            2 => {
                let id = reader.u64()?;
                let rows = Submission::read(&frame.payload.slice(8..))?;
                return Ok(Request::Submit { id, rows });
            }
            3 => Request::Subscribe,
            4 => Request::Status,
            5 => Request::Account(AccountNumber(reader.u32()?)),
            6 => {
                let (id, count, blob_bytes) = (reader.u64()?, reader.u32()?, reader.u32()?);
                let column = frame.payload.slice(BLOBS_HEAD_BYTES..);
                let blobs = Blobs::new(blob_bytes, column, SUBMIT_BLOB_BYTES_MAX)?;
                if blobs.len() != count as usize {
                    return Err(WireError::Value("count of blobs"));
                }
                return Ok(Request::SubmitBlobs { id, blobs });
            }
            7 => Request::Certificate(Height(reader.u64()?)),
            8 => Request::Absent,
            other => return Err(WireError::Kind(other)),
        };
        reader.end()?;
        Ok(request)
    }
}

impl Reply {
    /// The frame's kind and payload.
    pub fn encode(&self) -> (u8, Vec<u8>) {
        let mut out = Vec::new();
        let kind = match self {
            Reply::Welcome { chain, seat, seats } => {
                out.put_u8(VERSION).put(&chain.0).put_u16(seat.0).put_u16(*seats);
                1
            }
            Reply::Submitted { id, accepted, refused } => {
                out.put_u64(*id).put_u32(*accepted).put_count(refused.len());
                for (index, reason) in refused {
                    out.put_u32(*index).put_u8(*reason as u8);
                }
                2
            }
            Reply::Block(notice) => {
                out.put_u64(notice.height.0).put(&notice.hash.0).put_u64(notice.durable.0);
                out.put_u32(notice.batches).put_u32(notice.rows).put_u32(notice.ok);
                3
            }
            Reply::Status(status) => {
                out.put_u64(status.height.0).put(&status.hash.0).put_u32(status.accounts);
                out.put_u32(status.pending).put_u16(status.peers);
                4
            }
            Reply::Account(number, account) => {
                out.put_u32(number.0);
                if let Some(account) = account {
                    out.put(account.as_bytes());
                }
                5
            }
            Reply::Taken { id, accepted } => {
                out.put_u64(*id);
                match accepted {
                    Ok(accepted) => _ = out.put_u32(accepted.get()),
                    Err(refusal) => _ = out.put_u32(0).put_u8(*refusal as u8),
                }
                6
            }
            Reply::Certificate(height, certificate) => {
                out.put_u64(height.0).put_u8(u8::from(certificate.is_some()));
                if let Some(certificate) = certificate {
                    put_certificate(certificate, &mut out);
                }
                7
            }
            Reply::Absent { absent, more } => {
                out.put_u32(*more).put_count(absent.len());
                for Absent { seat, place, reason } in absent {
                    out.put_u16(seat.0);
                    for text in [place, reason] {
                        let length = u8::try_from(text.len()).expect("made within the limit of texts");
                        out.put_u8(length).put(text.as_bytes());
                    }
                }
                8
            }
        };
        (kind, out)
    }

    /// Decodes a frame from a node.
    pub fn decode(frame: &Frame) -> Result<Reply, WireError> {
        let mut reader = Reader::new("reply", &frame.payload);
        let reply = match frame.kind {
            1 => {
                reader.version()?;
                let chain = ChainId(reader.array()?);
                Reply::Welcome { chain, seat: reader.seat_or_none()?, seats: reader.u16()? }
            }
            2 => {
                let (id, accepted) = (reader.u64()?, reader.u32()?);
                let count = reader.count("refusals", REFUSALS_MAX, 5)?;
                let mut refused: Vec<(u32, Refusal)> = Vec::with_capacity(count);
                for _ in 0..count {
                    let index = reader.u32()?;
                    if refused.last().is_some_and(|last| last.0 >= index) {
                        return Err(WireError::Value("order of refusals"));
                    }
                    refused
                        .push((index, Refusal::from_byte(reader.u8()?).ok_or(WireError::Value("refusal"))?));
                }
                Reply::Submitted { id, accepted, refused }
            }
            3 => Reply::Block(BlockNotice {
                height: Height(reader.u64()?),
                hash: BlockHash(reader.array()?),
                durable: Time(reader.u64()?),
                batches: reader.u32()?,
                rows: reader.u32()?,
                ok: reader.u32()?,
            }),
            4 => Reply::Status(Status {
                height: Height(reader.u64()?),
                hash: BlockHash(reader.array()?),
                accounts: reader.u32()?,
                pending: reader.u32()?,
                peers: reader.u16()?,
            }),
            5 => {
                let number = AccountNumber(reader.u32()?);
                let account = match frame.payload.len() {
                    4 => None,
                    _ => Some(
                        Account::read_from_bytes(reader.bytes(64)?)
                            .map_err(|_| WireError::Value("account"))?,
                    ),
                };
                Reply::Account(number, account)
            }
            6 => {
                let (id, accepted) = (reader.u64()?, NonZeroU32::new(reader.u32()?));
                let accepted = match accepted {
                    Some(accepted) => Ok(accepted),
                    None => Err(Refusal::from_byte(reader.u8()?).ok_or(WireError::Value("refusal"))?),
                };
                Reply::Taken { id, accepted }
            }
            7 => {
                let (height, given) = (Height(reader.u64()?), reader.u8()?);
                let certificate = match given {
                    0 => None,
                    1 => Some(Arc::new(read_certificate(&mut reader)?)),
                    _ => return Err(WireError::Value("certificate given")),
                };
                Reply::Certificate(height, certificate)
            }
            8 => {
                let more = reader.u32()?;
                let count = reader.count("peers not connected", ABSENT_MAX, 4)?;
                let mut absent = Vec::with_capacity(count);
                for _ in 0..count {
                    let seat = reader.seat_or_none()?;
                    absent.push(Absent {
                        seat,
                        place: read_text(&mut reader)?,
                        reason: read_text(&mut reader)?,
                    });
                }
                Reply::Absent { absent, more }
            }
            other => return Err(WireError::Kind(other)),
        };
        reader.end()?;
        Ok(reply)
    }
}

fn read_text(reader: &mut Reader<'_>) -> Result<String, WireError> {
    let length = reader.u8()?;
    let text = std::str::from_utf8(reader.bytes(length.into())?);
    text.map(str::to_owned).map_err(|_| WireError::Value("text"))
}
