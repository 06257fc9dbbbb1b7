//! The programs of the object, by name and by where they hook in.

/// One BPF program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Program {
    /// A hook on all sockets of the machine; those of other namespaces pass by.
    Socket(SocketHook),
    /// A hook on one link.
    Link(LinkHook),
}

/// Hooks on sockets, attached to the root cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum SocketHook {
    Connect4,
    Connect6,
    SendMsg4,
    SendMsg6,
    RecvMsg4,
    RecvMsg6,
    GetPeerName4,
    GetPeerName6,
    Release,
}

/// Hooks on links, see `bpf/entry.h` and `bpf/task.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum LinkHook {
    EntryIn,
    EntryOver,
    EntryBack,
    EntryOut,
    TaskIn,
    TaskOut,
}

/// Which way a packet goes at a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Ingress,
    Egress,
}

impl SocketHook {
    /// Every one of them.
    pub(crate) const ALL: [Self; 9] = [
        Self::Connect4,
        Self::Connect6,
        Self::SendMsg4,
        Self::SendMsg6,
        Self::RecvMsg4,
        Self::RecvMsg6,
        Self::GetPeerName4,
        Self::GetPeerName6,
        Self::Release,
    ];

    /// The program's name in the object.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connect4 => "connect4",
            Self::Connect6 => "connect6",
            Self::SendMsg4 => "sendmsg4",
            Self::SendMsg6 => "sendmsg6",
            Self::RecvMsg4 => "recvmsg4",
            Self::RecvMsg6 => "recvmsg6",
            Self::GetPeerName4 => "getpeername4",
            Self::GetPeerName6 => "getpeername6",
            Self::Release => "sock_release",
        }
    }

    /// `enum bpf_attach_type` in `linux/bpf.h`.
    pub(crate) fn attach_type(self) -> u32 {
        match self {
            Self::Connect4 => 10,
            Self::Connect6 => 11,
            Self::SendMsg4 => 14,
            Self::SendMsg6 => 15,
            Self::RecvMsg4 => 19,
            Self::RecvMsg6 => 20,
            Self::GetPeerName4 => 29,
            Self::GetPeerName6 => 30,
            Self::Release => 34,
        }
    }
}

impl LinkHook {
    /// Every one of them.
    pub(crate) const ALL: [Self; 6] =
        [Self::EntryIn, Self::EntryOver, Self::EntryBack, Self::EntryOut, Self::TaskIn, Self::TaskOut];

    /// The program's name in the object.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::EntryIn => "entry_in",
            Self::EntryOver => "entry_over",
            Self::EntryBack => "entry_back",
            Self::EntryOut => "entry_out",
            Self::TaskIn => "task_in",
            Self::TaskOut => "task_out",
        }
    }

    /// Which packets it sees.
    pub(crate) fn direction(self) -> Direction {
        match self {
            Self::TaskIn => Direction::Egress,
            _ => Direction::Ingress,
        }
    }
}

impl Direction {
    /// `enum bpf_attach_type`: `BPF_TCX_INGRESS`, `BPF_TCX_EGRESS`.
    pub(crate) fn attach_type(self) -> u32 {
        match self {
            Self::Ingress => 46,
            Self::Egress => 47,
        }
    }
}

impl Program {
    /// The program's name in the object.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Socket(hook) => hook.name(),
            Self::Link(hook) => hook.name(),
        }
    }

    /// Every one of them.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let sockets = SocketHook::ALL.into_iter().map(Self::Socket);
        sockets.chain(LinkHook::ALL.into_iter().map(Self::Link))
    }

    /// The program of this name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::all().find(|program| program.name() == name)
    }
}
