//! Plans that once failed are played again: each file of `plans` is one, made small by leaving out faults, and named by
//! what went wrong.
//!
//! - `back-after-ten-seconds`: a node that was away for ten seconds lacked some hundred small batches of settled blocks,
//!   and peers sent sixteen for each request; asked for ever more slowly, they came later than new ones.

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
