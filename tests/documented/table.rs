//! Every command that a document names, with what the test adds to it.

/// Which test runs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// Runs on this machine, and the directories that they leave.
    Bench,
    /// Hostile peers and virtual worlds.
    Trouble,
    /// A chain by `throng up`.
    Up,
    /// A chain of four processes with keys of their own, and whoever follows it.
    Machines,
}

/// A command.
#[derive(Debug)]
pub struct Row {
    /// Its words as the document has them, after `throng`; `curl` is said.
    pub command: &'static str,
    pub group: Group,
    /// Words of it that stand for something, in their order, and what they stand for here.
    pub filled: &'static [&'static str],
    /// Words of it that would take too long, and what is said instead.
    pub shorter: &'static [(&'static str, &'static str)],
    /// What is said besides.
    pub more: &'static str,
    /// What it prints, among other things.
    pub says: &'static [&'static str],
}

const ROW: Row = Row { command: "", group: Group::Bench, filled: &[], shorter: &[], more: "", says: &[] };
const TROUBLE: Row = Row { group: Group::Trouble, ..ROW };
const UP: Row = Row { group: Group::Up, ..ROW };
const MACHINES: Row = Row { group: Group::Machines, ..ROW };

/// Flags whose values may be made smaller, for they say how much and how long, and not what.
pub const SHORTENED: [&str; 6] = ["--nodes", "--peers", "--seeds", "--duration", "--warmup", "--calm"];

const SHORT: &str = "--duration 300ms --warmup 200ms --accounts 1000";
const BLOBS: &str = "--duration 300ms --warmup 200ms";
const ONE: &str = "--nodes 1 --duration 300ms --warmup 200ms --accounts 1000";
const FOUR: &str = "--nodes 4 --duration 300ms --warmup 200ms --accounts 1000";

