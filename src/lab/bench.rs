//! Throughput as nodes are added: one chain after the other, each measured in the same way.

use super::figures::{self, Latencies, Mark};
use super::generator::{self, Pace};
use super::history;
use super::lane::Lane;
use super::machine::Holdings;
use super::observe::{Settled, on_quorum};
use super::payload::{BLOB_BYTES_MIN, Payload};
use super::preflight::{self, Needs};
use super::results::{Config, Document, Engine, Latency, Memory, Refused, Run, SCHEMA};
use super::session::{Ended, Session, SessionConfig, SessionError, Woke};
use super::verdict::{self, Verdict};
use super::workload::Wallet;
use super::{BadInput, Interrupt, Step, Watch, machine, processes};
use crate::net::{NetConfig, ShapeConfig};
use crate::node::{NodeConfig, Progress};
use crate::types::params::BLOB_BYTES_MAX;
use crate::types::{Content, Policy, Time};
use parking_lot::Mutex;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How much a run is given to do.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Rate {
    /// What the chain sustains.
    Max,
    /// So many transactions per second in all, on a schedule.
    PerSecond(f64),
}

/// The settings of a bench.
#[derive(Clone, Debug)]
pub struct BenchConfig {
    /// Numbers of nodes, in the order in which they run.
    pub nodes: Vec<usize>,
    /// The window.
    pub duration: Duration,
    /// Load before the window.
    pub warmup: Duration,
    /// What clients send.
    pub payload: Payload,
    /// Accounts; blobs need none but the nodes' own.
    pub accounts: u64,
    /// Load.
    pub rate: Rate,
    /// At [`Rate::Max`]: rows sent and not yet settled, in the whole chain; as the payload needs if `None`.
    pub in_flight: Option<u64>,
    /// Who verifies.
    pub verify: Policy,
    /// Of how many of the newest blocks nodes keep everything, at least; all if `None`.
    pub keep_blocks: Option<u64>,
    /// Log between two snapshots of the account table at least, in bytes.
    pub snapshot_after_bytes: u64,
    /// `throng` itself, if each node is to be a process of its own; `None`: all of them live in this one.
    pub program: Option<PathBuf>,
    /// Threads with which a node reads and writes.
    pub net_threads: usize,
    /// Links between the nodes that are worse than they are.
    pub shape: ShapeConfig,
    /// From which everything is drawn.
    pub seed: u64,
    /// Where to keep the data; a temporary directory that goes away if `None`.
    pub dir: Option<PathBuf>,
}

impl Default for BenchConfig {
    fn default() -> BenchConfig {
        BenchConfig {
            nodes: vec![1, 2, 4, 8],
            duration: Duration::from_secs(10),
            warmup: Duration::from_secs(3),
            payload: Payload::Transfers,
            accounts: 100_000,
            rate: Rate::Max,
            in_flight: None,
            verify: Policy::Quorum,
            keep_blocks: None,
            snapshot_after_bytes: NodeConfig::default().snapshot_after_bytes,
            program: None,
            net_threads: NetConfig::default().net_threads,
            shape: ShapeConfig::default(),
            seed: 1,
            dir: None,
        }
    }
}

/// What [`BenchConfig::in_flight`] may be.
const IN_FLIGHT_RANGE: RangeInclusive<u64> = 1..=1 << 20;
/// Rows signed for the probe, per core.
const PROBE_ROWS_PER_CORE: u64 = 40_000;
/// Signed rows for each that a saturating run is expected to send.
const SIGNED_SHARE: f64 = 2.0;
/// The same for an open loop, which sends what its schedule says.
const SCHEDULED_SHARE: f64 = 1.02;
/// If the probe told nothing: expected transactions per second.
const RATE_UNKNOWN: f64 = 1_000.0;
/// How long a chain may take to settle what it accepted, once the load ends.
pub(super) const DRAIN_MAX: Duration = Duration::from_secs(10);
/// When the generator runs dry, the window ends early if at least this part of it has passed.
const DRY_WINDOW_MIN: u32 = 4;
/// Attempts to remove the passing data of a process that ends at once.
const REMOVALS_MAX: u32 = 5;
/// How long it may take after an interrupt.
const DRAIN_INTERRUPTED: Duration = Duration::from_secs(2);
/// For the preflight of a saturating run: what a core signs, and so could check, in a second.
const ROWS_PER_CORE_MAX: u64 = 50_000;
/// The same for bytes of blobs, which every node of the chain takes in.
const BLOB_BYTES_PER_CORE_MAX: u64 = 300_000_000;
/// And for blobs, whatever their size.
const BLOBS_PER_CORE_MAX: u64 = 2_000_000;

