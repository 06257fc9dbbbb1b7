//! The members of an archive of images, laid down as files under names of our own.

use crate::compression::decompressed;
use crate::error::{Error, LayerError};
use crate::layer_path::components;
use crate::tar_stream::{Entry, Kind, TarReader};
use crate::unpack::Bounds;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Most links from one member to another.
const MOST_LINKS: usize = 8;

/// What an archive of images holds, by name.
#[derive(Debug, Default)]
pub(crate) struct Members {
    members: HashMap<String, Member>,
}

#[derive(Debug)]
enum Member {
    File(PathBuf),
    /// Another member's name: old archives share layers so.
    Link(String),
}

impl Members {
    /// Lays the members of the archive `stream` down in `directory`.
    pub(crate) fn lay_down(stream: impl Read, directory: &Path, bounds: Bounds) -> Result<Self, Error> {
        let broken = |source| Error::Layer { layer: "archive".into(), source };
        let (plain, _) = decompressed(stream).map_err(broken)?;
        let mut archive = TarReader::new(plain);
        let mut members = Self::default();
        let (mut count, mut bytes) = (0, 0_u64);
        while let Some(entry) = archive.next_entry().map_err(broken)? {
            (count, bytes) = (count + 1, bytes.saturating_add(entry.size));
            if count > bounds.entries {
                return Err(broken(LayerError::TooLarge { what: "entries:", bound: bounds.entries }));
            }
            if bytes > bounds.bytes {
                return Err(broken(LayerError::TooLarge { what: "bytes:", bound: bounds.bytes }));
            }
            members.add(&entry, &mut archive, directory, count).map_err(broken)?;
        }
        archive.drain().map_err(broken)?;
        Ok(members)
    }

    fn add(
        &mut self,
        entry: &Entry,
        data: &mut impl Read,
        directory: &Path,
        number: u64,
    ) -> Result<(), LayerError> {
        let name = normal(&entry.name).map_err(|why| LayerError::Refused { name: entry.shown(), why })?;
        let member = match entry.kind {
            Kind::File => {
                let path = directory.join(format!("member-{number}"));
                let mut file = File::create_new(&path)
                    .map_err(|source| LayerError::Unpack { name: entry.shown(), source })?;
                io::copy(data, &mut file).map_err(LayerError::Archive)?;
                Member::File(path)
            }
            Kind::HardLink => {
                let refused = |why| LayerError::Refused { name: entry.shown(), why };
                Member::Link(normal(&entry.link).map_err(refused)?)
            }
            Kind::Symlink => Member::Link(relative(&name, &entry.link)),
            _ => return Ok(()),
        };
        self.members.insert(name, member);
        Ok(())
    }

    /// The file that holds the member of this name.
    pub(crate) fn path(&self, name: &str) -> Option<&Path> {
        let mut name = normal(name.as_bytes()).ok()?;
        for _ in 0..MOST_LINKS {
            match self.members.get(&name)? {
                Member::File(path) => return Some(path),
                Member::Link(target) => name.clone_from(target),
            }
        }
        None
    }

    /// The contents of a member, if there is such and it is no longer than `longest` bytes.
    pub(crate) fn read(&self, name: &str, longest: u64) -> Result<Vec<u8>, Error> {
        let missing = || Error::InvalidImage(format!("the archive has no {name}"));
        let path = self.path(name).ok_or_else(missing)?;
        let failed = || Error::io(format!("read {name} of the archive"));
        let length = fs::metadata(path).map_err(failed())?.len();
        if length > longest {
            return Err(Error::InvalidImage(format!("{name} has {length} bytes, more than {longest}")));
        }
        fs::read(path).map_err(failed())
    }
}

fn normal(name: &[u8]) -> Result<String, String> {
    let parts: Option<Vec<&str>> = components(name)?.into_iter().map(|part| part.to_str()).collect();
    parts.map(|parts| parts.join("/")).ok_or_else(|| "is not UTF-8".into())
}

/// The member that a symbolic link in the place of `name` means; one that leads out means no member.
fn relative(name: &str, link: &[u8]) -> String {
    let link = String::from_utf8_lossy(link);
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_names_of_members() {
        assert_eq!(relative("a/layer.tar", b"../b/layer.tar"), "b/layer.tar");
        assert_eq!(relative("layer.tar", b"../../../etc/passwd"), "etc/passwd");
    }
}
