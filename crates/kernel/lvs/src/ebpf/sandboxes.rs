//! Which namespaces' connections are balanced, known to the programs by cookie.

use super::abi::{Address, SANDBOX_IS_HOST, SANDBOX_NETWORKS_MAX, Sandbox};
use super::entries::{Mode, settle};
use super::map::Maps;
use super::namespace::Survey;
use crate::Error;
use crate::difference::{Difference, Found, Subject};
use shoal_model::NetworkId;
use shoal_model::lvs::Table;
use shoal_model::netns::NamespaceName;
use std::collections::{BTreeMap, BTreeSet};

/// Compares, and repairs. `numbers` are the kernel's of the declared networks.
pub(crate) fn settle_sandboxes(
    maps: &Maps,
    table: &Table,
    numbers: &BTreeMap<NetworkId, u32>,
    survey: &Survey,
    mode: Mode,
    found: &mut Vec<Difference>,
) -> Result<(), Error> {
    let mut names = BTreeMap::new();
    let mut wanted = BTreeMap::new();
    for (name, sandbox) in declared(table, numbers) {
        match sandbox.and_then(|sandbox| Ok((survey.cookie(&name)?, sandbox))) {
            Ok((cookie, sandbox)) => {
                names.insert(cookie, name);
                wanted.insert(cookie, sandbox);
            }
            Err(reason) => found.push(Difference {
                subject: Subject::Sandbox(name.to_string()),
                found: Found::Missing,
                unrepaired: Some(reason),
            }),
        }
    }
    for (cookie, how) in settle(&maps.sandboxes, &wanted, mode)? {
        let name = names.get(&cookie).map_or_else(|| format!("with cookie {cookie}"), ToString::to_string);
        found.push(Difference { subject: Subject::Sandbox(name), found: how, unrepaired: None });
    }
    Ok(())
}

/// Every namespace that anything is declared for.
pub(crate) fn namespaces(table: &Table) -> BTreeSet<NamespaceName> {
    let mut names: BTreeSet<NamespaceName> = table.sandboxes.keys().cloned().collect();
    if let Some(mesh) = &table.mesh {
        names.insert(NamespaceName::Host);
        names.extend(mesh.tasks.values().map(|task| task.sandbox.clone()));
    }
    names
}

fn declared(
    table: &Table,
    numbers: &BTreeMap<NetworkId, u32>,
) -> BTreeMap<NamespaceName, Result<Sandbox, String>> {
    let none = BTreeSet::new();
    let mut declared: BTreeMap<NamespaceName, Result<Sandbox, String>> = namespaces(table)
        .into_iter()
        .map(|name| {
            let networks = on_networks(table.sandboxes.get(&name).unwrap_or(&none), numbers);
            (name, networks)
        })
        .collect();
    let Some(mesh) = &table.mesh else { return declared };
    for sandbox in declared.values_mut().flatten() {
        sandbox.client = Address::from(mesh.own_address);
    }
    if let Some(Ok(host)) = declared.get_mut(&NamespaceName::Host) {
        host.flags |= SANDBOX_IS_HOST;
    }
    for task in mesh.tasks.values() {
        if let Some(Ok(sandbox)) = declared.get_mut(&task.sandbox) {
            sandbox.ingress = Address::from(task.address);
            sandbox.ingress6 = Address::from(task.address6);
        }
    }
    declared
}

fn on_networks(
    networks: &BTreeSet<NetworkId>,
    numbers: &BTreeMap<NetworkId, u32>,
) -> Result<Sandbox, String> {
    if networks.len() > SANDBOX_NETWORKS_MAX {
        return Err(format!("it is on {} networks, {SANDBOX_NETWORKS_MAX} can be balanced", networks.len()));
    }
    let mut sandbox = Sandbox::default();
    for (slot, number) in sandbox.networks.iter_mut().zip(networks.iter().filter_map(|id| numbers.get(id))) {
        *slot = *number;
        sandbox.count += 1;
    }
    Ok(sandbox)
}
