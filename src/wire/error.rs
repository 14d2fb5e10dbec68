//! Why bytes are refused.

use thiserror::Error;

/// Why bytes do not decode. Each names what is wrong, so that a log line or a peer's score can.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum WireError {
    /// The bytes end inside a field.
    #[error("{0}: the bytes end too early")]
    Short(&'static str),
    /// Bytes follow the last field.
    #[error("{0}: bytes follow the end")]
    Trailing(&'static str),
    /// A count or length lies above its limit.
    #[error("{what}: {found} exceeds the limit {most}")]
    Limit {
        /// The field.
        what: &'static str,
        /// What it says.
        found: u64,
        /// The limit.
        most: u64,
    },
    /// A value that no honest encoder writes.
    #[error("{0}: not a canonical value")]
    Value(&'static str),
    /// A version that this build does not speak.
    #[error("version {0} is not spoken here")]
    Version(u8),
    /// An unknown kind of frame.
    #[error("frame kind {0} is unknown")]
    Kind(u8),
}
