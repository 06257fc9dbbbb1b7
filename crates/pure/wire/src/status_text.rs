//! The texts that the server makes of times: "Up 2 seconds", "Exited (0) 3 minutes ago".

use crate::container::{ContainerState, Health};
use shoal_model::Timestamp;
use std::time::Duration;

/// A duration as people say it, in Docker's steps (`go-units`).
pub fn human_duration(d: Duration) -> String {
    let seconds = d.as_secs();
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

/// The `Status` of a container in lists.
pub fn container_status(state: &ContainerState, health: Option<Health>, now: Timestamp) -> String {
    match state {
        ContainerState::Created => "Created".to_owned(),
        ContainerState::Running { started_at, .. } => {
            let up = format!("Up {}", human_duration(now.since(*started_at)));
            match health {
                None => up,
                Some(Health::Starting) => format!("{up} (health: starting)"),
                Some(Health::Healthy) => format!("{up} (healthy)"),
                Some(Health::Unhealthy) => format!("{up} (unhealthy)"),
            }
        }
        ContainerState::Exited { code, finished_at, .. } => {
            format!("Exited ({code}) {} ago", human_duration(now.since(*finished_at)))
        }
    }
}

/// The word for a container's state (`created`, `running`, `exited`).
pub fn state_word(state: &ContainerState) -> &'static str {
    match state {
        ContainerState::Created => "created",
        ContainerState::Running { .. } => "running",
        ContainerState::Exited { .. } => "exited",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_dockers_do() {
        let said = |seconds| human_duration(Duration::from_secs(seconds));
        let steps = [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5400, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (14 * 86400, "2 weeks"),
            (60 * 86400, "2 months"),
            (730 * 86400, "2 years"),
        ];
        for (seconds, text) in steps {
            assert_eq!(said(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn containers_tell_their_state() {
        let now = Timestamp(1_000_000_000_000);
        let running = ContainerState::Running { pid: 1, started_at: Timestamp(998_000_000_000) };
        assert_eq!(container_status(&running, None, now), "Up 2 seconds");
        assert_eq!(container_status(&running, Some(Health::Healthy), now), "Up 2 seconds (healthy)");
        let exited = ContainerState::Exited {
            code: 137,
            finished_at: Timestamp(820_000_000_000),
            out_of_memory: false,
        };
        assert_eq!(container_status(&exited, None, now), "Exited (137) 3 minutes ago");
        assert_eq!(container_status(&ContainerState::Created, None, now), "Created");
    }
}
