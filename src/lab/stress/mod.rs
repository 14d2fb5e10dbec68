//! A chain under moderate load while many hostile peers come: what it did before, during and after, against stated bounds.
//!
//! - Upon a run of its own ([`run`]): every node is a process, the hostile peers are another, and the load is this one: so
//!   memory, descriptors and CPU time of each are known apart. Nodes hold their limits for addresses against this machine too,
//!   as they do against a network, and every hostile peer has an address of its own.
//! - Upon a target ([`target`]): the same peers against nodes that run already; of these only what they tell their clients is
//!   known, and the rest is said to be unknown.
//! - Upon the end: every bound is listed with what was measured. Undisturbed is the part before, in the same run. A bound that a
//!   run was too short for, or of which nobody tells anything, is said to be unknown, and by name beside the verdict.

mod bounds;
mod document;
mod sightings;
pub mod target;

pub use bounds::{Bound, shown};
pub use document::{Cpu, Hostile, Part, Saw, Seen, StressDocument, StressSettings};

use super::bench::{DRAIN_MAX, DataDir, decide, latency};
use super::figures::{self, Mark};
use super::generator::{IN_FLIGHT_ROWS, Pace};
use super::hostile::{Apart, Kind, Plan, Told};
use super::observe::{Settled, on_quorum};
use super::preflight::{self, Needs};
use super::session::{Ended, Session, SessionConfig, SessionError, Woke};
use super::verdict::{self, Verdict};
use super::workload::Wallet;
use super::{BadInput, Interrupt, Step, Watch, machine};
use crate::metrics::{Dismissal, Metrics};
use crate::net::{NetConfig, ShapeConfig};
use crate::node::NodeConfig;
use crate::types::{Policy, Time};
use crate::wire::client::Refusal;
use bounds::Recovery;
use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::time::Duration;

/// The settings of a stress run.
#[derive(Clone, Debug)]
pub struct StressConfig {
    /// Nodes of the chain.
    pub nodes: usize,
    /// Hostile peers, on the ports of all nodes in turn.
    pub peers: usize,
    /// What they do, in turn.
    pub kinds: Vec<Kind>,
    /// How long they stay.
    pub duration: Duration,
    /// How long is measured without them, before and after.
    pub calm: Duration,
    /// Accounts.
    pub accounts: u64,
    /// `throng` itself: the program of all other processes.
    pub program: PathBuf,
    /// From which everything is drawn.
    pub seed: u64,
}

impl Default for StressConfig {
    fn default() -> StressConfig {
        StressConfig {
            nodes: 4,
            peers: 200,
            kinds: Kind::all(),
            duration: Duration::from_secs(15),
            calm: Duration::from_secs(10),
            accounts: 10_000,
            program: PathBuf::new(),
            seed: 1,
        }
    }
}

/// The most hostile peers.
pub const PEERS_MAX: usize = 10_000;
/// The load: this share of what the probe found. A chain below its limit makes smaller batches, and so a transaction costs it
/// more: with this share nodes and load take about half of a machine, which leaves room for hostile peers on the same cores.
const LOAD_SHARE: f64 = 0.3;
/// If the probe told nothing: transactions per second.
const LOAD_UNKNOWN: f64 = 500.0;
/// Accounts that hostile peers sign for.
const HOSTILE_ACCOUNTS: u32 = 8;
/// How long dropped connections may take to be gone on the nodes' side, before what is after them is measured.
const SETTLE_MAX: Duration = Duration::from_secs(2);
/// How often it is looked at what nodes hold: one in so many looks about.
const HOLDINGS_EVERY: u32 = 5;

impl StressConfig {
    /// Refuses what cannot be run.
    pub fn check(&self) -> Result<(), BadInput> {
        preflight::check_shape(&[self.nodes], self.accounts, self.duration)?;
        preflight::check_calm(self.calm)?;
        check_peers(self.peers)?;
        preflight::check_temporary(&std::env::temp_dir())?;
        // Each node has its share of them, and their own process all of their ends.
        let connections = self.peers as u64;
        let needs = Needs {
            nodes: self.nodes,
            apart: true,
            accounts: self.accounts,
            connections,
            ..Needs::default()
        };
        needs.check(&std::env::temp_dir())
    }

