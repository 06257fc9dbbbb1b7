//! Hashes that are the same on every node, in every version: rings are compared between nodes.

use sha2::{Digest, Sha256};
use shoal_model::TaskId;

/// Two independent numbers that stand for a task.
pub(super) fn of_task(task: &TaskId) -> (u64, u64) {
    let digest = Sha256::digest(task.as_str());
    let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |n, byte| (n << 8) | u64::from(*byte));
    (number(&digest[..8]), number(&digest[8..16]))
}

/// One number of two, every bit of it dependent on every bit of both: the finaliser of `SplitMix64` (Steele, Lea, Flood,
/// OOPSLA 2014).
pub(super) fn mix(a: u64, b: u64) -> u64 {
    let mut z = a.wrapping_add(b.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
