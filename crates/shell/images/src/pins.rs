//! What work in progress relies on, so that a removal at the same time leaves it alone.

use crate::digest::Digest;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Digests of blobs and chain ids of layers that someone relies on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pins(Arc<Mutex<HashMap<Digest, usize>>>);

/// Keeps its digests pinned until dropped.
#[derive(Debug)]
pub(crate) struct Pinned {
    pins: Pins,
    digests: Vec<Digest>,
}

impl Pins {
    /// Nothing pinned yet.
    pub(crate) fn pinned(&self) -> Pinned {
        Pinned { pins: self.clone(), digests: Vec::new() }
    }

    /// Does `action` unless `digest` is pinned; no one can pin it meanwhile.
    pub(crate) fn unless_pinned(&self, digest: &Digest, action: impl FnOnce()) {
        let pins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !pins.contains_key(digest) {
            action();
        }
    }
}

impl Pinned {
    /// Pins one more. What is there now stays there; what is not there may still come and go.
    pub(crate) fn pin(&mut self, digest: Digest) {
        *self.pins.0.lock().unwrap_or_else(PoisonError::into_inner).entry(digest).or_default() += 1;
        self.digests.push(digest);
    }

    /// What has been pinned.
    pub(crate) fn digests(&self) -> &[Digest] {
        &self.digests
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let mut pins = self.pins.0.lock().unwrap_or_else(PoisonError::into_inner);
        for digest in &self.digests {
            if let Some(count) = pins.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    pins.remove(digest);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pinned_twice_is_free_after_both_let_go() {
        let (pins, digest) = (Pins::default(), Digest::of(b"x"));
        let acted = || {
            let mut acted = false;
            pins.unless_pinned(&digest, || acted = true);
            acted
        };
        let (mut one, mut two) = (pins.pinned(), pins.pinned());
        one.pin(digest);
        two.pin(digest);
        assert!(!acted());
        drop(one);
        assert!(!acted());
        drop(two);
        assert!(acted());
    }
}
