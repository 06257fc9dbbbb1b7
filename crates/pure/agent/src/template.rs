//! Templates such as `{{.Node.Hostname}}` in a service's hostname, environment and mounts.

use shoal_model::NodeId;
use shoal_model::assignment::TaskAssignment;

/// Fills the templates that Docker knows: `.Service.ID`, `.Service.Name`, `.Service.Labels.KEY`,
/// `index .Service.Labels "KEY"`, `.Node.ID`, `.Node.Hostname`, `.Task.ID`, `.Task.Name`, `.Task.Slot` (the node's id
/// for global services). An expression that is none of these stays as it was written.
pub fn fill(text: &str, task: &TaskAssignment, node: &NodeId, node_hostname: &str) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, from_open)) = rest.split_once("{{") {
        let Some((expression, after)) = from_open.split_once("}}") else { break };
        filled.push_str(before);
        match value(expression.trim(), task, node, node_hostname) {
            Some(value) => filled.push_str(&value),
            None => filled.push_str(&rest[before.len()..rest.len() - after.len()]),
        }
        rest = after;
    }
    filled.push_str(rest);
    filled
}

fn value(expression: &str, task: &TaskAssignment, node: &NodeId, node_hostname: &str) -> Option<String> {
    let label = |key: &str| task.service_labels.get(key).cloned().unwrap_or_default();
    if let Some(key) = expression.strip_prefix("index .Service.Labels ") {
        return Some(label(key.trim().trim_matches(['"', '`'])));
    }
    if let Some(key) = expression.strip_prefix(".Service.Labels.") {
        return Some(label(key));
    }
    Some(match expression {
        ".Service.ID" => task.service.to_string(),
        ".Service.Name" => task.service_name.clone(),
        ".Node.ID" => node.to_string(),
        ".Node.Hostname" => node_hostname.to_owned(),
        ".Task.ID" => task.id.to_string(),
        ".Task.Name" => task.container_name.clone(),
        ".Task.Slot" if task.slot == 0 => node.to_string(),
        ".Task.Slot" => task.slot.to_string(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_model::spec::TaskSpec;
    use shoal_model::{ServiceId, TaskId, TaskState, Timestamp};
    use std::collections::BTreeMap;

    fn task(slot: u64) -> TaskAssignment {
        TaskAssignment {
            id: TaskId::from_random(1),
            service: ServiceId::from_random(2),
            service_name: "whoami".to_owned(),
            registry_auth: None,
            service_labels: BTreeMap::from([("a.b".to_owned(), "c".to_owned())]),
            slot,
            spec: TaskSpec::default(),
            desired: TaskState::Running,
            known: TaskState::Assigned,
            attachments: Vec::new(),
            host_ports: Vec::new(),
            start_after: Timestamp::default(),
            container_name: "whoami.3.x".to_owned(),
            withdrawn: false,
        }
    }

    #[test]
    fn templates_are_filled_and_other_text_is_left() {
        let node = NodeId::from_random(9);
        for (text, filled) in [
            ("plain", "plain"),
            ("{{.Service.Name}}-{{ .Task.Slot }}", "whoami-3"),
            ("{{.Node.Hostname}}", "host"),
            ("x{{.Task.Name}}y", "xwhoami.3.xy"),
            ("{{index .Service.Labels \"a.b\"}}", "c"),
            ("{{.Nonsense}} {{", "{{.Nonsense}} {{"),
            ("{{.Nonsense}}{{.Node.Hostname}}", "{{.Nonsense}}host"),
        ] {
            assert_eq!(fill(text, &task(3), &node, "host"), filled, "{text}");
        }
        assert_eq!(fill("{{.Task.Slot}}", &task(0), &node, "host"), node.as_str());
    }
}
