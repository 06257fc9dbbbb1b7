//! Makes a map hold exactly what is wanted.

use super::abi::Plain;
use super::map::Map;
use crate::Error;
use crate::difference::Found;
use std::collections::BTreeMap;

/// Compares the whole map with `wanted`, repairs it, and returns the keys that differed.
pub(crate) fn settle<K: Plain + Ord, V: Plain + PartialEq>(
    map: &Map<K, V>,
    wanted: &BTreeMap<K, V>,
) -> Result<Vec<(K, Found)>, Error> {
    let held: BTreeMap<K, V> = map.dump()?.into_iter().collect();
    let mut differing = Vec::new();
    for (key, value) in wanted {
        let found = match held.get(key) {
            Some(held) if held == value => continue,
            Some(_) => Found::Different,
            None => Found::Missing,
        };
        map.put(key, value)?;
        differing.push((*key, found));
    }
    for key in held.keys().filter(|key| !wanted.contains_key(key)) {
        map.remove(key)?;
        differing.push((*key, Found::Unexpected));
    }
    Ok(differing)
}
