//! The store against a list: any sequence of appends, restarts, power cuts, failing writes and flipped bits, read from
//! bytes.
//!
//! What must hold: what was acknowledged is there after any crash, in order, byte by byte; what was not is there whole
//! or not at all, and never with a gap before it. Damage is told and changes nothing; only a flip in what was written
//! last may pass for a crash.

use super::paper_disk::{Failure, PaperDisk, files};
use bytes::Bytes;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use throng::store::{Append, OnDamage, Opened, RecordKind, Store, StoreConfig, StoreError, Synced};

/// Any bytes serve a store as a genesis.
pub const GENESIS: &[u8] = b"a genesis on paper";
/// Steps of one input at most.
const STEPS_MAX: usize = 24;

pub type Records = Vec<(RecordKind, Bytes)>;

/// The smallest segments that there are.
pub fn config() -> StoreConfig {
    StoreConfig {
        segment_bytes: 16 << 10,
        payload_bytes_max: 4096,
        full_retry_ms: 1,
        ..StoreConfig::default()
    }
}

/// A record that tells its number, so that none passes for another.
pub fn record(number: usize, len: usize) -> (RecordKind, Bytes) {
    let kinds = [RecordKind::Batch, RecordKind::Vertex, RecordKind::Block];
    let bytes = (0..len).map(|at| (number.wrapping_mul(31) ^ at.wrapping_mul(7)) as u8 | 1);
    (kinds[number % 3], bytes.collect())
}

/// A store that runs, and what it must hold.
pub struct World {
    dir: PathBuf,
    pub paper: Arc<PaperDisk>,
    store: Option<Store>,
    told: Receiver<Result<Vec<Synced>, StoreError>>,
    /// Everything that was offered since the last start, and durable before.
    pub records: Records,
    /// How many of them were acknowledged.
    pub acknowledged: usize,
    /// Where groups begin: what a flip can take away unseen is the last of them.
    groups: Vec<usize>,
    /// Acknowledged records when this life began.
    born: usize,
}

impl World {
    /// Opens a directory that must hold `records` up to a number of at least `least`.
    pub fn open(dir: &Path, records: Records, least: usize) -> Result<World, StoreError> {
        World::open_on(Arc::new(PaperDisk::of(dir)), dir, records, least)
    }

    fn open_on(
        paper: Arc<PaperDisk>,
        dir: &Path,
        mut records: Records,
        least: usize,
    ) -> Result<World, StoreError> {
        let Opened { mut store, records: found, .. } =
            Store::open_on(paper.clone(), dir, GENESIS, &config(), OnDamage::Refuse)?;
        let found: Records = found.collect();
        assert!(found.len() >= least, "{} of {least} acknowledged records are there", found.len());
        assert!(found.len() <= records.len() && found == records[..found.len()], "they are what was written");
        records.truncate(found.len());
        let (sender, told) = channel();
        store.start(Box::new(move |result| sender.send(result).unwrap_or_default()))?;
        let acknowledged = records.len();
        paper.acknowledge(acknowledged);
        let (dir, groups, born) = (dir.to_owned(), Vec::new(), acknowledged);
        Ok(World { dir, paper, store: Some(store), told, records, acknowledged, groups, born })
    }

    /// Appends a group and waits; false once the store has failed.
    pub fn append(&mut self, lengths: &[usize]) -> bool {
        let first = self.records.len();
        self.groups.push(first);
        self.records.extend(lengths.iter().zip(first..).map(|(len, number)| record(number, *len)));
        let group = self.records[first..].iter().zip(0u64..);
        let appends = group.map(|((kind, bytes), number)| Append {
            number,
            kind: *kind,
            bytes: bytes.clone(),
            guard: None,
        });
        let Some(store) = &self.store else { return false };
        if store.append(appends.collect()).is_err() {
            assert!(self.paper.failed(), "only a failed store refuses");
            return false;
        }
        match self.told.recv().expect("every group is answered") {
            Ok(synced) => {
                let views = synced.iter().map(|synced| &synced.view);
                assert!(views.eq(self.records[first..].iter().map(|(_, bytes)| bytes)));
                self.acknowledged = self.records.len();
                self.paper.acknowledge(self.acknowledged);
                true
            }
            Err(_) => {
                assert!(self.paper.failed(), "nothing fails by itself");
                false
            }
        }
    }

