//! A disk that writes down every change before it makes it: so that a test can ask what a power cut between any two of
//! them would have left, and can let any of them fail.
//!
//! What it takes a real disk to promise, and no more: what was synced stays; of writes that were not synced any sector
//! may be there or not, in any order; a name that was given or taken without a sync of its directory may be there or
//! not, in the order in which they were made. The files of the store that runs are real, since it maps them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use throng::store::{Cache, Disk, SystemDisk};

/// What a disk writes wholly or not at all.
pub const SECTOR: usize = 512;

/// A change that a store made.
#[derive(Clone, Debug)]
enum Change {
    Create(PathBuf),
    Write(PathBuf, usize, Vec<u8>),
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    SyncDir,
}

/// How a change fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// With an error and without effect.
    Refused,
    /// A write is made in part, then the disk is full.
    Full,
}

/// The paper.
#[derive(Debug, Default)]
pub struct PaperDisk {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What lay there before the first change, by name: durable.
    before: BTreeMap<PathBuf, Vec<u8>>,
    changes: Vec<Change>,
    /// How many records had been acknowledged before the change of this number.
    acknowledged: Vec<usize>,
    known: usize,
    failure: Option<(usize, Failure)>,
    failed: bool,
    /// A byte that cannot be read: in which file, and where.
    unreadable: Option<(PathBuf, u64)>,
}

impl PaperDisk {
    /// A disk for a directory as it is now.
    pub fn of(dir: &Path) -> PaperDisk {
        let paper = PaperDisk::default();
        paper.state.lock().unwrap().before = files(dir);
        paper
    }

    /// Lets the change after so many more fail.
    pub fn fail_after(&self, changes: usize, failure: Failure) {
        let mut state = self.state.lock().unwrap();
        state.failure = Some((state.changes.len() + changes, failure));
    }

    /// Lets every read fail that touches a byte of a file.
    #[allow(dead_code, reason = "the fuzzer lets changes fail, no reads")]
    pub fn fail_read(&self, file: &Path, byte: u64) {
        self.state.lock().unwrap().unreadable = Some((file.to_owned(), byte));
    }

    /// Whether a change failed.
    pub fn failed(&self) -> bool {
        self.state.lock().unwrap().failed
    }

    /// Notes that the store has acknowledged so many records in all.
    pub fn acknowledge(&self, records: usize) {
        self.state.lock().unwrap().known = records;
    }

    /// How many changes were made.
    pub fn changes(&self) -> usize {
        self.state.lock().unwrap().changes.len()
    }

    /// How many records had been acknowledged when so many changes had been made.
    pub fn acknowledged(&self, changes: usize) -> usize {
        let state = self.state.lock().unwrap();
        state.acknowledged.get(changes).copied().unwrap_or(state.known)
    }

    /// What a power cut after so many changes may leave.
    pub fn cut(&self, changes: usize) -> PowerCut {
        let state = self.state.lock().unwrap();
        let mut cut = PowerCut::default();
        for (name, bytes) in &state.before {
            cut.nodes.push(Inode { durable: bytes.clone(), pending: Vec::new() });
            cut.names.insert(name.clone(), cut.nodes.len() - 1);
        }
        cut.latest = cut.names.clone();
        state.changes[..changes].iter().for_each(|change| cut.apply(change));
        cut
    }

    /// Writes a change down; the error with which it fails, if it does, and how.
    fn note(&self, change: Change) -> Option<Failure> {
        let mut state = self.state.lock().unwrap();
        let failure = state.failure.filter(|(at, _)| *at <= state.changes.len()).map(|(_, failure)| failure);
        if failure.is_some() {
            (state.failure, state.failed) = (None, true);
        }
        if failure != Some(Failure::Refused) {
            let known = state.known;
            state.acknowledged.push(known);
            state.changes.push(change);
        }
        failure
    }

    fn change(&self, change: Change) -> io::Result<()> {
        self.note(change).map_or(Ok(()), |_| Err(io::Error::other("a failure on paper")))
    }
}

impl Disk for PaperDisk {
    /// Always through the cache: what is written down lies in memory of any place.
    fn create(&self, path: &Path, _: Cache) -> io::Result<File> {
        self.change(Change::Create(path.to_owned()))?;
        SystemDisk.create(path, Cache::Through)
    }

