//! Reading and writing fixed fields in bounds.

use super::WireError;
use crate::types::Seat;
use crate::types::params::SEATS_MAX;

/// Reads fields from the front of a slice.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads from `bytes`; `what` names the value in errors.
    pub(super) fn new(what: &'static str, bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes, what }
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(WireError::Short(self.what))?;
        self.rest = rest;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(WireError::Short(self.what))?;
        self.rest = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A seat, refused beyond the largest committee.
    pub(super) fn seat(&mut self) -> Result<Seat, WireError> {
        let seat = Seat(self.u16()?);
        if seat.index() < SEATS_MAX { Ok(seat) } else { Err(WireError::Value("seat")) }
    }

    /// A seat, or [`Seat::NONE`].
    pub(super) fn seat_or_none(&mut self) -> Result<Seat, WireError> {
        let seat = Seat(self.u16()?);
        let known = seat == Seat::NONE || seat.index() < SEATS_MAX;
        if known { Ok(seat) } else { Err(WireError::Value("seat")) }
    }

    /// A count, refused above `most`, and before anything is allocated if the bytes at hand cannot hold that many
    /// items of `item_bytes` each.
    pub(super) fn count(
        &mut self,
        what: &'static str,
        most: usize,
        item_bytes: usize,
    ) -> Result<usize, WireError> {
        let count = self.u32()? as usize;
        if count > most {
            return Err(WireError::Limit { what, found: count as u64, most: most as u64 });
        }
        if count.saturating_mul(item_bytes) > self.rest.len() {
            return Err(WireError::Short(what));
        }
        Ok(count)
    }

    pub(super) fn version(&mut self) -> Result<(), WireError> {
        match self.u8()? {
            crate::types::params::VERSION => Ok(()),
            other => Err(WireError::Version(other)),
        }
    }

    /// The bytes must be used up.
    pub(super) fn end(self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Trailing(self.what)) }
    }
}

/// Appends fields.
pub(super) trait Put {
    fn put(&mut self, bytes: &[u8]) -> &mut Self;

    fn put_u8(&mut self, value: u8) -> &mut Self {
        self.put(&[value])
    }

    fn put_u16(&mut self, value: u16) -> &mut Self {
        self.put(&value.to_le_bytes())
    }

    fn put_u32(&mut self, value: u32) -> &mut Self {
        self.put(&value.to_le_bytes())
    }

    fn put_u64(&mut self, value: u64) -> &mut Self {
        self.put(&value.to_le_bytes())
    }

    /// A count of items that the caller has bounded far below 2^32.
    fn put_count(&mut self, count: usize) -> &mut Self {
        self.put_u32(u32::try_from(count).expect("lists are bounded far below 2^32"))
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) -> &mut Vec<u8> {
        self.extend_from_slice(bytes);
        self
    }
}
