//! One chain under load from its start to its end: the cluster, its observers and its generator, held together so that
//! whatever ends a run, everything that was started is stopped.

use super::clock::Clock;
use super::cluster::{Cluster, ClusterError, Local};

use super::figures::Mark;
use super::flow::Flow;
use super::generator::{Pace, Running};
use super::lane::{Lane, ROW_BYTES, TIME_BYTES};
use super::machine::{self, Holdings};
use super::observe::{Board, Observers, Seen};
use super::processes::{Launch, Processes};
use super::workload::{Order, Partition, Wallet};
use super::{BadInput, Interrupt};
use crate::metrics::{Metrics, process_cpu};
use crate::net::{NetConfig, ShapeConfig, Stopped};
use crate::node::{NodeConfig, Progress};
use crate::types::{ChainId, Genesis, GenesisError, Policy, Rules, Time};
use crate::wire::chain_id;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use thiserror::Error;

/// How long nodes may take to connect to each other.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How often a waiting run looks for dead nodes and tells how it goes.
const LOOK_ABOUT: Duration = Duration::from_millis(100);
/// How long the probe loads the chain.
const PROBE: Duration = Duration::from_millis(1_300);

/// Why a run did not come about.
#[derive(Debug, Error)]
pub enum SessionError {
    /// Something was asked for that cannot be.
    #[error(transparent)]
    BadInput(#[from] BadInput),
    /// The genesis of the bench breaks its own rules.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// The nodes.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The clients.
    #[error("cannot connect clients to the nodes: {0}")]
    Clients(io::Error),
    /// Hostile peers.
    #[error("cannot start the process of the hostile peers: {0}")]
    Hostile(io::Error),
    /// A directory.
    #[error("cannot make a directory for the nodes' data: {0}")]
    Dir(io::Error),
    /// It was ended before there was anything to tell.
    #[error("interrupted")]
    Interrupted,
}

/// Why a wait ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Woke {
    /// The span is over.
    Over,
    /// Someone ends the run.
    Interrupted,
    /// A node died or a client lost its node.
    Broken(String),
}

/// Which chain, and how its nodes are run.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// How many nodes.
    pub nodes: usize,
    /// Who verifies.
    pub policy: Policy,
    /// From which everything is drawn.
    pub seed: u64,
    /// The nodes' conduct.
    pub conduct: NodeConfig,
    /// Threads with which a node reads and writes.
    pub net_threads: usize,
    /// Links between the nodes.
    pub shape: ShapeConfig,
    /// Whether the nodes' limits for addresses hold for this machine's own too.
    pub limit_local: bool,
    /// Accounts of the wallet, its last ones, that send no load.
    pub reserved: u32,
    /// `throng` itself, if each node is to be a process of its own; `None`: all of them live in this one.
    pub program: Option<PathBuf>,
}

/// A chain under load.
pub struct Session<'a> {
    // In the order in which they have to go: clients before observers before nodes.
    running: Option<Running>,
    observers: Observers,
    cluster: Box<dyn Cluster>,
    lanes: Vec<Lane>,
    /// While the lanes are under way: rows in stock, rows sent before, and the count of fresh rows at the start.
    left: (u64, u64, u64),
    flow: Arc<Flow>,
    clock: Clock,
    wallet: &'a Wallet,
    genesis: Arc<Genesis>,
    chain: ChainId,
    partition: Partition,
}

/// What is left of a session.
pub struct Ended {
    /// What the observers saw.
    pub seen: Seen,
    /// Where every node stood, or why it had died.
    pub stopped: Vec<Result<Stopped, String>>,
    /// The lanes, with the times of their rows.
    pub lanes: Vec<Lane>,
    /// Where each node's files lie.
    pub directories: Vec<PathBuf>,
    /// The chain.
    pub chain: ChainId,
    /// Whose rows are whose.
    pub partition: Partition,
}

