//! `throng stress`, and the process of its hostile peers.

use super::live::Live;
use super::{AGAINST, AGREED, BAD_INPUT, INTERRUPTED, stress_table, value};
use crate::lab::Interrupt;
use crate::lab::hostile::{self, KINDS, Kind};
use crate::lab::session::SessionError;
use crate::lab::stress::{self, StressConfig, target, target::TargetConfig};
use clap::ValueEnum;
use clap::builder::PossibleValue;
use std::path::PathBuf;
use std::time::Duration;

/// The flags of `throng stress`; a [`StressConfig`] in what people type.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// How many peers are hostile
    #[arg(long, value_name = "N", value_parser = value::count, allow_negative_numbers = true, default_value_t = 200)]
    peers: u64,
    /// What they do, in turn
    #[arg(long, value_enum, value_delimiter = ',', default_value = "all")]
    kind: Vec<Choice>,
    /// Nodes of the chain
    #[arg(long, value_name = "N", value_parser = value::nodes, allow_negative_numbers = true, default_value = "4")]
    nodes: usize,
    /// How long they stay
    #[arg(long, value_name = "SPAN", value_parser = value::span, allow_hyphen_values = true, default_value = "15s")]
    duration: Duration,
    /// How long is measured without them, before and after
    #[arg(long, value_name = "SPAN", value_parser = value::span, allow_hyphen_values = true, default_value = "10s")]
    calm: Duration,
    /// Nodes that run already, instead of a chain of its own: addresses for clients, and for peers too if these are to be
    /// troubled. What nodes do not tell their clients is not known then
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', conflicts_with = "nodes")]
    target: Vec<String>,
    /// The genesis of the target's chain, for kinds that shake hands as observers do
    #[arg(long, value_name = "FILE", requires = "target")]
    genesis: Option<PathBuf>,
    /// A keyring with accounts of the target's chain, such as accounts.toml of `throng up --dir`: from these a load is sent
    #[arg(long, value_name = "FILE", requires = "target")]
    keys: Option<PathBuf>,
    /// The load on a target in transactions per second
    #[arg(long, value_name = "N", value_parser = value::count, requires = "keys", default_value_t = 500)]
    rate: u64,
    /// One JSON document on standard output instead of the tables
    #[arg(long)]
    json: bool,
}

/// A kind, or all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Choice {
    All,
    One(Kind),
}

impl ValueEnum for Choice {
    fn value_variants<'a>() -> &'a [Choice] {
        const CHOICES: [Choice; KINDS.len() + 1] = {
            let mut choices = [Choice::All; KINDS.len() + 1];
            let mut place = 0;
            while place < KINDS.len() {
                choices[place + 1] = Choice::One(KINDS[place].kind);
                place += 1;
            }
            choices
        };
        &CHOICES
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Choice::All => PossibleValue::new("all").alias("mixed").help("All of the following, in turn"),
            Choice::One(kind) => PossibleValue::new(kind.name()).help(kind.about().help),
        })
    }
}

impl Args {
    fn kinds(&self) -> Vec<Kind> {
        let mut kinds = Vec::new();
        for kind in KINDS.iter().map(|about| about.kind) {
            if self.kind.contains(&Choice::All) || self.kind.contains(&Choice::One(kind)) {
                kinds.push(kind);
            }
        }
        kinds
    }

    fn target(&self, program: PathBuf) -> TargetConfig {
        let of_own = StressConfig::default();
        TargetConfig {
            addresses: self.target.clone(),
            genesis: self.genesis.clone(),
            keys: self.keys.clone(),
            rate: self.rate as f64,
            peers: usize::try_from(self.peers).unwrap_or(usize::MAX),
            kinds: (!self.kind.contains(&Choice::All)).then(|| self.kinds()),
            duration: self.duration,
            calm: self.calm,
            program,
            seed: of_own.seed,
        }
    }

    fn config(&self, program: PathBuf) -> StressConfig {
        StressConfig {
            nodes: self.nodes,
            peers: usize::try_from(self.peers).unwrap_or(usize::MAX),
            kinds: self.kinds(),
            duration: self.duration,
            calm: self.calm,
            program,
            ..StressConfig::default()
        }
    }
}

/// Runs the command; the exit status.
pub fn run(args: &Args, interrupt: &Interrupt, logs: bool) -> u8 {
    let program = match super::program() {
        Ok(program) => program,
        Err(status) => return status,
    };
    let live = Live::start(logs);
    let watch = |nodes, step| live.show(nodes, step);
    let result = match args.target.is_empty() {
        true => stress::run(&args.config(program), interrupt, &watch),
        false => target::run(&args.target(program), interrupt, &watch),
    };
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
        false => stress_table::stress(&document),
    };
    if let Err(status) = super::print(&text) {
        return status;
    }
    match () {
        () if document.verdict != "agreed" || !document.exceeded.is_empty() => AGAINST,
        () if document.interrupted => INTERRUPTED,
        () => AGREED,
    }
}

/// Lets hostile peers loose for the process that started this one; the exit status.
pub fn hostile() -> u8 {
    match hostile::serve() {
        Ok(()) => AGREED,
        Err(reason) => {
            eprintln!("throng: hostile peers: {reason}");
            BAD_INPUT
        }
    }
}
