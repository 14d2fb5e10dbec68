//! Many connections at once, large and small, in both directions: each has its turn.

use super::*;
use crate::types::{AccountNumber, Height, Round};
use crate::wire::client::Status;

/// Connections of each sort; `THRONG_CROWD` takes more.
fn crowd() -> usize {
    std::env::var("THRONG_CROWD").ok().and_then(|count| count.parse().ok()).unwrap_or(60)
}

/// A client that asks small things, and reads whatever comes.
struct Small {
    raw: Raw,
    asked: u32,
    answered: u32,
}

impl Small {
    /// Keeps a few questions under way; counts answers, which come in order.
    fn turn(&mut self) {
        while self.asked < self.answered + 4 {
            self.raw.ask(&Request::Account(AccountNumber(self.asked)));
            self.asked += 1;
        }
        assert!(!self.raw.hung_up());
        while let Some(frame) = self.raw.reader.next().unwrap() {
            assert_eq!(Reply::decode(&frame).unwrap(), Reply::Account(AccountNumber(self.answered), None));
            self.answered += 1;
        }
    }
}

/// A client that submits as much as its socket takes.
struct Large {
    raw: Raw,
    bytes: Vec<u8>,
    sent: usize,
}

impl Large {
    fn turn(&mut self) {
        while let Ok(count) = self.raw.stream.write(&self.bytes[self.sent..]) {
            self.sent = (self.sent + count) % self.bytes.len();
        }
        self.raw.hung_up();
        while self.raw.reader.next().unwrap().is_some() {}
    }
}

#[test]
fn nobody_starves_among_many_large_and_many_small_connections() {
    everybody_has_a_turn(1);
}

#[test]
fn nobody_starves_where_several_threads_read_and_write() {
    everybody_has_a_turn(3);
}

fn everybody_has_a_turn(net_threads: usize) {
    let count = crowd();
    // Validators that push batches at each other all the while: to one of them as many others as it has threads.
    let others = net_threads as u8;
    let bound: Vec<_> = (0..=others).map(|_| Side::bind()).collect();
    let peers: Vec<_> = bound.iter().map(|bound| bound[0].local_addr().unwrap()).collect();
    // Time stands still here, so that no rate may hold anybody back.
    let config = NetConfig { net_threads, client_questions_per_second: usize::MAX, ..NetConfig::default() };
    let config = NetConfig { clients_max: 2 * count, peer_bytes_per_second: usize::MAX, ..config };
    let side = |(seat, bound)| Side::with(identity(1, seat, others + 1), bound, &peers, &config);
    let mut sides: Vec<_> = (0..).zip(bound).map(side).collect();
    let mut b = sides.pop().unwrap();
    while b.sockets.peers() < sides.len() {
        b.turn();
        sides.iter_mut().for_each(|side| _ = side.turn());
    }
    while sides.iter().any(|side| side.sockets.peers() < sides.len()) {
        sides.iter_mut().for_each(|side| _ = side.turn());
    }
    b.rows = usize::MAX / 2;
    let submission = ports::submission(1000).encode();
    let bytes = [&frame_header(submission.0, submission.1.len())[..], &submission.1].concat();
    let client = |side: &mut Side| {
        let mut raw = Raw::connect(side.addresses[1]);
        raw.ask(&Request::Hello);
        side.turn();
        raw
    };
    let mut small: Vec<_> =
        (0..count).map(|_| Small { raw: client(&mut b), asked: 0, answered: 0 }).collect();
    let mut large: Vec<_> =
        (0..count).map(|_| Large { raw: client(&mut b), bytes: bytes.clone(), sent: 0 }).collect();
    let mut tokens = std::collections::BTreeMap::new();
    // Batches and small messages between this one and each of the others, in either direction.
    let (mut bulk, mut votes) = (vec![[0; 2]; sides.len()], vec![[0; 2]; sides.len()]);
    let mut number = 0;
    let goal = 20;
    let mut turns = 0;
    loop {
        small.iter_mut().for_each(Small::turn);
        large.iter_mut().for_each(Large::turn);
        number += 1;
        let messages =
            [batch(number, 2000), Message::Frontier { began: Round(0), rounds: vec![Round(number); 2] }];
        for (seat, side) in (0..).zip(&mut sides) {
            messages.iter().for_each(|message| side.send(Seat(others.into()), message));
            messages.iter().for_each(|message| b.send(Seat(seat), message));
        }
        for (place, side) in sides.iter_mut().enumerate() {
            for event in side.turn() {
                match event {
                    Event::Message { message: Message::Batch(_), .. } => bulk[place][0] += 1,
                    Event::Message { .. } => votes[place][0] += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        let mut more = Vec::new();
        for event in b.turn() {
            match event {
                Event::Message { from, message: Message::Batch(_) } => bulk[from.index()][1] += 1,
                Event::Message { from, .. } => votes[from.index()][1] += 1,
                Event::Request { client, request } => {
                    let (reply, rows) = match request {
                        Request::Account(number) => (Reply::Account(number, None), 0),
                        Request::Submit { id, rows } => {
                            *tokens.entry(client).or_insert(0) += 1;
                            let accepted = rows.rows().len() as u32;
                            (Reply::Submitted { id, accepted, refused: Vec::new() }, accepted as usize)
                        }
                        _ => continue,
                    };
                    b.sockets.reply(client, &reply, rows, b.now, &mut more);
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(more.is_empty());
        turns += 1;
        let least = |counts: &mut dyn Iterator<Item = u32>| counts.min().unwrap_or(0);
        let slowest = [
            least(&mut small.iter().map(|small| small.answered)),
            if tokens.len() == count { least(&mut tokens.values().copied()) } else { 0 },
            least(&mut bulk.iter().flatten().copied()),
            least(&mut votes.iter().flatten().copied()),
        ];
        if slowest.iter().all(|served| *served >= goal) {
            break;
        }
        assert!(
            turns < TURNS_MAX,
            "slowest small, large, bulk, votes: {slowest:?} of {goal} after {turns} turns"
        );
    }
    // Nobody got many times what the others of its sort got.
    let (least, most) = (tokens.values().min().unwrap(), tokens.values().max().unwrap());
    assert!(*most <= 8 * least.max(&goal), "submissions read from one: {least} to {most}");
}

#[test]
fn validators_and_clients_meet_over_ipv6() {
    let bind = || TcpListener::bind("[::1]:0");
    if let Err(error) = bind() {
        println!("not run: this machine has no ::1 ({error})");
        return;
    }
    let bound = [(); 2].map(|()| [(); 2].map(|()| bind().unwrap()));
    let peers: Vec<_> = bound.iter().map(|bound| bound[0].local_addr().unwrap()).collect();
    assert!(peers.iter().all(SocketAddr::is_ipv6));
    let [first, second] = bound;
    let mut a = Side::new(identity(1, 0, 2), first, &peers, 100);
    let mut b = Side::new(identity(1, 1, 2), second, &peers, 100);
    connect(&mut a, &mut b);
    let mut client = Raw::connect(b.addresses[1]);
    client.ask(&Request::Hello);
    client.ask(&Request::Status);
    let events = b.until(|event| matches!(event, Event::Request { request: Request::Status, .. }));
    let Some(Event::Request { client: token, .. }) = events.last() else { panic!() };
    let status = Reply::Status(Status { height: Height(6), ..Status::default() });
    b.sockets.reply(*token, &status, 0, b.now, &mut Vec::new());
    assert_eq!(client.reply(&mut b), status);
}