/// Those that are documented. The rows of a group run in this order, unless its test says otherwise.
pub const TABLE: &[Row] = &[
    Row {
        command: "bench",
        more: "--nodes 1,2 --duration 500ms --warmup 200ms --accounts 1000",
        says: &[
            "sent B   stored B   limited   verdict",
            "Faulty nodes tolerated, signature checks per transaction in the whole chain: n=1 0, 1, n=2 0, 1",
            "Offered / sent / accepted / committed, tx/s: n=1 ",
            "so growth shows in the cost per node. With one such core for each node this cost means, in tx/s: n=1 ",
            "Latency is saturated: queues were kept full, so it is their length; --rate N measures it at a load.",
        ],
        ..ROW
    },
    Row { command: "bench --nodes 4 --rate 4000", more: SHORT, says: &["agreed"], ..ROW },
    Row { command: "bench --help", says: &["--in-flight <ROWS>"], ..ROW },
    Row {
        command: "bench --processes",
        more: "--nodes 4 --duration 300ms --warmup 200ms --accounts 1000 --dir {dir}/processes",
        says: &["agreed"],
        ..ROW
    },
    Row {
        command: "node --config DIR/n4/node-0.toml",
        filled: &["{dir}/processes"],
        says: &["node       0 of 4, data in "],
        ..ROW
    },
    Row {
        command: "node --config",
        more: "{dir}/processes/n4/node-1.toml --print-config",
        says: &["listen_clients = "],
        ..ROW
    },
    Row {
        command: "bench --payload opaque:512 --nodes 4",
        more: BLOBS,
        says: &["ordered, not executed"],
        ..ROW
    },
    Row { command: "bench --nodes 4 --payload opaque:512", more: BLOBS, says: &["agreed"], ..ROW },
    Row { command: "bench --dir DIR", filled: &["{dir}/kept"], more: FOUR, says: &["agreed"], ..ROW },
    Row {
        command: "verify DIR/n4/node-0",
        filled: &["{dir}/kept"],
        says: &[
            "directory ",
            "chain ",
            "(bench 4 ",
            "transactions ",
            "certified ",
            "state root ",
            "good: nothing in this directory contradicts its genesis",
        ],
        ..ROW
    },
    Row { command: "export-state DIR FILE", filled: &["{dir}/kept/n4/node-0", "{dir}/accounts"], ..ROW },
    Row { command: "bench --keep-blocks N", filled: &["100"], more: ONE, says: &["agreed"], ..ROW },
    Row {
        command: "bench --nodes 4 --verify quorum --json",
        more: SHORT,
        says: &["\"verdict\": \"agreed\""],
        ..ROW
    },
    Row {
        command: "bench --nodes 4 --verify all --json",
        more: SHORT,
        says: &["\"verdict\": \"agreed\""],
        ..ROW
    },
    Row { command: "bench --json", more: ONE, says: &["\"cpu_us_per_tx\""], ..ROW },
    Row {
        command: "bench --nodes 1,4,16",
        shorter: &[("1,4,16", "1,2")],
        more: SHORT,
        says: &["agreed"],
        ..ROW
    },
    Row {
        command: "bench --nodes 1,4,16 --processes",
        shorter: &[("1,4,16", "1,2")],
        more: SHORT,
        says: &["agreed"],
        ..ROW
    },
    Row {
        command: "bench --nodes 1 --duration 10s",
        shorter: &[("10s", "300ms")],
        more: "--warmup 200ms --accounts 1000",
        says: &["agreed"],
        ..ROW
    },
    Row {
        command: "bench --nodes 1 --duration 3s --rate 500 --accounts 1000",
        shorter: &[("3s", "300ms")],
        more: "--warmup 200ms",
        says: &["agreed"],
        ..ROW
    },
    Row {
        command: "bench --duration 4s --warmup 1s",
        shorter: &[("4s", "300ms"), ("1s", "200ms")],
        more: "--nodes 1 --net-threads 2 --accounts 1000",
        says: &["agreed"],
        ..ROW
    },
    Row { command: "bench --delay 40ms", more: FOUR, says: &["agreed"], ..ROW },
    Row {
        command: "bench --regions virginia,frankfurt,tokyo,sydney",
        more: "--nodes 4 --rate 200 --duration 1s --warmup 1s --accounts 1000",
        says: &["agreed"],
        ..ROW
    },
    Row {
        command: "bench --nodes 1,4 --duration 5s --warmup 2s",
        shorter: &[("5s", "300ms"), ("2s", "200ms")],
        more: "--accounts 1000",
        says: &["agreed"],
        ..ROW
    },
    Row { command: "bench --nodes 4 --dir DIR", filled: &["{dir}/again"], more: SHORT, ..ROW },
    Row {
        command: "stress --peers 2000",
        shorter: &[("2000", "30")],
        more: "--duration 1s --calm 1s",
        says: &[
            "hostile peers against 4 nodes under a load of",
            "part tx/s p50 p99 CPU µs/tx all nodes load hostile memory descriptors",
            "The nodes accepted",
            "node CPU per transaction, during / before",
            "full speed after they left",
            "accepted and lost",
        ],
        ..TROUBLE
    },
    Row { command: "stress --help", says: &["nonce-gap", "slow-handshake"], ..TROUBLE },
    Row {
        command: "stress --nodes 1 --peers 5000 --kind quiet --duration 8s --calm 8s --json",
        shorter: &[("5000", "50"), ("8s", "1s")],
        says: &["\"verdict\": \"agreed\""],
        ..TROUBLE
    },
    Row {
        command: "sim --nodes 4 --seeds 0..20 --faults all --duration 30s",
        shorter: &[("0..20", "0..2"), ("30s", "2s")],
        says: &[
            "runs of n=4: ",
            " 0 no progress, 0 diverged",
            "longest time from the last fault to something new settled",
        ],
        ..TROUBLE
    },
    Row {
        command: "sim --nodes 10 --seed 1 --duration 8s --load 2000 --accounts 2000 --crypto cached --liars swallow",
        shorter: &[("10", "4"), ("8s", "1s")],
        says: &["agreed"],
        ..TROUBLE
    },
    Row {
        command: "sim --nodes 7 --seeds 0..100 --faults all --duration 30s --crypto cached",
        shorter: &[("0..100", "0..2"), ("30s", "2s")],
        says: &[" 0 no progress, 0 diverged"],
        ..TROUBLE
    },
    Row {
        command: "sim --faults silent",
        more: "--duration 1s --crypto cached",
        says: &["agreed"],
        ..TROUBLE
    },
    Row { command: "sim --regions", more: "virginia,tokyo --duration 1s", says: &["agreed"], ..TROUBLE },
    Row {
        command: "up --nodes 4 --dir /tmp/chain",
        filled: &["{dir}/chain"],
        more: "--port {port} --http-port 0 --name here --balance 1000000000 --accounts 50 --verify quorum",
        says: &["4 nodes run in ", "node 3: peers ", "try:"],
        ..UP
    },
    Row {
        command: "send --keys /tmp/chain/accounts.toml --from 1 --to 2 --amount 5",
        filled: &["{dir}/chain"],
        more: "--node {node} --timeout 60s",
        says: &["settled, as this node has it at height "],
        ..UP
    },
    Row {
        command: "account 2",
        more: "--node {node}",
        says: &["balance 1,000,000,005", "nonce 0 is the highest used"],
        ..UP
    },
    Row {
        command: "status",
        more: "--node {node}",
        says: &["node       0 of 4, 3 validators connected"],
        ..UP
    },
    Row { command: "watch", more: "--node {node} --blocks 2", says: &["blocks/s", "peers 3"], ..UP },
    Row { command: "curl http://127.0.0.1:28100/health", says: &["\"status\":\"ok\""], ..UP },
    Row {
        command: "curl http://127.0.0.1:28100/v1/account/2",
        says: &[
            "{\"account\":2,\"balance\":1000000005,\"key\":\"",
            "\"nonce\":0,\"nonce_window\":\"0000000000000001\"}",
        ],
        ..UP
    },
    Row {
        command: "send --print",
        more: "--keys {dir}/chain/accounts.toml --from 1 --to 2 --amount 1 --node {node}",
        says: &["\"signature\""],
        ..UP
    },
    Row {
        command: "account 2 --prove --genesis /tmp/chain/genesis",
        filled: &["{dir}/chain"],
        more: "--http {http} --timeout 120s",
        says: &["balance 1,000,000,005", "nonce 0 is the highest used", "proven at height ", ", signed by "],
        ..UP
    },
    Row { command: "up --dir", more: "{dir}/chain --http-port 0", says: &["4 nodes run in "], ..UP },
    Row { command: "keygen key.toml", ..MACHINES },
    Row { command: "keygen", more: "own.toml", ..MACHINES },
    Row {
        command: "genesis --validators FILE --out DIR",
        filled: &["{dir}/validators.toml", "{dir}/chain"],
        more: "--accounts 20 --balance 1000 --name apart --verify all --port 27100",
        says: &["each puts its key beside its configuration, as key.toml"],
        ..MACHINES
    },
    Row {
        command: "status --node 127.0.0.1:34101",
        filled: &["{node-0}"],
        says: &["absent validator 2 at ", "absent validator 3 at "],
        ..MACHINES
    },
    Row {
        command: "node --config DIR/node-2/config.toml",
        filled: &["{dir}/chain"],
        says: &["node       2 of 4, data in "],
        ..MACHINES
    },
    Row {
        command: "node --http IP:PORT",
        filled: &["{http}"],
        more: "--config {dir}/chain/node-3/config.toml",
        says: &["node       3 of 4, data in ", "http       http://"],
        ..MACHINES
    },
    Row {
        command: "node --observe --bootstrap HOST:PORT --genesis FILE --key FILE --dir DIR --listen-peers IP:PORT \
                  --listen-clients IP:PORT",
        filled: &["{peers-0}", "{dir}/chain/genesis", "{own}", "{dir}/observer", "{peers-4}", "{node-4}"],
        more: "--announce {peers-4}",
        says: &["node       observer of 4 validators, data in "],
        ..MACHINES
    },
];