    fn write(&self, file: &File, path: &Path, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let whole: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        let failure = self.note(Change::Write(path.to_owned(), offset as usize, whole.clone()));
        let kept = match failure {
            None => &whole[..],
            Some(Failure::Full) => &whole[..whole.len() / 2],
            Some(Failure::Refused) => return Err(io::Error::other("a failure on paper")),
        };
        let mut done = 0;
        while done < kept.len() {
            done += SystemDisk.write(file, path, &[IoSlice::new(&kept[done..])], offset + done as u64)?;
        }
        match failure {
            None => Ok(whole.len()),
            Some(_) => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn read(&self, file: &File, path: &Path, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let touched = offset..offset + bytes.len() as u64;
        match &self.state.lock().unwrap().unreadable {
            Some((of, byte)) if of == path && touched.contains(byte) => Err(io::Error::other("EIO on paper")),
            _ => SystemDisk.read(file, path, bytes, offset),
        }
    }

    /// Only on paper: a test does not wait for the real disk.
    fn sync(&self, _: &File, path: &Path) -> io::Result<()> {
        self.change(Change::Sync(path.to_owned()))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(Change::Rename(from.to_owned(), to.to_owned()))?;
        SystemDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(Change::Remove(path.to_owned()))?;
        SystemDisk.remove(path)
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        self.change(Change::SyncDir)
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(1 << 40)
    }
}

#[derive(Clone, Debug)]
struct Inode {
    durable: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
}

/// The disk at one moment: what is durable, and what may be.
#[derive(Clone, Debug, Default)]
pub struct PowerCut {
    nodes: Vec<Inode>,
    /// Durable names.
    names: BTreeMap<PathBuf, usize>,
    /// Names as the store sees them.
    latest: BTreeMap<PathBuf, usize>,
    /// Names after each change of names that may not be durable.
    unsynced: Vec<BTreeMap<PathBuf, usize>>,
}

impl PowerCut {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Create(path) => {
                self.nodes.push(Inode { durable: Vec::new(), pending: Vec::new() });
                self.latest.insert(path.clone(), self.nodes.len() - 1);
                self.unsynced.push(self.latest.clone());
            }
            Change::Write(path, offset, bytes) => {
                self.nodes[self.latest[path]].pending.push((*offset, bytes.clone()));
            }
            Change::Sync(path) => {
                let node = &mut self.nodes[self.latest[path]];
                for (offset, bytes) in std::mem::take(&mut node.pending) {
                    put(&mut node.durable, offset, &bytes);
                }
            }
            Change::Rename(from, to) => {
                if let Some(node) = self.latest.remove(from) {
                    self.latest.insert(to.clone(), node);
                }
                self.unsynced.push(self.latest.clone());
            }
            Change::Remove(path) => {
                self.latest.remove(path);
                self.unsynced.push(self.latest.clone());
            }
            Change::SyncDir => {
                self.names = self.latest.clone();
                self.unsynced.clear();
            }
        }
    }

    /// How many changes of names may be there or not: none to this many of them may be kept.
    pub fn names(&self) -> usize {
        self.unsynced.len()
    }

    /// How many sectors may be there or not.
    #[allow(dead_code, reason = "the fuzzer draws sectors, enumeration counts them")]
    pub fn sectors(&self) -> usize {
        self.nodes
            .iter()
            .flat_map(|node| &node.pending)
            .map(|(at, bytes)| pieces(*at, bytes.len()).count())
            .sum()
    }

    /// Lays out what a cut leaves when so many changes of names are kept and those sectors that `keep` says, by number.
    pub fn lay_out(&self, dir: &Path, names: usize, keep: &dyn Fn(usize) -> bool) {
        fs::read_dir(dir).unwrap().for_each(|entry| fs::remove_file(entry.unwrap().path()).unwrap());
        let names = if names == 0 { &self.names } else { &self.unsynced[names - 1] };
        let mut sector = 0;
        let mut contents = Vec::new();
        for node in &self.nodes {
            let mut bytes = node.durable.clone();
            for (at, written) in &node.pending {
                for piece in pieces(*at, written.len()) {
                    if keep(sector) {
                        put(&mut bytes, at + piece.start, &written[piece.clone()]);
                    }
                    sector += 1;
                }
            }
            contents.push(bytes);
        }
        for (name, node) in names {
            fs::write(dir.join(name.file_name().unwrap()), &contents[*node]).unwrap();
        }
    }
}

/// A write at an offset, cut at the borders of sectors.
fn pieces(offset: usize, len: usize) -> impl Iterator<Item = Range<usize>> {
    let first = SECTOR - offset % SECTOR;
    let starts = std::iter::once(0).chain((first..len).step_by(SECTOR)).filter(move |start| *start < len);
    starts.map(move |start| start..(start + SECTOR - (offset + start) % SECTOR).min(len))
}

fn put(bytes: &mut Vec<u8>, offset: usize, written: &[u8]) {
    let end = offset + written.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(written);
}

/// All files of a directory but the lock.
pub fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.is_file() && path.file_name().unwrap() != "lock");
    files.map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}
