//! What a connection between validators moves over loopback, beside the same bytes without encryption; and an account table
//! in pieces over such a connection, read from a file, proved, sent, received and verified, beside the connection alone.
//!
//! One thread and one connection: it writes until the socket is full, reads until it is empty, and so on, with the
//! engine's own framing, sealing and decoding. So a figure is that of one core that does the work of *both* ends; a node
//! does half of it. `stream`, and of the table `apart`, is the same between two threads, each with an end of its own, as between
//! two machines.
//!
//! `handshake` is what a whole node spends on one caller: the CPU time of its event loop, the machine apart, while callers
//! come one after the other; an accepted one has proved its identity, a refused one is turned away before any exchange of
//! keys. Sockets, and their making and closing, are part of it. `handshake/bare` is the same without a node: a thread that
//! blocks in its calls, with nothing to poll and no limits to keep.
//!
//! `turns` is what a whole node takes in from eight other validators at once, with one thread for its sockets and with two:
//! what they send was sealed beforehand, so that they do little more than the system's part of a write, but on the same
//! cores. `cpu` is the node's own CPU time for it, of all threads of the stage; the machine hears the messages, and has no
//! use for them.
//!
//! Not measured: many connections and their fairness, what the machine does with messages, a real wire.

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use throng::crypto::{KeySet, public_key, signing_key_from_seed};
use throng::metrics::{Metrics, Stage, thread_cpu};
use throng::net::{Identity, NOWHERE, NetConfig, NodeSetup, PeerEvent, PeerLink, RunningNode};
use throng::node::{NodeConfig, Setup};
use throng::types::*;
use throng::wire::{
    FRAME_HEADER_BYTES, Frame, FrameReader, Gathered, Message, TABLE_PIECE_BYTES, TablePiece, TablePieces,
    chain_id, frame_header, seal_blobs,
};
use zerocopy::IntoBytes;

const CHAIN: ChainId = ChainId([7; 32]);
/// Bytes that one read asks for, as in the event loop.
const READ_BYTES: usize = 256 << 10;

/// Both ends of a connection.
struct Pair {
    ends: [TcpStream; 2],
    buffer: Vec<u8>,
}

impl Pair {
    fn new() -> Pair {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let dialer = TcpStream::connect(listener.local_addr().expect("its address")).expect("loopback");
        let ends = [dialer, listener.accept().expect("the dialer waits").0];
        for end in &ends {
            end.set_nonblocking(true).expect("a socket");
            end.set_nodelay(true).expect("a socket");
        }
        Pair { ends, buffer: vec![0; READ_BYTES] }
    }

    /// What the socket of an end takes of `bytes`.
    fn write(&mut self, from: usize, bytes: &[u8]) -> usize {
        match self.ends[from].write(bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("loopback broke: {error}"),
        }
    }

    /// Bytes that have come to an end.
    fn read(&mut self, at: usize) -> Option<&mut [u8]> {
        match self.ends[at].read(&mut self.buffer) {
            Ok(count) if count > 0 => Some(&mut self.buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            other => panic!("loopback broke: {other:?}"),
        }
    }

    /// Moves plain bytes from one end to the other; `take` is given them as they come.
    fn move_plain(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8])) {
        let (mut sent, mut came) = (0, 0);
        while came < bytes.len() {
            sent += self.write(0, &bytes[sent..]);
            while let Some(piece) = self.read(1) {
                came += piece.len();
                take(piece);
            }
        }
    }

    /// Moves what one link has to say to the other, until so many messages have come; `take` is given them as they come.
    fn move_sealed(
        &mut self,
        links: &mut [PeerLink; 2],
        from: usize,
        messages: usize,
        mut take: impl FnMut(PeerEvent),
    ) {
        let (mut events, mut came) = (Vec::new(), 0);
        while came < messages {
            links[from].seal().expect("an open connection");
            let sent = self.write(from, links[from].out.pending());
            links[from].out.consume(sent);
            while let Some(piece) = self.read(1 - from) {
                links[1 - from].receive(piece, &mut events).expect("what the other end sealed");
                came += events.len();
                events.drain(..).for_each(&mut take);
            }
        }
    }
}

fn identity(seat: u8) -> Arc<Identity> {
    identity_of(CHAIN, seat, 2)
}

