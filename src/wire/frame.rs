//! Frames: a length, a kind, a payload.

use super::WireError;
use bytes::{Bytes, BytesMut};

/// Bytes before a frame's payload: length of the payload u32, kind u8.
pub const FRAME_HEADER_BYTES: usize = 5;

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
/// limit before any space is set aside; space grows with the bytes that really came.
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
        let Some((header, _)) = self.buffer.split_first_chunk::<FRAME_HEADER_BYTES>() else {
            return Ok(None);
        };
        let [a, b, c, d, kind] = *header;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > self.payload_bytes_max {
            let most = self.payload_bytes_max as u64;
            return Err(WireError::Limit { what: "frame", found: length as u64, most });
        }
        if self.buffer.len() < FRAME_HEADER_BYTES + length {
            return Ok(None);
        }
        let mut whole = self.buffer.split_to(FRAME_HEADER_BYTES + length);
        let payload = whole.split_off(FRAME_HEADER_BYTES).freeze();
        Ok(Some(Frame { kind, payload }))
    }
}
