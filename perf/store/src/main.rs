//! Block files beside other embedded stores and the disk itself, paired in one run.
//!
//! `cargo run --release -- --dir DIR` (on the disk that is to be measured) prints two tables:
//!
//! - *Durable appends*: records of one size, so many handed over together, each group waited for until it is durable. The
//!   limit is the disk's own: writes of the group's size, each with a data sync, into a file that was filled with zeros
//!   before. They come in bursts with pauses between that do not count, so that what a store prepares ahead is prepared;
//!   `sustained` goes on for ten seconds without a pause, with all that costs beside: new segments, compaction, growth.
//! - *Random reads*: transactions of 96 bytes, a million of them, warm, one thread, the same order for all.
//!
//! All take turns in rounds, and each figure is the median of its rounds; what is being measured is said on standard error,
//! and all of it takes about eight minutes. What is not measured: cold files, several readers or writers, opening, deleting,
//! how much the files take; the peers' own ways to group commits of several threads.

mod disk;
mod fjall;
mod lmdb;
mod redb;
mod throng;

use bytes::Bytes;
use clap::Parser;
use comfy_table::Table;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Bytes of a transaction: its effects and its signature.
const TRANSACTION: usize = 96;
/// Transactions of a batch.
const ROWS: usize = 4096;
/// Transactions that are read from.
const TRANSACTIONS: usize = 1_000_000;
/// Reads of one measurement.
const READS: usize = 1_000_000;

/// A store under measurement.
trait Store {
    /// Appends these values, under the next numbers, and returns when all are durable.
    fn append(&mut self, values: &[Bytes]) -> Outcome<()>;
}

/// A store that holds [`TRANSACTIONS`] transactions, each the bytes of [`transaction`].
trait Reader {
    /// Reads the transactions of these numbers; the sum of their first bytes as numbers.
    fn read(&self, numbers: &[usize]) -> Outcome<u64>;
}

type Begin = fn(&Path) -> Outcome<Box<dyn Store>>;
type Fill = fn(&Path) -> Outcome<Box<dyn Reader>>;

/// Measures block files beside redb, fjall, LMDB and the disk.
#[derive(Parser)]
struct Args {
    /// A directory on the disk that is to be measured; a new one inside it is used and removed.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Rounds; each figure is the median over them.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each measurement of appends.
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// Seconds of the sustained appends.
    #[arg(long, default_value_t = 10.0)]
    sustained: f64,
    /// Only what is named so, as in the first column; `reads` for the second table.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

impl Args {
    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == name)
    }
}

/// The bytes of a transaction.
fn transaction(number: usize) -> [u8; TRANSACTION] {
    let mut bytes = [number as u8; TRANSACTION];
    bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
    bytes
}

/// What a reader takes from a transaction: all of it is looked at.
fn taste(transaction: &[u8]) -> u64 {
    let (words, _) = transaction.as_chunks::<8>();
    words.iter().map(|word| u64::from_le_bytes(*word)).fold(0, u64::wrapping_add)
}

/// Numbers in an order that no cache foresees (splitmix64).
fn shuffled(count: usize, below: usize) -> Vec<usize> {
    let number = |step: u64| {
        let mut z = step.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * below as u128) >> 64) as usize
    };
    (1..=count as u64).map(number).collect()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// What is appended: values of so many bytes, so many together, and for how long.
#[derive(Clone, Copy)]
struct Shape {
    bytes: usize,
    together: usize,
    length: Duration,
    /// Without a pause.
    sustained: bool,
}

/// Bytes of a burst: less than the smallest thing that any of the stores prepares ahead.
const BURST_BYTES: usize = 24 << 20;
/// Between two bursts.
const PAUSE: Duration = Duration::from_millis(150);

/// Megabytes (10^6 bytes) of values that became durable in a second.
fn append_rate(dir: &Path, begin: Begin, shape: Shape) -> Outcome<f64> {
    let dir = tempfile::tempdir_in(dir)?;
    let mut store = begin(dir.path())?;
    // Signatures do not compress, nor does this.
    let noise = shuffled(shape.bytes / 8, usize::MAX).into_iter().flat_map(usize::to_le_bytes);
    let values = vec![Bytes::from_iter(noise); shape.together];
    store.append(&values)?;
    let group = shape.bytes * shape.together;
    let (mut spent, mut written) = (Duration::ZERO, 0);
    while spent < shape.length {
        if !shape.sustained && written / BURST_BYTES != (written + group) / BURST_BYTES {
            sleep(PAUSE);
        }
        let start = Instant::now();
        store.append(&values)?;
        spent += start.elapsed();
        written += group;
    }
    Ok(written as f64 / 1e6 / spent.as_secs_f64())
}

