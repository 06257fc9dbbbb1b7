//! Networks as this host holds them.

use async_trait::async_trait;
use shoal_model::spec::Protocol;
use shoal_model::trace::Trace;
use shoal_model::verdict::Verdict;
use shoal_wire::ApiError;
use shoal_wire::lvs::Shown;
use shoal_wire::network::{LocalNetwork, OverlayView};

/// Networks as this host holds them.
#[async_trait]
pub trait Networks: Send + Sync + 'static {
    /// `bridge`, `host`, `none`, and `docker_gwbridge` while the node is in a swarm.
    fn local_networks(&self) -> Vec<LocalNetwork>;

    /// The overlays that this node takes part in.
    fn overlays(&self) -> Vec<OverlayView>;

    /// What this host balances, with live counters, and with its connections if those are wanted.
    async fn virtual_server(&self, connections: bool) -> Result<Shown, ApiError>;

    /// Follows the connection that one end makes to the other, on managers only.
    async fn trace(&self, from: &str, to: &str, protocol: Protocol) -> Result<Trace, ApiError>;

    /// Whether the kernels hold what was declared: on managers every node's, on workers their own. `quick` asks no node
    /// and goes by what they have told with their heartbeats.
    async fn verify(&self, quick: bool) -> Result<Verdict, ApiError>;
}
