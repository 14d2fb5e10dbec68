//! What those who have gone still owe of their rates: nobody has a new allowance by connecting anew.
//!
//! - Upon the end of a connection that is ahead of its rate: that is kept, a validator's under its seat, a guest's under the
//!   source of its address, since keys cost nothing. Where addresses have no limits, as on one's own machine, under its key.
//! - Upon a connection of the same: it begins with it.
//!
//! Why that is fair: little is taken of anybody in a turn, so what is owed is worked off within some seconds, and an honest
//! guest behind the address of another waits no longer than that.
//!
//! The table is bounded. When it is full, what is worked off is forgotten, and then what will be next.

use super::limits::Source;
use super::pace::Pace;
use crate::types::{Seat, Time};
use std::collections::BTreeMap;

/// Debtors in the table at most, of some hundred bytes each.
const DEBTORS_MAX: usize = 4096;

/// Under what a debt is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Debtor {
    /// A validator.
    Seat(Seat),
    /// Guests of one source.
    Source(Source),
    /// A guest from where addresses have no limits.
    Key([u8; 32]),
}

/// All debts, of bytes and of messages.
#[derive(Debug, Default)]
pub struct Debts {
    owed: BTreeMap<Debtor, [Pace; 2]>,
}

impl Debts {
    /// What a new connection begins with.
    pub fn of(&self, debtor: &Debtor) -> [Pace; 2] {
        self.owed.get(debtor).copied().unwrap_or_default()
    }

    /// A connection has ended that stood so. Of several at one source the one that is furthest ahead counts.
    pub fn keep(&mut self, debtor: Debtor, paces: [Pace; 2], now: Time) {
        let before = self.of(&debtor);
        let owed = [0, 1].map(|rate| before[rate].max(paces[rate]));
        let is_worked_off = |owed: &[Pace; 2]| owed.iter().all(|pace| pace.is_full(now));
        if is_worked_off(&owed) {
            self.owed.remove(&debtor);
            return;
        }
        if self.owed.len() >= DEBTORS_MAX && !self.owed.contains_key(&debtor) {
            self.owed.retain(|_, owed| !is_worked_off(owed));
            if self.owed.len() >= DEBTORS_MAX
                && let Some(next) = self.owed.iter().min_by_key(|(_, owed)| owed.iter().max())
            {
                let next = *next.0;
                self.owed.remove(&next);
            }
        }
        self.owed.insert(debtor, owed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::pace::Rate;
    use std::time::Duration;

    const NOW: Time = Time(1_700_000_000_000_000);
    const RATE: Rate = Rate { per_second: 100, burst: Duration::from_secs(1) };

    /// Paces of who has sent so many messages at once.
    fn sent(count: u64) -> [Pace; 2] {
        let mut paces = [Pace::default(); 2];
        paces[1].charge(count, &RATE, NOW);
        paces
    }

    fn ahead(debts: &Debts, debtor: Debtor, now: Time) -> Duration {
        debts.of(&debtor)[1].overdrawn(&RATE, now)
    }

    #[test]
    fn what_is_owed_waits_for_who_owes_it_until_it_is_worked_off() {
        let mut debts = Debts::default();
        let (seat, key) = (Debtor::Seat(Seat(3)), Debtor::Key([3; 32]));
        let source = Debtor::Source(Source::of([8, 8, 8, 8].into()));
        debts.keep(seat, sent(300), NOW);
        debts.keep(source, sent(200), NOW);
        debts.keep(source, sent(150), NOW);
        let owed = [seat, source, key].map(|debtor| ahead(&debts, debtor, NOW).as_secs());
        assert_eq!(owed, [2, 1, 0], "of two the one that is further ahead");
        let later = NOW + Duration::from_secs(3);
        assert_eq!(ahead(&debts, seat, later), Duration::ZERO);
        [seat, source].into_iter().for_each(|debtor| debts.keep(debtor, sent(0), later));
        assert!(debts.owed.is_empty(), "nothing is kept of who owes nothing");
    }

    #[test]
    fn the_table_is_bounded_and_forgets_first_what_is_worked_off_first() {
        let mut debts = Debts::default();
        let debtor = |number: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            Debtor::Key(key)
        };
        for number in 0..DEBTORS_MAX + 10 {
            debts.keep(debtor(number), sent(1_000 + number as u64), NOW);
        }
        assert_eq!(debts.owed.len(), DEBTORS_MAX);
        let owes = |debts: &Debts, number| !ahead(debts, debtor(number), NOW).is_zero();
        assert!(!owes(&debts, 9) && owes(&debts, 10) && owes(&debts, DEBTORS_MAX + 9));
    }
}
