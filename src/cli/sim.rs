//! `throng sim`.

use super::bench::Verify;
use super::{AGAINST, AGREED, BAD_INPUT, INTERRUPTED, sim_table, value};
use crate::lab::Interrupt;
use crate::sim::{
    self, Calibration, Crypto, KINDS, Kinds, LIES, Plan, REAL_CRYPTO_NODES, RunError, RunReport, SimConfig,
    SimError, Verdict,
};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Tries at making a failing plan smaller.
const SHRINK_RUNS_MAX: usize = 60;
/// Seeds of one command at most.
const SEEDS_MAX: u64 = 1_000_000;

/// Every kind by its name, so that no list of them is out of date.
fn faults_help() -> String {
    let words = |kind: &&str| {
        match *kind {
        "amnesia" => "amnesia (a guard or a directory is lost, damaged or an old copy, or a log is damaged in its middle)".into(),
        "late" => "late (a node starts when the chain is far ahead)".into(),
        kind => kind.to_owned(),
    }
    };
    let honest: Vec<String> = KINDS.iter().filter(|kind| **kind != "silent").map(words).collect();
    format!(
        "none, or some of: all, which is honest and lies; honest, which is {}; lies, which is {} (by the last f nodes); and \
         silent: f nodes never start",
        honest.join(", "),
        LIES.join(", ")
    )
}

/// The flags of `throng sim`; a [`SimConfig`] and a choice of faults in what people type.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Nodes, all of them validators
    #[arg(long, value_name = "N", value_parser = value::nodes, allow_negative_numbers = true, default_value = "4")]
    nodes: usize,
    /// From which everything arbitrary is drawn
    #[arg(long, value_name = "N", value_parser = value::count, allow_negative_numbers = true, default_value_t = 1, conflicts_with = "seeds")]
    seed: u64,
    /// One run per seed, the end not included
    #[arg(long, value_name = "A..B", value_parser = value::seeds, allow_hyphen_values = true)]
    seeds: Option<Range<u64>>,
    /// Length of a run in virtual time
    #[arg(long, value_name = "SPAN", value_parser = value::span, allow_hyphen_values = true, default_value = "30s")]
    duration: Duration,
    /// Rows that clients send per second, in all
    #[arg(long, value_name = "N", value_parser = value::count, allow_negative_numbers = true, default_value_t = SimConfig::default().load)]
    load: u64,
    /// Accounts that send them
    #[arg(long, value_name = "N", value_parser = value::count, allow_negative_numbers = true, default_value_t = SimConfig::default().accounts.into())]
    accounts: u64,
    /// Who checks a transaction's signature
    #[arg(long, value_enum, default_value_t = Verify::Quorum)]
    verify: Verify,
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "none", help = faults_help())]
    faults: Vec<String>,
    /// The last f nodes tell this lie from the beginning to the end, besides the faults
    #[arg(long, value_name = "LIE")]
    liars: Option<String>,
    /// Play this plan instead: its world, its faults
    #[arg(long, value_name = "FILE", conflicts_with_all = ["nodes", "seed", "seeds", "duration", "load", "accounts", "verify", "faults", "liars", "regions", "bandwidth", "cores", "calibration", "forgetful", "crypto"])]
    plan: Option<PathBuf>,
    /// Regions of the world to which the nodes belong in turn, such as virginia,frankfurt,tokyo; or all
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    regions: Vec<String>,
    /// What each node can send, and receive
    #[arg(long, value_name = "RATE", value_parser = value::bandwidth, allow_hyphen_values = true, default_value = "1gbit")]
    bandwidth: u64,
    /// Cores of each node
    #[arg(long, value_name = "N", value_parser = value::count, allow_negative_numbers = true, default_value_t = SimConfig::default().cores.into())]
    cores: u64,
    /// What work costs there (JSON; the figures built in are those of one server of 2021)
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    /// Nodes keep little for peers that are behind, so that these catch up by blocks, or begin anew at an account table
    #[arg(long)]
    forgetful: bool,
    /// Whether every node checks signatures itself; cached above 16 nodes unless said
    #[arg(long, value_enum)]
    crypto: Option<CryptoArg>,
    /// Where the plans of failing runs are kept
    #[arg(long, value_name = "DIR", default_value = ".")]
    keep: PathBuf,
    /// Worlds played at once; 0: as many as there are cores
    #[arg(long, value_name = "N", value_parser = value::count, allow_negative_numbers = true, default_value_t = 0)]
    jobs: u64,
    /// Write the plan to this file before playing it (with one seed)
    #[arg(long, value_name = "FILE", conflicts_with = "seeds")]
    write_plan: Option<PathBuf>,
    /// One JSON document on standard output instead of the tables
    #[arg(long)]
    json: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum CryptoArg {
    /// Every node checks and decodes everything itself
    Real,
    /// The first node's verdict on the same bytes serves all; modelled times stay
    Cached,
}

