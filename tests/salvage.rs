//! Directories of which a part is damaged, as a node on sockets finds them.

#![allow(
    clippy::disallowed_methods,
    reason = "peers are threads, and a node that asks nobody is given the time to"
)]

mod common;

use bytes::Bytes;
use common::directory::{OFTEN, played, verified, written};
use common::{Pump, seat_key};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use throng::audit::{AuditError, Question, Verified, inspect};
use throng::crypto::KeySet;
use throng::net::{Identity, NodeSetup, PeerEvent, PeerLink, RunningNode, StartError};
use throng::node::{NodeConfig, OpenError};
use throng::store::{Damage, RecordKind, Store, StoreConfig, StoreError};
use throng::types::Seat;
use throng::wire::{Batch, HashedBlock, Message, chain_id, decode_block};

/// A node on a directory, with nobody to talk to: where it begins.
fn started(pump: &Pump, dir: &Path) -> Result<u64, StartError> {
    let node = running(pump, dir, "127.0.0.1:1".parse().unwrap())?;
    Ok(node.stop().unwrap().height.0)
}

/// A node on a directory, to which all others are at one address.
fn running(pump: &Pump, dir: &Path, others: SocketAddr) -> Result<RunningNode, StartError> {
    let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
    RunningNode::start(NodeSetup {
        store: StoreConfig { segment_bytes: 8 << 20, payload_bytes_max: 4 << 20, ..StoreConfig::default() },
        peers: vec![others; pump.genesis.seats.len()],
        ..NodeSetup::new(pump.setup(0), dir, [bind(), bind()])
    })
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn copied(from: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, bytes) in files(from) {
        fs::write(dir.path().join(path.file_name().unwrap()), bytes).unwrap();
    }
    dir
}

fn named(dir: &Path, part: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = files(dir).into_keys().collect();
    found.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with(part));
    found
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, &bytes).unwrap();
}

