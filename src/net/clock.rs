//! The real clock, made monotone.

use crate::types::Time;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Reads the wall clock once and counts on with the monotone one, so that time neither runs backwards nor jumps
/// when somebody sets the wall clock. All clocks of one process run alike; they differ by what the wall clock was
/// changed between their starts.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Time,
    origin: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[allow(clippy::disallowed_methods, reason = "the driver is where time comes from")]
    pub fn start() -> Clock {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Clock { start: Time(0) + since_epoch, origin: Instant::now() }
    }

    /// The time now.
    pub fn now(&self) -> Time {
        self.start + self.origin.elapsed()
    }
}
