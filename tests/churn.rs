//! A chain of processes that know one or two others each, under load, while nodes are killed at random instants and some come
//! back at other addresses: it ends agreed, with everything that was told.
//!
//! `THRONG_NODES=16 THRONG_KILLS=60 cargo test --test churn` makes it larger than in every run.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use throng::api::{Client, ClientError};
use throng::crypto::sign;
use throng::home::{Keyring, Secret, read_secret};
use throng::types::{AccountNumber, Effect, Height, Witness};
use throng::wire::client::{BlockNotice, Submission};
use throng::wire::{Rows, transaction_digest};

/// Nodes and kills without being asked for more.
const NODES: usize = 7;
const KILLS: u64 = 5;
/// Accounts of each client, that is of each node.
const ACCOUNTS_EACH: u32 = 4;
/// How long a node may take to answer a client.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the nodes may take to have found each other, and to have the same chain, once nobody is killed any more.
const HEALED_MAX: Duration = Duration::from_secs(120);
/// What no log of an honest chain says.
const NEVER_SAID: [&str; 4] = ["proven to have lied", "broke a rule", "panicked", "the node stopped"];

fn throng(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_throng")).args(args).output().expect("it was built");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&throng(args)).expect("one JSON document")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Addresses for peers and for clients that were free a moment ago.
fn free() -> [SocketAddr; 2] {
    let bound = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    bound.map(|listener| listener.local_addr().expect("bound"))
}

/// One node: its folder, where it is reached at present, and its process.
struct Place {
    seat: usize,
    folder: PathBuf,
    at: [SocketAddr; 2],
    life: Option<Life>,
}

struct Life {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Drop for Life {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Place {
    /// Changes the configuration: where it listens and says that it is reached, and whom it knows.
    fn configure(&self, bootstrap: &[SocketAddr]) {
        let path = self.folder.join("config.toml");
        let mut table: toml::Table =
            fs::read_to_string(&path).expect("written by genesis").parse().expect("TOML");
        let [peers, clients] = self.at.map(|address| address.to_string());
        table.remove("peers");
        table.insert("listen_peers".into(), peers.clone().into());
        table.insert("listen_clients".into(), clients.into());
        table.insert("announce".into(), peers.into());
        let bootstrap: Vec<String> = bootstrap.iter().map(ToString::to_string).collect();
        table.insert("bootstrap".into(), bootstrap.into());
        fs::write(&path, table.to_string()).expect("written");
    }

    /// Starts its process; `false` if somebody else has its port meanwhile.
    fn start(&mut self) -> bool {
        let log = File::options().append(true).create(true).open(self.folder.join("log")).expect("a log");
        let mut child = Command::new(env!("CARGO_BIN_EXE_throng"))
            .args(["node", "--verify-threads", "1", "--segment-bytes", "16777216", "--config"])
            .arg(self.folder.join("config.toml"))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("it was built");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        while !line.starts_with("clients") {
            line.clear();
            if out.read_line(&mut line).expect("text") == 0 {
                child.wait().expect("it ended");
                let log = self.log();
                let last = log.lines().last().unwrap_or_default();
                assert!(last.contains("is the port in use?"), "node {}: {last}", self.seat);
                return false;
            }
        }
        self.life = Some(Life { child, out });
        true
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).expect("a log")
    }

    fn kill(&mut self) {
        let mut life = self.life.take().expect("it runs");
        life.child.kill().expect("killed");
        life.child.wait().expect("it ended");
    }

    fn stop(&mut self) {
        let mut life = self.life.take().expect("it runs");
        let pid = rustix::process::Pid::from_child(&life.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
        let mut rest = String::new();
        life.out.read_to_string(&mut rest).expect("text");
        assert!(life.child.wait().expect("it ended").success(), "node {}: {}", self.seat, self.log());
        assert!(rest.starts_with("stopped at height"), "{rest}");
    }
}

/// A client that keeps its node busy while that lives, and comes back when it does: every block that it was told of.
fn load(
    seat: usize,
    keys: &Keyring,
    address: &parking_lot::Mutex<SocketAddr>,
    over: &AtomicBool,
) -> Vec<BlockNotice> {
    let mut told = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let address = *address.lock();
        if life(seat, keys, address, over, &mut told).is_err() {
            std::thread::yield_now(); // it was killed
        }
    }
    told
}

/// One connection, until it breaks or all is over.
fn life(
    seat: usize,
    keys: &Keyring,
    address: SocketAddr,
    over: &AtomicBool,
    told: &mut Vec<BlockNotice>,
) -> Result<(), ClientError> {
    let mut client = Client::connect(&address.to_string(), PATIENCE)?;
    client.subscribe()?;
    let first = seat as u32 * ACCOUNTS_EACH + 1;
    let mut nonces: BTreeMap<u32, u64> = BTreeMap::new();
    for from in (first..first + ACCOUNTS_EACH).cycle() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let known = match nonces.get(&from) {
            Some(nonce) => *nonce,
            None => client.account(AccountNumber(from))?.expect("an account of the genesis").nonce_high.get(),
        };
        let rows = transfers(&mut client, keys, from, known + 1)?;
        // What never settled has left a gap, or is being sealed again: ask again where the account stands.
        match client.submit(rows)?.is_empty() {
            true => nonces.insert(from, known + 4),
            false => nonces.remove(&from),
        };
        told.extend(client.next_block(Duration::from_millis(30))?);
    }
    Ok(())
}

/// Four transfers from an account to the next one.
fn transfers(client: &mut Client, keys: &Keyring, from: u32, nonce: u64) -> Result<Submission, ClientError> {
    let to = from % keys.accounts() + 1;
    let [payer, payee] = [from, to].map(|number| keys.key(number).expect("a key of the genesis"));
    let [payer_key, payee_key] = [&payer, &payee].map(throng::crypto::public_key);
    let row = |nonce| {
        let effect = Effect::transfer(from, to, 3, nonce, 1);
        let digest = transaction_digest(&client.chain(), &effect, &payer_key, &payee_key);
        (effect, Witness(sign(&payer, &digest)))
    };
    let (effects, witnesses): (Vec<_>, Vec<_>) = (nonce..nonce + 4).map(row).unzip();
    Ok(Submission::pack(Rows { effects: &effects, keys: &[], witnesses: &witnesses }).expect("a few rows"))
}

/// Where a node stands, if it answers: its height, and how many validators it is connected with.
fn stands(at: SocketAddr) -> Option<(Height, u16)> {
    let status = Client::connect(&at.to_string(), PATIENCE).ok()?.status().ok()?;
    Some((status.height, status.peers))
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().expect("a number"))
}

