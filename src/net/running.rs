//! Starting and stopping a node.

use super::State;
use super::book::Book;
use super::book_file::BookFile;
use super::clock::Clock;
use super::config::{NetConfig, NetConfigError, check_mempool, check_store};
use super::disk::Disk;
use super::event_loop::{CLIENT_DOOR, EventLoop, PEER_DOOR, WAKER};
use super::listener::{Door, Listener};
use super::meet::Acquaintance;
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
use crate::wire::AddressRecord;
use mio::{Interest, Poll, Registry, Token, Waker};
use parking_lot::Mutex;
use std::collections::VecDeque;
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

/// A node that runs: one event loop thread, an executor thread, a store thread and a verification pool of its own.
/// Dropping it stops it.
pub struct RunningNode {
    client_address: SocketAddr,
    peer_address: SocketAddr,
    metrics: Arc<Metrics>,
    state: Arc<State>,
    mailbox: Arc<Mailbox>,
    thread: Option<JoinHandle<Result<Stopped, String>>>,
    view: NodeView,
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
        let Opening { store, node, shared, last_full } = opening::open(&setup, &dir, &store, &clock)?;
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
        let book_file = BookFile::new(dir);
        let acquaintance = acquaintance(&setup.genesis, &identity, &book_file, &bootstrap, announce, &clock);
        let (sockets, now) = (metrics.clone(), clock.now());
        let sockets = Sockets::new(registry, identity, (&peers, names), acquaintance, &net, sockets, now);
        let sockets = sockets.map_err(StartError::system("start a thread"))?;
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
    if let Some(announce) = (*announce).filter(|address| address.ip().is_unspecified() || address.port() == 0)
    {
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
mod tests {
    use super::*;
    use crate::crypto::{public_key, signing_key_from_seed};
    use crate::node::{Node, NodeConfig};
    use crate::store::GuardState;
    use crate::types::{
        AccountNumber, Effect, Genesis, GenesisAccount, Key, Rules, Seat, SeatInfo, Time, Witness,
    };
    use crate::wire::client::{Refusal, Reply, Request, Submission};
    use crate::wire::{self, FrameReader, Rows};
    use std::io::{Read, Write};
    use std::net::TcpStream;

    fn setup() -> Setup {
        let key = signing_key_from_seed([1; 32]);
        let public = public_key(&key);
        let genesis = Arc::new(Genesis {
            name: "one".into(),
            time: Time(1),
            rules: Rules::default(),
            seats: vec![SeatInfo { key: Key(public), fee_account: AccountNumber(1) }],
            accounts: vec![GenesisAccount { key: public, balance: 5 }],
        });
        Setup { genesis, seat: Seat(0), key, config: NodeConfig::default(), seed: 1 }
    }

    fn start(dir: &std::path::Path) -> RunningNode {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let peers = vec!["127.0.0.1:1".parse().unwrap()];
        RunningNode::start(NodeSetup { peers, ..NodeSetup::new(setup(), dir, listeners) }).unwrap()
    }

    #[test]
    fn a_node_whose_thread_fails_stops_with_the_reason_and_can_start_again() {
        let dir = tempfile::tempdir().unwrap();
        let node = start(dir.path());
        node.mailbox.post(Report::Died("the store failed: no space".to_owned()));
        let state = node.state.clone();
        assert_eq!(node.stop(), Err("the store failed: no space".to_owned()));
        assert_eq!(state.failure.lock().as_deref(), Some("the store failed: no space"));
        assert!(start(dir.path()).stop().is_ok());
    }

    /// Asks over a client's connection, and waits for the answer.
    fn ask(stream: &mut TcpStream, reader: &mut FrameReader, request: &Request) -> Reply {
        let (kind, payload) = request.encode();
        stream.write_all(&[&wire::frame_header(kind, payload.len())[..], &payload].concat()).unwrap();
        loop {
            if let Some(frame) = reader.next().unwrap() {
                return Reply::decode(&frame).unwrap();
            }
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "the node hung up");
            reader.push(&buffer[..count]);
        }
    }

    #[test]
    fn while_the_disk_is_full_clients_are_told_so_and_then_the_node_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let node = start(dir.path());
        let (mut stream, mut reader) =
            (TcpStream::connect(node.client_address()).unwrap(), FrameReader::new(1 << 20));
        let mut ask = |request: &Request| ask(&mut stream, &mut reader, request);
        assert!(matches!(ask(&Request::Hello), Reply::Welcome { .. }));
        let (effect, witness) = (Effect::transfer(1, 1, 1, 1, 1), Witness([0; 64]));
        let rows = Rows { effects: &[effect], keys: &[], witnesses: &[witness] };
        let rows = Request::Submit { id: 1, rows: Submission::pack(rows).unwrap() };
        let blobs = Request::SubmitBlobs { id: 2, blobs: wire::Blobs::pack(64, vec![1; 64]).unwrap() };
        let untaken = |refusal| Reply::Taken { id: 2, accepted: Err(refusal) };
        let refused_with = |reply: Reply| match reply {
            Reply::Submitted { id: 1, accepted: 0, refused } => refused[0].1,
            other => panic!("{other:?}"),
        };
        assert_ne!(refused_with(ask(&rows)), Refusal::DiskFull);
        assert_eq!(ask(&blobs), untaken(Refusal::Malformed), "this chain carries none");
        let lacking = StoreError::NoSpace { dir: dir.path().to_owned(), needed: 2, free: 1 };
        node.mailbox.post(Report::Room(Some(lacking)));
        while !node.progress().disk_full {
            ask(&Request::Status);
        }
        assert_eq!(refused_with(ask(&rows)), Refusal::DiskFull);
        assert_eq!(ask(&blobs), untaken(Refusal::DiskFull));
        assert_eq!(Metrics::read(&node.metrics().disk_full), 1);
        let stands = node.progress().round;
        for _ in 0..100 {
            assert!(matches!(ask(&Request::Status), Reply::Status(_)));
        }
        assert_eq!(node.progress().round, stands);
        node.mailbox.post(Report::Room(None));
        while node.progress().round <= stands {
            ask(&Request::Status);
        }
        assert_ne!(refused_with(ask(&rows)), Refusal::DiskFull);
        assert_eq!(Metrics::read(&node.metrics().disk_full), 0);
        node.stop().unwrap();
    }

