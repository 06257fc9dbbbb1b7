//! The routing mesh's settings: the node's addresses, the interfaces between which packets are handed on, the local
//! tasks.

use super::abi::{Address, Mesh, MeshTask, TaskPort, TaskPortKey};
use super::entries::{Mode, settle};
use super::map::Maps;
use super::namespace::Survey;
use crate::Error;
use crate::difference::{Difference, Found, Subject};
use shoal_model::lvs::{self, Table};
use shoal_model::netns::NamespaceName;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Compares, and repairs.
pub(crate) fn settle_mesh(
    maps: &Maps,
    table: &Table,
    survey: &Survey,
    accompanied: bool,
    mode: Mode,
    found: &mut Vec<Difference>,
) -> Result<(), Error> {
    let mesh = table.mesh.as_ref();
    addresses(maps, mesh, mode, found)?;
    tasks(maps, mesh, survey, mode, found)?;
    let wanted = mesh.map(|mesh| hooks(mesh, survey, accompanied)).unwrap_or_else(|| Ok(Mesh::default()));
    settings(maps, wanted, mode, found)
}

fn addresses(
    maps: &Maps,
    mesh: Option<&lvs::Mesh>,
    mode: Mode,
    found: &mut Vec<Difference>,
) -> Result<(), Error> {
    let own = mesh.iter().flat_map(|mesh| &mesh.node_addresses);
    let wanted = own.map(|address| (Address::from(*address), 1)).collect();
    for (address, how) in settle(&maps.node_addresses, &wanted, mode)? {
        let subject = Subject::NodeAddress(IpAddr::from(address));
        found.push(Difference { subject, found: how, unrepaired: None });
    }
    Ok(())
}

fn settings(
    maps: &Maps,
    wanted: Result<Mesh, String>,
    mode: Mode,
    found: &mut Vec<Difference>,
) -> Result<(), Error> {
    let (wanted, unrepaired) = match wanted {
        Ok(settings) => (settings, None),
        Err(reason) => (Mesh::default(), Some(reason)),
    };
    let held = maps.mesh_settings.get(&0)?.unwrap_or_default();
    if held != wanted && mode == Mode::Repair {
        maps.mesh_settings.put(&0, &wanted)?;
    }
    if held != wanted || unrepaired.is_some() {
        let how = if held == Mesh::default() { Found::Missing } else { Found::Different };
        found.push(Difference { subject: Subject::Mesh, found: how, unrepaired });
    }
    Ok(())
}

fn hooks(mesh: &lvs::Mesh, survey: &Survey, accompanied: bool) -> Result<Mesh, String> {
    Ok(Mesh {
        gateway_port: survey.link(&NamespaceName::Host, &mesh.host_gateway_port)?,
        sandbox_ingress: survey.link(&mesh.sandbox, &mesh.sandbox_ingress_link)?,
        sandbox_gateway: survey.link(&mesh.sandbox, &mesh.sandbox_gateway_link)?,
        entry_mac: mesh.sandbox_ingress_mac.0,
        retired: 0,
        accompanied: u8::from(accompanied),
        mtu: survey.mtu(&mesh.sandbox, &mesh.sandbox_ingress_link)?,
    })
}

fn tasks(
    maps: &Maps,
    mesh: Option<&lvs::Mesh>,
    survey: &Survey,
    mode: Mode,
    found: &mut Vec<Difference>,
) -> Result<(), Error> {
    let mut wanted = BTreeMap::new();
    let mut ports = BTreeMap::new();
    let mut names = BTreeMap::new();
    for (mesh, task) in mesh.iter().flat_map(|mesh| mesh.tasks.values().map(move |task| (mesh, task))) {
        let number = match survey.link(&mesh.overlay, &task.port_link) {
            Ok(number) => number,
            Err(reason) => {
                found.push(Difference {
                    subject: Subject::MeshTask(task.port_link.clone()),
                    found: Found::Missing,
                    unrepaired: Some(reason),
                });
                continue;
            }
        };
        names.insert(number, task.port_link.clone());
        let (address, address6) = (task.address.into(), task.address6.into());
        wanted.insert(number, MeshTask { address, address6, mac: task.mac.0, zero: [0; 2] });
        for port in &task.ports {
            let key = TaskPortKey {
                port_link: number,
                published: port.published.to_be(),
                protocol: port.protocol.ip_number(),
                zero: 0,
            };
            ports.insert(key, TaskPort { target: port.target.to_be(), zero: 0 });
        }
    }
    let mut differing: BTreeSet<(u32, Found)> =
        settle(&maps.mesh_tasks, &wanted, mode)?.into_iter().collect();
    differing
        .extend(settle(&maps.task_ports, &ports, mode)?.into_iter().map(|(key, how)| (key.port_link, how)));
    for (number, how) in differing {
        let name = names.get(&number).cloned().unwrap_or_else(|| format!("interface {number}"));
        found.push(Difference { subject: Subject::MeshTask(name), found: how, unrepaired: None });
    }
    Ok(())
}
