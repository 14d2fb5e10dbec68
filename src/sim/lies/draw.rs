//! Drawing lies: who lies, how, and when.

use super::{Lie, Ware};
use crate::sim::config::SimConfig;
use crate::sim::plan::{DRAWN_US_MAX, Fault, What};
use crate::sim::random::Dice;

/// Lies of one seat at most.
const LIES_EACH: u64 = 3;
/// Tells these dice from those of the faults, which fall as they fell without lies.
const OWN_DICE: u64 = 0x11e5;

/// The lies of a world: of the last `f` nodes most lie, in one to three of these ways.
pub fn draw(config: &SimConfig, kinds: &[&str]) -> Vec<Fault> {
    let mut dice = Dice::new(config.seed ^ OWN_DICE);
    let mut lies = Vec::new();
    if kinds.is_empty() {
        return lies;
    }
    for node in config.nodes - config.faulty_max() as u16..config.nodes {
        if dice.below(4) == 0 {
            continue;
        }
        let mut twins = false;
        for _ in 0..1 + dice.below(LIES_EACH) {
            let kind = kinds[dice.below(kinds.len() as u64) as usize];
            let lie = draw_lie(config, node, kind, &mut dice);
            let end = config.duration_ms * 1000 * 2 / 3;
            let at_us = if dice.coin() { 0 } else { dice.below(end * 5 / 6) };
            let longest = if dice.coin() { end - at_us } else { (end - at_us).min(DRAWN_US_MAX) };
            let for_us = dice.between(10_000.min(longest / 2), longest).max(1);
            // A seat has one twin at a time.
            let second = kind == "twins" && std::mem::replace(&mut twins, true);
            lies.extend((!second).then_some(Fault { at_us, for_us, what: What::Liar { node, lie } }));
        }
    }
    lies
}

/// The last `f` nodes tell one lie from the beginning to the end.
pub fn for_ever(config: &SimConfig, kind: &str) -> Vec<Fault> {
    let mut dice = Dice::new(config.seed ^ OWN_DICE);
    let nodes = config.nodes - config.faulty_max() as u16..config.nodes;
    let for_us = config.duration_ms * 1000;
    let lie = |node| What::Liar { node, lie: draw_lie(config, node, kind, &mut dice) };
    nodes.map(lie).map(|what| Fault { at_us: 0, for_us, what }).collect()
}

/// A lie of a kind by a node.
fn draw_lie(config: &SimConfig, node: u16, kind: &str, dice: &mut Dice) -> Lie {
    let all = |dice: &mut Dice| -> Vec<u16> {
        let some = dice.below(8) > 0;
        let others = (0..config.nodes).filter(|&other| other != node);
        others.filter(|_| !some || dice.coin()).collect()
    };
    match kind {
        "twins" => Lie::Twins { peers: if dice.coin() { Vec::new() } else { all(dice) } },
        "two-vertices" => Lie::TwoVertices { to: all(dice), chain: dice.coin() },
        "two-batches" => Lie::TwoBatches { to: all(dice) },
        "two-votes" => Lie::TwoVotes,
        "withhold" => Lie::Withhold { from: all(dice) },
        "blind-acks" => Lie::BlindAcks,
        "two-acks" => Lie::TwoAcks,
        "idle-acks" => Lie::IdleAcks { mute: dice.coin() },
        "forged-rows" => Lie::ForgedRows,
        "false-accusation" => Lie::FalseAccusation { proof: dice.coin() },
        "bad-vertices" => Lie::BadVertices { instead: dice.coin() },
        "silent-leader" => {
            let from = all(dice);
            Lie::SilentLeader { from, late_us: if dice.coin() { 0 } else { dice.between(1_000, 1_000_000) } }
        }
        "flood" => Lie::Flood { each: dice.between(2, 20) as u32 },
        "replay" => Lie::Replay { each: dice.between(1, 6) as u32 },
        "false-evidence" => Lie::FalseEvidence,
        "swallow" => Lie::Swallow,
        "echo-rows" => Lie::EchoRows,
        _ => Lie::FalseSource { about: Ware::EACH[dice.below(Ware::EACH.len() as u64) as usize] },
    }
}
