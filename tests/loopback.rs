//! Whole nodes on loopback sockets and real files: they settle what clients send, agree, and go on after a restart.

#[path = "common/sockets.rs"]
mod sockets;

use sockets::*;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use throng::audit::{Options, verify};
use throng::consensus::{Retention, verify_certificate};
use throng::crypto::{KeySet, public_key};
use throng::net::{NetConfig, NodeSetup, RunningNode, StartError};
use throng::node::NodeConfig;
use throng::store::{RecordKind, Store};
use throng::types::{
    AccountNumber, Certificate, Content, Epoch, Genesis, GenesisAccount, Height, Policy, Rules, Seat,
};
use throng::wire::client::{Refusal, Reply, Request, Submission};
use throng::wire::{Blobs, Rows, chain_id, decode_certificate, encode_certificate};

fn run_and_stop(nodes: u16, policy: Policy) {
    let (chain, running) = Chain::start(nodes, policy);
    let mut clients: Vec<_> = running.iter().map(Client::connect).collect();
    let mut sent = 0;
    for (number, client) in (1..).zip(&mut clients) {
        sent += client.submit(chain.transfers(number, 1, 40));
    }
    assert_eq!(sent, 40 * u32::from(nodes));
    clients.iter_mut().for_each(|client| client.until_settled(sent));
    for (node, client) in running.iter().zip(&mut clients) {
        assert_eq!(node.failure(), None);
        client.ask(&Request::Account(AccountNumber(1)));
        let Reply::Account(_, Some(account)) = client.answer() else { panic!("no account") };
        assert_eq!(account.nonce_high.get(), 40);
        client.ask(&Request::Status);
        let Reply::Status(status) = client.answer() else { panic!("no status") };
        assert_eq!((status.accounts, status.peers), (ACCOUNTS + 1, nodes - 1));
    }
    let stopped: Vec<_> = running.into_iter().map(|node| node.stop().unwrap()).collect();
    let told: Vec<_> = clients.into_iter().map(|client| client.notices).collect();
    assert_agreed(&told, &stopped);
    assert!(stopped[0].last_full.0 > 0);
}

#[test]
fn a_chain_of_one_settles_what_it_is_sent() {
    run_and_stop(1, Policy::Quorum);
}

#[test]
fn four_nodes_settle_and_agree_with_drawn_verifiers() {
    run_and_stop(4, Policy::Quorum);
}

#[test]
fn four_nodes_settle_and_agree_when_all_verify() {
    run_and_stop(4, Policy::All);
}

#[test]
fn four_nodes_that_read_and_write_on_three_threads_settle_and_agree() {
    let bound = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let peers: Vec<_> = bound.iter().map(|listener| listener.local_addr().unwrap()).collect();
    let (dir, genesis) = (tempfile::tempdir().unwrap(), genesis(4, Policy::Quorum));
    let config = NodeConfig::default();
    let chain = Chain { genesis, dir, peers: peers.clone(), config, segment_bytes: 16 << 20 };
    let start = |(seat, listener)| {
        let setup = chain.setup(Seat(seat), &chain.path(seat), listener);
        let net = NetConfig { net_threads: 3, ..setup.net.clone() };
        RunningNode::start(NodeSetup { net, peers: peers.clone(), ..setup }).unwrap()
    };
    let running: Vec<_> = (0..).zip(bound).map(start).collect();
    let mut clients: Vec<_> = running.iter().map(Client::connect).collect();
    // Batches of such a size that there is something to share: the accounts of each client in turn, and all at once.
    let mut sent = 0;
    for first in [1, 31] {
        for (number, client) in (0..).zip(&mut clients) {
            let rows = (1..=ACCOUNTS).filter(|account| account % 4 == number);
            for account in rows {
                client.ask(&Request::Submit { id: 7, rows: chain.transfers(account, first, 30) });
                sent += 30;
            }
        }
        for client in &mut clients {
            for _ in 0..ACCOUNTS / 4 {
                assert!(matches!(client.answer(), Reply::Submitted { accepted: 30, .. }));
            }
        }
    }
    clients.iter_mut().for_each(|client| client.until_settled(sent));
    let stopped: Vec<_> = running.into_iter().map(|node| node.stop().unwrap()).collect();
    let told: Vec<_> = clients.into_iter().map(|client| client.notices).collect();
    assert_agreed(&told, &stopped);
}

