//! The virtual server: what balances connections to virtual addresses and published ports over the tasks behind them.
//!
//! Owns the kernel's side of balancing: the BPF programs and maps (`bpf/`) and the packet filter's maps, their loading,
//! attaching and pinning, the comparison of the declared [`Table`](shoal_model::lvs::Table) with what the kernel holds, and the live counters.
//!
//! Must never: decide who is behind a service or how much of the load it gets (rings arrive ready made), make links,
//! addresses or routes (the host crate does), keep state that only lives in this process.

mod difference;
mod ebpf;
mod error;
mod nft;
mod virtual_server;

pub use difference::{Difference, Found, Subject};
pub use ebpf::{Ebpf, EbpfConfig, IdleLimits, TcAttachment, probe};
pub use error::Error;
pub use nft::{Nft, NftConfig};
pub use virtual_server::{LiveCounters, VirtualServer};
