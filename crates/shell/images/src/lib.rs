//! The images of one host: a content store, unpacked layers, and the ways in and out (registry, archives).
//!
//! Owns everything below `<data-root>/images`. Whatever comes in is hostile until its digests and its entries have been
//! checked, and nothing is stored of what fails. It must never mount anything, run anything, or know of containers.

mod configuration;
mod error;
mod image;
mod images;
mod progress;
mod registry_auth;

pub use configuration::{ContainerConfig, Healthcheck, History};
pub use error::{Error, ErrorKind, LayerError};
pub use image::{Distribution, Image, Platform, PullOutcome, Removed, Usage};
pub use images::{Images, Settings};
pub use progress::{Message, Progress, ProgressDetail};
pub use registry_auth::RegistryAuth;
