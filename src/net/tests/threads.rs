//! Reading and writing on several threads: what comes out is what comes out of one.

use super::*;
use crate::metrics::{Dismissal, Stage};
use crate::net::clock::Clock;
use crate::net::config::LENT_LOAD_MIN;
use crate::net::io_threads::{Job, Task};
use crate::net::peer::{PeerEvent, PeerLink};
use crate::types::Round;

/// Seats of the committee; the node has the last.
const SEATS: u8 = 9;
const OWN: Seat = Seat(SEATS as u16 - 1);

/// A node that reads and writes on so many threads, with the first seats of its committee connected to it. Time stands still,
/// so that no rate may hold anybody back.
fn gathered(net_threads: usize, others: u8) -> (Side, Vec<Side>) {
    let most = usize::MAX;
    let config = NetConfig { net_threads, peer_bytes_per_second: most, ..NetConfig::default() };
    let config = NetConfig { peer_messages_per_second: most, ..config };
    let nowhere: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let mut node = Side::with(identity(1, SEATS - 1, SEATS), Side::bind(), &[nowhere; 9], &config);
    let mut peers = [nowhere; 9];
    peers[OWN.index()] = node.addresses[0];
    let side = |seat| Side::with(identity(1, seat, SEATS), Side::bind(), &peers, &config);
    let mut sides: Vec<_> = (0..others).map(side).collect();
    for _ in 0..TURNS_MAX {
        node.turn();
        sides.iter_mut().for_each(|side| _ = side.turn());
        if node.sockets.peers() == sides.len() && sides.iter().all(|side| side.sockets.peers() == 1) {
            return (node, sides);
        }
    }
    panic!("they never connected");
}

/// Whether other threads than the loop's have done anything: what the loop's own uses is counted by the loop, and there is
/// none here.
fn others_worked(node: &Side) -> bool {
    node.metrics.cpu_ns()[Stage::Net as usize] > 0
}

/// Numbers of what came on a connection, in order: of batches, and of small messages.
#[derive(Default)]
struct Came([Vec<u64>; 2]);

impl Came {
    fn note(&mut self, message: &Message) {
        match message {
            Message::Batch(batch) => self.0[0].push(batch.header.sequence.0),
            Message::Frontier { rounds, .. } => self.0[1].push(rounds[0].0),
            other => panic!("{other:?}"),
        }
    }

    fn is_all(&self, count: u64) -> bool {
        self.0.iter().all(|numbers| numbers.iter().copied().eq(1..=count))
    }
}

#[test]
fn on_any_number_of_threads_every_connection_keeps_its_order_both_ways() {
    for threads in [1, 2, 3] {
        let (mut node, mut sides) = gathered(threads, 8);
        let [mut told, mut heard] = [(); 2].map(|()| (0..8).map(|_| Came::default()).collect::<Vec<_>>());
        let mut count = 0;
        for turn in 0.. {
            assert!(turn < TURNS_MAX, "after {turn} turns not all of {count} have come");
            if count < 30 || (threads > 1 && !others_worked(&node)) {
                count += 1;
                // From some much, from others little.
                let messages = [1500, 100].map(|rows| batch(count, rows));
                let small = Message::Frontier { began: Round(0), rounds: vec![Round(count)] };
                for (seat, side) in (0..).zip(&mut sides) {
                    let large = &messages[usize::from(seat % 3 == 2)];
                    side.send(OWN, large);
                    side.send(OWN, &small);
                    node.send(Seat(seat), large);
                    node.send(Seat(seat), &small);
                }
            }
            for event in node.turn() {
                let Event::Message { from, message } = event else { panic!("{event:?}") };
                told[from.index()].note(&message);
            }
            for (side, heard) in sides.iter_mut().zip(&mut heard) {
                for event in side.turn() {
                    let Event::Message { from: OWN, message } = event else { panic!("{event:?}") };
                    heard.note(&message);
                }
            }
            if count >= 30 && told.iter().chain(&heard).all(|came| came.is_all(count)) {
                break;
            }
        }
        assert_eq!(others_worked(&node), threads > 1, "{threads} threads");
        assert_eq!(node.dropped(), 0);
    }
}

#[test]
fn jobs_come_back_in_their_order_and_connections_to_their_places() {
    let (mut node, _sides) = gathered(3, 8);
    let tokens: Vec<Token> = node.sockets.conns.tokens().collect();
    assert_eq!(tokens.len(), 8);
    for turn in 0..200 {
        let load = |place| if (place + turn) % 3 == 0 { 0 } else { LENT_LOAD_MIN };
        let jobs = |(place, token): (usize, &Token)| Job::new(*token, Task::Write(1 << 20), load(place));
        let jobs = tokens.iter().rev().enumerate().map(jobs).collect();
        let done = node.sockets.io.run(&mut node.sockets.conns, jobs);
        assert!(done.iter().map(|job| &job.token).eq(tokens.iter().rev()), "turn {turn}");
        assert!(done.iter().all(|job| job.result.is_ok() && job.bytes == 0));
        assert!(node.sockets.conns.tokens().eq(tokens.iter().copied()));
    }
    // Who has gone meanwhile has no turn.
    let gone = node.sockets.conns.remove(tokens[3]);
    let jobs = tokens.iter().map(|token| Job::new(*token, Task::Read, LENT_LOAD_MIN)).collect();
    assert_eq!(node.sockets.io.run(&mut node.sockets.conns, jobs).len(), 8);
    assert!(gone.is_some() && node.sockets.conns.get(tokens[3]).is_none());
}

