//! When a run is over, and what is said of it.

use super::queue::{MS, Nanos, SECOND};
use super::world::World;
use crate::node::Progress;
use serde::{Deserialize, Serialize};

/// After the last fault something new is durable on a quorum within this virtual time, and for each node of the
/// committee [`RESUME_PER_NODE`] more, because rounds take longer.
pub const RESUME: Nanos = 10 * SECOND;
/// See [`RESUME`].
pub const RESUME_PER_NODE: Nanos = 100 * MS;
/// Every node that runs has that block within this time more.
pub const FOLLOW: Nanos = 10 * SECOND;

/// What is said of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Every rule held, and the chain went on after the faults.
    #[serde(rename = "agreed")]
    Agreed,
    /// Every rule held, but the chain, or a node, did not go on in time.
    #[serde(rename = "no progress")]
    NoProgress,
    /// A rule was broken.
    #[serde(rename = "diverged")]
    Diverged,
}

impl Verdict {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Agreed => "agreed",
            Verdict::NoProgress => "no progress",
            Verdict::Diverged => "diverged",
        }
    }
}

impl World {
    fn resume_by(&self) -> Nanos {
        let nodes = Nanos::from(self.plan.config.nodes);
        self.plan.healed() + RESUME + nodes * RESUME_PER_NODE
    }

    /// Whether nothing at or after `at` belongs to the run any more.
    pub(super) fn is_over(&self, at: Nanos) -> bool {
        let duration = self.plan.config.duration_ms * MS;
        if at < duration || at < self.plan.healed() {
            return false;
        }
        match self.stats.resumed {
            None => at > self.resume_by(),
            Some((when, height)) => {
                let done = self.behind(height).is_none() && self.unnamed().is_none();
                done || at > self.follow_by(when)
            }
        }
    }

    fn follow_by(&self, resumed: Nanos) -> Nanos {
        resumed.max(self.plan.healed()) + FOLLOW
    }

    /// The first honest node that runs and does not have a block yet.
    fn behind(&self, height: u64) -> Option<u16> {
        let behind = |place: &super::place::Place| !place.silent && !place.lies && place.told < height;
        self.places.iter().zip(0..).find_map(|(place, seat)| behind(place).then_some(seat))
    }

    /// A liar that showed honest nodes two faces, and an honest node that runs and has no proof of it.
    fn unnamed(&self) -> Option<(u16, u16)> {
        let honest = self.places.iter().zip(0..).filter(|(place, _)| place.machine.is_some() && !place.lies);
        let honest: Vec<u16> = honest.map(|(_, seat)| seat).collect();
        self.checks.unnamed(&honest)
    }

    /// The verdict, and the reason unless it is [`Verdict::Agreed`].
    pub fn verdict(&self) -> (Verdict, Option<String>) {
        if let Some((at, violation)) = &self.violation {
            let (checker, words) = (violation.checker, &violation.words);
            let mut words = format!("after {:.3} s: {words} ({checker})", *at as f64 / SECOND as f64);
            let proven: Vec<String> =
                self.checks.proven().iter().map(|(node, kind)| format!("node {node} ({kind})")).collect();
            if !proven.is_empty() {
                words.push_str(&format!(
                    "; what honest nodes have on disk proves that {} lied",
                    proven.join(", ")
                ));
            }
            return (Verdict::Diverged, Some(words));
        }
        let Some((when, height)) = self.stats.resumed else {
            return (Verdict::NoProgress, Some(self.standstill()));
        };
        if when > self.resume_by() {
            let late = (when - self.plan.healed()) as f64 / SECOND as f64;
            let words = format!("after the last fault it took {late:.1} s until something new settled");
            return (Verdict::NoProgress, Some(words));
        }
        match (self.behind(height), self.unnamed()) {
            (None, None) => (Verdict::Agreed, None),
            (None, Some((liar, seat))) => {
                let words =
                    format!("node {liar} showed two faces, and node {seat} has no proof of it (faces)");
                (Verdict::Diverged, Some(words))
            }
            (Some(seat), _) => {
                let place = &self.places[usize::from(seat)];
                let words = format!(
                    "the chain goes on, but node {seat} stays at block {} of {}: {:?}",
                    place.told, self.stats.height, place.progress
                );
                (Verdict::NoProgress, Some(words))
            }
        }
    }

    /// Names the stage that stopped, and the likely cause.
    fn standstill(&self) -> String {
        let running: Vec<usize> = self.running().into_iter().map(usize::from).collect();
        let quorum = self.plan.config.quorum();
        if running.len() < quorum {
            return format!("only {} nodes run, fewer than a quorum of {quorum}", running.len());
        }
        if self.plan.config.load > 0 && self.stats.admitted == 0 {
            return "no node admitted a row".to_owned();
        }
        let after: Vec<Progress> = running.iter().map(|&seat| self.places[seat].progress).collect();
        let before: Vec<Progress> = match &self.stats.at_heal {
            Some(before) => running.iter().map(|&seat| before[seat]).collect(),
            None => vec![Progress::default(); running.len()],
        };
        let connected = after.iter().filter(|progress| progress.peers + 1 >= quorum).count();
        let moved = |of: fn(&Progress) -> u64| {
            let most = |all: &[Progress]| all.iter().map(of).max().unwrap_or(0);
            most(&after) > most(&before)
        };
        let stage = if connected < quorum {
            "peers are not connected"
        } else if !moved(|p| p.round) {
            "no node made a vertex: rounds stand still"
        } else if !moved(|p| p.emitted) {
            "rounds went on, but no leader committed"
        } else if !moved(|p| p.executed) {
            "leaders committed, but no block was executed: bytes of settled batches are missing"
        } else if !moved(|p| p.durable) {
            "blocks were executed and did not become durable"
        } else {
            "blocks went on, but no new row settled: acks or batches are missing"
        };
        format!("{stage} after the faults; node {}: {:?}", running[0], after[0])
    }
}
