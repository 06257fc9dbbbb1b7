//! Where a lab is.

use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Directory of all labs.
const ROOT: &str = "/run/shoal-lab";
/// The longest name: socket paths end at 107 bytes.
const NAME_BYTES: usize = 32;
/// How long to wait for another command on the same lab.
const LOCK_WAIT: Duration = Duration::from_mins(3);

/// A lab's directory.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
}

/// A host's directory in it.
#[derive(Debug, Clone)]
pub(crate) struct HostPlace {
    pub(crate) directory: PathBuf,
    /// Its cgroup below the mount of each hierarchy.
    pub(crate) cgroup: PathBuf,
}

impl Place {
    pub(crate) fn named(name: &str) -> anyhow::Result<Self> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > NAME_BYTES || name.starts_with('-') || !name.chars().all(plain) {
            bail!(
                "a lab's name is made of up to {NAME_BYTES} lower-case letters, digits and dashes, not {name:?}"
            );
        }
        Ok(Self { name: name.to_owned(), directory: Path::new(ROOT).join(name) })
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.directory.join("lab.json")
    }

    /// Directory of the hosts' namespaces.
    pub(crate) fn namespaces(&self) -> PathBuf {
        self.directory.join("netns")
    }

    /// File of a host's (or the LAN's) namespace.
    pub(crate) fn namespace(&self, name: &str) -> PathBuf {
        self.namespaces().join(name)
    }

    /// The lab's cgroup below the mount of each hierarchy.
    pub(crate) fn cgroup(&self) -> PathBuf {
        Path::new("shoal-lab").join(&self.name)
    }

    pub(crate) fn host(&self, name: &str) -> HostPlace {
        HostPlace { directory: self.directory.join(name), cgroup: self.cgroup().join(name) }
    }

    /// Keeps other commands from changing the lab at the same time, until dropped. The file lies beside the lab's
    /// directory, which comes and goes.
    pub(crate) fn lock(&self) -> anyhow::Result<Flock<File>> {
        let path = Path::new(ROOT).join(format!(".{}.lock", self.name));
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            fs::create_dir_all(ROOT).with_context(|| format!("cannot make {ROOT}: are you root?"))?;
            let file = match File::options().create(true).truncate(false).write(true).open(&path) {
                // The end of another lab has just taken the directory away.
                Err(e) if e.kind() == ErrorKind::NotFound && Instant::now() < deadline => continue,
                file => file.with_context(|| format!("cannot open {}", path.display()))?,
            };
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                // A lab that was taken down meanwhile took the file along, and this lock would keep nobody out.
                Ok(lock) if is_at(&lock, &path) => return Ok(lock),
                Ok(_) => {}
                Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
                Err(_) => bail!("another command has been busy with lab {} for {LOCK_WAIT:?}", self.name),
            }
        }
    }

    /// Removes the lock's file; to be called while it is held.
    pub(crate) fn remove_lock(&self) {
        // A file that stays is in nobody's way.
        let _ = fs::remove_file(Path::new(ROOT).join(format!(".{}.lock", self.name)));
        let _ = fs::remove_dir(ROOT);
    }
}

/// Whether the open file is still the one at this path.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

impl HostPlace {
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("docker.sock")
    }

    /// What survives a power cut.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// What does not.
    pub(crate) fn exec(&self) -> PathBuf {
        self.directory.join("exec")
    }

    /// The daemon's own pidfile.
    pub(crate) fn pidfile(&self) -> PathBuf {
        self.directory.join("daemon.pid")
    }

    /// Which process we started as the daemon.
    pub(crate) fn process(&self) -> PathBuf {
        self.directory.join("process.json")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("daemon.log")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_lead_elsewhere() {
        assert!(Place::named("demo-2").is_ok());
        for name in ["", "..", "a/b", "A", "-x", "a b", &"x".repeat(40)] {
            assert!(Place::named(name).is_err(), "{name}");
        }
    }
}