impl Args {
    fn config(&self, seed: u64) -> Result<SimConfig, SimError> {
        let small = |name, value: u64, most: u64| {
            u32::try_from(value).map_err(|_| SimError::Range { name, value, least: 1, most })
        };
        let nodes = self.nodes as u64;
        let nodes = u16::try_from(nodes).map_err(|_| SimError::Range {
            name: "--nodes",
            value: nodes,
            least: 1,
            most: 1024,
        })?;
        let crypto = match self.crypto {
            Some(CryptoArg::Real) => Crypto::Real,
            Some(CryptoArg::Cached) => Crypto::Cached,
            None if nodes > REAL_CRYPTO_NODES => Crypto::Cached,
            None => Crypto::Real,
        };
        let calibration = self.calibration.as_deref().map(Calibration::read).transpose()?.unwrap_or_default();
        let config = SimConfig {
            nodes,
            seed,
            duration_ms: self.duration.as_millis() as u64,
            load: self.load,
            accounts: small("--accounts", self.accounts, 1 << 20)?,
            verify: self.verify.policy(),
            regions: self.regions.clone(),
            bandwidth: self.bandwidth,
            cores: small("--cores", self.cores, 256)?,
            forgetful: self.forgetful,
            crypto,
            calibration,
        };
        config.check().map(|()| config)
    }

    fn plans(&self) -> Result<Plans, SimError> {
        if let Some(path) = &self.plan {
            return Plan::read(path).map(|plan| Plans::One(Box::new(plan)));
        }
        let end = self.seed.checked_add(1).ok_or(SimError::Range {
            name: "--seed",
            value: self.seed,
            least: 0,
            most: u64::MAX - 1,
        })?;
        let seeds = self.seeds.clone().unwrap_or(self.seed..end);
        let (value, least, most) = (seeds.end - seeds.start, 1, SEEDS_MAX);
        if !(least..=most).contains(&value) {
            return Err(SimError::Range { name: "the number of --seeds", value, least, most });
        }
        let (config, kinds) = (self.config(seeds.start)?, Kinds::read(&self.faults)?);
        Ok(Plans::Drawn(config, kinds, self.liars.clone(), seeds))
    }

    /// The flags that give the same run again, without the plan.
    fn repeat(&self, seed: u64) -> String {
        let mut line = format!(
            "throng sim --nodes {} --seed {seed} --duration {}ms --load {} --accounts {} --faults {} --bandwidth {}kbit --cores {}",
            self.nodes,
            self.duration.as_millis(),
            self.load,
            self.accounts,
            self.faults.join(","),
            self.bandwidth as f64 / 1000.0,
            self.cores
        );
        if matches!(self.verify, Verify::All) {
            line.push_str(" --verify all");
        }
        if let Some(lie) = &self.liars {
            line.push_str(&format!(" --liars {lie}"));
        }
        if !self.regions.is_empty() {
            line.push_str(&format!(" --regions {}", self.regions.join(",")));
        }
        if let Some(path) = &self.calibration {
            line.push_str(&format!(" --calibration {}", path.display()));
        }
        match self.crypto {
            Some(CryptoArg::Real) => line.push_str(" --crypto real"),
            Some(CryptoArg::Cached) => line.push_str(" --crypto cached"),
            None => {}
        }
        line
    }
}

/// What is to be played.
enum Plans {
    One(Box<Plan>),
    Drawn(SimConfig, Kinds, Option<String>, Range<u64>),
}

impl Plans {
    fn count(&self) -> usize {
        match self {
            Plans::One(_) => 1,
            Plans::Drawn(.., seeds) => (seeds.end - seeds.start) as usize,
        }
    }

    fn plan(&self, number: usize) -> Result<Plan, SimError> {
        match self {
            Plans::One(plan) => Ok((**plan).clone()),
            Plans::Drawn(config, kinds, liars, seeds) => {
                let seed = seeds.start + number as u64;
                let plan = Plan::draw(SimConfig { seed, ..config.clone() }, kinds);
                match liars {
                    Some(lie) => plan.with_liars(lie),
                    None => Ok(plan),
                }
            }
        }
    }
}

