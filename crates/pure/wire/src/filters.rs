//! The `filters` query value: which objects of a list are wanted.

use crate::ApiError;
use regex::Regex;
use serde_json::Value;
use shoal_model::spec::Labels;
use std::collections::{BTreeMap, BTreeSet};

/// Wanted values by filter. Values of one filter are alternatives (labels: all must hold); filters must all hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

impl Filters {
    /// Reads `{"key":{"value":true}}` or the older `{"key":["value"]}`; nothing or `""` means no filters.
    pub fn parse(text: Option<&str>) -> Result<Self, ApiError> {
        let text = text.unwrap_or_default();
        if text.is_empty() {
            return Ok(Self::default());
        }
        let invalid = || ApiError::bad_request("invalid filter");
        let Ok(Value::Object(map)) = serde_json::from_str(text) else { return Err(invalid()) };
        let mut filters = BTreeMap::new();
        for (key, value) in map {
            let values = match value {
                Value::Object(values) => values
                    .into_iter()
                    .filter(|(_, wanted)| wanted != &Value::Bool(false))
                    .map(|(value, _)| value)
                    .collect(),
                Value::Array(values) => values
                    .into_iter()
                    .map(|value| value.as_str().map(str::to_owned).ok_or_else(invalid))
                    .collect::<Result<_, _>>()?,
                _ => return Err(invalid()),
            };
            filters.insert(key, values);
        }
        Ok(Self(filters))
    }

    /// Refuses filters that the list does not know.
    pub fn accept(self, known: &[&str]) -> Result<Self, ApiError> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(ApiError::bad_request(format!("invalid filter '{key}'"))),
            None => Ok(self),
        }
    }

    /// Whether there are no filters.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this filter is given.
    pub fn has(&self, key: &str) -> bool {
        self.0.get(key).is_some_and(|values| !values.is_empty())
    }

    /// The values of a filter.
    pub fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.get(key).into_iter().flatten().map(String::as_str)
    }

    /// Replaces the values of a filter, names by ids.
    pub fn map_values(&mut self, key: &str, translate: impl Fn(&str) -> String) {
        if let Some(values) = self.0.get_mut(key) {
            *values = values.iter().map(|value| translate(value)).collect();
        }
    }

    /// True if the filter is absent or one of its values equals `candidate`.
    pub fn exact(&self, key: &str, candidate: &str) -> bool {
        !self.has(key) || self.values(key).any(|value| value == candidate)
    }

    /// True if the filter is absent or one of its values begins one of the candidates.
    pub fn prefix<'a>(&self, key: &str, candidates: impl IntoIterator<Item = &'a str>) -> bool {
        !self.has(key) || candidates.into_iter().any(|c| self.values(key).any(|value| c.starts_with(value)))
    }

    /// True if the filter is absent or one of its values occurs in one of the candidates, as a regular expression or, if
    /// it is none, as it is written.
    pub fn matches<'a>(&self, key: &str, candidates: impl IntoIterator<Item = &'a str>) -> bool {
        if !self.has(key) {
            return true;
        }
        let candidates: Vec<&str> = candidates.into_iter().collect();
        self.values(key).any(|value| match Regex::new(value) {
            Ok(pattern) => candidates.iter().any(|c| pattern.is_match(c)),
            Err(_) => candidates.iter().any(|c| c.contains(value)),
        })
    }

    /// True if every value (`key` or `key=value`) is among the labels.
    pub fn labels(&self, key: &str, labels: &Labels) -> bool {
        self.values(key).all(|wanted| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|have| have == value),
            None => labels.contains_key(wanted),
        })
    }

    /// True if none of the values (`key` or `key=value`) is among the labels (`label!`).
    pub fn without_labels(&self, key: &str, labels: &Labels) -> bool {
        self.values(key).all(|unwanted| match unwanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_none_or(|have| have != value),
            None => !labels.contains_key(unwanted),
        })
    }

    /// The value of a yes-or-no filter; absent means `default`.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool, ApiError> {
        let mut values = self.values(key);
        match (values.next(), values.next()) {
            (None, _) => Ok(default),
            (Some("1" | "true"), None) => Ok(true),
            (Some("0" | "false"), None) => Ok(false),
            (Some(first), _) => Err(ApiError::bad_request(format!("invalid filter '{key}=[{first}]'"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(text: &str) -> Filters {
        Filters::parse(Some(text)).unwrap()
    }

    #[test]
    fn both_forms_are_read() {
        let new = filters(r#"{"name":{"a":true,"b":true,"c":false}}"#);
        assert_eq!(new, filters(r#"{"name":["a","b"]}"#));
        assert_eq!(new.values("name").collect::<Vec<_>>(), ["a", "b"]);
        assert!(Filters::parse(Some("")).unwrap().is_empty());
    }

    #[test]
    fn nonsense_is_refused_in_dockers_words() {
        for text in ["x", "[]", r#"{"a":1}"#, r#"{"a":[1]}"#] {
            assert_eq!(Filters::parse(Some(text)).unwrap_err().message, "invalid filter", "{text}");
        }
        let err = filters(r#"{"foo":["x"]}"#).accept(&["name"]).unwrap_err();
        assert_eq!((err.status.code(), err.message.as_str()), (400, "invalid filter 'foo'"));
    }

    #[test]
    fn labels_must_all_hold() {
        let labels = Labels::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
        assert!(filters(r#"{"label":["a","b=2"]}"#).labels("label", &labels));
        assert!(!filters(r#"{"label":["a","b=3"]}"#).labels("label", &labels));
        assert!(!filters(r#"{"label!":["a"]}"#).without_labels("label!", &labels));
    }

    #[test]
    fn names_match_by_prefix_or_pattern() {
        let f = filters(r#"{"name":["^/?web$"]}"#);
        assert!(f.matches("name", ["/web"]) && !f.matches("name", ["/web2"]));
        assert!(filters(r#"{"name":["eb"]}"#).matches("name", ["web2"]));
        assert!(filters(r#"{"name":["we"]}"#).prefix("name", ["web2"]));
        assert!(!filters(r#"{"name":["eb"]}"#).prefix("name", ["web2"]));
        assert!(Filters::default().prefix("name", ["x"]));
    }

    #[test]
    fn flags_are_strict() {
        assert!(filters(r#"{"dangling":["true"]}"#).flag("dangling", false).unwrap());
        let err = filters(r#"{"dangling":["yes"]}"#).flag("dangling", false).unwrap_err();
        assert_eq!(err.message, "invalid filter 'dangling=[yes]'");
    }
}