    fn describe(&self, offered_tps: f64) -> StressSettings {
        StressSettings {
            target: Vec::new(),
            nodes: self.nodes,
            peers: self.peers,
            kinds: self.kinds.iter().map(|kind| kind.name()).collect(),
            duration_s: self.duration.as_secs_f64(),
            calm_s: self.calm.as_secs_f64(),
            accounts: Some(self.accounts),
            seed: self.seed,
            offered_tps,
        }
    }
}

fn check_peers(found: usize) -> Result<(), BadInput> {
    if (1..=PEERS_MAX).contains(&found) { Ok(()) } else { Err(BadInput::Peers { found, most: PEERS_MAX }) }
}

/// What was read of one part.
struct Measured {
    name: &'static str,
    window: (Time, Time),
    /// When it was over for good: its hostile peers, if it had any, were gone.
    over: Time,
    marks: [Mark; 2],
    /// CPU time of all nodes' processes, and of the hostile peers', in seconds.
    cpu_s: [f64; 2],
    saw: Saw,
    /// The most that a node held at any look: anonymous memory, descriptors.
    peaks: (Option<u64>, Option<usize>),
    /// The same at the end.
    last: (Option<u64>, Option<usize>),
}

/// Runs the stress.
pub fn run(
    config: &StressConfig,
    interrupt: &Interrupt,
    watch: Watch<'_>,
) -> Result<StressDocument, SessionError> {
    config.check()?;
    watch(config.nodes, Step::Keys);
    let wallet = Wallet::derive_unless(config.seed, config.accounts as u32 + HOSTILE_ACCOUNTS, interrupt)
        .ok_or(SessionError::Interrupted)?;
    watch(config.nodes, Step::Starting);
    let dir = DataDir::of(None, "stress")?;
    let chain = SessionConfig {
        nodes: config.nodes,
        policy: Policy::Quorum,
        seed: config.seed,
        conduct: NodeConfig::default(),
        net_threads: NetConfig::default().net_threads,
        shape: ShapeConfig::default(),
        limit_local: true,
        reserved: HOSTILE_ACCOUNTS,
        program: Some(config.program.clone()),
    };
    let mut session = Session::start(&wallet, chain, dir.path(), interrupt)?;
    let load = prepare(config, &mut session, interrupt, watch)?;
    let before = (session.mark().counts, session.progress());
    session.go(|start| Pace::Rate { start, per_second: load })?;
    let plan = plan(config, &session, &wallet, dir.path().join("genesis"));
    let (measured, told, woke) = measure(config, &session, &plan, interrupt, watch)?;
    let after = (session.mark().counts, session.progress());
    session.halt();
    watch(config.nodes, Step::Draining);
    let drained = session.drain(DRAIN_MAX, &Interrupt::never());
    let gone = match &woke {
        Woke::Broken(reason) => Some(reason.clone()),
        Woke::Over | Woke::Interrupted => None,
    };
    let (broken, quorum) = (session.broken().or(gone), session.quorum());
    let ended = session.finish();
    watch(config.nodes, Step::Reading);
    let settled = on_quorum(&ended.seen.notices, quorum);
    let (parts, unreadable) = figures_of(config, &measured, &told, &ended, &settled);
    let none = parts.iter().all(|part| part.tps == Some(0.0));
    let standstill = || none.then(|| verdict::standstill((before.0, after.0), &before.1, &after.1, quorum));
    let verdict: Verdict = decide(&ended, broken.or(unreadable), standstill);
    let interrupted = woke == Woke::Interrupted;
    let recovery = recovery(&parts, &measured, &settled);
    let bounds = match recovery {
        Some(recovery) if !interrupted => bounds::of_run(config, &parts, &told, recovery, drained),
        _ => Vec::new(),
    };
    let recovery_s = recovery.and_then(|recovery| recovery.after_s);
    Ok(StressDocument::new(config.describe(load), parts, &told, recovery_s, bounds, &verdict, interrupted))
}

