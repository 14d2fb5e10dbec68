//! Showing what is in a directory: its segments, or one block, batch, transaction or account.

use super::AuditError;
use super::fault;
use super::kept;
use super::open::Directory;
use super::replay::{Read, Replay, Step};
use super::shown::*;
use super::verify::replay_all;
use crate::ledger::Ledger;
use crate::store::{Place, RecordKind, Store};
use crate::types::{
    Account, AccountNumber, BatchRef, Block, BlockHash, Certificate, ChainId, Height, Kind, Outcome,
    SettlementRecord,
};
use crate::wire::{
    Batch, Evidence, Row, SignedVertex, decode_block, decode_certificate, decode_record, transaction_digest,
};
use bytes::Bytes;
use std::path::Path;

/// What to show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    /// The directory as a whole.
    Overview,
    /// The block of a height.
    Height(u64),
    /// The batch whose id begins with these hex digits.
    Batch(String),
    /// The transaction whose digest, which its sender signed, begins with these hex digits.
    Transaction(String),
    /// An account's record after the last block, by its number.
    Account(u32),
    /// The records of a segment.
    Segment(u32),
}

/// Looks something up in a directory.
///
/// # Errors
/// [`AuditError`]: it cannot be read, what comes before the answer is faulty, or there is no such thing in it.
pub fn inspect(
    dir: &Path,
    question: &Question,
    watch: &dyn Fn(u64, u64) -> bool,
) -> Result<Shown, AuditError> {
    let mut directory = Directory::open(dir)?;
    match question {
        Question::Overview => overview(&mut directory, watch).map(Shown::Overview),
        Question::Segment(number) => segment(&mut directory, *number, watch).map(Shown::Segment),
        Question::Account(number) => account(&mut directory, *number, watch).map(Shown::Account),
        Question::Height(height) => block(&mut directory, *height, watch),
        Question::Batch(digits) => batch(&mut directory, digits, watch),
        Question::Transaction(digits) => transaction(&mut directory, digits, watch),
    }
}

/// Goes through the records as they stand, without replaying them.
fn scan(
    directory: &mut Directory,
    watch: &dyn Fn(u64, u64) -> bool,
    see: &mut dyn FnMut(Place, RecordKind, &Bytes),
) -> Result<(), AuditError> {
    let mut segment = 0;
    while let Some(record) = directory.records.next() {
        let (kind, bytes) = record.map_err(|error| match fault::of_store(error, Height(0)) {
            Ok(fault) => AuditError::Fault(fault),
            Err(error) => AuditError::Store(error),
        })?;
        let place = directory.records.place();
        let (done, total) = directory.records.progress();
        if place.segment != segment && watch(done, total) {
            return Err(AuditError::Interrupted);
        }
        segment = place.segment;
        see(place, kind, &bytes);
    }
    Ok(())
}

fn overview(directory: &mut Directory, watch: &dyn Fn(u64, u64) -> bool) -> Result<Overview, AuditError> {
    let (mut segments, mut rows, mut height) = (Vec::<SegmentCounts>::new(), 0, 0);
    let pruned = kept::blocks(directory, |_, _, _| ())?.tip.0.0;
    let snapshots = kept::snapshots(&directory.dir)?.into_iter().map(|height| height.0).collect();
    scan(directory, watch, &mut |place, kind, bytes| {
        if segments.last().is_none_or(|last| last.segment != place.segment) {
            segments.push(SegmentCounts { segment: place.segment, ..SegmentCounts::default() });
        }
        let Some(counts) = segments.last_mut() else { return };
        counts.bytes += bytes.len() as u64;
        match kind {
            RecordKind::Vertex => counts.vertices += 1,
            RecordKind::Certificate => counts.certificates += 1,
            RecordKind::Evidence => counts.evidence += 1,
            RecordKind::Settlement => counts.settlements += 1,
            RecordKind::Batch => {
                counts.batches += 1;
                rows += Batch::decode(bytes.clone()).map_or(0, |batch| u64::from(batch.header.rows));
            }
            RecordKind::Block => {
                counts.blocks += 1;
                if let Ok(block) = decode_block(bytes) {
                    height = block.height.0;
                    let first = counts.heights.map_or(height, |heights| heights.0);
                    counts.heights = Some((first, height));
                }
            }
        }
    })?;
    let genesis = &directory.genesis;
    let torn = directory.records.torn();
    Ok(Overview {
        name: genesis.name.clone(),
        chain: directory.chain.to_string(),
        seats: genesis.seats.len(),
        genesis_accounts: genesis.accounts.len(),
        policy: format!("{:?}", genesis.rules.policy).to_lowercase(),
        content: genesis.rules.content,
        checkpoint_blocks: genesis.rules.checkpoint_blocks,
        pruned,
        snapshots,
        segments,
        height,
        rows,
        torn: torn.map(|torn| (At { file: torn.file.clone(), offset: torn.offset }, torn.bytes)),
    })
}

