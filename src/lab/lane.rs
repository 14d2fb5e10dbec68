//! One node's rows in the client's hands.

use super::generator::FRAME_ROWS;
use super::payload::{BlobSource, Payload};
use super::workload::Chunk;
use crate::types::{Effect, Time, Witness};
use crate::wire::client::{Request, Submission};
use crate::wire::{Blobs, Rows};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Memory of a signed row.
pub const ROW_BYTES: u64 = (size_of::<Effect>() + size_of::<Witness>()) as u64;
/// Memory of the time of a row that was sent.
pub const TIME_BYTES: u64 = size_of::<Time>() as u64;

/// What a lane sends in one submission.
#[derive(Clone, Debug)]
pub(super) enum Parcel {
    /// Signed transfers.
    Rows(Submission),
    /// Blobs.
    Blobs(Blobs),
}

impl Parcel {
    /// Rows or blobs in it.
    pub(super) fn len(&self) -> usize {
        match self {
            Parcel::Rows(rows) => rows.rows().len(),
            Parcel::Blobs(blobs) => blobs.len(),
        }
    }

    /// What a node is asked.
    pub(super) fn request(self, id: u64) -> Request {
        match self {
            Parcel::Rows(rows) => Request::Submit { id, rows },
            Parcel::Blobs(blobs) => Request::SubmitBlobs { id, blobs },
        }
    }
}

/// One node's rows: signed ones that wait, and when the others were meant to be sent. Blobs are made when they are sent,
/// and count as rows.
#[derive(Debug)]
pub struct Lane {
    pub(super) node: usize,
    pub(super) address: SocketAddr,
    chunks: VecDeque<Chunk>,
    offset: usize,
    pub(super) retry: VecDeque<Again>,
    times: Vec<Time>,
    blobs: Option<BlobSource>,
}

/// A row that was refused and is sent again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    /// Its effects.
    pub effect: Effect,
    /// Its signature.
    pub witness: Witness,
    /// How often it was sent.
    pub tries: u16,
}

impl Lane {
    /// A lane to a node that listens there.
    pub fn new(node: usize, address: SocketAddr) -> Lane {
        let (chunks, retry, times) = Default::default();
        Lane { node, address, chunks, offset: 0, retry, times, blobs: None }
    }

    /// The same, for a payload.
    pub fn sending(self, payload: Payload) -> Lane {
        let blobs = payload.blob_bytes().map(|bytes| BlobSource::new(bytes, self.node));
        Lane { blobs, ..self }
    }

    /// The most rows of one submission.
    pub(super) fn frame_rows(&self) -> usize {
        self.blobs.as_ref().map_or(FRAME_ROWS, BlobSource::frame_blobs)
    }

    /// Signed rows that were never sent.
    pub fn stock(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>() - self.offset as u64
    }

    /// The index of the next row to sign.
    pub fn next_index(&self) -> u64 {
        self.times.len() as u64 + self.stock()
    }

    /// Adds signed rows that go on at [`Lane::next_index`].
    pub fn supply(&mut self, chunks: Vec<Chunk>) {
        self.chunks.extend(chunks);
    }

    /// When each row was meant to be sent, by its index.
    pub fn times(&self) -> &[Time] {
        &self.times
    }

    /// Memory of signed rows and of times.
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.len() as u64 * ROW_BYTES).sum::<u64>()
            + self.times.len() as u64 * TIME_BYTES
    }

    /// Takes up to `most` fresh rows that stand together; stamps them with their times.
    pub(super) fn take(&mut self, most: usize, time_of: impl Fn(u64) -> Time) -> Option<Parcel> {
        if let Some(source) = &mut self.blobs {
            let (first, count) = (self.times.len() as u64, most.min(source.frame_blobs()));
            let mut column = Vec::new();
            source.draw(first, count, &mut column);
            self.times.extend((0..count as u64).map(time_of));
            return Blobs::pack(source.blob_bytes(), column).ok().map(Parcel::Blobs);
        }
        let chunk = self.chunks.front()?;
        let until = chunk.len().min(self.offset + most);
        let submission = Submission::pack(chunk.rows(self.offset, until))?;
        self.times.extend((0..(until - self.offset) as u64).map(time_of));
        self.offset = until;
        if until == chunk.len() {
            self.chunks.pop_front();
            self.offset = 0;
        }
        Some(Parcel::Rows(submission))
    }

    /// Takes up to a frame of refused rows, and how often one of them was sent at most.
    pub(super) fn take_retries(&mut self) -> Option<(Submission, u16)> {
        let count = self.retry.len().min(FRAME_ROWS);
        let again: Vec<Again> = self.retry.drain(..count).collect();
        let effects: Vec<_> = again.iter().map(|row| row.effect).collect();
        let witnesses: Vec<_> = again.iter().map(|row| row.witness).collect();
        let tries = again.iter().map(|row| row.tries).max()?;
        let rows = Rows { effects: &effects, keys: &[], witnesses: &witnesses };
        Some((Submission::pack(rows)?, tries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_of_blobs_never_runs_dry_and_keeps_their_times() {
        let mut lane = Lane::new(2, ([127, 0, 0, 1], 1).into()).sending(Payload::Opaque(100));
        for turn in 0..3 {
            let parcel = lane.take(5, |row| Time(5 * turn + row)).unwrap();
            assert_eq!(parcel.len(), 5);
            let Parcel::Blobs(blobs) = parcel else { panic!("blobs were asked for") };
            assert_eq!(crate::lab::payload::name_of(blobs.column()), Some((2, 5 * turn)));
        }
        assert_eq!(lane.times().iter().map(|time| time.0).collect::<Vec<_>>(), (0..15).collect::<Vec<_>>());
        assert_eq!((lane.stock(), lane.frame_rows()), (0, 655));
    }

    #[test]
    fn a_lane_hands_out_its_rows_once_in_order_and_keeps_their_times() {
        let row = |nonce| (Effect::transfer(1, 2, 1, nonce, 1), Witness([0; 64]));
        let mut lane = Lane::new(0, ([127, 0, 0, 1], 1).into());
        lane.supply(vec![(0..300).map(row).collect(), (300..310).map(row).collect()]);
        assert_eq!((lane.stock(), lane.next_index()), (310, 310));
        let mut nonces = Vec::new();
        while let Some(Parcel::Rows(submission)) =
            lane.take(FRAME_ROWS, |row| Time(nonces.len() as u64 + row))
        {
            nonces.extend(submission.rows().effects.iter().map(|effect| effect.nonce.get()));
        }
        assert_eq!(nonces, (0..310).collect::<Vec<_>>());
        assert_eq!(lane.times().iter().map(|time| time.0).collect::<Vec<_>>(), nonces);
        assert_eq!((lane.stock(), lane.next_index()), (0, 310));
    }
}
