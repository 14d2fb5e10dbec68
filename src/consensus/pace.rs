//! When to make the next vertex.

use super::dag::Dag;
use super::decide::leader_settled;
use crate::types::params::IDLE_BEAT;
use crate::types::{Round, Rules, Seat, Time};
use std::time::Duration;

/// The pace of one validator. Nobody jumps rounds: free jumps have an infinite run without a commit.
///
/// A leader whose vertex comes just before the wait for it ends keeps its turns, for it is committed: each round that it leads
/// takes two message delays longer. That is what the bound on the wait is for. Where three of ten do so rows settle after 0.3 s
/// instead of 0.12 s, and as many of them.
#[derive(Debug)]
pub struct Pace {
    me: Seat,
    delay: Duration,
    interval: Duration,
    /// The round of the next own vertex.
    next: Round,
    /// Since when `next` can be made: a quorum of the round before is accepted, the own vertex among it.
    entered: Option<Time>,
    /// When the last own vertex was made.
    made: Option<Time>,
    /// Since when there is something to settle; leader waits run only then.
    busy_since: Option<Time>,
    /// The round at which this seat came back after an absence: its predecessor has no own vertex.
    returned_at: Option<Round>,
    /// It comes back at `next` or later, whatever round is open then.
    returning: bool,
}

/// What the pace needs to know of the rest of the node.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Something unsettled was seen.
    pub busy: bool,
    /// How often the cap on uncommitted bytes is exceeded: the leader wait doubles for each.
    pub caps: u32,
}

impl Pace {
    /// The pace of a seat that has not signed anything yet.
    pub fn new(me: Seat, committee_size: usize, rules: &Rules) -> Pace {
        let interval = Rules::round_interval(committee_size);
        Pace {
            me,
            delay: rules.delay(),
            interval,
            next: Round(1),
            entered: None,
            made: None,
            busy_since: None,
            returned_at: None,
            returning: false,
        }
    }

    /// The round of the next own vertex.
    pub fn next(&self) -> Round {
        self.next
    }

    /// The own vertex of `round` was made.
    pub fn made(&mut self, round: Round, now: Time) {
        self.next = round.next();
        self.entered = None;
        self.made = Some(now);
    }

    /// An own vertex of an earlier life of this node was found on disk.
    pub fn found(&mut self, round: Round) {
        if round >= self.next {
            self.next = round.next();
            self.entered = None;
        }
    }

    /// This seat lost what it had signed, and comes back in this round or later.
    pub fn return_at(&mut self, least: Round) {
        self.next = self.next.max(least);
        self.entered = None;
        self.returning = true;
    }

    /// When the next vertex is due, by what is known now; `None` until more vertices come. Due at once if the answer
    /// is not after `now`.
    pub fn due(&mut self, now: Time, dag: &Dag, load: Load) -> Option<Time> {
        self.re_enter(dag);
        if self.returning {
            return None;
        }
        let quorum = dag.committee().quorum();
        if self.entered.is_none() {
            let before = self.next.back(1);
            let own = before.0 == 0 || dag.has(before, self.me) || self.returned_at == Some(self.next);
            if !own || dag.count(before) < quorum {
                return None;
            }
            // Those who are proven to lie are only counted upon where the others do not come.
            let patience = self.made.map_or(now, |made| made + self.delay * 2);
            if before.0 > 0 && dag.count_trusted(before) < quorum && now < patience {
                return Some(patience);
            }
            self.entered = Some(now);
        }
        let entered = self.entered?;
        if dag.count(self.next) >= quorum {
            // The others are ahead: catch up without a pause.
            return Some(now);
        }
        let others_go_on = dag.count(self.next) > 0;
        if load.busy || others_go_on {
            self.busy_since.get_or_insert(now);
        } else {
            self.busy_since = None;
        }
        let earliest = self.made.map_or(entered, |made| made + self.interval);
        let Some(busy_since) = self.busy_since else {
            return Some(earliest.max(entered + IDLE_BEAT));
        };
        if self.leaders_done(dag) {
            return Some(earliest);
        }
        let wait = self.delay * 2 * 2u32.saturating_pow(load.caps.min(10));
        Some(earliest.max(entered.max(busy_since) + wait))
    }

    /// The leader of the round before is here, or not worth waiting for, and the one before it has its votes or its blanks.
    fn leaders_done(&self, dag: &Dag) -> bool {
        let before = self.next.back(1);
        let leader = dag.leader(before);
        let here = before.0 == 0 || dag.has(before, leader) || dag.shuns(leader);
        here && (before.0 <= 1 || leader_settled(dag, before.back(1)))
    }

    /// A validator whose next round fell to the floor goes on at the highest round whose predecessor has a quorum. So
    /// does one whose last vertex fell to the floor before it was accepted here: it would wait for it for ever.
    fn re_enter(&mut self, dag: &Dag) {
        let last = self.next.back(1);
        let lost = last.0 > 0
            && last <= dag.floor()
            && !dag.has(last, self.me)
            && self.returned_at != Some(self.next);
        if self.next > dag.floor() && !lost && !self.returning {
            return;
        }
        let quorum = dag.committee().quorum();
        let open =
            (dag.floor().0 + 1..=dag.highest().0).rev().map(Round).find(|&round| dag.count(round) >= quorum);
        if let Some(before) = open.filter(|before| !self.returning || before.next() >= self.next) {
            self.next = before.next();
            self.entered = None;
            self.returned_at = Some(self.next);
            self.returning = false;
        }
    }
}
