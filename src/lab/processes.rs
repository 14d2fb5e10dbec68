//! A chain whose nodes are processes of their own, seen from outside: each is `throng node` with a configuration file, and
//! what it does is told over a line (see [`super::attached`]) and mirrored here.
//!
//! - Upon a start: the ports are bound first, then the files are written, then the processes are started and given their ports.
//! - Upon the end of a child that nobody asked for: that is a node that died, with what it said last, or its exit status.
//! - Upon a stop, a drop or an error: every child is asked to stop by the end of its line, and killed if it takes too long. A
//!   child whose parent is gone stops by itself for the same reason. Each is in a process group of its own, so that Ctrl-C at a
//!   terminal reaches the parent alone, which needs the nodes until it has its figures.

use super::Interrupt;
use super::attached::{Report, hand_over};
use super::cluster::{Cluster, ClusterError};
use crate::crypto::SigningKey;
use crate::home::{self, ConfigFile};
use crate::metrics::Metrics;
use crate::net::{NetConfig, Stopped};
use crate::node::{NodeConfig, Progress};
use crate::types::Genesis;
use crossbeam::channel::{Receiver, bounded};
use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tracing::level_filters::LevelFilter;

/// How long a child may take to run: it reads the accounts' keys and makes its files.
const START_MAX: Duration = Duration::from_secs(120);
/// How long a child may take to stop before it is killed; a node gives its own threads ten seconds.
const STOP_MAX: Duration = Duration::from_secs(20);
/// How long an answer may take; then older figures have to do.
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// How often a wait for the start looks for an interrupt.
const LOOK: Duration = Duration::from_millis(50);
/// The longest line of a child.
const LINE_BYTES_MAX: u64 = 1 << 16;

/// Children that have not been waited for: as long as one is in here, its number is no other process'.
static CHILDREN: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Kills all children and waits for their end. Only for a process that ends at once.
pub fn kill_children() {
    let children = CHILDREN.lock();
    for child in &*children {
        let _ = kill_process(*child, Signal::KILL); // it may have ended
    }
    for child in &*children {
        await_end(*child);
    }
}

/// Blocks until a child has ended, and leaves it to be waited for.
fn await_end(child: Pid) {
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while matches!(waitid(WaitId::Pid(child), ended), Err(rustix::io::Errno::INTR)) {}
}

/// How nodes are to be run.
pub struct Launch<'a> {
    /// The program: `throng`.
    pub program: &'a Path,
    /// The chain.
    pub genesis: &'a Genesis,
    /// The keys of its seats.
    pub keys: &'a [SigningKey],
    /// Their conduct.
    pub conduct: NodeConfig,
    /// Their driver.
    pub net: &'a NetConfig,
    /// Where everything is kept: `node-0` with the data of the first node, beside it `node-0.toml` and `node-0.key.toml`.
    pub dir: &'a Path,
}

/// Nodes in processes of their own, connected over TCP on loopback.
pub struct Processes {
    nodes: Vec<Node>,
    directories: Vec<PathBuf>,
}

/// One of them.
struct Node {
    id: Pid,
    peers: SocketAddr,
    clients: SocketAddr,
    line: UnixStream,
    mirror: Arc<Mirror>,
    listener: Option<JoinHandle<()>>,
    /// Disconnected once the child has ended and all is told.
    gone: Receiver<()>,
}

/// What a child has told.
#[derive(Default)]
struct Mirror {
    metrics: Metrics,
    told: Mutex<Told>,
    changed: Condvar,
}

#[derive(Default)]
struct Told {
    running: bool,
    progress: Progress,
    cpu: Duration,
    asked: u64,
    answered: u64,
    stopping: bool,
    end: Option<Result<Stopped, String>>,
}