#[test]
fn nodes_that_are_killed_and_move_find_each_other_again_and_agree_on_all_that_was_told() {
    let nodes = from_environment("THRONG_NODES", NODES as u64) as usize;
    let kills = from_environment("THRONG_KILLS", KILLS);
    let outer = tempfile::tempdir().expect("a directory for the test");
    let chain = outer.path().join("chain");
    let (count, accounts) = (nodes.to_string(), (nodes as u32 * ACCOUNTS_EACH).to_string());
    throng(&["genesis", "--validators", &count, "--accounts", &accounts, "--out", text(&chain)]);
    let Secret::Keyring(keys) = read_secret(&chain.join("accounts.toml")).expect("a keyring") else {
        panic!("a keyring")
    };
    let place = |seat| Place { seat, folder: chain.join(format!("node-{seat}")), at: free(), life: None };
    let mut places: Vec<Place> = (0..nodes).map(place).collect();
    // Everybody knows the first two, and these each other.
    let known = [places[0].at[0], places[1].at[0]];
    for place in &mut places {
        let others: Vec<_> = known.iter().copied().filter(|address| *address != place.at[0]).collect();
        place.configure(&others);
        // Those that run dial from ports that the system picks, which may be one that was free before. Others can do without
        // this node's address, but not without those of the first two.
        while !place.start() {
            assert!(place.seat > 1, "a port was lost at once: try again");
            place.at = free();
            place.configure(&others);
        }
    }
    let clients: Vec<_> = places.iter().map(|place| parking_lot::Mutex::new(place.at[1])).collect();
    let over = AtomicBool::new(false);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(std::process::id());
    let mut draw = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let pause = crossbeam::channel::never::<()>();
    let mut moved = 0;
    let told: Vec<Vec<BlockNotice>> = std::thread::scope(|scope| {
        let load = |(seat, address)| {
            let (keys, over) = (&keys, &over);
            scope.spawn(move || load(seat, keys, address, over))
        };
        let loads: Vec<_> = clients.iter().enumerate().map(load).collect();
        let _ = pause.recv_timeout(Duration::from_millis(1_500)); // they find each other
        for kill in 0..kills {
            let _ = pause.recv_timeout(Duration::from_millis(100 + draw(1_000))); // an arbitrary instant, which is the point
            let seat = draw(nodes as u64) as usize;
            places[seat].kill();
            let _ = pause.recv_timeout(Duration::from_millis(draw(400)));
            // Every other one comes back at another address, and knows one node of those that run.
            let other = places[(seat + 1 + draw(nodes as u64 - 1) as usize) % nodes].at[0];
            let mut moves = kill % 2 == 0;
            loop {
                if moves {
                    places[seat].at = free();
                    moved += 1;
                }
                places[seat].configure(&[other]);
                if places[seat].start() {
                    break;
                }
                moves = true;
            }
            *clients[seat].lock() = places[seat].at[1];
        }
        let _ = pause.recv_timeout(Duration::from_secs(1)); // they go on
        over.store(true, Ordering::Relaxed);
        loads.into_iter().map(|load| load.join().expect("a client")).collect()
    });
    heal(&places);
    places.iter_mut().for_each(Place::stop);
    check(&places, &told);
    let settled: u64 = told[0].iter().map(|notice| u64::from(notice.ok)).sum();
    eprintln!("{nodes} nodes, {kills} kills, {moved} moves; node 0 told of {settled} settled rows");
}