#[test]
fn what_is_good_above_damage_stays_in_use_and_what_is_missing_below_is_told() {
    let mut pump = played(4, OFTEN, 200);
    let whole = written(&mut pump, 0, false);
    let Verified { report, fault } = verified(whole.path());
    assert_eq!((fault, report.began), (None, 0));
    let (tip, newest) = (report.height, pump.snapshots(0).keys().next_back().unwrap().0);
    let segments = named(whole.path(), "segment-");
    let (mut above, mut below) = (0, 0);
    // Not where the log ends: a last record that is torn is a write that was cut short, no damage.
    let holds_records = |segment: &PathBuf| fs::read(segment).unwrap()[4096..].iter().any(|byte| *byte != 0);
    let ends = segments.iter().rposition(holds_records).expect("a log");
    for segment in segments[..ends].iter().rev().step_by(ends.div_ceil(12)) {
        let dir = copied(whole.path());
        flip(&dir.path().join(segment.file_name().unwrap()), 4096 + 70);
        let begins = started(&pump, dir.path()).unwrap();
        assert_eq!(started(&pump, dir.path()).unwrap(), begins, "it starts again where it is");
        assert!(!named(dir.path(), "damaged-").is_empty());
        let Verified { report, fault } = verified(dir.path());
        assert_eq!((fault, report.height), (None, begins), "{segment:?}");
        if named(dir.path(), "pruned-").is_empty() {
            below += 1;
            assert!(begins < tip && report.began == 0);
            continue;
        }
        above += 1;
        assert_eq!((begins, report.began, report.snapshots), (tip, newest, 1));
        // Each block is shown, or is said not to be kept, and as many are missing as is said.
        let ask = |question: Question| inspect(dir.path(), &question, &|_, _| false);
        let mut missing = 0;
        let mut next = 0;
        for height in (1..=tip).rev() {
            match ask(Question::Height(height)) {
                Ok(_) => next = height,
                Err(AuditError::NotKept { from, what, .. }) => {
                    assert_eq!((from, what), (next, format!("block {height}")));
                    missing += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(report.missing, missing);
        let unknown = ask(Question::Batch("00112233445566".into())).unwrap_err().to_string();
        assert!(unknown.contains(&format!("from height {} on", newest + 1)), "{unknown}");
    }
    assert!(above > 3 && below > 0, "{above} {below}");
}

#[test]
fn among_others_a_log_with_nothing_to_begin_with_is_set_aside_and_alone_it_is_left_as_it_is() {
    for nodes in [4, 1] {
        let mut pump = played(nodes, OFTEN, 150);
        let whole = written(&mut pump, 0, true);
        let bad_snapshots = copied(whole.path());
        named(bad_snapshots.path(), "snapshot-").iter().for_each(|path| flip(path, 20));
        let damaged = copied(whole.path());
        flip(&named(damaged.path(), "segment-")[0], 4096 + 70);
        named(damaged.path(), "snapshot-").iter().for_each(|path| flip(path, 20));
        let headless = copied(whole.path());
        named(headless.path(), "snapshot-").iter().for_each(|path| fs::remove_file(path).unwrap());
        flip(&named(headless.path(), "segment-")[0], 3);
        let unlinked = copied(whole.path());
        flip(named(unlinked.path(), "pruned-").last().unwrap(), 30);
        for (dir, by_damage) in [(bad_snapshots, false), (damaged, true), (headless, true), (unlinked, true)]
        {
            let before = files(dir.path());
            let begins = started(&pump, dir.path());
            if nodes == 1 {
                match begins.unwrap_err() {
                    StartError::Store(StoreError::Damaged {
                        damage: Damage::Record | Damage::Head | Damage::Remains,
                        ..
                    }) => {
                        assert!(by_damage);
                    }
                    StartError::Recovery { reason: OpenError::NoBase { .. }, .. } => assert!(!by_damage),
                    other => panic!("{other}"),
                }
                let kept = |(path, bytes): (&PathBuf, &Vec<u8>)| before.get(path) == Some(bytes);
                assert!(files(dir.path()).iter().filter(|(path, _)| !path.ends_with("lock")).all(kept));
                continue;
            }
            assert_eq!(begins.unwrap(), 0);
            let guard = dir.path().join("guard");
            assert_eq!(fs::read(&guard).unwrap(), before[&guard], "what was signed last stays");
            assert!(named(dir.path(), "pruned-").is_empty() && named(dir.path(), "snapshot-").is_empty());
            let aside = before.len() - ["guard", "genesis", "lock"].len();
            assert!(named(dir.path(), "damaged-").len() >= aside);
            assert_eq!(started(&pump, dir.path()).unwrap(), 0);
            assert_eq!(verified(dir.path()).fault, None);
        }
    }
}

/// What a peer says to a message.
type Answers = Box<dyn Fn(&Message) -> Vec<Message> + Send + Sync>;

/// Speaks for a validator on a connection until the other side hangs up; how many guests came.
fn speak(
    mut stream: TcpStream,
    identity: Arc<Identity>,
    answers: &Answers,
    guests: &AtomicUsize,
) -> Option<()> {
    let (mut link, mut guest) = (PeerLink::accept(identity), false);
    loop {
        let (mut buffer, mut events) = (vec![0; 1 << 16], Vec::new());
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        link.receive(&mut buffer[..count], &mut events).ok()?;
        for event in events {
            match event {
                PeerEvent::Guest(_) => {
                    link.name(Seat::guest(0));
                    guest = true;
                    guests.fetch_add(1, Ordering::Relaxed);
                }
                PeerEvent::Opened(_) => {}
                PeerEvent::Message(message) if guest => {
                    for answer in answers(&message) {
                        assert!(link.send(&answer, answer.payload()));
                    }
                }
                PeerEvent::Message(_) => {}
            }
        }
        loop {
            link.seal().ok()?;
            let pending = link.out.pending().to_vec();
            if pending.is_empty() {
                break;
            }
            stream.write_all(&pending).ok()?;
            link.out.consume(pending.len());
        }
    }
}

/// Somebody who answers guests: where, and how many came.
fn peer(pump: &Pump, answers: Answers) -> (SocketAddr, Arc<AtomicUsize>) {
    let keys: Vec<[u8; 32]> = pump.genesis.seats.iter().map(|seat| seat.key.0).collect();
    let seats = Arc::new(KeySet::new(&keys));
    let identity = Identity { chain: chain_id(&pump.genesis), seat: Seat(1), key: seat_key(1), seats };
    let (identity, answers, guests) = (Arc::new(identity), Arc::new(answers), Arc::new(AtomicUsize::new(0)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, came) = (listener.local_addr().unwrap(), guests.clone());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (identity, answers, guests) = (identity.clone(), answers.clone(), guests.clone());
            std::thread::spawn(move || speak(stream, identity, &answers, &guests));
        }
    });
    (address, came)
}

/// A record, with its file and its offset there.
type Found = (PathBuf, u64, RecordKind, Bytes);

/// The records of a directory.
fn records(dir: &Path) -> Vec<Found> {
    let (mut records, mut found) = (Store::records(dir, None).unwrap(), Vec::new());
    while let Some(record) = records.next() {
        let ((kind, bytes), place) = (record.unwrap(), records.place());
        found.push((place.file(dir), place.offset, kind, bytes));
    }
    found
}

/// Who has all of a directory, and says so.
fn honest(dir: &Path) -> impl Fn(&Message) -> Vec<Message> + Send + Sync + use<> {
    let (mut blocks, mut batches) = (BTreeMap::new(), BTreeMap::new());
    let (mut settlements, mut last) = (BTreeMap::new(), Bytes::new());
    for (_, _, kind, bytes) in records(dir) {
        match kind {
            RecordKind::Settlement => last = bytes,
            RecordKind::Block => {
                let block = HashedBlock::decode(bytes).unwrap();
                if !last.is_empty() {
                    settlements.insert(block.block.height, std::mem::take(&mut last));
                }
                blocks.insert(block.block.height, block);
            }
            RecordKind::Batch => {
                let batch = Batch::decode(bytes).unwrap();
                batches.insert(batch.id, batch);
            }
            _ => {}
        }
    }
    move |message| match message {
        Message::WantBlocks { first, .. } => {
            let blocks = blocks.get(first).cloned().into_iter().collect();
            vec![Message::Blocks { first: *first, blocks: Arc::new(blocks) }]
        }
        Message::WantRecord(height) => {
            let bytes = settlements.get(height).cloned().unwrap_or_default();
            vec![Message::Record { height: *height, bytes }]
        }
        Message::WantBatches(wanted) => {
            wanted.iter().filter_map(|batch| batches.get(&batch.id).cloned()).map(Message::Batch).collect()
        }
        _ => Vec::new(),
    }
}

/// What was set aside of a segment.
fn aside_of(file: &Path) -> PathBuf {
    let number = file.file_name().unwrap().to_str().unwrap().strip_prefix("segment-").unwrap();
    file.with_file_name(format!("damaged-{}-1.blk", number.strip_suffix(".blk").unwrap()))
}

/// Waits until a file has these bytes.
fn until_is(file: &Path, bytes: &[u8], what: &str) {
    for _ in 0..1500 {
        if fs::read(file).unwrap() == bytes {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{} was not mended: {what}", file.display());
}

/// A chain of four that keeps everything, and the directory of one, with all that lies well below its snapshots.
fn kept() -> (Pump, tempfile::TempDir, Vec<Found>) {
    let mut pump = played(4, NodeConfig { keep_blocks: None, ..OFTEN }, 120);
    let whole = written(&mut pump, 0, false);
    let all = records(whole.path());
    let blocks = all.iter().filter(|record| record.2 == RecordKind::Block);
    let settled: Vec<_> = blocks.flat_map(|block| decode_block(&block.3).unwrap().settled).collect();
    let mut below = all[..all.len() / 2].to_vec();
    // Of batches those that are named, and were not written again.
    below.retain(|(_, _, kind, bytes)| {
        *kind != RecordKind::Batch
            || settled.contains(&Batch::decode(bytes.clone()).unwrap().reference())
                && all.iter().filter(|other| other.3 == *bytes).count() == 1
    });
    (pump, whole, below)
}

#[test]
fn what_was_lost_below_a_snapshot_is_fetched_from_peers_and_the_next_start_has_a_whole_log_again() {
    let (pump, whole, below) = kept();
    let before = verified(whole.path());
    assert_eq!((&before.fault, before.report.missing, before.report.began), (&None, 0, 0));
    let (address, _) = peer(&pump, Box::new(honest(whole.path())));
    let of = |wanted: RecordKind| below.iter().filter(move |record| record.2 == wanted).collect::<Vec<_>>();
    let (batches, blocks, vertices) = (of(RecordKind::Batch), of(RecordKind::Block), of(RecordKind::Vertex));
    let settlements = of(RecordKind::Settlement);
    let third = |records: &[_]| records.len() / 3;
    // A byte of a batch, of a block, of the header of either and of a vertex, of records; of several in several segments.
    let cases = [
        vec![(batches[third(&batches)], 64 + 150)],
        vec![(blocks[third(&blocks)], 64 + 40)],
        vec![(batches[1], 3), (blocks[1], 34), (vertices[1], 17)],
        vec![(settlements[1], 64 + 11), (settlements[third(&settlements)], 40)],
        vec![
            (batches[0], 100),
            (blocks[third(&blocks)], 70),
            (batches[2 * third(&batches)], 40),
            (blocks[2], 64),
        ],
    ];
    for (number, case) in cases.iter().enumerate() {
        let dir = copied(whole.path());
        let place = |file: &Path| dir.path().join(file.file_name().unwrap());
        case.iter().for_each(|(record, at)| flip(&place(&record.0), record.1 as usize + at));
        let node = running(&pump, dir.path(), address).unwrap();
        for (record, _) in case {
            until_is(&aside_of(&place(&record.0)), &fs::read(&record.0).unwrap(), &format!("case {number}"));
        }
        assert_eq!(node.failure(), None);
        node.stop().unwrap();
        // What stands aside is not in use yet.
        let Verified { report, fault } = verified(dir.path());
        assert!(fault.is_none() && report.began > 0, "case {number}");
        running(&pump, dir.path(), address).unwrap().stop().unwrap();
        let Verified { report, fault } = verified(dir.path());
        assert_eq!((fault, report.missing, report.began), (None, 0, 0), "case {number}");
        assert_eq!((report.height, &report.root), (before.report.height, &before.report.root));
        assert!(named(dir.path(), "pruned-").is_empty() && named(dir.path(), "damaged-0").is_empty());
    }
}

#[test]
fn nothing_that_a_liar_sends_is_written_and_who_is_honest_later_is_believed() {
    let (pump, whole, below) = kept();
    let of = |wanted: RecordKind| below.iter().filter(move |record| record.2 == wanted).nth(7).unwrap();
    let (batch, block) = (of(RecordKind::Batch), of(RecordKind::Block));
    let dir = copied(whole.path());
    let place = |file: &Path| dir.path().join(file.file_name().unwrap());
    // Of the batch the header, so that the length is known and the rest could be anything.
    flip(&place(&batch.0), batch.1 as usize + 2);
    flip(&place(&batch.0), batch.1 as usize + 34);
    flip(&place(&block.0), block.1 as usize + 64 + 50);
    let (true_one, lies) = (honest(whole.path()), Arc::new(AtomicUsize::new(0)));
    let (told, other) = (lies.clone(), Batch::decode(of(RecordKind::Batch).3.clone()).unwrap());
    let answers = move |message: &Message| {
        let mut answers = true_one(message);
        // Each time another lie, and the truth after them.
        if !matches!(message, Message::WantBatches(_)) || told.load(Ordering::Relaxed) >= 4 {
            return answers;
        }
        let turn = told.fetch_add(1, Ordering::Relaxed);
        let spoiled = |batch: &Batch, at: usize| {
            let mut bytes = batch.bytes().to_vec();
            let at = if at == 0 { bytes.len() - 1 } else { at };
            bytes[at] ^= 1;
            Message::Batch(Batch::decode(bytes.into()).unwrap())
        };
        for answer in &mut answers {
            let Message::Batch(batch) = &*answer else { continue };
            *answer = match turn {
                0 => spoiled(batch, 0),
                1 => spoiled(batch, throng::types::params::BATCH_HEADER_BYTES - 1),
                2 => spoiled(batch, 40),
                _ => Message::Batch(other.clone()),
            };
        }
        if turn == 3 {
            answers.extend(answers.clone());
        }
        answers
    };
    let (address, guests) = peer(&pump, Box::new(answers));
    let node = running(&pump, dir.path(), address).unwrap();
    until_is(
        &aside_of(&place(&block.0)),
        &{
            let mut half = fs::read(&block.0).unwrap();
            if block.0 == batch.0 {
                half[batch.1 as usize + 2] ^= 1;
                half[batch.1 as usize + 34] ^= 1;
            }
            half
        },
        "the block",
    );
    while lies.load(Ordering::Relaxed) < 3 {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(fs::read(aside_of(&place(&batch.0))).unwrap() != fs::read(&batch.0).unwrap());
    until_is(&aside_of(&place(&batch.0)), &fs::read(&batch.0).unwrap(), "the batch");
    assert!(guests.load(Ordering::Relaxed) >= 4, "who lied was hung up on");
    node.stop().unwrap();
}

#[test]
fn a_vertex_that_is_lost_stays_aside_and_who_does_not_keep_all_asks_nobody() {
    let (mut pump, whole, below) = kept();
    let (address, guests) = peer(&pump, Box::new(honest(whole.path())));
    let vertex = below.iter().rfind(|record| record.2 == RecordKind::Vertex).unwrap();
    let batch = below.iter().find(|record| record.2 == RecordKind::Batch && record.0 != vertex.0).unwrap();
    let dir = copied(whole.path());
    let place = |file: &Path| dir.path().join(file.file_name().unwrap());
    flip(&place(&vertex.0), vertex.1 as usize + 70);
    flip(&place(&batch.0), batch.1 as usize + 70);
    for _ in 0..2 {
        let node = running(&pump, dir.path(), address).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        node.stop().unwrap();
        let [vertex_now, batch_now] =
            [vertex, batch].map(|lost| fs::read(aside_of(&place(&lost.0))).unwrap());
        assert!(vertex_now != fs::read(&vertex.0).unwrap() && batch_now != fs::read(&batch.0).unwrap());
        assert!(verified(dir.path()).report.began > 0);
    }
    assert_eq!(guests.load(Ordering::Relaxed), 0, "nothing below it would be of use");
    let dir = copied(whole.path());
    flip(&dir.path().join(batch.0.file_name().unwrap()), batch.1 as usize + 70);
    pump.config.keep_blocks = Some(1 << 40);
    let node = running(&pump, dir.path(), address).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    node.stop().unwrap();
    assert_eq!(guests.load(Ordering::Relaxed), 0, "what lies below is not wanted");
}
