//! Whether the node follows the chain.
//!
//! It does while its last durable block and, if it has a seat, its last vote are not older than [`patience`]: rounds never
//! stop, not even where nobody pays anything, so that silence means trouble. What the node says of itself goes first, for it
//! names the cause.

use super::site::Site;
use crate::node::Progress;
use crate::types::Rules;
use std::sync::Arc;
use std::time::Duration;

/// How often the node is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// The least time without a block or a vote that is trouble.
const PATIENCE_MIN: Duration = Duration::from_secs(10);
/// The same as a multiple of the chain's message delay.
const PATIENCE_DELAYS: u32 = 50;
/// Blocks that wait for execution from which on the node is behind.
const WAITING_BLOCKS_MAX: usize = 256;

/// How long a chain of these rules may give no sign of life.
pub(super) fn patience(rules: &Rules) -> Duration {
    PATIENCE_MIN.max(rules.delay() * PATIENCE_DELAYS)
}

/// When the node's height and round moved last. Times count from the server's start.
#[derive(Debug)]
pub(super) struct Pulse {
    patience: Duration,
    votes: bool,
    height: Beat,
    round: Beat,
}

/// A number that should grow.
#[derive(Debug, Default)]
struct Beat {
    last: Option<u64>,
    /// When it grew; `None`: not since the start.
    grew: Option<Duration>,
}

impl Beat {
    fn look(&mut self, number: u64, now: Duration) {
        if self.last.replace(number).is_some_and(|last| number > last) {
            self.grew = Some(now);
        }
    }

    /// What is wrong, if it did not grow lately.
    fn trouble(&self, what: &str, patience: Duration, now: Duration) -> Option<String> {
        match self.grew {
            None => Some(format!("no {what} since this server started, {} s ago", now.as_secs())),
            Some(grew) => {
                let since = now.saturating_sub(grew);
                (since > patience).then(|| format!("no {what} for {} s", since.as_secs()))
            }
        }
    }
}

impl Pulse {
    /// Nothing is known yet; `votes`: the node has a seat.
    pub fn new(patience: Duration, votes: bool) -> Pulse {
        Pulse { patience, votes, height: Beat::default(), round: Beat::default() }
    }

    /// Looks at where the node stands.
    pub fn look(&mut self, progress: &Progress, now: Duration) {
        self.height.look(progress.durable, now);
        self.round.look(progress.round, now);
    }

    /// Why the node does not follow the chain; `None`: it does. `seats`: those of the committee.
    pub fn trouble(
        &self,
        progress: &Progress,
        failure: Option<String>,
        seats: usize,
        now: Duration,
    ) -> Option<String> {
        if let Some(reason) = failure {
            return Some(format!("the node has stopped: {reason}"));
        }
        if progress.disk_full {
            return Some(
                "the disk is full: the node neither votes nor takes anything in until it has room".to_owned(),
            );
        }
        let (height, (pieces, of)) = (progress.durable, progress.table_pieces);
        if of > 0 {
            return Some(format!(
                "behind at height {height}: it fetches the account table, {pieces} of {of} pieces"
            ));
        }
        if progress.catching_up {
            return Some(format!("behind at height {height}: it adopts blocks that others certified"));
        }
        if progress.waiting_blocks > WAITING_BLOCKS_MAX {
            return Some(format!(
                "behind at height {height}: {} blocks wait to be executed",
                progress.waiting_blocks
            ));
        }
        let peers = progress.peers;
        let no_block = self.height.trouble("block", self.patience, now);
        let no_vote = self.round.trouble("vote of this node", self.patience, now).filter(|_| self.votes);
        no_block.or(no_vote).map(|trouble| {
            format!("{trouble}; it stands at height {height}, connected to {peers} of {seats} validators, itself not counted")
        })
    }
}

/// Looks at the node for ever.
pub(super) async fn watch(site: Arc<Site>) {
    loop {
        site.pulse.lock().look(&site.view.progress(), site.uptime());
        tokio::time::sleep(LOOK).await;
    }
}

impl Site {
    /// Why the node does not follow the chain; `None`: it does.
    pub(super) fn trouble(&self) -> Option<String> {
        let (progress, failure) = (self.view.progress(), self.view.failure());
        self.pulse.lock().trouble(&progress, failure, self.view.seats(), self.uptime())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn at(durable: u64, round: u64) -> Progress {
        Progress { durable, round, peers: 2, ..Progress::default() }
    }

    #[test]
    fn a_node_follows_while_height_and_round_grow() {
        let mut pulse = Pulse::new(PATIENCE, true);
        let says = |pulse: &Pulse, progress, now| {
            pulse.trouble(&progress, None, 4, seconds(now)).unwrap_or_default()
        };
        pulse.look(&at(5, 9), seconds(0));
        assert!(
            says(&pulse, at(5, 9), 3)
                .starts_with("no block since this server started, 3 s ago; it stands at height 5")
        );
        pulse.look(&at(6, 10), seconds(4));
        assert_eq!(says(&pulse, at(6, 10), 14), "");
        assert!(says(&pulse, at(6, 10), 15).starts_with("no block for 11 s"));
        pulse.look(&at(7, 10), seconds(15));
        let silent = says(&pulse, at(7, 10), 15);
        assert_eq!(
            silent,
            "no vote of this node for 11 s; it stands at height 7, connected to 2 of 4 validators, itself not counted"
        );
        pulse.look(&at(7, 11), seconds(16));
        assert_eq!(says(&pulse, at(7, 11), 16), "");
    }

    #[test]
    fn an_observer_need_not_vote() {
        let mut pulse = Pulse::new(PATIENCE, false);
        pulse.look(&at(1, 0), seconds(0));
        pulse.look(&at(2, 0), seconds(1));
        assert_eq!(pulse.trouble(&at(2, 0), None, 4, seconds(5)), None);
    }

    #[test]
    fn what_the_node_says_of_itself_goes_first() {
        let mut pulse = Pulse::new(PATIENCE, true);
        pulse.look(&at(1, 1), seconds(0));
        pulse.look(&at(2, 2), seconds(1));
        let says = |progress| pulse.trouble(&progress, None, 4, seconds(1)).unwrap_or_default();
        assert!(says(Progress { disk_full: true, ..at(2, 2) }).starts_with("the disk is full"));
        assert!(says(Progress { catching_up: true, ..at(2, 2) }).starts_with("behind at height 2"));
        assert!(
            says(Progress { table_pieces: (3, 7), catching_up: true, ..at(2, 2) }).contains("3 of 7 pieces")
        );
        assert!(says(Progress { waiting_blocks: 257, ..at(2, 2) }).contains("257 blocks wait"));
        let dead = pulse.trouble(&at(2, 2), Some("the store failed".into()), 4, seconds(1));
        assert_eq!(dead.as_deref(), Some("the node has stopped: the store failed"));
    }

    #[test]
    fn a_slow_chain_has_more_time() {
        assert_eq!(patience(&Rules::default()), seconds(10));
        assert_eq!(patience(&Rules { delay_ms: 1_000, ..Rules::default() }), seconds(50));
    }
}
