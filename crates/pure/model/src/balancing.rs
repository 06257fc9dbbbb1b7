//! How a service's connections are shared out: the labels `shoal.lb.scheduler`, `shoal.lb.affinity` and `shoal.lb.weight`,
//! parsed once.
//!
//! All three are labels of the service. A container label `shoal.lb.weight` in the task template wins over the service's:
//! it belongs to the tasks made from that template, so that an update can give the new version a smaller share.

use crate::lvs::Scheduler;
use crate::spec::Labels;
use std::str::FromStr;

/// Label with the scheduler's short name.
pub const SCHEDULER_LABEL: &str = "shoal.lb.scheduler";
/// Label with the time for which a client keeps its real server.
pub const AFFINITY_LABEL: &str = "shoal.lb.affinity";
/// Label with the weight of tasks.
pub const WEIGHT_LABEL: &str = "shoal.lb.weight";

/// The longest affinity, seconds.
const AFFINITY_MAX_SECONDS: u32 = 24 * 60 * 60;
/// The greatest weight. The least is 1: with 0 a task drains, and only the managers say that.
const WEIGHT_MAX: u32 = 256;
/// What a weight begins with that is taken from a label of the node.
const NODE_LABELS: &str = "node.labels.";

/// What a service's labels ask for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Balancing {
    /// How a real server is chosen; `None` is round robin, heeding weights as soon as a task has another than 1.
    pub scheduler: Option<Scheduler>,
    /// Seconds for which a client keeps its real server after its last new connection.
    pub affinity: Option<u32>,
    /// The weight of its tasks; `None` is 1.
    pub weight: Option<Weight>,
}

/// Where the weight of a task comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Weight {
    /// The label itself.
    Fixed(u32),
    /// This label of the node that the task runs on.
    OfNode(String),
}

/// Why a label cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{bearer}label {label}: {value:?} is not {wanted}")]
pub struct InvalidBalancing {
    /// Whose label it is, with a space behind; empty for the service's.
    bearer: &'static str,
    /// The label.
    label: &'static str,
    /// The value as written.
    value: String,
    /// What it should have been.
    wanted: &'static str,
}

impl Balancing {
    /// Reads the labels of a service.
    ///
    /// # Errors
    /// Names the label and its value.
    pub fn parse(labels: &Labels) -> Result<Self, InvalidBalancing> {
        Ok(Self {
            scheduler: read(labels, SCHEDULER_LABEL, SCHEDULER_WANTED, |text| text.parse().ok())?,
            affinity: read(labels, AFFINITY_LABEL, AFFINITY_WANTED, affinity)?,
            weight: read(labels, WEIGHT_LABEL, WEIGHT_WANTED, weight)?,
        })
    }

    /// Reads the labels of a service that was admitted. Should they be unreadable all the same, it is balanced like a
    /// service without them.
    pub fn of_admitted(labels: &Labels) -> Self {
        Self::parse(labels).unwrap_or_default()
    }

    /// The scheduler of a service whose tasks have these weights.
    pub fn scheduler(&self, mut weights: impl Iterator<Item = u32>) -> Scheduler {
        self.scheduler.unwrap_or_else(|| {
            if weights.any(|weight| weight > 1) {
                Scheduler::WeightedRoundRobin
            } else {
                Scheduler::RoundRobin
            }
        })
    }
}

impl Weight {
    /// Reads the labels of the containers in a task template, which win over the service's.
    ///
    /// # Errors
    /// Names the label and its value.
    pub fn of_containers(labels: &Labels) -> Result<Option<Self>, InvalidBalancing> {
        read(labels, WEIGHT_LABEL, WEIGHT_WANTED, weight)
            .map_err(|error| InvalidBalancing { bearer: "container ", ..error })
    }

    /// The weight of a task on a node with these labels.
    pub fn on_node(&self, labels: &Labels) -> u32 {
        match self {
            Self::Fixed(weight) => *weight,
            Self::OfNode(key) => labels.get(key).and_then(|text| number(text)).unwrap_or(1),
        }
    }
}

const SCHEDULER_WANTED: &str = "a scheduler (rr, wrr, lc, sh, maglev or p2c)";
const AFFINITY_WANTED: &str = "a time between 1s and 24h, such as 30s, 10m or 3h";
const WEIGHT_WANTED: &str = "a weight from 1 to 256 or node.labels.KEY";

