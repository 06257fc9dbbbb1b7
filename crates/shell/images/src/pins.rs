//! What work in progress relies on, so that a removal at the same time leaves it alone.

use crate::digest::Digest;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A part of the store. The lowest layer's chain id is the digest of its archive, so the two have to be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    /// A blob by its digest.
    Blob(Digest),
    /// An unpacked layer by its chain id.
    Layer(Digest),
}

/// Parts that someone relies on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pins(Arc<Mutex<HashMap<Part, usize>>>);

/// Keeps its parts pinned until dropped.
#[derive(Debug)]
pub(crate) struct Pinned {
    pins: Pins,
    parts: Vec<Part>,
}

impl Pins {
    /// Nothing pinned yet.
    pub(crate) fn pinned(&self) -> Pinned {
        Pinned { pins: self.clone(), parts: Vec::new() }
    }

    /// Does `action` unless `part` is pinned; no one can pin it meanwhile.
    pub(crate) fn unless_pinned(&self, part: &Part, action: impl FnOnce()) {
        let pins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !pins.contains_key(part) {
            action();
        }
    }
}

impl Pinned {
    /// Pins one more. What is there now stays there; what is not there may still come and go.
    pub(crate) fn pin(&mut self, part: Part) {
        *self.pins.0.lock().unwrap_or_else(PoisonError::into_inner).entry(part).or_default() += 1;
        self.parts.push(part);
    }

    /// What has been pinned.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let mut pins = self.pins.0.lock().unwrap_or_else(PoisonError::into_inner);
        for part in &self.parts {
            if let Some(count) = pins.get_mut(part) {
                *count -= 1;
                if *count == 0 {
                    pins.remove(part);
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
        let (pins, part) = (Pins::default(), Part::Blob(Digest::of(b"x")));
        let acted = || {
            let mut acted = false;
            pins.unless_pinned(&part, || acted = true);
            acted
        };
        let (mut one, mut two) = (pins.pinned(), pins.pinned());
        one.pin(part);
        two.pin(part);
        assert!(!acted());
        drop(one);
        assert!(!acted());
        drop(two);
        assert!(acted());
    }
}
