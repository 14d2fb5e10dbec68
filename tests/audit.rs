//! Data directories under an auditor's eyes: sound ones, ones whose bytes were changed, and ones that were made up anew
//! with checks that fit.

mod common;

use bytes::Bytes;
use common::{Pump, genesis, seat_key, transfers};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use throng::audit::{
    AuditError, ExportError, Fault, Options, Question, Shown, Verified, export_state, inspect, verify,
};
use throng::consensus::Consensus;
use throng::store::{Append, Place, RecordKind, Store, StoreConfig, StoreError};
use throng::types::{
    AccountNumber, BatchId, BlockHash, Epoch, Height, Policy, Root, RootKind, Seat, VertexId, Witness,
};
use throng::wire::{
    Batch, Evidence, Rows, SignedVertex, block_hash, chain_id, decode_block, encode_block, encode_genesis,
    encode_record, record_root, seal, sign_checkpoint, sign_vertex,
};

type Log = Vec<(RecordKind, Bytes)>;

const ALL: Options = Options { from_height: 1, signatures: true, threads: 2 };
const UNSIGNED: Options = Options { signatures: false, ..ALL };

/// A chain of so many nodes that has settled some rows, as its first node's disk has it.
fn played(nodes: u16) -> Pump {
    played_to(nodes, 18)
}

/// The same up to a height.
fn played_to(nodes: u16, height: u64) -> Pump {
    let mut pump = Pump::new(genesis(nodes, 8, Policy::Quorum), 7);
    for account in 1..=8 {
        let rows = transfers(&pump.genesis, account, 1, 6);
        assert_eq!(pump.submit(usize::from(account as u16 % nodes), &rows), 6);
    }
    assert!(pump.run(Duration::from_secs(60), |pump| pump.settled_ok(0) >= 48 && pump.height(0) >= height));
    pump
}

fn small() -> StoreConfig {
    StoreConfig { segment_bytes: 16 << 10, payload_bytes_max: 8 << 10, ..StoreConfig::default() }
}

/// Writes a log to block files, each record synced by itself, as on a disk that is fast.
fn written(genesis: &[u8], log: &Log) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), genesis, &small()).unwrap().store;
    let (sender, receiver) = crossbeam::channel::unbounded();
    store
        .start(Box::new(move |synced| sender.send(synced.map(|all| all.len())).unwrap_or_default()))
        .unwrap();
    for (kind, bytes) in log {
        store.append(vec![Append { number: 0, kind: *kind, bytes: bytes.clone(), guard: None }]).unwrap();
        assert_eq!(receiver.recv().unwrap().unwrap(), 1);
    }
    store.close().unwrap();
    dir
}

fn directory(pump: &Pump) -> tempfile::TempDir {
    written(&encode_genesis(&pump.genesis), &pump.log(0).to_vec())
}

fn check(dir: &Path, options: &Options) -> Verified {
    verify(dir, options, &|_, _| false).unwrap()
}

fn fault(dir: &Path, options: &Options) -> Fault {
    check(dir, options).fault.expect("something is wrong")
}

/// The places of all records.
fn places(dir: &Path) -> Vec<(Place, RecordKind)> {
    let mut records = Store::records(dir, None).unwrap();
    let mut places = Vec::new();
    while let Some(record) = records.next() {
        places.push((records.place(), record.unwrap().0));
    }
    places
}

