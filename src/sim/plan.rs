//! The explicit plan of a run: its world, every fault and every lie with its time. A plan is drawn from a seed, kept as a
//! file, played again, and made smaller by leaving out faults.

use super::amnesia::Amnesia;
use super::config::{SimConfig, SimError};
use super::disk::Tail;
use super::lies::{self, LIES, Lie};
use super::queue::Nanos;
use super::random::Dice;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The version of the file.
pub const PLAN_VERSION: u32 = 1;
/// Faults of a plan at most.
pub const FAULTS_MAX: usize = 10_000;
/// The kinds of faults by name, as the command line takes them.
pub const KINDS: [&str; 13] = [
    "crash",
    "partition",
    "loss",
    "duplicate",
    "reorder",
    "reset",
    "slow",
    "skew",
    "slow-disk",
    "full-disk",
    "amnesia",
    "late",
    "silent",
];
/// Tells the dice of what nodes keep from those of the faults.
const KEEPS_LITTLE: u64 = 0xf09e;
/// Drawn faults are mostly shorter than this, in microseconds.
pub(super) const DRAWN_US_MAX: u64 = 3_000_000;
/// The most messages that a lie adds to each.
const EACH_MAX: u32 = 1_000;
/// The largest factor of slowness.
const FACTOR_MAX: u32 = 1_000;
/// The furthest that a clock is off, in microseconds: an hour.
const SKEW_US_MAX: i64 = 3_600_000_000;

/// One fault. It lasts from `at_us` for `for_us` (virtual microseconds); then what it broke is whole again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When it begins.
    pub at_us: u64,
    /// How long it lasts.
    pub for_us: u64,
    /// What it is.
    pub what: What,
}

/// What breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum What {
    /// A node stops at once and starts again at the end of the fault.
    Crash {
        /// Which.
        node: u16,
        /// It waits for a moment when the disk is syncing.
        while_syncing: bool,
        /// What the disk makes of the writes that were not synced.
        tail: Tail,
    },
    /// Messages from one side to the other are lost.
    Partition {
        /// The nodes of one side.
        side: Vec<u16>,
        /// Messages from the other side still arrive.
        one_way: bool,
        /// The connections break and are made again afterwards; else messages are lost without a sign.
        reconnect: bool,
    },
    /// Some messages are lost.
    Loss {
        /// From whom; absent: from anybody.
        from: Option<u16>,
        /// To whom; absent: to anybody.
        to: Option<u16>,
        /// How many of a thousand.
        per_mille: u32,
    },
    /// Some messages come twice.
    Duplicate {
        /// How many of a thousand.
        per_mille: u32,
    },
    /// Messages overtake each other.
    Reorder {
        /// By how much at most, in microseconds.
        extra_us: u64,
    },
    /// The connection of two nodes breaks, and is made again at the end.
    Reset {
        /// One of them.
        node: u16,
        /// The other.
        peer: u16,
    },
    /// A node's work takes longer.
    Slow {
        /// Which.
        node: u16,
        /// How many times as long.
        factor: u32,
    },
    /// A node's clock jumps, and back at the end.
    Skew {
        /// Which.
        node: u16,
        /// By how much, in microseconds.
        offset_us: i64,
    },
    /// A node's disk takes longer.
    SlowDisk {
        /// Which.
        node: u16,
        /// How many times as long.
        factor: u32,
    },
    /// A node's disk has no room: nothing is written, the node neither signs nor accepts anything, and goes on at the end.
    FullDisk {
        /// Which.
        node: u16,
    },
    /// A node crashes, and its directory is not what it was when it starts again at the end of the fault.
    Amnesia {
        /// Which.
        node: u16,
        /// What it loses.
        loses: Amnesia,
        /// How much older than the crash the copy is that is put back, in microseconds; 0 where none is.
        age_us: u64,
    },
    /// A node starts at the end of the fault for the first time, with an empty directory.
    Late {
        /// Which.
        node: u16,
    },
    /// A node never starts, whatever the times say.
    Silent {
        /// Which.
        node: u16,
    },
    /// A node lies.
    Liar {
        /// Which.
        node: u16,
        /// How.
        lie: Lie,
    },
}

