//! Starting and stopping a node.

use super::State;
use super::book::Book;
use super::book_file::BookFile;
use super::clock::Clock;
use super::config::{NetConfig, NetConfigError, check_mempool, check_store};
use super::dialer::NOWHERE;
use super::disk::Disk;
use super::event_loop::{CLIENT_DOOR, EventLoop, PEER_DOOR, WAKER};
use super::listener::{Door, Listener};
use super::meet::Acquaintance;
use super::mend::Mender;
use super::names::{Name, Named, Resolve, Resolver, SystemResolver};
use super::noise::Identity;
use super::opening::{self, Opening};
use super::serve::Server;
use super::sockets::Sockets;
use super::view::NodeView;
use super::workers::{Executor, Mailbox, Report, Verifiers, panic_words};
use crate::crypto::{PreparedKey, SigningKey};
use crate::metrics::Metrics;
use crate::node::{OpenError, Progress, Setup, Shared};
use crate::store::{StoreConfig, StoreError};
use crate::types::{BlockHash, Genesis, GenesisError, Height, Root, Seat};
use crate::wire::{AddressRecord, is_callable};
use mio::{Interest, Poll, Registry, Token, Waker};
use parking_lot::Mutex;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use thiserror::Error;

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
    /// The peer addresses of all seats in order (its own included, unused); none of an observer, and of a validator that
    /// finds the others by `bootstrap`.
    pub peers: Vec<SocketAddr>,
    /// Addresses of any nodes of the chain, by which it finds others.
    pub bootstrap: Vec<SocketAddr>,
    /// Where it tells others that it is reached.
    pub announce: Option<SocketAddr>,
    /// Those of `peers` and `bootstrap`, and of itself, that are given by name, with the addresses that stand there.
    pub names: Vec<Name>,
    /// What looks those names up again.
    pub resolver: Arc<dyn Resolve>,
}

impl NodeSetup {
    /// A node on a directory and on sockets for peers and for clients, with every setting at its default, that knows of
    /// nobody yet.
    pub fn new(
        setup: Setup,
        dir: impl Into<PathBuf>,
        [peer_listener, client_listener]: [TcpListener; 2],
    ) -> NodeSetup {
        NodeSetup {
            setup,
            dir: dir.into(),
            store: StoreConfig::default(),
            net: NetConfig::default(),
            peer_listener,
            client_listener,
            peers: Vec::new(),
            bootstrap: Vec::new(),
            announce: None,
            names: Vec::new(),
            resolver: Arc::new(SystemResolver),
        }
    }
}

/// Why a node did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A setting is out of range.
    #[error("configuration: {0}")]
    Config(#[from] NetConfigError),
    /// The genesis contradicts itself.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// Nobody could act for a seat.
    #[error("genesis: the key of seat {0} is not a point of the curve, so no signature under it is valid")]
    SeatKey(usize),
    /// There must be one peer address for each seat.
    #[error("{found} peer addresses for {seats} seats: give one for each, in the order of seats")]
    Peers {
        /// How many were given.
        found: usize,
        /// How many seats there are.
        seats: usize,
    },
    /// Nobody can call it there.
    #[error("{0} is not where a node can be called: announce needs the address of one host, and a port")]
    Announce(SocketAddr),
    /// An observer has nobody to follow.
    #[error("an observer needs the address of at least one node of the chain to begin with")]
    Bootstrap,
    /// An observer has the key of a seat.
    #[error(
        "the key belongs to seat {0}: an observer needs a key of its own, or the seat would seem to be in two places"
    )]
    Observer(u16),
    /// The seat does not exist, or is another's.
    #[error("seat {0} of this genesis does not have this key")]
    Seat(u16),
    /// The data directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is on disk cannot be continued.
    #[error("{dir}: {reason}", dir = dir.display())]
    Recovery {
        /// The directory.
        dir: PathBuf,
        /// Why.
        reason: OpenError,
    },
    /// The system refused a thread or a descriptor.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was attempted.
        doing: &'static str,
        /// Its answer.
        source: io::Error,
    },
}

