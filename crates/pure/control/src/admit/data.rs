//! Secrets and configs.

use super::AdmitError;
use super::name::check_data_name;
use crate::ids::random_u128;
use rand::RngCore;
use shoal_model::object::DataSpec;
use shoal_model::spec::ContainerSpec;
use shoal_model::{Config, ConfigId, Meta, Secret, SecretId, Timestamp, Version};
use shoal_store::State;

/// A secret is smaller than this (swarmkit `MaxSecretSize`).
const SECRET_LIMIT_BYTES: usize = 500 * 1024;
/// A config is smaller than this (swarmkit `MaxConfigSize`).
const CONFIG_LIMIT_BYTES: usize = 1000 * 1024;

/// A new secret; the caller proposes `Change::Create` with it.
pub fn create_secret(
    state: &State,
    spec: DataSpec,
    now: Timestamp,
    rng: &mut dyn RngCore,
) -> Result<Secret, AdmitError> {
    check_data_name(&spec.name)?;
    check_size("secret", &spec.data, SECRET_LIMIT_BYTES)?;
    if state.secrets().values().any(|other| other.spec.name == spec.name) {
        return Err(AdmitError::exists(format!("secret {} already exists", spec.name)));
    }
    Ok(Secret { id: SecretId::from_random(random_u128(rng)), meta: Meta::created(0, now), spec })
}

/// A new config; the caller proposes `Change::Create` with it.
pub fn create_config(
    state: &State,
    spec: DataSpec,
    now: Timestamp,
    rng: &mut dyn RngCore,
) -> Result<Config, AdmitError> {
    check_data_name(&spec.name)?;
    check_size("config", &spec.data, CONFIG_LIMIT_BYTES)?;
    if state.configs().values().any(|other| other.spec.name == spec.name) {
        return Err(AdmitError::exists(format!("config {} already exists", spec.name)));
    }
    Ok(Config { id: ConfigId::from_random(random_u128(rng)), meta: Meta::created(0, now), spec })
}

fn check_size(kind: &str, data: &[u8], limit: usize) -> Result<(), AdmitError> {
    if data.is_empty() || data.len() >= limit {
        return Err(AdmitError::invalid(format!(
            "{kind} data must be larger than 0 and less than {limit} bytes"
        )));
    }
    Ok(())
}

/// A secret with other labels; the caller proposes `Change::Update` with it.
pub fn update_secret(
    state: &State,
    id: &SecretId,
    version: Version,
    spec: DataSpec,
) -> Result<Secret, AdmitError> {
    let stored = state.secrets().get(id);
    let stored = stored.ok_or_else(|| AdmitError::not_found(format!("secret {id} not found")))?;
    let mut secret = Secret::clone(stored);
    secret.meta.version = version;
    relabel(&mut secret.spec, spec)?;
    Ok(secret)
}

/// A config with other labels; the caller proposes `Change::Update` with it.
pub fn update_config(
    state: &State,
    id: &ConfigId,
    version: Version,
    spec: DataSpec,
) -> Result<Config, AdmitError> {
    let stored = state.configs().get(id);
    let stored = stored.ok_or_else(|| AdmitError::not_found(format!("config {id} not found")))?;
    let mut config = Config::clone(stored);
    config.meta.version = version;
    relabel(&mut config.spec, spec)?;
    Ok(config)
}

/// Only labels may change. Data may be left out, or sent again as it was (`docker stack deploy` does).
fn relabel(stored: &mut DataSpec, wanted: DataSpec) -> Result<(), AdmitError> {
    if stored.name != wanted.name || (!wanted.data.is_empty() && wanted.data != stored.data) {
        return Err(AdmitError::invalid("only updates to Labels are allowed"));
    }
    stored.labels = wanted.labels;
    Ok(())
}

/// Whether a secret may be removed; the caller proposes `Change::Remove`.
pub fn remove_secret(state: &State, id: &SecretId) -> Result<(), AdmitError> {
    let secret = state.secrets().get(id);
    let secret = secret.ok_or_else(|| AdmitError::not_found(format!("secret {id} not found")))?;
    let users = users(state, |container| container.secrets.iter().any(|s| s.secret_id == id.as_str()));
    check_unused("secret", &secret.spec.name, &users)
}

/// Whether a config may be removed; the caller proposes `Change::Remove`.
pub fn remove_config(state: &State, id: &ConfigId) -> Result<(), AdmitError> {
    let config = state.configs().get(id);
    let config = config.ok_or_else(|| AdmitError::not_found(format!("config {id} not found")))?;
    let users = users(state, |container| container.configs.iter().any(|c| c.config_id == id.as_str()));
    check_unused("config", &config.spec.name, &users)
}

fn users(state: &State, uses: impl Fn(&ContainerSpec) -> bool) -> Vec<&str> {
    let services = state.services().values();
    services.filter(|s| uses(&s.spec.task_template.container())).map(|s| s.spec.name.as_str()).collect()
}

fn check_unused(kind: &str, name: &str, users: &[&str]) -> Result<(), AdmitError> {
    let services = match users.len() {
        0 => return Ok(()),
        1 => "service",
        _ => "services",
    };
    let users = users.join(", ");
    Err(AdmitError::invalid(format!("{kind} '{name}' is in use by the following {services}: {users}")))
}
