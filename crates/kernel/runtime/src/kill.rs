//! Killing a process for sure, and never another one.

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Kills a process if `still` holds once it is pinned by a descriptor, so that a reused id is never hit.
pub(crate) fn kill_if(pid: u32, still: impl FnOnce() -> bool) {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    // An error means that it has ended, which is what is wanted.
    if let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty())
        && still()
    {
        let _ = pidfd_send_signal(&descriptor, Signal::KILL);
    }
}
