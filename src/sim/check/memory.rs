//! Whatever waits stays under its bound, as a node tells of itself and as its driver sees.

use crate::node::Holdings;
use crate::types::Rules;
use crate::wire::PIECES_MAX;

/// Blocks that wait for execution at most.
const BLOCKS_MAX: usize = 1024;
/// Vertices, and batches, asked for in the name of each seat at most.
const WANTED_MAX: usize = 256;
/// Rows that each validator has handed on and that are not checked, at most.
const HANDED_MAX: usize = 4096;
/// Blocks of a leg of catching up at least.
const LEG_MIN: usize = 512;

/// What one node holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Holds {
    /// What it tells.
    pub node: Holdings,
    /// Rows in its mempool, and the bound of it.
    pub mempool: (usize, usize),
    /// Executed batches that it may keep at hand.
    pub batches_kept: usize,
    /// Messages that wait to be read, in bytes.
    pub inbox_bytes: usize,
}

/// Holds what a node has against the bounds.
///
/// # Errors
/// What is above its bound.
pub fn check(seat: u16, nodes: usize, rules: &Rules, holds: &Holds) -> Result<(), String> {
    let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    let each = |of_one: u64| count(of_one).saturating_mul(nodes);
    let window = count(rules.window);
    // Each peer may have 8 MiB of votes and 32 MiB of batches under way.
    let inbox = nodes.saturating_mul(40 << 20);
    let leg = count(rules.checkpoint_blocks).max(LEG_MIN);
    let Holds { node, mempool, batches_kept, inbox_bytes } = *holds;
    let bounds = [
        ("blocks that wait for execution", node.waiting_blocks, BLOCKS_MAX),
        // Two collection depths of each author, and as many that are demanded in its name.
        ("vertices that wait for parents", node.waiting_vertices, each(4 * rules.depth)),
        // So that no author takes what is kept for another.
        ("vertices of one author that wait unasked", node.waiting_of_author, count(2 * rules.depth)),
        ("vertices that wait in one seat's name", node.waiting_on_demand, count(2 * rules.depth)),
        ("vertices asked for", node.wanted_vertices, WANTED_MAX * nodes),
        ("batches asked for", node.wanted_batches, WANTED_MAX * nodes),
        ("rows handed on and not checked", node.handed_rows, HANDED_MAX * nodes),
        ("batches not settled", node.unsettled_batches, each(3 * rules.window)),
        ("acks of absent batches", node.named_batches, each(3 * rules.window).saturating_mul(nodes)),
        ("executed batches", node.executed_batches, batches_kept),
        ("blocks to be adopted", node.to_adopt, leg.saturating_mul(3)),
        ("pieces of a table", node.table_pieces, PIECES_MAX as usize),
        // It seals no more than a window, but what it lost may come back from others beside what it has sealed since.
        ("own batches outstanding", node.outstanding, window.saturating_mul(3)),
        ("charges that wait for accounts", node.charges, (nodes.saturating_sub(1) / 3).max(1) * nodes),
        ("rows in the mempool", mempool.0, mempool.1),
        ("bytes of messages unread", inbox_bytes, inbox),
    ];
    match bounds.into_iter().find(|(_, found, most)| found > most) {
        Some((what, found, most)) => Err(format!("node {seat} holds {found} {what}, more than {most}")),
        None => Ok(()),
    }
}
