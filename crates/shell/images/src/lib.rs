//! shoal-images
