//! Networks as this host holds them.

use shoal_wire::network::{LocalNetwork, OverlayView};

/// Networks as this host holds them.
pub trait Networks: Send + Sync + 'static {
    /// `bridge`, `host`, `none`, and `docker_gwbridge` while the node is in a swarm.
    fn local_networks(&self) -> Vec<LocalNetwork>;

    /// The overlays that this node takes part in.
    fn overlays(&self) -> Vec<OverlayView>;
}