#[test]
fn a_sound_directory_is_good_and_shows_where_its_chain_stands() {
    for nodes in [1, 4] {
        let pump = played(nodes);
        let dir = directory(&pump);
        let blocks = pump.blocks(0);
        for options in [ALL, UNSIGNED, Options { from_height: 9, ..ALL }, Options { threads: 1, ..ALL }] {
            let Verified { report, fault } = check(dir.path(), &options);
            assert_eq!(fault, None);
            assert_eq!((report.height, report.transactions, report.ok), (blocks.len() as u64, 48, 48));
            assert_eq!(report.hash, blocks.last().unwrap().to_string());
            assert_eq!(report.root, pump.shared(0).unwrap().ledger.root().to_string());
            assert_eq!(report.checkpoints, blocks.len() as u64 / 8);
            assert_eq!(report.last_checkpoint, report.checkpoints * 8);
            assert!(report.certified >= 8 && report.certificates >= 1, "{report:?}");
            let checked = report.signatures;
            match options {
                Options { signatures: false, .. } => {
                    assert_eq!(checked, throng::audit::Signatures::default())
                }
                Options { from_height: 1, .. } => {
                    assert_eq!((checked.transactions, checked.vertices), (48, report.vertices));
                    assert_eq!(checked.batches, report.batches);
                }
                _ => assert!(checked.vertices < report.vertices && checked.batches <= report.batches),
            }
        }
        let beyond = verify(dir.path(), &Options { from_height: 1_000, ..ALL }, &|_, _| false);
        assert!(
            matches!(beyond, Err(AuditError::Beyond { asked: 1_000, tip }) if tip == blocks.len() as u64)
        );
    }
}

#[test]
fn a_flip_of_any_part_is_found_and_named() {
    let dir = directory(&played(1));
    let places = places(dir.path());
    assert!(places.iter().any(|(place, _)| place.segment == 2), "several segments");
    let last = places.last().unwrap().0;
    let files = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let mut flips = 0;
    for path in files.filter(|path| path.file_name().unwrap() != "lock") {
        let whole = fs::read(&path).unwrap();
        let mut tried = 0..whole.len();
        while let Some(at) = tried.next() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&path, &bytes).unwrap();
            let found = match verify(dir.path(), &UNSIGNED, &|_, _| false) {
                Ok(verified) => verified.fault.expect("a flip is found"),
                // The version of the format is believed first.
                Err(AuditError::Store(StoreError::NewerFormat { file, .. })) => {
                    assert_eq!(file, path);
                    continue;
                }
                Err(error) => panic!("{} at {at}: {error}", path.display()),
            };
            assert_eq!(found.file, path, "flip at {at}: {found}");
            // The record that holds the byte, if one does; a seal or zeros otherwise.
            let here = |place: &Place| place.file(dir.path()) == path && place.offset as usize <= at;
            let record = places.iter().map(|(place, _)| *place).rfind(here);
            let offset = found.offset as usize;
            assert!(
                offset <= at && record.is_none_or(|record| record.offset as usize <= offset),
                "{at}: {found}"
            );
            if record == Some(last) && offset == last.offset as usize {
                assert!(found.found.contains("no whole record"), "{found}");
            }
            flips += 1;
            // Every byte of heads; of long stretches some.
            tried.nth(if at < 200 { 2 } else { 36 });
        }
        fs::write(&path, &whole).unwrap();
    }
    assert!(flips > 1_000, "{flips}");
    assert_eq!(check(dir.path(), &ALL).fault, None);
}

#[test]
fn segments_cut_swapped_copied_or_lost_are_found() {
    let dir = directory(&played_to(1, 60));
    let path = |segment| Place { segment, offset: 0 }.file(dir.path());
    let count = places(dir.path()).last().unwrap().0.segment;
    assert!(count >= 3, "{count}");
    let whole: Vec<Vec<u8>> = (1..=count).map(|segment| fs::read(path(segment)).unwrap()).collect();
    let restore = || (1..).zip(&whole).for_each(|(segment, bytes)| fs::write(path(segment), bytes).unwrap());
    let named = |file: PathBuf| {
        let found = fault(dir.path(), &UNSIGNED);
        assert_eq!(found.file, file, "{found}");
        restore();
    };
    for length in [0, 100, 4096, 5000, whole[1].len() - 1] {
        fs::write(path(2), &whole[1][..length]).unwrap();
        named(path(2));
    }
    fs::write(path(2), [&whole[1][..], &[0]].concat()).unwrap();
    named(path(2));
    fs::write(path(1), &whole[1]).unwrap();
    fs::write(path(2), &whole[0]).unwrap();
    named(path(1));
    fs::write(path(3), &whole[1]).unwrap();
    named(path(3));
    fs::write(path(2), &whole[2]).unwrap();
    named(path(2));
    fs::remove_file(path(2)).unwrap();
    named(path(2));
    let genesis = fs::read(dir.path().join("genesis")).unwrap();
    fs::remove_file(dir.path().join("genesis")).unwrap();
    named(dir.path().join("genesis"));
    fs::write(dir.path().join("genesis"), &genesis[1..]).unwrap();
    named(dir.path().join("genesis"));
    fs::write(dir.path().join("genesis"), &genesis).unwrap();
    assert_eq!(check(dir.path(), &ALL).fault, None);
}

