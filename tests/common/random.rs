//! Random bytes from BLAKE3 for the batches of other libraries, which ask for two versions of the same traits.

use std::convert::Infallible;

/// Coefficients for one batch: the same in every run, and nothing that a signature of the tests was made against.
pub struct Stream(blake3::OutputReader);

impl Stream {
    /// At its beginning.
    pub fn new() -> Self {
        Self(blake3::Hasher::new().finalize_xof())
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes);
        bytes
    }
}

impl rand_core::TryRng for Stream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.take()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.take()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Stream {}

impl rand_core_06::RngCore for Stream {
    fn next_u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn next_u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core_06::Error> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl rand_core_06::CryptoRng for Stream {}
