//! The engine's connection between validators: Noise handshake, then sealed records.

use super::Way;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use throng::crypto::{KeySet, public_key, signing_key_from_seed};
use throng::net::{Identity, PeerLink};
use throng::types::{ChainId, Seat};
use throng::wire::Message;

/// Messages queued at once: what fits its queues.
const QUEUED: usize = 64;

pub struct Engine {
    go: Sender<(Message, usize)>,
    link: PeerLink,
    stream: TcpStream,
    buffer: Vec<u8>,
}

fn identity(seat: u8) -> Arc<Identity> {
    let key = |seat: u8| signing_key_from_seed([seat + 1; 32]);
    let seats = Arc::new(KeySet::new(&[public_key(&key(0)), public_key(&key(1))]));
    Arc::new(Identity { chain: ChainId([7; 32]), seat: Seat(seat.into()), key: key(seat), seats })
}

impl Engine {
    pub fn new() -> Engine {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut there = TcpStream::connect(listener.local_addr().expect("its address")).expect("loopback");
        let mut here = listener.accept().expect("the dialer waits").0;
        let mut links = [PeerLink::dial(identity(0), Seat(1)).expect("keys"), PeerLink::accept(identity(1))];
        let (mut buffer, mut events) = (vec![0; 256 << 10], Vec::new());
        while links.iter().any(|link| link.seat().is_none()) {
            let [dialer, acceptor] = &mut links;
            pass(dialer, acceptor, &mut there, &mut here, &mut buffer, &mut events);
            pass(acceptor, dialer, &mut here, &mut there, &mut buffer, &mut events);
        }
        for end in [&there, &here] {
            end.set_nodelay(true).expect("a socket");
        }
        let [mut sender, link] = links;
        let (go, going) = channel::<(Message, usize)>();
        std::thread::spawn(move || {
            for (message, mut left) in going {
                let payload = message.payload();
                while left > 0 {
                    let some = left.min(if message.is_bulk() { QUEUED } else { 50 * QUEUED });
                    (0..some).for_each(|_| assert!(sender.send(&message, payload.clone()), "it has room"));
                    left -= some;
                    loop {
                        sender.seal().expect("an open connection");
                        if sender.out.pending().is_empty() {
                            break;
                        }
                        let sent = there.write(sender.out.pending()).expect("loopback");
                        sender.out.consume(sent);
                    }
                }
            }
        });
        Engine { go, link, stream: here, buffer }
    }
}

/// Whatever one side has to say goes to the other.
fn pass(
    from: &mut PeerLink,
    to: &mut PeerLink,
    out: &mut TcpStream,
    into: &mut TcpStream,
    buffer: &mut [u8],
    events: &mut Vec<throng::net::PeerEvent>,
) {
    let mut left = from.out.pending().len();
    if left > 0 {
        out.write_all(from.out.pending()).expect("loopback");
        from.out.consume(left);
    }
    while left > 0 {
        let count = into.read(buffer).expect("loopback");
        to.receive(&mut buffer[..count], events).expect("an honest end");
        left -= count;
    }
}

impl Way for Engine {
    fn name(&self) -> &'static str {
        "throng, sealed"
    }

    fn run(&mut self, message: &Message, count: usize) {
        self.go.send((message.clone(), count)).expect("it waits");
        let (mut came, mut events) = (0, Vec::new());
        while came < count {
            let length = self.stream.read(&mut self.buffer).expect("loopback");
            self.link.receive(&mut self.buffer[..length], &mut events).expect("what the other end sealed");
            came += events.drain(..).count();
        }
    }
}
