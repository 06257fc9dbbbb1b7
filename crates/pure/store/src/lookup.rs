//! Finding an object by what a user typed.

use crate::{Kind, State};
use shoal_model::{Config, Network, Node, Secret, Service, Task};
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// Why no object was found; the words are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// Nothing has that id, name or prefix.
    #[error("{kind} {text} not found")]
    NotFound {
        /// What was looked for.
        kind: Kind,
        /// What the user typed.
        text: String,
    },
    /// More than one object has it.
    #[error("{kind} {text} is ambiguous ({count} matches found)")]
    Ambiguous {
        /// What was looked for.
        kind: Kind,
        /// What the user typed.
        text: String,
        /// How many have it.
        count: usize,
    },
}

impl State {
    /// A service by id, name or unique beginning of its id.
    pub fn find_service(&self, text: &str) -> Result<&Arc<Service>, LookupError> {
        find(self.services(), Kind::Service, text, |service| service.spec.name == text)
    }

    /// A node by id, hostname or unique beginning of its id.
    pub fn find_node(&self, text: &str) -> Result<&Arc<Node>, LookupError> {
        find(self.nodes(), Kind::Node, text, |node| node.description.hostname == text)
    }

    /// A network by id, name or unique beginning of its id.
    pub fn find_network(&self, text: &str) -> Result<&Arc<Network>, LookupError> {
        find(self.networks(), Kind::Network, text, |network| network.spec.name == text)
    }

    /// A task by id, name (`<service>.<slot>` or the name of its container) or unique beginning of its id.
    pub fn find_task(&self, text: &str) -> Result<&Arc<Task>, LookupError> {
        find(self.tasks(), Kind::Task, text, |task| {
            text.starts_with(&task.service_name) && (task.name() == text || task.container_name() == text)
        })
    }

    /// A secret by id, name or unique beginning of its id.
    pub fn find_secret(&self, text: &str) -> Result<&Arc<Secret>, LookupError> {
        find(self.secrets(), Kind::Secret, text, |secret| secret.spec.name == text)
    }

    /// A config by id, name or unique beginning of its id.
    pub fn find_config(&self, text: &str) -> Result<&Arc<Config>, LookupError> {
        find(self.configs(), Kind::Config, text, |config| config.spec.name == text)
    }
}

/// Docker's order: the full id, then the exact name, then the beginning of an id.
fn find<'a, K: Ord + Borrow<str>, V>(
    objects: &'a BTreeMap<K, Arc<V>>,
    kind: Kind,
    text: &str,
    named: impl Fn(&V) -> bool,
) -> Result<&'a Arc<V>, LookupError> {
    if let Some(object) = objects.get(text) {
        return Ok(object);
    }
    let mut found: Vec<_> = objects.values().filter(|object| named(object)).collect();
    if found.is_empty() && !text.is_empty() {
        let from_prefix = objects.range::<str, _>((Bound::Included(text), Bound::Unbounded));
        found = from_prefix.take_while(|(id, _)| (*id).borrow().starts_with(text)).map(|(_, o)| o).collect();
    }
    match found.as_slice() {
        [] => Err(LookupError::NotFound { kind, text: text.to_owned() }),
        [object] => Ok(object),
        many => Err(LookupError::Ambiguous { kind, text: text.to_owned(), count: many.len() }),
    }
}
