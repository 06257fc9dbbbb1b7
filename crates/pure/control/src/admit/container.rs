//! Checks of the container part of a service's spec.

use super::AdmitError;
use shoal_model::image_reference::ImageReference;
use shoal_model::spec::{
    ConfigReference, ContainerSpec, HealthConfig, Mount, MountKind, Nanos, SecretReference,
};
use std::collections::{BTreeMap, BTreeSet};

/// The shortest time a health check may name.
const HEALTH_DURATION_MIN_NANOS: Nanos = 1_000_000;

pub(super) fn check_container(container: &ContainerSpec) -> Result<(), AdmitError> {
    check_image(&container.image)?;
    check_mounts(&container.mounts)?;
    container.healthcheck.as_ref().map_or(Ok(()), check_health)?;
    check_secret_references(&container.secrets)?;
    check_config_references(&container.configs)
}

fn check_image(image: &str) -> Result<(), AdmitError> {
    if image.is_empty() {
        return Err(AdmitError::invalid("ContainerSpec: image reference must be provided"));
    }
    image
        .parse::<ImageReference>()
        .map(drop)
        .map_err(|_| AdmitError::invalid(format!("ContainerSpec: {image:?} is not a valid repository/tag")))
}

fn check_mounts(mounts: &[Mount]) -> Result<(), AdmitError> {
    let mut targets = BTreeSet::new();
    for mount in mounts {
        let target = &mount.target;
        if target.is_empty() {
            return Err(AdmitError::invalid("invalid mount target, must not be empty"));
        }
        if !target.starts_with('/') {
            let words = format!("invalid mount target, must be an absolute path: {target}");
            return Err(AdmitError::invalid(words));
        }
        if mount.kind == MountKind::Bind {
            let source = &mount.source;
            if source.is_empty() {
                return Err(AdmitError::invalid("invalid bind mount source, must not be empty"));
            }
            if !source.starts_with('/') {
                let words = format!("invalid bind mount source, must be an absolute path: {source}");
                return Err(AdmitError::invalid(words));
            }
        }
        if !targets.insert(target) {
            return Err(AdmitError::invalid(format!("ContainerSpec: duplicate mount point: {target}")));
        }
    }
    Ok(())
}

fn check_health(health: &HealthConfig) -> Result<(), AdmitError> {
    let durations =
        [("Interval", health.interval), ("Timeout", health.timeout), ("StartPeriod", health.start_period)];
    for (what, nanos) in durations {
        if nanos != 0 && nanos < HEALTH_DURATION_MIN_NANOS {
            let words = format!("ContainerSpec: {what} in HealthConfig cannot be less than 1ms");
            return Err(AdmitError::invalid(words));
        }
    }
    if health.retries < 0 {
        return Err(AdmitError::invalid("ContainerSpec: Retries in HealthConfig cannot be negative"));
    }
    Ok(())
}

fn check_secret_references(secrets: &[SecretReference]) -> Result<(), AdmitError> {
    let mut targets = BTreeMap::new();
    for secret in secrets {
        if secret.secret_id.is_empty() || secret.secret_name.is_empty() {
            return Err(AdmitError::invalid("malformed secret reference"));
        }
        let Some(file) = &secret.file else {
            return Err(AdmitError::invalid("malformed secret reference, no target provided"));
        };
        check_target(
            &mut targets,
            "secret",
            "malformed file secret reference",
            &file.name,
            &secret.secret_name,
        )?;
    }
    Ok(())
}

fn check_config_references(configs: &[ConfigReference]) -> Result<(), AdmitError> {
    let mut targets = BTreeMap::new();
    for config in configs {
        if config.config_id.is_empty() || config.config_name.is_empty() {
            return Err(AdmitError::invalid("malformed config reference"));
        }
        match (&config.file, &config.runtime) {
            (Some(file), _) => check_target(
                &mut targets,
                "config",
                "malformed file config reference",
                &file.name,
                &config.config_name,
            )?,
            (None, Some(_)) => {}
            (None, None) => {
                return Err(AdmitError::invalid("malformed config reference, no target provided"));
            }
        }
    }
    Ok(())
}

/// Two references must not show themselves as the same file.
fn check_target<'a>(
    targets: &mut BTreeMap<&'a str, &'a str>,
    kind: &str,
    malformed: &str,
    file: &'a str,
    name: &'a str,
) -> Result<(), AdmitError> {
    if file.is_empty() {
        return Err(AdmitError::invalid(format!("{malformed}, invalid target file name provided")));
    }
    match targets.insert(file, name) {
        None => Ok(()),
        Some(first) => Err(AdmitError::invalid(format!(
            "{kind} references '{first}' and '{name}' have a conflicting target: '{file}'"
        ))),
    }
}
