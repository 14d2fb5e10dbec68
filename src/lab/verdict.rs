//! Whether all nodes tell the same story, and where a run stood still.

use super::flow::Counts;
use crate::net::Stopped;
use crate::node::Progress;
use crate::wire::client::BlockNotice;
use std::collections::BTreeMap;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same block at every height that two nodes share, and the same account root on all that executed as far.
    Agreed,
    /// Nothing settled in the window: which stage stopped, and the likely cause.
    NoProgress(String),
    /// Two nodes differ: where.
    Diverged(String),
    /// A node died, or a client's connection broke: why.
    Failed(String),
}

impl Verdict {
    /// Its name in results.
    pub fn name(&self) -> &'static str {
        match self {
            Verdict::Agreed => "agreed",
            Verdict::NoProgress(_) => "no progress",
            Verdict::Diverged(_) => "diverged",
            Verdict::Failed(_) => "failed",
        }
    }

    /// In words, where it is not agreement.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Verdict::Agreed => None,
            Verdict::NoProgress(reason) | Verdict::Diverged(reason) | Verdict::Failed(reason) => Some(reason),
        }
    }
}

/// The first difference between the chains of the nodes: of the notices of durable blocks, of the tips at which the
/// nodes stopped, and of the account roots.
pub fn divergence(notices: &[Vec<BlockNotice>], stopped: &[Result<Stopped, String>]) -> Option<String> {
    let mut blocks = BTreeMap::new();
    let mut roots = BTreeMap::new();
    let tips = stopped.iter().enumerate().filter_map(|(node, end)| Some((node, end.as_ref().ok()?)));
    let seen = notices
        .iter()
        .enumerate()
        .flat_map(|(node, notices)| notices.iter().map(move |notice| (node, notice.height, notice.hash)));
    // The tip of an empty chain is the genesis, which all share by the chain id.
    let ends =
        tips.clone().filter(|(_, end)| end.height.0 > 0).map(|(node, end)| (node, end.height, end.hash));
    for (node, height, hash) in seen.chain(ends) {
        let (first, expected) = *blocks.entry(height).or_insert((node, hash));
        if expected != hash {
            return Some(format!(
                "at height {height} node {first} has block {expected} and node {node} has {hash}"
            ));
        }
    }
    for (node, end) in tips {
        let (first, expected) = *roots.entry(end.last_full).or_insert((node, end.root));
        if expected != end.root {
            let (height, root) = (end.last_full, end.root);
            return Some(format!(
                "after block {height} node {first} has state root {expected} and node {node} has {root}"
            ));
        }
    }
    None
}

