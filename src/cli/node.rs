//! `throng node`: one node of a chain over many machines.

use super::{AGAINST, AGREED, BAD_INPUT, files::refused, value};
use crate::api::http::{HttpLimits, HttpServer};
use crate::home::{self, Config, ConfigFile, HomeError};
use crate::lab::attached::Line;
use crate::lab::{Interrupt, machine};
use crate::net::{NodeSetup, RunningNode, StartError, Stopped};
use crate::node::Setup;
use crate::store::StoreError;
use serde::Serialize;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How often a node is looked after.
const LOOK: Duration = Duration::from_millis(200);

/// The flags of `throng node`: every key of the configuration, in its place.
#[derive(clap::Args, Clone, Debug, Serialize)]
pub struct Args {
    /// The configuration, as `throng genesis` writes it; flags stand above it
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// Print the configuration that results, and end
    #[arg(long)]
    #[serde(skip)]
    print_config: bool,
    /// The genesis of the chain
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    genesis: Option<PathBuf>,
    /// The key of one of its seats, as `throng keygen` writes it
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<PathBuf>,
    /// The data directory; made if missing
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    dir: Option<PathBuf>,
    /// Where it listens for peers
    #[arg(long, value_name = "IP:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen_peers: Option<SocketAddr>,
    /// Where it listens for clients
    #[arg(long, value_name = "IP:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen_clients: Option<SocketAddr>,
    /// Where it serves HTTP to people: health, status, metrics, accounts, blocks; without it, it does not
    #[arg(long, value_name = "IP:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<SocketAddr>,
    /// Where each validator is reached, in the order of seats, its own address among them
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    peers: Option<Vec<String>>,
    /// Any nodes of the chain, by which others are found
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    bootstrap: Option<Vec<String>>,
    /// Where the node tells others that it is reached
    #[arg(long, value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    announce: Option<String>,
    /// Follow the chain without a seat: verify all of it, sign nothing, serve others
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    observe: bool,
    /// For a bench that runs nodes as processes: standard input brings the sockets and takes the reports
    #[arg(long, hide = true)]
    #[serde(skip)]
    pub attached: bool,
    #[command(flatten)]
    node: Conduct,
    #[command(flatten)]
    store: Files,
    #[command(flatten)]
    net: Driver,
}

/// The section `node`.
#[derive(clap::Args, Clone, Debug, Serialize)]
struct Conduct {
    /// The most rows in the mempool
    #[arg(long, value_name = "ROWS", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    mempool_rows_max: Option<u64>,
    /// A snapshot of the account table after so many bytes of log, or four times the table if that is more
    #[arg(long, value_name = "BYTES", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_after_bytes: Option<u64>,
    /// Of how many of the newest blocks everything is kept; of older ones only the block, below two snapshots
    #[arg(long, value_name = "N|all", value_parser = value::keep_blocks, allow_negative_numbers = true)]
    #[serde(skip)]
    keep_blocks: Option<value::KeepBlocks>,
    #[command(flatten)]
    vertices_kept: Kept,
    /// Executed batches that stay at hand for peers that are behind
    #[arg(long, value_name = "N", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    batches_kept: Option<u64>,
}