impl Processes {
    /// Writes the files of all nodes, starts them, and waits until they run.
    ///
    /// # Errors
    /// A file, a port or a process could not be had, or a node says why it does not start; then nothing is left running.
    pub fn start(launch: &Launch<'_>, interrupt: &Interrupt) -> Result<Processes, ClusterError> {
        let count = launch.keys.len();
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(ClusterError::Listen);
        let listeners =
            (0..count).map(|_| Ok([listen()?, listen()?])).collect::<Result<Vec<_>, ClusterError>>()?;
        let address = |listener: &TcpListener| listener.local_addr().map_err(ClusterError::Listen);
        let addresses = listeners.iter().map(|[peers, clients]| Ok([address(peers)?, address(clients)?]));
        let addresses: Vec<_> = addresses.collect::<Result<_, ClusterError>>()?;
        let files = write_files(launch, &addresses)?;
        let directories = (0..count).map(|node| launch.dir.join(format!("node-{node}"))).collect();
        let mut processes = Processes { nodes: Vec::with_capacity(count), directories };
        for (node, (listeners, file)) in listeners.iter().zip(&files).enumerate() {
            let started = Node::start(node, launch.program, file, listeners, addresses[node]);
            // On an error those already started are stopped by the drop of `processes`.
            processes.nodes.push(started.map_err(|reason| ClusterError::Start { node, reason })?);
        }
        drop(listeners);
        processes.await_start(interrupt)?;
        Ok(processes)
    }

    #[allow(clippy::disallowed_methods, reason = "the deadline of a start is one of the real clock")]
    fn await_start(&self, interrupt: &Interrupt) -> Result<(), ClusterError> {
        let deadline = Instant::now() + START_MAX;
        for (node, child) in self.nodes.iter().enumerate() {
            let mut told = child.mirror.told.lock();
            while !told.running && !interrupt.is_raised() {
                let late = Instant::now() > deadline;
                let reason = match &told.end {
                    Some(Err(reason)) => reason.clone(),
                    Some(Ok(_)) => "it stopped at once".to_owned(),
                    None if late => format!("it did not run within {} s", START_MAX.as_secs()),
                    None => {
                        child.mirror.changed.wait_for(&mut told, LOOK);
                        continue;
                    }
                };
                return Err(ClusterError::Start { node, reason });
            }
        }
        Ok(())
    }

    /// Asks every child that runs to stop, and waits until it has; kills those that take too long.
    fn end(&mut self) -> Vec<Result<Stopped, String>> {
        for node in &self.nodes {
            node.mirror.told.lock().stopping = true;
            let _ = node.line.shutdown(Shutdown::Write); // it may be gone
        }
        self.nodes.drain(..).map(Node::end).collect()
    }
}

/// Writes the genesis, and for each node a key and a configuration; the configurations' paths.
fn write_files(launch: &Launch<'_>, addresses: &[[SocketAddr; 2]]) -> Result<Vec<PathBuf>, ClusterError> {
    let Launch { genesis, keys, dir, .. } = launch;
    std::fs::create_dir_all(dir).map_err(|error| ClusterError::Dir { path: dir.to_path_buf(), error })?;
    home::write_genesis(&dir.join("genesis"), genesis)?;
    let peers: Vec<String> = addresses.iter().map(|[peers, _]| peers.to_string()).collect();
    // TOML knows no larger numbers, and no chain comes as far.
    let known = |number: u64| number.min(i64::MAX as u64);
    let conduct = NodeConfig {
        snapshot_after_bytes: known(launch.conduct.snapshot_after_bytes),
        keep_blocks: launch.conduct.keep_blocks.map(known),
        ..launch.conduct
    };
    let file = |(node, (key, [listen_peers, listen_clients])): (usize, (&SigningKey, &[SocketAddr; 2]))| {
        let (name, key_name) = (format!("node-{node}"), format!("node-{node}.key.toml"));
        home::write_key(&dir.join(&key_name), key)?;
        let config = ConfigFile {
            genesis: Some("genesis".into()),
            key: Some(key_name.into()),
            dir: Some(name.clone().into()),
            listen_peers: Some(*listen_peers),
            listen_clients: Some(*listen_clients),
            peers: Some(peers.clone()),
            node: conduct,
            net: launch.net.clone(),
            ..ConfigFile::default()
        };
        let path = dir.join(format!("{name}.toml"));
        config.write(&path)?;
        Ok(path)
    };
    keys.iter().zip(addresses).enumerate().map(file).collect()
}