fn segment(
    directory: &mut Directory,
    number: u32,
    watch: &dyn Fn(u64, u64) -> bool,
) -> Result<SegmentShown, AuditError> {
    if let Some(shown) = removed_segment(directory, number)? {
        return Ok(shown);
    }
    let mut records = Vec::new();
    let mut last = 0;
    scan(directory, watch, &mut |place, kind, bytes| {
        last = place.segment;
        if place.segment != number {
            return;
        }
        let (kind, name) = name_of(kind, bytes);
        records.push(RecordShown { offset: place.offset, kind, bytes: bytes.len(), name });
    })?;
    if number == 0 || number > last.max(1) {
        return Err(AuditError::NotFound(format!("segment {number} with records")));
    }
    let file = Place { segment: number, offset: 0 }.file(&directory.dir);
    Ok(SegmentShown { file, records })
}

/// What is left of a segment, if it was removed.
fn removed_segment(directory: &Directory, number: u32) -> Result<Option<SegmentShown>, AuditError> {
    let mut shown: Option<SegmentShown> = None;
    for remain in Store::remaining(&directory.dir, Some(&directory.chain.0))? {
        let remain = remain?;
        if remain.segment == number {
            let shown = shown.get_or_insert_with(|| SegmentShown { file: remain.file, records: Vec::new() });
            let (kind, name) = name_of(remain.kind, &remain.bytes);
            shown.records.push(RecordShown { offset: remain.offset, kind, bytes: remain.bytes.len(), name });
        }
    }
    Ok(shown)
}

/// A record's kind, and which one of these it is.
fn name_of(kind: RecordKind, bytes: &Bytes) -> (&'static str, String) {
    let unreadable = |error: crate::wire::WireError| error.to_string();
    match kind {
        RecordKind::Vertex => {
            let name = |vertex: SignedVertex| {
                format!("round {} of seat {}, {}", vertex.vertex.round, vertex.vertex.author, vertex.id)
            };
            ("vertex", SignedVertex::decode(bytes.clone()).map_or_else(unreadable, name))
        }
        RecordKind::Batch => {
            let name = |batch: Batch| {
                let header = &batch.header;
                format!("{} of seat {}, {} rows, {}", header.sequence, header.author, header.rows, batch.id)
            };
            ("batch", Batch::decode(bytes.clone()).map_or_else(unreadable, name))
        }
        RecordKind::Block => {
            let name = |block: Block| format!("height {}, {} batches", block.height, block.settled.len());
            ("block", decode_block(bytes).map_or_else(unreadable, name))
        }
        RecordKind::Certificate => {
            let name = |certificate: Certificate| {
                format!("height {}, {} votes", certificate.height, certificate.votes.len())
            };
            ("certificate", decode_certificate(bytes).map_or_else(unreadable, name))
        }
        RecordKind::Evidence => {
            let name =
                |evidence: Evidence| format!("against seat {}: {}", evidence.accused(), evidence.words());
            ("evidence", Evidence::decode(bytes).map_or_else(unreadable, name))
        }
        RecordKind::Settlement => {
            let name = |record: SettlementRecord| {
                format!("as of round {} of seat {}", record.leader.round, record.leader.author)
            };
            ("settlement", decode_record(bytes).map_or_else(unreadable, name))
        }
    }
}

