//! The names of everything that a task has on its node. All follow from ids alone, so that a restarted daemon finds
//! what it made.

use sha2::{Digest, Sha256};
use shoal_model::TaskId;
use shoal_model::netns::NamespaceName;

/// The bridge that leads out of the sandboxes, as Docker names it.
pub const GATEWAY_BRIDGE: &str = "docker_gwbridge";
/// The bridge of containers without a network of the swarm, as Docker names it.
pub const DEFAULT_BRIDGE: &str = "docker0";
/// The bridge in an overlay network's namespace.
pub const OVERLAY_BRIDGE: &str = "br0";
/// The VXLAN device in an overlay network's namespace.
pub const OVERLAY_VXLAN: &str = "vxlan0";
/// The loopback device.
pub const LOOPBACK: &str = "lo";
/// The ingress sandbox's link on the ingress network.
pub const SANDBOX_INGRESS_LINK: &str = "eth0";
/// The ingress sandbox's link on `docker_gwbridge`.
pub const SANDBOX_GATEWAY_LINK: &str = "eth1";

/// Characters of a container id that people see; also the name of its sandbox's namespace.
const SHORT_ID_CHARS: usize = 12;
/// Bytes of the digest in the name of a link: `veth` and eight hexadecimal digits fit the kernel's 15 characters.
const VETH_DIGEST_BYTES: usize = 4;

/// The id of a task's container: 64 hexadecimal characters.
pub fn container_id(task: &TaskId) -> String {
    hex::encode(Sha256::digest(format!("container/{task}")))
}

/// The first twelve characters of the container's id, which stand for it in `docker ps` and as its hostname.
pub fn short_container_id(task: &TaskId) -> String {
    container_id(task).chars().take(SHORT_ID_CHARS).collect()
}

/// The namespace of a task: named after its container.
pub fn sandbox(task: &TaskId) -> NamespaceName {
    NamespaceName::Named(short_container_id(task))
}

/// The other end of the link that `holder` (a task's or node's id, or a sandbox's name) has on `network` (a network's
/// id, or a bridge's name), in the namespace of that network.
pub fn veth(holder: &str, network: &str) -> String {
    let digest = Sha256::digest(format!("veth/{holder}/{network}"));
    format!("veth{}", hex::encode(&digest[..VETH_DIGEST_BYTES]))
}

/// The `n`th link in a sandbox.
pub fn sandbox_link(n: usize) -> String {
    format!("eth{n}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_form_that_docker_gives_them() {
        let task = TaskId::from_random(7);
        let id = container_id(&task);
        assert_eq!(id.len(), 64);
        assert!(id.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()));
        assert_eq!(sandbox(&task), NamespaceName::Named(id[..12].to_owned()));
    }

    #[test]
    fn link_names_fit_the_kernel_and_differ_by_holder_and_network() {
        let name = veth("a", "n");
        assert!(name.len() <= 15 && name.starts_with("veth"), "{name}");
        assert_ne!(name, veth("b", "n"));
        assert_ne!(name, veth("a", "m"));
        assert_eq!(name, veth("a", "n"));
    }
}
