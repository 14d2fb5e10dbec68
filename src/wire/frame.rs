//! Frames: a length, a kind, a payload.

use super::WireError;
use bytes::{Bytes, BytesMut};

/// Bytes before a frame's payload: length of the payload u32, kind u8.
pub const FRAME_HEADER_BYTES: usize = 5;

/// Space is set aside for so many times the bytes of a frame that have come, up to its length.
const SPACE_AHEAD: usize = 16;

/// One whole frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// What the payload is; the protocol that reads it knows.
    pub kind: u8,
    /// The payload.
    pub payload: Bytes,
}

/// The header of a frame.
///
/// # Panics
/// If the payload exceeds 32 bits of length; every payload is bounded far below.
pub fn frame_header(kind: u8, payload_bytes: usize) -> [u8; FRAME_HEADER_BYTES] {
    let [a, b, c, d] =
        u32::try_from(payload_bytes).expect("payloads are bounded far below 2^32").to_le_bytes();
    [a, b, c, d, kind]
}

/// Cuts a stream into frames. Holds at most one unfinished frame, whose announced length was checked against the
/// limit before any space is set aside; space grows with the bytes that really came, and stays within `SPACE_AHEAD`
/// times as much.
#[derive(Debug)]
pub struct FrameReader {
    buffer: BytesMut,
    payload_bytes_max: usize,
}

impl FrameReader {
    /// A reader that refuses payloads above the limit.
    pub fn new(payload_bytes_max: usize) -> FrameReader {
        FrameReader { buffer: BytesMut::new(), payload_bytes_max }
    }

    /// Raises or lowers the limit, once it is known who speaks.
    pub fn set_payload_bytes_max(&mut self, most: usize) {
        self.payload_bytes_max = most;
    }

    /// Takes as many bytes from the front as the frame that is under way needs; that frame once it is whole, `None` if
    /// all bytes are taken and it is not. Frames share no memory with each other.
    ///
    /// # Errors
    /// As [`FrameReader::next`].
    pub fn read(&mut self, bytes: &mut &[u8]) -> Result<Option<Frame>, WireError> {
        if self.buffer.is_empty()
            && let Some((kind, length)) = self.header(bytes)?
            && let Some(payload) = bytes[FRAME_HEADER_BYTES..].get(..length)
        {
            *bytes = &bytes[FRAME_HEADER_BYTES + length..];
            return Ok(Some(Frame { kind, payload: Bytes::copy_from_slice(payload) }));
        }
        while !bytes.is_empty() {
            let whole = match self.header(&self.buffer)? {
                Some((_, length)) => FRAME_HEADER_BYTES + length,
                None => FRAME_HEADER_BYTES,
            };
            let (more, rest) = bytes.split_at(bytes.len().min(whole - self.buffer.len()));
            let ahead = SPACE_AHEAD * (self.buffer.len() + more.len());
            self.buffer.reserve(whole.min(ahead) - self.buffer.len());
            self.buffer.extend_from_slice(more);
            *bytes = rest;
            if let Some(frame) = self.next()? {
                self.buffer = BytesMut::new();
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// Takes bytes as they came. Call [`FrameReader::next`] until it has no more before pushing again.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that wait for the rest of their frame.
    pub fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole frame, `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`WireError::Limit`] as soon as a header announces too much; the stream cannot be used any more.
    #[allow(clippy::should_implement_trait, reason = "it is an iterator only between pushes")]
    pub fn next(&mut self) -> Result<Option<Frame>, WireError> {
        let Some((kind, length)) = self.header(&self.buffer)? else { return Ok(None) };
        if self.buffer.len() < FRAME_HEADER_BYTES + length {
            return Ok(None);
        }
        let mut whole = self.buffer.split_to(FRAME_HEADER_BYTES + length);
        let payload = whole.split_off(FRAME_HEADER_BYTES).freeze();
        Ok(Some(Frame { kind, payload }))
    }

    /// Kind and length of the payload that a frame at the front of `bytes` announces; `None` while that is unknown.
    fn header(&self, bytes: &[u8]) -> Result<Option<(u8, usize)>, WireError> {
        let Some(&[a, b, c, d, kind]) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > self.payload_bytes_max {
            let most = self.payload_bytes_max as u64;
            return Err(WireError::Limit { what: "frame", found: length as u64, most });
        }
        Ok(Some((kind, length)))
    }
}
