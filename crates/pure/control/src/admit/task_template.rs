//! Checks of a service's spec that need nothing but the spec.

use super::AdmitError;
use super::container::check_container;
use shoal_model::constraint::Constraint;
use shoal_model::spec::{ResourceRequirements, RestartPolicy, ServiceSpec, TaskSpec, UpdateConfig};

/// The least share of a CPU, in billionths.
const NANO_CPUS_MIN: i64 = 1_000_000;
/// The least memory, in bytes.
const MEMORY_MIN_BYTES: i64 = 4 * 1024 * 1024;

pub(super) fn check_task_template(template: &TaskSpec) -> Result<(), AdmitError> {
    template.resources.as_ref().map_or(Ok(()), check_resources)?;
    template.restart_policy.as_ref().map_or(Ok(()), check_restart)?;
    for text in template.placement.iter().flat_map(|p| &p.constraints) {
        let parsed = text.parse::<Constraint>();
        parsed.map_err(|e| AdmitError::Refused { code: super::Code::Unknown, desc: e.to_string() })?;
    }
    if !matches!(template.runtime.as_str(), "" | "container") {
        return Err(AdmitError::unimplemented("RuntimeSpec: unimplemented runtime in service spec"));
    }
    match &template.container_spec {
        None => Err(AdmitError::invalid("TaskSpec: missing runtime")),
        Some(container) => check_container(container),
    }
}

fn check_resources(resources: &ResourceRequirements) -> Result<(), AdmitError> {
    let limits = resources.limits.as_ref().map(|l| (l.nano_cpus, l.memory_bytes));
    let reservations = resources.reservations.as_ref().map(|r| (r.nano_cpus, r.memory_bytes));
    for (nano_cpus, memory_bytes) in limits.into_iter().chain(reservations) {
        if nano_cpus != 0 && nano_cpus < NANO_CPUS_MIN {
            let cpus = as_cpus(nano_cpus);
            return Err(AdmitError::invalid(format!(
                "invalid cpu value {cpus}: Must be at least {}",
                as_cpus(NANO_CPUS_MIN)
            )));
        }
        if memory_bytes != 0 && memory_bytes < MEMORY_MIN_BYTES {
            let words = format!("invalid memory value {memory_bytes}: Must be at least 4MiB");
            return Err(AdmitError::invalid(words));
        }
    }
    Ok(())
}

/// Billionths of a CPU as Go's `%g` prints the CPUs: exponents below one ten-thousandth.
fn as_cpus(nano_cpus: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "only values below 0.001 CPUs are printed")]
    let cpus = nano_cpus as f64 / 1e9;
    if cpus != 0.0 && cpus.abs() < 1e-4 {
        let text = format!("{cpus:e}");
        match text.split_once("e-") {
            Some((digits, exponent)) => format!("{digits}e-{exponent:0>2}"),
            None => text,
        }
    } else {
        cpus.to_string()
    }
}

fn check_restart(policy: &RestartPolicy) -> Result<(), AdmitError> {
    if policy.delay.is_some_and(i64::is_negative) {
        return Err(AdmitError::invalid("TaskSpec: restart-delay cannot be negative"));
    }
    if policy.window.is_some_and(i64::is_negative) {
        return Err(AdmitError::invalid("TaskSpec: restart-window cannot be negative"));
    }
    Ok(())
}

pub(super) fn check_update(config: &UpdateConfig) -> Result<(), AdmitError> {
    if config.delay < 0 {
        return Err(AdmitError::invalid("TaskSpec: update-delay cannot be negative"));
    }
    if config.monitor < 0 {
        return Err(AdmitError::invalid("TaskSpec: update-monitor cannot be negative"));
    }
    if !(0.0..=1.0).contains(&config.max_failure_ratio) {
        return Err(AdmitError::invalid(
            "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1",
        ));
    }
    Ok(())
}

pub(super) fn check_mode(spec: &ServiceSpec) -> Result<(), AdmitError> {
    let mode = &spec.mode;
    let set = [
        mode.replicated.is_some(),
        mode.global.is_some(),
        mode.replicated_job.is_some(),
        mode.global_job.is_some(),
    ];
    if set.iter().filter(|set| **set).count() != 1 {
        return Err(AdmitError::Plain {
            code: super::Code::InvalidArgument,
            message: "must specify only one service mode".to_owned(),
        });
    }
    if spec.is_job() && spec.update_config.is_some() {
        return Err(AdmitError::invalid("job-mode services may not have an update config"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_print_as_go_does() {
        assert_eq!(as_cpus(1_000_000), "0.001");
        assert_eq!(as_cpus(10_000), "1e-05");
        assert_eq!(as_cpus(500_000), "0.0005");
    }
}
