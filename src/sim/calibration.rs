//! What work costs on the modelled hardware: a small file of measured figures, so that a world can speak of a machine
//! that is not the one it runs on.

use super::config::SimError;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The figures that are used unless others are given: one core of a server of 2021 (Zen 3, 3.2 GHz), and its disk.
const DEFAULT: &str = include_str!("calibration.json");

/// Costs on one core, in nanoseconds, and the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// One signature of a large batch.
    pub verify_batch_ns: u64,
    /// One signature alone.
    pub verify_single_ns: u64,
    /// Signing once.
    pub sign_ns: u64,
    /// Taking a vertex into the DAG and deciding, beside its references.
    pub vertex_ns: u64,
    /// Each parent or ack in a vertex.
    pub reference_ns: u64,
    /// Executing one row.
    pub execute_row_ns: u64,
    /// Hashing one KiB.
    pub hash_kib_ns: u64,
    /// Receiving or sending one message, beside its bytes.
    pub message_ns: u64,
    /// Each KiB of a message: copies and encryption.
    pub message_kib_ns: u64,
    /// Handing one record to the disk and taking its answer.
    pub record_ns: u64,
    /// A sync of the disk, in microseconds, beside the bytes.
    pub sync_us: u64,
    /// What the disk writes, in megabytes per second.
    pub disk_mb_per_s: u64,
}

impl Default for Calibration {
    fn default() -> Calibration {
        serde_json::from_str(DEFAULT).expect("the figures built in are well-formed; a test reads them")
    }
}

impl Calibration {
    /// Reads figures from a file.
    ///
    /// # Errors
    /// [`SimError::File`] when it cannot be read, is not of this form, or has an impossible figure.
    pub fn read(path: &Path) -> Result<Calibration, SimError> {
        let refuse = |reason: String| SimError::File { path: path.to_owned(), reason };
        let text = super::config::read_text(path)?;
        let calibration: Calibration =
            serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        calibration.check().map_err(|words| refuse(words.to_owned()))?;
        Ok(calibration)
    }

    /// Whether every figure is possible.
    pub fn check(&self) -> Result<(), &'static str> {
        let costs = [
            self.verify_batch_ns,
            self.verify_single_ns,
            self.sign_ns,
            self.vertex_ns,
            self.reference_ns,
            self.execute_row_ns,
            self.hash_kib_ns,
            self.message_ns,
            self.message_kib_ns,
            self.record_ns,
        ];
        if costs.iter().any(|cost| *cost > 1_000_000_000) {
            return Err("a piece of work takes at most a second (1000000000 ns)");
        }
        if self.sync_us > 10_000_000 {
            return Err("sync_us must lie between 0 and 10000000");
        }
        if !(1..=1_000_000).contains(&self.disk_mb_per_s) {
            return Err("disk_mb_per_s must lie between 1 and 1000000");
        }
        Ok(())
    }

    /// Hashing so many bytes, in nanoseconds.
    pub fn hash(&self, bytes: usize) -> u64 {
        self.hash_kib_ns * bytes as u64 / 1024
    }

    /// Moving a message of so many bytes through the network code, in nanoseconds.
    pub fn message(&self, bytes: usize) -> u64 {
        self.message_ns + self.message_kib_ns * bytes as u64 / 1024
    }

    /// Writing and syncing so many bytes, in nanoseconds.
    pub fn sync(&self, bytes: usize) -> u64 {
        self.sync_us * 1000 + bytes as u64 * 1000 / self.disk_mb_per_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_built_in_are_whole_and_possible() {
        assert_eq!(Calibration::default().check(), Ok(()));
    }

    #[test]
    fn an_unknown_or_missing_figure_is_refused_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.json");
        for text in ["{}", "[", &DEFAULT.replace("\"sign_ns\"", "\"sing_ns\"")] {
            std::fs::write(&path, text).unwrap();
            assert!(Calibration::read(&path).unwrap_err().to_string().contains("c.json"), "{text}");
        }
        std::fs::write(&path, DEFAULT.replace("\"disk_mb_per_s\": 1000", "\"disk_mb_per_s\": 0")).unwrap();
        assert!(Calibration::read(&path).unwrap_err().to_string().contains("disk_mb_per_s"));
    }
}
