//! A chain under moderate load while many peers misbehave: what it did before, during and after, against stated bounds.

use super::bench::{DRAIN_MAX, DataDir, decide, latency};
use super::figures::{self, Mark};
use super::forger::Forgery;
use super::generator::{IN_FLIGHT_ROWS, Pace};
use super::observe::on_quorum;
use super::peers::{PeerCounts, PeerKind, Peers, Targets};
use super::preflight::{self, Needs};
use super::results::{Engine, Machine, SCHEMA};
use super::session::{Ended, Session, SessionConfig, SessionError, Woke};
use super::verdict::{self, Verdict};
use super::workload::Wallet;
use super::{BadInput, Interrupt, Step, Watch, machine};
use crate::net::ShapeConfig;
use crate::node::NodeConfig;
use crate::types::{Policy, Time};
use serde::Serialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// The settings of a stress run.
#[derive(Clone, Debug)]
pub struct StressConfig {
    /// Nodes of the chain.
    pub nodes: usize,
    /// Misbehaving peers, on peer and client ports of all nodes in turn.
    pub peers: usize,
    /// What they do, in turn.
    pub kinds: Vec<PeerKind>,
    /// Length of each of the three parts.
    pub duration: Duration,
    /// Accounts.
    pub accounts: u64,
    /// `throng` itself, if each node is to be a process of its own; `None`: all of them live in this one.
    pub program: Option<PathBuf>,
    /// From which everything is drawn.
    pub seed: u64,
}

impl Default for StressConfig {
    fn default() -> StressConfig {
        StressConfig {
            nodes: 4,
            peers: 200,
            kinds: vec![PeerKind::Idle, PeerKind::Garbage],
            duration: Duration::from_secs(10),
            accounts: 10_000,
            program: None,
            seed: 1,
        }
    }
}

/// The most misbehaving peers.
pub const PEERS_MAX: usize = 10_000;
/// The load: this share of what the probe found.
const LOAD_SHARE: f64 = 0.4;
/// If the probe told nothing: transactions per second.
const LOAD_UNKNOWN: f64 = 500.0;
/// Bound: throughput during, as a share of before.
const DURING_SHARE: f64 = 0.5;
/// Bound: throughput after, as a share of before.
const AFTER_SHARE: f64 = 0.8;
/// Bound: descriptors open after, beyond those before; nodes may open a segment more each.
const DESCRIPTORS_MORE: usize = 16;
/// How long dropped connections may take to be gone on the nodes' side.
const SETTLE_MAX: Duration = Duration::from_secs(2);

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
    /// Connections that the peers made.
    pub peers_connected: u64,
    /// Of them, ended or refused by the nodes.
    pub peers_dropped: u64,
    /// Bytes that the peers sent.
    pub peers_sent_bytes: u64,
    /// Forged rows that the peers submitted.
    pub peers_forged_rows: u64,
    /// Of them, refused by the nodes for their signature.
    pub peers_seen_through_rows: u64,
    /// `agreed`, `no progress`, `diverged` or `failed`.
    pub verdict: &'static str,
    /// In words, where the verdict is not `agreed`.
    pub reason: Option<String>,
    /// Bounds that were not kept, in words.
    pub exceeded: Vec<String>,
    /// Whether someone ended it early.
    pub interrupted: bool,
}

/// Every setting of a stress run, as it was used.
#[derive(Clone, Debug, Serialize)]
pub struct StressSettings {
    /// Nodes.
    pub nodes: usize,
    /// Misbehaving peers.
    pub peers: usize,
    /// Their kinds.
    pub kinds: Vec<&'static str>,
    /// Length of each part in seconds.
    pub duration_s: f64,
    /// Accounts.
    pub accounts: u64,
    /// Whether each node was a process of its own.
    pub processes: bool,
    /// The seed.
    pub seed: u64,
    /// Transactions offered per second.
    pub offered_tps: f64,
}

/// One part of a stress run.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// `before`, `during` or `after`.
    pub name: &'static str,
    /// Transactions per second: settled `ok`, executed and durable on a quorum.
    pub tps: f64,
    /// CPU time of the nodes per transaction that settled `ok`, and node, in microseconds: what the peers cost shows here
    /// even where cores are left over.
    pub cpu_us_per_tx: Option<f64>,
    /// Half of the transactions were faster, in milliseconds.
    pub p50_ms: Option<f64>,
    /// 99 of 100 were faster, in milliseconds.
    pub p99_ms: Option<f64>,
    /// Anonymous memory of all processes at the end of the part, less the generator's signed rows, for each node.
    pub memory_bytes_per_node: Option<u64>,
    /// Open descriptors of all processes at the end of the part, less the peers' own ends.
    pub descriptors: Option<usize>,
}

