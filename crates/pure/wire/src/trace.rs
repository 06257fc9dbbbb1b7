//! The text of `shoal trace`.

use shoal_model::trace::{Hop, Trace};
use std::fmt::Write as _;

/// A hop a line; what happens with each real server is indented below its name.
pub fn text(trace: &Trace) -> String {
    let mut text = String::new();
    let all = trace.hops.iter().chain(trace.branches.iter().flat_map(|branch| &branch.hops));
    let width = all.map(|hop| hop.host.len()).max().unwrap_or(0);
    let mut line = |indent: &str, hop: &Hop| {
        let dropped = if hop.dropped { "DROPPED: " } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{indent}{:<width$}  {dropped}{}", hop.host, hop.what);
    };
    for hop in &trace.hops {
        line("", hop);
    }
    for branch in &trace.branches {
        let given = Hop { host: String::new(), what: String::new(), dropped: false };
        line("", &Hop { host: format!("if {} is chosen:", branch.task), ..given });
        for hop in &branch.hops {
            line("  ", hop);
        }
    }
    text.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_model::Mac;
    use shoal_model::trace::Branch;

    #[test]
    fn hops_stand_below_each_other_and_the_drop_is_marked() {
        let hop =
            |host: &str, what: &str, dropped| Hop { host: host.to_owned(), what: what.to_owned(), dropped };
        let branch = Branch {
            task: "web.1".to_owned(),
            mac: Mac::default(),
            hops: vec![hop("swarm-worker1", "nobody listens", true)],
        };
        let trace = Trace { hops: vec![hop("manager", "client arrives", false)], branches: vec![branch] };
        assert_eq!(
            text(&trace),
            "manager        client arrives\nif web.1 is chosen:\n  swarm-worker1  DROPPED: nobody listens\n"
        );
        assert!(!trace.arrives() && !Trace::default().arrives());
    }
}
