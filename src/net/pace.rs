//! How much somebody may do in a span of time, and how much of what they did wrong still counts.

use crate::types::Time;
use std::time::Duration;

/// A rate, with what may come at once after a rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many per second; 0 stands for no limit.
    pub per_second: u64,
    /// How long a rest is saved up.
    pub burst: Duration,
}

/// A token bucket, kept as the time at which it will be full again (the generic cell rate algorithm of ITU-T I.371).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pace {
    /// In nanoseconds, on the scale of [`Time`].
    full_at: u64,
}

impl Pace {
    /// Counts what was done. How long to wait until the bucket is no more overdrawn; zero: no need to.
    pub fn charge(&mut self, count: u64, rate: &Rate, now: Time) -> Duration {
        if rate.per_second == 0 {
            return Duration::ZERO;
        }
        let cost = u128::from(count) * 1_000_000_000 / u128::from(rate.per_second);
        let cost = u64::try_from(cost).unwrap_or(u64::MAX);
        self.full_at = self.full_at.max(nanos(now)).saturating_add(cost);
        self.overdrawn(rate, now)
    }

    /// As [`Pace::charge`], but no more of it counts than is worked off in so long.
    pub fn charge_up_to(&mut self, count: u64, rate: &Rate, most: Duration, now: Time) {
        self.charge(count, rate, now);
        let most = u64::try_from((rate.burst + most).as_nanos()).unwrap_or(u64::MAX);
        self.full_at = self.full_at.min(nanos(now).saturating_add(most));
    }

    /// How many can be counted until it is overdrawn, the one that overdraws it included.
    pub fn room(&self, rate: &Rate, now: Time) -> u64 {
        let burst = u64::try_from(rate.burst.as_nanos()).unwrap_or(u64::MAX);
        let used = self.full_at.saturating_sub(nanos(now));
        if used > burst {
            return 0;
        }
        if rate.per_second == 0 {
            return u64::MAX;
        }
        let room = u128::from(burst - used) * u128::from(rate.per_second) / 1_000_000_000;
        u64::try_from(room).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Counts one if the bucket holds it; whether it did.
    pub fn take(&mut self, rate: &Rate, now: Time) -> bool {
        let mut after = *self;
        let taken = after.charge(1, rate, now) == Duration::ZERO;
        if taken {
            *self = after;
        }
        taken
    }

    /// Gives back what one took.
    pub fn give_back(&mut self, rate: &Rate) {
        self.full_at =
            self.full_at.saturating_sub(1_000_000_000_u64.checked_div(rate.per_second).unwrap_or(0));
    }

    /// Whether nothing of it is used.
    pub fn is_full(&self, now: Time) -> bool {
        self.full_at <= nanos(now)
    }

    /// How long until it is no more overdrawn.
    pub fn overdrawn(&self, rate: &Rate, now: Time) -> Duration {
        let burst = u64::try_from(rate.burst.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.full_at.saturating_sub(nanos(now)).saturating_sub(burst))
    }
}

fn nanos(time: Time) -> u64 {
    time.0.saturating_mul(1000)
}

/// Points for what was done wrong; one is forgiven each second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Score {
    points: u64,
    at: Time,
}

impl Score {
    /// Adds points; how many there are now.
    pub fn add(&mut self, points: u64, now: Time) -> u64 {
        self.points = self.left(now).saturating_add(points);
        self.at = now;
        self.points
    }

    /// How many still count.
    pub fn left(&self, now: Time) -> u64 {
        self.points.saturating_sub(now.since(self.at).as_secs())
    }

    /// Begins anew, as after a punishment.
    pub fn clear(&mut self) {
        *self = Score::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_its_burst_saves_and_refills_at_its_rate() {
        let rate = Rate { per_second: 10, burst: Duration::from_secs(2) };
        let (mut pace, mut now) = (Pace::default(), Time(1_700_000_000_000_000));
        assert_eq!((0..50).filter(|_| pace.take(&rate, now)).count(), 20);
        now = now + Duration::from_millis(99);
        assert!(!pace.take(&rate, now));
        now = now + Duration::from_millis(1);
        assert!(pace.take(&rate, now) && !pace.take(&rate, now));
        pace.give_back(&rate);
        assert!(pace.take(&rate, now) && !pace.take(&rate, now));
        now = now + Duration::from_secs(1_000);
        assert_eq!((0..50).filter(|_| pace.take(&rate, now)).count(), 20, "no more is saved than the burst");
    }

    #[test]
    fn who_overdraws_waits_as_long_as_that_takes_to_refill() {
        let rate = Rate { per_second: 1000, burst: Duration::from_secs(1) };
        let (mut pace, now) = (Pace::default(), Time(5_000_000));
        assert_eq!(pace.charge(1000, &rate, now), Duration::ZERO);
        assert_eq!(pace.charge(500, &rate, now), Duration::from_millis(500));
        assert_eq!(pace.charge(0, &rate, now + Duration::from_millis(400)), Duration::from_millis(100));
        assert_eq!(pace.charge(0, &rate, now + Duration::from_millis(500)), Duration::ZERO);
        let mut capped = Pace::default();
        assert_eq!(capped.room(&rate, now), 1001);
        capped.charge_up_to(1_000_000, &rate, Duration::from_secs(2), now);
        assert_eq!((capped.overdrawn(&rate, now), capped.room(&rate, now)), (Duration::from_secs(2), 0));
        assert_eq!(capped.room(&rate, now + Duration::from_secs(2)), 1);
        assert_eq!(capped.room(&rate, now + Duration::from_millis(2500)), 501);
        let unlimited = Rate { per_second: 0, burst: Duration::ZERO };
        assert_eq!(pace.charge(u64::MAX, &unlimited, now), Duration::ZERO);
        assert!(pace.charge(u64::MAX, &rate, now) > Duration::from_secs(1 << 30), "nothing overflows");
    }

    #[test]
    fn a_score_forgives_a_point_each_second() {
        let (mut score, now) = (Score::default(), Time(9_000_000));
        assert_eq!(score.add(50, now), 50);
        assert_eq!(score.left(now + Duration::from_secs(20)), 30);
        assert_eq!(score.add(50, now + Duration::from_secs(20)), 80);
        assert_eq!(score.left(now + Duration::from_secs(100)), 0);
        score.clear();
        assert_eq!(score.left(now), 0);
    }
}
