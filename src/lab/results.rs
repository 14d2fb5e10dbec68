//! The results as data: these structures are the JSON schema.
//!
//! A field may be added under the same schema number; one that changes its meaning takes the next. What a run could not
//! tell is `null`, never a made-up zero. Unless a name says otherwise, figures are of the window and times in milliseconds.

use crate::net::ShapeConfig;
use crate::types::Policy;
use serde::Serialize;
use std::path::PathBuf;

/// The number of this schema.
pub const SCHEMA: u32 = 1;

/// What `throng bench --json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What ran.
    pub engine: Engine,
    /// Where it ran.
    pub machine: Machine,
    /// With which settings.
    pub config: Config,
    /// One entry per number of nodes, in the order asked for.
    pub runs: Vec<Run>,
    /// Whether someone ended the whole before it was through.
    pub interrupted: bool,
}

/// The engine's identity.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Engine {
    /// Its version.
    pub version: &'static str,
    /// The commit that it was built from.
    pub commit: &'static str,
    /// Whether it was built without optimisation: such figures say little.
    pub debug: bool,
}

impl Engine {
    /// This build.
    pub fn this() -> Engine {
        Engine {
            version: env!("CARGO_PKG_VERSION"),
            commit: env!("THRONG_COMMIT"),
            debug: cfg!(debug_assertions),
        }
    }
}

/// A machine.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Cores that the process may use.
    pub cores: usize,
    /// Main memory.
    pub memory_bytes: Option<u64>,
    /// The operating system's kernel.
    pub kernel: String,
}

/// Every setting of a bench, as it was used.
#[derive(Clone, Debug, Serialize)]
pub struct Config {
    /// Numbers of nodes.
    pub nodes: Vec<usize>,
    /// Length of the window in seconds.
    pub duration_s: f64,
    /// Load before the window in seconds.
    pub warmup_s: f64,
    /// What clients sent: `transfers`, or `opaque:` and the bytes of each blob.
    pub payload: String,
    /// Whether transactions were signed, verified and executed. If not, blobs were ordered and stored, no more, and
    /// figures per transaction are per blob.
    pub executed: bool,
    /// Accounts, used in turn.
    pub accounts: u32,
    /// `"max"`, or transactions per second in all.
    pub rate: String,
    /// Who verifies.
    pub verify: Policy,
    /// Of how many of the newest blocks nodes kept everything; all if absent.
    pub keep_blocks: Option<u64>,
    /// Log between two snapshots of the account table at least, in bytes.
    pub snapshot_after_bytes: u64,
    /// Threads with which a node reads and writes.
    pub net_threads: usize,
    /// How much worse than they are the links between the nodes were made.
    pub shape: ShapeConfig,
    /// From which keys, receivers and nodes draw.
    pub seed: u64,
    /// Where the data was kept, if it was.
    pub dir: Option<PathBuf>,
    /// Whether each node was a process of its own.
    pub processes: bool,
    /// Rows in one submission at most.
    pub frame_rows: usize,
    /// At `max`: rows sent and not yet settled, in the whole chain.
    pub in_flight_rows: u64,
}