    #[test]
    fn a_node_that_executes_otherwise_than_the_others_stops_and_names_block_and_seats() {
        let keys = [1, 2, 3, 4].map(|seed| signing_key_from_seed([seed; 32]));
        let seat = |key| SeatInfo { key: Key(public_key(key)), fee_account: AccountNumber(1) };
        let genesis = Arc::new(Genesis {
            name: "four".into(),
            rules: Rules { checkpoint_blocks: 2, ..Rules::default() },
            seats: keys.iter().map(seat).collect(),
            ..(*setup().genesis).clone()
        });
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let dirs = [(); 4].map(|()| tempfile::tempdir().unwrap());
        let doors = [(); 4].map(|()| bind());
        let peers: Vec<_> = doors.iter().map(|door| door.local_addr().unwrap()).collect();
        let mut nodes = Vec::new();
        for ((number, key), door) in (0..).zip(keys).zip(doors) {
            let setup = Setup { genesis: genesis.clone(), seat: Seat(number), key, ..setup() };
            let new = NodeSetup::new(setup, dirs[usize::from(number)].path(), [door, bind()]);
            nodes.push(RunningNode::start(NodeSetup { peers: peers.clone(), ..new }).unwrap());
        }
        // A payment that no block has, from the only account to itself.
        let stray = Effect::transfer(1, 1, 1, 1, 1);
        let rows = Rows { effects: &[stray], keys: &[], witnesses: &[Witness([0; 64])] };
        let mut wrong = nodes.remove(1);
        wrong.shared.ledger.execute(&[(rows, AccountNumber(1))]);
        let reason = wrong.thread.take().unwrap().join().unwrap().unwrap_err();
        assert!(reason.contains("its block ") && reason.contains("but seats "), "{reason}");
        assert_eq!(wrong.failure(), Some(reason));
        nodes.into_iter().for_each(|node| _ = node.stop().unwrap());
    }

    #[test]
    fn a_panic_in_the_pool_ends_the_node_and_not_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let mut node = start(dir.path());
        let (mailbox, metrics) = (node.mailbox.clone(), node.metrics.clone());
        let (_, shared) = Node::open(setup(), std::iter::empty(), GuardState::Missing, Time(1)).unwrap();
        let mut verifiers = Verifiers::start(1, shared, metrics, mailbox).unwrap();
        verifiers.spawn(|_| panic!("as a test"));
        drop(verifiers);
        let thread = node.thread.take().unwrap();
        assert_eq!(thread.join().unwrap(), Err("the verification pool panicked: as a test".to_owned()));
        assert!(node.failure().unwrap().contains("as a test"));
    }
}
