//! Everything arbitrary in a world, drawn from its seed: by position (a hash of what is decided), so that leaving out
//! one fault does not reshuffle the rest; or in a row, while a plan is made.

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): spreads counters over all values.
fn mix(counter: u64) -> u64 {
    let mut z = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number for one decision: the same parts give the same number, whatever else was decided.
pub fn draw(seed: u64, parts: &[u64]) -> u64 {
    parts.iter().fold(mix(seed), |state, part| mix(state ^ mix(*part)))
}

/// A drawn number below `sides`; 0 if there is no side.
pub fn below(drawn: u64, sides: u64) -> u64 {
    ((u128::from(drawn) * u128::from(sides)) >> 64) as u64
}

/// 32 bytes for one purpose, such as the seed of a key.
pub fn bytes(seed: u64, role: u64, number: u64) -> [u8; 32] {
    let mut material = [0; 32];
    material[..8].copy_from_slice(b"thr sim ");
    material[8..16].copy_from_slice(&seed.to_le_bytes());
    material[16..24].copy_from_slice(&role.to_le_bytes());
    material[24..].copy_from_slice(&number.to_le_bytes());
    crate::crypto::plain(&material)
}

/// Numbers in a row, for making a plan.
pub struct Dice(u64);

impl Dice {
    /// A row of its own for each seed.
    pub fn new(seed: u64) -> Dice {
        Dice(mix(seed ^ 0x0d1c_e000))
    }

    /// The next number below `sides`.
    pub fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        below(mix(self.0), sides)
    }

    /// The next number from `from` up to and without `until`.
    pub fn between(&mut self, from: u64, until: u64) -> u64 {
        from + self.below(until.saturating_sub(from))
    }

    /// Heads or tails.
    pub fn coin(&mut self) -> bool {
        self.below(2) == 1
    }
}