impl BenchConfig {
    /// Refuses what cannot be run; makes the directory if there is one.
    pub fn check(&self) -> Result<(), BadInput> {
        if let Some(found) = self.in_flight.filter(|rows| !IN_FLIGHT_RANGE.contains(rows)) {
            let (least, most) = IN_FLIGHT_RANGE.into_inner();
            return Err(BadInput::InFlight { found, least, most });
        }
        if let Some(found) = self.payload.blob_bytes().filter(|&bytes| !Payload::allows(bytes)) {
            let (least, most) = (BLOB_BYTES_MIN, BLOB_BYTES_MAX);
            return Err(BadInput::BlobBytes { found, least, most });
        }
        self.shape.validate()?;
        let net = NetConfig { net_threads: self.net_threads, ..NetConfig::default() };
        net.validate().map_err(BadInput::NetThreads)?;
        preflight::check_shape(&self.nodes, self.accounts(), self.duration)?;
        if matches!(self.rate, Rate::PerSecond(rate) if !(rate > 0.0 && rate.is_finite())) {
            return Err(BadInput::NoRate);
        }
        let nodes = self.nodes.iter().copied().max().unwrap_or(1);
        let rows = self.rows_expected(nodes);
        let blob_bytes = self.payload.blob_bytes().unwrap_or(0);
        let apart = self.program.is_some();
        let needs = Needs { nodes, apart, accounts: self.accounts(), rows, blob_bytes, connections: 0 };
        match &self.dir {
            Some(dir) => {
                needs.check(preflight::existing(dir))?;
                preflight::claim_dir(dir) // last, so that a refusal makes no directory
            }
            None => {
                preflight::check_temporary(&std::env::temp_dir())?;
                needs.check(&std::env::temp_dir())
            }
        }
    }

    fn rows_expected(&self, nodes: usize) -> u64 {
        let seconds = (self.duration + self.warmup).as_secs_f64();
        let rate = match self.rate {
            Rate::PerSecond(rate) => rate,
            Rate::Max if self.payload.content() == Content::Opaque => {
                let bytes = u64::from(self.payload.blob_bytes().unwrap_or(1));
                let per_core = (BLOB_BYTES_PER_CORE_MAX / bytes.max(1)).min(BLOBS_PER_CORE_MAX);
                (per_core * machine::cores() as u64 / nodes.max(1) as u64) as f64
            }
            // Every row is checked by f + 1 nodes at least.
            Rate::Max => (ROWS_PER_CORE_MAX * machine::cores() as u64 / ((nodes as u64 - 1) / 3 + 1)) as f64,
        };
        (rate * seconds) as u64
    }

    /// Accounts of the chain: blobs have no senders, but fees have receivers.
    fn accounts(&self) -> u64 {
        match self.payload {
            Payload::Transfers => self.accounts,
            Payload::Opaque(_) => self.nodes.iter().copied().max().unwrap_or(1).max(2) as u64,
        }
    }

    fn in_flight(&self) -> u64 {
        self.in_flight.unwrap_or_else(|| generator::in_flight_default(self.payload))
    }

    fn describe(&self) -> Config {
        Config {
            nodes: self.nodes.clone(),
            duration_s: self.duration.as_secs_f64(),
            warmup_s: self.warmup.as_secs_f64(),
            payload: self.payload.to_string(),
            executed: self.payload == Payload::Transfers,
            accounts: self.accounts() as u32,
            rate: match self.rate {
                Rate::Max => "max".to_owned(),
                Rate::PerSecond(rate) => rate.to_string(),
            },
            verify: self.verify,
            keep_blocks: self.keep_blocks,
            snapshot_after_bytes: self.snapshot_after_bytes,
            processes: self.program.is_some(),
            net_threads: self.net_threads,
            shape: self.shape.clone(),
            seed: self.seed,
            dir: self.dir.clone(),
            frame_rows: generator::frame_rows(self.payload),
            in_flight_rows: self.in_flight(),
        }
    }
}

/// What a bench leaves.
pub struct Outcome {
    /// The runs that ended, also when a later one did not come about.
    pub document: Document,
    /// What was refused, or why a chain did not start.
    pub error: Option<SessionError>,
}