/// One record changed, and the log written again with checks that fit.
fn rewritten(pump: &Pump, log: &Log) -> Verified {
    check(written(&encode_genesis(&pump.genesis), log).path(), &ALL)
}

#[test]
fn records_changed_or_dropped_behind_fitting_checks_are_found() {
    let pump = played(4);
    let log = pump.log(0).to_vec();
    let at = |kind, skip| {
        let of_kind = log.iter().enumerate().filter(|(_, record)| record.0 == kind);
        of_kind.map(|(at, _)| at).nth(skip).unwrap()
    };
    let flipped = |at: usize, byte: usize| {
        let mut log = log.clone();
        let mut bytes = log[at].1.to_vec();
        let byte = if byte >= bytes.len() { bytes.len() - 1 } else { byte };
        bytes[byte] ^= 1;
        log[at].1 = bytes.into();
        rewritten(&pump, &log).fault.expect("a change is found").found
    };
    let (batch, vertex, block) =
        (at(RecordKind::Batch, 1), at(RecordKind::Vertex, 9), at(RecordKind::Block, 3));
    assert!(flipped(batch, 170).contains("not signed by its author"));
    assert!(flipped(batch, 192 + 8).contains("columns"));
    assert!(flipped(batch, usize::MAX).contains("columns"));
    assert!(flipped(vertex, usize::MAX).contains("signature that does not hold"));
    assert!(flipped(vertex, 15).contains("signature that does not hold"));
    let certificate = at(RecordKind::Certificate, 0);
    assert!(flipped(certificate, usize::MAX).contains("does not hold"));
    assert!(flipped(certificate, 15).contains("certificate of another block"));
    assert!(flipped(block, 5).contains("height"));
    assert!(flipped(block, 20).contains("hash of the block before"));
    assert!(flipped(block, 60).contains("leader"));
    assert!(flipped(block, usize::MAX).contains("roots"));
    let record = at(RecordKind::Settlement, 0);
    assert!(flipped(record, usize::MAX).contains("a settlement record with the root"));
    let mut early = log.clone();
    let moved = early.remove(record);
    early.insert(at(RecordKind::Block, 2), moved);
    assert!(rewritten(&pump, &early).fault.unwrap().expected.contains("before the block of a checkpoint"));

    let dropped = |at: usize| {
        let mut log = log.clone();
        log.remove(at);
        rewritten(&pump, &log).fault.expect("a loss is found").found
    };
    assert!(dropped(block).contains("height"));
    assert!(dropped(vertex).contains("block"));
    let settled = decode_block(
        &log[at(RecordKind::Block, 0)..]
            .iter()
            .find(|r| r.0 == RecordKind::Block && !decode_block(&r.1).unwrap().settled.is_empty())
            .unwrap()
            .1,
    )
    .unwrap()
    .settled[0];
    let needed = log.iter().position(|record| {
        record.0 == RecordKind::Batch && Batch::decode(record.1.clone()).unwrap().id == settled.id
    });
    assert!(dropped(needed.unwrap()).contains("settles batch"));
    let mut early = log.clone();
    let moved = early.remove(at(RecordKind::Block, 0));
    early.insert(0, moved);
    assert!(rewritten(&pump, &early).fault.unwrap().expected.contains("commit its leader"));
}