/// How the chain came back after its hostile peers; `None`: the run ended before all parts were measured.
fn recovery(parts: &[Part], measured: &[Measured], settled: &[Settled]) -> Option<Recovery> {
    let [_, during, after] = measured else { return None };
    Some(Recovery::find(parts.first()?.tps?, during.over, after.window.1, settled))
}

/// Who comes, and where to.
fn plan(config: &StressConfig, session: &Session<'_>, wallet: &Wallet, genesis: PathBuf) -> Plan {
    let cluster = session.cluster();
    let last = wallet.accounts();
    let signers = last - HOSTILE_ACCOUNTS + 1..=last;
    Plan {
        kinds: config.kinds.clone(),
        peers: config.peers,
        peer_ports: (0..config.nodes).map(|node| cluster.peer_address(node)).collect(),
        client_ports: (0..config.nodes).map(|node| cluster.client_address(node)).collect(),
        chain: session.chain().to_string(),
        genesis: Some(genesis),
        accounts: config.accounts as u32,
        fee: session.rules().fee_min,
        keys: signers.map(|number| (number, hex::encode(wallet.key_seed(number)))).collect(),
        seed: config.seed,
    }
}

/// Goes through the three parts under load: what was read of each, and what the hostile peers did.
fn measure(
    config: &StressConfig,
    session: &Session<'_>,
    plan: &Plan,
    interrupt: &Interrupt,
    watch: Watch<'_>,
) -> Result<(Vec<Measured>, Told, Woke), SessionError> {
    let (mut parts, mut told) = (Vec::new(), Told::default());
    for name in ["before", "during", "after"] {
        if name == "after" {
            // The first moments of quiet belong to nobody: connections are still being cleared away.
            session.wait(SETTLE_MAX, interrupt, &|| false);
        }
        let first = Reading::take(session);
        let apart = || Apart::start(&config.program, plan).map_err(SessionError::Hostile);
        let apart = (name == "during").then(apart).transpose()?;
        let ok = || session.board().read(|seen| seen.ok.iter().copied().max().unwrap_or(0));
        let (ok_before, looks, peaks) = (ok(), Cell::new(0_u32), RefCell::new((None, None)));
        let tell = || {
            let span = session.clock().now().since(first.mark.time);
            watch(config.nodes, Step::Part(name, figures::per_second(ok() - ok_before, span)));
            looks.set(looks.get() + 1);
            if looks.get() % HOLDINGS_EVERY == 0 {
                let held = most_held(session);
                let mut peaks = peaks.borrow_mut();
                *peaks = (peaks.0.max(held.0), peaks.1.max(held.1));
            }
            apart.as_ref().is_some_and(Apart::is_gone)
        };
        let span = if name == "during" { config.duration } else { config.calm };
        let mut woke = session.wait(span, interrupt, &tell);
        let (last, held, peaks) = (Reading::take(session), most_held(session), peaks.into_inner());
        // They go only now, and it is from then on that nobody disturbs the chain any more.
        let (mut hostile_s, mut over) = (0.0, last.mark.time);
        if let Some(apart) = apart {
            if woke == Woke::Over && apart.is_gone() {
                woke = Woke::Broken("the process of the hostile peers ended".to_owned());
            }
            told = apart.stop();
            (hostile_s, over) = (told.cpu_us as f64 / 1e6, session.clock().now());
        }
        parts.push(Measured {
            name,
            window: (first.mark.time, last.mark.time),
            over,
            cpu_s: [last.nodes_s - first.nodes_s, hostile_s],
            saw: last.saw.since(&first.saw),
            marks: [first.mark, last.mark],
            peaks: (peaks.0.max(held.0), peaks.1.max(held.1)),
            last: held,
        });
        if woke != Woke::Over {
            return Ok((parts, told, woke));
        }
    }
    Ok((parts, told, Woke::Over))
}

/// All counters at one moment.
struct Reading {
    mark: Mark,
    nodes_s: f64,
    saw: Saw,
}

impl Reading {
    fn take(session: &Session<'_>) -> Reading {
        let mark = session.mark(); // brings the others up to now
        let cluster = session.cluster();
        Reading {
            mark,
            nodes_s: cluster.cpu().as_secs_f64(),
            saw: Saw::of((0..cluster.size()).map(|node| cluster.metrics(node))),
        }
    }
}

