//! Makes a map hold exactly what is wanted, or tells how far it does.

use super::abi::Plain;
use super::map::Map;
use crate::Error;
use crate::difference::Found;
use std::collections::BTreeMap;

/// What becomes of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It is told.
    Check,
    /// It is told, and the kernel is made to hold what was declared.
    Repair,
}

/// Compares the whole map with `wanted` and returns the keys that differ.
pub(crate) fn settle<K: Plain + Ord, V: Plain + PartialEq>(
    map: &Map<K, V>,
    wanted: &BTreeMap<K, V>,
    mode: Mode,
) -> Result<Vec<(K, Found)>, Error> {
    let differing = compare(&map.dump()?.into_iter().collect(), wanted);
    for (key, _) in differing.iter().filter(|_| mode == Mode::Repair) {
        match wanted.get(key) {
            Some(value) => map.put(key, value)?,
            None => map.remove(key)?,
        }
    }
    Ok(differing)
}

fn compare<K: Copy + Ord, V: PartialEq>(held: &BTreeMap<K, V>, wanted: &BTreeMap<K, V>) -> Vec<(K, Found)> {
    let declared = wanted.iter().filter_map(|(key, value)| match held.get(key) {
        Some(held) if held == value => None,
        Some(_) => Some((*key, Found::Different)),
        None => Some((*key, Found::Missing)),
    });
    let undeclared = held.keys().filter(|key| !wanted.contains_key(key));
    declared.chain(undeclared.map(|key| (*key, Found::Unexpected))).collect()
}