impl StressConfig {
    /// Refuses what cannot be run.
    pub fn check(&self) -> Result<(), BadInput> {
        preflight::check_shape(&[self.nodes], self.accounts, self.duration)?;
        if !(1..=PEERS_MAX).contains(&self.peers) {
            return Err(BadInput::Peers { found: self.peers, most: PEERS_MAX });
        }
        let connections = self.peers as u64;
        let (nodes, accounts, apart) = (self.nodes, self.accounts, self.program.is_some());
        let needs = Needs { nodes, apart, accounts, connections, ..Needs::default() };
        preflight::check_temporary(&std::env::temp_dir())?;
        needs.check(&std::env::temp_dir())
    }

    fn describe(&self, offered_tps: f64) -> StressSettings {
        StressSettings {
            nodes: self.nodes,
            peers: self.peers,
            kinds: self.kinds.iter().map(|kind| kind.name()).collect(),
            duration_s: self.duration.as_secs_f64(),
            accounts: self.accounts,
            processes: self.program.is_some(),
            seed: self.seed,
            offered_tps,
        }
    }
}

struct Measured {
    name: &'static str,
    window: (Time, Time),
    marks: [Mark; 2],
    memory: Option<u64>,
    descriptors: Option<usize>,
}

/// Runs the stress.
pub fn run(
    config: &StressConfig,
    interrupt: &Interrupt,
    watch: Watch<'_>,
) -> Result<StressDocument, SessionError> {
    config.check()?;
    watch(config.nodes, Step::Keys);
    let wallet = Wallet::derive_unless(config.seed, config.accounts as u32, interrupt)
        .ok_or(SessionError::Interrupted)?;
    watch(config.nodes, Step::Starting);
    let dir = DataDir::of(None, "stress")?;
    let chain = SessionConfig {
        nodes: config.nodes,
        policy: Policy::Quorum,
        seed: config.seed,
        conduct: NodeConfig::default(),
        shape: ShapeConfig::default(),
        program: config.program.clone(),
    };
    let mut session = Session::start(&wallet, chain, dir.path(), interrupt)?;
    let load = prepare(config, &mut session, interrupt, watch)?;
    let before = (session.mark().counts, session.progress());
    session.go(|start| Pace::Rate { start, per_second: load })?;
    let (measured, crowd, woke) = measure(config, &session, interrupt, watch)?;
    let after = (session.mark().counts, session.progress());
    session.halt();
    watch(config.nodes, Step::Draining);
    let drained = session.drain(DRAIN_MAX, &Interrupt::never());
    let (broken, quorum) = (session.broken(), session.quorum());
    let ended = session.finish();
    watch(config.nodes, Step::Reading);
    let (parts, unreadable) = figures_of(config, &measured, &ended, quorum);
    let none = parts.iter().all(|part| part.tps == 0.0);
    let standstill = || none.then(|| verdict::standstill((before.0, after.0), &before.1, &after.1, quorum));
    let verdict: Verdict = decide(&ended, broken.or(unreadable), standstill);
    let interrupted = woke == Woke::Interrupted;
    let mut exceeded = if interrupted { Vec::new() } else { exceeded(&parts) };
    if crowd[5] > 0 {
        exceeded.push(format!("{} forged rows were admitted", crowd[5]));
    }
    if !drained && !interrupted {
        exceeded.push("not all accepted transactions had settled on all nodes at the end".to_owned());
    }
    Ok(StressDocument {
        schema: SCHEMA,
        engine: Engine::this(),
        machine: machine::describe(),
        config: config.describe(load),
        parts,
        peers_connected: crowd[0],
        peers_dropped: crowd[1],
        peers_sent_bytes: crowd[2],
        peers_forged_rows: crowd[3],
        peers_seen_through_rows: crowd[4],
        verdict: verdict.name(),
        reason: verdict.reason().map(str::to_owned),
        exceeded,
        interrupted,
    })
}

/// Goes through the three parts under load: what was read at the end of each, and what the peers did (connections made,
/// connections ended by nodes, bytes sent, forged rows submitted, seen
/// through, and admitted).
fn measure(
    config: &StressConfig,
    session: &Session<'_>,
    interrupt: &Interrupt,
    watch: Watch<'_>,
) -> Result<(Vec<Measured>, [u64; 6], Woke), SessionError> {
    let (mut parts, mut crowd) = (Vec::new(), [0; 6]);
    for name in ["before", "during", "after"] {
        let peers = (name == "during").then(|| let_loose(config, session)).transpose()?;
        if name == "after" {
            // The first moments of quiet belong to nobody: connections are still being cleared away.
            session.wait(SETTLE_MAX, interrupt, &|| false);
        }
        let (from, first) = (session.clock().now(), session.mark());
        let ok = || session.board().read(|seen| seen.ok.iter().copied().max().unwrap_or(0));
        let ok_before = ok();
        let tell = || {
            let span = session.clock().now().since(from);
            watch(config.nodes, Step::Part(name, figures::per_second(ok() - ok_before, span)));
            false
        };
        let woke = session.wait(config.duration, interrupt, &tell);
        let held = peers.as_ref().map_or(0, |peers| peers.counts().held.load(Relaxed)) as usize;
        let (holdings, generator) = (session.holdings(), session.generator_bytes());
        parts.push(Measured {
            name,
            window: (from, session.clock().now()),
            marks: [first, session.mark()],
            memory: holdings.anonymous.map(|bytes| bytes.saturating_sub(generator)),
            descriptors: holdings.descriptors.map(|open| open.saturating_sub(held)),
        });
        if let Some(counts) = peers.as_ref().map(Peers::counts) {
            let PeerCounts { connected, dropped, sent, forged, seen_through, taken_in, .. } = counts;
            crowd =
                [connected, dropped, sent, forged, seen_through, taken_in].map(|count| count.load(Relaxed));
        }
        if woke != Woke::Over {
            return Ok((parts, crowd, woke));
        }
    }
    Ok((parts, crowd, Woke::Over))
}

