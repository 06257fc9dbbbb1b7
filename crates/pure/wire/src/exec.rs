//! Processes started in running containers.

use serde::{Deserialize, Serialize};

/// Body of `POST /containers/{id}/exec`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExecConfig {
    /// `user`, `uid`, `user:group`; empty means the container's.
    pub user: String,
    /// All capabilities.
    pub privileged: bool,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Terminal size `[height, width]`.
    pub console_size: Option<[u16; 2]>,
    /// Whether standard input is connected.
    pub attach_stdin: bool,
    /// Whether standard error is connected.
    pub attach_stderr: bool,
    /// Whether standard output is connected.
    pub attach_stdout: bool,
    /// Keys that end the session without ending the process, `ctrl-p,ctrl-q`.
    pub detach_keys: String,
    /// Further `KEY=value` pairs.
    pub env: Vec<String>,
    /// Working directory; empty means the container's.
    pub working_dir: String,
    /// The program and its arguments.
    pub cmd: Vec<String>,
}

/// Body of `POST /exec/{id}/start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExecStart {
    /// Whether the client does not want the streams.
    pub detach: bool,
    /// Whether the client has a terminal.
    pub tty: bool,
    /// Terminal size `[height, width]`.
    pub console_size: Option<[u16; 2]>,
}

/// What the daemon knows of an exec session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// 64 hexadecimal characters.
    pub id: String,
    /// The container.
    pub container_id: String,
    /// What was asked.
    pub config: ExecConfig,
    /// Whether it runs.
    pub running: bool,
    /// Its exit status, once it ended.
    pub exit_code: Option<i32>,
    /// Process id on the host; 0 while it does not run.
    pub pid: u32,
}

impl Exec {
    /// Answer of `GET /exec/{id}/json`.
    pub fn body(&self) -> serde_json::Value {
        let (entrypoint, arguments) = match self.config.cmd.split_first() {
            Some((program, arguments)) => (program.as_str(), arguments),
            None => ("", &[][..]),
        };
        serde_json::json!({
            "ID": self.id,
            "Running": self.running,
            "ExitCode": self.exit_code,
            "ProcessConfig": {
                "tty": self.config.tty,
                "entrypoint": entrypoint,
                "arguments": arguments,
                "privileged": self.config.privileged,
                "user": self.config.user,
            },
            "OpenStdin": self.config.attach_stdin,
            "OpenStderr": self.config.attach_stderr,
            "OpenStdout": self.config.attach_stdout,
            "CanRemove": !self.running && self.exit_code.is_some(),
            "ContainerID": self.container_id,
            "DetachKeys": "",
            "Pid": self.pid,
        })
    }
}
