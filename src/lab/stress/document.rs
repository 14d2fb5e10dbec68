//! What `throng stress --json` prints.

use super::bounds::Bound;
use crate::lab::hostile::{Counts, Kind, Told};
use crate::lab::machine;
use crate::lab::results::{Engine, Machine, SCHEMA};
use crate::lab::verdict::Verdict;
use crate::metrics::Dismissal;
use crate::wire::client::{Refusal, Status};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::time::Duration;

/// What `throng stress --json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct StressDocument {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What ran.
    pub engine: Engine,
    /// Where it ran.
    pub machine: Machine,
    /// With which settings.
    pub config: StressSettings,
    /// Before, during and after.
    pub parts: Vec<Part>,
    /// What the hostile peers did, by kind.
    pub hostile: Vec<Hostile>,
    /// How long after they left the chain was at full speed again, in seconds; `None`: not while it was looked at.
    pub recovery_s: Option<f64>,
    /// `agreed`, `no progress`, `diverged` or `failed`.
    pub verdict: &'static str,
    /// In words, where the verdict is not `agreed`.
    pub reason: Option<String>,
    /// Every bound, with what was measured.
    pub bounds: Vec<Bound>,
    /// The bounds that were not kept, in words.
    pub exceeded: Vec<String>,
    /// The bounds of which nothing is known, because the run was too short by its settings or nobody tells, in words.
    pub not_judged: Vec<String>,
    /// Whether someone ended it early.
    pub interrupted: bool,
}

/// Every setting of a stress run, as it was used.
#[derive(Clone, Debug, Serialize)]
pub struct StressSettings {
    /// The nodes that were there already; empty: nodes of its own.
    pub target: Vec<String>,
    /// Nodes.
    pub nodes: usize,
    /// Hostile peers.
    pub peers: usize,
    /// Their kinds.
    pub kinds: Vec<&'static str>,
    /// How long they stayed, in seconds.
    pub duration_s: f64,
    /// Length of the parts before and after, in seconds.
    pub calm_s: f64,
    /// Accounts; unknown of a target.
    pub accounts: Option<u64>,
    /// The seed.
    pub seed: u64,
    /// Transactions offered per second; 0: no load.
    pub offered_tps: f64,
}

/// One part of a stress run. What is `None` is not known.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// `before`, `during` or `after`.
    pub name: &'static str,
    /// Its length in seconds.
    pub seconds: f64,
    /// Transactions of the load per second: settled `ok`, executed and durable on a quorum. Of a target: what its blocks
    /// settled, whoever sent it.
    pub tps: Option<f64>,
    /// Half of the transactions were faster, in milliseconds.
    pub p50_ms: Option<f64>,
    /// 99 of 100 were faster, in milliseconds.
    pub p99_ms: Option<f64>,
    /// CPU time per settled transaction, in microseconds: what hostile peers cost shows here even where cores are left over.
    pub cpu_us_per_tx: Cpu,
    /// The most anonymous memory that a node held at any look, in bytes.
    pub memory_bytes: Option<u64>,
    /// The most descriptors that a node had open at any look.
    pub descriptors: Option<usize>,
    /// The same at the end of the part.
    pub descriptors_at_end: Option<usize>,
    /// What was seen of the nodes.
    pub seen: Seen,
}

impl Part {
    /// Of nodes that run elsewhere: what they hold is not known. `cpu`: the time of the whole part, for now.
    pub(super) fn of_target(name: &'static str, span: Duration, cpu: Cpu, seen: Seen) -> Part {
        Part {
            name,
            seconds: span.as_secs_f64(),
            tps: None,
            p50_ms: None,
            p99_ms: None,
            cpu_us_per_tx: cpu,
            memory_bytes: None,
            descriptors: None,
            descriptors_at_end: None,
            seen,
        }
    }
}

/// CPU time per settled transaction, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Cpu {
    /// Of one node, on average.
    pub node: Option<f64>,
    /// Of all nodes together.
    pub nodes: Option<f64>,
    /// Of the load's threads.
    pub load: Option<f64>,
    /// Of the hostile peers' process.
    pub hostile: Option<f64>,
}

/// What is known of the nodes in a part.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// What their counters say of the part, all together.
    Counted(Saw),
    /// What each target told its clients at the end of the part.
    Told(Vec<TargetStatus>),
}

