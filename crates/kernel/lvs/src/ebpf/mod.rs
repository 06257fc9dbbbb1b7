//! The eBPF engine.

use std::path::PathBuf;

/// How programs are attached to links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TcAttachment {
    /// TCX links where the kernel has them (6.6), else filters.
    #[default]
    Auto,
    /// TCX links.
    Tcx,
    /// Filters of a `clsact` queueing discipline.
    Clsact,
}

/// Where the engine keeps its parts, and how large they are.
#[derive(Debug, Clone)]
pub struct EbpfConfig {
    /// Directory for the private bpffs that holds what must outlive the daemon, `<exec-root>/bpf`.
    pub pin_root: PathBuf,
    /// Directory with the node's named namespaces, `<exec-root>/netns`.
    pub netns_root: PathBuf,
    /// The host's namespace as a file; `None` is the calling thread's.
    pub host_namespace: Option<PathBuf>,
    /// Flows that are remembered at most, each way; the least recently used give way. Applies to new maps only.
    pub flow_entries: u32,
    /// How programs are attached to links.
    pub attachment: TcAttachment,
}

impl EbpfConfig {
    /// The usual sizes, below an exec-root.
    pub fn new(pin_root: impl Into<PathBuf>, netns_root: impl Into<PathBuf>) -> Self {
        Self {
            pin_root: pin_root.into(),
            netns_root: netns_root.into(),
            host_namespace: None,
            flow_entries: 131_072,
            attachment: TcAttachment::Auto,
        }
    }
}
