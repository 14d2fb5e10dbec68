//! `throng up`: a chain on this machine that stays until it is stopped.

use super::files::{ChainArgs, refused};
use super::{AGAINST, AGREED, node, value};
use crate::home::{self, HomeError};
use crate::lab::{Interrupt, machine};
use crate::net::RunningNode;
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
    #[command(flatten)]
    chain: ChainArgs,
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
    while !interrupt.wait(LOOK) && nodes.iter().all(|node| node.failure().is_none()) {}
    let mut status = AGREED;
    for (seat, node) in nodes.into_iter().enumerate() {
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
fn start(args: &Args, dir: &Path) -> Result<Vec<RunningNode>, u8> {
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
            node::start(config).map_err(|(status, line)| {
                eprintln!("throng: node {seat}: {line}");
                status
            })
        })
        .collect()
}

fn words(dir: &Path, nodes: &[RunningNode], passing: bool) -> String {
    let mut lines = vec![format!(
        "{} nodes run in {}{}",
        nodes.len(),
        dir.display(),
        if passing { ", which goes away with them" } else { "" }
    )];
    for (seat, node) in nodes.iter().enumerate() {
        lines.push(format!("node {seat}: peers {}, clients {}", node.peer_address(), node.client_address()));
    }
    if let Some(first) = nodes.first() {
        let (node, keys) = (first.client_address(), dir.join("accounts.toml"));
        lines.extend([
            "try:".to_owned(),
            format!("  throng status --node {node}"),
            format!("  throng send --node {node} --keys {} --from 1 --to 2 --amount 5", keys.display()),
            format!("  throng account 2 --node {node}"),
            format!("  throng watch --node {node}"),
            "Ctrl-C stops all".to_owned(),
        ]);
    }
    lines.join("\n")
}