impl StartError {
    fn system(doing: &'static str) -> impl FnOnce(io::Error) -> StartError {
        move |source| StartError::System { doing, source }
    }
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

/// A node that runs: one event loop thread with as many helping at its sockets as are configured, an executor thread, a store
/// thread and a verification pool of its own.
/// Dropping it stops it.
pub struct RunningNode {
    client_address: SocketAddr,
    peer_address: SocketAddr,
    metrics: Arc<Metrics>,
    state: Arc<State>,
    mailbox: Arc<Mailbox>,
    thread: Option<JoinHandle<Result<Stopped, String>>>,
    view: NodeView,
    mender: Option<Mender>,
    #[cfg(test)]
    shared: Arc<Shared>,
}

impl RunningNode {
    /// Opens the directory, recovers and starts the threads. Replaying what is on disk happens in here.
    ///
    /// # Errors
    /// [`StartError`]; then no thread is left running and no file was lost.
    pub fn start(node: NodeSetup) -> Result<RunningNode, StartError> {
        check(&node)?;
        let NodeSetup { setup, dir, store, net, peer_listener, client_listener, .. } = node;
        let NodeSetup { peers, bootstrap, announce, names, resolver, .. } = node;
        let (client_address, peer_address) = (address(&client_listener)?, address(&peer_listener)?);
        let clock = Clock::start();
        let Opening { store, node, shared, last_full, mending } =
            opening::open(&setup, &dir, &store, &clock)?;
        let (seat, key) = (setup.seat, setup.key);

        let metrics = Arc::new(Metrics::default());
        let state = Arc::new(State::default());
        let poll = Poll::new().map_err(StartError::system("open an event poll"))?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(StartError::system("open a waker"))?;
        let (mailbox, reports) = Mailbox::new(waker);
        let listeners = [
            listener(poll.registry(), peer_listener, PEER_DOOR, Door::Peers)?,
            listener(poll.registry(), client_listener, CLIENT_DOOR, Door::Clients { most: net.clients_max })?,
        ];
        let registry = poll.registry().try_clone().map_err(StartError::system("share the event poll"))?;
        let identity = identity(&shared, key);
        #[cfg(test)]
        let kept = shared.clone();
        let asked = others(&peers, &bootstrap, &names, seat);
        let signers = (shared.chain, shared.seat_keys.clone());
        let mender = mending.map(|mending| Mender::start(mending, asked, signers, seat)).transpose();
        let mender = mender.map_err(StartError::system("start a thread"))?;
        let book_file = BookFile::new(dir);
        let acquaintance = acquaintance(&setup.genesis, &identity, &book_file, &bootstrap, announce, &clock);
        let (sockets, now) = (metrics.clone(), clock.now());
        let sockets = Sockets::new(registry, identity, (&peers, names), acquaintance, &net, sockets, now);
        let mut sockets = sockets.map_err(StartError::system("start a thread"))?;
        sockets.visits = state.visits.clone();
        let threads = StartError::system("start a thread");
        let verifiers = Verifiers::start(net.threads(), shared.clone(), metrics.clone(), mailbox.clone());
        let verifiers = verifiers.map_err(threads)?;
        let executor = Executor::start(shared.clone(), metrics.clone(), mailbox.clone());
        let executor = executor.map_err(StartError::system("start a thread"))?;
        let server = Server::start(store.finder(), seat, metrics.clone(), mailbox.clone());
        let server = server.map_err(StartError::system("start a thread"))?;
        let view = NodeView {
            client_address,
            shared: shared.clone(),
            metrics: metrics.clone(),
            state: state.clone(),
            finder: Arc::new(Mutex::new(store.finder())),
        };
        let resolver = Resolver::start(resolver, seat, mailbox.clone());
        let resolver = resolver.map_err(StartError::system("start a thread"))?;
        let disk = Disk::start(store, metrics.clone(), mailbox.clone())?;
        *state.progress.lock() = node.progress();
        let event_loop = EventLoop {
            poll,
            clock,
            node,
            shared,
            sockets,
            listeners,
            verifiers,
            executor,
            disk,
            server,
            resolver,
            mailbox: mailbox.clone(),
            reports,
            metrics: metrics.clone(),
            state: state.clone(),
            inputs: VecDeque::new(),
            outputs: Vec::new(),
            checks: Vec::new(),
            events: Vec::new(),
            last_full,
            moved: (Height(0), now),
            book_file,
            frozen: None,
            elsewhere: Duration::ZERO,
            counted: Duration::ZERO,
        };
        let (shown, name) = (
            state.clone(),
            match seat.taken() {
                Some(seat) => format!("node-{seat}"),
                None => "observer".to_owned(),
            },
        );
        let run = move || {
            let result = catch_unwind(AssertUnwindSafe(|| event_loop.run()));
            let result = result
                .unwrap_or_else(|panic| Err(format!("the event loop panicked: {}", panic_words(&*panic))));
            if let Err(reason) = &result {
                tracing::error!(seat = seat.0, reason, "the node stopped");
                *shown.failure.lock() = Some(reason.clone());
            }
            result
        };
        let thread = std::thread::Builder::new().name(name).spawn(run);
        let thread = Some(thread.map_err(StartError::system("start a thread"))?);
        Ok(RunningNode {
            client_address,
            peer_address,
            metrics,
            state,
            mailbox,
            thread,
            view,
            mender,
            #[cfg(test)]
            shared: kept,
        })
    }

    /// Where clients connect.
    pub fn client_address(&self) -> SocketAddr {
        self.client_address
    }

    /// Where peers connect.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer_address
    }

