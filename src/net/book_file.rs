//! The book of addresses on disk.
//!
//! It is written every [`BOOK_EVERY`](super::config::BOOK_EVERY), on a thread that may wait for the disk and that ends with
//! it: one that lives on would lie idle for two minutes between two writes of a millisecond. There is one at a time, so
//! that writes neither pile up on a disk that hangs nor cross; a write whose time comes meanwhile waits for it. Nothing
//! depends on the file: what is lost is learned again.

use super::book::{Book, FILE_BYTES_MAX};
use crate::store::{BOOK_NAME, BOOK_NEW_NAME};
use crate::types::ChainId;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// The file, and the thread that writes it, if one does.
pub struct BookFile {
    dir: PathBuf,
    writing: Option<JoinHandle<()>>,
}

impl BookFile {
    /// The file in a data directory.
    pub fn new(dir: PathBuf) -> BookFile {
        BookFile { dir, writing: None }
    }

    /// Takes what it says into a book; what does not hold on this chain is passed over.
    pub fn read(&self, book: &mut Book, chain: &ChainId) {
        let path = self.dir.join(BOOK_NAME);
        let size = std::fs::metadata(&path).map_or(0, |found| found.len());
        if !(1..=FILE_BYTES_MAX).contains(&size) {
            return;
        }
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let refused = book.read_text(&text, |record| record.holds(chain));
                tracing::info!(addresses = book.len(), refused, "read the book of addresses");
            }
            Err(error) => tracing::warn!(file = %path.display(), %error, "the book of addresses is not read"),
        }
    }

    /// Whether the last write has ended.
    pub fn is_free(&self) -> bool {
        self.writing.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Writes it, after the last write has ended, without waiting for this one.
    pub fn write(&mut self, text: String) {
        self.wait();
        let dir = self.dir.clone();
        match std::thread::Builder::new().name("book".to_owned()).spawn(move || write(&dir, &text)) {
            Ok(writing) => self.writing = Some(writing),
            Err(error) => tracing::warn!(%error, "the book of addresses is not written"),
        }
    }

    /// Writes it a last time.
    pub fn finish(mut self, text: &str) {
        self.wait();
        write(&self.dir, text);
    }

    fn wait(&mut self) {
        if let Some(writing) = self.writing.take() {
            // A panic in it loses a file that nothing depends on.
            let _ = writing.join();
        }
    }
}

fn write(dir: &Path, text: &str) {
    let (new, path) = (dir.join(BOOK_NEW_NAME), dir.join(BOOK_NAME));
    if let Err(error) = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &path)) {
        tracing::warn!(file = %path.display(), %error, "the book of addresses is not written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_do_not_cross_and_the_last_one_stands() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = BookFile::new(dir.path().to_owned());
        assert!(file.is_free());
        for number in 0..20 {
            file.write(format!("{number}\n").repeat(10_000));
        }
        file.finish("last\n");
        assert_eq!(std::fs::read_to_string(dir.path().join(BOOK_NAME)).unwrap(), "last\n");
        assert!(!dir.path().join(BOOK_NEW_NAME).exists());
    }
}
