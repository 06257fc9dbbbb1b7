//! The daemon's arguments, and the configuration that they parse into.

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use shoal_model::spec::Labels;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Default address of the Docker API.
pub const DEFAULT_HOST: &str = "unix:///run/shoal/docker.sock";

/// Arguments of `shoal daemon`, named as dockerd names them.
#[derive(Debug, Clone, Args)]
pub struct DaemonArguments {
    /// Where the Docker API listens: `unix://PATH`; may be given several times
    #[arg(short = 'H', long = "host", default_value = DEFAULT_HOST)]
    pub hosts: Vec<String>,
    /// Persistent state: images, cluster state, logs
    #[arg(long, default_value = "/var/lib/shoal")]
    pub data_root: PathBuf,
    /// State of running containers and networks, gone after a reboot
    #[arg(long, default_value = "/run/shoal")]
    pub exec_root: PathBuf,
    /// File that holds the daemon's process id
    #[arg(short = 'p', long, default_value = "/run/shoal/shoal.pid")]
    pub pidfile: PathBuf,
    /// Pool for overlay subnets, `base=10.0.0.0/8,size=24`; used by `docker swarm init` when it names none
    #[arg(long, value_parser = parse_pool)]
    pub default_addr_pool: Vec<AddressPool>,
    /// `KEY=VALUE` label of this engine, for constraints such as `engine.labels.KEY==VALUE`
    #[arg(long = "label", value_parser = parse_label)]
    pub labels: Vec<(String, String)>,
    /// How much is logged: error, warn, info, debug or trace
    #[arg(short = 'l', long, default_value = "info")]
    pub log_level: String,
    /// Cgroup below which containers are placed
    #[arg(long, default_value = "/shoal")]
    pub cgroup_parent: String,
    /// UDP address of further name servers for containers; the host's own if none is given
    #[arg(long)]
    pub dns: Vec<std::net::IpAddr>,
    /// What balances: `ebpf`, `nft`, or `auto` for ebpf where the kernel takes its programs and nft elsewhere
    #[arg(long, value_enum, default_value_t)]
    pub lb_engine: LbEngine,
    /// Registries spoken to without TLS, `host:port` or a subnet; loopback always is
    #[arg(long = "insecure-registry")]
    pub insecure_registries: Vec<String>,
    /// Address and port of the metrics for Prometheus (GET /metrics, unencrypted); off unless given
    #[arg(long)]
    pub metrics_addr: Option<SocketAddr>,
}

/// Engines of the virtual server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LbEngine {
    /// `ebpf` where it loads, else `nft`.
    #[default]
    Auto,
    /// BPF programs at sockets and links.
    Ebpf,
    /// The packet filter and connection tracking.
    Nft,
}

/// A pool of addresses and the size of the subnets cut from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressPool {
    /// The pool.
    pub base: IpNet,
    /// Prefix length of the subnets.
    pub size: u8,
}

/// A configuration that makes sense.
#[derive(Debug, Clone)]
pub struct Config {
    /// Sockets of the Docker API.
    pub sockets: Vec<PathBuf>,
    /// Persistent state.
    pub data_root: PathBuf,
    /// State of what runs.
    pub exec_root: PathBuf,
    /// The process id's file.
    pub pidfile: PathBuf,
    /// Pools for overlay subnets.
    pub pools: Vec<AddressPool>,
    /// The engine's labels.
    pub labels: Labels,
    /// Parent cgroup of containers.
    pub cgroup_parent: String,
    /// Name servers for containers.
    pub dns: Vec<std::net::IpAddr>,
    /// What balances.
    pub lb_engine: LbEngine,
    /// Registries without TLS.
    pub insecure_registries: Vec<String>,
    /// Where the metrics are served, if they are.
    pub metrics_addr: Option<SocketAddr>,
}

/// What is wrong with the arguments.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not a unix socket.
    #[error("--host {0:?}: only unix:// sockets are served")]
    Host(String),
    /// A root that is not absolute.
    #[error("--{option} {path:?}: an absolute path is needed")]
    Relative {
        /// The option.
        option: &'static str,
        /// Its value.
        path: PathBuf,
    },
}

impl DaemonArguments {
    /// Checks the arguments.
    ///
    /// # Errors
    /// Names the first option that makes no sense.
    pub fn into_config(self) -> Result<Config, ConfigError> {
        let sockets = self.hosts.iter().map(|host| socket_path(host)).collect::<Result<_, _>>()?;
        absolute("data-root", &self.data_root)?;
        absolute("exec-root", &self.exec_root)?;
        absolute("pidfile", &self.pidfile)?;
        Ok(Config {
            sockets,
            data_root: self.data_root,
            exec_root: self.exec_root,
            pidfile: self.pidfile,
            pools: self.default_addr_pool,
            labels: self.labels.into_iter().collect(),
            cgroup_parent: self.cgroup_parent,
            dns: self.dns,
            lb_engine: self.lb_engine,
            insecure_registries: self.insecure_registries,
            metrics_addr: self.metrics_addr,
        })
    }
}

fn socket_path(host: &str) -> Result<PathBuf, ConfigError> {
    match host.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') => Ok(PathBuf::from(path)),
        _ => Err(ConfigError::Host(host.to_owned())),
    }
}

fn absolute(option: &'static str, path: &Path) -> Result<(), ConfigError> {
    if path.is_absolute() { Ok(()) } else { Err(ConfigError::Relative { option, path: path.to_owned() }) }
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not KEY=VALUE")),
    }
}

fn parse_pool(text: &str) -> Result<AddressPool, String> {
    let mut base = None;
    let mut size = None;
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("base", value)) => {
                base = Some(value.parse::<IpNet>().map_err(|e| format!("{value:?}: {e}"))?);
            }
            Some(("size", value)) => size = Some(value.parse::<u8>().map_err(|e| format!("{value:?}: {e}"))?),
            _ => return Err(format!("{part:?} is neither base=SUBNET nor size=BITS")),
        }
    }
    let base = base.ok_or("base=SUBNET is missing")?;
    let size = size.unwrap_or(if base.addr().is_ipv4() { 24 } else { 64 });
    if size < base.prefix_len() || size > base.max_prefix_len() {
        return Err(format!("size={size} does not fit into {base}"));
    }
    Ok(AddressPool { base, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_and_labels_parse_or_say_why_not() {
        let pool = parse_pool("base=10.20.0.0/16,size=26").unwrap();
        assert_eq!((pool.base.to_string(), pool.size), ("10.20.0.0/16".to_owned(), 26));
        for bad in ["10.0.0.0/8", "size=24", "base=10.0.0.0/24,size=16", "base=x"] {
            assert!(parse_pool(bad).is_err(), "{bad}");
        }
        assert!(parse_label("zone=a").is_ok());
        assert!(parse_label("=a").is_err() && parse_label("zone").is_err());
    }

    #[test]
    fn only_unix_sockets_are_served() {
        assert!(socket_path("unix:///run/x.sock").is_ok());
        assert!(socket_path("tcp://0.0.0.0:2375").is_err());
        assert!(socket_path("unix://relative").is_err());
    }
}