/// Waits until every node is connected with every other and has what any of them had.
#[allow(clippy::disallowed_methods, reason = "processes take real time")]
fn heal(places: &[Place]) {
    let (start, pause) = (Instant::now(), crossbeam::channel::never::<()>());
    let mut highest = Height(0);
    loop {
        let found: Vec<_> = places.iter().map(|place| stands(place.at[1])).collect();
        if highest == Height(0) {
            highest = found.iter().flatten().map(|(height, _)| *height).max().expect("somebody answers");
        }
        let whole = |stands: &Option<(Height, u16)>| {
            stands.is_some_and(|(height, peers)| height >= highest && usize::from(peers) + 1 == places.len())
        };
        if found.iter().all(whole) {
            return;
        }
        let logs =
            || places.iter().map(|place| format!("{}\n{}", place.seat, place.log())).collect::<String>();
        assert!(start.elapsed() < HEALED_MAX, "not healed: {found:?} of {highest}\n{}", logs());
        let _ = pause.recv_timeout(Duration::from_millis(100));
    }
}

/// The same good chain everywhere, with every block that a client was told of, and no word of a lie.
fn check(places: &[Place], told: &[Vec<BlockNotice>]) {
    let data = |place: &Place| place.folder.join("data");
    let mut heights = Vec::new();
    for place in places {
        let verified = json(&["verify", text(&data(place)), "--json"]);
        assert_eq!(verified["verdict"], "good", "node {}: {verified}", place.seat);
        heights.push(verified["report"]["height"].as_u64().expect("a height"));
        let log = place.log();
        assert!(!NEVER_SAID.iter().any(|words| log.contains(words)), "node {}: {log}", place.seat);
    }
    let common = heights.iter().min().expect("there are nodes").to_string();
    let hash = |place: &Place| {
        json(&["inspect", text(&data(place)), "--height", &common, "--json"])["hash"].to_string()
    };
    let first = hash(&places[0]);
    assert!(first.len() > 64, "{first}");
    for (place, told) in places.iter().zip(told) {
        assert_eq!(hash(place), first, "node {} differs at {common}", place.seat);
        assert!(told.iter().any(|notice| notice.ok > 0), "node {} was never under load", place.seat);
    }
    // Nodes share one chain up to the common height: what any was told has to be in the longest.
    let longest = (0..places.len()).max_by_key(|seat| heights[*seat]).expect("there are nodes");
    let blocks = throng::store::Store::records(&data(&places[longest]), None).expect("a directory of a node");
    let blocks: Vec<_> = blocks
        .map(|record| record.expect("a sound record"))
        .filter(|(kind, _)| *kind == throng::store::RecordKind::Block)
        .map(|(_, bytes)| throng::wire::block_hash(&bytes))
        .collect();
    for (seat, notice) in told.iter().enumerate().flat_map(|(seat, told)| told.iter().map(move |n| (seat, n)))
    {
        let found = blocks.get(notice.height.0 as usize - 1);
        assert_eq!(found, Some(&notice.hash), "node {seat} told of block {}, which is lost", notice.height);
    }
}
