//! shoal-daemon