fn read<T>(
    labels: &Labels,
    label: &'static str,
    wanted: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, InvalidBalancing> {
    let Some(value) = labels.get(label) else { return Ok(None) };
    let invalid = || InvalidBalancing { bearer: "", label, value: value.clone(), wanted };
    parse(value).map(Some).ok_or_else(invalid)
}

fn affinity(text: &str) -> Option<u32> {
    let units = [('s', 1), ('m', 60), ('h', 60 * 60)];
    let (number, seconds) = units.iter().find_map(|(unit, s)| Some((text.strip_suffix(*unit)?, *s)))?;
    let affinity = digits(number)?.checked_mul(seconds)?;
    (1..=AFFINITY_MAX_SECONDS).contains(&affinity).then_some(affinity)
}

fn weight(text: &str) -> Option<Weight> {
    match text.strip_prefix(NODE_LABELS) {
        Some(key) if !key.is_empty() && !key.contains(char::is_whitespace) => {
            Some(Weight::OfNode(key.to_owned()))
        }
        Some(_) => None,
        None => number(text).map(Weight::Fixed),
    }
}

fn number(text: &str) -> Option<u32> {
    digits(text).filter(|weight| (1..=WEIGHT_MAX).contains(weight))
}

/// Rust takes a sign, too.
fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| u32::from_str(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(label: &str, value: &str) -> Labels {
        [(label.to_owned(), value.to_owned())].into()
    }

    fn asked(label: &str, value: &str) -> Balancing {
        Balancing::parse(&labels(label, value)).unwrap()
    }

    fn refused(label: &str, value: &str) -> String {
        Balancing::parse(&labels(label, value)).unwrap_err().to_string()
    }

    #[test]
    fn every_scheduler_is_called_by_its_short_name() {
        for scheduler in Scheduler::ALL {
            assert_eq!(asked(SCHEDULER_LABEL, scheduler.as_str()).scheduler, Some(scheduler));
            assert!(SCHEDULER_WANTED.contains(scheduler.as_str()), "the words do not offer {scheduler:?}");
        }
        for value in ["", "RR", "wlc", " rr"] {
            assert_eq!(
                refused(SCHEDULER_LABEL, value),
                format!("label shoal.lb.scheduler: {value:?} is not {SCHEDULER_WANTED}")
            );
        }
    }

    #[test]
    fn without_labels_it_is_round_robin_until_a_task_has_a_weight() {
        let none = Balancing::parse(&Labels::new()).unwrap();
        assert_eq!(none, Balancing::default());
        assert_eq!(none.scheduler([1, 0, 1].into_iter()), Scheduler::RoundRobin);
        assert_eq!(none.scheduler([1, 5].into_iter()), Scheduler::WeightedRoundRobin);
        assert_eq!(asked(SCHEDULER_LABEL, "rr").scheduler([1, 5].into_iter()), Scheduler::RoundRobin);
    }

    #[test]
    fn affinity_is_a_time_of_up_to_a_day() {
        let times =
            [("1s", 1), ("30s", 30), ("10m", 600), ("3h", 10_800), ("24h", 86_400), ("86400s", 86_400)];
        for (text, seconds) in times {
            assert_eq!(asked(AFFINITY_LABEL, text).affinity, Some(seconds));
        }
        for value in
            ["", "0s", "25h", "86401s", "30", "-1s", "+1s", "1.5h", "1d", "s", "99999999999s", "2000000h"]
        {
            let words = "is not a time between 1s and 24h, such as 30s, 10m or 3h";
            assert_eq!(refused(AFFINITY_LABEL, value), format!("label shoal.lb.affinity: {value:?} {words}"));
        }
    }

    #[test]
    fn weights_are_numbers_or_labels_of_the_node() {
        assert_eq!(asked(WEIGHT_LABEL, "256").weight, Some(Weight::Fixed(256)));
        let of_node = asked(WEIGHT_LABEL, "node.labels.cpu.cores").weight.unwrap();
        assert_eq!(of_node, Weight::OfNode("cpu.cores".to_owned()));
        assert_eq!(of_node.on_node(&labels("cpu.cores", "16")), 16);
        for odd in ["", "0", "many", "257", "-3"] {
            assert_eq!(of_node.on_node(&labels("cpu.cores", odd)), 1, "{odd:?}");
        }
        assert_eq!(of_node.on_node(&Labels::new()), 1);
        for value in ["", "0", "257", "-1", "+1", "1.5", "node.labels.", "node.labels.a b", "engine.labels.a"]
        {
            assert_eq!(
                refused(WEIGHT_LABEL, value),
                format!("label shoal.lb.weight: {value:?} is not a weight from 1 to 256 or node.labels.KEY")
            );
        }
    }

    #[test]
    fn containers_have_a_weight_of_their_own() {
        assert_eq!(Weight::of_containers(&Labels::new()), Ok(None));
        assert_eq!(Weight::of_containers(&labels(WEIGHT_LABEL, "2")), Ok(Some(Weight::Fixed(2))));
        assert_eq!(
            Weight::of_containers(&labels(WEIGHT_LABEL, "0")).unwrap_err().to_string(),
            "container label shoal.lb.weight: \"0\" is not a weight from 1 to 256 or node.labels.KEY"
        );
    }
}
