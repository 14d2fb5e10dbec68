//! What this machine cannot carry is refused before anything is started, with what to change.

use super::machine;
use crate::net::NetConfigError;
use crate::types::params::{ACCOUNTS_MAX, SEATS_MAX};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// Why a run is refused. Every message is one line that says what to change.
#[derive(Debug, Error)]
pub enum BadInput {
    /// Links that cannot be.
    #[error("--delay, --regions: {0}")]
    Shape(#[from] NetConfigError),
    /// So many threads cannot be.
    #[error("--net-threads: {0}")]
    NetThreads(#[source] NetConfigError),
    /// No number of nodes, or one that is no committee.
    #[error("--nodes {0}: a chain has 1 to {SEATS_MAX} nodes")]
    Nodes(usize),
    /// No number of nodes at all.
    #[error("--nodes: name at least one number of nodes, such as --nodes 1,4")]
    NoNodes,
    /// One number twice.
    #[error("--nodes names {0} twice: name each number of nodes once")]
    Twice(usize),
    /// Too few or too many accounts.
    #[error(
        "--accounts {found}: give between {least} (a sender and a receiver, one or more for each node) and {most}"
    )]
    Accounts {
        /// What was asked for.
        found: u64,
        /// The least that works.
        least: u64,
        /// The most that works.
        most: u64,
    },
    /// A span too short to measure in.
    #[error("--duration must be at least 100ms, in which a few rounds fit, such as --duration 10s")]
    NoDuration,
    /// The same before and after hostile peers.
    #[error("--calm must be at least 100ms, in which a few rounds fit, such as --calm 10s")]
    NoCalm,
    /// A rate of nothing.
    #[error("--rate must be `max` or more than 0 transactions per second")]
    NoRate,
    /// A closed loop of nothing, or one without bound.
    #[error("--in-flight {found}: give between {least} and {most} rows")]
    InFlight {
        /// What was asked for.
        found: u64,
        /// The least that works.
        least: u64,
        /// The most that works.
        most: u64,
    },
    /// Blobs too short to name themselves, or longer than a chain takes.
    #[error("--payload opaque:{found}: a blob has between {least} and {most} bytes")]
    BlobBytes {
        /// What was asked for.
        found: u32,
        /// The least that works.
        least: u32,
        /// The most that works.
        most: u32,
    },
    /// Too few peers to stress with.
    #[error("--peers {found}: give between 1 and {most}")]
    Peers {
        /// What was asked for.
        found: usize,
        /// The most.
        most: usize,
    },
    /// Nobody answers there as a node does.
    #[error("--target {address}: {reason}")]
    Target {
        /// Who was named.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// Without it nothing can be seen of the target.
    #[error("--target: name the address for clients of at least one node, as `throng up` prints it")]
    NoClientTarget,
    /// A kind for which something is missing.
    #[error("--kind {kind} needs {what}")]
    Kind {
        /// Which.
        kind: &'static str,
        /// What is missing.
        what: &'static str,
    },
    /// A file that cannot be used; its name is in the reason.
    #[error("{0}")]
    File(String),
    /// The directory holds something.
    #[error("--dir {0} is not empty: name a new or an empty directory, nothing in it was touched")]
    NotEmpty(PathBuf),
    /// The directory is not one, or cannot be made, read or written.
    #[error("--dir {path}: {reason}: name a directory that can be written")]
    Dir {
        /// Which.
        path: PathBuf,
        /// The system's words.
        reason: io::Error,
    },
    /// There is nowhere to put data that goes away after the run.
    #[error("no passing data can be kept in {path}: {reason}: set TMPDIR to a directory that can be written")]
    Temporary {
        /// Where.
        path: PathBuf,
        /// The system's words.
        reason: io::Error,
    },
    /// Not enough descriptors.
    #[error(
        "a chain of {nodes} with all its connections needs about {needed} open descriptors, and this process may have \
         {limit}: take fewer nodes or peers, or raise the limit (ulimit -n)"
    )]
    Descriptors {
        /// Nodes asked for.
        nodes: usize,
        /// Estimated need.
        needed: u64,
        /// The limit, after raising it as far as it goes.
        limit: u64,
    },
    /// Not enough memory.
    #[error(
        "this needs about {needed_mb} MB of memory and {available_mb} MB are free: take fewer nodes, fewer accounts, a \
         shorter --duration or a lower --rate"
    )]
    Memory {
        /// Estimated need.
        needed_mb: u64,
        /// What is there.
        available_mb: u64,
    },
    /// Not enough space on disk.
    #[error(
        "this needs about {needed_mb} MB on the disk of {path} and {available_mb} MB are free: name another directory \
         (--dir, or TMPDIR where no data is kept), take fewer nodes or a shorter --duration"
    )]
    Disk {
        /// Where.
        path: PathBuf,
        /// Estimated need.
        needed_mb: u64,
        /// What is there.
        available_mb: u64,
    },
}

