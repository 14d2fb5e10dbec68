//! How people and tools talk to a node that runs: one at a time, waiting for the answer.
//!
//! **Owns** the client of the client protocol. **May not** know a node's insides: it says what anybody may say over the client
//! port. What the load generator needs, many connections and no waiting, is its own.
//!
//! - Upon an answer that does not come, or does not decode: an error that names the node. Nobody waits for ever.
//! - Upon a node's word: it is that node's. What has to hold although it lies is checked against a certificate.

mod client;

pub use client::{Client, ClientError};
