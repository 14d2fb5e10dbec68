//! How people and tools talk to a node that runs.
//!
//! **Owns** the client of the client protocol, one question at a time, and the HTTP server of a node ([`http`]). **May not**
//! know a node's insides: it says what anybody may say over the client port, and reads what the node shows. What the load
//! generator needs, many connections and no waiting, is its own.
//!
//! - Upon an answer that does not come, or does not decode: an error that names the node. Nobody waits for ever.
//! - Upon a node's word: it is that node's. What has to hold although it lies is checked against a certificate
//!   ([`AccountEvidence::check`]).

mod client;
mod documents;
pub mod http;
mod proof;

pub use client::{Client, ClientError};
pub use documents::{account_document, notice_document, status_document, transfers_document};
pub use proof::{AccountEvidence, Proven, Unproven};
