//! shoal-host
