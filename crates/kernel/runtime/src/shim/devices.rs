//! The host's devices, which privileged containers get.

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Directories of `/dev` that a container has its own of, and entries that are made for it.
const OWN: [&str; 9] = ["pts", "shm", "fd", "mqueue", "console", "ptmx", "tty", "null", "core"];

/// Every device node below `/dev`, as OCI devices.
pub(super) fn of_host() -> Vec<Value> {
    let mut found = Vec::new();
    collect(Path::new("/dev"), &mut found);
    found
}

fn collect(directory: &Path, found: &mut Vec<Value>) {
    // What vanishes while it is looked at is not there.
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_own = directory == Path::new("/dev") && OWN.iter().any(|name| entry.file_name() == *name);
        let Ok(kind) = entry.file_type() else { continue };
        if is_own {
            continue;
        }
        if kind.is_dir() {
            collect(&path, found);
        } else if (kind.is_char_device() || kind.is_block_device())
            && let Ok(metadata) = fs::symlink_metadata(&path)
        {
            found.push(json!({
                "path": path,
                "type": if kind.is_block_device() { "b" } else { "c" },
                "major": rustix::fs::major(metadata.rdev()),
                "minor": rustix::fs::minor(metadata.rdev()),
                "fileMode": metadata.mode() & 0o7777,
                "uid": metadata.uid(),
                "gid": metadata.gid(),
            }));
        }
    }
}
