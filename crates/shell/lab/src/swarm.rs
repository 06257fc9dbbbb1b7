//! From daemons to a swarm.

use crate::api;
use crate::image::Image;
use crate::place::Place;
use crate::record::{HostRecord, Record, Role};
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long the nodes may take until all are ready.
const READY: Duration = Duration::from_mins(1);
/// Address and port on which every host takes the cluster's traffic.
const LISTEN: &str = "0.0.0.0:2377";
/// The swarm's address pools where the hosts have IPv6: Docker's own and one of IPv6.
const POOLS_DUAL_STACK: [&str; 2] = ["10.0.0.0/8", "fd00:10::/48"];

/// Makes a swarm of the hosts: the first one starts it, the others join.
pub(crate) fn form(lab: &Place, record: &Record) -> anyhow::Result<()> {
    let mut nodes = record.nodes();
    let first = nodes.next().context("a swarm needs a host")?;
    let socket = lab.host(&first.name).socket();
    let pools: &[&str] = if first.address6.is_some() { &POOLS_DUAL_STACK } else { &[] };
    let init = json!({
        "ListenAddr": LISTEN,
        "AdvertiseAddr": first.address.to_string(),
        "DefaultAddrPool": pools,
    });
    api::post(&socket, "/swarm/init", &init)?
        .json()
        .with_context(|| format!("{} cannot start a swarm", first.name))?;
    let swarm = api::get(&socket, "/swarm")?.json()?;
    for node in nodes {
        join(lab, node, first, &swarm).with_context(|| format!("{} cannot join the swarm", node.name))?;
    }
    wait_until_ready(lab, record, first)
}

fn join(lab: &Place, node: &HostRecord, first: &HostRecord, swarm: &Value) -> anyhow::Result<()> {
    let role = if node.role == Role::Manager { "Manager" } else { "Worker" };
    let token = swarm["JoinTokens"][role].as_str().context("the swarm has no join token")?;
    let request = json!({
        "ListenAddr": LISTEN,
        "AdvertiseAddr": node.address.to_string(),
        "RemoteAddrs": [format!("{}:2377", first.address)],
        "JoinToken": token,
    });
    api::post(&lab.host(&node.name).socket(), "/swarm/join", &request)?.json().map(drop)
}

fn wait_until_ready(lab: &Place, record: &Record, first: &HostRecord) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY;
    let wanted = record.nodes().count();
    loop {
        let nodes = api::get(&lab.host(&first.name).socket(), "/nodes")?.json()?;
        let ready = ready_hosts(&nodes);
        if ready.len() == wanted {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("only {ready:?} of {wanted} nodes are ready");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn ready_hosts(nodes: &Value) -> Vec<&str> {
    let mut ready = Vec::new();
    for node in nodes.as_array().into_iter().flatten().filter(|node| node["Status"]["State"] == "ready") {
        ready.extend(node["Description"]["Hostname"].as_str());
    }
    ready
}

/// Hands the images to every host, all hosts at a time.
pub(crate) fn load(lab: &Place, record: &Record, images: &[Image]) -> anyhow::Result<()> {
    let load_on = |host: &HostRecord| -> anyhow::Result<()> {
        for image in images {
            let answer =
                api::post_tar(&lab.host(&host.name).socket(), "/images/load?quiet=1", &image.archive)?;
            let told = answer.json().map(|_| String::from_utf8_lossy(&answer.body).into_owned());
            // What goes wrong after the answer has begun is told within it.
            let failed = match &told {
                Ok(text) => text.contains("\"error\"").then(|| text.trim().to_owned()),
                Err(error) => Some(format!("{error:#}")),
            };
            if let Some(words) = failed {
                bail!("{} cannot load the image {}: {words}", host.name, image.name);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let loads: Vec<_> = record.nodes().map(|host| scope.spawn(move || load_on(host))).collect();
        for load in loads {
            match load.join() {
                Ok(result) => result?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ready_nodes_count() {
        let node =
            |name: &str, state: &str| json!({"Description": {"Hostname": name}, "Status": {"State": state}});
        assert_eq!(
            ready_hosts(&json!([node("a", "ready"), node("b", "down"), node("c", "ready")])),
            ["a", "c"]
        );
        assert!(ready_hosts(&Value::Null).is_empty());
    }
}