/// Runs the bench.
pub fn run(config: &BenchConfig, interrupt: &Interrupt, watch: Watch<'_>) -> Outcome {
    let mut document = Document {
        schema: SCHEMA,
        engine: Engine::this(),
        machine: machine::describe(),
        config: config.describe(),
        runs: Vec::new(),
        interrupted: false,
    };
    let error = match run_all(config, interrupt, watch, &mut document.runs) {
        Ok(()) | Err(SessionError::Interrupted) => None,
        Err(error) => Some(error),
    };
    document.interrupted = interrupt.is_raised();
    Outcome { document, error }
}

fn run_all(
    config: &BenchConfig,
    interrupt: &Interrupt,
    watch: Watch<'_>,
    runs: &mut Vec<Run>,
) -> Result<(), SessionError> {
    config.check()?;
    watch(config.nodes[0], Step::Keys);
    let wallet = Wallet::derive_unless(config.seed, config.accounts() as u32, interrupt)
        .ok_or(SessionError::Interrupted)?
        .sending(config.payload);
    for &nodes in &config.nodes {
        if interrupt.is_raised() {
            return Err(SessionError::Interrupted);
        }
        runs.push(run_one(config, &wallet, nodes, interrupt, watch)?);
    }
    Ok(())
}

/// A data directory that was asked for, or one that goes away.
pub(super) enum DataDir {
    Kept(PathBuf),
    Passing(PathBuf),
}

impl DataDir {
    pub(super) fn of(dir: Option<&Path>, name: &str) -> Result<DataDir, SessionError> {
        match dir {
            Some(dir) => Ok(DataDir::Kept(dir.join(name))),
            None => tempfile::Builder::new()
                .prefix("throng-")
                .tempdir()
                .map(DataDir::passing)
                .map_err(SessionError::Dir),
        }
    }

    fn passing(dir: tempfile::TempDir) -> DataDir {
        let path = dir.keep(); // removed by the drop below, which tells when that is done
        *PASSING.lock() = Some(path.clone());
        DataDir::Passing(path)
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            DataDir::Kept(path) | DataDir::Passing(path) => path,
        }
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if let DataDir::Passing(path) = self {
            if let Err(error) = std::fs::remove_dir_all(&*path) {
                tracing::warn!(path = %path.display(), %error, "passing data was not removed");
            }
            *PASSING.lock() = None;
        }
    }
}

/// The passing data of this process, for when it ends without coming to its end: one run at a time has some.
static PASSING: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Kills the nodes that are processes of their own, and removes what the run under way keeps in passing. Only for a process
/// that ends at once: its own nodes may still write.
pub fn discard_passing_data() {
    processes::kill_children();
    let Some(dir) = PASSING.lock().take() else { return };
    // Nodes that still write can put a file into what is being emptied: then once more.
    let _ = (0..REMOVALS_MAX).find(|_| std::fs::remove_dir_all(&dir).is_ok());
}

/// What the measured part of a run leaves for its figures.
struct Window {
    before: Mark,
    after: Mark,
    progress: [Vec<Progress>; 2],
    dry: bool,
    woke: Woke,
    memory: Memory,
}

fn run_one(
    config: &BenchConfig,
    wallet: &Wallet,
    nodes: usize,
    interrupt: &Interrupt,
    watch: Watch<'_>,
) -> Result<Run, SessionError> {
    let step = |step| watch(nodes, step);
    machine::reset_memory_peak();
    step(Step::Starting);
    let dir = DataDir::of(config.dir.as_deref(), &format!("n{nodes}"))?;
    let BenchConfig { keep_blocks, snapshot_after_bytes, .. } = *config;
    let conduct = NodeConfig { keep_blocks, snapshot_after_bytes, ..NodeConfig::default() };
    let chain = SessionConfig {
        nodes,
        policy: config.verify,
        seed: config.seed,
        conduct,
        net_threads: config.net_threads,
        shape: config.shape.clone(),
        limit_local: false,
        reserved: 0,
        program: config.program.clone(),
    };
    let mut session = Session::start(wallet, chain, dir.path(), interrupt)?;
    prepare(config, &mut session, interrupt, watch)?;
    let window = measure(config, &mut session, interrupt, watch)?;
    step(Step::Draining);
    let quorum = session.quorum();
    let drained = match window.woke {
        Woke::Over => session.drain(DRAIN_MAX, interrupt),
        Woke::Interrupted => session.drain(DRAIN_INTERRUPTED, &Interrupt::never()),
        Woke::Broken(_) => false,
    };
    let broken = session.broken();
    let ended = session.finish();
    step(Step::Reading);
    Ok(summarize(config, nodes, quorum, &window, &ended, broken, drained))
}

