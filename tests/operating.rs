//! A chain of processes, run the way a person runs it: keys, genesis, nodes, transfers, stops and restarts.

#[path = "common/command.rs"]
mod command;
#[path = "http/wire.rs"]
mod wire;

#[path = "operating/waiting.rs"]
mod waiting;

use command::{Running, good, ports, throng};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use throng::home::{Layout, write_chain};
use throng::types::{Rules, Time};

/// Runs it; it must fail with this status and one line that says this.
fn bad(status: i32, says: &str, args: &[&str]) {
    let output = throng(args);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{args:?}: {complaint}");
    assert!(complaint.contains(says), "{args:?}: {complaint} instead of {says}");
    assert_eq!(complaint.trim_end().lines().count(), 1, "{complaint}");
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&good(args)).expect("one JSON document")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// A chain of so many validators in a folder, with ports of its own.
struct Chain {
    dir: tempfile::TempDir,
    ports: Vec<u16>,
}

impl Chain {
    fn new(nodes: usize) -> Chain {
        let dir = tempfile::tempdir().expect("a directory");
        let count = nodes.to_string();
        let made = json(&[
            "genesis",
            "--validators",
            &count,
            "--accounts",
            "9",
            "--out",
            text(&dir.path().join("chain")),
            "--json",
        ]);
        assert_eq!(made["validators"].as_array().map(Vec::len), Some(nodes), "{made}");
        assert_eq!(made["chain"].as_str().map(str::len), Some(64));
        Chain { dir, ports: ports(2 * nodes) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("chain").join(name)
    }

    fn node(&self, seat: usize) -> String {
        format!("127.0.0.1:{}", self.ports[2 * seat + 1])
    }

    fn flags(&self, seat: usize) -> Vec<String> {
        let peers: Vec<String> =
            self.ports.iter().step_by(2).map(|port| format!("127.0.0.1:{port}")).collect();
        let config = self.path(&format!("node-{seat}/config.toml"));
        let flags = [
            "node",
            "--config",
            text(&config),
            "--listen-peers",
            &peers[seat],
            "--listen-clients",
            &self.node(seat),
        ];
        flags.iter().map(ToString::to_string).chain(["--peers".to_owned(), peers.join(",")]).collect()
    }

    fn start(&self, seat: usize) -> Running {
        Running::start(&self.flags(seat), "clients")
    }

    fn send(&self, seat: usize, more: &[&str]) -> String {
        let (node, keys) = (self.node(seat), self.path("accounts.toml"));
        let flags = ["send", "--node", &node, "--keys", text(&keys), "--timeout", "120s"];
        good(&[&flags[..], more].concat())
    }

    fn balance(&self, seat: usize, account: &str) -> u64 {
        json(&["account", account, "--node", &self.node(seat), "--json"])["balance"]
            .as_u64()
            .expect("a number")
    }

    fn status(&self, seat: usize) -> Value {
        json(&["status", "--node", &self.node(seat), "--json"])
    }

    /// Follows a node until it has this block.
    fn wait_for(&self, seat: usize, height: u64) {
        while self.status(seat)["height"].as_u64().expect("a number") < height {
            good(&["watch", "--node", &self.node(seat), "--blocks", "1", "--timeout", "120s"]);
        }
    }
}

const FIRST: u64 = 1_000_000_000;

#[test]
fn four_processes_settle_transfers_and_go_on_after_one_was_stopped() {
    let chain = Chain::new(4);
    let mut nodes: Vec<_> = (0..4).map(|seat| Some(chain.start(seat))).collect();
    let said = chain.send(0, &["--from", "5", "--to", "6", "--amount", "5", "--count", "3"]);
    assert!(said.contains("settled") && said.contains("999,999,982"), "{said}");
    assert_eq!((chain.balance(0, "5"), chain.balance(0, "6")), (FIRST - 18, FIRST + 15));
    let status = chain.status(2);
    assert_eq!((&status["seat"], &status["seats"], &status["accounts"]), (&2.into(), &4.into(), &9.into()));
    let blocks = good(&["watch", "--node", &chain.node(3), "--blocks", "3", "--json"]);
    let heights: Vec<u64> = blocks
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["height"].as_u64().expect("a number"))
        .collect();
    assert_eq!(heights, (heights[0]..heights[0] + 3).collect::<Vec<_>>());