/// The same history told by validators who all lie: batches with one row whose signature is bad, settled, and everything
/// after it made to fit and signed anew.
fn conspired(pump: &Pump) -> (Log, BatchId, usize) {
    let chain = chain_id(&pump.genesis);
    let (mut consensus, mut records) = (Consensus::new(&pump.genesis, None), Vec::new());
    let mut batches: BTreeMap<BatchId, BatchId> = BTreeMap::new();
    let mut vertices: BTreeMap<VertexId, VertexId> = BTreeMap::new();
    let (mut log, mut previous, mut victim) = (Log::new(), None, None);
    for (kind, bytes) in pump.log(0).to_vec() {
        let bytes = match kind {
            RecordKind::Batch => {
                let batch = Batch::decode(bytes).unwrap();
                let (header, rows) = (&batch.header, batch.rows());
                let mut witnesses = rows.witnesses.to_vec();
                let row = rows.len() / 2;
                if victim.is_none() {
                    witnesses[row] = Witness([3; 64]);
                }
                let slot = (header.epoch, header.author, header.sequence);
                let rows = Rows { witnesses: &witnesses, ..rows };
                let sealed = seal(&seat_key(header.author.0), &chain, slot, header.accounts, rows);
                victim.get_or_insert((sealed.id, row));
                batches.insert(batch.id, sealed.id);
                sealed.bytes().clone()
            }
            RecordKind::Vertex => {
                let signed = SignedVertex::decode(bytes).unwrap();
                let mut vertex = signed.vertex.clone();
                vertex.strong.iter_mut().for_each(|parent| parent.id = vertices[&parent.id]);
                vertex.weak.iter_mut().for_each(|parent| parent.id = vertices[&parent.id]);
                vertex.acks.iter_mut().for_each(|ack| ack.batch.id = batches[&ack.batch.id]);
                vertex.parts.clear(); // votes for blocks that are no more
                let signed_anew = sign_vertex(&seat_key(vertex.author.0), &chain, vertex);
                vertices.insert(signed.id, signed_anew.id);
                consensus.restore(Arc::new(signed_anew.clone()));
                while consensus.next_emitted().is_some() {
                    records.push(consensus.record().map(|record| record_root(&encode_record(&record))));
                }
                signed_anew.bytes
            }
            RecordKind::Block => {
                let mut block = decode_block(&bytes).unwrap();
                block.leader.id = vertices[&block.leader.id];
                block.settled.iter_mut().for_each(|batch| batch.id = batches[&batch.id]);
                block.previous = previous.unwrap_or(block.previous);
                let record = records[block.height.0 as usize - 1].unwrap();
                let of_record = |root: &&mut (RootKind, Root)| root.0 == RootKind::Settlement;
                block.roots.iter_mut().filter(of_record).for_each(|root| root.1 = record);
                let bytes = encode_block(&block);
                previous = Some(block_hash(&bytes));
                bytes.into()
            }
            RecordKind::Certificate | RecordKind::Evidence | RecordKind::Settlement => continue,
        };
        log.push((kind, bytes));
    }
    let (id, row) = victim.unwrap();
    (log, id, row)
}

