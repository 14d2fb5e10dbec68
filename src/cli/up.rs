//! `throng up`: a chain on this machine that stays until it is stopped.

use super::files::{ChainArgs, refused};
use super::{AGAINST, AGREED, BAD_INPUT, node, value};
use crate::api::http::HttpServer;
use crate::home::{self, Config, HomeError};
use crate::lab::{Interrupt, machine};
use crate::net::RunningNode;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the nodes are looked after.
const LOOK: Duration = Duration::from_millis(200);

/// The flags of `throng up`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// How many validators; a chain that is there already keeps its own
    #[arg(long, value_name = "N", value_parser = value::count, allow_negative_numbers = true, default_value_t = 4)]
    nodes: u64,
    /// Where the chain lives: a new directory, or one that `throng genesis` or `throng up` made, which goes on.
    /// Without it, the chain is gone when it stops
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The first port for HTTP, on this machine only: node K takes this one + K, unless its configuration says otherwise; 0:
    /// any free ones. Without it 28100, or any free one where that is in use
    #[arg(long, value_name = "PORT")]
    http_port: Option<u16>,
    #[command(flatten)]
    chain: ChainArgs,
}

/// The first port for HTTP unless another is given.
const HTTP_PORT: u16 = 28_100;

/// A node and its HTTP server.
struct Up {
    http: HttpServer,
    node: RunningNode,
}

/// Runs the command; the exit status.
pub fn run(args: &Args, interrupt: &Interrupt) -> u8 {
    let passing = match args.dir {
        Some(_) => None,
        None => match tempfile::Builder::new().prefix("throng-up-").tempdir() {
            Ok(dir) => Some(dir),
            Err(error) => {
                eprintln!("throng: cannot make a directory for the chain: {error}; name one with --dir");
                return AGAINST;
            }
        },
    };
    let Some(dir) = args.dir.as_deref().or(passing.as_ref().map(|dir| dir.path())) else { return AGAINST };
    machine::raise_descriptor_limit();
    let nodes = match start(args, dir) {
        Ok(nodes) => nodes,
        Err(status) => return status,
    };
    if let Err(status) = super::print(&words(dir, &nodes, passing.is_some())) {
        return status;
    }
    while !interrupt.wait(LOOK) && nodes.iter().all(|up| up.node.failure().is_none()) {}
    let mut status = AGREED;
    for (seat, Up { http, node }) in nodes.into_iter().enumerate() {
        drop(http);
        let line = match node.stop() {
            Ok(stopped) => {
                format!("node {seat} stopped at height {}, block {}", stopped.height, stopped.hash)
            }
            Err(reason) => {
                status = AGAINST;
                eprintln!("throng: node {seat} stopped: {reason}");
                continue;
            }
        };
        if let Err(failed) = super::print(&line) {
            status = failed;
        }
    }
    status
}

/// Makes the chain if it is not there, and starts all of its nodes.
fn start(args: &Args, dir: &Path) -> Result<Vec<Up>, u8> {
    if !dir.join("genesis").exists() {
        let count = u16::try_from(args.nodes).map_err(|_| {
            refused(&HomeError::Flag(format!("--nodes is {}, but must lie between 1 and 1024", args.nodes)))
        })?;
        home::write_chain(dir, &args.chain.layout(), Err(count)).map_err(|error| refused(&error))?;
    }
    let genesis = home::read_genesis(&dir.join("genesis")).map_err(|error| refused(&error))?;
    // On an error those already started are stopped by their drop.
    (0..genesis.seats.len())
        .map(|seat| {
            let file = dir.join(format!("node-{seat}")).join("config.toml");
            let config = home::read_config(Some(&file), toml::Table::new()).and_then(|file| file.open());
            let config = config.map_err(|error| refused(&error))?;
            start_one(config, args.http_port, seat).map_err(|(status, line)| {
                eprintln!("throng: node {seat}: {line}");
                status
            })
        })
        .collect()
}

/// Starts a node, and serves HTTP for it.
fn start_one(config: Config, http_port: Option<u16>, seat: usize) -> Result<Up, (u8, String)> {
    let (first, some) = (http_port.unwrap_or(HTTP_PORT), u16::try_from(seat).unwrap_or(u16::MAX));
    let here = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let address = config.http.or_else(|| match first {
        0 => Some(here(0)),
        first => first.checked_add(some).map(here),
    });
    let address = address
        .ok_or_else(|| (BAD_INPUT, format!("--http-port is {first}, and leaves no port for node {seat}")))?;
    let listener = match node::listen_http(address) {
        // Nobody asked for this very port.
        Err(_) if config.http.is_none() && http_port.is_none() => node::listen_http(here(0)),
        listener => listener,
    }?;
    let node = node::start(config)?;
    let http = node::serve_http(&node, listener)?;
    Ok(Up { http, node })
}

fn words(dir: &Path, nodes: &[Up], passing: bool) -> String {
    let mut lines = vec![format!(
        "{} nodes run in {}{}",
        nodes.len(),
        dir.display(),
        if passing { ", which goes away with them" } else { "" }
    )];
    for (seat, Up { http, node }) in nodes.iter().enumerate() {
        let (peers, clients) = (node.peer_address(), node.client_address());
        lines.push(format!("node {seat}: peers {peers}, clients {clients}, http://{}", http.address()));
    }
    if let Some(Up { http, node }) = nodes.first() {
        let (node, keys) = (node.client_address(), dir.join("accounts.toml"));
        lines.extend([
            "try:".to_owned(),
            format!("  throng status --node {node}"),
            format!("  throng send --node {node} --keys {} --from 1 --to 2 --amount 5", keys.display()),
            format!("  throng account 2 --node {node}"),
            format!("  throng watch --node {node}"),
            format!("  curl http://{}/v1/account/2", http.address()),
            "Ctrl-C stops all".to_owned(),
        ]);
    }
    lines.join("\n")
}