/// Where a target stood.
#[derive(Clone, Debug, Serialize)]
pub struct TargetStatus {
    /// Which.
    pub node: String,
    /// How long it took to answer, in milliseconds; `None`: it did not.
    pub answer_ms: Option<f64>,
    /// Its height.
    pub height: Option<u64>,
    /// Rows in its mempool.
    pub pending: Option<u32>,
    /// Validators connected to it.
    pub peers: Option<u16>,
}

impl TargetStatus {
    /// What a node answered.
    pub fn new(node: &str, answer: Option<(f64, Status)>) -> TargetStatus {
        TargetStatus {
            node: node.to_owned(),
            answer_ms: answer.map(|(ms, _)| ms),
            height: answer.map(|(_, status)| status.height.0),
            pending: answer.map(|(_, status)| status.pending),
            peers: answer.map(|(_, status)| status.peers),
        }
    }
}

/// Counters of all nodes together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saw {
    /// Connections accepted.
    pub accepted: u64,
    /// How often somebody was not read from for a while.
    pub throttled: u64,
    /// Connections refused or dropped, in the order of [`Dismissal::ALL`].
    pub dismissed: [u64; Dismissal::ALL.len()],
    /// Rows refused, in the order of [`Refusal::ALL`].
    pub refused: [u64; Refusal::ALL.len()],
}

impl Saw {
    /// What came since an earlier reading.
    pub fn since(&self, earlier: &Saw) -> Saw {
        let mut saw = self.clone();
        saw.accepted -= earlier.accepted.min(saw.accepted);
        saw.throttled -= earlier.throttled.min(saw.throttled);
        let dismissed = saw.dismissed.iter_mut().zip(&earlier.dismissed);
        dismissed
            .chain(saw.refused.iter_mut().zip(&earlier.refused))
            .for_each(|(count, before)| *count = count.saturating_sub(*before));
        saw
    }

    /// Connections refused or dropped, by reason, without those that never were.
    pub fn dismissals(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let names = Dismissal::ALL.into_iter().map(Dismissal::name);
        names.zip(self.dismissed).filter(|(_, count)| *count > 0)
    }

    /// Rows refused, by reason, likewise.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let names = Refusal::ALL.into_iter().map(Refusal::name);
        names.zip(self.refused).filter(|(_, count)| *count > 0)
    }
}

impl Serialize for Saw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let dismissed: serde_json::Map<_, _> =
            self.dismissals().map(|(name, count)| (name.to_owned(), count.into())).collect();
        let refused: serde_json::Map<_, _> =
            self.refusals().map(|(name, count)| (name.to_owned(), count.into())).collect();
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("accepted", &self.accepted)?;
        map.serialize_entry("throttled", &self.throttled)?;
        map.serialize_entry("dismissed", &dismissed)?;
        map.serialize_entry("refused_rows", &refused)?;
        map.end()
    }
}

/// What the hostile peers of a kind did.
#[derive(Clone, Debug, Serialize)]
pub struct Hostile {
    /// The kind.
    pub kind: Kind,
    /// What they did.
    #[serde(flatten)]
    pub counts: Counts,
}

impl StressDocument {
    /// Of a run that has ended.
    pub(super) fn new(
        config: StressSettings,
        parts: Vec<Part>,
        told: &Told,
        recovery_s: Option<f64>,
        bounds: Vec<Bound>,
        verdict: &Verdict,
        interrupted: bool,
    ) -> StressDocument {
        let those =
            |kept| bounds.iter().filter(|bound| bound.kept == kept).map(Bound::words).collect::<Vec<_>>();
        let (exceeded, not_judged) = (those(Some(false)), those(None));
        let hostile = told.kinds.iter().map(|(kind, counts)| Hostile { kind: *kind, counts: counts.clone() });
        StressDocument {
            schema: SCHEMA,
            engine: Engine::this(),
            machine: machine::describe(),
            config,
            parts,
            hostile: hostile.collect(),
            recovery_s,
            verdict: verdict.name(),
            reason: verdict.reason().map(str::to_owned),
            bounds,
            exceeded,
            not_judged,
            interrupted,
        }
    }
}
