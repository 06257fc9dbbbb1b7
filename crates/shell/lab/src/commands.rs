//! The commands and what each does.

use crate::place::Place;
use crate::record::Record;
use crate::{cuts, daemon, enter, power, up};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Arguments of `shoal lab`.
#[derive(Debug, Clone, Args)]
pub struct LabArgs {
    /// Name of the lab, so that several can exist
    #[arg(long, default_value = "lab")]
    pub name: String,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done with a lab.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Bring up a swarm of several hosts
    Up(UpArgs),
    /// Print the setting that points the docker command at a host: `eval "$(shoal lab env HOST)"`
    Env {
        /// The host
        host: String,
    },
    /// Run a command as on a host
    Exec {
        /// The host, or `client`
        host: String,
        /// The command with its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// An interactive shell on a host
    Shell {
        /// The host, or `client`
        host: String,
    },
    /// Cut a host's power: everything on it ends at once, only its disk stays
    Kill {
        /// The host
        host: String,
    },
    /// End a host's daemon in order; its containers run on
    Stop {
        /// The host
        host: String,
    },
    /// Boot a host, or start its daemon again
    Start {
        /// The host
        host: String,
    },
    /// Part two hosts: nothing gets from one to the other
    Cut {
        /// One host
        one: String,
        /// The other
        other: String,
    },
    /// Mend everything that was cut
    Heal,
    /// Show the hosts
    Status,
    /// Remove everything
    Down,
}

/// Arguments of `shoal lab up`.
#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    /// Number of hosts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=80))]
    pub nodes: u8,
    /// How many of them are managers
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=80))]
    pub managers: u8,
    /// The static program of the `whoami` image; `whoami` next to this program if not given
    #[arg(long, env = "SHOAL_WHOAMI")]
    pub whoami: Option<PathBuf>,
    /// How much the daemons log
    #[arg(long, default_value = "info")]
    pub log_level: String,
    /// Give the hosts IPv6 addresses beside the others (`fd00:50::11` and on) and the swarm an IPv6 address pool
    #[arg(long)]
    pub ipv6: bool,
    /// What balances on the hosts: `auto`, `ebpf` or `nft`, as `shoal daemon` has it
    #[arg(long, default_value = "auto", value_parser = ["auto", "ebpf", "nft"])]
    pub lb_engine: String,
    /// Start the daemons only: no swarm, no images
    #[arg(long)]
    pub bare: bool,
}

/// Carries out a command of `shoal lab`.
///
/// # Errors
/// Says what failed, with the daemon's last words where it was a daemon.
pub fn run(args: LabArgs) -> anyhow::Result<()> {
    let place = Place::named(&args.name)?;
    match args.command {
        Command::Up(up) => up::up(&place, &up),
        Command::Env { host } => {
            let record = Record::load(&place)?;
            let host = record.host(&host)?;
            if !host.runs_a_daemon() {
                bail!("{} runs no daemon", host.name);
            }
            println!("export DOCKER_HOST=unix://{}", place.host(&host.name).socket().display());
            Ok(())
        }
        Command::Exec { host, command } => enter::exec(&place, &host, &command),
        Command::Shell { host } => enter::shell(&place, &host),
        Command::Kill { host } => locked(&place, |record| power::cut(&place, daemon_host(record, &host)?)),
        Command::Stop { host } => locked(&place, |record| daemon::stop(&place, daemon_host(record, &host)?)),
        Command::Start { host } => locked(&place, |record| power::start(&place, record, &host)),
        Command::Cut { one, other } => locked(&place, |record| cuts::cut(&place, record, &one, &other)),
        Command::Heal => locked(&place, |record| cuts::heal(&place, record)),
        Command::Status => status(&place),
        Command::Down => power::down(&place),
    }
}

fn daemon_host<'r>(record: &'r Record, name: &str) -> anyhow::Result<&'r crate::record::HostRecord> {
    let host = record.host(name)?;
    if !host.runs_a_daemon() {
        bail!("{name} runs no daemon");
    }
    Ok(host)
}

/// Runs `change` on the lab's record while no other command changes the lab.
fn locked(place: &Place, change: impl FnOnce(&mut Record) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut record = Record::load(place)?;
    let _lock = place.lock()?;
    // Somebody else may have changed it until the lock was ours.
    record.clone_from(&Record::load(place).context("the lab was taken down meanwhile")?);
    change(&mut record)
}

fn status(place: &Place) -> anyhow::Result<()> {
    let record = Record::load(place)?;
    let width = record.hosts.iter().map(|host| host.name.len()).max().unwrap_or(0).max(4);
    println!("{:<width$}   ADDRESS          ROLE      STATE     DOCKER_HOST", "HOST");
    for host in &record.hosts {
        let place = place.host(&host.name);
        let (state, socket) = if host.runs_a_daemon() {
            (daemon::state(&place).word(), format!("unix://{}", place.socket().display()))
        } else {
            ("up", "-".to_owned())
        };
        println!("{:<width$}   {:<16} {:<9} {state:<9} {socket}", host.name, host.address, host.role.word());
    }
    for (one, other) in &record.cuts {
        println!("cut: {one} -/- {other}");
    }
    Ok(())
}
