//! Plans that once failed are played again: each file of `plans` is one, made small by leaving out faults, and named by
//! what went wrong.
//!
//! - `back-after-fourteen-seconds`: a validator cut off for fourteen seconds came back when its peers had let go of the
//!   vertices that it needed, ten collection depths after they were made, and of the batches. Peers keep both as long as
//!   their memory allows.
//! - `back-after-ten-seconds`: a node that was away for ten seconds lacked some hundred small batches of settled blocks,
//!   and peers sent sixteen for each request; asked for ever more slowly, they came later than new ones.
//! - `given-back-and-settled`: a validator that had lost its directory got its batches back after they had settled, and so
//!   they stand in its log. At the next start it took them for outstanding, and sealed nothing any more.
//! - `waits-on-demand`: vertices waited in both spaces of an author, its own and what is demanded in its name; the
//!   checker of memory knew of one.
//! - `written-and-never-sent`: a node died between writing a vertex and sending it. The disk kept the vertex, and with
//!   it the acks that settled a batch; the checker had seen them nowhere, since it looked at the network only.

use std::path::Path;
use throng::sim::{self, Plan, Verdict};

#[test]
fn plans_that_failed_once_agree() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("it is readable").path())
        .collect();
    files.sort_unstable();
    assert!(!files.is_empty(), "plans were found");
    for file in files {
        let plan = Plan::read(&file).expect("a plan that can be played");
        let report = sim::run(plan, &|_| false).expect("it is played to its end");
        assert_eq!(report.verdict, Verdict::Agreed, "{}: {:?}", file.display(), report.reason);
    }
}
