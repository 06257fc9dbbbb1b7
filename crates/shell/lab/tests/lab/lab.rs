//! A lab of one test, taken down when the test ends.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

static COUNTER: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Lab {
    pub(crate) name: String,
}

impl Lab {
    /// A name that no other test has; nothing is made yet.
    pub(crate) fn new() -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        Self { name: format!("st{}-{number}", std::process::id()) }
    }

    /// A lab that is up.
    pub(crate) fn up(nodes: u8) -> Self {
        let lab = Self::new();
        lab.run(&["up", "--nodes", &nodes.to_string(), "--whoami", "/bin/busybox"]);
        lab
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["lab", "--name", &self.name]).args(arguments);
        command
    }

    pub(crate) fn attempt(&self, arguments: &[&str]) -> (bool, String) {
        text(&self.command(arguments).output().unwrap())
    }

    /// Runs a lab command, which must succeed; returns what it prints.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let (ok, text) = self.attempt(arguments);
        assert!(ok, "{arguments:?}: {text}");
        text
    }

    /// Runs a shell command as on a host.
    pub(crate) fn on(&self, host: &str, command: &str) -> (bool, String) {
        self.attempt(&["exec", host, "--", "sh", "-c", command])
    }

    pub(crate) fn directory(&self) -> PathBuf {
        PathBuf::from("/run/shoal-lab").join(&self.name)
    }

    pub(crate) fn host(&self, host: &str) -> PathBuf {
        self.directory().join(host)
    }
}

pub(crate) fn text(output: &Output) -> (bool, String) {
    let all = [output.stdout.clone(), output.stderr.clone()].concat();
    (output.status.success(), String::from_utf8_lossy(&all).into_owned())
}

impl Drop for Lab {
    fn drop(&mut self) {
        let (ok, text) = self.attempt(&["down"]);
        assert!(ok || std::thread::panicking(), "down: {text}");
    }
}
