//! Debian's `docker-registry`, started for one test on loopback.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(30);
/// `secret` for the user `tester`, by bcrypt.
const PASSWORDS: &str = "tester:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// A registry; gone when dropped.
pub(crate) struct Registry {
    process: Child,
    pub(crate) address: String,
    directory: tempfile::TempDir,
}

impl Registry {
    pub(crate) fn open() -> Self {
        Self::start(false)
    }

    pub(crate) fn with_passwords() -> Self {
        Self::start(true)
    }

    fn start(with_passwords: bool) -> Self {
        // Another process may take the port before the registry does; then it is tried again.
        for _ in 0..10 {
            let directory = tempfile::Builder::new().prefix("shoal-test-registry-").tempdir().unwrap();
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let address = format!("127.0.0.1:{port}");
            let root = directory.path().display();
            let mut configuration = format!(
                "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {root}/data\nhttp:\n  \
                 addr: {address}\n"
            );
            if with_passwords {
                std::fs::write(directory.path().join("passwords"), PASSWORDS).unwrap();
                let auth = format!("auth:\n  htpasswd:\n    realm: test\n    path: {root}/passwords\n");
                configuration += &auth;
            }
            let path = directory.path().join("config.yml");
            std::fs::write(&path, configuration).unwrap();
            let process = Command::new("docker-registry")
                .arg("serve")
                .arg(&path)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("Debian's docker-registry is installed");
            let mut registry = Self { process, address, directory };
            if registry.is_up() {
                return registry;
            }
        }
        panic!("no registry came up");
    }

    fn is_up(&mut self) -> bool {
        let until = Instant::now() + DEADLINE;
        while Instant::now() < until {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            if std::net::TcpStream::connect(&self.address).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// Fills the registry by another tool.
    pub(crate) fn skopeo_copy(&self, options: &[&str], source: &str, name: &str) {
        let output = Command::new("skopeo")
            .args(["copy", "--insecure-policy", "--quiet", "--dest-tls-verify=false"])
            .args(options)
            .arg(source)
            .arg(format!("docker://{}/{name}", self.address))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// What another tool sees of the registry.
    pub(crate) fn skopeo_inspect(&self, name: &str) -> serde_json::Value {
        let output = Command::new("skopeo")
            .args(["inspect", "--tls-verify=false"])
            .arg(format!("docker://{}/{name}", self.address))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A place for files of the test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