/// One chain of so many nodes.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Nodes, all of them validators.
    pub nodes: usize,
    /// How many of them may be faulty.
    pub faulty_max: usize,
    /// Signature checks for each transaction, in the whole chain.
    pub checks_per_tx: usize,
    /// Length of the window that was measured, in seconds.
    pub window_s: f64,
    /// Transactions per second: settled `ok`, executed and durable on a quorum. With blobs: settled and durable.
    pub tps: f64,
    /// Blobs' bytes settled, in millions per second.
    pub payload_mb_per_s: Option<f64>,
    /// Transactions per second that were meant to be sent.
    pub offered_tps: f64,
    /// Rows per second written to the nodes' sockets, those sent again included.
    pub sent_tps: f64,
    /// Rows per second admitted by the nodes.
    pub accepted_tps: f64,
    /// Rows refused by the nodes, by reason.
    pub refused: Refused,
    /// Rows settled in the window with another outcome than `ok`.
    pub failed_rows: u64,
    /// From the intended send time to durable on a quorum, of transactions that were meant to be sent in the window.
    pub latency_ms: Option<Latency>,
    /// Whether that time is the socket write's, because the load was a closed loop.
    pub saturated: bool,
    /// Whether the signed transactions ran out: then the window ended there, if enough of it had passed.
    pub ran_dry: bool,
    /// CPU time per settled transaction and node.
    pub cpu_us_per_tx: Option<CpuCost>,
    /// Bytes per settled transaction and node.
    pub bytes_per_tx: Option<ByteCost>,
    /// Blocks that became durable on a quorum in the window, empty ones included.
    pub blocks: u64,
    /// Of these, the ones that settled something.
    pub blocks_full: u64,
    /// The chain's height at the end, on the first node.
    pub height: u64,
    /// The root of the account table at the end.
    pub state_root: Option<String>,
    /// What kept the throughput from being higher: `cpu`, `latency`, `generator` or `offered rate`.
    pub limited_by: &'static str,
    /// Cores kept busy in the window, 1.0 for each.
    pub cores_busy: CoresBusy,
    /// Memory of all processes: all nodes, and the generator with its signed rows.
    pub memory: Memory,
    /// `agreed`, `no progress`, `diverged` or `failed`.
    pub verdict: &'static str,
    /// In words, where the verdict is not `agreed`.
    pub reason: Option<String>,
    /// Whether everything accepted had settled on all nodes when they were stopped.
    pub drained: bool,
    /// Whether someone ended this run early.
    pub interrupted: bool,
}

/// Rows refused in the window, by what the client made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// No room or too early: sent again later.
    pub later: u64,
    /// For good.
    pub for_good: u64,
}

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Half of the transactions were faster.
    pub p50: f64,
    /// 90 of 100 were faster.
    pub p90: f64,
    /// 99 of 100 were faster.
    pub p99: f64,
    /// 999 of 1,000 were faster.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
    /// How many transactions this speaks of.
    pub count: u64,
    /// How many were meant to be sent in the window, sent or not, and had not settled when the nodes were stopped.
    pub unsettled: u64,
}

/// CPU microseconds per settled transaction and node, by stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct CpuCost {
    /// The sum of the stages.
    pub total: f64,
    /// Signatures and roots.
    pub verify: f64,
    /// Executing blocks, hashing the account table.
    pub execute: f64,
    /// Order, settlement, sealing.
    pub consensus: f64,
    /// Sockets, encryption, parsing.
    pub net: f64,
    /// Block files.
    pub store: f64,
    /// All processes of the run less the generator, divided in the same way: what the stages should add up to.
    pub process: f64,
    /// The generator's own, per transaction; no node's.
    pub generator: f64,
}

/// Bytes per settled transaction and node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ByteCost {
    /// Written to sockets of peers and clients.
    pub sent: f64,
    /// Read from sockets of peers and clients.
    pub received: f64,
    /// Appended to block files.
    pub stored: f64,
}

/// How many cores were busy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct CoresBusy {
    /// With this process, and those of nodes that are processes of their own.
    pub process: f64,
    /// With the generator, which is part of this process.
    pub generator: f64,
    /// With anything, other programs included.
    pub machine: Option<f64>,
}

/// Memory of all processes of the run in bytes. Where nodes are processes of their own, this is a sum: what several have mapped
/// (the program itself) counts in each, and their peaks as if they fell together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The most that was resident during the run, mapped block files included.
    pub peak: Option<u64>,
    /// Anonymous memory at the end of the window.
    pub anonymous: Option<u64>,
    /// Of it, rows that the generator had signed and not yet sent, and the times of those sent.
    pub generator: u64,
}