impl Node {
    fn start(
        node: usize,
        program: &Path,
        config: &Path,
        [peer_listener, client_listener]: &[TcpListener; 2],
        [peers, clients]: [SocketAddr; 2],
    ) -> Result<Node, String> {
        let system = |doing: &'static str| move |error: io::Error| format!("cannot {doing}: {error}");
        let (line, its) = UnixStream::pair().map_err(system("make a pair of sockets"))?;
        let reader = line.try_clone().map_err(system("share a socket"))?;
        // Before the start: what cannot be handed over then is an error of this side.
        hand_over(&line, [peer_listener, client_listener]).map_err(system("hand over sockets"))?;
        let mut command = Command::new(program);
        command.args(["node", "--attached", "--config"]).arg(config);
        match LevelFilter::current() {
            level if level >= LevelFilter::DEBUG => _ = command.arg("-vv"),
            level if level >= LevelFilter::INFO => _ = command.arg("-v"),
            _ => {}
        }
        command.stdin(Stdio::from(OwnedFd::from(its))).stdout(Stdio::null()).process_group(0);
        let child = command.spawn().map_err(|error| format!("cannot run {}: {error}", program.display()))?;
        let id = Pid::from_child(&child);
        CHILDREN.lock().push(id);
        let (mirror, (held, gone)) = (Arc::new(Mirror::default()), bounded(0));
        let told = mirror.clone();
        let follow = move || {
            follow(child, reader, &told);
            drop(held);
        };
        let thread = thread::Builder::new().name(format!("process-{node}"));
        // Without the thread the line is closed by the drops here, and the child stops.
        let listener = Some(thread.spawn(follow).map_err(system("start a thread"))?);
        Ok(Node { id, peers, clients, line, mirror, listener, gone })
    }

    /// Sends a question; [`Node::answer`] waits for the answer.
    fn ask(&self) {
        self.mirror.told.lock().asked += 1;
        let _ = (&self.line).write_all(b"?"); // it may be gone
    }

