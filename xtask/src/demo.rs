//! `cargo xtask demo`: a three-host swarm on this machine, driven by the docker command.