/// Those that no document names, for flags of theirs.
pub const BESIDES: &[Row] = &[
    Row {
        command: "bench --in-flight 512 --seed 7 --snapshot-after-bytes 100000 --net-threads 2 --verbose",
        more: ONE,
        says: &["agreed"],
        ..ROW
    },
    Row { command: "inspect DIR --json", filled: &["{dir}/kept/n4/node-0"], says: &["\"segments\""], ..ROW },
    Row {
        command: "export-state DIR FILE --json",
        filled: &["{dir}/kept/n4/node-0", "{dir}/accounts-again"],
        says: &["\"root\""],
        ..ROW
    },
    Row {
        command: "sim --forgetful --crypto cached --jobs 1 --seeds 3..5 --duration 1s",
        says: &["agreed"],
        ..TROUBLE
    },
    Row {
        command: "sim --cores 2 --liars twins --calibration FILE --verify all",
        filled: &["{dir}/costs.json"],
        more: "--duration 1s",
        says: &["agreed"],
        ..TROUBLE
    },
    Row {
        command: "send --no-wait --keys FILE --from 3 --to 2 --amount 5 --genesis FILE",
        filled: &["{dir}/chain/accounts.toml", "{dir}/chain/genesis"],
        more: "--node {node-0}",
        says: &["accepted: nonces "],
        ..MACHINES
    },
    Row {
        command: "watch --genesis FILE --blocks 1 --timeout 30s",
        filled: &["{dir}/chain/genesis"],
        more: "--node {node-2}",
        says: &["blocks/s"],
        ..MACHINES
    },
    Row {
        command: "genesis --validators 2 --out DIR --json",
        filled: &["{dir}/other"],
        says: &["\"chain\""],
        ..MACHINES
    },
    // The last on its chain: its load goes on with the nonces of all accounts.
    Row {
        command: "stress --target HOST:PORT",
        filled: &["{node-0},{peers-0}"],
        more: "--keys {dir}/chain/accounts.toml --genesis {dir}/chain/genesis --peers 15 --duration 1s --calm 1s --rate 50",
        ..MACHINES
    },
];

