//! `throng stress`.

use super::live::Live;
use super::{AGAINST, AGREED, BAD_INPUT, INTERRUPTED, table, value};
use crate::lab::Interrupt;
use crate::lab::peers::PeerKind;
use crate::lab::session::SessionError;
use crate::lab::stress::{self, StressConfig};
use clap::ValueEnum;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// The flags of `throng stress`; a [`StressConfig`] in what people type.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// How many peers misbehave
    #[arg(long, value_name = "N", value_parser = value::count, allow_negative_numbers = true, default_value_t = 200)]
    peers: u64,
    /// What they do, in turn
    #[arg(long, value_enum, value_delimiter = ',', default_value = "idle,garbage")]
    kind: Vec<Kind>,
    /// Nodes of the chain
    #[arg(long, value_name = "N", value_parser = value::nodes, allow_negative_numbers = true, default_value = "4")]
    nodes: usize,
    /// Each node as a process of its own, apart from the load and the peers
    #[arg(long)]
    processes: bool,
    /// Length of each of the three parts
    #[arg(long, value_name = "SPAN", value_parser = value::span, allow_hyphen_values = true, default_value = "10s")]
    duration: Duration,
    /// One JSON document on standard output instead of the table
    #[arg(long)]
    json: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum Kind {
    /// Connect and say nothing
    Idle,
    /// Connect as clients, say hello and then nothing: as many as these stay connected
    Quiet,
    /// Connect and send random bytes, again and again
    Garbage,
    /// Submit well-formed rows with wrong signatures as clients, 100 per second in all
    Forged,
}

impl Args {
    fn config(&self, program: Option<PathBuf>) -> StressConfig {
        let kind = |kind: &Kind| match kind {
            Kind::Idle => PeerKind::Idle,
            Kind::Quiet => PeerKind::Quiet,
            Kind::Garbage => PeerKind::Garbage,
            Kind::Forged => PeerKind::Forged,
        };
        StressConfig {
            nodes: self.nodes,
            peers: usize::try_from(self.peers).unwrap_or(usize::MAX),
            kinds: self.kind.iter().map(kind).collect(),
            duration: self.duration,
            program,
            ..StressConfig::default()
        }
    }
}

/// Runs the command; the exit status.
pub fn run(args: &Args, interrupt: &Interrupt, logs: bool) -> u8 {
    let config = match super::program(args.processes) {
        Ok(program) => args.config(program),
        Err(status) => return status,
    };
    let live = Live::start(logs);
    let result = stress::run(&config, interrupt, &|nodes, step| live.show(nodes, step));
    live.end();
    let document = match result {
        Ok(document) => document,
        Err(error) => {
            eprintln!("throng: {error}");
            return match error {
                SessionError::BadInput(_) => BAD_INPUT,
                SessionError::Interrupted => INTERRUPTED,
                _ => AGAINST,
            };
        }
    };
    let text = match args.json {
        true => serde_json::to_string_pretty(&document).unwrap_or_else(|error| error.to_string()),
        false => table::stress(&document),
    };
    let mut out = std::io::stdout().lock();
    if let Err(error) = writeln!(out, "{text}").and_then(|()| out.flush()) {
        eprintln!("throng: cannot write the results: {error}");
        return AGAINST;
    }
    match () {
        () if document.verdict != "agreed" || !document.exceeded.is_empty() => AGAINST,
        () if document.interrupted => INTERRUPTED,
        () => AGREED,
    }
}
