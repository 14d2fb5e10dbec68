//! `throng bench`.

use super::live::Live;
use super::{AGAINST, AGREED, BAD_INPUT, INTERRUPTED, table, value};
use crate::lab::Interrupt;
use crate::lab::bench::{self, BenchConfig, Outcome, Rate};
use crate::lab::payload::Payload;
use crate::lab::results::Document;
use crate::lab::session::SessionError;
use crate::net::ShapeConfig;
use crate::node::NodeConfig;
use crate::types::Policy;
use clap::ValueEnum;
use std::path::PathBuf;
use std::time::Duration;

/// The flags of `throng bench`; a [`BenchConfig`] in what people type.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Numbers of nodes, one chain after the other
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = value::nodes, allow_negative_numbers = true, default_value = "1,2,4,8")]
    nodes: Vec<usize>,
    /// Length of the measured window
    #[arg(long, value_name = "SPAN", value_parser = value::span, allow_hyphen_values = true, default_value = "10s")]
    duration: Duration,
    /// Load before the window
    #[arg(long, value_name = "SPAN", value_parser = value::span, allow_hyphen_values = true, default_value = "3s")]
    warmup: Duration,
    /// What clients send: transfers; opaque:SIZE sends blobs of SIZE bytes, ordered and stored but not executed
    #[arg(long, value_name = "transfers|opaque:SIZE", value_parser = value::payload, default_value = "transfers")]
    payload: Payload,
    /// Accounts; they take turns (with transfers)
    #[arg(long, value_name = "N", value_parser = value::count, allow_negative_numbers = true, default_value_t = 100_000)]
    accounts: u64,
    /// max: keep bounded queues full; N: so many transactions per second in all, on a schedule
    #[arg(long, value_name = "max|N", value_parser = value::rate, allow_negative_numbers = true, default_value = "max")]
    rate: Rate,
    /// With --rate max: rows sent and not yet settled, 16384 transfers or 16 MiB of blobs unless given; fewer give shorter
    /// queues and less throughput
    #[arg(long, value_name = "ROWS", value_parser = value::count, allow_negative_numbers = true)]
    in_flight: Option<u64>,
    /// Who checks a transaction's signature
    #[arg(long, value_enum, default_value_t = Verify::Quorum)]
    verify: Verify,
    /// Of how many of the newest blocks nodes keep everything; of older ones, once two snapshots lie above them, only the
    /// block. Latencies are then those of rows whose batches are kept
    #[arg(long, value_name = "N|all", value_parser = value::keep_blocks, allow_negative_numbers = true, default_value = "all")]
    keep_blocks: value::KeepBlocks,
    /// Log between two snapshots of the account table at least, in bytes
    #[arg(long, value_name = "BYTES", value_parser = value::count, allow_negative_numbers = true, default_value_t = NodeConfig::default().snapshot_after_bytes)]
    snapshot_after_bytes: u64,
    /// Each node as a process of its own, instead of all of them in this one
    #[arg(long)]
    processes: bool,
    /// Threads with which each node reads from and writes to its sockets
    #[arg(long, value_name = "N", value_parser = value::count, allow_negative_numbers = true, default_value_t = 1)]
    net_threads: u64,
    /// How much longer than here a message between nodes takes, one way, such as 40ms
    #[arg(long, value_name = "SPAN", value_parser = value::span, allow_hyphen_values = true)]
    delay: Option<Duration>,
    /// Regions of the world in which the nodes stand in turn (all: every one), as far from each other as they are there
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    regions: Vec<String>,
    /// From which keys and receivers are drawn
    #[arg(long, value_name = "N", value_parser = value::count, allow_negative_numbers = true, default_value_t = 1)]
    seed: u64,
    /// Keep the nodes' data and the results there (a new or empty directory)
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// One JSON document on standard output instead of the table
    #[arg(long)]
    json: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
pub(super) enum Verify {
    /// Every node: n checks per transaction
    All,
    /// The author and f others: f + 1 checks per transaction
    Quorum,
}

impl Verify {
    /// The rule of the chain that it stands for.
    pub fn policy(self) -> Policy {
        match self {
            Verify::All => Policy::All,
            Verify::Quorum => Policy::Quorum,
        }
    }
}

impl Args {
    /// What `throng` without a command runs.
    pub fn short() -> Args {
        let BenchConfig { payload, accounts, rate, in_flight, seed, .. } = BenchConfig::default();
        Args {
            nodes: vec![1, 4],
            duration: Duration::from_secs(5),
            warmup: Duration::from_secs(2),
            payload,
            accounts,
            rate,
            in_flight,
            verify: Verify::Quorum,
            keep_blocks: value::KeepBlocks(None),
            snapshot_after_bytes: NodeConfig::default().snapshot_after_bytes,
            processes: false,
            net_threads: 1,
            delay: None,
            regions: Vec::new(),
            seed,
            dir: None,
            json: false,
        }
    }

    /// The settings. `program`: this program, by which nodes become processes of their own.
    pub fn config(&self, program: Option<PathBuf>) -> BenchConfig {
        BenchConfig {
            program,
            nodes: self.nodes.clone(),
            duration: self.duration,
            warmup: self.warmup,
            payload: self.payload,
            accounts: self.accounts,
            rate: self.rate,
            in_flight: self.in_flight,
            verify: self.verify.policy(),
            keep_blocks: self.keep_blocks.0,
            snapshot_after_bytes: self.snapshot_after_bytes,
            net_threads: usize::try_from(self.net_threads).unwrap_or(usize::MAX),
            shape: ShapeConfig {
                delay_ms: self.delay.map_or(0, |delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
                regions: self.regions.clone(),
                ..ShapeConfig::default()
            },
            seed: self.seed,
            dir: self.dir.clone(),
        }
    }
}

/// Runs the command; the exit status.
pub fn run(args: &Args, interrupt: &Interrupt, logs: bool) -> u8 {
    let config = match args.processes.then(super::program).transpose() {
        Ok(program) => args.config(program),
        Err(status) => return status,
    };
    let live = Live::start(logs);
    let outcome = bench::run(&config, interrupt, &|nodes, step| live.show(nodes, step));
    live.end();
    let Outcome { document, error } = outcome;
    // Bad input leaves standard output empty; whatever was measured is shown.
    if (error.is_none() || !document.runs.is_empty())
        && let Err(error) = print(args, &document)
    {
        eprintln!("throng: cannot write all of the results: {error}");
        return AGAINST;
    }
    match error {
        Some(error @ SessionError::BadInput(_)) => {
            eprintln!("throng: {error}");
            BAD_INPUT
        }
        Some(error) => {
            eprintln!("throng: {error}");
            AGAINST
        }
        // A run that was cut short may have had no time to settle anything: that is not held against it.
        None if document
            .runs
            .iter()
            .any(|run| run.verdict != "agreed" && !(run.interrupted && run.verdict == "no progress")) =>
        {
            AGAINST
        }
        None if document.interrupted => INTERRUPTED,
        None => AGREED,
    }
}

fn print(args: &Args, document: &Document) -> std::io::Result<()> {
    use std::io::Write;
    let json = || serde_json::to_string_pretty(document).map_err(std::io::Error::other);
    let text = if args.json { json()? } else { table::bench(document) };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    match &args.dir {
        Some(dir) => {
            // Under its name only once it is whole.
            let mut file = tempfile::NamedTempFile::new_in(dir)?;
            file.write_all(json()?.as_bytes())?;
            file.persist(dir.join("results.json")).map(drop).map_err(|error| error.error)
        }
        None => Ok(()),
    }
}
