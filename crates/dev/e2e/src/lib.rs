//! shoal-e2e
