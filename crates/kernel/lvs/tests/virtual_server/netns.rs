//! Network namespaces as files that vanish with their owner.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

/// A network namespace, bound to a file.
pub(crate) struct Netns {
    pub(crate) path: PathBuf,
}

impl Netns {
    pub(crate) fn new(path: PathBuf) -> Self {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        File::create(&path).unwrap();
        let target = path.clone();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let own = "/proc/thread-self/ns/net";
            mount(Some(own), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        })
        .join()
        .unwrap();
        let netns = Self { path };
        netns.ip("link set lo up");
        netns
    }

    /// Runs `act` in the namespace, on a thread of its own.
    pub(crate) fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        within(&self.path, act)
    }

    /// Runs lines of `ip` commands.
    pub(crate) fn ip(&self, lines: &str) {
        self.batch("ip", lines);
    }

    /// Runs lines of `bridge` commands.
    pub(crate) fn bridge(&self, lines: &str) {
        self.batch("bridge", lines);
    }

    fn batch(&self, tool: &str, lines: &str) {
        let mut child = Command::new("nsenter")
            .arg(format!("--net={}", self.path.display()))
            .args([tool, "-batch", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{tool}: {lines}\n{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Output of a command run in the namespace.
    pub(crate) fn output(&self, command: &[&str]) -> String {
        let output = Command::new("nsenter")
            .arg(format!("--net={}", self.path.display()))
            .args(command)
            .output()
            .unwrap();
        assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Ethernet address of a link.
    pub(crate) fn mac(&self, link: &str) -> String {
        let shown = self.output(&["ip", "-br", "link", "show", "dev", link]);
        shown.split_whitespace().nth(2).unwrap().to_owned()
    }

    pub(crate) fn sysctl(&self, name: &str, value: &str) {
        let path = Path::new("/proc/sys").join(name);
        self.within(move || fs::write(&path, value).unwrap_or_else(|e| panic!("{}: {e}", path.display())));
    }
}

/// Runs `act` in a namespace, on a thread of its own.
pub(crate) fn within<T: Send>(path: &Path, act: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(path).unwrap();
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
            act()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
        let _ = fs::remove_file(&self.path);
    }
}