/// A seat of a chain with so many.
fn identity_of(chain: ChainId, seat: u8, seats: u8) -> Arc<Identity> {
    let key = |seat: u8| signing_key_from_seed([seat + 1; 32]);
    let keys: Vec<[u8; 32]> = (0..seats).map(|seat| public_key(&key(seat))).collect();
    Arc::new(Identity { chain, seat: Seat(seat.into()), key: key(seat), seats: Arc::new(KeySet::new(&keys)) })
}

/// A connection whose ends know each other.
fn connected() -> (Pair, [PeerLink; 2]) {
    let dialer = PeerLink::dial(identity(0), Seat(1)).expect("an exchange of keys");
    let (mut pair, mut links) = (Pair::new(), [dialer, PeerLink::accept(identity(1))]);
    let mut events: Vec<PeerEvent> = Vec::new();
    while links.iter().any(|link| link.seat().is_none()) {
        for from in [0, 1] {
            let sent = pair.write(from, links[from].out.pending());
            links[from].out.consume(sent);
            while let Some(piece) = pair.read(1 - from) {
                links[1 - from].receive(piece, &mut events).expect("an honest end");
            }
        }
    }
    (pair, links)
}

/// A message whose frame has about so many bytes.
fn small(bytes: usize) -> Message {
    Message::Frontier { began: Round(0), rounds: vec![Round(5); (bytes - FRAME_HEADER_BYTES - 12) / 8] }
}

fn bulk(bytes: usize) -> Message {
    let mut blobs = Gathered::new(512);
    blobs.gather(&vec![5; bytes]);
    let slot = (Epoch(0), Seat(0), Sequence(1));
    Message::Batch(seal_blobs(&signing_key_from_seed([1; 32]), &CHAIN, slot, blobs))
}

/// So many of a message in a row: as plain frames, and sealed.
fn bench_messages(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, message: &Message, count: usize) {
    let payload = message.payload();
    let frame = [&frame_header(message.kind(), payload.len())[..], &payload].concat();
    let (bytes, frames) = (frame.len(), frame.repeat(count));
    group.throughput(match message {
        Message::Batch(_) => Throughput::Bytes((bytes * count) as u64),
        _ => Throughput::Elements(count as u64),
    });

    let (mut pair, mut reader) = (Pair::new(), FrameReader::new(bytes));
    group.bench_function(format!("{name}/bytes={bytes}/plain"), |bench| {
        bench.iter(|| {
            let mut came = 0;
            pair.move_plain(&frames, |mut piece| {
                while let Some(Frame { kind, payload }) = reader.read(&mut piece).expect("whole frames") {
                    Message::decode(Frame { kind, payload }).expect("encoded here");
                    came += 1;
                }
            });
            assert_eq!(came, count);
        });
    });

    let (mut pair, mut links) = connected();
    group.bench_function(format!("{name}/bytes={bytes}/sealed"), |bench| {
        bench.iter(|| {
            for _ in 0..count {
                assert!(links[0].send(message, payload.clone()), "the queue has room for all of them");
            }
            pair.move_sealed(&mut links, 0, count, drop);
        });
    });
}

/// Pieces of a table that are under way at once.
const PIECES: u32 = 16;

/// A table as it lies in a file at who gives it.
struct Given {
    table: Vec<Account>,
    file: File,
    pieces: TablePieces,
    part: Vec<u8>,
}

impl Given {
    fn new(accounts: u32) -> Given {
        let key = |number: u32| *blake3::hash(&number.to_le_bytes()).as_bytes();
        let table: Vec<Account> =
            (0..accounts).map(|number| Account::new(key(number), number.into())).collect();
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(table.as_bytes()).expect("it is written");
        let read = |at: u64, out: &mut [u8]| file.read_exact_at(out, at);
        let pieces = TablePieces::new(table.as_bytes().len(), read).expect("it is read");
        Given { table, file, pieces, part: Vec::new() }
    }

    fn count(&self) -> u32 {
        (self.table.as_bytes().len() as u64).div_ceil(TABLE_PIECE_BYTES) as u32
    }

    /// As a node does it that is asked for a piece.
    fn prove(&mut self, piece: u32) -> Message {
        let place = self.pieces.place(piece);
        self.part.resize((place.end - place.start) as usize, 0);
        self.file.read_exact_at(&mut self.part, place.start).expect("it is read");
        Message::Piece(self.pieces.prove(Height(64), piece, &self.part).expect("it is as it was"))
    }
}

/// The table on its way at who takes it.
struct Taken {
    root: Root,
    table: Vec<u8>,
}

