//! A load on a lab: the program `load`, run by the machine outside the swarm against every host's published port.

use crate::{CLIENT, HOSTS, Lab, address, program};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Child, Stdio};

/// A load that goes on in the background.
pub struct Load {
    child: Child,
    until: PathBuf,
}

/// What came of a load.
#[derive(Debug, Clone)]
pub struct Outcome(Value);

impl Lab {
    /// Begins to ask every host's `port` from the client, with fresh connections and with such that are kept for twenty
    /// requests. Ends after `requests` (within fifteen minutes), or when told to.
    ///
    /// # Panics
    /// If it cannot be begun.
    pub fn load(&self, port: u16, requests: u64) -> Load {
        self.load_on(&HOSTS, port, &["--requests", &requests.to_string()])
    }

    /// Begins to ask some hosts' `port` from the client, with further options of the program.
    ///
    /// # Panics
    /// If it cannot be begun.
    pub fn load_on(&self, hosts: &[&str], port: u16, options: &[&str]) -> Load {
        let until = self.directory().join(format!("stop-load-{port}"));
        let program = program("load").display().to_string();
        let mut words = vec![program, "--until".to_owned(), until.display().to_string()];
        words.extend(options.iter().map(|&word| word.to_owned()));
        for host in hosts {
            words.extend(["--to".to_owned(), format!("{}:{port}", address(host))]);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = self.exec_command(CLIENT, &words);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        Load { child: child.expect("the load begins"), until }
    }
}

impl Load {
    /// Tells it to stop, and waits for what came of it.
    ///
    /// # Panics
    /// If it tells nothing.
    pub fn stop(self) -> Outcome {
        std::fs::write(&self.until, "").expect("the lab's directory is there");
        self.outcome()
    }

    /// Whether it still goes on.
    ///
    /// # Panics
    /// If it cannot be looked after.
    pub fn goes_on(&mut self) -> bool {
        self.child.try_wait().expect("the load can be waited for").is_none()
    }

    /// Waits for its end and what came of it.
    ///
    /// # Panics
    /// If it tells nothing.
    pub fn outcome(self) -> Outcome {
        let output = self.child.wait_with_output().expect("the load ends");
        let _ = std::fs::remove_file(&self.until);
        let text = String::from_utf8_lossy(&output.stdout);
        Outcome(serde_json::from_str(&text).unwrap_or_else(|e| panic!("the load said {text:?}: {e}")))
    }
}

impl Outcome {
    /// Requests made.
    pub fn requests(&self) -> u64 {
        self.0["requests"].as_u64().unwrap_or_default()
    }

    /// Requests that failed.
    pub fn failed(&self) -> u64 {
        self.0["failed"].as_u64().unwrap_or(u64::MAX)
    }

    /// When requests that failed began, milliseconds since 1970; the first thousand.
    pub fn failed_at_ms(&self) -> Vec<u64> {
        let times = self.0["failed_at_ms"].as_array();
        times.into_iter().flatten().filter_map(Value::as_u64).collect()
    }

    /// Different answers.
    pub fn answers(&self) -> usize {
        self.0["answers"].as_object().map_or(0, serde_json::Map::len)
    }

    /// Fails unless at least `requests` were made and none of them failed.
    ///
    /// # Panics
    /// With the whole outcome.
    #[track_caller]
    pub fn nothing_lost(&self, requests: u64) {
        assert_eq!(self.failed(), 0, "requests were lost: {}", self.0);
        assert!(self.requests() >= requests, "only {} requests were made: {}", self.requests(), self.0);
    }
}