    #[allow(clippy::disallowed_methods, reason = "the deadline of an answer is one of the real clock")]
    fn answer(&self) {
        let deadline = Instant::now() + ANSWER_MAX;
        let mut told = self.mirror.told.lock();
        while told.answered < told.asked && told.end.is_none() {
            if self.mirror.changed.wait_until(&mut told, deadline).timed_out() {
                return;
            }
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.mirror.told.lock()
    }

    /// Waits for the end of a child that was asked to stop; kills it if it takes too long.
    fn end(mut self) -> Result<Stopped, String> {
        let late = self.gone.recv_timeout(STOP_MAX).is_err_and(|error| error.is_timeout());
        if late {
            let children = CHILDREN.lock();
            if children.contains(&self.id) {
                let _ = kill_process(self.id, Signal::KILL); // it may have ended meanwhile
            }
        }
        if self.listener.take().is_some_and(|listener| listener.join().is_err()) {
            return Err("the thread that listens to its process panicked".to_owned());
        }
        let end = self.told().end.take();
        match end {
            Some(end) if !late => end,
            _ => Err(format!("it did not stop within {} s and was killed", STOP_MAX.as_secs())),
        }
    }
}

/// Reads what a child tells until it says no more, then waits for its end.
fn follow(mut child: Child, line: UnixStream, mirror: &Mirror) {
    let mut reader = BufReader::new(line);
    let mut last = None;
    let trouble = loop {
        match next(&mut reader) {
            Ok(Some(report @ Report::Running { .. })) => mirror.note(report),
            Ok(Some(report)) => last = report.end(),
            Ok(None) => break None,
            Err(error) => {
                let _ = child.kill(); // whoever it is, it is no node of this version
                break Some(format!("what it tells cannot be read: {error}"));
            }
        }
    };
    let id = Pid::from_child(&child);
    await_end(id);
    let status = {
        let mut children = CHILDREN.lock();
        let status = child.wait();
        children.retain(|child| *child != id);
        status
    };
    let mut told = mirror.told.lock();
    let end = trouble.map(Err).or(last).unwrap_or_else(|| Err(silent_end(status)));
    told.end = Some(match end {
        Ok(stopped) if !told.stopping => {
            Err(format!("its process was asked to stop from outside, at height {}", stopped.height))
        }
        end => end,
    });
    mirror.changed.notify_all();
}

/// The next line of a child; `None` once it has ended.
fn next(reader: &mut BufReader<UnixStream>) -> io::Result<Option<Report>> {
    let mut line = Vec::new();
    match reader.take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
        // A line that it was killed in the middle of says nothing.
        Ok(_) if line.last() != Some(&b'\n') && (line.len() as u64) < LINE_BYTES_MAX => Ok(None),
        Ok(_) => Ok(Some(serde_json::from_slice(&line)?)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
        Err(error) => Err(error),
    }
}

/// In words, how a child ended that did not say why.
fn silent_end(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => format!("its process was ended by signal {signal}"),
            (None, Some(code)) => format!("its process ended with status {code} and did not say why"),
            (None, None) => "its process ended and did not say why".to_owned(),
        },
        Err(error) => format!("its process ended, and how is not known: {error}"),
    }
}

impl Mirror {
    fn note(&self, report: Report) {
        let Report::Running { answered, cpu_us, counters, progress } = report else { return };
        if !self.metrics.mirror(&counters) {
            tracing::warn!(count = counters.len(), "a process counts what this version does not");
        }
        let mut told = self.told.lock();
        (told.running, told.progress, told.answered) = (true, progress, answered);
        told.cpu = Duration::from_micros(cpu_us);
        self.changed.notify_all();
    }
}

impl Cluster for Processes {
    fn size(&self) -> usize {
        self.nodes.len()
    }

    fn client_address(&self, node: usize) -> SocketAddr {
        self.nodes[node].clients
    }

    fn peer_address(&self, node: usize) -> SocketAddr {
        self.nodes[node].peers
    }

    fn metrics(&self, node: usize) -> &Metrics {
        &self.nodes[node].mirror.metrics
    }

    fn progress(&self, node: usize) -> Progress {
        self.nodes[node].told().progress
    }

    fn failure(&self, node: usize) -> Option<String> {
        let told = self.nodes[node].told();
        let ended = told.end.as_ref().filter(|_| !told.stopping)?;
        Some(match ended {
            Err(reason) => reason.clone(),
            Ok(stopped) => format!("it stopped at height {}", stopped.height),
        })
    }

    fn directory(&self, node: usize) -> PathBuf {
        self.directories[node].clone()
    }

    fn refresh(&self) {
        self.nodes.iter().for_each(Node::ask);
        self.nodes.iter().for_each(Node::answer);
    }

    fn processes(&self) -> Vec<u32> {
        self.nodes.iter().map(|node| node.id.as_raw_nonzero().get().unsigned_abs()).collect()
    }

    fn cpu(&self) -> Duration {
        self.nodes.iter().map(|node| node.told().cpu).sum()
    }

    fn stop(&mut self) -> Vec<Result<Stopped, String>> {
        self.end()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for (node, stopped) in self.end().into_iter().enumerate() {
            if let Err(reason) = stopped {
                tracing::warn!(node, reason, "stopped after a failure");
            }
        }
    }
}
