//! Random numbers for ids.

use rand::RngCore;

pub(crate) fn random_u128(rng: &mut dyn RngCore) -> u128 {
    (u128::from(rng.next_u64()) << 64) | u128::from(rng.next_u64())
}
