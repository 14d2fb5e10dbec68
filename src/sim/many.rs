//! Several worlds at once, each on a thread of its own; what one tells does not depend on the others.

use super::{RunError, RunReport};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Plays `count` worlds on up to `threads` threads. `play` plays the one of a number; `done` is told as each ends, in
/// the order of ending. The results are in the order of numbers; after an error the rest is left out.
///
/// # Errors
/// The first error by number.
pub fn many(
    count: usize,
    threads: usize,
    play: &(dyn Fn(usize) -> Result<RunReport, RunError> + Sync),
    done: &(dyn Fn(&RunReport) + Sync),
) -> (Vec<RunReport>, Option<RunError>) {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut results = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return results;
            }
            let result = play(number);
            match &result {
                Ok(report) => done(report),
                Err(_) => next.store(count, Ordering::Relaxed),
            }
            results.push((number, result));
        }
    };
    let mut results: Vec<_> = std::thread::scope(|scope| {
        let name = |thread: usize| std::thread::Builder::new().name(format!("world-{thread}"));
        let others: Vec<_> = (1..threads.min(count))
            .filter_map(|thread| name(thread).spawn_scoped(scope, work).ok())
            .collect();
        let mut results = work();
        for other in others {
            results.extend(other.join().unwrap_or_default());
        }
        results
    });
    results.sort_by_key(|(number, _)| *number);
    let mut reports = Vec::with_capacity(results.len());
    let mut error = None;
    for (_, result) in results {
        match result {
            Ok(report) => reports.push(report),
            Err(reason) => error = error.or(Some(reason)),
        }
    }
    (reports, error)
}
