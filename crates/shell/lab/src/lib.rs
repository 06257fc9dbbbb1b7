//! shoal-lab
