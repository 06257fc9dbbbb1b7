//! A number that tells two states apart.

use crate::State;

/// FNV-1a, 64 bits (offset basis and prime from its authors' page).
const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

impl State {
    /// A number over everything stored: two managers at the same index must have the same. It costs as much as a
    /// snapshot.
    pub fn digest(&self) -> u64 {
        self.snapshot().iter().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
    }
}
