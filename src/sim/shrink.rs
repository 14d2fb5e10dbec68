//! Making a failing plan smaller: faults are left out as long as the run still fails.
//!
//! Delta debugging: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002), the algorithm
//! `ddmin` on the list of faults. What a message's delay is does not depend on the faults, so that leaving one out does
//! not reshuffle the rest.

use super::plan::{Fault, Plan};
use super::report::Shrunk;

/// Leaves out faults while `fails` says that the rest still fails, in at most `runs_max` tries.
pub fn shrink(plan: &Plan, runs_max: usize, fails: &dyn Fn(&Plan) -> bool) -> Shrunk {
    let mut faults = plan.faults.clone();
    let mut runs = 0;
    let mut still_fails = |faults: &[Fault]| {
        runs += 1;
        (runs <= runs_max).then(|| fails(&plan.with(faults.to_vec())))
    };
    let mut parts = 2;
    while !faults.is_empty() {
        let size = faults.len().div_ceil(parts);
        let mut smaller = None;
        for start in (0..faults.len()).step_by(size) {
            let end = (start + size).min(faults.len());
            let rest = [&faults[..start], &faults[end..]].concat();
            match still_fails(&rest) {
                None => return Shrunk { plan: plan.with(faults), runs: runs_max },
                Some(true) => {
                    smaller = Some(rest);
                    break;
                }
                Some(false) => {}
            }
        }
        match smaller {
            Some(rest) => {
                faults = rest;
                parts = (parts - 1).max(2);
            }
            None if size == 1 => break,
            None => parts = (parts * 2).min(faults.len()),
        }
    }
    Shrunk { plan: plan.with(faults), runs }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimConfig;
    use crate::sim::plan::{PLAN_VERSION, What};

    fn plan(count: u64) -> Plan {
        let fault = |at_us| Fault { at_us, for_us: 1, what: What::Duplicate { per_mille: 1 } };
        Plan { version: PLAN_VERSION, config: SimConfig::default(), faults: (0..count).map(fault).collect() }
    }

    #[test]
    fn only_the_faults_that_matter_are_left() {
        for needed in [vec![], vec![0], vec![7], vec![3, 11], vec![0, 5, 6, 19]] {
            let fails = |plan: &Plan| {
                needed.iter().all(|at: &u64| plan.faults.iter().any(|fault| fault.at_us == *at))
            };
            let shrunk = shrink(&plan(20), 1000, &fails);
            let left: Vec<u64> = shrunk.plan.faults.iter().map(|fault| fault.at_us).collect();
            assert_eq!(left, needed);
        }
    }

    #[test]
    fn it_ends_with_the_tries_that_it_may_have() {
        let shrunk = shrink(&plan(20), 3, &|plan| plan.faults.iter().any(|fault| fault.at_us == 19));
        assert_eq!(shrunk.runs, 3);
        assert!(shrunk.plan.faults.len() < 20 && shrunk.plan.faults.iter().any(|f| f.at_us == 19));
    }
}
