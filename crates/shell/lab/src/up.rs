//! Bringing a lab up.

use crate::commands::UpArgs;
use crate::place::Place;
use crate::record::Record;
use crate::{daemon, image, lan, swarm};
use anyhow::{Context, bail};
use std::fs;
use std::time::Instant;

/// Makes the LAN, starts the daemons, forms the swarm, loads the images. What has been made when something fails is left
/// to be looked at; `down` removes it.
pub(crate) fn up(lab: &Place, args: &UpArgs) -> anyhow::Result<()> {
    let begin = Instant::now();
    if !nix::unistd::geteuid().is_root() {
        bail!("a lab's hosts are network namespaces: run this as root");
    }
    shoal_host::check_requirements().context("this machine cannot hold a lab")?;
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let record = Record::new(program, args.log_level.clone(), args.nodes, args.managers)?;
    let mut record = if args.ipv6 { record.dual_stack() } else { record };
    record.lb_engine.clone_from(&args.lb_engine);
    // Made first: what is missing shows before anything is there to be removed again.
    let images = if args.bare { Vec::new() } else { image::both(args.whoami.as_deref())? };
    let _lock = lab.lock()?;
    if lab.directory.exists() {
        bail!("lab {} is there already: see `shoal lab --name {0} status`, or take it down first", lab.name);
    }
    bring_up(lab, &record, &images, args.bare).with_context(|| {
        format!("lab {} did not come up (`shoal lab --name {0} down` removes what is there)", lab.name)
    })?;
    let hosts = record.nodes().count();
    println!("Lab {} is up: {hosts} hosts in {:.1} s.", lab.name, begin.elapsed().as_secs_f32());
    if let Some(first) = record.nodes().next() {
        println!("  eval \"$(shoal lab --name {} env {})\" && docker node ls", lab.name, first.name);
    }
    Ok(())
}

fn bring_up(lab: &Place, record: &Record, images: &[image::Image], bare: bool) -> anyhow::Result<()> {
    fs::create_dir_all(&lab.directory).with_context(|| format!("cannot make {}", lab.directory.display()))?;
    record.save(lab)?;
    let namespaces = lan::open(lab)?;
    lan::apply(&namespaces, &lan::bridge()?)?;
    for host in &record.hosts {
        lan::apply(&namespaces, &lan::plug_in(host)?)?;
    }
    for host in record.nodes() {
        daemon::start(lab, record, host)?;
    }
    for host in record.nodes() {
        daemon::wait_until_it_answers(&lab.host(&host.name), &host.name)?;
    }
    if bare {
        return Ok(());
    }
    let first = record.nodes().next().context("a swarm needs a host")?;
    let with_log = |error| daemon::with_log(&lab.host(&first.name), error);
    swarm::form(lab, record).map_err(with_log)?;
    swarm::load(lab, record, images).map_err(with_log)
}
