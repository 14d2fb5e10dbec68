//! Amnesia: a validator that comes back and does not know what it had signed, because its directory, or only the guard, is
//! gone, damaged, or a copy of an earlier time; or whose log is damaged in its middle, while the guard is whole.

use super::check::Violation;
use super::config::SimConfig;
use super::disk::Tail;
use super::plan::{Fault, What};
use super::queue::Nanos;
use super::random::Dice;
use super::world::World;
use crate::store::RecordKind;
use serde::{Deserialize, Serialize};

/// A copy that is put back is no older than this when the node crashes; it may lack far more by its return.
const AGE_MOST_US: u64 = 4_000_000;
/// A run is at least so long that all of it has room before two thirds are over.
const END_LEAST_US: u64 = 8_000_000;
/// Between a copy and the crash the node signs something that others hear of: without, nobody can notice. Whoever loses what is
/// not put back may do so at any moment, before its first vertex too.
const AGE_LEAST_US: u64 = 1_500_000;
/// So long after its return nothing else befalls the node.
const RETURN_US: u64 = 5_000_000;
/// A node that loses its directory once more does so within this time after its return, often before anything has settled, and
/// is away for so long.
const AGAIN_US: u64 = 2_000_000;
const AGAIN_FOR_US: u64 = 500_000;
/// The purpose of draws.
const DAMAGE: u64 = 43;
/// Tells these dice from those of the faults.
const AGAIN_DICE: u64 = 0xa6a1;

/// What a directory loses while its node is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Amnesia {
    /// Both slots of the guard are damaged; the log is whole.
    Guard,
    /// The guard is a copy of an earlier time; the log is whole.
    OldGuard,
    /// All is gone.
    Directory,
    /// All is a copy of an earlier time.
    OldDirectory,
    /// A byte in the middle of the log is flipped, and the log ends there; the guard is whole.
    LogEnd,
}

impl Amnesia {
    /// Whether a copy is put back.
    pub fn is_old(self) -> bool {
        matches!(self, Amnesia::OldGuard | Amnesia::OldDirectory)
    }

    pub(super) fn loses_log(self) -> bool {
        matches!(self, Amnesia::Directory | Amnesia::OldDirectory | Amnesia::LogEnd)
    }
}

impl World {
    pub(super) fn copy_directory(&mut self, number: usize) {
        if let What::Amnesia { node, loses, .. } = self.plan.faults[number].what
            && loses.is_old()
        {
            let place = &mut self.places[usize::from(node)];
            place.copies.insert(number, place.disk.copy());
        }
    }

    /// A node crashes, and loses what the fault says.
    pub(super) fn forget(&mut self, seat: u16, loses: Amnesia, number: usize) {
        let end: Nanos = self.ends_at(number);
        let place = &mut self.places[usize::from(seat)];
        place.down_until = place.down_until.max(end);
        self.crash(seat, Tail::Lost);
        let seed = super::random::draw(self.plan.config.seed, &[DAMAGE, number as u64]);
        let place = &mut self.places[usize::from(seat)];
        let copy = place.copies.remove(&number);
        match (loses, copy) {
            (Amnesia::Guard, _) => place.disk.damage_guard(seed),
            (Amnesia::Directory, _) => place.disk.lose(),
            (Amnesia::LogEnd, _) => match place.disk.damage_log(seed) {
                Ok(apart) => place.apart = apart,
                Err(words) => return self.broken(Violation { checker: "store", words }),
            },
            (Amnesia::OldGuard, Some(copy)) => place.disk.restore_guard(&copy),
            (Amnesia::OldDirectory, Some(copy)) => place.disk.restore(&copy),
            (Amnesia::OldGuard | Amnesia::OldDirectory, None) => {}
        }
        if loses.loses_log() {
            place.forgot = true;
            // What the copy holds is as durable as before.
            let kept = place.disk.log().to_vec();
            self.checks.disk_lost(seat);
            for (kind, bytes) in kept.into_iter().filter(|(kind, _)| *kind == RecordKind::Batch) {
                if let Err(violation) = self.checks.durable(seat, kind, &bytes) {
                    self.broken(violation);
                }
            }
        }
    }
}

