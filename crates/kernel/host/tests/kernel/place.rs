//! A place for one test: a private namespace that plays the host, and a directory for the others.

use shoal_host::{Host, HostConfig, create_namespace, in_namespace, remove_namespace};
use shoal_model::netns::{Namespaces, NetOp};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) struct Place {
    directory: PathBuf,
    pub(crate) host: Option<Host>,
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

impl Place {
    pub(crate) fn new() -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let directory = PathBuf::from(format!("/tmp/shoal-test-host-{}-{number}", std::process::id()));
        create_namespace(&directory.join("host")).unwrap();
        let mut place = Self { directory, host: None };
        place.host = Some(Host::open(place.config()).unwrap());
        place
    }

    pub(crate) fn config(&self) -> HostConfig {
        HostConfig {
            netns_root: self.directory.join("netns"),
            owner: format!("shoal:{}", self.directory.display()),
            nft_table: "shoal".into(),
            host_netns: Some(self.host_file()),
        }
    }

    pub(crate) fn host(&self) -> &Host {
        self.host.as_ref().unwrap()
    }

    pub(crate) fn host_file(&self) -> PathBuf {
        self.directory.join("host")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        if name == "host" { self.host_file() } else { self.host().namespace_path(name) }
    }

    /// A namespace that is not Shoal's, removed with the place.
    pub(crate) fn foreign(&self, name: &str) -> PathBuf {
        let path = self.directory.join(name);
        create_namespace(&path).unwrap();
        path
    }

    /// Runs a shell command in a namespace and returns what it prints; it must succeed.
    pub(crate) fn run(&self, namespace: &str, command: &str) -> String {
        let (ok, text) = self.attempt(namespace, command);
        assert!(ok, "{command} in {namespace}: {text}");
        text
    }

    pub(crate) fn attempt(&self, namespace: &str, command: &str) -> (bool, String) {
        run_in(&self.file(namespace), command)
    }

    /// Carries out operations; each must succeed.
    pub(crate) fn apply(&self, ops: &[NetOp]) {
        let failed = self.host().apply_all(ops);
        let words: Vec<String> = failed.iter().map(|(i, e)| format!("{i}: {e}")).collect();
        assert!(words.is_empty(), "{words:#?}");
    }

    pub(crate) fn observe(&self, interest: &Namespaces) -> Namespaces {
        self.host().observe(interest).unwrap()
    }
}

pub(crate) fn run_in(file: &Path, command: &str) -> (bool, String) {
    in_namespace(Some(file), || {
        let output = Command::new("sh").args(["-c", command]).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    })
    .unwrap()
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(host) = self.host.take() {
            let _ = host.dismantle();
        }
        let files = std::fs::read_dir(&self.directory).into_iter().flatten().flatten();
        for file in files {
            let _ = remove_namespace(&file.path());
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
