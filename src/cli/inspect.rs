//! `throng inspect` and `throng export-state`.

use super::bar::Bar;
use super::table::{frame, grouped};
use super::{AGAINST, AGREED, BAD_INPUT, INTERRUPTED, value};
use crate::audit::{
    self, AccountShown, AuditError, BatchShown, BlockShown, ExportError, Overview, Question, SegmentCounts,
    SegmentShown, Shown, TransactionShown,
};
use crate::lab::Interrupt;
use serde::Serialize;
use std::fmt::Write;
use std::path::PathBuf;

/// Rows of a batch that are shown to people; `--json` has all.
const ROWS_SHOWN: usize = 20;

/// The flags of `throng inspect`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// A node's data directory, such as DIR/n4/node-0 after `throng bench --nodes 4 --dir DIR`
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    what: What,
    /// One JSON document on standard output
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Clone, Debug)]
#[group(multiple = false)]
struct What {
    /// The block of this height
    #[arg(long, value_name = "H", value_parser = value::count, allow_negative_numbers = true)]
    height: Option<u64>,
    /// The batch whose id begins with these hex digits, eight or more
    #[arg(long, value_name = "ID", value_parser = value::digits)]
    batch: Option<String>,
    /// The settled transaction whose digest begins with these hex digits, eight or more
    #[arg(long, value_name = "DIGEST", value_parser = value::digits)]
    tx: Option<String>,
    /// The account of this number, after the last block
    #[arg(long, value_name = "N", value_parser = value::number, allow_negative_numbers = true)]
    account: Option<u32>,
    /// The records of this segment
    #[arg(long, value_name = "N", value_parser = value::number, allow_negative_numbers = true)]
    segment: Option<u32>,
}

impl What {
    fn question(&self) -> Question {
        let What { height, batch, tx, account, segment } = self.clone();
        let asked = [
            height.map(Question::Height),
            batch.map(Question::Batch),
            tx.map(Question::Transaction),
            account.map(Question::Account),
            segment.map(Question::Segment),
        ];
        asked.into_iter().flatten().next().unwrap_or(Question::Overview)
    }
}

/// The flags of `throng export-state`.
#[derive(clap::Args, Clone, Debug)]
pub struct ExportArgs {
    /// A node's data directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// A new file for the account table
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// One JSON document on standard output
    #[arg(long)]
    json: bool,
}

/// Runs `throng inspect`; the exit status.
pub fn run(args: &Args, interrupt: &Interrupt, logs: bool) -> u8 {
    let bar = Bar::start("reading", logs);
    let shown = audit::inspect(&args.dir, &args.what.question(), &|done, total| {
        bar.show(done, total);
        interrupt.is_raised()
    });
    bar.end();
    match shown {
        Ok(shown) => show(args.json, &shown, || words(&shown)),
        Err(error) => failed(&error),
    }
}

/// Runs `throng export-state`; the exit status.
pub fn export(args: &ExportArgs, interrupt: &Interrupt, logs: bool) -> u8 {
    let bar = Bar::start("replaying", logs);
    let exported = audit::export_state(&args.dir, &args.file, &|done, total| {
        bar.show(done, total);
        interrupt.is_raised()
    });
    bar.end();
    match exported {
        Ok(exported) => show(args.json, &exported, || {
            let accounts = grouped(exported.accounts.into());
            let (file, height) = (exported.file.display(), exported.height);
            format!(
                "{}  {file}\n{accounts} accounts after block {height}; `b3sum {file}` prints the same",
                exported.root
            )
        }),
        Err(ExportError::Audit(error)) => failed(&error),
        Err(error) => {
            eprintln!("throng: {error}");
            if matches!(error, ExportError::Exists(_)) { BAD_INPUT } else { AGAINST }
        }
    }
}

fn failed(error: &AuditError) -> u8 {
    eprintln!("throng: {error}");
    match error {
        AuditError::Interrupted => INTERRUPTED,
        error if error.is_fault() => AGAINST,
        _ => BAD_INPUT,
    }
}

fn show(json: bool, shown: &impl Serialize, words: impl FnOnce() -> String) -> u8 {
    let document = || serde_json::to_string_pretty(shown).unwrap_or_else(|error| error.to_string());
    let text = if json { document() } else { words() };
    super::print(&text).err().unwrap_or(AGREED)
}

fn words(shown: &Shown) -> String {
    match shown {
        Shown::Overview(overview) => overview_words(overview),
        Shown::Block(block) => block_words(block),
        Shown::Batch(batch) => batch_words(batch),
        Shown::Transaction(row) => row_words(row),
        Shown::Account(account) => account_words(account),
        Shown::Segment(segment) => segment_words(segment),
    }
}

