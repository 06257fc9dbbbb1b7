//! The small init that can be a container's process 1: it runs the command as its child, hands signals on to it, and reaps
//! every orphan, which nobody else does in a container (50 zombies are enough to use up a small `pids` limit).
//!
//! It is a fork of the shim rather than a program of its own, since the container's file system may hold nothing that
//! could run it.

use super::executor::{Command, report};
use crate::failure::Failure;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid, setpgid};
use std::os::fd::RawFd;

/// Runs the command as a child until it has ended, then ends as it did; returns only why it could not be started.
pub(super) fn run(command: &Command, status: RawFd) -> Failure {
    let all = SigSet::all();
    if let Err(e) = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), None) {
        return Failure::refused(format!("block signals: {e}"));
    }
    // SAFETY: this process has one thread, so the child may do whatever this process may.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            lead_terminal();
            let failure = command.execute();
            report(status, &failure);
            end(failure.exit_code)
        }
        Ok(ForkResult::Parent { child }) => {
            let _ = nix::sys::prctl::set_name(c"docker-init");
            show_as(&command.shown());
            close_all();
            tend(child, &all)
        }
        Err(e) => Failure::refused(format!("fork: {e}")),
    }
}

/// A group of its own in the foreground, so that a terminal's signals reach the command once and not the init too.
fn lead_terminal() {
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    // Without a terminal this fails, and nothing is to be done. SIGTTOU is blocked here.
    let _ = nix::unistd::tcsetpgrp(std::io::stdin(), getpid());
}

/// Closes what the shim had open, the status pipe too: the child's copy now tells of the command.
fn close_all() {
    // SAFETY: nothing in this process uses a descriptor other than the standard ones from here on.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
}

/// Overwrites what `ps` shows of this process: the shim's own command line, which names a path of the host.
fn show_as(words: &str) {
    // Field 48 is where the words start, 49 where they end (proc(5)); the name in field 2 may hold blanks.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let address = |field: usize| fields.get(field - 3).and_then(|f| f.parse::<usize>().ok());
    let (Some(start), Some(end)) = (address(48), address(49)) else { return };
    let length = end.saturating_sub(start);
    if start == 0 || length == 0 {
        return;
    }
    let mut bytes = vec![0; length];
    for (to, from) in bytes.iter_mut().zip(words.bytes().take(length - 1)) {
        *to = from;
    }
    // SAFETY: the kernel says that this process's own argument strings are there; they are writable memory of the stack,
    // and nothing in this process reads them any more.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start as *mut u8, length) };
}

fn tend(child: Pid, signals: &SigSet) -> ! {
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => reap(child),
            // The child may have ended this moment, which the next SIGCHLD tells.
            Ok(signal) => {
                let _ = kill(child, signal);
            }
            Err(_) => {}
        }
    }
}

fn reap(child: Pid) {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => end(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => end(128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
            _ => {}
        }
    }
}

/// Ends at once: nothing that the shim registered for its own end may run here.
fn end(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}