    /// Its counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Where it stands, as of its last turn.
    pub fn progress(&self) -> Progress {
        *self.state.progress.lock()
    }

    /// Why it died, if it did.
    pub fn failure(&self) -> Option<String> {
        self.state.failure.lock().clone()
    }

    /// What others may look at while it runs.
    pub fn view(&self) -> NodeView {
        self.view.clone()
    }

    /// Stops the threads, syncs the store, and says where the node stood; `Err`: the reason why it had died.
    pub fn stop(mut self) -> Result<Stopped, String> {
        self.join().unwrap_or_else(|| Err("the node was stopped before".to_owned()))
    }

    fn join(&mut self) -> Option<Result<Stopped, String>> {
        self.mender = None;
        let thread = self.thread.take()?;
        self.mailbox.post(Report::Stop);
        Some(thread.join().unwrap_or_else(|panic| Err(panic_words(&*panic))))
    }
}

impl Drop for RunningNode {
    fn drop(&mut self) {
        let _ = self.join();
    }
}

fn check(
    NodeSetup { setup, store, net, peers, bootstrap, announce, names, .. }: &NodeSetup,
) -> Result<(), StartError> {
    net.validate()?;
    check_mempool(setup.config.mempool_rows_max)?;
    check_store(store)?;
    setup.genesis.check()?;
    let seats = &setup.genesis.seats;
    if let Some(seat) = seats.iter().position(|seat| PreparedKey::new(&seat.key.0).is_none()) {
        return Err(StartError::SeatKey(seat));
    }
    let observes = setup.seat == Seat::NONE;
    let found = peers.len();
    let alone = bootstrap.is_empty() && names.iter().all(|name| name.of != Named::Bootstrap);
    if observes && found > 0 || !observes && found != seats.len() && (found > 0 || alone) {
        return Err(StartError::Peers { found, seats: seats.len() });
    }
    if let Some(announce) = (*announce).filter(|address| !is_callable(address)) {
        return Err(StartError::Announce(announce));
    }
    if observes && alone {
        return Err(StartError::Bootstrap);
    }
    if observes {
        let public = crate::crypto::public_key(&setup.key);
        let seat = seats.iter().position(|seat| seat.key.0 == public);
        return seat.map_or(Ok(()), |seat| Err(StartError::Observer(seat as u16)));
    }
    let own = seats.get(setup.seat.index()).is_some_and(|s| s.key.0 == crate::crypto::public_key(&setup.key));
    if own { Ok(()) } else { Err(StartError::Seat(setup.seat.0)) }
}

fn identity(shared: &Shared, key: SigningKey) -> Arc<Identity> {
    Arc::new(Identity { chain: shared.chain, seat: shared.seat, key, seats: shared.seat_keys.clone() })
}

/// What the node knows of where others are: what its file says, and the configuration.
fn acquaintance(
    genesis: &Genesis,
    identity: &Identity,
    file: &BookFile,
    bootstrap: &[SocketAddr],
    announce: Option<SocketAddr>,
    clock: &Clock,
) -> Acquaintance {
    let own = crate::crypto::public_key(&identity.key);
    let seats: Vec<[u8; 32]> = genesis.seats.iter().map(|seat| seat.key.0).collect();
    let mut book = Book::new(own, seats.iter().copied().collect(), bootstrap);
    file.read(&mut book, &identity.chain);
    let record = |address| AddressRecord::sign(&identity.key, &identity.chain, address, clock.now());
    let seed = own.first_chunk().copied().map_or(0, u64::from_le_bytes);
    Acquaintance::new(book, announce.map(record), seats, seed)
}

/// Where other nodes of the chain are reached, as the configuration says.
fn others(peers: &[SocketAddr], bootstrap: &[SocketAddr], names: &[Name], own: Seat) -> Vec<SocketAddr> {
    let named = names.iter().filter(|name| !matches!(name.of, Named::Own)).filter_map(|name| name.address);
    let seats =
        peers.iter().enumerate().filter(|(seat, _)| *seat != own.index()).map(|(_, address)| *address);
    let all: BTreeSet<SocketAddr> = seats.chain(bootstrap.iter().copied()).chain(named).collect();
    all.into_iter().filter(|address| *address != NOWHERE).collect()
}

fn address(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(StartError::system("read a listener's address"))
}

fn listener(
    registry: &Registry,
    listener: TcpListener,
    token: Token,
    door: Door,
) -> Result<Listener, StartError> {
    listener.set_nonblocking(true).map_err(StartError::system("prepare a listener"))?;
    let mut socket = mio::net::TcpListener::from_std(listener);
    let registered = registry.register(&mut socket, token, Interest::READABLE);
    registered.map_err(StartError::system("register a listener"))?;
    Ok(Listener::new(socket, door))
}

#[cfg(test)]
#[path = "running_tests.rs"]
mod tests;
