//! shoal-dns
