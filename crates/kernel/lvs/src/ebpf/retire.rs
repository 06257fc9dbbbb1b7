//! The engine after another has taken its place: it gives out no new connection, and those that it knows go on.

use super::abi::{FLOW_ANSWERED, Mesh, PROTOCOL_TCP, is_closed};
use super::flows;
use super::idle::IdleLimits;
use super::map::Maps;
use crate::Error;

/// Takes away what leads to new connections; how many connections of the mesh still go on. Those that were balanced at
/// the socket need nothing of ours any more.
pub(crate) fn retire(maps: &Maps, idle: &IdleLimits) -> Result<usize, Error> {
    for (key, _) in maps.vip_services.dump()? {
        maps.vip_services.remove(&key)?;
    }
    for (key, _) in maps.port_services.dump()? {
        maps.port_services.remove(&key)?;
    }
    if let Some(settings) = maps.mesh_settings.get(&0)?.filter(|settings| settings.retired == 0) {
        maps.mesh_settings.put(&0, &Mesh { retired: 1, accompanied: 0, ..settings })?;
    }
    flows::forget(maps, idle)?;
    let open = |protocol: u8, state: u32| {
        protocol != PROTOCOL_TCP || (state & FLOW_ANSWERED != 0 && !is_closed(state))
    };
    Ok(maps.entry_flows.dump()?.iter().filter(|(key, flow)| open(key.protocol, flow.state)).count())
}
