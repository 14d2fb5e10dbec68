//! A chain of several nodes, seen from outside.

use crate::crypto::SigningKey;
use crate::home::HomeError;
use crate::metrics::Metrics;
use crate::net::{NetConfig, NodeSetup, RunningNode, Stopped};
use crate::node::{NodeConfig, Progress, Setup};
use crate::types::{Genesis, Seat};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// What a scenario may know of the nodes that it runs on.
pub trait Cluster: Send {
    /// How many nodes there are.
    fn size(&self) -> usize;
    /// Where a node's clients connect.
    fn client_address(&self, node: usize) -> SocketAddr;
    /// Where a node's peers connect.
    fn peer_address(&self, node: usize) -> SocketAddr;
    /// A node's counters.
    fn metrics(&self, node: usize) -> &Metrics;
    /// Where a node stands.
    fn progress(&self, node: usize) -> Progress;
    /// Why a node died, if it did.
    fn failure(&self, node: usize) -> Option<String>;
    /// The directory of a node's block files.
    fn directory(&self, node: usize) -> PathBuf;
    /// Brings counters and progress up to now, where they lag behind.
    fn refresh(&self) {}
    /// The ids of the nodes' processes, where they are others than this one.
    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }
    /// CPU time of those so far.
    fn cpu(&self) -> Duration {
        Duration::ZERO
    }
    /// Stops all nodes: where each stood, or why it had died.
    fn stop(&mut self) -> Vec<Result<Stopped, String>>;
}

/// Why a cluster did not start.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// No port.
    #[error("cannot listen on 127.0.0.1: {0}")]
    Listen(io::Error),
    /// The directory for the nodes' files.
    #[error("cannot make {path}: {error}", path = path.display())]
    Dir {
        /// Which.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// A file that a node is to start from.
    #[error(transparent)]
    File(#[from] HomeError),
    /// A node did not start.
    #[error("node {node} did not start: {reason}")]
    Start {
        /// Which.
        node: usize,
        /// Why.
        reason: String,
    },
}

/// Nodes in this process, connected over TCP on loopback, each with its own threads and directory.
pub struct Local {
    nodes: Vec<RunningNode>,
    directories: Vec<PathBuf>,
}

impl Local {
    /// Starts a node per seat, with this conduct and driver each, in `dir/node-0`, `dir/node-1` and so on.
    pub fn start(
        genesis: &Arc<Genesis>,
        keys: Vec<SigningKey>,
        (config, net): (NodeConfig, &NetConfig),
        dir: &Path,
        seed: u64,
    ) -> Result<Local, ClusterError> {
        let listen = || {
            (0..keys.len())
                .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
                .collect::<io::Result<Vec<_>>>()
        };
        let peer_listeners = listen().map_err(ClusterError::Listen)?;
        let client_listeners = listen().map_err(ClusterError::Listen)?;
        let peers: Vec<_> = peer_listeners
            .iter()
            .map(TcpListener::local_addr)
            .collect::<io::Result<_>>()
            .map_err(ClusterError::Listen)?;
        let directories: Vec<_> = (0..keys.len()).map(|node| dir.join(format!("node-{node}"))).collect();
        let mut local = Local { nodes: Vec::with_capacity(keys.len()), directories };
        let listeners = peer_listeners.into_iter().zip(client_listeners);
        for (node, (key, (peer, client))) in keys.into_iter().zip(listeners).enumerate() {
            let setup = Setup {
                genesis: genesis.clone(),
                seat: Seat(node as u16),
                key,
                config,
                seed: seed.wrapping_add(node as u64),
            };
            let (net, peers) = (net.clone(), peers.clone());
            let new = NodeSetup::new(setup, &local.directories[node], [peer, client]);
            let started = RunningNode::start(NodeSetup { net, peers, ..new });
            // On an error those already started are stopped by the drop of `local`.
            local
                .nodes
                .push(started.map_err(|error| ClusterError::Start { node, reason: error.to_string() })?);
        }
        Ok(local)
    }
}

impl Cluster for Local {
    fn size(&self) -> usize {
        self.nodes.len()
    }

    fn client_address(&self, node: usize) -> SocketAddr {
        self.nodes[node].client_address()
    }

    fn peer_address(&self, node: usize) -> SocketAddr {
        self.nodes[node].peer_address()
    }

    fn metrics(&self, node: usize) -> &Metrics {
        self.nodes[node].metrics()
    }

    fn progress(&self, node: usize) -> Progress {
        self.nodes[node].progress()
    }

    fn failure(&self, node: usize) -> Option<String> {
        self.nodes[node].failure()
    }

    fn directory(&self, node: usize) -> PathBuf {
        self.directories[node].clone()
    }

    fn stop(&mut self) -> Vec<Result<Stopped, String>> {
        self.nodes.drain(..).map(RunningNode::stop).collect()
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        for (node, stopped) in self.stop().into_iter().enumerate() {
            if let Err(reason) = stopped {
                tracing::warn!(node, reason, "stopped after a failure");
            }
        }
    }
}