/// A world and its faults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`PLAN_VERSION`].
    pub version: u32,
    /// The world.
    pub config: SimConfig,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

/// Which kinds of faults and lies a plan draws.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kinds(Vec<&'static str>);

impl Kinds {
    /// Reads `none`, or names of faults, of lies and of groups: `honest` is every fault but `silent`, `lies` is every lie,
    /// `all` is both.
    ///
    /// # Errors
    /// [`SimError::Fault`] for a name that is none.
    pub fn read(names: &[String]) -> Result<Kinds, SimError> {
        if let [name] = names
            && name == "none"
        {
            return Ok(Kinds(Vec::new()));
        }
        let mut kinds = Vec::new();
        for name in names {
            let honest = KINDS.iter().filter(|kind| **kind != "silent");
            let group: Vec<&str> = match name.as_str() {
                "honest" => honest.copied().collect(),
                "lies" => LIES.to_vec(),
                "all" => honest.chain(&LIES).copied().collect(),
                name => KINDS.iter().chain(&LIES).copied().filter(|kind| *kind == name).collect(),
            };
            if group.is_empty() {
                return Err(SimError::Fault(name.clone()));
            }
            kinds.extend(group);
        }
        Ok(Kinds(kinds))
    }

    fn lies(&self) -> Vec<&'static str> {
        self.0.iter().copied().filter(|kind| LIES.contains(kind)).collect()
    }
}

impl Plan {
    /// Draws the faults of a world from its seed: `silent` means that the last `f` nodes never start; of the other
    /// kinds some events, which end when two thirds of the run are over. Of the last `f` nodes each lies, or forgets, or
    /// does neither: so no more than `f` are ever against the others. What honest faults are drawn does not depend on the lies.
    /// Where nodes come late, the others keep little for them in one world of three, so that they come back by blocks and
    /// tables, also from liars.
    pub fn draw(config: SimConfig, kinds: &Kinds) -> Plan {
        let forgets = kinds.0.contains(&"late") && Dice::new(config.seed ^ KEEPS_LITTLE).below(3) == 0;
        let config = SimConfig { forgetful: config.forgetful || forgets, ..config };
        let mut faults: Vec<Fault> = Vec::new();
        if kinds.0.contains(&"silent") {
            let silent = config.nodes - config.faulty_max() as u16..config.nodes;
            faults.extend(silent.map(|node| Fault { at_us: 0, for_us: 1, what: What::Silent { node } }));
        }
        let lies = lies::draw(&config, &kinds.lies());
        let is_fault = |kind: &&str| *kind != "silent" && !LIES.contains(kind);
        let drawn: Vec<&str> = kinds.0.iter().copied().filter(is_fault).collect();
        if !drawn.is_empty() {
            let mut dice = Dice::new(config.seed);
            let count = 2 + dice.below(8 + u64::from(config.nodes).min(16));
            for _ in 0..count {
                let kind = drawn[dice.below(drawn.len() as u64) as usize];
                faults.extend(draw_fault(&config, kind, &mut dice));
            }
            let forgets = |fault: &Fault| matches!(fault.what, What::Amnesia { .. } | What::Late { .. });
            let lies_too = |fault: &Fault| {
                fault.what.nodes().iter().any(|node| lies.iter().any(|lie| lie.what.lies_at(*node)))
            };
            faults.retain(|fault| !(forgets(fault) && lies_too(fault)));
            super::amnesia::keep_apart(&mut faults);
            super::amnesia::lose_again(&config, &mut faults);
        }
        faults.extend(lies);
        faults.sort_by_key(|fault| fault.at_us);
        Plan { version: PLAN_VERSION, config, faults }
    }

    /// Reads a plan from a file.
    ///
    /// # Errors
    /// [`SimError`] when it cannot be read, or cannot be played.
    pub fn read(path: &Path) -> Result<Plan, SimError> {
        let refuse = |reason: String| SimError::File { path: path.to_owned(), reason };
        let text = super::config::read_text(path)?;
        let plan: Plan = serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        plan.check().map_err(|error| refuse(error.to_string()))?;
        Ok(plan)
    }

