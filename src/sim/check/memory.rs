//! Whatever waits stays under its bound, as a node tells of itself and as its driver sees.

use crate::node::Progress;
use crate::types::Rules;

/// Blocks that wait for execution at most.
const BLOCKS_MAX: usize = 1024;

/// What one node holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Holds {
    /// What it tells.
    pub progress: Progress,
    /// Rows in its mempool, and the bound of it.
    pub mempool: (usize, usize),
    /// Messages that wait to be read, in bytes.
    pub inbox_bytes: usize,
}

/// Holds what a node has against the bounds.
///
/// # Errors
/// What is above its bound.
pub fn check(node: u16, nodes: usize, rules: &Rules, holds: &Holds) -> Result<(), String> {
    // Two collection depths of vertices per author wait for parents at most.
    let vertices = usize::try_from(2 * rules.depth).unwrap_or(usize::MAX).saturating_mul(nodes);
    let window = usize::try_from(rules.window).unwrap_or(usize::MAX);
    // Each peer may have 8 MiB of votes and 32 MiB of batches under way.
    let inbox = nodes.saturating_mul(40 << 20);
    let bounds = [
        ("blocks that wait for execution", holds.progress.waiting_blocks, BLOCKS_MAX),
        ("vertices that wait for parents", holds.progress.waiting_vertices, vertices),
        ("own batches outstanding", holds.progress.outstanding, window),
        ("rows in the mempool", holds.mempool.0, holds.mempool.1),
        ("bytes of messages unread", holds.inbox_bytes, inbox),
    ];
    match bounds.into_iter().find(|(_, found, most)| found > most) {
        Some((what, found, most)) => Err(format!("node {node} holds {found} {what}, more than {most}")),
        None => Ok(()),
    }
}
