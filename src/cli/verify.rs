//! `throng verify`.

use super::bar::Bar;
use super::{AGAINST, AGREED, BAD_INPUT, INTERRUPTED, table::grouped, value};
use crate::audit::{self, AuditError, Options, Report, Verified};
use crate::lab::Interrupt;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// The flags of `throng verify`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// A node's data directory, such as DIR/n4/node-0 after `throng bench --nodes 4 --dir DIR`
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Check signatures from this block on; what comes before is read, hashed and executed all the same
    #[arg(long, value_name = "H", value_parser = value::count, allow_negative_numbers = true, default_value_t = 1, conflicts_with = "no_signatures")]
    from_height: u64,
    /// Check no signatures
    #[arg(long)]
    no_signatures: bool,
    /// One JSON document on standard output instead of the lines
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    dir: &'a PathBuf,
    verdict: &'static str,
    seconds: f64,
    #[serde(flatten)]
    verified: &'a Verified,
}

/// Runs the command; the exit status.
pub fn run(args: &Args, interrupt: &Interrupt, logs: bool) -> u8 {
    let options = Options {
        from_height: args.from_height,
        signatures: !args.no_signatures,
        threads: crate::lab::machine::cores(),
    };
    let bar = Bar::start("verifying", logs);
    let verified = audit::verify(&args.dir, &options, &|done, total| {
        bar.show(done, total);
        interrupt.is_raised()
    });
    let elapsed = bar.end();
    let verified = match verified {
        Ok(verified) => verified,
        Err(AuditError::Interrupted) => {
            eprintln!("throng: interrupted: nothing is known about the rest");
            return INTERRUPTED;
        }
        Err(error) => {
            eprintln!("throng: {error}");
            return BAD_INPUT;
        }
    };
    let verdict = if verified.fault.is_none() { "good" } else { "fault" };
    let document =
        Document { schema: 1, dir: &args.dir, verdict, seconds: elapsed.as_secs_f64(), verified: &verified };
    let text = if args.json {
        serde_json::to_string_pretty(&document).unwrap_or_else(|error| error.to_string())
    } else {
        words(args, &verified, elapsed)
    };
    match super::print(&text) {
        Err(status) => status,
        Ok(()) if verified.fault.is_some() => AGAINST,
        Ok(()) => AGREED,
    }
}

fn words(args: &Args, verified: &Verified, elapsed: Duration) -> String {
    let Report { name, chain, height, hash, transactions, ok, accounts, root, .. } = &verified.report;
    let Report { batches, vertices, checkpoints, last_checkpoint, signatures, bytes, .. } = &verified.report;
    let Report { certificates, certified, .. } = &verified.report;
    let seconds = elapsed.as_secs_f64();
    let speed = (*transactions as f64 / seconds.max(1e-9)) as u64;
    let count = |count: &u64| grouped(*count);
    let mut lines = vec![
        format!("directory     {}", args.dir.display()),
        format!("chain         {chain} ({name})"),
        format!("height        {}, block {hash}", count(height)),
        format!("transactions  {}, of which {} ok", count(transactions), count(ok)),
        format!(
            "records       {} batches, {} vertices, {} MB",
            count(batches),
            count(vertices),
            grouped(bytes >> 20)
        ),
        format!(
            "signatures    {} of transactions, {} of batches, {} of vertices, {} in certificates",
            count(&signatures.transactions),
            count(&signatures.batches),
            count(&signatures.vertices),
            count(&signatures.certificates)
        ),
        match checkpoints {
            0 => "checkpoints   none yet".to_owned(),
            _ => format!(
                "checkpoints   {} state roots, the last at height {}",
                count(checkpoints),
                count(last_checkpoint)
            ),
        },
        match certificates {
            0 => "certified     no checkpoint yet".to_owned(),
            _ => format!(
                "certified     {} checkpoints by a quorum each, the last at height {}",
                count(certificates),
                count(certified)
            ),
        },
        format!("state root    {root} ({} accounts)", grouped((*accounts).into())),
        format!("time          {seconds:.1} s, {} transactions per second", grouped(speed)),
    ];
    if verified.report.liars > 0 {
        let liars = count(&verified.report.liars);
        lines.insert(lines.len() - 2, format!("evidence      {liars} validators are proven to have lied"));
    }
    let Report { began, snapshots, .. } = &verified.report;
    if *snapshots > 0 {
        let words = format!("snapshots     {snapshots} with the account root of their checkpoint");
        lines.insert(lines.len() - 2, words);
    }
    if verified.report.missing > 0 {
        let words = format!(
            "joined        {} blocks are not here: the node went on from the account table of a checkpoint; replayed from block {}",
            count(&verified.report.missing),
            count(began)
        );
        lines.insert(2, words);
    } else if *began > 0 {
        let words = format!(
            "pruned        replayed from the snapshot of block {}; what comes before is checked as a chain of blocks",
            count(began)
        );
        lines.insert(2, words);
    }
    match &verified.fault {
        // A directory whose genesis is faulty has nothing to show.
        Some(fault) if chain.is_empty() => lines = vec![format!("fault: {fault}")],
        Some(fault) => lines.push(format!("fault: {fault}")),
        None => lines.push("good: nothing in this directory contradicts its genesis".to_owned()),
    }
    lines.join("\n")
}