fn account(
    directory: &mut Directory,
    number: u32,
    watch: &dyn Fn(u64, u64) -> bool,
) -> Result<AccountShown, AuditError> {
    let mut replay = Replay::begin(directory)?;
    replay_all(directory, &mut replay, watch, &mut |_, _, _| true)?;
    let found = replay.ledger.account(AccountNumber(number));
    let Account { key, balance, nonce_high, nonce_window, .. } = found.ok_or_else(|| {
        AuditError::NotFound(format!("account {number} (there are {})", replay.ledger.len()))
    })?;
    Ok(AccountShown {
        account: number,
        key: hex::encode(key),
        balance: balance.get(),
        nonce_high: nonce_high.get(),
        nonce_window: nonce_window.get(),
        height: replay.tip.0.0,
        root: replay.ledger.root().to_string(),
    })
}

fn block(
    directory: &mut Directory,
    height: u64,
    watch: &dyn Fn(u64, u64) -> bool,
) -> Result<Shown, AuditError> {
    let dir = directory.dir.clone();
    let mut shown = None;
    // The lowest block that is there of those above.
    let mut above: Option<u64> = None;
    let mut meets = |found: u64| {
        if found > height && above.is_none_or(|above| found < above) {
            above = Some(found);
        }
    };
    kept::blocks(directory, |remain, block, hash| {
        meets(block.height.0);
        if block.height.0 == height {
            let at = At { file: remain.file.clone(), offset: remain.offset };
            shown = Some(show_link(at, block, hash));
        }
    })?;
    if let Some(shown) = shown {
        return Ok(Shown::Block(shown));
    }
    let mut replay = Replay::begin(directory)?;
    meets(replay.began().0);
    replay_all(directory, &mut replay, watch, &mut |_, place, step| {
        if let Step::Block { block, .. } | Step::Passed { block, .. } = &step {
            meets(block.height.0);
        }
        match &step {
            Step::Block { block, hash, settled, outcomes } if block.height.0 == height => {
                shown = Some(show_block(At::of(place, &dir), block, hash, settled, outcomes));
            }
            Step::Passed { block, hash } if block.height.0 == height => {
                shown = Some(show_link(At::of(place, &dir), block, hash));
            }
            _ => {}
        }
        shown.is_none()
    })?;
    let tip = replay.tip.0;
    let missing = || match above.filter(|_| height > 0) {
        Some(from) => not_kept(format!("block {height}"), "every block", from),
        None => AuditError::NotFound(format!("block {height} (heights are 1 to {tip})")),
    };
    shown.map(Shown::Block).ok_or_else(missing)
}

fn batch(
    directory: &mut Directory,
    digits: &str,
    watch: &dyn Fn(u64, u64) -> bool,
) -> Result<Shown, AuditError> {
    let (dir, chain) = (directory.dir.clone(), directory.chain);
    let mut replay = Replay::begin(directory)?;
    let mut shown: Option<BatchShown> = None;
    replay_all(directory, &mut replay, watch, &mut |replay, place, step| {
        let ledger = &replay.ledger;
        match &step {
            Step::Batch(batch) if shown.is_none() && batch.id.to_string().starts_with(digits) => {
                let transactions = transactions(&chain, ledger, batch, None);
                shown = Some(show_batch(At::of(place, &dir), batch, None, transactions));
            }
            Step::Passed { block, .. } => {
                let named = |batch: &BatchRef| batch.id.to_string().starts_with(digits);
                if let Some(shown) = shown.as_mut().filter(|_| block.settled.iter().any(named)) {
                    shown.height = Some(block.height.0);
                    shown.transactions.iter_mut().for_each(|row| row.height = Some(block.height.0));
                    return false;
                }
            }
            Step::Block { block, settled, outcomes, .. } => {
                if let Some((read, codes)) =
                    find(settled, outcomes, |batch| batch.id.to_string().starts_with(digits))
                {
                    let transactions = transactions(&chain, ledger, &read.batch, Some((block.height, codes)));
                    let at = At::of(read.place, &dir);
                    shown = Some(show_batch(at, &read.batch, Some(block.height), transactions));
                    return false;
                }
            }
            _ => {}
        }
        true
    })?;
    shown.map(Shown::Batch).ok_or_else(|| unsettled(&replay, format!("batch {digits}")))
}

