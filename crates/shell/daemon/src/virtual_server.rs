//! The virtual server with its live counters, as it is shown.

use crate::engine::Engine;
use shoal_model::TaskId;
use shoal_wire::lvs::{self, Shown, Sources};
use std::collections::BTreeMap;

/// Reads what the virtual server holds and has done; its connections only if they are wanted, since that walks over all
/// of them.
pub(crate) fn show(engine: &Engine, connections: bool) -> Result<Shown, shoal_lvs::Error> {
    let (name, counters, drops, known) = engine.with_virtual_server(|server| {
        let known = if connections { server.connections()? } else { Vec::new() };
        Ok::<_, shoal_lvs::Error>((server.name(), server.counters()?, server.drops()?, known))
    })?;
    let view = engine.view.borrow().clone();
    let services = view.assignment.networks.values().flat_map(|network| network.services.values());
    let tasks = services.flat_map(|service| &service.tasks);
    let names: BTreeMap<TaskId, String> = tasks.map(|(id, task)| (id.clone(), task.name.clone())).collect();
    Ok(Shown {
        engine: name.to_owned(),
        services: lvs::shown(Sources { table: &view.table, counters: &counters, names: &names }),
        drops: drops.into(),
        connections: lvs::shown_connections(known, &names),
    })
}
