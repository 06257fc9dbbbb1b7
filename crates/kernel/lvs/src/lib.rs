//! shoal-lvs