/// The most that a node holds now: anonymous memory, descriptors.
fn most_held(session: &Session<'_>) -> (Option<u64>, Option<usize>) {
    let held = session.node_holdings();
    let most = |of: &dyn Fn(&machine::Holdings) -> Option<u64>| held.iter().filter_map(of).max();
    let descriptors = held.iter().filter_map(|node| node.descriptors).max();
    (most(&|node| node.anonymous), descriptors)
}

impl Saw {
    fn of<'a>(nodes: impl Iterator<Item = &'a Metrics>) -> Saw {
        let mut saw = Saw::default();
        for metrics in nodes {
            saw.accepted += Metrics::read(&metrics.connections_accepted);
            saw.throttled += Metrics::read(&metrics.throttled);
            for (count, reason) in saw.dismissed.iter_mut().zip(Dismissal::ALL) {
                *count += metrics.dismissed(reason);
            }
            for (count, reason) in saw.refused.iter_mut().zip(Refusal::ALL) {
                *count += metrics.refused(reason);
            }
        }
        saw
    }
}

/// The figures of every part; beside them why the chain could not be read back, if so.
fn figures_of(
    config: &StressConfig,
    measured: &[Measured],
    told: &Told,
    ended: &Ended,
    settled: &[Settled],
) -> (Vec<Part>, Option<String>) {
    let mut unreadable = None;
    let mut part = |part: &Measured| {
        let (from, until) = part.window;
        let latency = latency(ended, part.window, settled).unwrap_or_else(|reason| {
            unreadable = Some(reason);
            None
        });
        let hostile = part.name == "during";
        // What hostile peers paid for is no part of the load. (Some of it settles a moment later.)
        let theirs: u64 =
            told.kinds.iter().map(|(_, counts)| counts.admitted).sum::<u64>() * u64::from(hostile);
        let ok = figures::in_window(settled, from, until).ok.saturating_sub(theirs);
        let load_s = (part.marks[1].counts.cpu_ns - part.marks[0].counts.cpu_ns) as f64 / 1e9;
        let per_tx = |seconds: f64| (ok > 0).then(|| seconds * 1e6 / ok as f64);
        Part {
            name: part.name,
            seconds: until.since(from).as_secs_f64(),
            tps: Some(figures::per_second(ok, until.since(from))),
            p50_ms: latency.map(|latency| latency.p50),
            p99_ms: latency.map(|latency| latency.p99),
            cpu_us_per_tx: Cpu {
                node: per_tx(part.cpu_s[0] / config.nodes as f64),
                nodes: per_tx(part.cpu_s[0]),
                load: per_tx(load_s),
                hostile: per_tx(part.cpu_s[1]).filter(|_| hostile),
            },
            memory_bytes: part.peaks.0,
            descriptors: part.peaks.1,
            descriptors_at_end: part.last.1,
            seen: Seen::Counted(part.saw.clone()),
        }
    };
    let parts = measured.iter().map(&mut part).collect();
    (parts, unreadable)
}

/// Finds a moderate load and signs for all three parts.
fn prepare(
    config: &StressConfig,
    session: &mut Session<'_>,
    interrupt: &Interrupt,
    watch: Watch<'_>,
) -> Result<f64, SessionError> {
    let tell = |done, total| watch(config.nodes, Step::Signing(done, total));
    session.stock_up(5_000 * machine::cores() as u64, interrupt, &tell);
    watch(config.nodes, Step::Probing);
    let load = session.probe(IN_FLIGHT_ROWS, interrupt)?.map_or(LOAD_UNKNOWN, |rate| rate * LOAD_SHARE);
    // Reading what all hold takes a while, too.
    let seconds = (config.duration + config.calm * 2 + SETTLE_MAX).as_secs_f64() + 3.0;
    let rows = load * seconds;
    Needs { rows: rows as u64, ..Needs::default() }.check(&std::env::temp_dir())?;
    session.stock_up((rows / config.nodes as f64).ceil() as u64, interrupt, &tell);
    session.drain(DRAIN_MAX, interrupt);
    if interrupt.is_raised() { Err(SessionError::Interrupted) } else { Ok(load) }
}
