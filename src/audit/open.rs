//! A directory as it is opened for reading: locked, its genesis known.

use super::fault::{self, GenesisFault};
use super::{AuditError, Fault};
use crate::store::{Held, RecordIter, Store, StoreError};
use crate::types::{ChainId, Genesis, Height};
use crate::wire::{chain_id_of, decode_genesis};
use std::fs;
use std::path::{Path, PathBuf};

/// A directory that nobody writes to meanwhile.
pub(super) struct Directory {
    pub dir: PathBuf,
    pub genesis: Genesis,
    pub chain: ChainId,
    pub records: RecordIter,
    _held: Option<Held>,
}

/// Why a directory was not opened.
pub(super) enum Unopened {
    /// It cannot be looked at.
    Refused(AuditError),
    /// It is faulty before its first record.
    Faulty(Box<Fault>),
}

impl From<Box<Fault>> for Unopened {
    fn from(fault: Box<Fault>) -> Unopened {
        Unopened::Faulty(fault)
    }
}

impl From<Unopened> for AuditError {
    fn from(unopened: Unopened) -> AuditError {
        match unopened {
            Unopened::Refused(error) => error,
            Unopened::Faulty(fault) => AuditError::Fault(fault),
        }
    }
}

impl Directory {
    pub(super) fn open(dir: &Path) -> Result<Directory, Unopened> {
        let store = |error| match fault::of_store(error, Height(0)) {
            Ok(fault) => Unopened::Faulty(fault),
            Err(error) => Unopened::Refused(several(dir).unwrap_or(AuditError::Store(error))),
        };
        let held = Store::hold(dir).map_err(store)?;
        let records = Store::records(dir, None).map_err(store)?;
        let named = ChainId(*records.chain_id());
        let bytes = match Store::genesis(dir) {
            Err(StoreError::Missing { file }) => {
                let found = "the genesis is missing".to_owned();
                let expected =
                    format!("the genesis of chain {named}, which a node writes again when it starts here");
                return Err(Box::new(Fault { file, offset: 0, height: 0, found, expected }).into());
            }
            bytes => bytes.map_err(store)?,
        };
        let chain = chain_id_of(&bytes);
        if chain != named {
            let found = format!("a genesis with the hash {chain}");
            let expected = format!("the hash {named}, which the segments name as their chain");
            let file = Store::genesis_path(dir);
            return Err(Box::new(Fault { file, offset: 0, height: 0, found, expected }).into());
        }
        let genesis = decode_genesis(&bytes).map_err(GenesisFault::from);
        let genesis =
            genesis.and_then(|genesis| genesis.check().map(|()| genesis).map_err(GenesisFault::from));
        let genesis = genesis.map_err(|reason| fault::of_genesis(dir, reason))?;
        Ok(Directory { dir: dir.to_owned(), genesis, chain, records, _held: held })
    }
}

impl Directory {
    /// Whether the block of a height is a checkpoint.
    pub(super) fn is_checkpoint(&self, height: Height) -> bool {
        height.0.is_multiple_of(self.genesis.rules.checkpoint_blocks)
    }
}

/// Whether a directory that is no node's holds some that are.
fn several(dir: &Path) -> Option<AuditError> {
    let below = |dir: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect()
    };
    let children = below(dir);
    let grandchildren = children.iter().flat_map(|child| below(child));
    let all = children.iter().cloned().chain(grandchildren);
    let example = all.filter(|path| Store::genesis_path(path).is_file()).min()?;
    Some(AuditError::Several { dir: dir.to_owned(), example })
}