#[test]
fn a_forged_row_is_found_even_if_all_validators_conspired() {
    let pump = played(1);
    let (log, id, row) = conspired(&pump);
    let found = rewritten(&pump, &log).fault.unwrap();
    assert!(found.found.contains(&id.to_string()) && found.found.contains(&format!("row {row}")), "{found}");
    assert!(found.expected.contains("a signature of account"), "{found}");
    // Who does not look does not see: everything else fits.
    let dir = written(&encode_genesis(&pump.genesis), &log);
    assert_eq!(check(dir.path(), &UNSIGNED).fault, None);
    let settled_at = log.iter().find_map(|(kind, bytes)| {
        let block = (*kind == RecordKind::Block).then(|| decode_block(bytes).unwrap())?;
        block.settled.iter().any(|batch| batch.id == id).then_some(block.height)
    });
    assert_eq!(found.height, settled_at.unwrap().0);
    let later = Options { from_height: found.height + 1, ..ALL };
    assert_eq!(check(dir.path(), &later).fault, None);
    assert_eq!(
        fault(dir.path(), &Options { from_height: found.height, ..ALL }),
        Fault { file: Place { segment: 1, offset: 0 }.file(dir.path()), ..found }
    );
}

#[test]
fn a_directory_that_cannot_be_judged_is_refused_and_left_alone() {
    let pump = played(1);
    let dir = directory(&pump);
    let refused = |dir: &Path| verify(dir, &ALL, &|_, _| false).unwrap_err().to_string();
    assert!(refused(Path::new("/nowhere/at/all")).contains("/nowhere/at/all"));
    let empty = tempfile::tempdir().unwrap();
    assert!(refused(empty.path()).contains("holds no segments"));
    fs::write(dir.path().join("letter"), "mine").unwrap();
    assert!(refused(dir.path()).contains("letter"));
    fs::remove_file(dir.path().join("letter")).unwrap();

    let outer = tempfile::tempdir().unwrap();
    fs::create_dir_all(outer.path().join("n1")).unwrap();
    fs::rename(dir.path(), outer.path().join("n1/node-0")).unwrap();
    assert!(refused(outer.path()).contains("n1/node-0"));
    let node = outer.path().join("n1/node-0");
    let store = Store::open(&node, &encode_genesis(&pump.genesis), &small()).unwrap();
    assert!(refused(&node).contains("in use"));
    drop(store);
    assert_eq!(check(&node, &ALL).fault, None);
    let stopped = verify(&node, &ALL, &|_, _| true);
    assert!(matches!(stopped, Err(AuditError::Interrupted)));
}

#[test]
fn evidence_in_a_directory_is_checked_counted_and_named() {
    let pump = played(4);
    let chain = chain_id(&pump.genesis);
    let vote = |seat: u16, byte: u8| {
        sign_checkpoint(&seat_key(seat), &chain, Epoch(0), Height(8), BlockHash([byte; 32]))
    };
    let against = |seat: u16, by: u16, epoch: u32| {
        Evidence::of_votes(Epoch(epoch), Seat(seat), &vote(by, 1), &vote(by, 2)).unwrap().encode()
    };
    let with = |bytes: Vec<u8>| {
        let mut log = pump.log(0).to_vec();
        log.push((RecordKind::Evidence, bytes.into()));
        (written(&encode_genesis(&pump.genesis), &log), log.len())
    };
    let (dir, records) = with(against(3, 3, 0));
    let Verified { report, fault: None } = check(dir.path(), &ALL) else { panic!("it is good") };
    assert_eq!(report.liars, 1);
    let Shown::Overview(overview) = inspect(dir.path(), &Question::Overview, &|_, _| false).unwrap() else {
        panic!("an overview")
    };
    assert_eq!(overview.segments.iter().map(|segment| segment.evidence).sum::<u64>(), 1);
    let last = overview.segments.iter().rfind(|segment| segment.evidence > 0).unwrap().segment;
    let Shown::Segment(segment) = inspect(dir.path(), &Question::Segment(last), &|_, _| false).unwrap()
    else {
        panic!("a segment")
    };
    let named = segment.records.last().unwrap();
    assert!(named.name.contains("against seat 3: two votes for one checkpoint"), "{}", named.name);
    // Signed by another, of another epoch, against nobody, cut off: none of it is a proof, and the record is named.
    let mut cut = against(3, 3, 0);
    cut.pop();
    for bytes in [against(2, 3, 0), against(3, 3, 1), against(9, 3, 0), cut] {
        let (dir, _) = with(bytes);
        let places = places(dir.path());
        let fault = fault(dir.path(), &UNSIGNED);
        assert_eq!((places.len(), fault.offset), (records, places.last().unwrap().0.offset), "{fault:?}");
    }
}