/// Names the stage that stopped while nothing settled between two readings, and the likely cause. `quorum` counts
/// validators, a node itself included.
pub fn standstill(
    counts: (Counts, Counts),
    before: &[Progress],
    after: &[Progress],
    quorum: usize,
) -> String {
    let sum = |of: fn(&Progress) -> u64, progress: &[Progress]| progress.iter().map(of).sum::<u64>();
    let moved = |of: fn(&Progress) -> u64| sum(of, after) > sum(of, before);
    let behind = |of: fn(&Progress) -> u64, than: fn(&Progress) -> u64| sum(of, after) < sum(than, after);
    let (from, until) = counts;
    let refused = until.later + until.for_good - from.later - from.for_good;
    let full: Vec<String> =
        (0..after.len()).filter(|node| after[*node].disk_full).map(|node| node.to_string()).collect();
    if !full.is_empty() {
        let nodes = full.join(", ");
        return format!(
            "no room is left on the disk of node {nodes}, which neither votes nor accepts anything until there is: remove \
             other files, or choose a directory on another disk"
        );
    }
    if until.sent == 0 {
        return "no row was sent: nothing was signed or no node took a connection".to_owned();
    }
    if until.accepted == 0 {
        return if refused > 0 {
            format!("rows were sent and none accepted: {refused} were refused (run with -v for reasons)")
        } else {
            "rows were sent and none answered: the nodes do not read or do not verify".to_owned()
        };
    }
    let connected = after.iter().filter(|progress| progress.peers + 1 >= quorum).count();
    if connected < quorum {
        return format!(
            "rows were accepted, but only {connected} nodes are connected to a quorum of {quorum}: peers cannot reach \
             each other"
        );
    }
    if !moved(|p| p.round) {
        return "no node made a vertex: rounds stand still, for want of a quorum's vertices or of disk"
            .to_owned();
    }
    if !moved(|p| p.emitted) {
        return "rounds went on, but no leader committed: votes or vertices do not arrive in time".to_owned();
    }
    if behind(|p| p.executed, |p| p.ordered) && after.iter().any(|p| p.waiting_blocks > 0) {
        return "blocks were ordered and wait for the bytes of settled batches: fetching does not succeed"
            .to_owned();
    }
    if behind(|p| p.executed, |p| p.ordered) {
        return "blocks were ordered and not executed: execution stands still".to_owned();
    }
    if behind(|p| p.durable, |p| p.executed) && !moved(|p| p.durable) {
        return "blocks were executed and did not become durable: the disk does not answer".to_owned();
    }
    if after.iter().all(|progress| progress.outstanding == 0) {
        return "rows were accepted and not sealed into batches, or all had settled before the window"
            .to_owned();
    }
    "batches were sealed and leaders committed, but batches did not settle: acks are missing".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{BlockHash, Height, Root, Time};

    fn notice(height: u64, hash: u8) -> BlockNotice {
        let (height, hash) = (Height(height), BlockHash([hash; 32]));
        BlockNotice { height, hash, durable: Time(0), batches: 0, rows: 0, ok: 0 }
    }

    fn end(height: u64, hash: u8, last_full: u64, root: u8) -> Result<Stopped, String> {
        let (height, hash) = (Height(height), BlockHash([hash; 32]));
        Ok(Stopped { height, hash, last_full: Height(last_full), root: Root([root; 32]) })
    }

    #[test]
    fn nodes_that_stopped_at_different_heights_of_one_chain_agree() {
        let notices = [vec![notice(1, 1), notice(2, 2), notice(3, 3)], vec![notice(1, 1)]];
        let stopped = [end(3, 3, 2, 9), end(1, 1, 1, 8), Err("killed".to_owned())];
        assert_eq!(divergence(&notices, &stopped), None);
    }

    #[test]
    fn a_different_block_or_root_is_named_with_its_height() {
        let split = [vec![notice(1, 1), notice(2, 2)], vec![notice(1, 1), notice(2, 7)]];
        let found = divergence(&split, &[]).unwrap();
        assert!(found.starts_with("at height 2 node 0 has block 0202") && found.contains("node 1 has 0707"));
        let found = divergence(&split[..1], &[end(2, 2, 2, 1), end(1, 5, 1, 1)]).unwrap();
        assert!(found.starts_with("at height 1"), "a tip is compared with notices: {found}");
        let found = divergence(&[], &[end(5, 5, 4, 1), end(6, 6, 4, 2)]).unwrap();
        assert!(found.starts_with("after block 4"), "{found}");
    }

    #[test]
    fn a_standstill_is_named_by_its_stage() {
        let counts = |sent, accepted, for_good| Counts { sent, accepted, for_good, ..Counts::default() };
        let zero = Counts::default();
        let start = Progress {
            round: 5,
            emitted: 3,
            ordered: 3,
            executed: 3,
            durable: 3,
            peers: 3,
            ..Progress::default()
        };
        let name = |until, after: Progress| standstill((zero, until), &[start; 4], &[after; 4], 3);
        let going = Progress { round: 9, emitted: 7, ordered: 7, executed: 7, durable: 7, ..start };
        let sent = counts(100, 100, 0);
        assert!(name(zero, going).starts_with("no row was sent"));
        assert!(
            name(zero, Progress { disk_full: true, ..going })
                .starts_with("no room is left on the disk of node 0, 1")
        );
        assert!(name(counts(100, 0, 100), going).contains("100 were refused"));
        assert!(name(counts(100, 0, 0), going).contains("none answered"));
        assert!(name(sent, Progress { peers: 1, ..going }).contains("only 0 nodes"));
        assert!(name(sent, start).contains("no node made a vertex"));
        assert!(name(sent, Progress { emitted: 3, ..going }).contains("no leader committed"));
        assert!(
            name(sent, Progress { executed: 3, waiting_blocks: 1, ..going }).contains("wait for the bytes")
        );
        assert!(name(sent, Progress { executed: 3, durable: 3, ..going }).contains("not executed"));
        assert!(name(sent, Progress { durable: 3, ..going }).contains("durable"));
        assert!(name(sent, going).contains("not sealed"));
        assert!(name(sent, Progress { outstanding: 2, ..going }).contains("acks are missing"));
    }
}
