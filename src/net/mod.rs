//! The driver: mio, connections, threads, clock.

use crate::metrics::Metrics;
use crate::node::{Progress, Setup};
use crate::store::StoreConfig;
use crate::types::{BlockHash, Height, Root};
use serde::{Deserialize, Serialize};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;

/// The driver's own limits and sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetConfig {
    /// Threads of the verification pool; 0 stands for one per core.
    pub verify_threads: usize,
}

impl Default for NetConfig {
    fn default() -> NetConfig {
        NetConfig { verify_threads: 0 }
    }
}

/// Everything that a node needs to run on sockets and disk.
pub struct NodeSetup {
    /// Who it is.
    pub setup: Setup,
    /// Its data directory; made if missing.
    pub dir: PathBuf,
    /// Its block files.
    pub store: StoreConfig,
    /// The driver's own.
    pub net: NetConfig,
    /// Bound before the start, so that port 0 works: for peers.
    pub peer_listener: TcpListener,
    /// Bound before the start: for clients.
    pub client_listener: TcpListener,
    /// The peer addresses of all seats in order (its own included, unused).
    pub peers: Vec<SocketAddr>,
}

/// Why a node did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// to be filled
    #[error("{0}")]
    Other(String),
}

/// Where a node stood when it stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// The last durable block.
    pub height: Height,
    /// Its hash.
    pub hash: BlockHash,
    /// The last block that executed a row.
    pub last_full: Height,
    /// The root of the account table after that.
    pub root: Root,
}

/// A node that runs: one event loop thread, an executor thread, a store thread and a verification pool of its own.
pub struct RunningNode {}

impl RunningNode {
    /// Opens the directory, recovers and starts the threads.
    pub fn start(setup: NodeSetup) -> Result<RunningNode, StartError> {
        Err(StartError::Other(format!("{}", setup.peers.len())))
    }

    /// Where clients connect.
    pub fn client_address(&self) -> SocketAddr {
        unreachable!()
    }

    /// Where peers connect.
    pub fn peer_address(&self) -> SocketAddr {
        unreachable!()
    }

    /// Its counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        unreachable!()
    }

    /// Where it stands, as of its last turn.
    pub fn progress(&self) -> Progress {
        Progress::default()
    }

    /// Why it died, if it did.
    pub fn failure(&self) -> Option<String> {
        None
    }

    /// Stops the threads, syncs the store, and says where the node stood; `Err`: the reason why it had died.
    pub fn stop(self) -> Result<Stopped, String> {
        Err(String::new())
    }
}
