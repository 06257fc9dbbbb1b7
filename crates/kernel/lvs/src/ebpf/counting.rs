//! Live counters, from the programs' own tallies and from the flows that are known now.

use super::abi::{
    DROP_CLASH, DROP_NOT_ALLOWED, DROP_TABLE_FULL, DROP_UNKNOWN_FLOW, FLOW_ANSWERED, FLOW_CLIENT_FIN,
    FLOW_SERVER_FIN, PROTOCOL_TCP, is_closed, text_of,
};
use super::flows::{entering, now};
use super::idle::IdleLimits;
use super::map::Maps;
use super::services::Held;
use crate::{Error, LiveCounters};
use shoal_model::TaskId;
use shoal_model::lvs::{Counters, Drops};
use std::collections::BTreeMap;

/// Counts.
pub(crate) fn read(maps: &Maps, idle: &IdleLimits) -> Result<LiveCounters, Error> {
    let held = Held::read(maps)?;
    let names: BTreeMap<u32, _> = held
        .services
        .iter()
        .filter_map(|(key, service)| Some((service.number, held.name_of(key)?)))
        .collect();
    let mut by_server: BTreeMap<u32, Counters> = BTreeMap::new();
    for (number, tally) in maps.tallies.dump()? {
        let (active, inactive) = (tally.active, tally.inactive);
        by_server.insert(
            number,
            Counters { active, inactive, connections: tally.connections, ..Counters::default() },
        );
    }
    add_flows(maps, idle, &mut by_server)?;
    add_traffic(maps, &mut by_server)?;
    // A service without real servers is there all the same.
    let mut counters: LiveCounters = names.values().map(|name| (name.clone(), BTreeMap::new())).collect();
    for (number, server) in &held.servers {
        let name = names.get(&server.service);
        let task = text_of(&server.task).parse::<TaskId>().ok();
        if let Some((name, task)) = name.zip(task) {
            let of_service = counters.entry(name.clone()).or_default();
            of_service.insert(task, by_server.get(number).copied().unwrap_or_default());
        }
    }
    for (_, gone) in maps.gone_servers.dump()? {
        let task = text_of(&gone.task).parse::<TaskId>().ok();
        if let Some((name, task)) = names.get(&gone.service).zip(task) {
            counters.entry(name.clone()).or_default().entry(task).or_default().resets += gone.resets;
        }
    }
    Ok(counters)
}

/// Packets dropped so far.
pub(crate) fn drops(maps: &Maps) -> Result<Drops, Error> {
    let dropped = |reason| Ok::<u64, Error>(maps.drops.of_each(reason)?.iter().sum());
    Ok(Drops {
        not_allowed: dropped(DROP_NOT_ALLOWED)?,
        table_full: dropped(DROP_TABLE_FULL)?,
        clash: dropped(DROP_CLASH)?,
        unknown_flow: dropped(DROP_UNKNOWN_FLOW)?,
    })
}

fn add_traffic(maps: &Maps, by_server: &mut BTreeMap<u32, Counters>) -> Result<(), Error> {
    for server in maps.mesh_traffic.keys()? {
        let counters = by_server.entry(server).or_default();
        for seen in maps.mesh_traffic.of_each(server)? {
            counters.packets_in += seen.packets_in;
            counters.bytes_in += seen.bytes_in;
            counters.packets_out += seen.packets_out;
            counters.bytes_out += seen.bytes_out;
        }
    }
    Ok(())
}

fn add_flows(maps: &Maps, idle: &IdleLimits, by_server: &mut BTreeMap<u32, Counters>) -> Result<(), Error> {
    let now = now()?;
    for (key, flow) in entering(maps)? {
        if now.saturating_sub(flow.seen) > idle.longest(key.protocol, flow.state) {
            continue;
        }
        let counters = by_server.entry(flow.server).or_default();
        if key.protocol == PROTOCOL_TCP && is_established(flow.state) {
            counters.active += 1;
        } else {
            counters.inactive += 1;
        }
    }
    for (_, choice) in maps.datagram_choices.dump()? {
        if now.saturating_sub(choice.seen) <= idle.datagram() {
            by_server.entry(choice.server).or_default().inactive += 1;
        }
    }
    Ok(())
}

/// As LVS counts: neither side has said goodbye.
fn is_established(state: u32) -> bool {
    state & FLOW_ANSWERED != 0 && !is_closed(state) && state & (FLOW_CLIENT_FIN | FLOW_SERVER_FIN) == 0
}