impl Taken {
    fn of(given: &Given) -> Taken {
        Taken { root: given.pieces.root(), table: vec![0; given.table.as_bytes().len()] }
    }

    fn take(&mut self, event: PeerEvent) {
        let PeerEvent::Message(Message::Piece(piece)) = event else { return };
        let proven = piece.verify(&self.root, self.table.len() as u64).expect("proved");
        proven.put_into(&mut self.table);
    }
}

/// An account table in pieces: `link` moves pieces that were proved before, and nobody looks at them; `whole` is all that
/// both sides do for them, but for the machine's own bookkeeping.
fn bench_table(group: &mut BenchmarkGroup<'_, WallTime>, accounts: u32) {
    let mut given = Given::new(accounts);
    let mut taken = Taken::of(&given);
    let count = given.count();
    let ahead: Vec<Message> = (0..count).map(|piece| given.prove(piece)).collect();
    let (mut pair, mut links) = connected();
    group.throughput(Throughput::Bytes(taken.table.len() as u64));
    group.bench_function(format!("table/accounts={accounts}/link"), |bench| {
        bench.iter(|| {
            for some in ahead.chunks(PIECES as usize) {
                some.iter().for_each(|piece| assert!(links[0].send(piece, piece.payload())));
                pair.move_sealed(&mut links, 0, some.len(), drop);
            }
        });
    });
    let mut ran = false;
    group.bench_function(format!("table/accounts={accounts}/whole"), |bench| {
        ran = true;
        bench.iter(|| {
            for first in (0..count).step_by(PIECES as usize) {
                let some = first..(first + PIECES).min(count);
                for piece in some.clone() {
                    let message = given.prove(piece);
                    assert!(links[0].send(&message, message.payload()));
                }
                pair.move_sealed(&mut links, 0, some.len(), |event| taken.take(event));
            }
        });
    });
    assert!(!ran || taken.table == given.table.as_bytes());
    bench_table_apart(group, given);
}

/// The same as `whole` with a thread for each side.
fn bench_table_apart(group: &mut BenchmarkGroup<'_, WallTime>, mut given: Given) {
    let (table, count) = (given.table.clone(), given.count());
    let mut taken = Taken::of(&given);
    let (pair, [mut sender, mut receiver]) = connected();
    let [mut there, mut here] = pair.ends;
    [&there, &here].iter().for_each(|end| end.set_nonblocking(false).expect("a socket"));
    let (go, going) = channel::<()>();
    let sending = side(move || {
        for () in going {
            for piece in 0..count {
                let message = given.prove(piece);
                assert!(sender.send(&message, message.payload()));
                send_all(&mut sender, &mut there);
            }
        }
    });
    let (mut buffer, mut events, mut ran) = (vec![0; READ_BYTES], Vec::new(), false);
    group.bench_function(format!("table/accounts={}/apart", table.len()), |bench| {
        ran = true;
        bench.iter(|| {
            go.send(()).expect("it waits");
            let mut left = count as usize;
            while left > 0 {
                let length = here.read(&mut buffer).expect("loopback");
                receiver.receive(&mut buffer[..length], &mut events).expect("what the other end sealed");
                left -= events.len();
                events.drain(..).for_each(|event| taken.take(event));
            }
        });
    });
    drop(go);
    sending.join().expect("it ends with its orders");
    assert!(!ran || taken.table == table.as_bytes());
}

/// Seals what a link has to say and writes it to a blocking socket.
fn send_all(link: &mut PeerLink, to: &mut TcpStream) {
    loop {
        // As the event loop does it: what was sealed is written before more is sealed.
        link.seal().expect("an open connection");
        let pending = link.out.pending();
        if pending.is_empty() {
            return;
        }
        let sent = to.write(pending).expect("loopback");
        link.out.consume(sent);
    }
}

/// Plain TCP without frames: the limit of what a connection moves here.
fn bench_tcp(group: &mut BenchmarkGroup<'_, WallTime>, bytes: usize, count: usize) {
    let (mut pair, sent) = (Pair::new(), vec![5; bytes * count]);
    group.throughput(Throughput::Bytes(sent.len() as u64));
    group.bench_function(format!("tcp/bytes={bytes}"), |bench| {
        bench.iter(|| pair.move_plain(&sent, |_| {}));
    });
}

/// The thread of the other side.
fn side(work: impl FnOnce() + Send + 'static) -> std::thread::JoinHandle<()> {
    std::thread::Builder::new().name("other side".to_owned()).spawn(work).expect("a thread")
}

