//! Events: the last few are remembered, new ones go to everyone who listens.

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use shoal_model::Timestamp;
use shoal_wire::event::{Event, Scope};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

/// Events remembered, as many as Docker remembers.
const REMEMBERED: usize = 256;

/// The daemon's events. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Events {
    past: Arc<Mutex<VecDeque<Event>>>,
    live: broadcast::Sender<Event>,
}

impl Events {
    /// Nothing has happened yet.
    pub(crate) fn new() -> Self {
        Self { past: Arc::default(), live: broadcast::Sender::new(REMEMBERED) }
    }

    /// Something happened on this host.
    pub(crate) fn local<const N: usize>(
        &self,
        kind: &str,
        action: &str,
        id: &str,
        facts: [(&str, String); N],
    ) {
        let attributes = facts.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        self.publish(kind, action, id, attributes, Scope::Local);
    }

    /// Something happened in the swarm.
    pub(crate) fn swarm(&self, kind: &str, action: &str, id: &str, name: &str) {
        self.publish(kind, action, id, [("name".to_owned(), name.to_owned())].into(), Scope::Swarm);
    }

    /// Something happened to a container: its labels are among the attributes, as with Docker.
    pub(crate) fn publish(
        &self,
        kind: &str,
        action: &str,
        id: &str,
        attributes: BTreeMap<String, String>,
        scope: Scope,
    ) {
        let event = Event {
            kind: kind.to_owned(),
            action: action.to_owned(),
            id: id.to_owned(),
            attributes,
            scope,
            at: crate::entropy::now(),
        };
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        if past.len() == REMEMBERED {
            past.pop_front();
        }
        past.push_back(event.clone());
        // Without listeners there is nobody to tell.
        drop(self.live.send(event));
    }

    /// Those since `since` that are remembered, then new ones for ever.
    pub(crate) fn listen(&self, since: Option<Timestamp>) -> BoxStream<'static, Event> {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let live = BroadcastStream::new(self.live.subscribe()).filter_map(|event| async { event.ok() });
        let remembered: Vec<Event> =
            since.map_or_else(Vec::new, |since| past.iter().filter(|e| e.at >= since).cloned().collect());
        stream::iter(remembered).chain(live).boxed()
    }

    /// How many listen.
    pub(crate) fn listeners(&self) -> u64 {
        self.live.receiver_count() as u64
    }
}