    // Three of four are a quorum; the fourth comes back on its directory and has what it missed.
    let (status, rest) = nodes[1].take().expect("it runs").end(rustix::process::Signal::TERM);
    assert!(status == Some(0) && rest.starts_with("stopped at height "), "{status:?}: {rest}");
    chain.send(2, &["--from", "7", "--to", "8", "--amount", "7", "--fee", "2"]);
    let absent = chain.status(0)["absent"].clone();
    let place = format!("127.0.0.1:{}", chain.ports[2]);
    assert_eq!((&absent[0]["seat"], &absent[0]["place"]), (&1.into(), &place.clone().into()), "{absent}");
    assert!(
        good(&["status", "--node", &chain.node(0)]).contains(&format!("absent     validator 1 at {place}: "))
    );
    let height = chain.status(2)["height"].as_u64().expect("a number");
    nodes[1] = Some(chain.start(1));
    chain.wait_for(1, height);
    assert_eq!(chain.balance(1, "7"), FIRST - 9);

    // A second process with the directory of one that runs.
    let second: Vec<String> = chain.flags(0).into_iter().take(3).collect();
    let free = ports(2).into_iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>();
    let second: Vec<&str> = second.iter().map(String::as_str).collect();
    let own = ["--listen-peers", &free[0], "--listen-clients", &free[1]];
    bad(1, "is in use by another process", &[&second[..], &own].concat());
    let taken = ["--listen-peers", &chain.node(0), "--listen-clients", &free[1]];
    bad(2, "is the port in use?", &[&second[..], &taken].concat());

    for node in nodes.into_iter().flatten() {
        let (status, rest) = node.end(rustix::process::Signal::INT);
        assert!(status == Some(0) && rest.contains("stopped at height"), "{status:?}: {rest}");
    }
    for seat in 0..4 {
        let data = chain.path(&format!("node-{seat}/data"));
        assert_eq!(json(&["verify", text(&data), "--json"])["verdict"], "good");
    }
}