/// Frames of about 256 KiB from one thread to another: as plain bytes, and sealed.
fn bench_stream(group: &mut BenchmarkGroup<'_, WallTime>, bytes: usize, count: usize) {
    let message = bulk(bytes);
    let payload = message.payload();
    let frame = [&frame_header(message.kind(), payload.len())[..], &payload].concat();
    let whole = frame.len();
    group.throughput(Throughput::Bytes((whole * count) as u64));

    let (pair, links) = connected();
    let [dialer, mut receiver] = links;
    let mut sender = dialer;
    let [mut there, mut here] = pair.ends;
    let blocking = |end: &TcpStream| end.set_nonblocking(false).expect("a socket");
    blocking(&there);
    blocking(&here);
    let (go, going) = channel::<usize>();
    let sending = side(move || {
        for left in going {
            for _ in 0..left {
                assert!(sender.send(&message, payload.clone()));
            }
            send_all(&mut sender, &mut there);
        }
    });
    let (mut buffer, mut events) = (vec![0; READ_BYTES], Vec::new());
    group.bench_function(format!("stream/bytes={whole}/sealed"), |bench| {
        bench.iter(|| {
            go.send(count).expect("it waits");
            let mut came = 0;
            while came < count {
                let length = here.read(&mut buffer).expect("loopback");
                receiver.receive(&mut buffer[..length], &mut events).expect("what the other end sealed");
                came += events.drain(..).count();
            }
        });
    });
    drop(go);
    sending.join().expect("it ends with its orders");

    let pair = Pair::new();
    let [mut there, mut here] = pair.ends;
    blocking(&there);
    blocking(&here);
    let (go, going) = channel::<usize>();
    let sending = side(move || {
        for left in going {
            (0..left).for_each(|_| there.write_all(&frame).expect("loopback"));
        }
    });
    group.bench_function(format!("stream/bytes={whole}/tcp"), |bench| {
        bench.iter(|| {
            go.send(count).expect("it waits");
            let mut left = whole * count;
            while left > 0 {
                left -= here.read(&mut buffer).expect("loopback");
            }
        });
    });
    drop(go);
    sending.join().expect("it ends with its orders");
}

/// Strangers that wait at a door at once.
const CALLERS_WAITING: usize = 32;

/// Who calls at a door.
#[derive(Clone, Copy)]
enum Caller {
    /// A validator that proves itself.
    Honest,
    /// Other software.
    Stranger,
    /// Whoever it is, its address is over its rate: not a byte is read.
    OverRate,
}

/// Calls again and again.
fn call(address: SocketAddr, caller: Caller, count: u64, of: &Arc<Identity>) {
    // Strangers do not wait for an answer: the door always finds what they said, as in a flood.
    let mut gone = std::collections::VecDeque::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(address).expect("loopback");
        let (mut buffer, mut events) = ([0; 4096], Vec::new());
        match caller {
            Caller::Honest => {}
            // Hung up on, it may not get all of it out.
            Caller::Stranger => _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"),
            Caller::OverRate => {}
        }
        if !matches!(caller, Caller::Honest) {
            // The few that a rate lets in are not answered either.
            stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket");
            gone.push_back(stream);
            if gone.len() > CALLERS_WAITING {
                let mut oldest = gone.pop_front().expect("they are more than none");
                let _ = oldest.read(&mut [0; 64]);
            }
            continue;
        }
        let mut link = PeerLink::dial(of.clone(), Seat(1)).expect("an exchange of keys");
        stream.write_all(link.out.pending()).expect("loopback");
        link.out.consume(link.out.pending().len());
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            link.receive(&mut buffer[..length], &mut events).expect("an honest end");
            let _ = stream.write_all(link.out.pending());
            link.out.consume(link.out.pending().len());
            if !events.is_empty() {
                break;
            }
        }
    }
}

/// What a door without a node does with callers, one after the other; its own CPU time for all of them.
fn door_cpu(listener: &TcpListener, caller: Caller, count: u64) -> Duration {
    let address = listener.local_addr().expect("its address");
    let calling = side(move || call(address, caller, count, &identity(0)));
    let identity = identity(1);
    let (mut buffer, mut events) = ([0; 4096], Vec::new());
    let mut spent = Duration::ZERO;
    for _ in 0..count {
        let before = thread_cpu();
        let (mut stream, _) = listener.accept().expect("somebody calls");
        if !matches!(caller, Caller::OverRate) {
            let mut link = PeerLink::accept(identity.clone());
            loop {
                let length = stream.read(&mut buffer).expect("loopback");
                let refused = link.receive(&mut buffer[..length], &mut events).is_err();
                stream.write_all(link.out.pending()).expect("loopback");
                link.out.consume(link.out.pending().len());
                if refused || length == 0 || !events.is_empty() {
                    break;
                }
            }
            assert_eq!(events.drain(..).count() == 1, matches!(caller, Caller::Honest));
        }
        drop(stream);
        spent += thread_cpu() - before;
    }
    calling.join().expect("it calls and ends");
    spent
}

