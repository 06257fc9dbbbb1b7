//! One daemon a data root and an exec root: locks that die with the process, and the process id's file.

use crate::config::Config;
use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File, OpenOptions};
use std::path::Path;

/// Held while the daemon runs.
pub(crate) struct Locks {
    _data: Flock<File>,
    _exec: Flock<File>,
    pidfile: std::path::PathBuf,
}

impl Drop for Locks {
    fn drop(&mut self) {
        // A missing file is as good.
        drop(fs::remove_file(&self.pidfile));
    }
}

/// Takes both roots and writes the process id.
pub(crate) fn take(config: &Config) -> anyhow::Result<Locks> {
    let data = lock(&config.data_root, "data root")?;
    let exec = lock(&config.exec_root, "exec root")?;
    if let Some(directory) = config.pidfile.parent() {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    fs::write(&config.pidfile, std::process::id().to_string())
        .with_context(|| format!("cannot write {}", config.pidfile.display()))?;
    Ok(Locks { _data: data, _exec: exec, pidfile: config.pidfile.clone() })
}

fn lock(root: &Path, what: &str) -> anyhow::Result<Flock<File>> {
    fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display()))?;
    let path = root.join("shoal.lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
            bail!("the {what} {} is in use by another shoal daemon", root.display())
        }
        Err((_, error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}
