//! Patience with a full disk.
//!
//! - Upon want of room where nothing half-written is promised (a segment that is being prepared, a write before its sync):
//!   tell it once, hold what waits, and try the same again every so often.
//! - Upon room: tell that, and go on.
//! - Upon a store that is being closed meanwhile: give up, with the reason.
//!
//! Why that is safe: nothing of what waits was told to be durable. A write that was refused is made again whole, at the
//! same place, before its first sync; a file that could not be filled is removed and made anew. A sync that fails is never
//! tried again ([`StoreError::is_no_space`]).

use super::segment::Segment;
use super::{Append, StoreError};
use crossbeam::channel::{Receiver, never, select, tick};
use std::convert::Infallible;
use std::time::{Duration, Instant};

/// Called by the writer thread with the reason when the disk has no room for what comes next, and with `None` once it has.
/// It must not block.
pub type OnRoom = Box<dyn Fn(Option<StoreError>) + Send>;

/// What the writer does next.
pub(super) enum Next {
    /// Write these.
    Write(Vec<Append>),
    /// Take the segment that the helper has made, or hear why it has not.
    Made(Result<Segment, StoreError>),
    /// See whether there is room by now.
    Look,
    /// End: nothing waits, and nothing more comes.
    End,
}

/// Whether there is room, as far as the writer knows.
pub(super) struct Room {
    pub(super) on_room: OnRoom,
    /// Ends when the store is closed.
    closes: Receiver<Infallible>,
    every: Duration,
    /// Why there is none.
    lacking: Option<StoreError>,
    looks: Receiver<Instant>,
}

impl Room {
    pub(super) fn new(closes: Receiver<Infallible>, every: Duration) -> Room {
        Room { on_room: Box::new(|_| ()), closes, every, lacking: None, looks: never() }
    }

    /// Whether the last that was tried found none.
    pub(super) fn is_lacking(&self) -> bool {
        self.lacking.is_some()
    }

    /// There was none; told once.
    pub(super) fn lacks(&mut self, error: StoreError) {
        if self.lacking.replace(error.clone()).is_none() {
            self.looks = tick(self.every);
            (self.on_room)(Some(error));
        }
    }

    /// There is some; told if there was none.
    pub(super) fn found(&mut self) {
        if self.lacking.take().is_some() {
            self.looks = never();
            (self.on_room)(None);
        }
    }

    /// Waits until it is time to try again.
    ///
    /// # Errors
    /// Why there was no room, when the store is being closed.
    pub(super) fn wait(&self) -> Result<(), StoreError> {
        let closing = select! {
            recv(self.looks) -> _ => false,
            recv(self.closes) -> _ => true,
        };
        match self.lacking.clone().filter(|_| closing) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Tries until it works, or fails otherwise than for want of room, or the store is being closed.
    pub(super) fn patiently<T>(
        &mut self,
        mut attempt: impl FnMut() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut lacked = false;
        loop {
            match attempt() {
                Err(error) if error.is_no_space() => {
                    lacked = true;
                    self.lacks(error);
                    self.wait()?;
                }
                Ok(done) if lacked => {
                    self.found();
                    return Ok(done);
                }
                done => return done,
            }
        }
    }

    /// Waits for records and for the helper, and while there is no room for the time to look as well.
    pub(super) fn next(
        &self,
        records: &Receiver<Vec<Append>>,
        made: &Receiver<Result<Segment, StoreError>>,
    ) -> Next {
        select! {
            recv(records) -> received => received.map_or(Next::End, Next::Write),
            recv(self.looks) -> _ => Next::Look,
            recv(made) -> made => match made {
                Ok(made) => Next::Made(made),
                // The helper is gone: who waits for a segment of it says so.
                Err(_) => records.recv().map_or(Next::End, Next::Write),
            },
        }
    }
}
