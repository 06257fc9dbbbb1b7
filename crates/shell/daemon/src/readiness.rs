//! Descriptors of containers as things that an async task can wait for.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches an owned, non-blocking descriptor. It belongs to the result, so it cannot be closed under it.
#[allow(
    deprecated,
    reason = "the other constructor is unsafe for types that do not own their descriptor; a File does"
)]
pub(crate) fn watch(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<File>> {
    AsyncFd::with_interest(File::from(descriptor), interest)
}
