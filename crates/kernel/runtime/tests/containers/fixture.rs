//! A host of its own for each test: state root, cgroup, busybox image. All of it goes when the host is dropped.

use shoal_model::assignment::ContainerState;
use shoal_runtime::logs::{LogQuery, Stream};
use shoal_runtime::{
    ContainerInfo, ContainerSpec, ExecProcess, ExecSpec, ExecStdio, RootFs, Runtime, RuntimeConfig,
};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

static COUNTER: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Host {
    pub(crate) runtime: Runtime,
    pub(crate) root: PathBuf,
    pub(crate) cgroup_parent: String,
    /// Whether this is the one that cleans up; an adopting host is not.
    owns: bool,
}

impl Host {
    pub(crate) fn new() -> Self {
        let name = format!("shoal-test-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let root = std::env::temp_dir().join(&name);
        make_image(&root.join("image"));
        let mut host = Self::open(&root, &format!("/{name}"));
        host.owns = true;
        host
    }

    /// A further daemon on the same state.
    pub(crate) fn open(root: &Path, cgroup_parent: &str) -> Self {
        let config = RuntimeConfig {
            state_root: root.join("containers"),
            cgroup_parent: cgroup_parent.to_owned(),
            shim_executable: "/proc/self/exe".into(),
        };
        let (runtime, root) = (Runtime::new(config).unwrap(), root.to_owned());
        Self { runtime, root, cgroup_parent: cgroup_parent.to_owned(), owns: false }
    }

    /// A container that runs a shell script, with its own log and layers.
    pub(crate) fn spec(&self, script: &str) -> ContainerSpec {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:032x}{number:032x}", std::process::id());
        let home = self.root.join("data").join(&id);
        ContainerSpec {
            annotations: BTreeMap::from([("task".to_owned(), format!("task-{number}"))]),
            rootfs: RootFs {
                lowers: vec![self.root.join("image")],
                upper: home.join("upper"),
                work: home.join("work"),
            },
            hostname: "box".into(),
            args: ["sh", "-c", script].map(ToOwned::to_owned).to_vec(),
            log_path: home.join(format!("{id}-json.log")),
            id,
            ..ContainerSpec::default()
        }
    }

    pub(crate) fn start(&self, spec: &ContainerSpec) {
        self.runtime.create(spec).unwrap();
        self.runtime.start(&spec.id).unwrap();
    }

    pub(crate) fn run(&self, script: &str) -> Ended {
        self.run_spec(&self.spec(script))
    }

    /// Runs a container to its end and removes it.
    pub(crate) fn run_spec(&self, spec: &ContainerSpec) -> Ended {
        self.start(spec);
        let ended = self.wait(spec);
        self.runtime.remove(&spec.id).unwrap();
        ended
    }

    pub(crate) fn info(&self, spec: &ContainerSpec) -> ContainerInfo {
        self.runtime.state(&spec.id).unwrap().expect("the container is there")
    }

    /// Waits for its end by the descriptor that the daemon would wait on.
    pub(crate) fn wait(&self, spec: &ContainerSpec) -> Ended {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let descriptor = self.runtime.wait_fd(&spec.id).unwrap();
            if let ContainerState::Exited { code, out_of_memory, .. } = self.info(spec).state {
                return Ended {
                    code,
                    out_of_memory,
                    output: output(spec, true, false),
                    errors: output(spec, false, true),
                };
            }
            assert!(readable(&descriptor, deadline), "the container did not end: {:?}", self.info(spec));
        }
    }

    pub(crate) fn exec(&self, spec: &ContainerSpec, script: &str) -> ExecProcess {
        self.runtime.exec(&spec.id, &exec_spec(script)).unwrap()
    }
}

pub(crate) fn exec_spec(script: &str) -> ExecSpec {
    ExecSpec { args: ["sh", "-c", script].map(ToOwned::to_owned).to_vec(), ..ExecSpec::default() }
}

impl Drop for Host {
    fn drop(&mut self) {
        if !self.owns {
            return;
        }
        for info in self.runtime.list().unwrap_or_default() {
            let _ = self.runtime.signal(&info.id, libc::SIGKILL);
            let deadline = Instant::now() + DEADLINE;
            while self.runtime.remove(&info.id).is_err() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let _ = self.runtime.remove_cgroup_parent();
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// How a container ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out_of_memory: bool,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Ended {
    /// The output of a container that ended well.
    pub(crate) fn text(&self) -> &str {
        assert_eq!(self.code, 0, "{self:?}");
        self.output.trim_end()
    }
}

pub(crate) fn output(spec: &ContainerSpec, stdout: bool, stderr: bool) -> String {
    let query = LogQuery { stdout, stderr, ..LogQuery::default() };
    let lines = shoal_runtime::logs::read(&spec.log_path, &query).unwrap();
    assert!(lines.iter().all(|l| (l.stream == Stream::Stdout) == stdout || stdout == stderr));
    String::from_utf8(lines.into_iter().flat_map(|l| l.bytes).collect()).unwrap()
}

pub(crate) fn readable(descriptor: impl AsFd, deadline: Instant) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).unwrap();
    poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&left)).unwrap() > 0
}

/// Reads a non-blocking descriptor until `enough` of it is there or it ends.
pub(crate) fn read_until(descriptor: &OwnedFd, enough: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + DEADLINE;
    let mut text = String::new();
    while !enough(&text) {
        assert!(readable(descriptor, deadline), "only {text:?} came");
        let mut bytes = [0; 4096];
        match rustix::io::read(descriptor, &mut bytes) {
            // EIO is the end of a terminal.
            Ok(0) | Err(rustix::io::Errno::IO) => break,
            Ok(length) => text.push_str(&String::from_utf8_lossy(&bytes[..length])),
            Err(rustix::io::Errno::AGAIN) => {}
            Err(e) => panic!("read: {e}"),
        }
    }
    text
}

/// An exec's whole output and its exit code.
pub(crate) fn finish(ExecProcess { stdio, control }: ExecProcess) -> (String, String, i32) {
    let (output, errors) = match &stdio {
        ExecStdio::Pipes { stdout, stderr, .. } => {
            (read_until(stdout, |_| false), read_until(stderr, |_| false))
        }
        ExecStdio::Terminal(master) => (read_until(master, |_| false), String::new()),
    };
    (output, errors, control.wait(DEADLINE).unwrap().expect("it ends"))
}

pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn slurp(path: impl AsRef<Path>) -> String {
    let mut text = String::new();
    fs::File::open(path.as_ref()).unwrap().read_to_string(&mut text).unwrap();
    text
}

/// A root file system of busybox and two accounts.
fn make_image(image: &Path) {
    for directory in ["bin", "etc", "tmp", "proc", "sys", "dev", "root"] {
        fs::create_dir_all(image.join(directory)).unwrap();
    }
    fs::copy("/bin/busybox", image.join("bin/busybox")).unwrap();
    let installed = Command::new("/bin/busybox").args(["--install", "-s"]).arg(image.join("bin")).status();
    assert!(installed.unwrap().success());
    for applet in fs::read_dir(image.join("bin")).unwrap().flatten() {
        if applet.file_name() != "busybox" {
            fs::remove_file(applet.path()).unwrap();
            std::os::unix::fs::symlink("busybox", applet.path()).unwrap();
        }
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001::/srv:/bin/sh\n";
    fs::write(image.join("etc/passwd"), passwd).unwrap();
    fs::write(image.join("etc/group"), "root:x:0:\nweb:x:1001:\nstaff:x:50:web\n").unwrap();
}
