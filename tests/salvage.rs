//! Directories of which a part is damaged, as a node on sockets finds them.

mod common;

use common::Pump;
use common::directory::{OFTEN, played, verified, written};
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use throng::audit::{AuditError, Question, Verified, inspect};
use throng::net::{NodeSetup, RunningNode, StartError};
use throng::node::OpenError;
use throng::store::{Damage, StoreConfig, StoreError};

/// A node on a directory, with nobody to talk to: where it begins.
fn started(pump: &Pump, dir: &Path) -> Result<u64, StartError> {
    let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
    let node = RunningNode::start(NodeSetup {
        store: StoreConfig { segment_bytes: 8 << 20, payload_bytes_max: 4 << 20, ..StoreConfig::default() },
        peers: vec!["127.0.0.1:1".parse().unwrap(); pump.genesis.seats.len()],
        ..NodeSetup::new(pump.setup(0), dir, [bind(), bind()])
    })?;
    Ok(node.stop().unwrap().height.0)
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
    for segment in segments.iter().step_by(segments.len().div_ceil(12)) {
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
