//! Power: a host that loses it, a host that boots, and a lab that is dismantled.

use crate::daemon::{self, State};
use crate::lan::{self, LAN};
use crate::place::Place;
use crate::record::{HostRecord, Record};
use crate::{cgroup, cuts, mounts};
use anyhow::{Context, bail};
use shoal_model::netns::{NamespaceName, NetOp};
use std::fs;
use std::io::ErrorKind;

/// Cuts a host's power: its processes, mounts, namespaces and everything else that lives in memory are gone; its disk
/// is left as it happens to be.
pub(crate) fn cut(lab: &Place, host: &HostRecord) -> anyhow::Result<()> {
    let place = lab.host(&host.name);
    let namespaces = lan::open(lab)?;
    // First of all it falls silent: a machine without power says no goodbye on its connections.
    lan::apply(&namespaces, &lan::unplug(host))?;
    cgroup::kill_all(&place.cgroup)?;
    mounts::unmount_below(&place.directory)?;
    mounts::remove_tree(&place.exec())?;
    for file in [place.socket(), place.pidfile(), place.process()] {
        match fs::remove_file(&file) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(e).with_context(|| format!("cannot remove {}", file.display()));
            }
            _ => {}
        }
    }
    cgroup::remove(&place.cgroup)?;
    lan::apply(&namespaces, &lan::dismantle(host))
}

/// Boots a host that is off, or starts the daemon of one that was stopped; waits until it answers.
pub(crate) fn start(lab: &Place, record: &Record, name: &str) -> anyhow::Result<()> {
    let host = record.host(name)?;
    let place = lab.host(name);
    if !host.runs_a_daemon() {
        bail!("{name} runs no daemon");
    }
    match daemon::state(&place) {
        State::Running => return Ok(()),
        State::Stopped => {}
        State::Off => {
            let namespaces = lan::open(lab)?;
            lan::apply(&namespaces, &lan::plug_in(host)?)?;
            lan::apply(&namespaces, &cuts::present(lab, cuts::all(record)?))?;
        }
    }
    daemon::start(lab, record, host)?;
    daemon::wait_until_it_answers(&place, name)
}

/// Removes everything of the lab that can be found, whatever state it is in.
pub(crate) fn down(lab: &Place) -> anyhow::Result<()> {
    let lock = lab.lock()?;
    cgroup::kill_all(&lab.cgroup())?;
    cgroup::remove(&lab.cgroup())?;
    if let Some(all) = lab.cgroup().parent() {
        cgroup::remove_if_empty(all)?;
    }
    if lab.namespaces().is_dir() {
        let namespaces = lan::open(lab)?;
        let mut names = vec![LAN.to_owned()];
        for entry in fs::read_dir(lab.namespaces()).context("cannot list the lab's namespaces")? {
            names.extend(entry?.file_name().into_string().ok());
        }
        let ops: Vec<NetOp> =
            names.into_iter().map(|name| NetOp::RemoveNamespace(NamespaceName::Named(name))).collect();
        lan::apply(&namespaces, &ops)?;
    }
    mounts::remove_tree(&lab.directory)?;
    lab.remove_lock();
    drop(lock);
    Ok(())
}
