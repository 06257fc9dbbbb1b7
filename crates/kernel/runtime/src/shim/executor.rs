//! The last steps of a process of the container before its command: found as a shell finds it, with Docker's words where
//! it is not.

use super::init;
use crate::failure::{EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, Failure};
use libcontainer::oci_spec::runtime::{Process, Spec};
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
use rustix::termios::{Winsize, tcsetwinsize};
use std::collections::HashMap;
use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Runs a command for libcontainer. Its processes are forks of the shim, so descriptors are shared by number.
#[derive(Debug, Clone)]
pub(super) struct CommandExecutor {
    /// The pipe that a [`Failure`] is written to; it closes when the command has been executed.
    status: RawFd,
    /// Whether this is the container's first process, which must not outlive the shim.
    is_first: bool,
    /// Whether a small init comes before the command.
    has_init: bool,
}

impl CommandExecutor {
    /// `status` must stay open, under this number, in every process that this executor is used in.
    pub(super) fn new(status: RawFd, is_first: bool, has_init: bool) -> Self {
        Self { status, is_first, has_init }
    }

    fn report(&self, failure: &Failure) {
        report(self.status, failure);
    }
}

/// Writes a failure to the shim. If the shim is gone there is nobody to tell.
pub(super) fn report(status: RawFd, failure: &Failure) {
    // SAFETY: `CommandExecutor::new` demands that the descriptor stays open.
    let pipe = unsafe { BorrowedFd::borrow_raw(status) };
    if let Ok(text) = serde_json::to_vec(failure) {
        let _ = rustix::io::write(pipe, &text);
    }
}

impl Executor for CommandExecutor {
    /// Runs in the container, as its user, before the container counts as created.
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        if self.is_first {
            // The container dies with its shim. Set now, since changing the user clears it.
            let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
        }
        leave_keyring();
        set_terminal_size(spec);
        let (args, environment) = words(spec);
        match find(args.first().map_or("", |a| a), &environment) {
            Ok(_) => Ok(()),
            Err(failure) => {
                self.report(&failure);
                Err(ExecutorValidationError::ArgValidationError(failure.message))
            }
        }
    }

    /// The environment is handed to execve; this process's own stays as it is.
    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let (args, environment) = words(spec);
        let command = find(args.first().map_or("", |a| a), &environment)
            .and_then(|path| Command::new(&path, &args, &environment));
        let outcome = command.and_then(|command| {
            if self.has_init { Err(init::run(&command, self.status)) } else { Err(command.execute()) }
        });
        let outcome: Result<Infallible, Failure> = outcome;
        let Err(failure) = outcome;
        self.report(&failure);
        Err(ExecutorError::Other(failure.message))
    }
}

/// A command ready for execve.
pub(super) struct Command {
    path: CString,
    args: Vec<CString>,
    environment: Vec<CString>,
}

impl Command {
    fn new(path: &Path, args: &[String], environment: &[String]) -> Result<Self, Failure> {
        let text = |t: &String| {
            CString::new(t.as_bytes()).map_err(|_| Failure::invalid(format!("{t:?} holds a zero byte")))
        };
        Ok(Self {
            path: text(&path.to_string_lossy().into_owned())?,
            args: args.iter().map(text).collect::<Result<_, _>>()?,
            environment: environment.iter().map(text).collect::<Result<_, _>>()?,
        })
    }

    /// What `ps` shows of the init before it, as Docker's.
    pub(super) fn shown(&self) -> String {
        let args: Vec<_> = self.args.iter().map(|a| a.to_string_lossy()).collect();
        format!("/sbin/docker-init -- {}", args.join(" "))
    }

    /// Becomes the command; returns only why not.
    pub(super) fn execute(&self) -> Failure {
        reset_signals();
        let name = self.path.to_string_lossy().into_owned();
        match nix::unistd::execve(&self.path, &self.args, &self.environment) {
            Ok(never) => match never {},
            Err(Errno::EACCES) => {
                Failure::command(format!("exec {name}: permission denied"), EXIT_NOT_EXECUTABLE)
            }
            Err(Errno::ENOEXEC) => {
                Failure::command(format!("exec {name}: exec format error"), EXIT_NOT_EXECUTABLE)
            }
            // The file was found, so its interpreter is what is missing.
            Err(Errno::ENOENT) => {
                Failure::command(format!("exec {name}: no such file or directory"), EXIT_NOT_FOUND)
            }
            Err(e) => Failure::command(format!("exec {name}: {}", e.desc()), EXIT_NOT_EXECUTABLE),
        }
    }
}

