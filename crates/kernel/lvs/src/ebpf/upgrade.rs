//! Takes over from a daemon whose maps had another layout.
//!
//! A map whose layout did not change is taken over as it is, by a second pin: the old programs and the new ones share it,
//! so that nothing is lost while both run. Where fields were added or moved, entries are carried over field by field, as
//! the maps describe themselves. Where fields are gone, the content is left behind, and declared anew or learned again.
//! The predecessor's programs serve until the first sync has filled the new maps.

use super::bpffs::{self, PinRoot};
use super::btf::{Conversion, Types};
use super::syscall::{self, MapLayout};
use crate::Error;
use crate::difference::{Difference, Found, Subject};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Maps that tell what the numbers of services, servers and networks mean.
const MEANINGS: [&str; 5] = ["vip_services", "port_services", "servers", "networks", "next_numbers"];

/// Maps that the programs write.
const FLOWS: [&str; 9] = [
    "entry_flows",
    "entry_openings",
    "task_flows",
    "task_openings",
    "clashes",
    "affinities",
    "datagram_choices",
    "datagram_peers",
    "balanced_sockets",
];

/// Maps without such numbers in them.
const WITHOUT_NUMBERS: [&str; 10] = [
    "task_flows",
    "task_openings",
    "clashes",
    "datagram_peers",
    "drops",
    "node_addresses",
    "mesh_tasks",
    "task_ports",
    "mesh_settings",
    "sandboxes",
];

/// Maps of both versions.
#[derive(Debug, Default)]
struct Compared {
    same: BTreeSet<String>,
    converted: BTreeMap<String, Converter>,
    different: BTreeSet<String>,
}

impl Compared {
    /// Maps that keep their meaning.
    fn kept(&self) -> BTreeSet<&str> {
        let known = |name: &&str| self.same.contains(*name) || self.converted.contains_key(*name);
        let numbers_mean_the_same = MEANINGS.iter().all(known);
        let all = self.same.iter().chain(self.converted.keys()).map(String::as_str);
        all.filter(|name| numbers_mean_the_same || WITHOUT_NUMBERS.contains(name)).collect()
    }
}

/// Entries of one layout into those of another.
#[derive(Debug)]
struct Converter {
    key: Conversion,
    value: Conversion,
}

impl Converter {
    /// Between two maps that describe themselves, if nothing of the old one is lost.
    fn between(old: &OwnedFd, new: &OwnedFd) -> io::Result<Option<Self>> {
        let types = (syscall::map_types(old.as_fd())?, syscall::map_types(new.as_fd())?);
        let (Some((old, old_types)), Some((new, new_types))) = types else { return Ok(None) };
        let (Some(old), Some(new)) = (Types::read(&old), Types::read(&new)) else { return Ok(None) };
        let conversion = |part: usize| {
            let (old, new) = (old.fields(old_types[part])?, new.fields(new_types[part])?);
            // A key with a field that the old one had not would be another thing's.
            let is_key = part == 0;
            if is_key && old.len() != new.len() { None } else { Conversion::between(&old, &new) }
        };
        Ok(conversion(0).zip(conversion(1)).map(|(key, value)| Self { key, value }))
    }
}

fn open(directory: &Path, name: &str) -> Result<(OwnedFd, u32, MapLayout), Error> {
    let failed = |e| Error::system(format!("opening the map {name}"), e);
    let map = syscall::open_pinned(&directory.join(name)).map_err(failed)?;
    let (id, layout) = syscall::map_layout(map.as_fd()).map_err(failed)?;
    Ok((map, id, layout))
}

fn compare(theirs: &Path, ours: &Path) -> Result<Compared, Error> {
    let mut compared = Compared::default();
    let old: BTreeSet<String> = bpffs::names(theirs)?.into_iter().collect();
    for name in bpffs::names(ours)?.into_iter().filter(|name| old.contains(name)) {
        let ((old, _, theirs), (new, _, ours)) = (open(theirs, &name)?, open(ours, &name)?);
        if theirs == ours {
            compared.same.insert(name);
            continue;
        }
        let converter = if theirs.is_alike(ours) && theirs.has_plain_entries() {
            Converter::between(&old, &new)
                .map_err(|e| Error::system(format!("looking at the map {name}"), e))?
        } else {
            None
        };
        match converter {
            Some(converter) => drop(compared.converted.insert(name, converter)),
            None => drop(compared.different.insert(name)),
        }
    }
    Ok(compared)
}