/// A node of the last of so many seats, that knows of nobody, and its chain.
fn start(dir: &Path, seats: u8, net: NetConfig) -> (RunningNode, ChainId) {
    let seat = |number| {
        let key = public_key(&signing_key_from_seed([number + 1; 32]));
        SeatInfo { key: Key(key), fee_account: AccountNumber(1) }
    };
    let genesis = Genesis {
        name: "calls".into(),
        time: Time(1),
        rules: Rules::default(),
        seats: (0..seats).map(seat).collect(),
        accounts: vec![GenesisAccount { key: [1; 32], balance: 1 }],
    };
    let chain = chain_id(&genesis);
    let (own, key) = (Seat(u16::from(seats) - 1), signing_key_from_seed([seats; 32]));
    let setup = Setup { genesis: Arc::new(genesis), seat: own, key, config: NodeConfig::default(), seed: 1 };
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let peers = vec![NOWHERE; usize::from(seats)];
    let node = RunningNode::start(NodeSetup { net, peers, ..NodeSetup::new(setup, dir, listeners) });
    (node.expect("it starts"), chain)
}

/// A node of seat 1 that waits for calls, and the identity of the other seat.
fn node(dir: &Path, caller: Caller) -> (RunningNode, Arc<Identity>) {
    let over_rate = matches!(caller, Caller::OverRate);
    let net = NetConfig { limit_local: over_rate, handshakes_per_second: 1, ..NetConfig::default() };
    let (node, chain) = start(dir, 2, net);
    (node, identity_of(chain, 0, 2))
}

/// What a node spends on callers, one after the other.
fn node_cpu((node, of): &(RunningNode, Arc<Identity>), caller: Caller, count: u64) -> Duration {
    let metrics = node.metrics();
    let (net, refused) = (|| metrics.cpu_ns()[Stage::Net as usize], || metrics.connections_dropped());
    let (before, refused_before) = (net(), refused());
    call(node.peer_address(), caller, count, of);
    // The last ones are still under way; those within the rate are none that are refused.
    let least = if matches!(caller, Caller::Honest) { 0 } else { count.saturating_sub(8) };
    while refused() < refused_before + least {
        std::thread::yield_now();
    }
    Duration::from_nanos(net() - before)
}