/// Millions of reads in a second.
fn read_rate(reader: &dyn Reader, numbers: &[usize]) -> Outcome<f64> {
    let expected = numbers.iter().fold(0u64, |sum, number| sum.wrapping_add(taste(&transaction(*number))));
    let start = Instant::now();
    if reader.read(numbers)? != expected {
        return Err("a store gave back something else".into());
    }
    Ok(numbers.len() as f64 / 1e6 / start.elapsed().as_secs_f64())
}

fn appends(args: &Args, dir: &Path) -> Outcome<Table> {
    let stores: [(&str, Begin); 5] = [
        ("the disk", disk::begin),
        ("throng", throng::begin),
        ("redb", redb::begin),
        ("fjall", fjall::begin),
        ("LMDB", lmdb::begin),
    ];
    let length = Duration::from_secs_f64(args.seconds);
    let sustained = Duration::from_secs_f64(args.sustained);
    let kib = 1 << 10;
    let burst = |bytes, together| Shape { bytes, together, length, sustained: false };
    let shapes = [
        (burst(256 * kib, 1), "256 KiB"),
        (burst(256 * kib, 16), "16 times 256 KiB"),
        (Shape { length: sustained, sustained: true, ..burst(256 * kib, 16) }, "16 times 256 KiB, sustained"),
        (burst(16 * kib, 1), "16 KiB"),
        (burst(16 * kib, 64), "64 times 16 KiB"),
    ];
    let mut table = Table::new();
    table.set_header(["durable appends, MB/s"].into_iter().chain(stores.map(|(name, _)| name)));
    for (shape, words) in shapes.into_iter().filter(|(_, words)| args.wants(words)) {
        let rounds = if shape.sustained { 1 } else { args.rounds };
        let mut figures = vec![Vec::new(); stores.len()];
        for round in 1..=rounds {
            for ((name, begin), figures) in stores.iter().zip(&mut figures) {
                eprintln!("appends, {words}: round {round} of {rounds}, {name}");
                figures.push(append_rate(dir, *begin, shape)?);
            }
        }
        let figures: Vec<f64> = figures.into_iter().map(median).collect();
        let limit = figures[0];
        let cells = figures.iter().map(|rate| format!("{rate:.1} ({:.0} %)", 100.0 * rate / limit));
        table.add_row([words.to_owned()].into_iter().chain(cells));
    }
    Ok(table)
}

fn reads(args: &Args, dir: &Path) -> Outcome<Table> {
    let fills: [(&str, Fill); 4] =
        [("throng", throng::fill), ("redb", redb::fill), ("fjall", fjall::fill), ("LMDB", lmdb::fill)];
    let numbers = shuffled(READS, TRANSACTIONS);
    let mut readers = Vec::new();
    for (name, fill) in fills {
        eprintln!("reads: filling {name}");
        let dir = tempfile::tempdir_in(dir)?;
        let reader = fill(dir.path())?;
        read_rate(&*reader, &numbers)?;
        readers.push((name, reader, dir, Vec::new()));
    }
    for _ in 0..args.rounds {
        for (_, reader, _, figures) in &mut readers {
            figures.push(read_rate(&**reader, &numbers)?);
        }
    }
    let mut table = Table::new();
    table.set_header(["random reads of 96 bytes, millions/s"].into_iter().chain(fills.map(|(name, _)| name)));
    let cells = readers.into_iter().map(|(_, _, _, figures)| format!("{:.2}", median(figures)));
    table.add_row(["one thread, warm".to_owned()].into_iter().chain(cells));
    Ok(table)
}

fn main() -> Outcome<()> {
    let args = Args::parse();
    let dir = tempfile::tempdir_in(&args.dir)?;
    println!("{}", appends(&args, dir.path())?);
    if args.wants("reads") {
        println!("{}", reads(&args, dir.path())?);
    }
    Ok(())
}
