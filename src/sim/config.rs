//! What a world is made of, and why one cannot be.

use super::calibration::Calibration;
use crate::consensus::Retention;
use crate::node::NodeConfig;
use crate::types::Policy;
use crate::types::regions::{self, UnknownRegion};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// Nodes of a world at most.
pub const NODES_MAX: u16 = 1024;
/// Rows per second at most.
pub const LOAD_MAX: u64 = 1_000_000;
/// Length of a run at most: an hour of virtual time.
pub const DURATION_MS_MAX: u64 = 3_600_000;
/// Bytes of a file of input at most: more than any plan needs.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Cores of a node at most.
pub const CORES_MAX: u32 = 256;
/// The default of [`SimConfig::crypto`] is `cached` above so many nodes.
pub const REAL_CRYPTO_NODES: u16 = 16;
/// One-way latency without regions, in microseconds: one metropolitan network.
pub const LOCAL_DELAY_US: u64 = 5_000;
/// The most that the jitter adds to it, in microseconds.
pub const LOCAL_JITTER_US: u64 = 5_000;

/// How signatures are checked in the world. The modelled time of a node is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Crypto {
    /// Every node checks and decodes everything itself.
    Real,
    /// The first node that checks something checks it for all; the verdict is a pure function of the bytes, so that
    /// nothing else changes. Messages are not decoded by each receiver again.
    Cached,
}

/// A world: the same configuration and the same faults give the same trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimConfig {
    /// Nodes, all of them validators.
    pub nodes: u16,
    /// From which everything arbitrary is drawn.
    pub seed: u64,
    /// Length of the run in virtual milliseconds; longer when faults ended so late that progress is still due.
    pub duration_ms: u64,
    /// Rows that clients send per second, in all.
    pub load: u64,
    /// Accounts that send and receive them.
    pub accounts: u32,
    /// Who verifies.
    pub verify: Policy,
    /// Regions by name, to which the nodes belong in turn; none: one metropolitan network.
    pub regions: Vec<String>,
    /// What each node sends, and receives, in bits per second.
    pub bandwidth: u64,
    /// Cores of each node.
    pub cores: u32,
    /// Nodes keep little for peers that are behind, so that a short absence is a long one: in memory vertices of three
    /// collection depths and 64 executed batches, on disk what the last 64 blocks need; and the collection depth is 20
    /// rounds. Whoever lacks more catches up by blocks, or begins anew at the account table of a checkpoint.
    #[serde(default)]
    pub forgetful: bool,
    /// How signatures are checked.
    pub crypto: Crypto,
    /// What work costs.
    pub calibration: Calibration,
}

impl Default for SimConfig {
    fn default() -> SimConfig {
        SimConfig {
            nodes: 4,
            seed: 1,
            duration_ms: 30_000,
            load: 200,
            accounts: 1_000,
            verify: Policy::Quorum,
            regions: Vec::new(),
            bandwidth: 1_000_000_000,
            cores: 4,
            forgetful: false,
            crypto: Crypto::Real,
            calibration: Calibration::default(),
        }
    }
}

/// Why a world cannot be.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SimError {
    /// A number lies outside of its range.
    #[error("{name} {value} must lie between {least} and {most}")]
    Range {
        /// Which.
        name: &'static str,
        /// What was given.
        value: u64,
        /// Its least value.
        least: u64,
        /// Its greatest value.
        most: u64,
    },
    /// No such region.
    #[error(transparent)]
    Region(#[from] UnknownRegion),
    /// No such lie.
    #[error("there is no lie `{0}`: name one of {list}", list = super::lies::LIES.join(", "))]
    Lie(String),
    /// No such kind of fault or lie.
    #[error(
        "there is no fault `{0}`: name none, or some of all, honest, {faults}, and lies, {lies}",
        faults = super::plan::KINDS.join(", "),
        lies = super::lies::LIES.join(", ")
    )]
    Fault(String),
    /// A file that cannot be used.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A plan that contradicts its world.
    #[error("fault {number} of the plan: {reason}")]
    Plan {
        /// Its place in the plan, from 1.
        number: usize,
        /// Why it cannot be.
        reason: String,
    },
    /// The genesis of such a world is refused.
    #[error("{0}")]
    Genesis(String),
}

impl SimConfig {
    /// Checks every limit.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn check(&self) -> Result<(), SimError> {
        range("--nodes", self.nodes.into(), 1, NODES_MAX.into())?;
        range("--duration in ms", self.duration_ms, 100, DURATION_MS_MAX)?;
        range("--load", self.load, 0, LOAD_MAX)?;
        range("--accounts", self.accounts.into(), u64::from(self.nodes).max(2), 1 << 20)?;
        range("--bandwidth in bit/s", self.bandwidth, 1_000, 1_000_000_000_000)?;
        range("--cores", self.cores.into(), 1, CORES_MAX.into())?;
        self.calibration.check().map_err(|words| SimError::Genesis(words.to_owned()))?;
        regions::places(&self.regions)?;
        Ok(())
    }

    /// `f` of the committee.
    pub fn faulty_max(&self) -> usize {
        (usize::from(self.nodes) - 1) / 3
    }

    /// `Q` of the committee.
    pub fn quorum(&self) -> usize {
        usize::from(self.nodes) - self.faulty_max()
    }

    /// How its nodes conduct themselves.
    pub(super) fn node(&self) -> NodeConfig {
        let node = super::snapshots::node_config();
        match self.forgetful {
            true => {
                let vertices_kept = Retention { depths: 3, bytes: 0 };
                NodeConfig { vertices_kept, batches_kept: 64, keep_blocks: Some(64), ..node }
            }
            false => node,
        }
    }

    /// The length of the run.
    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.duration_ms)
    }
}

/// The text of a file of input, of 64 MiB at most.
///
/// # Errors
/// [`SimError::File`] when it cannot be read, or is longer.
pub(super) fn read_text(path: &Path) -> Result<String, SimError> {
    let refuse = |reason: String| SimError::File { path: path.to_owned(), reason };
    let mut text = String::new();
    let file = File::open(path).map_err(|error| refuse(error.to_string()))?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| refuse(error.to_string()))?;
    match text.len() as u64 > FILE_BYTES_MAX {
        true => Err(refuse(format!("is longer than {FILE_BYTES_MAX} bytes"))),
        false => Ok(text),
    }
}

pub(super) fn range(name: &'static str, value: u64, least: u64, most: u64) -> Result<(), SimError> {
    if (least..=most).contains(&value) { Ok(()) } else { Err(SimError::Range { name, value, least, most }) }
}