#[test]
fn a_certificate_from_a_node_is_proved_by_the_keys_of_the_genesis_alone() {
    let (chain, running) = Chain::start(4, Policy::Quorum);
    let mut client = Client::connect(&running[2]);
    client.submit(chain.transfers(1, 1, 20));
    client.until_settled(20);
    let certificate = loop {
        client.ask(&Request::Certificate(Height(0)));
        match client.answer() {
            Reply::Certificate(Height(0), Some(certificate)) => break certificate,
            Reply::Certificate(Height(0), None) => {
                let notice = client.next_block();
                client.notices.push(notice);
            }
            other => panic!("{other:?}"),
        }
    };
    // Nothing but the genesis from here on.
    let genesis = genesis(4, Policy::Quorum);
    let (id, keys) = (chain_id(&genesis), KeySet::new(genesis.seats.iter().map(|seat| &seat.key.0)));
    let holds = |certificate: &Certificate| verify_certificate(certificate, &id, Epoch(0), &keys).is_ok();
    assert!(holds(&certificate) && certificate.height.0.is_multiple_of(8));
    let bytes = encode_certificate(&certificate);
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1 << (place % 8);
        assert!(!decode_certificate(&changed).is_ok_and(|changed| holds(&changed)), "byte {place}");
    }
    // It names the block that this node told of, and another node gives one of the same height and hash.
    while client.notices.last().is_none_or(|notice| notice.height < certificate.height) {
        let notice = client.next_block();
        client.notices.push(notice);
    }
    let told = client.notices.iter().find(|notice| notice.height == certificate.height).unwrap();
    assert_eq!(told.hash, certificate.hash);
    let mut other = Client::connect(&running[0]);
    let given = loop {
        other.ask(&Request::Certificate(certificate.height));
        match other.answer() {
            Reply::Certificate(_, Some(given)) => break given,
            _ => _ = other.next_block(),
        }
    };
    assert!(holds(&given));
    assert_eq!((given.height, given.hash), (certificate.height, certificate.hash));
    other.ask(&Request::Certificate(Height(7)));
    assert_eq!(other.answer(), Reply::Certificate(Height(7), None));
}

#[test]
fn who_forges_is_refused_and_others_settle_beside_it() {
    let (chain, running) = Chain::start(1, Policy::Quorum);
    let [mut honest, mut forger] = [(); 2].map(|()| Client::connect(&running[0]));
    let mut sent = 0;
    for turn in 0..20 {
        // Well-formed, from accounts that exist, and signed by somebody else.
        let (forged, other) = (chain.transfers(20, 1, 3), chain.transfers(21, 1, 3));
        let rows = Rows { witnesses: other.rows().witnesses, ..forged.rows() };
        forger.ask(&Request::Submit { id: turn, rows: Submission::pack(rows).unwrap() });
        sent += honest.submit(chain.transfers(turn as u32 % 10 + 1, 1 + turn / 10 * 20, 20));
        let Reply::Submitted { id, accepted: 0, refused } = forger.answer() else { panic!("not refused") };
        assert_eq!((id, refused), (turn, (0..3).map(|row| (row, Refusal::BadSignature)).collect()));
    }
    assert_eq!(sent, 20 * 20);
    honest.until_settled(sent);
    // Its good rows are as good as anybody's.
    assert_eq!(forger.submit(chain.transfers(20, 1, 3)), 3);
    honest.until_settled(sent + 3);
    assert!(running.into_iter().next().unwrap().stop().is_ok());
}

