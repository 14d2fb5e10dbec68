//! What the engine's cores do most: signatures (`verify.rs`, group `verify`), hashes and trees of hashes (`hash.rs`,
//! group `hash`). Each file says what it measures and what it does not. Without `--bench`,
//! as in `cargo test --benches`, every function runs once on a tiny input.

mod hash;
#[path = "../../tests/common/random.rs"]
mod random;
mod verify;

use criterion::{Criterion, criterion_group, criterion_main};

/// Whether this is a test and not a measurement.
fn tiny() -> bool {
    let has = |flag: &str| std::env::args().any(|arg| arg == flag);
    !has("--bench") || has("--test")
}

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots();
    targets = verify::bench_verify, hash::bench_hash
}
criterion_main!(benches);
