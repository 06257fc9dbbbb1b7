//! The swarm's own parameters.

use super::AdmitError;
use shoal_model::cluster::ClusterSpec;
use shoal_model::spec::Nanos;
use shoal_model::{Cluster, Version};
use shoal_store::State;

/// The shortest life of a node's certificate: one hour (swarmkit `MinNodeCertExpiration`).
const CERTIFICATE_LIFE_MIN_NANOS: Nanos = 3_600_000_000_000;

/// The swarm with other parameters. Join tokens and keys are the caller's to change in the answer, before it proposes
/// `Change::Update` with it.
pub fn update_cluster(state: &State, version: Version, spec: ClusterSpec) -> Result<Cluster, AdmitError> {
    let stored = state.cluster().ok_or_else(|| AdmitError::not_found("cluster default not found"))?;
    check_spec(&spec)?;
    let mut cluster = Cluster::clone(stored);
    cluster.meta.version = version;
    cluster.spec = spec;
    Ok(cluster)
}

fn check_spec(spec: &ClusterSpec) -> Result<(), AdmitError> {
    if spec.ca_config.node_cert_expiry < CERTIFICATE_LIFE_MIN_NANOS {
        return Err(AdmitError::invalid("minimum certificate expiry time is: 1h0m0s"));
    }
    if spec.dispatcher.heartbeat_period < 0 {
        return Err(AdmitError::invalid("heartbeat time period cannot be a negative duration"));
    }
    if spec.name != "default" {
        return Err(AdmitError::invalid("modification of cluster name is not allowed"));
    }
    Ok(())
}