/// Runs the command; the exit status.
pub fn run(args: &Args, interrupt: &Interrupt, logs: bool) -> u8 {
    let plans = match prepare(args) {
        Ok(plans) => plans,
        Err(error) => {
            eprintln!("throng: {error}");
            return BAD_INPUT;
        }
    };
    let threads = match args.jobs {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        jobs => usize::try_from(jobs).unwrap_or(usize::MAX).min(1024),
    };
    let bar = Bar::new(plans.count(), logs);
    let single = plans.count() == 1;
    let play = |number| {
        let plan = plans.plan(number)?;
        let whole = plan.config.duration();
        sim::run(plan, &|now| {
            if single {
                bar.at(now, whole);
            }
            interrupt.is_raised()
        })
    };
    let (reports, error) = sim::many(plans.count(), threads, &play, &|report| bar.done(report));
    bar.end();
    let kept =
        if interrupt.is_raised() { Vec::new() } else { keep_failures(args, &plans, &reports, interrupt) };
    if let Some(RunError::BadInput(error)) = &error {
        eprintln!("throng: {error}");
        return BAD_INPUT;
    }
    if let Err(error) = print(args, &reports) {
        eprintln!("throng: cannot write all of the results: {error}");
        return AGAINST;
    }
    kept.iter().for_each(|line| eprintln!("throng: {line}"));
    let failed = reports.iter().any(|report| report.verdict != Verdict::Agreed);
    match () {
        () if failed => AGAINST,
        () if error.is_some() => INTERRUPTED,
        () => AGREED,
    }
}

fn prepare(args: &Args) -> Result<Plans, SimError> {
    let plans = args.plans()?;
    let first = plans.plan(0)?;
    first.check()?;
    if !args.keep.is_dir() {
        let reason = "is no directory that plans could be kept in".to_owned();
        return Err(SimError::File { path: args.keep.clone(), reason });
    }
    if let Some(path) = &args.write_plan {
        write_plan(path, &first)?;
    }
    Ok(plans)
}

fn write_plan(path: &Path, plan: &Plan) -> Result<(), SimError> {
    let refuse = |reason: String| SimError::File { path: path.to_owned(), reason };
    let mut text = serde_json::to_string_pretty(plan).map_err(|error| refuse(error.to_string()))?;
    text.push('\n');
    std::fs::write(path, text).map_err(|error| refuse(error.to_string()))
}

/// Makes the plans of failing runs smaller and keeps them; what to tell about it.
fn keep_failures(args: &Args, plans: &Plans, reports: &[RunReport], interrupt: &Interrupt) -> Vec<String> {
    let mut lines = Vec::new();
    for (number, report) in reports.iter().enumerate().filter(|(_, r)| r.verdict != Verdict::Agreed) {
        let Ok(plan) = plans.plan(number) else { continue };
        let fails = |plan: &Plan| {
            let again = sim::run(plan.clone(), &|_| interrupt.is_raised());
            again.is_ok_and(|again| again.verdict == report.verdict)
        };
        let shrunk = sim::shrink(&plan, SHRINK_RUNS_MAX, &fails);
        let path = args.keep.join(format!("sim-plan-n{}-seed{}.json", report.nodes, report.seed));
        let (left, all) = (shrunk.plan.faults.len(), plan.faults.len());
        match (&args.plan, write_plan(&path, &shrunk.plan)) {
            (_, Err(error)) => lines.push(format!("cannot keep the plan: {error}")),
            (Some(_), Ok(())) => {
                lines.push(format!("{left} of {all} faults are enough; repeat it: throng sim --plan {}", path.display()));
            }
            (None, Ok(())) => lines.push(format!(
                "seed {}: {left} of {all} faults are enough; repeat them: throng sim --plan {}; repeat all: {}",
                report.seed,
                path.display(),
                args.repeat(report.seed)
            )),
        }
        if interrupt.is_raised() {
            break;
        }
    }
    lines
}

fn print(args: &Args, reports: &[RunReport]) -> std::io::Result<()> {
    let text = match args.json {
        true => serde_json::to_string_pretty(&serde_json::json!({ "runs": reports }))
            .map_err(std::io::Error::other)?,
        false => sim_table::runs(reports),
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Progress on a terminal.
struct Bar(Option<ProgressBar>);

impl Bar {
    fn new(runs: usize, logs: bool) -> Bar {
        let shown = std::io::stderr().is_terminal() && !logs;
        Bar(shown.then(|| {
            let bar = ProgressBar::new(runs as u64);
            let template = "{spinner} {pos} of {len} runs {msg} [{elapsed}]";
            bar.set_style(
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        }))
    }

    fn at(&self, now: Duration, whole: Duration) {
        if let Some(bar) = &self.0 {
            bar.set_message(format!("· {:.1} of {:.1} virtual s", now.as_secs_f64(), whole.as_secs_f64()));
        }
    }

    fn done(&self, report: &RunReport) {
        if let Some(bar) = &self.0 {
            bar.inc(1);
            if report.verdict != Verdict::Agreed {
                bar.println(format!("seed {}: {}", report.seed, report.verdict.words()));
            }
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