    /// Whether the plan can be played.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn check(&self) -> Result<(), SimError> {
        let refuse = |number: usize, reason: String| Err(SimError::Plan { number, reason });
        super::config::range("version", self.version.into(), PLAN_VERSION.into(), PLAN_VERSION.into())?;
        self.config.check()?;
        if self.faults.len() > FAULTS_MAX {
            return refuse(FAULTS_MAX + 1, format!("a plan has at most {FAULTS_MAX} faults"));
        }
        for (fault, number) in self.faults.iter().zip(1..) {
            if let Err(reason) = self.check_fault(fault) {
                return refuse(number, reason);
            }
        }
        let silent = self.silent();
        if silent.len() > self.config.faulty_max() {
            let number = self.faults.iter().rposition(|f| matches!(f.what, What::Silent { .. }));
            let (count, most) = (silent.len(), self.config.faulty_max());
            let reason = format!("{count} nodes never start; with more than {most} nothing can settle");
            return refuse(number.map_or(1, |index| index + 1), reason);
        }
        Ok(())
    }

    fn check_fault(&self, fault: &Fault) -> Result<(), String> {
        let nodes = self.config.nodes;
        let most = super::config::DURATION_MS_MAX * 1000;
        if fault.for_us == 0 || fault.at_us > most || fault.for_us > most {
            return Err("a fault lasts at least a microsecond and at most an hour".to_owned());
        }
        let named = fault.what.nodes().into_iter().chain(fault.what.shown());
        if let Some(node) = named.into_iter().find(|&node| node >= nodes) {
            return Err(format!("there is no node {node}: the nodes are 0 to {}", nodes - 1));
        }
        let (factors, tenths) = (1..=FACTOR_MAX, 0..=1000u32);
        match &fault.what {
            What::Partition { side, .. } if side.is_empty() || distinct(side) >= usize::from(nodes) => {
                Err("a side of a partition is neither empty nor everybody".to_owned())
            }
            What::Loss { per_mille, .. } | What::Duplicate { per_mille } if !tenths.contains(per_mille) => {
                Err(format!("per_mille is {per_mille}, but must lie between 0 and 1000"))
            }
            What::Slow { factor, .. } | What::SlowDisk { factor, .. } if !factors.contains(factor) => {
                Err(format!("the factor is {factor}, but must lie between 1 and {FACTOR_MAX}"))
            }
            What::Skew { offset_us, .. } if offset_us.checked_abs().is_none_or(|by| by > SKEW_US_MAX) => {
                Err("a clock is off by an hour at most".to_owned())
            }
            What::Reorder { extra_us } if *extra_us > 60_000_000 => {
                Err("messages overtake each other by a minute at most".to_owned())
            }
            What::Amnesia { loses, age_us, .. } if loses.is_old() != (*age_us > 0) || *age_us > fault.at_us => {
                Err("a copy that is put back has an age of at least a microsecond, and was made after the world began".to_owned())
            }
            What::Liar { lie, .. } if lie.each() > EACH_MAX => {
                Err(format!("each is {}, but must not be more than {EACH_MAX}", lie.each()))
            }
            What::Late { .. } if fault.at_us != 0 => {
                Err("a node that starts late is not there from the beginning, at_us 0".to_owned())
            }
            What::Reset { node, peer } if node == peer => {
                Err("a node has no connection with itself".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// The nodes that never start.
    pub fn silent(&self) -> Vec<u16> {
        let mut silent: Vec<u16> = self.faults.iter().filter_map(|fault| fault.what.silent()).collect();
        silent.sort_unstable();
        silent.dedup();
        silent
    }

    /// The nodes that lie at some time.
    pub fn liars(&self) -> Vec<u16> {
        let liar = |node: &u16| self.faults.iter().any(|fault| fault.what.lies_at(*node));
        (0..self.config.nodes).filter(liar).collect()
    }

    /// The nodes that may do what the protocol bears of `f` only: that lie, that are not there, that forget what they signed.
    pub fn faulty(&self) -> Vec<u16> {
        let breaks = |what: &What| match what {
            What::Liar { node, .. }
            | What::Silent { node }
            | What::Amnesia { node, .. }
            | What::Late { node } => Some(*node),
            _ => None,
        };
        let mut faulty: Vec<u16> = self.faults.iter().filter_map(|fault| breaks(&fault.what)).collect();
        faulty.sort_unstable();
        faulty.dedup();
        faulty
    }

    /// When the last fault has ended that ends. A lie that lasts to the end of the run does not: the others go on beside it.
    pub fn healed(&self) -> Nanos {
        let run_us = self.config.duration_ms * 1000;
        let stays = |fault: &Fault| match fault.what {
            What::Silent { .. } => true,
            What::Liar { .. } => fault.at_us + fault.for_us >= run_us,
            _ => false,
        };
        let passing = self.faults.iter().filter(|fault| !stays(fault));
        passing.map(|fault| (fault.at_us + fault.for_us) * 1000).max().unwrap_or(0)
    }

    /// The same world, in which the last `f` nodes tell this lie all the time.
    ///
    /// # Errors
    /// [`SimError::Lie`] for a name that is none.
    pub fn with_liars(self, kind: &str) -> Result<Plan, SimError> {
        let known = LIES.contains(&kind);
        let liars = known.then(|| lies::for_ever(&self.config, kind));
        let liars = liars.ok_or_else(|| SimError::Lie(kind.to_owned()))?;
        let faults = [self.faults, liars].concat();
        Ok(Plan { faults, ..self })
    }

    /// The same world with some of the faults.
    pub fn with(&self, faults: Vec<Fault>) -> Plan {
        Plan { faults, ..self.clone() }
    }
}

fn distinct(side: &[u16]) -> usize {
    side.iter().collect::<std::collections::BTreeSet<_>>().len()
}

impl What {
    fn silent(&self) -> Option<u16> {
        if let What::Silent { node } = self { Some(*node) } else { None }
    }

    fn lies_at(&self, seat: u16) -> bool {
        matches!(self, What::Liar { node, .. } if *node == seat)
    }

    /// Those to whom a lie is told.
    fn shown(&self) -> Vec<u16> {
        if let What::Liar { lie, .. } = self { lie.nodes().to_vec() } else { Vec::new() }
    }

    /// Every node that it befalls.
    pub fn nodes(&self) -> Vec<u16> {
        match self {
            What::Crash { node, .. }
            | What::Slow { node, .. }
            | What::Skew { node, .. }
            | What::SlowDisk { node, .. }
            | What::FullDisk { node }
            | What::Amnesia { node, .. }
            | What::Liar { node, .. }
            | What::Late { node }
            | What::Silent { node } => vec![*node],
            What::Partition { side, .. } => side.clone(),
            What::Loss { from, to, .. } => from.iter().chain(to).copied().collect(),
            What::Reset { node, peer } => vec![*node, *peer],
            What::Duplicate { .. } | What::Reorder { .. } => Vec::new(),
        }
    }
}

/// One fault of a kind; `None` for a kind that this world cannot have.
fn draw_fault(config: &SimConfig, kind: &str, dice: &mut Dice) -> Option<Fault> {
    let end = config.duration_ms * 1000 * 2 / 3;
    let at_us = dice.between(end / 60, end * 5 / 6);
    // Mostly short, sometimes as long as there is room.
    let longest = if dice.below(4) == 0 { end - at_us } else { (end - at_us).min(DRAWN_US_MAX) };
    let for_us = dice.between(10_000.min(longest / 2), longest).max(1);
    let n = u64::from(config.nodes);
    let node = dice.below(n) as u16;
    let peer = ((u64::from(node) + 1 + dice.below(n.saturating_sub(1))) % n) as u16;
    let somebody = |dice: &mut Dice| (dice.below(3) == 0).then(|| dice.below(n) as u16);
    let what = match kind {
        "crash" => {
            let tails = [Tail::Lost, Tail::Kept, Tail::Partial, Tail::Torn, Tail::Flipped];
            let tail = tails[dice.below(tails.len() as u64) as usize];
            What::Crash { node, while_syncing: dice.coin(), tail }
        }
        "loss" => {
            let (from, to) = (somebody(dice), somebody(dice));
            What::Loss { from, to, per_mille: dice.between(1, 400) as u32 }
        }
        "duplicate" => What::Duplicate { per_mille: dice.between(1, 500) as u32 },
        "reorder" => What::Reorder { extra_us: dice.between(1_000, 500_000) },
        "slow" => What::Slow { node, factor: dice.between(2, 50) as u32 },
        "skew" => {
            let by = dice.between(1_000, 10_000_000) as i64;
            What::Skew { node, offset_us: if dice.coin() { by } else { -by } }
        }
        "slow-disk" => What::SlowDisk { node, factor: dice.between(2, 300) as u32 },
        "full-disk" => What::FullDisk { node },
        "amnesia" => return super::amnesia::draw(config, dice),
        "late" => return super::amnesia::draw_late(config, dice),
        _ if config.nodes < 2 => return None,
        "partition" => {
            let count = dice.between(1, n);
            let first = dice.below(n);
            let side = (0..count).map(|k| ((first + k) % n) as u16).collect();
            What::Partition { side, one_way: dice.coin(), reconnect: dice.coin() }
        }
        "reset" => What::Reset { node, peer },
        _ => return None,
    };
    Some(Fault { at_us, for_us, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_drawn_plan_can_be_played_ends_in_time_and_comes_back_from_its_file() {
        let all = Kinds::read(&["all".into()]).unwrap();
        for seed in 0..200 {
            let nodes = [1, 4, 7, 10][seed as usize % 4];
            let config = SimConfig { nodes, seed, ..SimConfig::default() };
            let plan = Plan::draw(config.clone(), &all);
            plan.check().unwrap();
            assert!(plan.healed() <= config.duration_ms * 1_000_000 * 2 / 3, "{plan:?}");
            assert_eq!(plan, Plan::draw(config, &all));
            let text = serde_json::to_string(&plan).unwrap();
            assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
        }
    }

    #[test]
    fn impossible_plans_are_refused_with_the_fault_that_cannot_be() {
        let silent = |node| What::Silent { node };
        let crash = |node| What::Crash { node, while_syncing: false, tail: Tail::Lost };
        let amnesia = |loses, age_us| What::Amnesia { node: 0, loses, age_us };
        let side = |side: &[u16]| What::Partition { side: side.to_vec(), one_way: false, reconnect: false };
        let cases = [
            (vec![crash(0), crash(4)], "fault 2 of the plan: there is no node 4"),
            (vec![side(&[])], "neither empty nor everybody"),
            (vec![side(&[0, 1, 2, 3])], "neither empty nor everybody"),
            (vec![What::Loss { from: None, to: None, per_mille: 1001 }], "per_mille is 1001"),
            (vec![What::Slow { node: 0, factor: 0 }], "the factor is 0"),
            (vec![amnesia(Amnesia::OldGuard, 0)], "an age of at least a microsecond"),
            (vec![amnesia(Amnesia::OldGuard, 2)], "after the world began"),
            (vec![amnesia(Amnesia::Directory, 1)], "an age"),
            (vec![What::Late { node: 1 }], "not there from the beginning"),
            (vec![What::Reset { node: 1, peer: 1 }], "no connection with itself"),
            (vec![What::Skew { node: 1, offset_us: i64::MIN }], "off by an hour"),
            (vec![silent(0), silent(1)], "fault 2 of the plan: 2 nodes never start"),
        ];
        for (what, words) in cases {
            let faults = what.into_iter().map(|what| Fault { at_us: 1, for_us: 1, what }).collect();
            let plan = Plan { version: PLAN_VERSION, config: SimConfig::default(), faults };
            let error = plan.check().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn kinds_are_none_all_or_known_names() {
        let read = |names: &[&str]| Kinds::read(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        assert!(read(&["none"]).unwrap().0.is_empty());
        assert_eq!(read(&["all"]).unwrap().0.len(), KINDS.len() - 1 + LIES.len());
        assert_eq!(read(&["honest", "lies"]), read(&["all"]));
        assert_eq!(read(&["honest"]).unwrap().0, KINDS[..KINDS.len() - 1]);
        assert_eq!(read(&["skew", "crash"]).unwrap().0, ["skew", "crash"]);
        let error = read(&["crash", "comet"]).unwrap_err().to_string();
        assert!(error.contains("comet") && error.contains("full-disk"), "{error}");
    }
}