#[test]
fn transfers_that_cannot_be_are_refused_with_the_reason() {
    let chain = Chain::new(1);
    let _node = chain.start(0);
    let (node, keys) = (chain.node(0), chain.path("accounts.toml"));
    let send = |more: &[&'static str]| {
        let flags = ["send", "--node", &node, "--keys", text(&keys)];
        [&flags[..], more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let refused = |status, says, more: &[&'static str]| {
        let args = send(more);
        bad(status, says, &args.iter().map(String::as_str).collect::<Vec<_>>());
    };
    refused(1, "does not cover", &["--from", "1", "--to", "2", "--amount", "1000000001"]);
    refused(1, "lies too far", &["--from", "1", "--to", "2", "--amount", "1", "--nonce", "66"]);
    refused(1, "breaks a rule", &["--from", "1", "--to", "2", "--amount", "1", "--fee", "0"]);
    refused(2, "there is no account 77", &["--from", "77", "--to", "2", "--amount", "1"]);
    refused(2, "there is no account 0", &["--from", "1", "--to", "0", "--amount", "1"]);
    refused(
        2,
        "--count must lie between 1 and 64",
        &["--from", "1", "--to", "2", "--amount", "1", "--count", "65"],
    );
    assert!(
        chain.send(0, &["--from", "1", "--to", "2", "--amount", "1", "--nonce", "3"]).contains("settled")
    );
    refused(1, "the nonce was used", &["--from", "1", "--to", "2", "--amount", "1", "--nonce", "3"]);

    let own = chain.path("own.toml");
    let public = good(&["keygen", text(&own)]);
    assert_eq!(public.trim().len(), 64);
    let to = ["--from", "1", "--to", "2", "--amount", "1"];
    bad(2, "has no key of account 1", &[&["send", "--node", &node, "--keys", text(&own)][..], &to].concat());
    fs::set_permissions(&own, fs::Permissions::from_mode(0o644)).expect("set");
    bad(2, "chmod 600", &[&["send", "--node", &node, "--keys", text(&own)][..], &to].concat());

    // Nobody, and somebody else.
    let free = format!("127.0.0.1:{}", ports(1)[0]);
    bad(2, "cannot reach a node at", &["status", "--node", &free]);
    bad(2, "cannot reach a node at", &["status", "--node", "nowhere"]);
    let peers = format!("127.0.0.1:{}", chain.ports[0]);
    bad(2, "does not answer as a node does its clients", &["status", "--node", &peers, "--timeout", "2s"]);
}

#[test]
fn a_chain_that_is_up_stays_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let chain = dir.path().join("chain");
    let mut free = ports(1)[0];
    while free > 65_000 || (0..4).any(|more| TcpListener::bind(("127.0.0.1", free + more)).is_err()) {
        free = ports(1)[0];
    }
    let (port, node) = (free.to_string(), format!("127.0.0.1:{}", free + 1));
    let flags =
        ["up", "--nodes", "2", "--accounts", "4", "--dir", text(&chain), "--port", &port, "--http-port", "0"];
    let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
    let keys = chain.join("accounts.toml");
    for turn in 1..3u64 {
        let up = Running::start(&flags, "Ctrl-C stops all");
        let line = up.said.lines().find(|line| line.starts_with("node 1: ")).expect("a line for each node");
        let http = line.split("http://").nth(1).expect("its HTTP address").parse().expect("an address");
        assert_eq!(wire::get(http, "/status").json()["seat"], 1);
        good(&["send", "--node", &node, "--keys", text(&keys), "--from", "1", "--to", "2", "--amount", "10"]);
        let account = json(&["account", "1", "--node", &node, "--json"]);
        // Fees of node 0 go to account 1.
        let balance = account["balance"].as_u64().expect("a number");
        assert!((FIRST - turn * 11..=FIRST - turn * 10).contains(&balance), "{account}");
        assert_eq!(account["nonce"], turn);
        let (status, rest) = up.end(rustix::process::Signal::INT);
        assert!(status == Some(0) && rest.contains("node 1 stopped at height"), "{status:?}: {rest}");
    }
}

#[test]
fn files_that_are_wrong_are_named() {
    let chain = Chain::new(2);
    let config = chain.path("node-0/config.toml");
    let node = ["node", "--config", text(&config)];
    let out = chain.path("");
    bad(2, "is not overwritten", &["genesis", "--validators", "3", "--out", text(&out)]);
    bad(
        2,
        "--validators must lie between 1 and 1024",
        &["genesis", "--validators", "0", "--out", "/tmp/none-such"],
    );
    bad(2, "cannot open nobody.toml", &["genesis", "--validators", "nobody.toml", "--out", "/tmp/none-such"]);
    bad(2, "is not overwritten", &["keygen", text(&config)]);
    bad(2, "genesis is not set", &["node"]);
    bad(2, "cannot open", &["node", "--config", text(&chain.path("none.toml"))]);
    let other = chain.path("other.toml");
    good(&["keygen", text(&other)]);
    bad(2, "no seat of", &[&node[..], &["--key", text(&other)]].concat());
    bad(2, "segment_bytes", &[&node[..], &["--segment-bytes", "5"]].concat());
    bad(2, "`x` is no address", &[&node[..], &["--peers", "x,y"]].concat());
    bad(2, "--clients-max", &[&node[..], &["--clients-max", "9999999999999999999"]].concat());
    let named = chain.path("validators.toml");
    let block = |key: &str, address: &str| {
        fs::write(&named, format!("[[validator]]\nkey = \"{key}\"\naddress = \"{address}\"\n"))
            .expect("written");
        ["genesis", "--validators", text(&named), "--out", "/tmp/none-such"]
    };
    bad(2, "validators.toml, line 2: key must be 64 hex digits", &block("12", "node-0:27100"));
    let key = "ab".repeat(32);
    bad(2, "validators.toml, line 3: address `node-0` is no host with a port", &block(&key, "node-0"));
    bad(2, "validators.toml, line 3: address `node-0:65535`", &block(&key, "node-0:65535"));
    let written = fs::read_to_string(&config).expect("readable");
    fs::write(&config, format!("{written}\nsegments = 3\n")).expect("written");
    bad(2, "unknown field `segments`", &node);
    let printed = {
        fs::write(&config, &written).expect("written");
        good(&[&node[..], &["--print-config", "--clients-max", "7", "--keep-blocks", "30"]].concat())
    };
    assert!(printed.contains("clients_max = 7") && printed.contains("keep_blocks = 30"), "{printed}");
    // What is printed is a configuration.
    let again = chain.path("again.toml");
    fs::write(&again, &printed).expect("written");
    assert_eq!(good(&["node", "--config", text(&again), "--print-config"]), printed);
}

/// All files of a directory, and what is in them.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    files.map(|path| (path.clone(), fs::read(path).expect("readable"))).collect()
}

#[test]
fn a_data_directory_of_another_chain_is_bad_input_and_stays_as_it_is() {
    let (chain, other) = (Chain::new(1), Chain::new(1));
    let node = chain.start(0);
    chain.send(0, &["--from", "1", "--to", "2", "--amount", "1"]);
    let (status, _) = node.end(rustix::process::Signal::TERM);
    assert_eq!(status, Some(0));
    let data = chain.path("node-0/data");
    let before = contents(&data);
    assert!(before.len() > 1, "{:?}", before.keys());

    let flags = other.flags(0);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let refused = |says, dir: &Path| bad(2, says, &[&flags[..], &["--dir", text(dir)]].concat());
    refused("belongs to chain", &data);
    assert!(contents(&data) == before, "nothing in it was touched");

    // Nor is a directory with something else in it.
    let foreign = other.path("precious");
    fs::create_dir(&foreign).expect("made");
    fs::write(foreign.join("letters.txt"), "kept").expect("written");
    refused("is not a file of the store", &foreign);
    assert_eq!(contents(&foreign).into_values().collect::<Vec<_>>(), [b"kept".to_vec()]);
}