/// What a run will need.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs {
    /// Nodes of the largest chain.
    pub nodes: usize,
    /// Whether each of them is a process of its own.
    pub apart: bool,
    /// Accounts.
    pub accounts: u64,
    /// Transactions to sign and to store, as far as known beforehand.
    pub rows: u64,
    /// Bytes of each blob, where such are sent instead; 0 with transfers.
    pub blob_bytes: u32,
    /// Connections besides those of the nodes and of their load.
    pub connections: u64,
}

/// Descriptors of a process that does nothing yet, with room for libraries.
const DESCRIPTORS_BASE: u64 = 64;
/// Of a node: listeners, poll and waker, lock, segments; both ends of three client connections.
const DESCRIPTORS_PER_NODE: u64 = 24;
/// Of a pair of nodes: both ends of a connection, and of a second one that crosses it while they connect.
const DESCRIPTORS_PER_PAIR: u64 = 4;
/// Memory of a node with full queues, threads and an open segment.
const NODE_BYTES: u64 = 64 << 20;
/// Memory of an account in a node: record, key, decompressed point, index.
const ACCOUNT_BYTES: u64 = 384;
/// Memory of an account in the generator.
const WALLET_BYTES: u64 = 64;
/// Memory of a signed row that waits, and of its time.
const ROW_BYTES: u64 = 104;
/// Memory of the time of a blob that was sent: blobs are made when they are sent.
const TIME_BYTES: u64 = 8;
/// A blob's share of headers and vertices on disk.
const BLOB_SHARE_BYTES: u64 = 2;
/// What a node keeps on disk of a transaction, its share of headers and vertices included.
const STORED_BYTES: u64 = 140;
/// What a node sets aside on disk before anything is stored: a segment in use and one being prepared.
const NODE_DISK_BYTES: u64 = 96 << 20;

impl Needs {
    /// Descriptors of one process at most.
    pub fn descriptors(&self) -> u64 {
        let nodes = self.nodes as u64;
        let pairs = if self.apart { nodes } else { nodes * nodes.saturating_sub(1) / 2 };
        // Apart, one process has one end of each.
        let ends = if self.apart { 1 } else { 2 };
        DESCRIPTORS_BASE
            + DESCRIPTORS_PER_NODE * nodes
            + DESCRIPTORS_PER_PAIR * pairs
            + ends * self.connections
    }

    /// Memory in bytes, roughly.
    pub fn memory(&self) -> u64 {
        let nodes = self.nodes as u64;
        let row_bytes = if self.blob_bytes > 0 { TIME_BYTES } else { ROW_BYTES };
        let of_accounts = self.accounts.saturating_mul(nodes * ACCOUNT_BYTES + WALLET_BYTES);
        of_accounts.saturating_add(nodes * NODE_BYTES).saturating_add(self.rows.saturating_mul(row_bytes))
    }

    /// Space on disk in bytes, roughly.
    pub fn disk(&self) -> u64 {
        let row_bytes = match self.blob_bytes {
            0 => STORED_BYTES,
            blob_bytes => u64::from(blob_bytes) + BLOB_SHARE_BYTES,
        };
        let stored = self.rows.saturating_mul(row_bytes);
        (self.nodes as u64).saturating_mul(stored.saturating_add(NODE_DISK_BYTES))
    }

    /// Refuses what does not fit this machine; raises the limit of descriptors as far as it goes.
    pub fn check(&self, dir: &Path) -> Result<(), BadInput> {
        self.check_against(machine::raise_descriptor_limit(), machine::memory_available(), space(dir), dir)
    }

    fn check_against(
        &self,
        descriptors: Option<u64>,
        memory: Option<u64>,
        disk: Option<u64>,
        dir: &Path,
    ) -> Result<(), BadInput> {
        let megabytes = |bytes: u64| bytes >> 20;
        let needed = self.descriptors();
        if let Some(limit) = descriptors.filter(|&limit| limit < needed) {
            return Err(BadInput::Descriptors { nodes: self.nodes, needed, limit });
        }
        let needed = self.memory();
        if let Some(available) = memory.filter(|&available| available < needed) {
            return Err(BadInput::Memory {
                needed_mb: megabytes(needed),
                available_mb: megabytes(available),
            });
        }
        let needed = self.disk();
        if let Some(available) = disk.filter(|&available| available < needed) {
            return Err(BadInput::Disk {
                path: dir.to_owned(),
                needed_mb: megabytes(needed),
                available_mb: megabytes(available),
            });
        }
        Ok(())
    }
}

/// The shortest window: below it a saturated chain may emit no leader at all, and a verdict would blame the chain.
const DURATION_MIN: Duration = Duration::from_millis(100);

/// Checks what holds on every machine.
pub fn check_shape(nodes: &[usize], accounts: u64, duration: Duration) -> Result<(), BadInput> {
    if nodes.is_empty() {
        return Err(BadInput::NoNodes);
    }
    if let Some(&bad) = nodes.iter().find(|&&count| !(1..=SEATS_MAX).contains(&count)) {
        return Err(BadInput::Nodes(bad));
    }
    if let Some((_, &twice)) = nodes.iter().enumerate().find(|(place, count)| nodes[..*place].contains(count))
    {
        return Err(BadInput::Twice(twice));
    }
    let least = nodes.iter().copied().max().unwrap_or(1).max(2) as u64;
    let most = u64::from(ACCOUNTS_MAX) - 1;
    if !(least..=most).contains(&accounts) {
        return Err(BadInput::Accounts { found: accounts, least, most });
    }
    check_duration(duration)
}

