//! The daemon that is asked.

use anyhow::Context;
use clap::Args;
use serde_json::Value;
use std::path::Path;

#[derive(Args)]
pub(crate) struct Daemon {
    /// The daemon to ask
    #[arg(short = 'H', long = "host", env = "DOCKER_HOST", default_value = shoal_daemon::DEFAULT_HOST)]
    host: String,
}

impl Daemon {
    /// What the daemon answers.
    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        let socket = self.host.strip_prefix("unix://");
        let socket = socket.with_context(|| format!("{:?}: only unix:// sockets are served", self.host))?;
        shoal_lab::get(Path::new(socket), path)
    }
}
