//! Takes over from a daemon whose maps had another layout.
//!
//! A map whose layout did not change is taken over as it is, by a second pin: the old programs and the new ones share it,
//! so that nothing is lost while both run. Where the layout of a map changed, its content is left behind, and declared
//! anew or learned again. The predecessor's programs serve until the first sync has filled the new maps.

use super::bpffs::{self, PinRoot};
use super::syscall::{self, MapLayout};
use crate::Error;
use crate::difference::{Difference, Found, Subject};
use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Maps that tell what the numbers of services, servers and networks mean.
const MEANINGS: [&str; 5] = ["vip_services", "port_services", "servers", "networks", "next_numbers"];

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
    different: BTreeSet<String>,
}

impl Compared {
    /// Maps that keep their meaning.
    fn to_share(&self) -> BTreeSet<&str> {
        let numbers_mean_the_same = MEANINGS.iter().all(|name| self.same.contains(*name));
        let same = self.same.iter().map(String::as_str);
        same.filter(|name| numbers_mean_the_same || WITHOUT_NUMBERS.contains(name)).collect()
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
        if open(theirs, &name)?.2 == open(ours, &name)?.2 {
            compared.same.insert(name);
        } else {
            compared.different.insert(name);
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
        for name in compared.to_share() {
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

/// What of the predecessor's maps is left behind.
pub(crate) fn left_behind(pins: &PinRoot, version: &Path) -> Result<Vec<Difference>, Error> {
    let compared = compare(&version.join("maps"), &pins.maps())?;
    let shared = compared.to_share();
    let all = compared.same.iter().chain(&compared.different);
    let left = all.filter(|name| !shared.contains(name.as_str())).map(|name| Difference {
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
        Compared { same: same.iter().map(ToString::to_string).collect(), different: BTreeSet::new() }
    }

    #[test]
    fn numbers_are_taken_over_with_their_meaning_only() {
        let all: Vec<&str> = MEANINGS.into_iter().chain(["entry_flows", "task_flows"]).collect();
        assert_eq!(compared(&all).to_share().len(), all.len());
        for missing in MEANINGS {
            let rest: Vec<&str> = all.iter().copied().filter(|name| *name != missing).collect();
            assert_eq!(compared(&rest).to_share(), ["task_flows"].into());
        }
    }
}
