//! The shim: one small single-threaded process per container.
//!
//! It makes the container ([`birth`]), then answers the daemon ([`serve`]) and keeps the container's streams, log, exit
//! status and exec sessions until the container has ended and all its output is written.

mod birth;
mod capabilities;
mod devices;
mod diagnosis;
mod executor;
mod init;
mod launch;
mod oci;
mod output;
mod rootfs;
mod serve;
mod session;
mod user;

use crate::failure::Failure;
use crate::seal;
use crate::spec::ContainerSpec;
use crate::state_dir::StateDir;
use crate::wire;
use nix::unistd::{ForkResult, fork, setsid};
use rustix::fs::{Mode, OFlags};
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// The hidden `shoal shim …` subcommand: `args` is what follows the word `shim`. Must be called from `main` before any
/// thread or async runtime exists. Returns the process's exit status.
///
/// It is started by [`crate::Runtime::create`] only: the container's specification comes on standard input, the outcome
/// goes to standard output, and the process that lives on is a child of this one, which ends at once.
#[expect(clippy::needless_pass_by_value, reason = "main hands over what it has collected")]
pub fn shim_main(args: Vec<OsString>) -> i32 {
    match run(&args) {
        Ok(()) => 0,
        Err(failure) => {
            // Standard error is the shim's own log.
            eprintln!("{}", failure.message);
            1
        }
    }
}

fn run(args: &[OsString]) -> Result<(), Failure> {
    if !seal::is_sealed() {
        return Err(run_sealed(args));
    }
    close_inherited();
    let [directory] = args else {
        return Err(Failure::invalid("usage: shim STATE-DIRECTORY (started by the daemon only)"));
    };
    let directory = StateDir::at(directory.into());
    let mut bytes = Vec::new();
    let input = std::io::stdin().lock().read_to_end(&mut bytes);
    input.map_err(|e| Failure::refused(format!("read the specification: {e}")))?;
    // SAFETY: this process has one thread, so the child may do whatever this process may.
    let forked = unsafe { fork() }.map_err(|e| Failure::refused(format!("fork: {e}")))?;
    if let ForkResult::Parent { .. } = forked {
        return Ok(());
    }
    live(&directory, &bytes)
}

/// Closes what the daemon left open for its children by mistake.
fn close_inherited() {
    // SAFETY: nothing in this process has opened a descriptor other than the standard ones yet.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
}

/// Runs this binary again from a sealed copy; returns only if that fails.
fn run_sealed(args: &[OsString]) -> Failure {
    let copy = match seal::sealed_copy(std::path::Path::new("/proc/self/exe")) {
        Ok(copy) => copy,
        Err(e) => return Failure::refused(e.to_string()),
    };
    let words = [OsString::from("shoal"), OsString::from("shim")];
    let words: Result<Vec<CString>, _> =
        words.iter().chain(args).map(|a| CString::new(a.as_bytes())).collect();
    let environment: Result<Vec<CString>, _> =
        std::env::vars_os().map(|(k, v)| CString::new([k.as_bytes(), b"=", v.as_bytes()].concat())).collect();
    let (Ok(words), Ok(environment)) = (words, environment) else {
        return Failure::invalid("an argument holds a zero byte");
    };
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    match CString::new(path).map(|path| nix::unistd::execve(&path, &words, &environment)) {
        Ok(Err(e)) => Failure::refused(format!("run the sealed copy: {e}")),
        _ => Failure::invalid("the sealed copy cannot be named"),
    }
}

/// The life of the process that stays.
fn live(directory: &StateDir, specification: &[u8]) -> Result<(), Failure> {
    let answer = detach()?;
    let made = prepare(directory, specification);
    let outcome: Result<(), &Failure> = made.as_ref().map(|_| ());
    // The daemon may have gone: the container is adopted by the next one, so its absence is no error.
    let _ = wire::send(&answer, &outcome, &[]);
    drop(answer);
    let (lock, born) = made?;
    let outcome = serve::serve(directory, born);
    drop(lock);
    outcome
}

fn prepare(directory: &StateDir, specification: &[u8]) -> Result<(File, birth::Born), Failure> {
    let lock = directory.lock().map_err(|e| Failure::refused(crate::error::chain(&e)))?;
    let spec: ContainerSpec = serde_json::from_slice(specification)
        .map_err(|e| Failure::invalid(format!("the specification cannot be read: {e}")))?;
    Ok((lock, birth::make(directory, spec)?))
}

/// Leaves the daemon's session, descriptors and streams. Returns the socket for the outcome.
fn detach() -> Result<OwnedFd, Failure> {
    let fail = |what: &'static str| move |e: std::io::Error| Failure::refused(format!("{what}: {e}"));
    setsid().map_err(|e| fail("setsid")(e.into()))?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    nix::sys::prctl::set_name(c"shoal-shim").map_err(|e| fail("prctl")(e.into()))?;
    // Exec sessions are made by a child that ends: what it leaves must come to this process.
    nix::sys::prctl::set_child_subreaper(true).map_err(|e| fail("prctl")(e.into()))?;
    // The container's death would be this process's fault: the kernel shall look elsewhere first (dockerd sets its shims
    // to -999). Without the capability it stays as it is.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-999");
    let answer = std::io::stdout().as_fd().try_clone_to_owned().map_err(fail("dup"))?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| fail("open /dev/null")(e.into()))?;
    rustix::stdio::dup2_stdin(&null).map_err(|e| fail("dup2")(e.into()))?;
    rustix::stdio::dup2_stdout(&null).map_err(|e| fail("dup2")(e.into()))?;
    Ok(answer)
}