    /// Ends the process: what was written stays as it is.
    pub fn stop(&mut self) {
        let closed = self.store.take().map(Store::close);
        assert!(!matches!(closed, Some(Err(_))) || self.paper.failed(), "{closed:?}");
    }

    /// Starts again after the end of the process.
    pub fn reopened(mut self) -> Result<World, StoreError> {
        self.stop();
        self.again(self.acknowledged)
    }

    /// The power is cut after so many changes of this life; some of what was not synced is kept.
    pub fn cut(
        &mut self,
        changes: usize,
        names: usize,
        keep: &dyn Fn(usize) -> bool,
    ) -> Result<World, StoreError> {
        self.stop();
        let changes = changes.min(self.paper.changes());
        let cut = self.paper.cut(changes);
        let least = self.paper.acknowledged(changes).max(self.born);
        cut.lay_out(&self.dir, names % (cut.names() + 1), keep);
        self.again(least)
    }

    /// Opens the directory as it is now.
    fn again(&mut self, least: usize) -> Result<World, StoreError> {
        let world = World::open(&self.dir, self.records.clone(), least)?;
        Ok(World { groups: std::mem::take(&mut self.groups), ..world })
    }
}

/// Plays an input.
pub fn store(bytes: &[u8]) -> bool {
    let dir = tempfile::tempdir().expect("a directory for the test");
    let mut world = World::open(dir.path(), Records::new(), 0).expect("an empty directory opens");
    let mut input = bytes.iter().copied();
    for _ in 0..STEPS_MAX {
        let (Some(kind), Some(a), Some(b)) = (input.next(), input.next(), input.next()) else { break };
        let (a, b) = (usize::from(a), usize::from(b));
        world = match kind % 8 {
            0..=3 => {
                let lengths: Vec<usize> = (0..=a % 4).map(|at| (b * 16 + at * a) % 4097).collect();
                if world.append(&lengths) {
                    world
                } else {
                    world.reopened().expect("a stopped store opens again")
                }
            }
            4 => world.reopened().expect("a closed store opens"),
            5 => {
                let since = world.paper.changes();
                let keep = move |sector: usize| (b >> (sector % 8)) & 1 == 1;
                world.cut(since * a / 255, b, &keep).expect("a power cut is no damage")
            }
            6 => {
                world.paper.fail_after(b % 32, if a % 2 == 0 { Failure::Refused } else { Failure::Full });
                world
            }
            _ => flipped(world, a, b),
        };
    }
    world.reopened().expect("the last state opens");
    true
}

/// A bit of a file at rest is flipped.
fn flipped(mut world: World, a: usize, b: usize) -> World {
    world.stop();
    let before = files(&world.dir);
    let names: Vec<_> = before.keys().collect();
    let name = names[a % names.len()].clone();
    let mut bytes = before[&name].clone();
    if bytes.is_empty() {
        return world.reopened().expect("nothing was flipped");
    }
    let at = (b * bytes.len() / 256 + a) % bytes.len();
    bytes[at] ^= 1 << (a % 8);
    fs::write(&name, &bytes).unwrap();
    // What was written last may be lost, as if it had never been synced; nothing before it, unseen.
    let least = world.groups.iter().rfind(|start| **start < world.acknowledged).copied().unwrap_or(0);
    match world.again(least) {
        Ok(world) => world,
        Err(error) => {
            let same = files(&world.dir);
            assert!(same.len() == before.len() && same[&name] == bytes, "damage changes nothing: {error}");
            fs::write(&name, &before[&name]).unwrap();
            world.reopened().expect("what was put right opens")
        }
    }
}