/// Signs what the window will need, after a probe of what that is.
fn prepare(
    config: &BenchConfig,
    session: &mut Session<'_>,
    interrupt: &Interrupt,
    watch: Watch<'_>,
) -> Result<(), SessionError> {
    if config.payload != Payload::Transfers {
        return Ok(()); // blobs are made when they are sent
    }
    let nodes = session.cluster().size();
    let tell = |done, total| watch(nodes, Step::Signing(done, total));
    let per_lane = |rows: f64| (rows / nodes as f64).ceil() as u64;
    let seconds = (config.warmup + config.duration).as_secs_f64();
    let in_flight_max = config.in_flight();
    let rows = match config.rate {
        Rate::PerSecond(rate) => rate * seconds * SCHEDULED_SHARE,
        Rate::Max => {
            let probe = PROBE_ROWS_PER_CORE * machine::cores() as u64;
            session.stock_up(per_lane(probe as f64), interrupt, &tell);
            watch(nodes, Step::Probing);
            let rate = session.probe(in_flight_max, interrupt)?.unwrap_or(RATE_UNKNOWN);
            tracing::info!(nodes, rate, "probed");
            rate * seconds * SIGNED_SHARE + in_flight_max as f64
        }
    };
    let needs = Needs { rows: rows as u64, ..Needs::default() };
    needs.check(Path::new("."))?;
    session.stock_up(per_lane(rows), interrupt, &tell);
    session.drain(DRAIN_MAX, interrupt);
    if interrupt.is_raised() { Err(SessionError::Interrupted) } else { Ok(()) }
}

fn measure(
    config: &BenchConfig,
    session: &mut Session<'_>,
    interrupt: &Interrupt,
    watch: Watch<'_>,
) -> Result<Window, SessionError> {
    let nodes = session.cluster().size();
    let in_flight_max = config.in_flight();
    session.go(|start| match config.rate {
        Rate::Max => Pace::Saturate { in_flight_max },
        Rate::PerSecond(per_second) => Pace::Rate { start, per_second },
    })?;
    watch(nodes, Step::WarmingUp);
    let mut woke = session.wait(config.warmup, interrupt, &|| false);
    if woke == Woke::Interrupted {
        return Err(SessionError::Interrupted);
    }
    let (before, progress) = (session.mark(), session.progress());
    let settled = || session.board().read(|seen| seen.ok.iter().copied().max().unwrap_or(0));
    let settled_before = settled();
    let clock = session.clock();
    let tell = || {
        let tps = figures::per_second(settled() - settled_before, clock.now().since(before.time));
        watch(nodes, Step::Measuring(tps));
        // What follows would tell of the generator only: rather a shorter window than a wrong figure.
        session.flow().is_dry() && clock.now().since(before.time) >= config.duration / DRY_WINDOW_MIN
    };
    if woke == Woke::Over {
        woke = session.wait(config.duration, interrupt, &tell);
    }
    let (after, dry) = (session.mark(), session.flow().is_dry());
    let progress = [progress, session.progress()];
    let Holdings { anonymous, peak, .. } = session.holdings();
    let memory = Memory { peak, anonymous, generator: session.generator_bytes() };
    session.halt();
    tracing::info!(nodes, unsent = ?session.stocks(), "the load has ended");
    Ok(Window { before, after, progress, dry, woke, memory })
}

