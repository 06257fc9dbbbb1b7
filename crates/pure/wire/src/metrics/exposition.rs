//! The text format of Prometheus.

use std::fmt::{Display, Write as _};

/// Kinds of metric.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Only grows.
    Counter,
    /// Grows and shrinks.
    Gauge,
}

/// The text in the making.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
    family: String,
}

impl Exposition {
    /// Begins a metric; its samples follow.
    pub(super) fn family(&mut self, name: &str, help: &str, kind: Kind) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        name.clone_into(&mut self.family);
        // Writing to a string cannot fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One value of the metric.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.text, "{}{labels} {value}", self.family);
    }

    /// All of it.
    pub(super) fn text(self) -> String {
        self.text
    }
}

/// A label's value: backslash, quote and line feed are escaped.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_labels_cannot_break_out() {
        let mut out = Exposition::default();
        out.family("m", "Help.", Kind::Gauge);
        out.sample(&[("a", "x\"} 1\n\\")], 2);
        assert_eq!(out.text(), "# HELP m Help.\n# TYPE m gauge\nm{a=\"x\\\"} 1\\n\\\\\"} 2\n");
    }
}
