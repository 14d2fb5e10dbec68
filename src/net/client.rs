//! One client's connection, without its socket.

use super::config::*;
use super::questions::Asker;
use super::queue::OutBuffer;
use super::turns::Standing;
use crate::wire::client::{CLIENT_FRAME_BYTES_MAX, Reply, Request};
use crate::wire::{FrameReader, WireError, frame_header};
use thiserror::Error;

/// The most bytes of a payload before the hello.
const HELLO_BYTES_MAX: usize = 16;

/// Why a client is dropped.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ClientError {
    /// What it sent does not decode.
    #[error("malformed request: {0}")]
    Wire(#[from] WireError),
    /// Its first request was not a hello, or a later one was.
    #[error("hello comes first, and once")]
    Hello,
    /// It does not read what it asked for.
    #[error("does not read its answers")]
    Slow,
}

/// One client.
pub struct ClientLink {
    reader: FrameReader,
    welcomed: bool,
    /// A request for which there was no room.
    postponed: Option<Request>,
    /// The reader may hold whole requests that were not taken out, because the bounds of this client were reached.
    pub held: bool,
    /// What its rows have shown so far.
    pub standing: Standing,
    /// What it has asked, and whether it stands in line for more.
    pub asker: Asker,
    /// Rows submitted and not yet answered.
    pub rows_waiting: usize,
    /// Bytes for the socket.
    pub out: OutBuffer,
}

impl Default for ClientLink {
    fn default() -> ClientLink {
        ClientLink {
            reader: FrameReader::new(HELLO_BYTES_MAX),
            welcomed: false,
            postponed: None,
            held: false,
            standing: Standing::default(),
            asker: Asker::default(),
            rows_waiting: 0,
            out: OutBuffer::default(),
        }
    }
}

impl ClientLink {
    /// Whether it has said hello.
    pub fn welcomed(&self) -> bool {
        self.welcomed
    }

    /// Whether its own bounds let it be read from.
    pub fn may_ask(&self) -> bool {
        self.rows_waiting < CLIENT_ROWS_MAX && self.out.pending().len() < CLIENT_OUT_PAUSE
    }

    /// Takes bytes from the socket.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.reader.push(bytes);
    }

    /// Keeps a request until there is room for it; it comes first then. Nothing else may be taken before.
    pub fn postpone(&mut self, request: Request) {
        self.postponed = Some(request);
    }

    /// The next whole request.
    pub fn next(&mut self) -> Result<Option<Request>, ClientError> {
        if let Some(request) = self.postponed.take() {
            return Ok(Some(request));
        }
        let Some(frame) = self.reader.next()? else { return Ok(None) };
        let request = Request::decode(frame)?;
        if self.welcomed == (request == Request::Hello) {
            return Err(ClientError::Hello);
        }
        if !self.welcomed {
            self.welcomed = true;
            self.reader.set_payload_bytes_max(CLIENT_FRAME_BYTES_MAX);
        }
        Ok(Some(request))
    }

    /// Queues a reply.
    pub fn reply(&mut self, reply: &Reply) -> Result<(), ClientError> {
        let (kind, payload) = reply.encode();
        self.push(kind, &payload)
    }

    /// Queues a reply that is encoded already.
    pub fn push(&mut self, kind: u8, payload: &[u8]) -> Result<(), ClientError> {
        if self.out.pending().len() + payload.len() > CLIENT_OUT_MAX {
            return Err(ClientError::Slow);
        }
        self.out.bytes.extend_from_slice(&frame_header(kind, payload.len()));
        self.out.bytes.extend_from_slice(payload);
        Ok(())
    }
}