fn transaction(
    directory: &mut Directory,
    digits: &str,
    watch: &dyn Fn(u64, u64) -> bool,
) -> Result<Shown, AuditError> {
    let chain = directory.chain;
    let mut replay = Replay::begin(directory)?;
    let mut shown = None;
    replay_all(directory, &mut replay, watch, &mut |replay, _, step| {
        let Step::Block { block, settled, outcomes, .. } = &step else { return true };
        let mut codes = outcomes.as_slice();
        for Read { batch, .. } in settled {
            let rows = batch.rows();
            let (these, rest) = codes.split_at(rows.len());
            codes = rest;
            let matches = |row: &Row<'_>| {
                digest(&chain, &replay.ledger, row)
                    .is_some_and(|digest| hex::encode(digest).starts_with(digits))
            };
            if let Some((at, row)) = rows.iter().enumerate().find(|(_, row)| matches(row)) {
                let settled = Some((block.height, these[at]));
                shown = Some(show_row(&chain, &replay.ledger, batch, (at, &row), settled));
                return false;
            }
        }
        true
    })?;
    shown.map(Shown::Transaction).ok_or_else(|| unsettled(&replay, format!("settled transaction {digits}")))
}

fn not_kept(what: String, whole: &'static str, from: u64) -> AuditError {
    AuditError::NotKept { what, whole, from }
}

/// What a search through all settled batches did not find: there is none, unless not all of them are here.
fn unsettled(replay: &Replay, what: String) -> AuditError {
    match replay.began().0 {
        0 => AuditError::NotFound(what),
        began => not_kept(what, "what blocks settle", began + 1),
    }
}

impl At {
    fn of(place: Place, dir: &Path) -> At {
        At { file: place.file(dir), offset: place.offset }
    }
}

/// The first settled batch that is wanted, with the outcomes of its rows.
fn find<'a>(
    settled: &'a [Read],
    mut outcomes: &'a [u8],
    wanted: impl Fn(&Batch) -> bool,
) -> Option<(&'a Read, &'a [u8])> {
    for read in settled {
        let (codes, rest) = outcomes.split_at(read.batch.rows().len());
        if wanted(&read.batch) {
            return Some((read, codes));
        }
        outcomes = rest;
    }
    None
}

/// What the sender of a row signed, if both keys are known.
fn digest(chain: &ChainId, ledger: &Ledger, row: &Row<'_>) -> Option<[u8; 32]> {
    let keys = ledger.keys();
    let from = keys.key(row.effect.from.get())?;
    let to = match row.key {
        Some(key) => *key,
        None => keys.key(row.effect.to.get())?,
    };
    Some(transaction_digest(chain, row.effect, &from, &to))
}

fn transactions(
    chain: &ChainId,
    ledger: &Ledger,
    batch: &Batch,
    settled: Option<(Height, &[u8])>,
) -> Vec<TransactionShown> {
    let rows = batch.rows();
    let show = |(at, row): (usize, Row<'_>)| {
        let settled = settled.map(|(height, codes)| (height, codes[at]));
        show_row(chain, ledger, batch, (at, &row), settled)
    };
    rows.iter().enumerate().map(show).collect()
}