/// A validator on a plain socket, known to the node.
fn by_hand(node: &mut Side, seat: u8) -> (TcpStream, PeerLink) {
    let mut link = PeerLink::dial(Arc::new(identity(1, seat, SEATS)), OWN).unwrap();
    let mut stream = TcpStream::connect(node.addresses[0]).unwrap();
    stream.set_nonblocking(true).unwrap();
    let (mut buffer, mut events) = ([0; 4096], Vec::new());
    for _ in 0..TURNS_MAX {
        let pending = link.out.pending().to_vec();
        stream.write_all(&pending).unwrap();
        link.out.consume(pending.len());
        node.turn();
        if let Ok(count) = stream.read(&mut buffer) {
            link.receive(&mut buffer[..count], &mut events).unwrap();
        }
        if let [PeerEvent::Opened(OWN), ..] = events[..] {
            return (stream, link);
        }
    }
    panic!("it was never let in");
}

/// Fills the sockets of a node with batches before it has its first turn: how many bytes it reads then in all, and how long
/// that takes.
fn drain(net_threads: usize) -> (u64, Duration) {
    let (mut node, _) = gathered(net_threads, 0);
    let mut ends: Vec<_> = (0..SEATS - 1).map(|seat| by_hand(&mut node, seat)).collect();
    let (mut written, large) = (0, batch(1, 2700));
    let before = Metrics::read(&node.metrics.bytes_received);
    // Twice: with the first the sockets become as large as they get, and connections known for what they bring.
    for _ in 0..2 {
        for (stream, link) in &mut ends {
            loop {
                if link.out.pending().is_empty() {
                    assert!(link.send(&large, large.payload()));
                    link.seal().unwrap();
                }
                let Ok(count) = stream.write(link.out.pending()) else { break };
                link.out.consume(count);
                written += count as u64;
            }
        }
        let (clock, first) = (Clock::start(), Metrics::read(&node.metrics.bytes_received));
        let start = clock.now();
        let events = node.until_it(|side| Metrics::read(&side.metrics.bytes_received) == before + written);
        let took = clock.now().since(start);
        assert!(events.iter().all(|event| matches!(event, Event::Message { .. })));
        if first > before {
            return (before + written - first, took);
        }
    }
    unreachable!("the second time returns")
}

/// With `--nocapture` it tells what it measured: what reading costs without those who write.
#[test]
fn what_lies_in_the_sockets_is_read_whole_by_any_number_of_threads() {
    for net_threads in [1, 2, 3] {
        let mut rates: Vec<f64> = Vec::new();
        for _ in 0..7 {
            let (bytes, took) = drain(net_threads);
            assert!(bytes > 0);
            rates.push(bytes as f64 / took.as_secs_f64() / 1e9);
        }
        rates.sort_by(f64::total_cmp);
        println!("net_threads {net_threads}: {:.2} GB/s, {:.2} to {:.2}", rates[3], rates[0], rates[6]);
    }
}

#[test]
fn a_bad_record_among_many_good_ones_of_the_same_turn_ends_its_own_connection_only() {
    for threads in [1, 3] {
        let (mut node, mut sides) = gathered(threads, 5);
        let (mut stream, mut link) = by_hand(&mut node, 6);
        let mut came: Vec<_> = (0..SEATS).map(|_| Came::default()).collect();
        let mut closed = Vec::new();
        let rounds = 10;
        for round in 1..=rounds {
            let (large, small) =
                (batch(round, 1500), Message::Frontier { began: Round(0), rounds: vec![Round(round)] });
            for side in &mut sides {
                side.send(OWN, &large);
                side.send(OWN, &small);
                side.turn();
            }
            // All of them lie in the node's sockets when it begins its turn; of the last one a bit is wrong.
            if round < rounds {
                assert!(link.send(&large, large.payload()) && link.send(&small, small.payload()));
                link.seal().unwrap();
                let mut bytes = link.out.pending().to_vec();
                link.out.consume(bytes.len());
                let place = bytes.len() - 20;
                bytes[place] ^= u8::from(round + 1 == rounds);
                stream.write_all(&bytes).unwrap();
            }
            for _ in 0..TURNS_MAX {
                for event in node.turn() {
                    match event {
                        Event::Message { from, message } => came[from.index()].note(&message),
                        Event::Closed(seat) => closed.push(seat),
                        other => panic!("{other:?}"),
                    }
                }
                sides.iter_mut().for_each(|side| _ = side.turn());
                let last = if round + 1 < rounds { came[6].is_all(round) } else { closed == [Seat(6)] };
                if last && came[..5].iter().all(|came| came.is_all(round)) {
                    break;
                }
            }
        }
        assert!(came[..5].iter().all(|came| came.is_all(rounds)), "{threads} threads");
        // What it had said before the bad record counts.
        assert!(came[6].0.iter().all(|numbers| numbers[..8] == [1, 2, 3, 4, 5, 6, 7, 8]));
        assert_eq!((closed, node.sockets.peers()), (vec![Seat(6)], 5));
        assert_eq!((node.dropped(), node.metrics.dismissed(Dismissal::Record)), (1, 1));
    }
}
