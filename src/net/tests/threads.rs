//! Reading and writing on several threads: what comes out is what comes out of one.

use super::*;
use crate::metrics::{Dismissal, Stage};
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
