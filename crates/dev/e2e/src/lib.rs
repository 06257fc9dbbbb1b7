//! A lab that a test owns, and the docker command to drive it with.
//!
//! Owns nothing but test machinery. What a test makes is removed when its [`Lab`] is dropped, also when the test fails.
#![forbid(unsafe_code)]

mod load;

pub use load::{Load, Outcome};

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The first host, the manager.
pub const MANAGER: &str = "swarm-manager";
/// The second host.
pub const WORKER1: &str = "swarm-worker1";
/// The third host.
pub const WORKER2: &str = "swarm-worker2";
/// All hosts with a daemon.
pub const HOSTS: [&str; 3] = [MANAGER, WORKER1, WORKER2];
/// The machine outside the swarm.
pub const CLIENT: &str = "client";
/// Its address.
pub const CLIENT_ADDRESS: &str = "192.168.50.100";
/// Its IPv6 address in a lab that has them.
pub const CLIENT_ADDRESS6: &str = "fd00:50::100";

/// How long anything may take that should happen soon.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long the kernels may take to hold what was declared once a scenario is over.
const SETTLED_WITHIN: Duration = Duration::from_mins(1);

/// The address of a host on the lab's LAN.
///
/// # Panics
/// If there is no such host.
pub fn address(host: &str) -> String {
    let index = HOSTS.iter().position(|h| *h == host).expect("a host of the lab");
    format!("192.168.50.{}", 11 + index)
}

/// The IPv6 address of a host in a lab that has them.
///
/// # Panics
/// If there is no such host.
pub fn address6(host: &str) -> String {
    let index = HOSTS.iter().position(|h| *h == host).expect("a host of the lab");
    format!("fd00:50::{}", 11 + index)
}

/// What a command printed.
#[derive(Debug, Clone)]
pub struct Said {
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// Exit status.
    pub code: i32,
}

impl Said {
    /// Standard output of a command that succeeded.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "the command failed: {}{}", self.out, self.err);
        self.out
    }

    /// Standard error of a command that failed.
    ///
    /// # Panics
    /// If it succeeded.
    #[track_caller]
    pub fn refused(self) -> String {
        assert_ne!(self.code, 0, "the command should have been refused, but printed: {}", self.out);
        format!("{}{}", self.err, self.out)
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code().unwrap_or(-1),
        }
    }
}

/// A running lab, removed on drop. Every scenario ends with `shoal net verify`: the drop fails the test if some kernel does
/// not come to hold what the swarm declared.
pub struct Lab {
    name: String,
    docker_config: tempfile::TempDir,
}

