//! Checks that a driver runs together.

use super::*;
use crate::node::jobs::Done;

#[test]
fn checks_run_together_give_the_results_of_each_alone_in_their_order() {
    let world = World::new(Policy::Quorum);
    let chain = chain_id(&world.genesis);
    let forged = |author: u16, by: u16| {
        let honest = world.vertex((1, author), &[], &[], 7);
        Arc::new(sign_vertex(&seat_key(by), &chain, honest.vertex.clone()))
    };
    let jobs = |count: u16| -> Vec<Job> {
        let mut jobs: Vec<Job> = (0..count)
            .map(|i| {
                let author = i % 4;
                // Every fifth is signed by the next seat.
                let by = if i % 5 == 1 { (author + 1) % 4 } else { author };
                Job::CheckVertex { from: Seat(author), vertex: forged(author, by) }
            })
            .collect();
        let batch = world.batch(1, 1, &rows(&world.genesis, 2, 0..3, None));
        jobs.insert(jobs.len() / 2, Job::CheckBatch { from: Seat(1), batch });
        jobs
    };
    for count in [0, 1, 2, 7, 13] {
        let alone: Vec<Done> = jobs(count).into_iter().map(|job| job.run(&world.shared)).collect();
        let together = Job::run_all(jobs(count), &world.shared);
        assert_eq!(format!("{alone:?}"), format!("{together:?}"));
        let bad = together.iter().filter(|done| matches!(done, Done::Vertex { good: false, .. })).count();
        assert_eq!(bad, (0..count).filter(|i| i % 5 == 1).count());
        assert!(together.iter().any(|done| matches!(done, Done::Batch { result: Ok(()), .. })));
    }
}