/// Refuses a window that is too short to measure in.
pub fn check_duration(duration: Duration) -> Result<(), BadInput> {
    if duration < DURATION_MIN { Err(BadInput::NoDuration) } else { Ok(()) }
}

/// The same for the time before and after hostile peers.
pub fn check_calm(calm: Duration) -> Result<(), BadInput> {
    if calm < DURATION_MIN { Err(BadInput::NoCalm) } else { Ok(()) }
}

/// Makes the directory if it is missing, and refuses one that is not empty or cannot be written.
pub fn claim_dir(path: &Path) -> Result<(), BadInput> {
    let fail = |reason| BadInput::Dir { path: path.to_owned(), reason };
    fs::create_dir_all(path).map_err(fail)?;
    if fs::read_dir(path).map_err(fail)?.next().is_some() {
        return Err(BadInput::NotEmpty(path.to_owned()));
    }
    // A file that is made and goes away again tells more than permission bits.
    tempfile::tempfile_in(path).map(drop).map_err(fail)
}

/// Refuses a place for passing data that is missing or cannot be written.
pub fn check_temporary(path: &Path) -> Result<(), BadInput> {
    let fail = |reason| BadInput::Temporary { path: path.to_owned(), reason };
    tempfile::tempdir_in(path).and_then(tempfile::TempDir::close).map_err(fail)
}

/// The directory itself, or the nearest one above it that exists: it lies on the same disk once it is made.
pub fn existing(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."))
}

fn space(dir: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_no_machine_can_run_is_refused_with_what_to_change() {
        let refusal =
            |nodes: &[usize], accounts, span| check_shape(nodes, accounts, span).unwrap_err().to_string();
        assert!(refusal(&[], 10, SECOND).contains("--nodes"));
        assert!(refusal(&[1, 0], 10, SECOND).contains("1 to 1024"));
        assert!(refusal(&[1025], 2000, SECOND).contains("1 to 1024"));
        assert!(refusal(&[4, 1, 4], 10, SECOND).contains("4 twice"));
        assert!(refusal(&[1], 1, SECOND).contains("between 2"));
        assert!(refusal(&[8], 7, SECOND).contains("between 8"));
        assert!(refusal(&[1], 1 << 24, SECOND).contains("16777215"));
        assert!(refusal(&[1], 10, Duration::ZERO).contains("--duration"));
        assert!(refusal(&[1], 10, Duration::from_millis(99)).contains("--duration"));
        check_shape(&[1, 2, 4, 8], 100_000, SECOND).unwrap();
        let calm = |span| check_calm(span).map_err(|error| error.to_string());
        assert!(calm(Duration::from_millis(99)).is_err_and(|words| words.contains("--calm")));
        assert!(calm(DURATION_MIN).is_ok());
    }

    #[test]
    fn what_this_machine_cannot_carry_is_refused() {
        let needs = Needs { nodes: 64, accounts: 1_000_000, rows: 1_000_000, ..Needs::default() };
        assert!(Needs { apart: true, ..needs }.descriptors() < needs.descriptors() / 4);
        let crowd = Needs { connections: 10_000, apart: true, ..Needs::default() };
        assert!((10_000..11_000).contains(&crowd.descriptors()));
        let here = Path::new(".");
        let check = |descriptors, memory, disk| needs.check_against(descriptors, memory, disk, here);
        assert!(matches!(check(Some(1024), None, None), Err(BadInput::Descriptors { nodes: 64, .. })));
        assert!(matches!(check(None, Some(1 << 30), None), Err(BadInput::Memory { .. })));
        assert!(matches!(check(None, None, Some(1 << 30)), Err(BadInput::Disk { .. })));
        check(None, None, None).unwrap();
        check(Some(20_000), Some(1 << 40), Some(1 << 40)).unwrap();
        let huge = Needs { rows: u64::MAX, accounts: u64::MAX, ..needs };
        assert_eq!((huge.memory(), huge.disk()), (u64::MAX, u64::MAX));
    }

    #[test]
    fn a_directory_with_anything_in_it_is_refused_and_left_alone() {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("made/on/the/way");
        claim_dir(&dir).unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        let file = dir.join("precious");
        fs::write(&file, "kept").unwrap();
        assert!(matches!(claim_dir(&dir), Err(BadInput::NotEmpty(_))));
        assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
        assert!(matches!(claim_dir(&file), Err(BadInput::Dir { .. })));
        assert!(matches!(check_temporary(&file), Err(BadInput::Temporary { .. })));
        check_temporary(&dir).unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        assert_eq!((existing(&dir.join("a/b")), existing(Path::new("no/such"))), (&*dir, Path::new(".")));
    }
}
