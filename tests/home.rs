//! Who seals a row, with whole nodes on loopback sockets: its account's home, whoever its client gave it to, and the next in
//! rank when the home is down.

#[path = "common/sockets.rs"]
mod sockets;

use sockets::*;
use std::sync::atomic::AtomicU64;
use std::time::Instant;
use throng::metrics::Metrics;
use throng::net::RunningNode;
use throng::types::{AccountNumber, Height, Policy};
use throng::wire::client::{Refusal, Reply, Request};

/// Waits until each of these nodes is connected to all the others.
#[allow(clippy::disallowed_methods, reason = "connections come in their own time")]
fn until_connected(running: &[RunningNode], peers: usize) {
    let begun = Instant::now();
    while running.iter().any(|node| node.progress().peers != peers) {
        assert!(begun.elapsed() < PATIENCE, "{:?}", running[0].progress());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn sum(running: &[RunningNode], counter: impl Fn(&Metrics) -> &AtomicU64) -> u64 {
    running.iter().map(|node| Metrics::read(counter(node.metrics()))).sum()
}

#[test]
#[allow(clippy::disallowed_methods, reason = "messages arrive in their own time")]
fn a_row_that_its_client_sends_to_all_nodes_is_sealed_once() {
    let (chain, running) = Chain::start(4, Policy::Quorum);
    until_connected(&running, 3);
    let mut clients: Vec<_> = running.iter().map(Client::connect).collect();
    let mut sent = 0;
    for nonce in [1, 11, 21] {
        for account in 1..=8 {
            let rows = chain.transfers(account, nonce, 10);
            clients.iter_mut().for_each(|client| client.ask(&Request::Submit { id: 3, rows: rows.clone() }));
            for client in &mut clients {
                let Reply::Submitted { id: 3, accepted, refused } = client.answer() else {
                    panic!("no answer")
                };
                let known = |reason: Refusal| matches!(reason, Refusal::Duplicate | Refusal::BadNonce);
                assert!(accepted as usize + refused.len() == 10);
                assert!(refused.iter().all(|(_, reason)| known(*reason)), "{refused:?}");
            }
            sent += 10;
        }
        clients.iter_mut().for_each(|client| client.until_settled(sent));
    }
    let rows: u32 = clients[0].notices.iter().map(|notice| notice.rows).sum();
    assert_eq!(rows, sent, "a second copy would have settled too, without effect");
    // Three nodes of four hand on what has its home elsewhere, unless the home was faster.
    let handed_on = sum(&running, |metrics| &metrics.rows_handed_on);
    assert!((1..=3 * u64::from(sent)).contains(&handed_on), "{handed_on}");
    let come = |running: &[RunningNode]| {
        sum(running, |metrics| &metrics.rows_passed_over) + sum(running, |metrics| &metrics.rows_taken_over)
    };
    let begun = Instant::now();
    while come(&running) < handed_on {
        assert!(begun.elapsed() < PATIENCE, "what is handed on arrives");
    }
    assert_eq!(come(&running), handed_on);
    assert_eq!(sum(&running, |metrics| &metrics.peer_faults), 0);
    running.into_iter().for_each(|node| _ = node.stop().unwrap());
}

#[test]
fn one_node_tells_its_client_of_rows_that_others_sealed() {
    let (chain, running) = Chain::start(4, Policy::Quorum);
    until_connected(&running, 3);
    let mut client = Client::connect(&running[2]);
    let sent: u32 = (1..=16).map(|account| client.submit(chain.transfers(account, 1, 20))).sum();
    client.until_settled(sent);
    assert_eq!(sum(&running, |metrics| &metrics.rows_handed_on), 12 * 20);
    let taken: Vec<u64> = running.iter().map(|node| Metrics::read(&node.metrics().rows_taken_over)).collect();
    assert_eq!(taken, [80, 80, 0, 80]);
    client.ask(&Request::Status);
    let Reply::Status(status) = client.answer() else { panic!("no status") };
    assert!(status.height > Height(0) && status.pending == 0, "nothing is held any more: {status:?}");
    running.into_iter().for_each(|node| _ = node.stop().unwrap());
}

/// Of `nodes`, those from `home` on so many are down; rows of its accounts are given to a node that runs.
fn settles_through_the_next(nodes: u16, home: u16, down: u16) {
    let (chain, running) = Chain::start(nodes, Policy::Quorum);
    until_connected(&running, usize::from(nodes) - 1);
    let mut running: Vec<_> = running.into_iter().map(Some).collect();
    for seat in home..home + down {
        running[usize::from(seat)].take().unwrap().stop().unwrap();
    }
    let next = usize::from(home + down);
    let running: Vec<RunningNode> = running.into_iter().flatten().collect();
    let next = &running[next - usize::from(down)];
    let mut client = Client::connect(&running[0]);
    assert_eq!(client.submit(chain.transfers(u32::from(home) + 1, 1, 20)), 20);
    client.until_settled(20);
    client.ask(&Request::Account(AccountNumber(u32::from(home) + 1)));
    let Reply::Account(_, Some(account)) = client.answer() else { panic!("no account") };
    assert_eq!(account.nonce_high.get(), 20);
    assert_eq!(Metrics::read(&next.metrics().rows_taken_over), 20, "it sealed them");
    let rows: u32 = client.notices.iter().map(|notice| notice.rows).sum();
    assert_eq!(rows, 20, "once");
    running.into_iter().for_each(|node| _ = node.stop().unwrap());
}

#[test]
fn with_the_home_down_the_next_seat_seals() {
    settles_through_the_next(4, 1, 1);
}

#[test]
fn with_two_of_seven_down_the_seat_after_both_seals() {
    settles_through_the_next(7, 2, 2);
}