/// A chain of one validator with a checkpoint every four blocks, in a folder; its ports for peers, clients and HTTP.
fn quick_chain(out: &Path) -> [String; 3] {
    let layout = Layout {
        name: "quick".into(),
        time: Time(1),
        rules: Rules { checkpoint_blocks: 4, ..Rules::default() },
        accounts: 3,
        balance: 1_000,
        port: 4_000,
    };
    write_chain(out, &layout, Err(1)).expect("written");
    let ports = ports(3);
    std::array::from_fn(|place| format!("127.0.0.1:{}", ports[place]))
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a block is waited for")]
fn a_node_serves_http_and_what_it_says_is_proven() {
    let dir = tempfile::tempdir().expect("a directory");
    let out = dir.path().join("chain");
    let [peers, clients, http] = quick_chain(&out);
    let (config, genesis, keys) =
        (out.join("node-0/config.toml"), out.join("genesis"), out.join("accounts.toml"));
    let flags = ["node", "--config", text(&config), "--listen-peers", &peers, "--listen-clients", &clients];
    let flags = [&flags[..], &["--peers", &peers, "--http", &http]].concat();
    let owned: Vec<String> = flags.iter().map(ToString::to_string).collect();
    let node = Running::start(&owned, "clients");
    assert!(node.said.contains(&format!("http       http://{http}\n")), "{}", node.said);
    let server = http.parse().expect("an address");

    // Signed by one command, submitted by another, proven by a third.
    let rows = good(&[
        "send",
        "--node",
        &clients,
        "--keys",
        text(&keys),
        "--from",
        "1",
        "--to",
        "2",
        "--amount",
        "5",
        "--print",
    ]);
    let answer = wire::post(server, rows.as_bytes());
    assert_eq!((answer.status, &answer.json()["accepted"]), (200, &1.into()));
    while json(&["account", "1", "--node", &clients, "--json"])["nonce"] == 0 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(wire::post(server, rows.as_bytes()).json()["refused"][0]["reason"], "bad_nonce");
    let prove = ["account", "2", "--prove", "--http", &http, "--genesis", text(&genesis), "--timeout", "60s"];
    let before = wire::get(server, "/status").json()["height"].as_u64().expect("a number");
    let proven = loop {
        let proven = json(&[&prove[..], &["--json"]].concat());
        if proven["proven"]["height"].as_u64().expect("a number") >= before {
            break proven;
        }
    };
    assert_eq!((&proven["balance"], &proven["proven"]["votes"]), (&1_005.into(), &1.into()));
    let said = good(&prove);
    assert!(said.contains("balance  1,005") && said.contains("signed by 1 validators"), "{said}");
    assert_eq!(
        json(&["status", "--node", &clients, "--genesis", text(&genesis), "--json"])["chain"],
        wire::get(server, "/status").json()["chain"]
    );

    // Another chain, another address, and a port in use.
    let other = dir.path().join("other");
    quick_chain(&other);
    let other = other.join("genesis");
    for command in [&["status"][..], &["account", "1"], &["watch", "--blocks", "1"]] {
        bad(
            2,
            "but the genesis is of chain",
            &[command, &["--node", &clients, "--genesis", text(&other)]].concat(),
        );
    }
    bad(
        2,
        "but the genesis is of chain",
        &["account", "1", "--prove", "--http", &http, "--genesis", text(&other)],
    );
    bad(
        2,
        "there is no account 77",
        &["account", "77", "--prove", "--http", &http, "--genesis", text(&genesis)],
    );
    bad(2, "--genesis", &["account", "1", "--prove", "--http", &http]);
    bad(
        2,
        "is it the node's HTTP address",
        &["account", "1", "--prove", "--http", "nowhere", "--genesis", text(&genesis)],
    );
    bad(
        2,
        "is no HTTP server of a node",
        &["account", "1", "--prove", "--http", &clients, "--genesis", text(&genesis), "--timeout", "8s"],
    );
    bad(2, "cannot listen for HTTP on", &[&flags[..9], &["--http", &clients]].concat());
    bad(2, "invalid socket address", &[&flags[..3], &["--http", "here"]].concat());

    let (status, rest) = node.end(rustix::process::Signal::TERM);
    assert!(status == Some(0) && rest.starts_with("stopped at height "), "{status:?}: {rest}");
}
