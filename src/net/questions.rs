//! Clients' questions: how many are answered a second, and who waits for whom.
//!
//! - Upon a question while all together are within their rate and nobody waits: it is answered.
//! - Upon any other: who asks for the first time on its connection does not wait, as long as its address has some of these left
//!   ([`super::limits`]); everybody else stands in line, once, and keeps its question. Rows that stand before the question are
//!   read meanwhile.
//! - Upon room again: the first in line is answered some questions together, since many answers in one write cost little more
//!   than one, and goes to the end of the line if it has more.
//!
//! Why that is fair: whoever comes and goes leaves no debt but what was answered, and of that no more counts than takes
//! [`QUESTIONS_DEBT_MAX`] to work off; so nobody waits for questions of who is gone.

use super::config::{QUESTIONS_DEBT_MAX, QUESTIONS_TOGETHER};
use super::pace::{Pace, Rate};
use crate::types::Time;
use mio::Token;
use std::collections::BTreeMap;

/// What one client has asked, and its place.
#[derive(Debug, Default)]
pub struct Asker {
    /// What its questions weigh so far.
    asked: u64,
    /// What it may still ask in this turn, for which it has stood in line.
    turn: u64,
    place: Option<u64>,
}

/// The questions of all clients.
#[derive(Debug)]
pub struct Questions {
    pace: Pace,
    rate: Rate,
    /// Those that wait, by when they came.
    line: BTreeMap<u64, Token>,
    next_place: u64,
}

impl Questions {
    /// Questions at this rate.
    pub fn new(rate: Rate) -> Questions {
        Questions { pace: Pace::default(), rate, line: BTreeMap::new(), next_place: 0 }
    }

    /// Whether a question of a client, which weighs as much as so many, is answered now; if not, the client stands in line.
    /// `first`: takes one of those that its address has for newcomers, if there is one.
    pub fn ask(
        &mut self,
        asker: &mut Asker,
        token: Token,
        weight: u64,
        first: impl FnOnce() -> bool,
        now: Time,
    ) -> bool {
        if asker.turn > 0 {
            asker.turn = asker.turn.saturating_sub(weight);
        } else {
            let is_free = self.line.is_empty() && self.room(now) > 0;
            let answered = is_free || asker.asked < QUESTIONS_TOGETHER && first();
            if !answered {
                if asker.place.is_none() {
                    asker.place = Some(self.next_place);
                    self.line.insert(self.next_place, token);
                    self.next_place += 1;
                }
                return false;
            }
        }
        asker.asked = asker.asked.saturating_add(weight);
        self.pace.charge_up_to(weight, &self.rate, QUESTIONS_DEBT_MAX, now);
        true
    }

    /// Those whose turn it is; each is to be [given it](Questions::begin) and read from.
    pub fn turns(&mut self, now: Time) -> Vec<Token> {
        let count = self.room(now).div_ceil(QUESTIONS_TOGETHER);
        let mut turns = Vec::new();
        while (turns.len() as u64) < count
            && let Some((_, token)) = self.line.pop_first()
        {
            turns.push(token);
        }
        turns
    }

    /// When the next in line has its turn.
    pub fn deadline(&self, now: Time) -> Option<Time> {
        (!self.line.is_empty()).then(|| now + self.pace.overdrawn(&self.rate, now))
    }

    /// A client has gone.
    pub fn left(&mut self, asker: &Asker) {
        asker.place.iter().for_each(|place| _ = self.line.remove(place));
    }

    /// How many may come before all together are ahead of their rate.
    fn room(&self, now: Time) -> u64 {
        self.pace.room(&self.rate, now)
    }
}

impl Asker {
    /// It has stood in line, and has its turn.
    pub fn begin(&mut self) {
        (self.place, self.turn) = (None, QUESTIONS_TOGETHER);
    }

    /// Its turn is over.
    pub fn end(&mut self) {
        self.turn = 0;
    }

    /// Whether it stands in line.
    pub fn waits(&self) -> bool {
        self.place.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const RATE: Rate = Rate { per_second: 1000, burst: Duration::from_millis(100) };
    const NOW: Time = Time(1_700_000_000_000_000);

    #[test]
    fn those_that_stand_in_line_are_answered_in_turn_and_at_the_rate() {
        let mut questions = Questions::new(RATE);
        let mut askers: Vec<Asker> = (0..30).map(|_| Asker::default()).collect();
        let mut answered = [0; 30];
        let start = NOW;
        for step in 0..2000 {
            let now = start + Duration::from_millis(step);
            let turns = questions.turns(now);
            turns.iter().for_each(|token| askers[token.0].begin());
            // The one with the lowest token asks first, always, and as much as it may.
            for (number, asker) in askers.iter_mut().enumerate() {
                while questions.ask(asker, Token(number), 1, || false, now) {
                    answered[number] += 1;
                }
                asker.end();
            }
        }
        let all: u64 = answered.iter().sum();
        assert!((2000..=2000 + 101 + QUESTIONS_TOGETHER).contains(&all), "{all}");
        // The first took what was saved up; after that each has as much as the others.
        let (least, most) = (answered[1..].iter().min().unwrap(), answered[1..].iter().max().unwrap());
        assert!(most - least <= QUESTIONS_TOGETHER, "{answered:?}");
    }

    #[test]
    fn newcomers_do_not_wait_as_long_as_their_address_has_some_left_and_leave_no_debt_without_end() {
        let mut questions = Questions::new(RATE);
        let mut left = 40;
        let mut ask = |asker: &mut Asker, questions: &mut Questions, now| {
            let mut first = || {
                let has_one = left > 0;
                left -= u64::from(has_one);
                has_one
            };
            questions.ask(asker, Token(7), 1, &mut first, now)
        };
        let mut flood = Asker::default();
        while ask(&mut flood, &mut questions, NOW) {}
        let mut answered = 0;
        for _ in 0..10 {
            let mut newcomer = Asker::default();
            while ask(&mut newcomer, &mut questions, NOW) {
                answered += 1;
            }
            questions.left(&newcomer);
        }
        assert_eq!((answered, questions.line.len()), (40, 1), "who has left does not stand in line");
        // Whatever was answered counts for a moment only.
        let mut heavy = Asker::default();
        assert!(questions.ask(&mut heavy, Token(8), u64::MAX, || true, NOW));
        let due = questions.deadline(NOW).unwrap();
        assert!(due > NOW && due <= NOW + QUESTIONS_DEBT_MAX, "{due:?}");
        assert_eq!(questions.turns(due + Duration::from_millis(1)), [Token(7)]);
    }
}