/// One fault. Only `f` of the nodes of a world ever suffer it, among them those that never start: the last `f`. `None` where
/// none may.
pub(super) fn draw(config: &SimConfig, dice: &mut Dice) -> Option<Fault> {
    let end = config.duration_ms * 1000 * 2 / 3;
    let tolerated = config.faulty_max() as u64;
    if tolerated == 0 || end < END_LEAST_US {
        return None;
    }
    let node = config.nodes - 1 - dice.below(tolerated) as u16;
    let kinds =
        [Amnesia::Guard, Amnesia::OldGuard, Amnesia::Directory, Amnesia::OldDirectory, Amnesia::LogEnd];
    let loses = kinds[dice.below(kinds.len() as u64) as usize];
    let for_us = dice.between(10_000, 1_000_000);
    let age_us = if loses.is_old() { dice.between(AGE_LEAST_US, AGE_MOST_US - for_us) } else { 0 };
    let at_us = dice.between(age_us, end - for_us);
    Some(Fault { at_us, for_us, what: What::Amnesia { node, loses, age_us } })
}

/// A node that starts late, of the same `f`. `None` where none may.
pub(super) fn draw_late(config: &SimConfig, dice: &mut Dice) -> Option<Fault> {
    let end = config.duration_ms * 1000 * 2 / 3;
    let tolerated = config.faulty_max() as u64;
    if tolerated == 0 {
        return None;
    }
    let node = config.nodes - 1 - dice.below(tolerated) as u16;
    Some(Fault { at_us: 0, for_us: dice.between(end / 10, end), what: What::Late { node } })
}

/// When nothing else may befall which node, if a fault is of this kind: from its copy to some time after its return.
fn window(fault: &Fault) -> Option<(u16, u64, u64)> {
    let until = fault.at_us + fault.for_us + AGAIN_US + AGAIN_FOR_US + RETURN_US;
    match fault.what {
        What::Amnesia { node, age_us, .. } => Some((node, fault.at_us - age_us, until)),
        What::Late { node } => Some((node, 0, until)),
        _ => None,
    }
}

/// Leaves out what else would befall a node between its copy and its return: cut off, it would sign what nobody hears of, or
/// come too late for what the others still have. So that no more than one thing at a time is to be explained.
pub(super) fn keep_apart(faults: &mut Vec<Fault>) {
    let mut windows: Vec<(u16, u64, u64)> = Vec::new();
    for fault in faults.iter() {
        if let Some((node, from, until)) = window(fault) {
            let clashes =
                |&(other, start, end): &(u16, u64, u64)| other == node && start < until && from < end;
            if !windows.iter().any(clashes) {
                windows.push((node, from, until));
            }
        }
    }
    let mut kept: Vec<(u16, u64, u64)> = Vec::new();
    faults.retain(|fault| {
        let (from, until) = (fault.at_us, fault.at_us + fault.for_us);
        if let Some(window) = window(fault) {
            let first = windows.contains(&window) && !kept.contains(&window);
            kept.extend(first.then_some(window));
            return first;
        }
        !windows.iter().any(|&(node, start, end)| start < until && from < end && concerns(&fault.what, node))
    });
}

/// Has some of the nodes that forget, or come late, lose their directory once more a moment after their return.
pub(super) fn lose_again(config: &SimConfig, faults: &mut Vec<Fault>) {
    let mut dice = Dice::new(config.seed ^ AGAIN_DICE);
    let end = config.duration_ms * 1000 * 2 / 3;
    if end < END_LEAST_US {
        return;
    }
    let mut again = Vec::new();
    for fault in faults.iter() {
        let (What::Amnesia { node, .. } | What::Late { node }) = fault.what else { continue };
        let (often, after, for_us) = (dice.coin(), dice.below(AGAIN_US), dice.between(1_000, AGAIN_FOR_US));
        let what = What::Amnesia { node, loses: Amnesia::Directory, age_us: 0 };
        let fault = Fault { at_us: fault.at_us + fault.for_us + after, for_us, what };
        again.extend((often && fault.at_us + for_us <= end).then_some(fault));
    }
    faults.extend(again);
}

/// Whether a fault keeps a node from being heard, or from following the others.
fn concerns(what: &What, node: u16) -> bool {
    match what {
        What::Partition { .. } => true,
        What::Loss { from, to, .. } => from.is_none_or(|from| from == node) || to.is_none_or(|to| to == node),
        what => what.nodes().contains(&node),
    }
}