fn summarize(
    config: &BenchConfig,
    nodes: usize,
    quorum: usize,
    window: &Window,
    ended: &Ended,
    broken: Option<String>,
    drained: bool,
) -> Run {
    let (from, until) = (window.before.time, window.after.time);
    let span = until.since(from);
    let settled = on_quorum(&ended.seen.notices, quorum);
    let sum = figures::in_window(&settled, from, until);
    let tps = figures::per_second(sum.ok, span);
    let counted = |of: fn(&super::flow::Counts) -> u64| {
        of(&window.after.counts).saturating_sub(of(&window.before.counts))
    };
    let rate = |of| figures::per_second(counted(of), span);
    let mut latency = latency(ended, (from, until), &settled);
    if let (Ok(Some(latency)), Some(rate)) = (&mut latency, scheduled(config.rate)) {
        // A schedule that the chain did not follow leaves rows that were never sent: they have not settled either.
        let meant = (rate * span.as_secs_f64()) as u64;
        latency.unsettled = latency.unsettled.max(meant.saturating_sub(latency.count));
    }
    let verdict = judge(window, ended, broken, latency.as_ref().err(), sum.ok, quorum);
    let cost = figures::costs(&window.before, &window.after, sum.ok);
    let (cores, scheduled) = (machine::cores(), scheduled(config.rate));
    let cores_busy = figures::cores_busy(&window.before, &window.after, cores);
    let faulty_max = nodes - quorum;
    let first = ended.stopped.first().and_then(|end| end.as_ref().ok());
    Run {
        nodes,
        faulty_max,
        checks_per_tx: match (config.payload, config.verify) {
            (Payload::Opaque(_), _) => 0,
            (Payload::Transfers, Policy::All) => nodes,
            (Payload::Transfers, Policy::Quorum) => faulty_max + 1,
        },
        window_s: span.as_secs_f64(),
        tps,
        payload_mb_per_s: config.payload.blob_bytes().map(|bytes| tps * f64::from(bytes) / 1e6),
        offered_tps: scheduled.unwrap_or_else(|| rate(|counts| counts.fresh)),
        sent_tps: rate(|counts| counts.sent),
        accepted_tps: rate(|counts| counts.accepted),
        refused: Refused { later: counted(|c| c.later), for_good: counted(|c| c.for_good) },
        failed_rows: sum.failed,
        latency_ms: latency.ok().flatten(),
        saturated: scheduled.is_none(),
        ran_dry: window.dry,
        cpu_us_per_tx: cost.map(|(cpu, _)| cpu),
        bytes_per_tx: cost.map(|(_, bytes)| bytes),
        blocks: sum.blocks,
        blocks_full: sum.full,
        height: first.map_or(0, |end| end.height.0),
        state_root: first.map(|end| end.root.to_string()),
        limited_by: figures::limited_by(window.dry, scheduled, tps, &cores_busy, cores, nodes),
        cores_busy,
        memory: window.memory,
        verdict: verdict.name(),
        reason: verdict.reason().map(str::to_owned),
        drained,
        interrupted: window.woke == Woke::Interrupted,
    }
}

fn scheduled(rate: Rate) -> Option<f64> {
    match rate {
        Rate::Max => None,
        Rate::PerSecond(rate) => Some(rate),
    }
}

/// Latencies of the window, from the first node's block files.
pub(super) fn latency(
    ended: &Ended,
    window: (Time, Time),
    settled: &[Settled],
) -> Result<Option<Latency>, String> {
    let times = ended.lanes.iter().map(Lane::times).collect();
    let mut latencies = Latencies::new(ended.partition, times, window, settled);
    let Some(dir) = ended.directories.first() else { return Ok(None) };
    history::replay(dir, &ended.chain, |height, batch| latencies.batch(height, batch))
        .map_err(|error| format!("the block files of node 0 cannot be read back: {error}"))?;
    Ok(latencies.finish())
}

fn judge(
    window: &Window,
    ended: &Ended,
    broken: Option<String>,
    unreadable: Option<&String>,
    ok: u64,
    quorum: usize,
) -> Verdict {
    let [before, after] = &window.progress;
    let counts = (window.before.counts, window.after.counts);
    let standstill = || (ok == 0).then(|| verdict::standstill(counts, before, after, quorum));
    decide(ended, broken.or_else(|| unreadable.cloned()), standstill)
}

/// The verdict over a session that has ended: divergence before death before standing still.
pub(super) fn decide(
    ended: &Ended,
    broken: Option<String>,
    standstill: impl FnOnce() -> Option<String>,
) -> Verdict {
    let died = || {
        let mut ends = ended.stopped.iter().enumerate();
        ends.find_map(|(node, end)| Some(format!("node {node} died: {}", end.as_ref().err()?)))
    };
    if let Some(reason) = verdict::divergence(&ended.seen.notices, &ended.stopped) {
        Verdict::Diverged(reason)
    } else if let Some(reason) = broken.or_else(died) {
        Verdict::Failed(reason)
    } else if let Some(reason) = standstill() {
        Verdict::NoProgress(reason)
    } else {
        Verdict::Agreed
    }
}
