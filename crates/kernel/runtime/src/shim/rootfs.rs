//! The container's file systems as the host sees them: the overlay, and the memory that holds generated files.
//!
//! They are mounted in the mount namespace of the daemon, so that a daemon that comes later, `docker cp` and removal all
//! see them without entering anything, and unmounted by [`crate::Runtime::remove`].

use crate::failure::Failure;
use crate::spec::{FileMount, RootFs};
use crate::state_dir::StateDir;
use nix::mount::{MsFlags, mount};
use pathrs::Root;
use rustix::fs::{Mode, OFlags};
use std::fs::{self, Permissions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Longest option text that the kernel takes: a page less its end and some room for what it adds.
const MAX_OPTIONS_BYTES: usize = 4000;

/// Mounts the overlay.
pub(super) fn mount_overlay(directory: &StateDir, rootfs: &RootFs) -> Result<(), Failure> {
    let target = directory.rootfs();
    let empty = directory.path().join("empty");
    make_directories([&target, &rootfs.upper, &rootfs.work])?;
    if let Some(missing) = rootfs.lowers.iter().find(|layer| !layer.is_dir()) {
        // The kernel would only say that something is missing.
        return Err(Failure::refused(format!("the layer {} is not there", missing.display())));
    }
    let mut lowers = rootfs.lowers.clone();
    if lowers.is_empty() {
        make_directories([&empty])?;
        lowers.push(empty);
    }
    let options = overlay_options(&lowers, &rootfs.upper, &rootfs.work);
    let is_plain = options.len() <= MAX_OPTIONS_BYTES && !has_special(&lowers, rootfs);
    let mut held = Vec::new();
    let options = if is_plain { options } else { short_options(&lowers, rootfs, &mut held)? };
    let flags = MsFlags::empty();
    mount(Some("overlay"), &target, Some("overlay"), flags, Some(options.as_str()))
        .map_err(|e| Failure::io("mount the overlay", &target, &e))
}

fn overlay_options(lowers: &[PathBuf], upper: &Path, work: &Path) -> String {
    let lowers: Vec<String> = lowers.iter().map(|p| p.display().to_string()).collect();
    format!("lowerdir={},upperdir={},workdir={}", lowers.join(":"), upper.display(), work.display())
}

/// Whether a path holds a character that means something in the options.
fn has_special(lowers: &[PathBuf], rootfs: &RootFs) -> bool {
    let mut paths = lowers.iter().chain([&rootfs.upper, &rootfs.work]);
    paths.any(|p| p.to_str().is_none_or(|p| p.contains([':', ',', '\\', '"'])))
}

/// The same with every directory named by a descriptor: short, and free of special characters.
fn short_options(lowers: &[PathBuf], rootfs: &RootFs, held: &mut Vec<OwnedFd>) -> Result<String, Failure> {
    let mut name = |path: &Path| -> Result<PathBuf, Failure> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::empty());
        let descriptor = opened.map_err(|e| Failure::io("open", path, &e))?;
        let short = format!("/proc/self/fd/{}", descriptor.as_raw_fd()).into();
        held.push(descriptor);
        Ok(short)
    };
    let lowers = lowers.iter().map(|p| name(p)).collect::<Result<Vec<_>, _>>()?;
    Ok(overlay_options(&lowers, &name(&rootfs.upper)?, &name(&rootfs.work)?))
}

/// Puts the generated files into memory of their own. Returns where each is, in order.
pub(super) fn write_files(directory: &StateDir, files: &[FileMount]) -> Result<Vec<PathBuf>, Failure> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let root = directory.files();
    make_directories([&root])?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("shoal-files"), &root, Some("tmpfs"), flags, Some("mode=0700"))
        .map_err(|e| Failure::io("mount memory at", &root, &e))?;
    files.iter().enumerate().map(|(n, file)| write_file(root.join(n.to_string()), file)).collect()
}

fn write_file(path: PathBuf, file: &FileMount) -> Result<PathBuf, Failure> {
    fs::write(&path, &file.content).map_err(|e| Failure::io("write", &path, &e))?;
    std::os::unix::fs::chown(&path, Some(file.uid), Some(file.gid))
        .map_err(|e| Failure::io("chown", &path, &e))?;
    // After chown, which clears the set-user-id bits.
    fs::set_permissions(&path, Permissions::from_mode(file.mode & 0o7777))
        .map_err(|e| Failure::io("chmod", &path, &e))?;
    Ok(path)
}

/// Makes the working directory where it is missing, as Docker does.
pub(super) fn make_working_directory(directory: &StateDir, cwd: &str) -> Result<(), Failure> {
    if !cwd.starts_with('/') {
        return Err(Failure::invalid(format!(
            "the working directory '{cwd}' is invalid, it needs to be an absolute path"
        )));
    }
    let fail = |e: pathrs::error::Error| Failure::refused(format!("make the working directory {cwd}: {e}"));
    let root = Root::open(directory.rootfs()).map_err(fail)?;
    root.mkdir_all(cwd, &Permissions::from_mode(0o755)).map(|_| ()).map_err(fail)
}

fn make_directories<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Result<(), Failure> {
    paths.into_iter().try_for_each(|path| fs::create_dir_all(path).map_err(|e| Failure::io("make", path, &e)))
}
