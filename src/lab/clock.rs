//! The clock of the client and of the observer.

use crate::types::Time;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since the Unix epoch that never run backwards: the system's time at the start, and from then on the
/// steady clock. Nodes on the same machine do the same, so that times of both can be compared.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Time,
    start: Instant,
}

impl Clock {
    /// A clock set by the system's time.
    #[allow(clippy::disallowed_methods, reason = "the client's driver owns this clock")]
    pub fn system() -> Clock {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { origin: Time::default() + since_epoch, start: Instant::now() }
    }

    /// The time now.
    pub fn now(&self) -> Time {
        self.origin + self.start.elapsed()
    }

    /// How long it is until `time`; zero if it is past.
    pub fn until(&self, time: Time) -> Duration {
        time.since(self.now())
    }
}
