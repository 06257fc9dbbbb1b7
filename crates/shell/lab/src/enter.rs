//! Commands as on a host: in its network namespace, with its name, and on its power supply.

use crate::place::Place;
use crate::record::{HostRecord, Record};
use crate::{cgroup, daemon};
use anyhow::{Context, bail};
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Becomes the command, run as on the host.
pub(crate) fn exec(lab: &Place, host: &str, command: &[String]) -> anyhow::Result<()> {
    let Some((program, arguments)) = command.split_first() else { bail!("there is no command to run") };
    let mut process = Command::new(program);
    process.args(arguments);
    become_it(lab, host, process)
}

/// Becomes an interactive shell on the host.
pub(crate) fn shell(lab: &Place, host: &str) -> anyhow::Result<()> {
    let mut process = if Path::new("/bin/bash").exists() {
        let mut bash = Command::new("/bin/bash");
        // Its own start-up file would set another prompt.
        bash.args(["--norc", "-i"]);
        bash
    } else {
        Command::new("/bin/sh")
    };
    process.env("PS1", format!("{host}# "));
    become_it(lab, host, process)
}

fn become_it(lab: &Place, name: &str, mut command: Command) -> anyhow::Result<()> {
    let record = Record::load(lab)?;
    let host: &HostRecord = record.host(name)?;
    let place = lab.host(name);
    let path = lab.namespace(name);
    let file = File::open(&path).with_context(|| format!("{name} is switched off"))?;
    // A power cut ends this command, too.
    cgroup::join(&place.cgroup.join("commands"), std::process::id())?;
    setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter {}", path.display()))?;
    daemon::take_name(name)?;
    if host.runs_a_daemon() {
        command.env("DOCKER_HOST", format!("unix://{}", place.socket().display()));
    } else {
        command.env_remove("DOCKER_HOST");
    }
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run {}", command.get_program().display()))
}
