//! The pins of the maps: without them the next daemon would not find what the programs use.

use super::entries::Mode;
use super::object::MAPS;
use super::syscall;
use crate::Error;
use crate::difference::{Difference, Found, Subject};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Every map that the programs use, whatever becomes of its pin.
#[derive(Debug)]
pub(crate) struct MapPins(Vec<(&'static str, OwnedFd, u32)>);

fn number(map: &OwnedFd) -> io::Result<u32> {
    syscall::map_layout(map.as_fd()).map(|(id, _)| id)
}

impl MapPins {
    /// Opens them all.
    pub(crate) fn open(directory: &Path) -> Result<Self, Error> {
        let open = |name: &'static str| {
            let map = syscall::open_pinned(&directory.join(name));
            let numbered = map.and_then(|map| number(&map).map(|number| (map, number)));
            let (map, number) = numbered.map_err(|e| Error::system(format!("opening the map {name}"), e))?;
            Ok((name, map, number))
        };
        Ok(Self(MAPS.into_iter().map(open).collect::<Result<_, Error>>()?))
    }

    /// Compares, and pins again what somebody removed or replaced.
    pub(crate) fn settle(
        &self,
        directory: &Path,
        mode: Mode,
        found: &mut Vec<Difference>,
    ) -> Result<(), Error> {
        for (name, map, own) in &self.0 {
            let pin = directory.join(name);
            let how = match syscall::open_pinned(&pin).and_then(|map| number(&map)) {
                Ok(pinned) if pinned == *own => continue,
                Ok(_) => Found::Different,
                Err(_) => Found::Missing,
            };
            let failed = |e| Error::system(format!("pinning the map {name}"), e);
            if mode == Mode::Repair {
                if how == Found::Different {
                    fs::remove_file(&pin).map_err(failed)?;
                }
                syscall::pin(map.as_fd(), &pin).map_err(failed)?;
            }
            found.push(Difference {
                subject: Subject::Map((*name).to_owned()),
                found: how,
                unrepaired: None,
            });
        }
        Ok(())
    }
}