/// The figures of every part; beside them why the chain could not be read back, if so.
fn figures_of(
    config: &StressConfig,
    measured: &[Measured],
    ended: &Ended,
    quorum: usize,
) -> (Vec<Part>, Option<String>) {
    let settled = on_quorum(&ended.seen.notices, quorum);
    let mut unreadable = None;
    let mut part = |part: &Measured| {
        let (from, until) = part.window;
        let latency = latency(ended, part.window, &settled).unwrap_or_else(|reason| {
            unreadable = Some(reason);
            None
        });
        let ok = figures::in_window(&settled, from, until).ok;
        Part {
            name: part.name,
            tps: figures::per_second(ok, until.since(from)),
            cpu_us_per_tx: figures::costs(&part.marks[0], &part.marks[1], ok).map(|(cpu, _)| cpu.total),
            p50_ms: latency.map(|latency| latency.p50),
            p99_ms: latency.map(|latency| latency.p99),
            memory_bytes_per_node: part.memory.map(|bytes| bytes / config.nodes as u64),
            descriptors: part.descriptors,
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
    let seconds = (config.duration * 3 + SETTLE_MAX).as_secs_f64() + 1.0;
    let rows = load * seconds;
    Needs { rows: rows as u64, ..Needs::default() }.check(&std::env::temp_dir())?;
    session.stock_up((rows / config.nodes as f64).ceil() as u64, interrupt, &tell);
    session.drain(DRAIN_MAX, interrupt);
    if interrupt.is_raised() { Err(SessionError::Interrupted) } else { Ok(load) }
}

fn let_loose(config: &StressConfig, session: &Session<'_>) -> Result<Peers, SessionError> {
    let cluster = session.cluster();
    let ports = |node| [cluster.peer_address(node), cluster.client_address(node)];
    let all: Vec<SocketAddr> = (0..config.nodes).flat_map(ports).collect();
    let targets = Targets {
        client_ports: (0..config.nodes).map(|node| cluster.client_address(node)).collect(),
        ports: all,
        forgery: Forgery { accounts: config.accounts as u32, fee: session.rules().fee_min },
    };
    Peers::start(config.peers, &config.kinds, &targets, config.seed, session.shared_flow())
        .map_err(SessionError::Clients)
}

/// The bounds that were not kept.
fn exceeded(parts: &[Part]) -> Vec<String> {
    let [before, during, after] = parts else { return vec!["not every part was measured".to_owned()] };
    let mut exceeded = Vec::new();
    for (part, share) in [(during, DURING_SHARE), (after, AFTER_SHARE)] {
        if part.tps < share * before.tps {
            exceeded.push(format!(
                "throughput {} was {:.0} tx/s: below {:.0} % of the {:.0} before",
                part.name,
                part.tps,
                share * 100.0,
                before.tps
            ));
        }
    }
    if let (Some(first), Some(last)) = (before.descriptors, after.descriptors)
        && last > first + DESCRIPTORS_MORE
    {
        exceeded.push(format!("{last} descriptors are open after, {first} were before: connections leak"));
    }
    exceeded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &'static str, tps: f64, descriptors: usize) -> Part {
        let (p50_ms, p99_ms, memory_bytes_per_node) = (None, None, None);
        Part {
            name,
            tps,
            cpu_us_per_tx: None,
            p50_ms,
            p99_ms,
            memory_bytes_per_node,
            descriptors: Some(descriptors),
        }
    }

    #[test]
    fn bounds_that_are_not_kept_are_named() {
        let parts = |during, after, open| {
            [part("before", 1000.0, 100), part("during", during, 300), part("after", after, open)]
        };
        assert!(exceeded(&parts(500.0, 800.0, 116)).is_empty());
        let all = exceeded(&parts(499.0, 799.0, 117));
        assert_eq!(all.len(), 3, "{all:?}");
        assert!(all[0].contains("during") && all[1].contains("after") && all[2].contains("leak"));
        assert_eq!(exceeded(&[]).len(), 1);
    }
}