#[test]
fn what_is_in_a_directory_is_shown() {
    let pump = played(4);
    let dir = directory(&pump);
    let ask = |question: Question| inspect(dir.path(), &question, &|_, _| false);
    let Shown::Overview(overview) = ask(Question::Overview).unwrap() else { panic!("an overview") };
    assert_eq!((overview.height, overview.seats), (pump.blocks(0).len() as u64, 4));
    let segments = overview.segments.iter();
    let counted: u64 =
        segments.map(|s| s.batches + s.vertices + s.blocks + s.certificates + s.settlements).sum();
    assert_eq!(counted as usize, pump.log(0).len());
    let mut records = 0;
    for counts in &overview.segments {
        let Shown::Segment(segment) = ask(Question::Segment(counts.segment)).unwrap() else {
            panic!("a segment")
        };
        records += segment.records.len();
    }
    assert_eq!(records, pump.log(0).len());

    let (mut settled, mut rows) = (0, 0);
    for (height, hash) in (1..).zip(pump.blocks(0)) {
        let Shown::Block(block) = ask(Question::Height(height)).unwrap() else { panic!("a block") };
        assert_eq!((block.height, block.hash), (height, hash.to_string()));
        settled +=
            block.outcomes.iter().filter(|(name, _)| *name == "ok").map(|(_, count)| count).sum::<u64>();
        for batch in &block.settled {
            let Shown::Batch(shown) = ask(Question::Batch(batch.id[..16].into())).unwrap() else {
                panic!("a batch")
            };
            assert_eq!((&shown.id, shown.height), (&batch.id, Some(height)));
            rows += shown.transactions.len();
            let row = shown.transactions.last().unwrap();
            let digest = row.digest.clone().unwrap();
            assert_eq!(ask(Question::Transaction(digest)).unwrap(), Shown::Transaction(row.clone()));
            assert_eq!(row.outcome, Some("ok"));
        }
    }
    assert_eq!((settled, rows), (48, 48));
    let Shown::Account(account) = ask(Question::Account(3)).unwrap() else { panic!("an account") };
    let expected = pump.shared(0).unwrap().ledger.account(AccountNumber(3)).unwrap();
    assert_eq!((account.balance, account.nonce_high), (expected.balance.get(), 6));
    for missing in [
        Question::Height(0),
        Question::Height(10_000),
        Question::Account(9),
        Question::Segment(0),
        Question::Segment(99),
        Question::Batch("0123456789abcdef".into()),
        Question::Transaction("0123456789abcdef".into()),
    ] {
        assert!(matches!(ask(missing), Err(AuditError::NotFound(_))));
    }
}

#[test]
fn the_exported_table_hashes_to_the_state_root() {
    let pump = played(1);
    let dir = directory(&pump);
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("accounts");
    let exported = export_state(dir.path(), &file, &|_, _| false).unwrap();
    let bytes = fs::read(&file).unwrap();
    assert_eq!(blake3::hash(&bytes).to_string(), exported.root);
    assert_eq!(exported.root, pump.shared(0).unwrap().ledger.root().to_string());
    assert_eq!(
        (exported.height, bytes.len()),
        (pump.blocks(0).len() as u64, 64 * exported.accounts as usize)
    );
    let again = export_state(dir.path(), &file, &|_, _| false);
    assert!(matches!(again, Err(ExportError::Exists(path)) if path == file));
    assert_eq!(fs::read(&file).unwrap(), bytes);
    let nowhere = export_state(dir.path(), &out.path().join("no/such/place"), &|_, _| false);
    assert!(matches!(nowhere, Err(ExportError::Write { .. })));
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1, "nothing half done is left");
}
