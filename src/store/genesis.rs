//! The genesis beside the segments, so that whoever is handed a directory can check it without asking anybody what
//! chain it holds. The store does not know what its bytes mean, only that their hash is the chain id.

use super::disk::{self, Cache, Disk};
use super::segment::{self, NEW_SUFFIX};
use super::{Damage, StoreError};
use crate::types::params::GENESIS_BYTES_MAX;
use std::fs::File;
use std::io::{self, IoSlice, Read};
use std::path::{Path, PathBuf};

/// Its name in a data directory.
pub(super) const NAME: &str = "genesis";

/// Its path in a data directory.
pub(super) fn path_of(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

/// The name under which it is written before it is whole.
pub(super) fn unfinished() -> String {
    format!("{NAME}{NEW_SUFFIX}")
}

/// The bytes of a directory's genesis; `None` if there is none.
pub(super) fn read(dir: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let path = path_of(dir);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(StoreError::io("open", &path))?,
    };
    let mut bytes = Vec::new();
    let read = file.take(GENESIS_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
    read.map_err(StoreError::io("read", &path))?;
    if bytes.len() > GENESIS_BYTES_MAX {
        let offset = GENESIS_BYTES_MAX as u64;
        return Err(StoreError::Damaged { file: path, offset, damage: Damage::Genesis });
    }
    Ok(Some(bytes))
}

/// Checks that a directory's genesis, if it has one, is this one; whether it has one.
pub(super) fn check(dir: &Path, expected: &[u8]) -> Result<bool, StoreError> {
    let Some(found) = read(dir)? else { return Ok(false) };
    if found == expected {
        return Ok(true);
    }
    let same = found.iter().zip(expected).take_while(|(found, expected)| found == expected).count();
    Err(StoreError::Damaged { file: path_of(dir), offset: same as u64, damage: Damage::Genesis })
}

/// Writes the genesis. It has its name only when all of it is durable.
pub(super) fn write(disk: &dyn Disk, dir: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let unfinished = dir.join(unfinished());
    let fill = || {
        let file = disk.create(&unfinished, Cache::Through)?;
        disk::write_all(disk, &file, &unfinished, &mut [IoSlice::new(bytes)], 0)?;
        disk.sync(&file, &unfinished)
    };
    fill().map_err(StoreError::io("write", &unfinished))?;
    disk.rename(&unfinished, &path_of(dir)).map_err(StoreError::io("rename", &unfinished))?;
    segment::sync_dir(disk, dir)
}