/// Flags that another test exercises: command, flags, file and function.
pub const ELSEWHERE: &[(&str, &[&str], &str, &str)] = &[
    (
        "sim",
        &["--bandwidth", "--keep", "--plan"],
        "tests/command_line.rs",
        "a_run_that_fails_is_made_smaller_kept_and_repeated_by_one_line",
    ),
    ("sim", &["--write-plan"], "tests/command_line.rs", "written_plan"),
    (
        "sim",
        &["--json"],
        "tests/command_line.rs",
        "a_world_prints_its_nodes_and_verdict_and_repeats_in_another_process",
    ),
    (
        "verify",
        &["--from-height", "--no-signatures"],
        "tests/command_line.rs",
        "a_kept_directory_is_checked_and_shown",
    ),
    (
        "verify",
        &["--json"],
        "tests/operating.rs",
        "four_processes_settle_transfers_and_go_on_after_one_was_stopped",
    ),
    (
        "inspect",
        &["--height", "--batch", "--tx", "--account", "--segment"],
        "tests/command_line.rs",
        "a_kept_directory_is_checked_and_shown",
    ),
    ("account", &["--json"], "tests/operating.rs", "balance"),
    ("status", &["--json"], "tests/operating.rs", "status"),
    ("status", &["--timeout"], "tests/operating.rs", "transfers_that_cannot_be_are_refused_with_the_reason"),
    ("status", &["--genesis"], "tests/operating.rs", "a_node_serves_http_and_what_it_says_is_proven"),
    (
        "send",
        &["--fee", "--count"],
        "tests/operating.rs",
        "four_processes_settle_transfers_and_go_on_after_one_was_stopped",
    ),
    ("send", &["--nonce"], "tests/operating.rs", "transfers_that_cannot_be_are_refused_with_the_reason"),
    (
        "watch",
        &["--json"],
        "tests/operating.rs",
        "four_processes_settle_transfers_and_go_on_after_one_was_stopped",
    ),
    ("node", &["--peers"], "tests/operating.rs", "files_that_are_wrong_are_named"),
];
