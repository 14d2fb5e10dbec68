//! Points in time, handed in by a driver.

use serde::{Deserialize, Serialize};
use std::ops::Add;
use std::time::Duration;

/// Microseconds since the Unix epoch (or since the start of a simulated world). A driver hands it in; it never runs
/// backwards within one process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub u64);

impl Time {
    /// The time that has passed since `earlier`, zero if it lies in the future.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, span: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }
}
