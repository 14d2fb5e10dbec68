//! Reading and writing the files of a home.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;
use toml::de::{DeTable, Deserializer, Error};

/// A configuration or key file is not larger than this.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// What is wrong with a file of a home. Every variant names the file and says what to do.
#[derive(Debug, Error)]
pub enum HomeError {
    /// The system refused.
    #[error("cannot {doing} {path}: {source}", path = path.display())]
    File {
        /// What was attempted.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// It would be overwritten.
    #[error("{path} is already there and is not overwritten: remove it, or name another one", path = path.display())]
    Exists {
        /// The file or folder.
        path: PathBuf,
    },
    /// A secret that others may read.
    #[error("{path} has mode {mode:04o}, so that others may read the secret: `chmod 600 {path}`", path = path.display())]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is larger than any such file.
    #[error("{path} has more than {most} bytes, so it is no such file", path = path.display())]
    Large {
        /// The file.
        path: PathBuf,
        /// The most bytes.
        most: u64,
    },
    /// It does not parse, or has a key that nobody knows, or a value of the wrong kind.
    #[error("{path}, line {line}: {reason}", path = path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A value is of the right kind, but cannot be.
    #[error("{path}: {reason}", path = path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Something must be said, in the file or as a flag.
    #[error("{key} is not set: write it into the configuration, or give --{flag}")]
    Missing {
        /// The key.
        key: &'static str,
        /// The flag.
        flag: String,
    },
    /// A flag has a value that cannot be.
    #[error("{0}")]
    Flag(String),
}

pub(super) fn refused(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HomeError {
    let path = path.to_owned();
    move |source| HomeError::File { doing, path, source }
}

pub(super) fn value(path: &Path, reason: impl Into<String>) -> HomeError {
    HomeError::Value { path: path.to_owned(), reason: reason.into() }
}

/// Reads a file of at most so many bytes.
pub(super) fn read_bytes(path: &Path, most: u64) -> Result<Vec<u8>, HomeError> {
    let file = fs::File::open(path).map_err(refused("open", path))?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(refused("read", path))?;
    if bytes.len() as u64 > most {
        return Err(HomeError::Large { path: path.to_owned(), most });
    }
    Ok(bytes)
}

/// Reads a text file.
pub(super) fn read_text(path: &Path) -> Result<String, HomeError> {
    let bytes = read_bytes(path, TEXT_BYTES_MAX)?;
    String::from_utf8(bytes).map_err(|_| value(path, "it is no text in UTF-8"))
}

/// Reads a file that nobody else may read.
pub(super) fn read_secret_text(path: &Path) -> Result<String, HomeError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path).map_err(refused("open", path))?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(HomeError::Readable { path: path.to_owned(), mode });
        }
    }
    read_text(path)
}

/// Parses TOML; an error becomes one line with the number of the line that it is about, and the key.
pub(super) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, HomeError> {
    let parsed = DeTable::parse(text).and_then(|table| T::deserialize(Deserializer::from(table)));
    parsed.map_err(|error| {
        let (key, words) = key_and_words(&error);
        let reason = key.map_or_else(|| words.clone(), |key| format!("{key}: {words}"));
        at_line(path, text, error.span().map_or(0, |span| span.start), reason)
    })
}

/// What is wrong with the line in which a byte of a text stands.
pub(super) fn at_line(path: &Path, text: &str, at: usize, reason: String) -> HomeError {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    HomeError::Toml { path: path.to_owned(), line, reason }
}

/// The key of which an error speaks, with those of the sections that it stands in, and what is wrong with it.
pub(super) fn key_and_words(error: &Error) -> (Option<String>, String) {
    let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    // The library tells the key in the last line of its words, where it has no text to show there.
    let said = error.to_string();
    let last = said.trim_end().lines().next_back().unwrap_or_default();
    let key = last.strip_prefix("in `").and_then(|rest| rest.strip_suffix('`'));
    (key.map(flat), flat(error.message()))
}

/// TOML with a comment in front.
pub(super) fn text(comment: &str, value: &impl Serialize) -> Result<String, HomeError> {
    let body =
        toml::to_string(value).map_err(|error| HomeError::Flag(format!("a value is too large: {error}")))?;
    Ok(format!("{comment}{body}"))
}

/// Writes a file that is not there yet; a secret one with mode 0600. It is synced, and so is its folder: a key that a chain
/// counts on must not be forgotten.
pub(super) fn write_new(path: &Path, bytes: &[u8], secret: bool) -> Result<(), HomeError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(if secret { 0o600 } else { 0o644 });
    }
    let mut file = options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => HomeError::Exists { path: path.to_owned() },
        _ => refused("make", path)(error),
    })?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Half a file is worse than none; that it cannot be removed either is told by the first error.
        let _ = fs::remove_file(path);
        return Err(refused("write", path)(error));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(refused("sync", folder))
}

/// Makes a folder that is not there, or is empty.
pub(super) fn make_folder(path: &Path) -> Result<(), HomeError> {
    fs::create_dir_all(path).map_err(refused("make", path))?;
    let mut entries = fs::read_dir(path).map_err(refused("read", path))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(HomeError::Exists { path: path.to_owned() }),
    }
}
