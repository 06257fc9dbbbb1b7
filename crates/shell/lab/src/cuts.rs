//! Parting hosts. Each of the two is made to believe that the other has an Ethernet address which nobody has, so that
//! no frame from one reaches the other: their own packets, the overlays' and the cluster's alike.

use crate::lan::{self, UPLINK};
use crate::place::Place;
use crate::record::{HostRecord, Record};
use anyhow::bail;
use shoal_model::Mac;
use shoal_model::netns::{NamespaceName, Neighbour, NetOp};

/// An Ethernet address that no machine of a lab has.
const NOBODY: Mac = Mac([0x02, 0x4c, 0xde, 0xad, 0x00, 0x00]);

pub(crate) fn cut(place: &Place, record: &mut Record, one: &str, other: &str) -> anyhow::Result<()> {
    let (one, other) = (record.host(one)?, record.host(other)?);
    if one.name == other.name {
        bail!("{} cannot be parted from itself", one.name);
    }
    let pair = (one.name.clone(), other.name.clone());
    let ops = part(one, other).chain(part(other, one)).collect();
    record.cuts.insert(pair);
    record.save(place)?;
    lan::apply(&lan::open(place)?, &present(place, ops))
}

pub(crate) fn heal(place: &Place, record: &mut Record) -> anyhow::Result<()> {
    let ops = all(record)?.into_iter().filter_map(|op| match op {
        NetOp::AddNeighbour(namespace, neighbour) => Some(NetOp::RemoveNeighbour(namespace, neighbour)),
        _ => None,
    });
    lan::apply(&lan::open(place)?, &present(place, ops.collect()))?;
    record.cuts.clear();
    record.save(place)
}

/// Operations that make every cut again, for a host that has just booted.
pub(crate) fn all(record: &Record) -> anyhow::Result<Vec<NetOp>> {
    let mut ops = Vec::new();
    for (one, other) in &record.cuts {
        let (one, other) = (record.host(one)?, record.host(other)?);
        ops.extend(part(one, other).chain(part(other, one)));
    }
    Ok(ops)
}

/// Those of the operations whose host is not switched off.
pub(crate) fn present(place: &Place, ops: Vec<NetOp>) -> Vec<NetOp> {
    let on = |op: &NetOp| match op {
        NetOp::AddNeighbour(NamespaceName::Named(name), _)
        | NetOp::RemoveNeighbour(NamespaceName::Named(name), _) => place.namespace(name).exists(),
        _ => true,
    };
    ops.into_iter().filter(on).collect()
}

fn part(from: &HostRecord, to: &HostRecord) -> impl Iterator<Item = NetOp> {
    to.addresses().map(|address| {
        let neighbour = Neighbour { link: UPLINK.into(), address, mac: NOBODY };
        NetOp::AddNeighbour(NamespaceName::Named(from.name.clone()), neighbour)
    })
}