fn bench_handshake(group: &mut BenchmarkGroup<'_, WallTime>) {
    group.throughput(Throughput::Elements(1));
    let callers = [
        ("accepted", Caller::Honest),
        ("refused/preface", Caller::Stranger),
        ("refused/rate", Caller::OverRate),
    ];
    for (name, caller) in callers {
        let dir = tempfile::tempdir().expect("a folder for a moment");
        let node = node(dir.path(), caller);
        group.bench_function(format!("handshake/{name}"), |bench| {
            bench.iter_custom(|count| node_cpu(&node, caller, count));
        });
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    for (name, caller) in callers {
        group.bench_function(format!("handshake/bare/{name}"), |bench| {
            bench.iter_custom(|count| door_cpu(&listener, caller, count));
        });
    }
}

/// Validators that send to one node at once.
const SENDERS: u8 = 8;

/// Connections of all of them to a node that has so many threads for its sockets.
fn senders(dir: &Path, net_threads: usize) -> (RunningNode, Vec<(TcpStream, PeerLink)>) {
    let unlimited = usize::MAX;
    let net = NetConfig { net_threads, peer_bytes_per_second: unlimited, ..NetConfig::default() };
    let (node, chain) = start(dir, SENDERS + 1, NetConfig { peer_messages_per_second: unlimited, ..net });
    let connect = |seat| {
        let of = identity_of(chain, seat, SENDERS + 1);
        let mut link = PeerLink::dial(of, Seat(SENDERS.into())).expect("an exchange of keys");
        let mut stream = TcpStream::connect(node.peer_address()).expect("loopback");
        let (mut buffer, mut events) = ([0; 4096], Vec::new());
        while link.seat().is_none() {
            stream.write_all(link.out.pending()).expect("loopback");
            link.out.consume(link.out.pending().len());
            let length = stream.read(&mut buffer).expect("loopback");
            link.receive(&mut buffer[..length], &mut events).expect("an honest end");
        }
        (stream, link)
    };
    let ends = (0..SENDERS).map(connect).collect();
    (node, ends)
}

/// So many of a message from each sender: the time until the node has read them all, and its own CPU time.
#[allow(
    clippy::disallowed_methods,
    reason = "a figure of wall-clock time, and nothing tells that bytes were read"
)]
fn turn(
    node: &RunningNode,
    ends: &mut [(TcpStream, PeerLink)],
    message: &Message,
    count: usize,
) -> (Duration, Duration) {
    let payload = message.payload();
    let sealed: Vec<Vec<u8>> = ends
        .iter_mut()
        .map(|(_, link)| {
            (0..count).for_each(|_| assert!(link.send(message, payload.clone()), "there is room for all"));
            let mut bytes = Vec::new();
            loop {
                link.seal().expect("an open connection");
                let pending = link.out.pending();
                if pending.is_empty() {
                    return bytes;
                }
                bytes.extend_from_slice(pending);
                link.out.consume(pending.len());
            }
        })
        .collect();
    let metrics = node.metrics();
    let read = || Metrics::read(&metrics.bytes_received);
    let cpu = || metrics.cpu_ns()[Stage::Net as usize];
    let goal = read() + sealed.iter().map(|bytes| bytes.len() as u64).sum::<u64>();
    let (start, cpu_before) = (Instant::now(), cpu());
    std::thread::scope(|scope| {
        for ((stream, _), bytes) in ends.iter_mut().zip(&sealed) {
            scope.spawn(move || {
                stream.write_all(bytes).expect("loopback");
                // What the node says is of no use here, but must not wait for ever.
                stream.set_nonblocking(true).expect("a socket");
                while stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {}
                stream.set_nonblocking(false).expect("a socket");
            });
        }
    });
    while read() < goal {
        std::thread::sleep(Duration::from_micros(20));
    }
    (start.elapsed(), Duration::from_nanos(cpu() - cpu_before))
}

fn bench_turns(group: &mut BenchmarkGroup<'_, WallTime>, bytes: usize, count: usize) {
    let proof = vec![5; bytes - FRAME_HEADER_BYTES - 16];
    let message = Message::Piece(TablePiece::of(Height(64), 1, &proof));
    let all = usize::from(SENDERS) * count;
    group.throughput(match bytes {
        ..1024 => Throughput::Elements(all as u64),
        _ => Throughput::Bytes((all * bytes) as u64),
    });
    for net_threads in [1, 2] {
        let dir = tempfile::tempdir().expect("a folder for a moment");
        let (node, mut ends) = senders(dir.path(), net_threads);
        for cpu in [false, true] {
            let name =
                format!("turns/bytes={bytes}/net_threads={net_threads}{}", if cpu { "/cpu" } else { "" });
            group.bench_function(name, |bench| {
                bench.iter_custom(|turns| {
                    let spent = |_| turn(&node, &mut ends, &message, count);
                    (0..turns).map(spent).map(|(wall, own)| if cpu { own } else { wall }).sum()
                });
            });
        }
    }
}

fn bench_net(criterion: &mut Criterion) {
    // Without `--bench` cargo runs this as a test, and criterion runs each function once.
    let tiny = !std::env::args().any(|arg| arg == "--bench") || std::env::args().any(|arg| arg == "--test");
    let (votes, batches) = if tiny { (3, 2) } else { (2_000, 16) };

    let mut group = criterion.benchmark_group("net");
    group.sample_size(20);
    group.measurement_time(Duration::from_secs(1));
    group.warm_up_time(Duration::from_millis(500));
    bench_messages(&mut group, "votes", &small(200), votes);
    bench_messages(&mut group, "batches", &bulk(256 << 10), batches);
    bench_tcp(&mut group, 256 << 10, batches);
    bench_stream(&mut group, 256 << 10, 4 * batches);
    bench_turns(&mut group, 200, if tiny { 20 } else { 20_000 });
    bench_turns(&mut group, 256 << 10, batches);
    bench_handshake(&mut group);
    bench_table(&mut group, if tiny { 5_000 } else { 1_000_000 });
    group.finish();
}

criterion_group!(benches, bench_net);
criterion_main!(benches);