impl Lab {
    /// A swarm of one manager and two workers with both images on every host.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn swarm() -> Self {
        let lab = Self::new();
        lab.lab(&["up", "--nodes", "3"]).ok();
        lab
    }

    /// The same with IPv6 addresses beside the others, and an IPv6 address pool.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn dual_stack() -> Self {
        let lab = Self::new();
        lab.lab(&["up", "--nodes", "3", "--ipv6"]).ok();
        lab
    }

    /// Three daemons that are in no swarm and have no images.
    ///
    /// # Panics
    /// If they do not come up.
    pub fn bare(nodes: u8) -> Self {
        let lab = Self::new();
        lab.lab(&["up", "--bare", "--nodes", &nodes.to_string()]).ok();
        lab
    }

    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}-{number}", std::process::id());
        Self { name, docker_config: tempfile::tempdir().expect("a temporary directory") }
    }

    /// Runs `shoal lab …` for this lab.
    pub fn lab(&self, arguments: &[&str]) -> Said {
        said(&mut self.lab_command(arguments))
    }

    fn lab_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("shoal"));
        command.args(["lab", "--name", &self.name]).args(arguments);
        if std::env::var_os("SHOAL_WHOAMI").is_none() {
            command.env("SHOAL_WHOAMI", whoami());
        }
        command
    }

    /// Runs the docker command against a host's daemon.
    pub fn docker(&self, host: &str, arguments: &[&str]) -> Said {
        said(self.docker_command(host).args(arguments))
    }

    /// The docker command against a host's daemon, still without arguments.
    pub fn docker_command(&self, host: &str) -> Command {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", format!("unix://{}", self.host(host).join("docker.sock").display()));
        command.env("DOCKER_CONFIG", self.docker_config.path());
        command
    }

    /// Runs a command as on a host.
    pub fn exec(&self, host: &str, command: &[&str]) -> Said {
        said(&mut self.exec_command(host, command))
    }

    /// A command to be run as on a host.
    pub fn exec_command(&self, host: &str, command: &[&str]) -> Command {
        let mut arguments = vec!["exec", host, "--"];
        arguments.extend_from_slice(command);
        self.lab_command(&arguments)
    }

    /// What `curl` gets, asked from a host.
    pub fn curl(&self, from: &str, url: &str) -> Said {
        self.exec(from, &["curl", "-sS", "--max-time", "5", url])
    }

    /// A host's directory.
    pub fn host(&self, host: &str) -> PathBuf {
        Path::new("/run/shoal-lab").join(&self.name).join(host)
    }

    /// Kills a host's daemon as it stands; its containers run on.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill_daemon(&self, host: &str) {
        let pid = std::fs::read_to_string(self.host(host).join("daemon.pid")).expect("the daemon's pidfile");
        said(Command::new("kill").args(["-KILL", pid.trim()])).ok();
        let process = Path::new("/proc").join(pid.trim());
        eventually(&format!("the daemon of {host} is gone"), || {
            // The lab's own process may have to wait for it first; until then it is a zombie.
            let state = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
            state.is_empty() || state.contains(") Z ")
        });
    }

    /// The lab's directory.
    pub fn directory(&self) -> PathBuf {
        Path::new("/run/shoal-lab").join(&self.name)
    }

    /// The lab's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Short ids of the running containers of a service, with their hosts.
    pub fn containers_of(&self, service: &str) -> Vec<(String, &'static str)> {
        let filter = format!("label=com.docker.swarm.service.name={service}");
        let of_host = |host: &'static str| {
            let ids = self.docker(host, &["ps", "-q", "--filter", &filter]).out;
            ids.split_whitespace().map(|id| (id.to_owned(), host)).collect::<Vec<_>>()
        };
        HOSTS.iter().flat_map(|host| of_host(host)).collect()
    }

    /// Who answers `count` requests.
    pub fn answers(&self, from: &str, url: &str, count: usize) -> BTreeSet<String> {
        let answer = |_| {
            let said = self.curl(from, url).ok();
            said.trim().strip_prefix("I'm ").unwrap_or_else(|| panic!("odd answer {said:?}")).to_owned()
        };
        (0..count).map(answer).collect()
    }

    /// Waits until a service has as many running tasks as it should.
    pub fn converged(&self, service: &str, replicas: usize) {
        let shown = format!("{replicas}/{replicas}");
        eventually(&format!("{service} at {shown}"), || {
            let filter = format!("name={service}");
            let said =
                self.docker(MANAGER, &["service", "ls", "--filter", &filter, "--format", "{{.Replicas}}"]);
            said.out.trim() == shown
        });
    }

    /// `shoal net verify`, asked of a host's daemon.
    pub fn verify(&self, host: &str) -> Said {
        let socket = format!("unix://{}", self.host(host).join("docker.sock").display());
        said(Command::new(program("shoal")).args(["net", "verify", "--host", &socket]))
    }

    /// Waits until every kernel holds what the swarm declared. Which host is a manager is found out; without one that
    /// answers there is nothing declared.
    fn holds_what_was_declared(&self) -> Result<(), String> {
        let deadline = Instant::now() + SETTLED_WITHIN;
        loop {
            let members = HOSTS.iter().filter(|host| self.host(host).join("docker.sock").exists());
            let is_manager = |host: &&&str| {
                let said = self.docker(host, &["info", "--format", "{{.Swarm.ControlAvailable}}"]);
                said.out.trim() == "true"
            };
            let Some(manager) = members.into_iter().find(is_manager) else { return Ok(()) };
            let said = self.verify(manager);
            if said.code == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("not as declared within {SETTLED_WITHIN:?}:\n{}{}", said.out, said.err));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The end of a host's daemon log, for failures.
    pub fn log_tail(&self, host: &str) -> String {
        let log = std::fs::read_to_string(self.host(host).join("daemon.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(40).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A scenario that failed has its own reason.
        let held = if std::thread::panicking() { Ok(()) } else { self.holds_what_was_declared() };
        if std::thread::panicking() || held.is_err() {
            for host in HOSTS {
                eprintln!("--- {host}\n{}", self.log_tail(host));
            }
        }
        let said = self.lab(&["down"]);
        if said.code != 0 {
            eprintln!("lab {} was not taken down: {}", self.name, said.err);
        }
        if let Err(differences) = held {
            panic!("at the end of the scenario {differences}");
        }
    }
}

/// Waits until `holds`, at most 90 s.
///
/// # Panics
/// If it does not by then.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Runs a command to its end.
///
/// # Panics
/// If it cannot be run.
#[track_caller]
pub fn said(command: &mut Command) -> Said {
    command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}")).into()
}

/// A program of this workspace, beside the directory that the test itself is in.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let path = test.parent().and_then(Path::parent).expect("a target directory").join(name);
    assert!(path.exists(), "{} is not built: run `cargo xtask test`", path.display());
    path
}

fn whoami() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3).expect("the workspace's root");
    let path = root.join("target/static/debug/whoami");
    assert!(path.exists(), "{} is not built: run `cargo xtask test`", path.display());
    path
}
