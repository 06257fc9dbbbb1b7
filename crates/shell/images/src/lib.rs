//! The images of one host: a content store, unpacked layers, and the ways in and out (registry, archives).
//!
//! Owns everything below `<data-root>/images`. Whatever comes in is hostile until its digests and its entries have been
//! checked, and nothing is stored of what fails. It must never mount anything, run anything, or know of containers.

mod archive;
mod changes;
mod compression;
mod configuration;
mod digest;
mod error;
mod find;
mod image;
mod images;
mod import;
mod index;
mod ingest;
mod insecure;
mod layer_path;
mod load;
mod lower;
mod manifest;
mod pins;
mod progress;
mod pull;
mod push;
mod registry;
mod registry_auth;
mod remove;
mod root_layers;
mod save;
mod store;
mod tar_stream;
mod unpack;
mod unpack_metadata;

pub use configuration::{ContainerConfig, Healthcheck, History};
pub use error::{Error, ErrorKind, LayerError};
pub use image::{Distribution, Image, Platform, PullOutcome, Removed, Usage};
pub use images::{Images, Settings};
pub use progress::{Message, Progress, ProgressDetail};
pub use registry_auth::RegistryAuth;