#[test]
fn a_chain_of_one_goes_on_after_a_stop() {
    let (chain, running) = Chain::start(1, Policy::Quorum);
    let mut client = Client::connect(&running[0]);
    client.submit(chain.transfers(1, 1, 30));
    client.until_settled(30);
    let first = running.into_iter().next().unwrap().stop().unwrap();
    let node = chain.restart(0);
    let mut client = Client::connect(&node);
    client.ask(&Request::Account(AccountNumber(1)));
    let Reply::Account(_, Some(account)) = client.answer() else { panic!("no account") };
    assert_eq!(account.nonce_high.get(), 30, "replayed");
    client.submit(chain.transfers(1, 31, 30));
    client.until_settled(30);
    let second = node.stop().unwrap();
    assert!(second.last_full > first.last_full && second.root != first.root);
    let third = chain.restart(0).stop().unwrap();
    assert_eq!((third.root, third.last_full), (second.root, second.last_full));
}

#[test]
fn a_stop_amid_work_keeps_what_was_told() {
    let (chain, running) = Chain::start(1, Policy::Quorum);
    let mut client = Client::connect(&running[0]);
    for account in 1..=20 {
        let rows = chain.transfers(account, 1, 60);
        client.ask(&Request::Submit { id: 7, rows });
    }
    while client.notices.iter().all(|notice| notice.ok == 0) {
        if let Reply::Block(notice) = client.next() {
            client.notices.push(notice);
        }
    }
    let told = client.notices.last().unwrap().height;
    let first = running.into_iter().next().unwrap().stop().unwrap();
    let second = chain.restart(0).stop().unwrap();
    assert!(first.height >= told && second.height >= first.height);
}

