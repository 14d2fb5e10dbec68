//! Who leads which round: each seat in turn, where seats that were skipped lately give way.
//!
//! A seat whose slot was skipped gives way for `n` rounds times two to the number of its skips in a row (at most
//! [`GIVE_WAY_STEPS_MAX`]), then leads once more; a commit clears it. At most `f` seats give way at one time, those
//! with most skips in a row, and their turns go round among the others.
//!
//! Why nodes cannot come to differ by it. The schedule is a function from rounds to seats that depends on nothing but
//! the emitted leaders. Say that nodes have emitted the same leaders up to round `R`. Then they have the same schedule
//! for *all* rounds above `R`, whatever else they have accepted, and with one fixed schedule the decision rule gives
//! all nodes the same next leader:
//!
//! - The lemmas of the rule (no slot has both a quorum of blanks and a certificate; of one slot at most one vertex is
//!   certified; what a quorum certified in round `r + 2` is certified among the strong ancestors of *every* vertex from
//!   round `r + 3` on) speak of quorums and ancestors only. They hold for any seat in the slot.
//! - So two nodes that decide a slot above `R` under this schedule decide alike, by induction from the higher slot
//!   that anchors it, and the next leader that each emits is the same one, with the same slots skipped before it.
//!
//! Then both take these skips and this commit into the schedule and read the rounds above anew: what was decided for
//! them under the schedule before, and not emitted, is forgotten ([`super::decide`]). So a slot is final only when the
//! cursor passes it; by then every leader of a lower round is emitted, and the seat that leads round `r` in the end is
//! a function of leaders emitted at rounds below `r` alone. This is the switch that Shoal makes between leaders
//! (Spiegelman et al., 2023), applied here to an uncertified DAG.
//!
//! Why it cannot stop them: the schedule changes only when a leader is emitted, and every stretch of giving way ends
//! by itself. While nothing is emitted, the schedule becomes the plain turn again, which decides.

use crate::types::params::GIVE_WAY_STEPS_MAX;
use crate::types::{Committee, Round, Seat, Standing};

/// The leaders of rounds above the last emitted leader. A pure function of the emitted leaders.
#[derive(Debug)]
pub(super) struct Schedule {
    committee: Committee,
    standings: Vec<Standing>,
}

impl Schedule {
    /// The schedule before anything is emitted: each seat in turn.
    pub(super) fn new(committee: Committee) -> Schedule {
        let standings = vec![Standing::default(); committee.size()];
        Schedule { committee, standings }
    }

    /// How each seat has done as leader lately.
    pub(super) fn standings(&self) -> &[Standing] {
        &self.standings
    }

    /// Goes on from the standings of a record, one of each seat.
    pub(super) fn restore(&mut self, standings: &[Standing]) {
        self.standings = standings.to_vec();
    }

    pub(super) fn committee(&self) -> &Committee {
        &self.committee
    }

    /// The seat that leads a round above the last emitted leader.
    pub(super) fn leader(&self, round: Round) -> Seat {
        let turn = self.committee.leader(round);
        if self.standings[turn.index()].until < round {
            return turn;
        }
        let away = self.giving_way(round);
        if !away.contains(&turn) {
            return turn;
        }
        let here: Vec<Seat> = self.committee.iter().filter(|seat| !away.contains(seat)).collect();
        // Goes on by one from cycle to cycle, and from seat to seat inside a cycle.
        let cycle = round.0.wrapping_add(u64::from(self.committee.epoch.0)) / self.committee.size() as u64;
        let place = cycle.wrapping_add(u64::from(turn.0)) % here.len() as u64;
        here[place as usize]
    }

    /// At most `f` seats: those with most skips in a row, then those that give way longest, then the lowest.
    fn giving_way(&self, round: Round) -> Vec<Seat> {
        let mut away: Vec<Seat> =
            self.committee.iter().filter(|seat| self.standings[seat.index()].until >= round).collect();
        away.sort_by_key(|seat| {
            let Standing { skips, until } = self.standings[seat.index()];
            (std::cmp::Reverse((skips, until)), *seat)
        });
        away.truncate(self.committee.faulty_max());
        away
    }

    /// A leader is emitted: takes in who led the rounds that were skipped since the one before, lowest first, and who
    /// led this one.
    pub(super) fn emitted(&mut self, skipped: &[(Round, Seat)], leader: Seat) {
        let n = self.committee.size() as u64;
        for (round, seat) in skipped {
            let standing = &mut self.standings[seat.index()];
            standing.skips = (standing.skips + 1).min(GIVE_WAY_STEPS_MAX);
            standing.until = Round(round.0.saturating_add(n << standing.skips));
        }
        self.standings[leader.index()] = Standing::default();
    }
}