/// Puts the predecessor's maps in the place of ours where they mean the same; whether there were any. The programs must be
/// loaded again then. Does nothing the second time.
pub(crate) fn share_maps(pins: &PinRoot) -> Result<bool, Error> {
    let ours = pins.maps();
    let mut shared = false;
    for version in pins.outdated()? {
        let theirs = version.join("maps");
        let compared = compare(&theirs, &ours)?;
        for name in compared.kept().into_iter().filter(|name| compared.same.contains(*name)) {
            let ((map, theirs, _), (_, own, _)) = (open(&theirs, name)?, open(&ours, name)?);
            if theirs == own {
                continue;
            }
            let failed = |e| Error::system(format!("taking over the map {name}"), e);
            let pin = ours.join(name);
            fs::remove_file(&pin).map_err(failed)?;
            syscall::pin(map.as_fd(), &pin).map_err(failed)?;
            shared = true;
        }
    }
    Ok(shared)
}

/// Carries over what the predecessor's maps hold and ours do not, where entries must be converted; before anything is
/// compared with what is declared.
pub(crate) fn carry_over(pins: &PinRoot) -> Result<(), Error> {
    carry(pins, |_| true)
}

/// The same for what traffic left behind since, right before the programs change.
pub(crate) fn carry_over_flows(pins: &PinRoot) -> Result<(), Error> {
    carry(pins, |name| FLOWS.contains(&name))
}

fn carry(pins: &PinRoot, wanted: impl Fn(&str) -> bool) -> Result<(), Error> {
    for version in pins.outdated()? {
        let (theirs, ours) = (version.join("maps"), pins.maps());
        let compared = compare(&theirs, &ours)?;
        for name in compared.kept().into_iter().filter(|name| wanted(name)) {
            let Some(converter) = compared.converted.get(name) else { continue };
            let ((old, _, old_layout), (new, _, layout)) = (open(&theirs, name)?, open(&ours, name)?);
            let failed = |e| Error::system(format!("carrying over the map {name}"), e);
            let (key_bytes, value_bytes) = layout.sizes();
            for (key, value) in syscall::entries(old.as_fd(), old_layout).map_err(failed)? {
                let key = converter.key.convert(&key, key_bytes);
                let value = converter.value.convert(&value, value_bytes);
                if let Some((key, value)) = key.zip(value) {
                    syscall::add_entry(new.as_fd(), layout, &key, &value).map_err(failed)?;
                }
            }
        }
    }
    Ok(())
}

/// What of the predecessor's maps is left behind.
pub(crate) fn left_behind(pins: &PinRoot, version: &Path) -> Result<Vec<Difference>, Error> {
    let compared = compare(&version.join("maps"), &pins.maps())?;
    let kept = compared.kept();
    let all = compared.same.iter().chain(compared.converted.keys()).chain(&compared.different);
    let left = all.filter(|name| !kept.contains(name.as_str())).map(|name| Difference {
        subject: Subject::Leftover("content of a map of another version"),
        found: Found::Different,
        unrepaired: Some(format!("the map {name} is laid out anew, or holds numbers of one that is")),
    });
    Ok(left.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(same: &[&str]) -> Compared {
        Compared { same: same.iter().map(ToString::to_string).collect(), ..Compared::default() }
    }

    #[test]
    fn numbers_are_taken_over_with_their_meaning_only() {
        let all: Vec<&str> = MEANINGS.into_iter().chain(["entry_flows", "task_flows"]).collect();
        assert_eq!(compared(&all).kept().len(), all.len());
        for missing in MEANINGS {
            let rest: Vec<&str> = all.iter().copied().filter(|name| *name != missing).collect();
            assert_eq!(compared(&rest).kept(), ["task_flows"].into());
        }
    }
}