/// Waits until a node that came back has told of a height.
fn until_height(client: &mut Client, height: Height) {
    while client.notices.last().is_none_or(|notice| notice.height < height) {
        match client.next() {
            Reply::Block(notice) => client.notices.push(notice),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_byte_flipped_in_the_middle_of_a_log_is_made_good_by_the_others_but_not_where_there_are_none() {
    for (part, seat) in [(2, 3), (5, 1)] {
        let (chain, running) = Chain::start(4, Policy::Quorum);
        let mut running: Vec<_> = running.into_iter().map(Some).collect();
        let mut clients: Vec<_> = running.iter().flatten().map(Client::connect).collect();
        for turn in 0..4 {
            clients[0].submit(chain.transfers(1, 1 + turn * 20, 20));
            clients.iter_mut().for_each(|client| client.until_settled(20 * (turn as u32 + 1)));
        }
        running[seat].take().unwrap().stop().unwrap();
        let before = clients.remove(seat).notices;
        let file = chain.path(seat as u16).join("segment-000001.blk");
        let mut bytes = std::fs::read(&file).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        bytes[used * part / 6] ^= 0x20;
        std::fs::write(&file, &bytes).unwrap();
        let options = Options { from_height: 1, signatures: false, threads: 1 };
        let verified = verify(&chain.path(seat as u16), &options, &|_, _| false).unwrap();
        assert_eq!(verified.fault.as_ref().map(|fault| &fault.file), Some(&file));
        running[seat] = Some(chain.restart(seat as u16));
        let aside = chain.path(seat as u16).join("damaged-000001-1.blk");
        assert!(std::fs::read(&aside).unwrap() == bytes, "what was damaged is there");
        let mut returned = Client::connect(running[seat].as_ref().unwrap());
        clients[0].submit(chain.transfers(2, 1, 20));
        returned.submit(chain.transfers(4, 1, 20));
        clients.iter_mut().for_each(|client| client.until_settled(120));
        let last = clients[0].notices.iter().rfind(|notice| notice.ok > 0).unwrap().height;
        until_height(&mut returned, last);
        let stopped: Vec<_> = running.into_iter().flatten().map(|node| node.stop().unwrap()).collect();
        let mut told: Vec<_> = clients.into_iter().map(|client| client.notices).collect();
        told.extend([before, returned.notices]);
        assert_agreed(&told, &stopped);
        let options = Options { from_height: 1, signatures: true, threads: 1 };
        let verified = verify(&chain.path(seat as u16), &options, &|_, _| false).unwrap();
        assert_eq!(verified.fault, None, "the log is whole again");
    }
    let (chain, running) = Chain::start(1, Policy::Quorum);
    let mut client = Client::connect(&running[0]);
    client.submit(chain.transfers(1, 1, 40));
    client.until_settled(40);
    running.into_iter().for_each(|node| _ = node.stop().unwrap());
    let file = chain.path(0).join("segment-000001.blk");
    let mut bytes = std::fs::read(&file).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[used / 2] ^= 0x20;
    std::fs::write(&file, &bytes).unwrap();
    let refused = chain.node(0, TcpListener::bind(chain.peers[0]).unwrap()).err().unwrap().to_string();
    assert!(refused.contains("segment-000001.blk is damaged at offset"), "{refused}");
    assert!(std::fs::read(&file).unwrap() == bytes, "nothing is changed");
}

#[test]
fn one_of_four_returns_on_its_directory_and_catches_up() {
    let (chain, running) = Chain::start(4, Policy::Quorum);
    let mut running: Vec<_> = running.into_iter().map(Some).collect();
    let mut clients: Vec<_> = running.iter().flatten().map(Client::connect).collect();
    clients[0].submit(chain.transfers(1, 1, 20));
    clients.iter_mut().for_each(|client| client.until_settled(20));
    running[3].take().unwrap().stop().unwrap();
    let before = clients.pop().unwrap().notices;
    // The other three are a quorum.
    clients[1].submit(chain.transfers(2, 1, 20));
    clients.iter_mut().for_each(|client| client.until_settled(40));
    running[3] = Some(chain.restart(3));
    let mut returned = Client::connect(running[3].as_ref().unwrap());
    returned.submit(chain.transfers(4, 1, 20));
    clients.iter_mut().for_each(|client| client.until_settled(60));
    let last = clients[0].notices.iter().rfind(|notice| notice.ok > 0).unwrap().height;
    while returned.notices.last().is_none_or(|notice| notice.height < last) {
        match returned.next() {
            Reply::Block(notice) => returned.notices.push(notice),
            other => panic!("{other:?}"),
        }
    }
    let stopped: Vec<_> = running.into_iter().flatten().map(|node| node.stop().unwrap()).collect();
    let mut told: Vec<_> = clients.into_iter().map(|client| client.notices).collect();
    told.extend([before, returned.notices]);
    assert_agreed(&told, &stopped);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "it tells how fast it was")]
fn one_of_four_whose_directory_is_gone_catches_up_by_blocks_and_signs_again() {
    // Little is kept in memory, so that it lacks more than the others have there.
    let vertices_kept = Retention { depths: 3, bytes: 0 };
    let config = NodeConfig { vertices_kept, batches_kept: 16, ..NodeConfig::default() };
    let (chain, running) = Chain::start_with(4, Policy::Quorum, config);
    let mut running: Vec<_> = running.into_iter().map(Some).collect();
    let mut clients: Vec<_> = running[..3].iter().flatten().map(Client::connect).collect();
    // More on demand, to measure under load: THRONG_SUBMISSIONS=16 THRONG_ROWS=60.
    let (submissions, rows) = (on_demand("THRONG_SUBMISSIONS", 1), on_demand("THRONG_ROWS", 3));
    let (mut sent, mut turn) = (0, 0);
    let mut pay = |clients: &mut [Client]| {
        for _ in 0..submissions {
            sent += clients[0].submit(chain.transfers(turn % 20 + 1, 1 + u64::from(turn) / 20 * rows, rows));
            turn += 1;
        }
        clients.iter_mut().for_each(|client| client.until_settled(sent));
        sent
    };
    pay(&mut clients);
    running[3].take().unwrap().stop().unwrap();
    std::fs::remove_dir_all(chain.path(3)).unwrap();
    // More on demand, to measure: THRONG_ROUNDS=5000.
    let rounds = on_demand("THRONG_ROUNDS", 400);
    let begun = Instant::now();
    let mut paid = 0;
    while running[0].as_ref().unwrap().progress().emitted < rounds {
        paid = pay(&mut clients);
    }
    let away = running[0].as_ref().unwrap().progress().durable;
    assert!(away > 300, "{away}");
    let (lived, rows) = (away as f64 / begun.elapsed().as_secs_f64(), f64::from(paid) / away as f64);
    let node = chain.restart(3);
    let returned_at = Instant::now();
    let mut first = None;
    while node.progress().durable < away {
        let durable = node.progress().durable;
        if durable > 0 && first.is_none() {
            first = Some((durable, Instant::now()));
        }
        pay(&mut clients);
        assert_eq!(node.failure(), None);
    }
    let (before, since) = first.unwrap_or((0, returned_at));
    let caught_up = (away - before) as f64 / since.elapsed().as_secs_f64();
    println!(
        "the chain made {lived:.0} blocks/s of {rows:.1} rows; of {away} blocks the first came {:.2} s after the start, the \
         others at {caught_up:.0} blocks/s",
        since.duration_since(returned_at).as_secs_f64()
    );
    let mut returned = Client::connect(&node);
    loop {
        pay(&mut clients);
        let (mine, theirs) = (node.progress(), running[0].as_ref().unwrap().progress());
        assert_eq!(node.failure(), None);
        // It signs what the others name, and has what they have.
        if !mine.catching_up && mine.durable > away && mine.round + 10 > theirs.round {
            break;
        }
    }
    let last = clients[0].notices.iter().rfind(|notice| notice.ok > 0).unwrap().height;
    while returned.notices.last().is_none_or(|notice| notice.height < last) {
        match returned.next() {
            Reply::Block(notice) => returned.notices.push(notice),
            other => panic!("{other:?}"),
        }
    }
    running[3] = Some(node);
    let stopped: Vec<_> = running.into_iter().flatten().map(|node| node.stop().unwrap()).collect();
    let mut told: Vec<_> = clients.into_iter().map(|client| client.notices).collect();
    told.push(returned.notices);
    assert_agreed(&told, &stopped);
    // What it wrote is whole, and it starts on it.
    let options = Options { from_height: 1, signatures: true, threads: 1 };
    let verified = verify(&chain.path(3), &options, &|_, _| false).unwrap();
    assert_eq!(verified.fault, None);
    assert_eq!(verified.report.root, stopped[3].root.to_string());
    assert_eq!(chain.restart(3).stop().unwrap().root, stopped[3].root);
}

/// A number from the environment, for runs on demand that are larger than a test's.
fn on_demand(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(otherwise)
}

/// A chain of blobs, which fill the log fast, with a table of some pieces.
fn bulky_genesis(nodes: u16, accounts: u32) -> Arc<Genesis> {
    let mut genesis = Genesis::clone(&genesis(nodes, Policy::Quorum));
    genesis.rules = Rules { content: Content::Opaque, depth: 10, ..genesis.rules };
    let more = (ACCOUNTS + 1..=accounts).map(|number| public_key(&key_of(2, number)));
    genesis.accounts.extend(more.map(|key| GenesisAccount { key, balance: 7 }));
    genesis.check().unwrap();
    Arc::new(genesis)
}

/// Watches a node fetch an account table, until it stands at a height: of how many pieces the last one was, and how long it
/// took from the first piece that was asked for to the last that came.
#[allow(clippy::disallowed_methods, reason = "it tells how fast it was")]
fn watch_table(node: &RunningNode, height: u64) -> (usize, Duration) {
    let (mut pieces, mut since, mut span) = (0, None, Duration::ZERO);
    while node.progress().durable < height && node.failure().is_none() {
        let (here, all) = node.progress().table_pieces;
        if all > 0 {
            let since = *since.get_or_insert_with(Instant::now);
            (pieces, span) = (here.max(pieces), since.elapsed());
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    (pieces, span)
}

/// What plain bytes from one thread to another make over loopback, in MiB/s: warm memory at both ends, large reads, and a
/// connection that has carried as many bytes before.
#[allow(clippy::disallowed_methods, reason = "it tells how fast it was")]
fn link_rate(bytes: u64) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut receiver = listener.accept().unwrap().0;
    let (sent, mut read) = (vec![7; bytes as usize], vec![7; 256 << 10]);
    let mut span = Duration::ZERO;
    for _warm in [false, true] {
        let begun = Instant::now();
        std::thread::scope(|threads| {
            threads.spawn(|| sender.write_all(&sent).unwrap());
            let mut came = 0;
            while came < bytes {
                came += receiver.read(&mut read).unwrap() as u64;
            }
        });
        span = begun.elapsed();
    }
    bytes as f64 / span.as_secs_f64() / f64::from(1 << 20)
}

#[test]
#[allow(clippy::disallowed_methods, reason = "it tells how fast it was")]
fn one_of_four_whose_peers_removed_what_it_lacks_begins_anew_at_a_table_and_signs_again() {
    let config = NodeConfig {
        snapshot_after_bytes: 4 << 20,
        keep_blocks: Some(20),
        vertices_kept: Retention { depths: 3, bytes: 0 },
        batches_kept: 16,
        ..NodeConfig::default()
    };
    // More on demand, to measure: THRONG_ACCOUNTS=1000000. The log between two snapshots grows with the table.
    let accounts = on_demand("THRONG_ACCOUNTS", 20_000) as u32;
    let (frames, pause) = (u64::from(accounts / 100_000).clamp(1, 8), on_demand("THRONG_PAUSE", 0) == 1);
    let (chain, running) = Chain::start_on(bulky_genesis(4, accounts), config, 8 << 20);
    let mut running: Vec<_> = running.into_iter().map(Some).collect();
    let mut clients: Vec<_> = running[..3].iter().flatten().map(Client::connect).collect();
    let patience = PATIENCE * frames as u32;
    let mut sent = 0;
    let mut send = |clients: &mut [Client]| {
        for client in clients.iter_mut() {
            for _ in 0..frames {
                let blobs = Blobs::pack(8 << 10, vec![7; 120 << 10]).unwrap();
                client.ask(&Request::SubmitBlobs { id: 9, blobs });
            }
            for _ in 0..frames {
                let Reply::Taken { id: 9, accepted } = client.answer() else { panic!("another answer") };
                sent += accepted.unwrap().get();
            }
        }
        clients.iter_mut().for_each(|client| client.until_settled(sent));
    };
    send(&mut clients);
    running[3].take().unwrap().stop().unwrap();
    std::fs::remove_dir_all(chain.path(3)).unwrap();
    let pruned = |seat: u16| chain.path(seat).join("pruned-000002.blk").exists();
    let begun = Instant::now();
    while !(0..3).all(pruned) {
        send(&mut clients);
        assert!(begun.elapsed() < patience, "nothing is removed");
    }
    let away = running[0].as_ref().unwrap().progress().durable;
    let node = chain.restart(3);
    std::thread::scope(|threads| {
        let watch = threads.spawn(|| watch_table(&node, away));
        loop {
            // THRONG_PAUSE=1: nobody works meanwhile but those who give the table, and who takes it.
            if pause && node.progress().durable < away {
                std::thread::sleep(Duration::from_millis(20));
            } else {
                send(&mut clients);
            }
            let (mine, theirs) = (node.progress(), running[0].as_ref().unwrap().progress());
            assert_eq!(node.failure(), None);
            assert!(begun.elapsed() < 2 * patience, "{mine:?} beside {theirs:?}");
            // It signs what the others name, and has what they have.
            if !mine.catching_up && mine.durable > away && mine.round + 10 > theirs.round {
                break;
            }
        }
        let (pieces, span) = watch.join().unwrap();
        let bytes = 64 * u64::from(accounts + 1);
        let rate = bytes as f64 / span.as_secs_f64().max(1e-3) / f64::from(1 << 20);
        println!(
            "a table of {bytes} bytes, {pieces} pieces, came at {rate:.0} MiB/s; plain bytes over loopback {:.0} MiB/s",
            link_rate(bytes)
        );
    });
    // Those who serve a table have it as a file, from the same checkpoints.
    let last = clients[0].notices.iter().rfind(|notice| notice.ok > 0).unwrap().height;
    while node.progress().durable < last.0 {
        send(&mut clients[..1]);
    }
    running[3] = Some(node);
    let stopped: Vec<_> = running.into_iter().flatten().map(|node| node.stop().unwrap()).collect();
    assert!(stopped.windows(2).all(|pair| pair[0].root == pair[1].root), "{stopped:?}");
    // What it wrote is whole, says what is not there, and it starts on it.
    let options = Options { from_height: 1, signatures: true, threads: 1 };
    let verified = verify(&chain.path(3), &options, &|_, _| false).unwrap();
    assert_eq!(verified.fault, None);
    assert!(verified.report.missing > 20 && verified.report.began > 20, "{:?}", verified.report);
    assert_eq!(verified.report.root, stopped[3].root.to_string());
    assert_eq!(chain.restart(3).stop().unwrap().root, stopped[3].root);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "it waits for a thread of the node")]
fn one_of_four_that_keeps_all_gets_back_what_was_lost_below_its_snapshot_and_has_a_whole_log_again() {
    let config = NodeConfig { snapshot_after_bytes: 1 << 20, batches_kept: 16, ..NodeConfig::default() };
    let (chain, running) = Chain::start_on(bulky_genesis(4, 100), config, 8 << 20);
    let mut running: Vec<_> = running.into_iter().map(Some).collect();
    let mut clients: Vec<_> = running.iter().flatten().map(Client::connect).collect();
    let (dir, mut sent, begun) = (chain.path(3), 0, Instant::now());
    while !dir.join("segment-000003.blk").exists() || Store::snapshots(&dir).unwrap().len() < 2 {
        for client in &mut clients {
            let blobs = Blobs::pack(8 << 10, vec![7; 120 << 10]).unwrap();
            client.ask(&Request::SubmitBlobs { id: 9, blobs });
            let Reply::Taken { id: 9, accepted } = client.answer() else { panic!("another answer") };
            sent += accepted.unwrap().get();
        }
        clients.iter_mut().for_each(|client| client.until_settled(sent));
        assert!(begun.elapsed() < PATIENCE);
    }
    running[3].take().unwrap().stop().unwrap();
    // Of a batch, which fills most of it, and of a block.
    let (mut records, mut hit) = (Store::records(&dir, None).unwrap(), Vec::new());
    for wanted in [RecordKind::Batch, RecordKind::Block] {
        let mut found = records.by_ref().skip(20);
        assert!(found.any(|record| record.unwrap().0 == wanted));
        hit.push(records.place());
    }
    let file = hit[0].file(&dir);
    assert!(hit.iter().all(|place| place.segment == 1), "{hit:?}");
    let whole = std::fs::read(&file).unwrap();
    let mut bytes = whole.clone();
    hit.iter().for_each(|place| bytes[place.offset as usize + 64 + 30] ^= 0x20);
    std::fs::write(&file, &bytes).unwrap();
    let node = chain.restart(3);
    let aside = dir.join("damaged-000001-1.blk");
    while std::fs::read(&aside).unwrap() != whole {
        assert!(begun.elapsed() < 2 * PATIENCE, "it is not mended");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(node.failure(), None);
    node.stop().unwrap();
    let options = Options { from_height: 1, signatures: true, threads: 1 };
    let verified = verify(&dir, &options, &|_, _| false).unwrap();
    assert!(verified.fault.is_none() && verified.report.began > 0, "it is not taken back yet");
    running[3] = Some(chain.restart(3));
    let last = clients[0].notices.iter().rfind(|notice| notice.ok > 0).unwrap().height;
    while running[3].as_ref().unwrap().progress().durable < last.0 {
        assert!(begun.elapsed() < 3 * PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    }
    let stopped: Vec<_> = running.into_iter().flatten().map(|node| node.stop().unwrap()).collect();
    assert!(stopped.windows(2).all(|pair| pair[0].root == pair[1].root), "{stopped:?}");
    let verified = verify(&dir, &options, &|_, _| false).unwrap();
    assert_eq!((verified.fault, verified.report.missing, verified.report.began), (None, 0, 0));
    assert_eq!(verified.report.root, stopped[3].root.to_string());
    assert!(std::fs::read(&file).unwrap() == whole && !aside.exists());
}

#[test]
fn a_node_that_cannot_start_says_why_and_leaves_the_directory_alone() {
    let (chain, running) = Chain::start(1, Policy::Quorum);
    let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(matches!(chain.node(0, listener()), Err(StartError::Store(_))), "the directory is in use");
    assert!(matches!(chain.node(5, listener()), Err(StartError::Seat(5))));
    drop(running);
    let other = Chain { genesis: genesis(1, Policy::All), ..chain };
    assert!(matches!(other.node(0, listener()), Err(StartError::Store(_))), "another chain's directory");
    let lonely = Chain { peers: Vec::new(), ..other };
    assert!(matches!(lonely.node(0, listener()), Err(StartError::Peers { found: 0, seats: 1 })));
}

/// The timer that the system has on the connection between two ports of this machine, as seen from the first: its kind, and
/// in how many hundredths of a second it ends.
#[cfg(target_os = "linux")]
fn timer(from: u16, to: u16) -> Option<(u8, u64)> {
    let here = |port: u16| format!("0100007F:{port:04X}");
    let all = std::fs::read_to_string("/proc/net/tcp").expect("the system tells of its connections");
    let mut lines = all.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line = lines.find(|words| words.get(1..3) == Some(&[here(from).as_str(), here(to).as_str()]))?;
    let (kind, ends) = line.get(5)?.split_once(':')?;
    Some((u8::from_str_radix(kind, 16).ok()?, u64::from_str_radix(ends, 16).ok()?))
}

#[cfg(target_os = "linux")]
#[test]
#[allow(clippy::disallowed_methods, reason = "a timer of the system is waited for")]
fn the_system_is_told_to_find_out_whether_a_silent_client_has_vanished() {
    // A far end that vanishes without a word cannot be made without privileges: the system answers for one that is gone. So
    // it is seen only that the question is due: the timer of keepalive runs, at the node's end and not at the other.
    let (_chain, nodes) = Chain::start(1, Policy::Quorum);
    let stream = TcpStream::connect(nodes[0].client_address()).unwrap();
    let (own, node) = (stream.local_addr().unwrap().port(), nodes[0].client_address().port());
    let began = Instant::now();
    let ends = loop {
        match timer(node, own) {
            Some((2, ends)) => break ends,
            other => assert!(began.elapsed() < PATIENCE, "no timer of keepalive: {other:?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(ends <= 60 * 100, "it is asked after a minute of silence: {ends}");
    assert_eq!(timer(own, node).map(|(kind, _)| kind), Some(0), "the test's own end has none");
}
