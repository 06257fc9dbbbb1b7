//! Mounts below a directory.

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Mount points at or below `directory`, last mounted first, from the text of `/proc/self/mountinfo`.
fn below(mountinfo: &str, directory: &Path) -> Vec<PathBuf> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    let mut found: Vec<PathBuf> = points.filter(|point| point.starts_with(directory)).collect();
    found.reverse();
    found
}

/// The kernel writes blanks and backslashes as three octal digits.
fn unescape(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = text.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(byte) = octal.filter(|_| bytes[at] == b'\\') {
            plain.push(byte);
            at += 4;
        } else {
            plain.push(bytes[at]);
            at += 1;
        }
    }
    PathBuf::from(OsString::from_vec(plain))
}

fn now_below(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    Ok(below(&text, directory))
}

/// Unmounts everything at or below the directory.
pub(crate) fn unmount_below(directory: &Path) -> anyhow::Result<()> {
    // Mounts may hide others, which are seen once those are gone.
    for _ in 0..100 {
        let points = now_below(directory)?;
        if points.is_empty() {
            return Ok(());
        }
        for point in points {
            match umount2(&point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
                Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
                Err(errno) => bail!("cannot unmount {}: {errno}", point.display()),
            }
        }
    }
    bail!("mounts below {} keep coming back", directory.display())
}

/// Removes a directory with everything in it, once nothing is mounted there any more.
pub(crate) fn remove_tree(directory: &Path) -> anyhow::Result<()> {
    unmount_below(directory)?;
    match fs::remove_dir_all(directory) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_and_the_latest_first() {
        let text = "1 0 8:1 / / rw - ext4 a rw\n\
                    2 1 0:5 / /run/shoal-lab/x rw - tmpfs a rw\n\
                    3 2 0:6 / /run/shoal-lab/x/a\\040b/netns rw - tmpfs a rw\n\
                    4 1 0:7 / /run/shoal-lab/xy rw - tmpfs a rw\n";
        let found = below(text, Path::new("/run/shoal-lab/x"));
        assert_eq!(found, [Path::new("/run/shoal-lab/x/a b/netns"), Path::new("/run/shoal-lab/x")]);
    }
}
