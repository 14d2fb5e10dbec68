//! Chains of processes: over machines, as the README says, and of one node with every flag that there is.

use super::runner::{PATIENCE, Runner, ports_in_a_row};
use super::{Group, Running, good, text};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

fn path(path: &std::path::Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Four make keys of their own, one writes the chain, each starts its own, and others follow.
pub fn of_machines() {
    let mut runner = Runner::new(Group::Machines);
    let first = ports_in_a_row(11);
    let free: Vec<String> = (first..first + 11).map(|port| format!("127.0.0.1:{port}")).collect();
    let places = [
        ("peers-0", "node-0"),
        ("peers-1", "node-1"),
        ("peers-2", "node-2"),
        ("peers-3", "node-3"),
        ("peers-4", "node-4"),
    ];
    for ((peers, node), pair) in places.into_iter().zip(free.chunks(2)) {
        runner.place(peers, pair[0].clone());
        runner.place(node, pair[1].clone());
    }
    runner.place("http", free[10].clone());
    runner.place("own", path(&runner.path("own.toml")).to_owned());
    // The keys of the validators: that of the third by the command of the README.
    runner.run("keygen key.toml");
    runner.run("keygen");
    let key = |seat: usize| match seat {
        2 => runner.path("key.toml"),
        seat => runner.path(&format!("key-{seat}.toml")),
    };
    let public = |seat: usize| match seat {
        2 => runner.said("keygen key.toml").to_owned(),
        seat => good(&["keygen", path(&key(seat))]),
    };
    let named = (0..4).map(|seat| {
        format!("[[validator]]\nkey = \"{}\"\naddress = \"{}\"\n", public(seat).trim(), free[2 * seat])
    });
    let named: String = named.collect();
    fs::write(runner.path("validators.toml"), named).expect("written");
    let keys: Vec<_> = (0..4).map(key).collect();
    runner.run("genesis --validators FILE --out DIR");
    for (seat, key) in keys.iter().enumerate() {
        fs::rename(key, runner.path(&format!("chain/node-{seat}/key.toml"))).expect("moved");
    }

    let other = |seat: usize| {
        let config = runner.path(&format!("chain/node-{seat}/config.toml"));
        let flags = ["node", "--config", path(&config)];
        Running::start(&flags.iter().map(ToString::to_string).collect::<Vec<_>>(), "clients")
    };
    let mut nodes = vec![other(0), other(1)];
    // Who is not there yet is told of, once it was looked for.
    let began = Instant::now();
    while good(&["status", "--node", &free[1]]).matches("absent     validator").count() < 2 {
        assert!(began.elapsed() < PATIENCE, "nobody is missed");
        std::thread::sleep(Duration::from_millis(50));
    }
    runner.run("status --node 127.0.0.1:34101");
    nodes.push(runner.start("node --config DIR/node-2/config.toml", "clients"));
    nodes.push(runner.start("node --http IP:PORT", "clients"));
    runner.until_healthy();
    let observe = "node --observe --bootstrap HOST:PORT --genesis FILE --key FILE --dir DIR --listen-peers IP:PORT \
                   --listen-clients IP:PORT";
    nodes.push(runner.start(observe, "clients"));
    let status = |node: &str| -> Value {
        serde_json::from_str(&good(&["status", "--node", node, "--json"])).expect("JSON")
    };
    // Whoever follows comes to where the others are.
    let (began, height) = (Instant::now(), status(&free[1])["height"].as_u64().expect("a number"));
    while status(&free[9])["height"].as_u64() < Some(height) {
        assert!(began.elapsed() < PATIENCE, "the observer follows nobody");
        std::thread::sleep(Duration::from_millis(50));
    }
    runner.run_rest();
    for node in nodes.into_iter().rev() {
        let (status, rest) = node.end(Signal::TERM);
        assert!(status == Some(0) && rest.contains("stopped at height"), "{status:?}: {rest}");
    }
}

/// Every flag of `throng node` that is a key of its configuration, a value, and the key.
pub const NODE_FLAGS: &[(&str, &str, &str)] = &[
    ("--mempool-rows-max", "16384", "node.mempool_rows_max"),
    ("--snapshot-after-bytes", "1000000", "node.snapshot_after_bytes"),
    ("--keep-blocks", "3000", "node.keep_blocks"),
    ("--batches-kept", "4096", "node.batches_kept"),
    ("--vertices-kept-depths", "11", "node.vertices_kept.depths"),
    ("--vertices-kept-bytes", "33554432", "node.vertices_kept.bytes"),
    ("--segment-bytes", "16777216", "store.segment_bytes"),
    ("--payload-bytes-max", "8388608", "store.payload_bytes_max"),
    ("--queue-bytes-max", "33554432", "store.queue_bytes_max"),
    ("--queue-records-max", "8192", "store.queue_records_max"),
    ("--group-bytes-max", "4194304", "store.group_bytes_max"),
    ("--cached-bytes", "67108864", "store.cached_bytes"),
    ("--full-retry-ms", "250", "store.full_retry_ms"),
    ("--verify-threads", "1", "net.verify_threads"),
    ("--net-threads", "2", "net.net_threads"),
    ("--clients-max", "100", "net.clients_max"),
    ("--per-address-max", "50", "net.per_address_max"),
    ("--per-group-max", "60", "net.per_group_max"),
    ("--handshakes-per-second", "10", "net.handshakes_per_second"),
    ("--client-calls-per-second", "90", "net.client_calls_per_second"),
    ("--peer-bytes-per-second", "100000000", "net.peer_bytes_per_second"),
    ("--peer-messages-per-second", "40000", "net.peer_messages_per_second"),
    ("--client-questions-per-second", "3000", "net.client_questions_per_second"),
    ("--guests-max", "7", "net.guests_max"),
    ("--guests-bytes-per-second", "50000000", "net.guests_bytes_per_second"),
    ("--limit-local", "true", "net.limit_local"),
    ("--shape-delay-ms", "3", "net.shape.delay_ms"),
    ("--shape-jitter-ms", "2", "net.shape.jitter_ms"),
    ("--shape-regions", "virginia,tokyo", "net.shape.regions"),
    ("--shape-bytes-per-second", "90000000", "net.shape.bytes_per_second"),
    ("--shape-reset-after-s", "600", "net.shape.reset_after_s"),
];

/// Flags that say what the configuration is about, and are no limits.
const OTHERS: [&str; 12] = [
    "--config",
    "--print-config",
    "--genesis",
    "--key",
    "--dir",
    "--listen-peers",
    "--listen-clients",
    "--http",
    "--peers",
    "--bootstrap",
    "--announce",
    "--observe",
];

/// The keys of a table down to its values.
fn keys(prefix: &str, table: &toml::Table, found: &mut BTreeSet<String>) {
    for (key, value) in table {
        let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            toml::Value::Table(table) => keys(&key, table, found),
            _ => _ = found.insert(key),
        }
    }
}