fn overview_words(overview: &Overview) -> String {
    let header = [
        "segment",
        "batches",
        "vertices",
        "blocks",
        "heights",
        "certificates",
        "settlements",
        "evidence",
        "payload MB",
    ];
    let row = |counts: &SegmentCounts| {
        let heights = counts.heights.map_or("–".to_owned(), |(first, last)| format!("{first} to {last}"));
        let numbers = [counts.batches, counts.vertices, counts.blocks].map(grouped);
        let [batches, vertices, blocks] = numbers;
        let (certificates, bytes) = (grouped(counts.certificates), grouped(counts.bytes >> 20));
        vec![
            counts.segment.to_string(),
            batches,
            vertices,
            blocks,
            heights,
            certificates,
            counts.settlements.to_string(),
            counts.evidence.to_string(),
            bytes,
        ]
    };
    let Overview { name, chain, seats, genesis_accounts, policy, checkpoint_blocks, height, rows, .. } =
        overview;
    let mut out = format!(
        "chain     {chain} ({name})\ngenesis   {seats} seats, {} accounts, verification {policy}, a checkpoint every \
         {checkpoint_blocks} blocks\nheight    {}\nrows      {} in all batches\n",
        grouped(*genesis_accounts as u64),
        grouped(*height),
        grouped(*rows),
    );
    if !overview.snapshots.is_empty() {
        let heights: Vec<String> = overview.snapshots.iter().map(|height| grouped(*height)).collect();
        let _ = writeln!(out, "snapshots {}", heights.join(" and ")); // a String takes all
    }
    if overview.pruned > 0 {
        let last = grouped(overview.pruned);
        let _ = writeln!(out, "pruned    blocks 1 to {last}: of these only the blocks are kept"); // likewise
    }
    let _ = write!(out, "{}", frame(&header, header.len(), overview.segments.iter().map(row))); // a String takes all
    if let Some((at, bytes)) = &overview.torn {
        let (file, offset) = (at.file.display(), at.offset);
        let _ = write!(out, "\n{bytes} bytes of a torn tail in {file} at offset {offset}"); // likewise
    }
    out
}

fn block_words(block: &BlockShown) -> String {
    let mut out = format!(
        "block {} {}\nfile      {} at offset {}\nprevious  {}\nleader    seat {} in round {}, {}\ntime      {} µs\n\
         accounts  {}\noutcomes  {}",
        block.height,
        block.hash,
        block.at.file.display(),
        block.at.offset,
        block.previous,
        block.leader_seat,
        block.leader_round,
        block.leader_id,
        block.time_us,
        grouped(block.accounts.into()),
        match block.outcomes.as_slice() {
            [] if !block.settled.is_empty() =>
                "not known: its batches were removed, or come before the oldest snapshot".to_owned(),
            [] => "no rows".to_owned(),
            outcomes => outcomes
                .iter()
                .map(|(name, count)| format!("{} {name}", grouped(*count)))
                .collect::<Vec<_>>()
                .join(", "),
        },
    );
    for (kind, root) in &block.roots {
        let _ = write!(out, "\nroot      {root} ({kind})"); // a String takes all
    }
    for batch in &block.settled {
        let rows = batch.rows.map_or(String::new(), |rows| format!("{} rows, ", grouped(rows.into())));
        let (seat, sequence, id) = (batch.seat, batch.sequence, &batch.id);
        let _ = write!(out, "\nsettles   {sequence} of seat {seat}, {rows}{id}"); // likewise
    }
    out
}

fn batch_words(batch: &BatchShown) -> String {
    let header = ["row", "kind", "from", "to", "amount", "fee", "nonce", "outcome", "digest"];
    let row = |row: &TransactionShown| {
        let digest = row.digest.as_ref().map_or("–", |digest| &digest[..16]);
        vec![
            row.row.to_string(),
            row.kind.to_owned(),
            row.from.to_string(),
            row.to.to_string(),
            grouped(row.amount),
            grouped(row.fee.into()),
            row.nonce.to_string(),
            row.outcome.unwrap_or("–").to_owned(),
            digest.to_owned(),
        ]
    };
    let settled =
        batch.height.map_or("not settled".to_owned(), |height| format!("settled by block {height}"));
    let mut out = format!(
        "batch {}\nfile      {} at offset {}\nauthor    seat {}, number {}\nrows      {}, {settled}\n",
        batch.id,
        batch.at.file.display(),
        batch.at.offset,
        batch.seat,
        batch.sequence,
        grouped(batch.rows.into()),
    );
    let shown = batch.transactions.iter().take(ROWS_SHOWN).map(row);
    let _ = write!(out, "{}", frame(&header, 7, shown)); // a String takes all
    if let Some(more) = batch.transactions.len().checked_sub(ROWS_SHOWN).filter(|more| *more > 0) {
        let _ = write!(out, "\n{} more; --json has all", grouped(more as u64)); // likewise
    }
    out
}

fn row_words(row: &TransactionShown) -> String {
    let to =
        row.opens.as_ref().map_or_else(|| format!("account {}", row.to), |key| format!("the new key {key}"));
    let block = row.height.map_or("no block".to_owned(), |height| format!("block {height}"));
    format!(
        "transaction {}\nbatch     {}, row {}\n{}  account {} to {to}\namount    {}\nfee       {}\nnonce     {}\n\
         settled   {block}, {}",
        row.digest.as_deref().unwrap_or("–"),
        row.batch,
        row.row,
        if row.kind == "open" { "open    " } else { "transfer" },
        row.from,
        grouped(row.amount),
        grouped(row.fee.into()),
        row.nonce,
        row.outcome.unwrap_or("–"),
    )
}

fn account_words(account: &AccountShown) -> String {
    let AccountShown { account, key, balance, nonce_high, nonce_window, height, root } = account;
    format!(
        "account {account}\nkey       {key}\nbalance   {}\nnonces    highest {nonce_high}, window {nonce_window:016x}\n\
         height    {height}\nroot      {root}",
        grouped(*balance)
    )
}

fn segment_words(segment: &SegmentShown) -> String {
    let header = ["offset", "bytes", "kind", "which"];
    let rows = segment.records.iter().map(|record| {
        vec![
            record.offset.to_string(),
            grouped(record.bytes as u64),
            record.kind.to_owned(),
            record.name.clone(),
        ]
    });
    format!("{}\n{}", segment.file.display(), frame(&header, 2, rows))
}