/// The section `node.vertices_kept`.
#[derive(clap::Args, Clone, Debug, Serialize)]
struct Kept {
    /// Rounds of vertices kept for peers that are behind, as a multiple of the collection depth
    #[arg(long = "vertices-kept-depths", value_name = "N", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    depths: Option<u64>,
    /// More rounds than those are kept up to so much memory
    #[arg(long = "vertices-kept-bytes", value_name = "BYTES", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

/// The section `store`.
#[derive(clap::Args, Clone, Debug, Serialize)]
struct Files {
    /// Size of a new segment file
    #[arg(long, value_name = "BYTES", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    segment_bytes: Option<u64>,
    /// The largest record
    #[arg(long, value_name = "BYTES", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_bytes_max: Option<u64>,
    /// Most bytes that wait for the disk
    #[arg(long, value_name = "BYTES", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_bytes_max: Option<u64>,
    /// Most records that wait for the disk
    #[arg(long, value_name = "N", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_records_max: Option<u64>,
    /// Most bytes of one write with its sync
    #[arg(long, value_name = "BYTES", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    group_bytes_max: Option<u64>,
    /// Bytes of full segments that the system is left to keep in memory
    #[arg(long, value_name = "BYTES", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_bytes: Option<u64>,
    /// After how long a full disk is tried again, in milliseconds
    #[arg(long, value_name = "MS", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    full_retry_ms: Option<u64>,
}

/// The section `net`.
#[derive(clap::Args, Clone, Debug, Serialize)]
struct Driver {
    /// Threads that verify; 0 stands for one per core
    #[arg(long, value_name = "N", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    verify_threads: Option<u64>,
    /// Threads that read from and write to sockets; the event loop's own is the first of them
    #[arg(long, value_name = "N", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    net_threads: Option<u64>,
    /// Clients connected at once
    #[arg(long, value_name = "N", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    clients_max: Option<u64>,
    /// Connections of one address at once, of clients and, apart from them, of peers without identity
    #[arg(long, value_name = "N", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    per_address_max: Option<u64>,
    /// The same for a network: IPv4 /16, IPv6 /32, of peers without identity 64 at most; private ones are exempt
    #[arg(long, value_name = "N", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    per_group_max: Option<u64>,
    /// Handshakes per second of one address; its network has eight times as many
    #[arg(long, value_name = "N", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    handshakes_per_second: Option<u64>,
    /// New connections of clients per second of one address
    #[arg(long, value_name = "N", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    client_calls_per_second: Option<u64>,
    /// Bytes that are read per second from one peer; beyond, it waits
    #[arg(long, value_name = "BYTES", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_bytes_per_second: Option<u64>,
    /// Messages that are read per second from one peer; beyond, it waits
    #[arg(long, value_name = "N", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_messages_per_second: Option<u64>,
    /// Peers without a seat that are served at once: observers, and who only asks
    #[arg(long, value_name = "N", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    guests_max: Option<u64>,
    /// Bytes that are written per second to all of those together; beyond, they wait
    #[arg(long, value_name = "BYTES", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    guests_bytes_per_second: Option<u64>,
    /// Questions of all clients together (status, accounts, certificates) answered per second; beyond, they wait their turn
    #[arg(long, value_name = "N", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    client_questions_per_second: Option<u64>,
    /// Whether the limits for addresses hold for this machine's own too
    #[arg(long, value_name = "true|false")]
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_local: Option<bool>,
    #[command(flatten)]
    shape: Shape,
}

/// The section `net.shape`.
#[derive(clap::Args, Clone, Debug, Serialize)]
struct Shape {
    /// How long every message to a peer takes more than it does, in milliseconds: for experiments on one machine
    #[arg(long = "shape-delay-ms", value_name = "MS", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    /// Up to so many milliseconds more, at random
    #[arg(long = "shape-jitter-ms", value_name = "MS", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter_ms: Option<u64>,
    /// Regions of the world in which the seats stand in turn, whose distance is added
    #[arg(long = "shape-regions", value_name = "LIST", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    regions: Option<Vec<String>>,
    /// Bytes per second to one peer; 0: no limit
    #[arg(long = "shape-bytes-per-second", value_name = "BYTES", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_second: Option<u64>,
    /// A connection is reset at random, on average after so many seconds; 0: never
    #[arg(long = "shape-reset-after-s", value_name = "SECONDS", value_parser = value::setting, allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    reset_after_s: Option<u64>,
}

/// Runs the command; the exit status.
pub fn run(args: &Args, interrupt: &Interrupt) -> u8 {
    if args.attached {
        return attached(args, interrupt);
    }
    let file = match configuration(args) {
        Ok(file) => file,
        Err(error) => return refused(&error),
    };
    if args.print_config {
        return match toml::to_string(&file) {
            Ok(text) => super::print(text.trim_end()).err().unwrap_or(AGREED),
            Err(error) => refused(&HomeError::Flag(format!("a number is too large: {error}"))),
        };
    }
    let config = match file.open() {
        Ok(config) => config,
        Err(error) => return refused(&error),
    };
    machine::raise_descriptor_limit();
    let (seats, name, dir) = (config.genesis.seats.len(), config.genesis.name.clone(), config.dir.clone());
    let (seat, chain) = (config.seat, crate::wire::chain_id(&config.genesis));
    let (node, http) = match start_all(config) {
        Ok(started) => started,
        Err((status, line)) => {
            eprintln!("throng: {line}");
            return status;
        }
    };
    let who = match seat.taken() {
        Some(seat) => format!("{seat} of {seats}"),
        None => format!("observer of {seats} validators"),
    };
    let http_line =
        http.as_ref().map_or(String::new(), |http| format!("\nhttp       http://{}", http.address()));
    let lines = format!(
        "chain      {chain} ({name})\nnode       {who}, data in {}\npeers      {}{http_line}\nclients    {}",
        dir.display(),
        node.peer_address(),
        node.client_address()
    );
    if let Err(status) = super::print(&lines) {
        return status;
    }
    while !interrupt.wait(LOOK) && node.failure().is_none() {}
    drop(http);
    match node.stop() {
        Ok(Stopped { height, hash, .. }) => {
            super::print(&format!("stopped at height {height}, block {hash}")).err().unwrap_or(AGREED)
        }
        Err(reason) => {
            eprintln!("throng: the node stopped: {reason}");
            AGAINST
        }
    }
}

/// The file, and the flags above it.
fn configuration(args: &Args) -> Result<ConfigFile, HomeError> {
    let over = toml::Table::try_from(args)
        .map_err(|error| HomeError::Flag(format!("a number is too large: {error}")))?;
    let mut file = home::read_config(args.config.as_deref(), over)?;
    if let Some(value::KeepBlocks(kept)) = args.node.keep_blocks {
        file.node.keep_blocks = kept;
    }
    Ok(file)
}

/// Runs a node for the process that started it, which alone is told what becomes of it.
fn attached(args: &Args, interrupt: &Interrupt) -> u8 {
    let (mut line, listeners) = match Line::take_over() {
        Ok(taken) => taken,
        Err(error) => {
            eprintln!(
                "throng: --attached is for nodes that a bench starts, over its standard input: {error}"
            );
            return BAD_INPUT;
        }
    };
    machine::raise_descriptor_limit();
    let config = configuration(args).and_then(ConfigFile::open);
    let node =
        config.map_err(|error| (BAD_INPUT, error.to_string())).and_then(|config| start_on(config, listeners));
    match node {
        Ok(node) => line.serve(node, interrupt).map_or(AGAINST, |_| AGREED),
        Err((status, reason)) => {
            line.ended(&Err(reason));
            status
        }
    }
}

/// Starts a node; on failure the exit status and what to say.
pub fn start(config: Config) -> Result<RunningNode, (u8, String)> {
    let listen = |address: SocketAddr, whom: &str| {
        TcpListener::bind(address).map_err(|error| {
            (BAD_INPUT, format!("cannot listen for {whom} on {address}: {error}; is the port in use?"))
        })
    };
    let listeners = [listen(config.listen_peers, "peers")?, listen(config.listen_clients, "clients")?];
    start_on(config, listeners)
}

/// A socket for HTTP, bound before the node starts, so that a port in use is found out first.
pub fn listen_http(address: SocketAddr) -> Result<TcpListener, (u8, String)> {
    TcpListener::bind(address).map_err(|error| {
        (BAD_INPUT, format!("cannot listen for HTTP on {address}: {error}; is the port in use?"))
    })
}

/// Serves HTTP for a node that runs.
pub fn serve_http(node: &RunningNode, listener: TcpListener) -> Result<HttpServer, (u8, String)> {
    HttpServer::start(listener, node.view(), HttpLimits::default())
        .map_err(|error| (AGAINST, format!("cannot serve HTTP: {error}")))
}

/// Starts a node, and its HTTP server if it is to have one.
fn start_all(config: Config) -> Result<(RunningNode, Option<HttpServer>), (u8, String)> {
    let listener = config.http.map(listen_http).transpose()?;
    let node = start(config)?;
    let http = listener.map(|listener| serve_http(&node, listener)).transpose()?;
    Ok((node, http))
}

/// Starts a node on sockets for peers and for clients.
fn start_on(config: Config, listeners: [TcpListener; 2]) -> Result<RunningNode, (u8, String)> {
    let Config { genesis, seat, key, dir, peers, bootstrap, announce, names, node, store, net, .. } = config;
    // What may be arbitrary differs from node to node, and is the same again after a restart.
    let seed = crate::crypto::plain(&crate::crypto::public_key(&key));
    let seed = seed.first_chunk().copied().map_or(0, u64::from_le_bytes);
    let setup = Setup { genesis: Arc::new(genesis), seat, key, config: node, seed };
    let new = NodeSetup::new(setup, dir, listeners);
    let started = RunningNode::start(NodeSetup { store, net, peers, bootstrap, announce, names, ..new });
    started.map_err(|error| {
        let status = match error {
            // A directory that is not this chain's, or not this version's, was named by mistake; one in use may be free later.
            StartError::Store(
                StoreError::Config(_)
                | StoreError::OtherChain { .. }
                | StoreError::Foreign { .. }
                | StoreError::NewerFormat { .. },
            ) => BAD_INPUT,
            StartError::Store(_) | StartError::Recovery { .. } | StartError::System { .. } => AGAINST,
            _ => BAD_INPUT,
        };
        (status, error.to_string())
    })
}