/// A chain of one whose node has every flag: each is in the configuration that results, none is missing, and the node runs.
pub fn of_flags() {
    let dir = tempfile::tempdir().expect("a directory");
    let out = dir.path().join("chain");
    let port = ports_in_a_row(2).to_string();
    good(&["genesis", "--validators", "1", "--accounts", "3", "--port", &port, "--out", path(&out)]);
    let config = out.join("node-0/config.toml");
    let limits = NODE_FLAGS.iter().flat_map(|(flag, value, _)| [*flag, *value]);
    let flags: Vec<&str> = ["node", "--config", path(&config)].into_iter().chain(limits).collect();
    let printed = good(&[&flags[..], &["--print-config"]].concat());
    let printed: toml::Table = toml::from_str(&printed).expect("TOML");
    for (flag, value, key) in NODE_FLAGS {
        let value = match value.split_once(',') {
            Some((first, second)) => format!("[\"{first}\", \"{second}\"]"),
            None => (*value).to_owned(),
        };
        let (section, name) = key.rsplit_once('.').expect("a key in a section");
        let found =
            section.split('.').fold(&printed, |table, section| table[section].as_table().expect("a section"));
        assert_eq!(found[name].to_string(), value, "{flag}");
    }
    let mut all = BTreeSet::new();
    keys("", &printed, &mut all);
    let known: BTreeSet<String> = NODE_FLAGS.iter().map(|(.., key)| (*key).to_owned()).collect();
    let own = |key: &&String| OTHERS.iter().any(|flag| flag[2..].replace('-', "_") == **key);
    let without: Vec<_> = all.difference(&known).filter(|key| !own(key)).collect();
    assert!(without.is_empty(), "keys without a flag: {without:?}");
    let listed = text::flags(&good(&["node", "--help"]));
    let known = |flag: &&String| {
        NODE_FLAGS.iter().any(|(known, ..)| known == flag) || OTHERS.contains(&flag.as_str())
    };
    let more: Vec<_> =
        listed.keys().filter(|flag| !known(flag) && !super::GENERAL.contains(&flag.as_str())).collect();
    assert!(more.is_empty(), "flags that this test does not know: {more:?}");

    let node = Running::start(&flags.iter().map(ToString::to_string).collect::<Vec<_>>(), "clients");
    let place = format!("127.0.0.1:{}", port.parse::<u16>().expect("a number") + 1);
    good(&[
        "send",
        "--node",
        &place,
        "--keys",
        path(&out.join("accounts.toml")),
        "--from",
        "1",
        "--to",
        "2",
        "--amount",
        "5",
    ]);
    assert_eq!(node.end(Signal::INT).0, Some(0));
}