fn show_row(
    chain: &ChainId,
    ledger: &Ledger,
    batch: &Batch,
    (at, row): (usize, &Row<'_>),
    settled: Option<(Height, u8)>,
) -> TransactionShown {
    let effect = row.effect;
    TransactionShown {
        digest: digest(chain, ledger, row).map(hex::encode),
        batch: batch.id.to_string(),
        row: at,
        kind: match Kind::from_byte(effect.kind) {
            Some(Kind::Transfer) => "transfer",
            Some(Kind::Open) => "open",
            None => "unknown",
        },
        from: effect.from.get(),
        to: effect.to.get(),
        opens: row.key.map(hex::encode),
        amount: effect.amount.get(),
        fee: effect.fee.get(),
        nonce: effect.nonce.get(),
        height: settled.map(|(height, _)| height.0),
        outcome: settled.map(|(_, code)| outcome(code)),
    }
}

/// The name of an outcome code.
fn outcome(code: u8) -> &'static str {
    const NAMES: [(Outcome, &str); 5] = [
        (Outcome::Ok, "ok"),
        (Outcome::UnknownAccount, "unknown account"),
        (Outcome::BadNonce, "bad nonce"),
        (Outcome::FeeNotCovered, "fee not covered"),
        (Outcome::AmountNotCovered, "amount not covered"),
    ];
    NAMES.into_iter().find(|(outcome, _)| *outcome as u8 == code).map_or("unknown", |(_, name)| name)
}

fn show_block(at: At, block: &Block, hash: &BlockHash, settled: &[Read], outcomes: &[u8]) -> BlockShown {
    let mut counts: Vec<(&'static str, u64)> = Vec::new();
    for name in outcomes.iter().map(|code| outcome(*code)) {
        match counts.iter_mut().find(|(counted, _)| *counted == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
    }
    let batch = |read: &Read| SettledShown {
        seat: read.batch.header.author.0,
        sequence: read.batch.header.sequence.0,
        id: read.batch.id.to_string(),
        rows: Some(read.batch.header.rows),
    };
    BlockShown {
        settled: settled.iter().map(batch).collect(),
        outcomes: counts,
        ..show_link(at, block, hash)
    }
}

/// A block by itself: what it settled may be gone.
fn show_link(at: At, block: &Block, hash: &BlockHash) -> BlockShown {
    let batch = |batch: &BatchRef| SettledShown {
        seat: batch.author.0,
        sequence: batch.sequence.0,
        id: batch.id.to_string(),
        rows: None,
    };
    BlockShown {
        at,
        height: block.height.0,
        hash: hash.to_string(),
        previous: block.previous.to_string(),
        epoch: block.epoch.0,
        leader_round: block.leader.round.0,
        leader_seat: block.leader.author.0,
        leader_id: block.leader.id.to_string(),
        time_us: block.time.0,
        accounts: block.accounts,
        settled: block.settled.iter().map(batch).collect(),
        outcomes: Vec::new(),
        outcomes_hash: hex::encode(block.outcomes),
        roots: block
            .roots
            .iter()
            .map(|(kind, root)| (format!("{kind:?}").to_lowercase(), root.to_string()))
            .collect(),
    }
}

fn show_batch(
    at: At,
    batch: &Batch,
    height: Option<Height>,
    transactions: Vec<TransactionShown>,
) -> BatchShown {
    let header = &batch.header;
    BatchShown {
        at,
        id: batch.id.to_string(),
        epoch: header.epoch.0,
        seat: header.author.0,
        sequence: header.sequence.0,
        content: header.content,
        accounts: header.accounts,
        rows: header.rows,
        keys: header.keys,
        blob_bytes: header.blob_bytes,
        roots: header.roots.iter().map(hex::encode).collect(),
        height: height.map(|height| height.0),
        transactions,
    }
}