impl<'a> Session<'a> {
    /// Starts the nodes over the wallet's accounts with their data in `dir`, waits until they are connected, and
    /// subscribes to all of them.
    pub fn start(
        wallet: &'a Wallet,
        config: SessionConfig,
        dir: &Path,
        interrupt: &Interrupt,
    ) -> Result<Session<'a>, SessionError> {
        let SessionConfig { nodes, policy, seed, conduct, .. } = config;
        let SessionConfig { net_threads, shape, limit_local, reserved, program, .. } = config;
        let partition = Partition { accounts: wallet.accounts() - reserved, nodes: nodes as u32 };
        let (genesis, keys) = wallet.genesis(nodes as u32, policy);
        genesis.check()?;
        let (chain, genesis) = (chain_id(&genesis), Arc::new(genesis));
        let verify_threads = (machine::cores() / nodes).max(1);
        let net = NetConfig { verify_threads, net_threads, shape, limit_local, ..NetConfig::default() };
        let cluster: Box<dyn Cluster> = match &program {
            None => Box::new(Local::start(&genesis, keys, (conduct, &net), dir, seed)?),
            Some(program) => {
                let launch = Launch { program, genesis: &genesis, keys: &keys, conduct, net: &net, dir };
                Box::new(Processes::start(&launch, interrupt)?)
            }
        };
        await_peers(&*cluster, interrupt)?;
        let flow = Arc::new(Flow::default());
        let addresses: Vec<_> = (0..nodes).map(|node| cluster.client_address(node)).collect();
        let observers = Observers::start(&addresses, &flow).map_err(SessionError::Clients)?;
        let lane = |(node, address)| Lane::new(node, address).sending(wallet.payload());
        let lanes = addresses.into_iter().enumerate().map(lane).collect();
        Ok(Session {
            running: None,
            observers,
            cluster,
            lanes,
            left: (0, 0, 0),
            flow,
            clock: Clock::system(),
            wallet,
            genesis,
            chain,
            partition,
        })
    }

    /// Signs until every lane has `per_lane` rows that were never sent; tells how many are done, of how many.
    pub fn stock_up(&mut self, per_lane: u64, interrupt: &Interrupt, tell: &(dyn Fn(u64, u64) + Sync)) {
        let missing = |lane: &Lane| per_lane.saturating_sub(lane.stock());
        let total: u64 = self.lanes.iter().map(missing).sum();
        let done = AtomicU64::new(0);
        for (node, lane) in self.lanes.iter_mut().enumerate() {
            let rules = (&self.chain, &self.genesis.rules);
            let (first, count) = (lane.next_index(), missing(lane));
            let order = Order { partition: self.partition, node: node as u32, first, count };
            let signed = |rows: usize| {
                let before = done.fetch_add(rows as u64, Relaxed);
                tell(before + rows as u64, total);
            };
            lane.supply(self.wallet.sign(rules, order, interrupt, &signed));
        }
    }

    /// Begins to send.
    pub fn go(&mut self, pace: impl FnOnce(Time) -> Pace) -> Result<(), SessionError> {
        let lanes = std::mem::take(&mut self.lanes);
        let sum = |of: fn(&Lane) -> u64| lanes.iter().map(of).sum();
        self.left = (sum(Lane::stock), sum(|lane| lane.times().len() as u64), self.flow.counts().fresh);
        let pace = pace(self.clock.now());
        self.running =
            Some(Running::start(lanes, &self.flow, self.clock, pace).map_err(SessionError::Clients)?);
        Ok(())
    }

    /// Stops sending; waits for the replies to what was sent.
    pub fn halt(&mut self) {
        if let Some(running) = self.running.take() {
            self.lanes = running.stop();
        }
    }

    /// Waits, unless something ends the wait; tells from time to time, and ends when told that it is enough.
    pub fn wait(&self, span: Duration, interrupt: &Interrupt, tell: &dyn Fn() -> bool) -> Woke {
        let until = self.clock.now() + span;
        loop {
            if let Some(reason) = self.broken() {
                return Woke::Broken(reason);
            }
            let rest = self.clock.until(until);
            if rest.is_zero() {
                return Woke::Over;
            }
            if interrupt.wait(rest.min(LOOK_ABOUT)) {
                return Woke::Interrupted;
            }
            if tell() {
                return Woke::Over;
            }
        }
    }

    /// Waits until all nodes have settled everything that was accepted; says whether they have.
    pub fn drain(&self, span: Duration, interrupt: &Interrupt) -> bool {
        let until = self.clock.now() + span;
        let accepted = self.flow.counts().accepted;
        let settled = |seen: &Seen| seen.rows.iter().all(|&rows| rows >= accepted);
        loop {
            let rest = self.clock.until(until);
            if self.board().wait(rest.min(LOOK_ABOUT), settled) {
                return true;
            }
            if rest.is_zero() || interrupt.is_raised() || self.broken().is_some() {
                return false;
            }
        }
    }

    /// Loads the chain for about a second: roughly how many transactions per second it settles. `None` if it settled
    /// too little to tell, or was interrupted.
    pub fn probe(&mut self, in_flight_max: u64, interrupt: &Interrupt) -> Result<Option<f64>, SessionError> {
        let start = self.clock.now();
        self.go(|_| Pace::Saturate { in_flight_max })?;
        let mut until = start + PROBE;
        while self.clock.now() < until && !interrupt.is_raised() && self.broken().is_none() {
            self.board().wait(LOOK_ABOUT.min(self.clock.until(until)), |_| false);
            let idle = self.flow.is_dry() && {
                let accepted = self.flow.counts().accepted;
                self.board().read(|seen| seen.rows.iter().any(|&rows| rows >= accepted))
            };
            if idle {
                until = self.clock.now();
            }
        }
        self.halt();
        let notices = self.board().read(|seen| seen.notices.clone());
        let full = |node: &Vec<_>| -> Option<f64> {
            let mut full = node.iter().filter(|notice: &&crate::wire::client::BlockNotice| notice.rows > 0);
            let first = full.next()?;
            let (rows, last) = full.fold((0, first.durable), |(rows, _), notice| {
                (rows + u64::from(notice.rows), notice.durable)
            });
            let span = last.since(first.durable);
            (rows > 0 && !span.is_zero()).then(|| rows as f64 / span.as_secs_f64())
        };
        Ok(notices.iter().filter_map(full).reduce(f64::max))
    }

    /// Every counter now.
    pub fn mark(&self) -> Mark {
        self.cluster.refresh();
        let nodes = 0..self.cluster.size();
        let read = |counter: fn(&Metrics) -> &AtomicU64| {
            nodes.clone().map(|node| Metrics::read(counter(self.cluster.metrics(node)))).collect()
        };
        Mark {
            time: self.clock.now(),
            cpu_ns: nodes.clone().map(|node| self.cluster.metrics(node).cpu_ns()).collect(),
            sent: read(|metrics| &metrics.bytes_sent),
            received: read(|metrics| &metrics.bytes_received),
            stored: read(|metrics| &metrics.bytes_stored),
            counts: self.flow.counts(),
            process_cpu: process_cpu() + self.cluster.cpu(),
            ticks: machine::ticks(),
        }
    }

    /// What all processes of the run hold together. (A node that died holds nothing.)
    pub fn holdings(&self) -> Holdings {
        let others = self.cluster.processes().into_iter();
        let alive = others.zip(0..).filter(|(_, node)| self.cluster.failure(*node).is_none());
        alive.fold(machine::holdings(None), |sum, (process, _)| sum + machine::holdings(Some(process)))
    }

    /// What each node holds, where nodes are processes of their own. (A node that died holds nothing.)
    pub fn node_holdings(&self) -> Vec<Holdings> {
        let processes = self.cluster.processes().into_iter().zip(0..);
        let of = |(process, node)| match self.cluster.failure(node) {
            Some(_) => Holdings::default(),
            None => machine::holdings(Some(process)),
        };
        processes.map(of).collect()
    }

    /// Where every node stands.
    pub fn progress(&self) -> Vec<Progress> {
        (0..self.cluster.size()).map(|node| self.cluster.progress(node)).collect()
    }

    /// Why the run cannot go on, if a node died or a client lost its node.
    pub fn broken(&self) -> Option<String> {
        let died = |node| self.cluster.failure(node).map(|reason| format!("node {node} died: {reason}"));
        let lost = || {
            let node = self.board().read(|seen| seen.lost.iter().position(|&lost| lost))?;
            Some(format!("node {node} ended its client's subscription"))
        };
        (0..self.cluster.size()).find_map(died).or_else(|| self.flow.broken()).or_else(lost)
    }

    /// What the observers see.
    pub fn board(&self) -> &Board {
        self.observers.board()
    }

    /// The generator's counts and signals.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// The same, to hand on to a thread.
    pub fn shared_flow(&self) -> &Arc<Flow> {
        &self.flow
    }

    /// The clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The nodes.
    pub fn cluster(&self) -> &dyn Cluster {
        &*self.cluster
    }

    /// The rules of the chain.
    pub fn rules(&self) -> &Rules {
        &self.genesis.rules
    }

    /// The chain.
    pub fn chain(&self) -> ChainId {
        self.chain
    }

    /// A quorum of its committee.
    pub fn quorum(&self) -> usize {
        self.genesis.committee().quorum()
    }

    /// Rows that each lane has signed and not sent, while it is halted.
    pub fn stocks(&self) -> Vec<u64> {
        self.lanes.iter().map(Lane::stock).collect()
    }

    /// Memory that the generator needs for rows that are signed and not sent, and for the times of those sent.
    pub fn generator_bytes(&self) -> u64 {
        let of_lanes: u64 = self.lanes.iter().map(Lane::bytes).sum();
        let (stock, sent, fresh) = self.left;
        let since = self.flow.counts().fresh.saturating_sub(fresh);
        match self.running {
            Some(_) => stock.saturating_sub(since) * ROW_BYTES + (sent + since) * TIME_BYTES,
            None => of_lanes,
        }
    }

    /// Stops everything.
    pub fn finish(mut self) -> Ended {
        self.halt();
        let directories = (0..self.cluster.size()).map(|node| self.cluster.directory(node)).collect();
        let stopped = self.cluster.stop();
        let (chain, partition) = (self.chain, self.partition);
        Ended { seen: self.observers.stop(), stopped, lanes: self.lanes, directories, chain, partition }
    }
}

fn await_peers(cluster: &dyn Cluster, interrupt: &Interrupt) -> Result<(), SessionError> {
    let clock = Clock::system();
    let until = clock.now() + CONNECT_MAX;
    let others = cluster.size() - 1;
    let connected = || (0..cluster.size()).all(|node| cluster.progress(node).peers >= others);
    while !connected() && clock.now() < until {
        if let Some((node, reason)) = (0..cluster.size()).find_map(|n| cluster.failure(n).map(|why| (n, why)))
        {
            return Err(ClusterError::Start { node, reason }.into());
        }
        if interrupt.wait(Duration::from_millis(10)) {
            return Err(SessionError::Interrupted);
        }
    }
    // Whoever is not connected by now shows in the verdict, which names it.
    Ok(())
}