/// Signals as a fresh process expects them: neither blocked nor ignored. Rust ignores SIGPIPE, the shim blocks SIGCHLD.
fn reset_signals() {
    for one in Signal::iterator() {
        if !matches!(one, Signal::SIGKILL | Signal::SIGSTOP) {
            // SAFETY: no handler is installed, only the default action.
            let _ = unsafe { signal(one, SigHandler::SigDfl) };
        }
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

/// Takes a session keyring of its own: the inherited one is the daemon's. A kernel without keys, or a user who has used
/// up his share, goes without.
fn leave_keyring() {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for a new anonymous keyring; no memory is passed.
    unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
}

/// Gives the terminal its first size before the command can ask for it.
fn set_terminal_size(spec: &Spec) {
    let wanted = spec.process().as_ref().and_then(Process::console_size);
    let sides = wanted.map(|size| (u16::try_from(size.height()), u16::try_from(size.width())));
    if let Some((Ok(ws_row), Ok(ws_col))) = sides {
        let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        // Without a terminal there is nothing to size.
        let _ = tcsetwinsize(std::io::stdin(), size);
    }
}

fn words(spec: &Spec) -> (Vec<String>, Vec<String>) {
    let process = spec.process().as_ref();
    let args = process.and_then(|p| p.args().clone()).unwrap_or_default();
    let environment = process.and_then(|p| p.env().clone()).unwrap_or_default();
    (args, environment)
}

/// Finds a command in the container's `PATH`.
fn find(name: &str, environment: &[String]) -> Result<PathBuf, Failure> {
    if name.is_empty() {
        return Err(Failure::invalid("No command specified"));
    }
    if name.contains('/') {
        return check(Path::new(name)).map(|()| name.into()).map_err(|problem| {
            let code = if problem.ends_with("no such file or directory") {
                EXIT_NOT_FOUND
            } else {
                EXIT_NOT_EXECUTABLE
            };
            Failure::command(format!("exec: \"{name}\": {problem}"), code)
        });
    }
    let path = environment.iter().find_map(|e| e.strip_prefix("PATH=")).unwrap_or_default();
    let mut problem = None;
    for directory in path.split(':').filter(|d| !d.is_empty()) {
        let candidate = Path::new(directory).join(name);
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(text) if text == PERMISSION_DENIED => problem = Some(text),
            Err(_) => {}
        }
    }
    Err(problem.map_or_else(
        || {
            let text = format!("exec: \"{name}\": executable file not found in $PATH");
            Failure::command(text, EXIT_NOT_FOUND)
        },
        |text| Failure::command(format!("exec: \"{name}\": {text}"), EXIT_NOT_EXECUTABLE),
    ))
}

const PERMISSION_DENIED: &str = "permission denied";

/// What is wrong with an executable, in the words of Go's `os/exec`.
fn check(path: &Path) -> Result<(), String> {
    let metadata = std::fs::metadata(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::PermissionDenied => PERMISSION_DENIED.to_owned(),
        std::io::ErrorKind::NotADirectory => format!("stat {}: not a directory", path.display()),
        _ => format!("stat {}: no such file or directory", path.display()),
    })?;
    if metadata.is_dir() {
        return Err("is a directory".to_owned());
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(PERMISSION_DENIED.to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(name: &str, path: &str) -> (String, i32) {
        let failure = find(name, &[format!("PATH={path}")]).unwrap_err();
        (failure.message, failure.exit_code)
    }

    #[test]
    fn commands_are_found_in_the_path_given() {
        assert_eq!(find("sh", &["PATH=/nonexistent::/bin".into()]).unwrap(), Path::new("/bin/sh"));
        assert_eq!(find("/bin/sh", &[]).unwrap(), Path::new("/bin/sh"));
    }

    #[test]
    fn commands_that_are_not_there_are_refused_in_dockers_words() {
        let text = "exec: \"nosuch\": executable file not found in $PATH".to_owned();
        assert_eq!(problem("nosuch", "/bin:/usr/bin"), (text, 127));
        let text = "exec: \"/no/such\": stat /no/such: no such file or directory".to_owned();
        assert_eq!(problem("/no/such", "/bin"), (text, 127));
        assert_eq!(problem("/etc", "/bin"), ("exec: \"/etc\": is a directory".to_owned(), 126));
        assert_eq!(problem("/etc/passwd", "/"), ("exec: \"/etc/passwd\": permission denied".to_owned(), 126));
        assert_eq!(problem("passwd", "/etc"), ("exec: \"passwd\": permission denied".to_owned(), 126));
    }
}
