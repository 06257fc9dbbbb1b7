//! Where the kernel was found to differ from the declared table.

use shoal_model::TaskId;
use shoal_model::lvs::VirtualServiceKey;
use shoal_model::netns::NamespaceName;
use std::fmt;
use std::net::IpAddr;

/// One difference between the declared table and the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What differs.
    pub subject: Subject,
    /// In which way.
    pub found: Found,
    /// Why it could not be repaired; `None` when it was, or, when nothing was to be repaired, could be.
    pub unrepaired: Option<String>,
}

/// How the kernel differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Found {
    /// Declared, but not in the kernel.
    Missing,
    /// In the kernel with another value.
    Different,
    /// In the kernel, but not declared.
    Unexpected,
}

/// Something the virtual server holds in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// Where the mesh hooks into the node: links and Ethernet addresses.
    Mesh,
    /// An address of the node.
    NodeAddress(IpAddr),
    /// A namespace whose connections are balanced, by name, or by cookie where the name is no longer known.
    Sandbox(String),
    /// A virtual service, its ring included.
    Service(VirtualServiceKey),
    /// A real server of a virtual service.
    RealServer(VirtualServiceKey, TaskId),
    /// Leftover parts that belong to no service: what an interrupted sync had half written.
    Leftover(&'static str),
    /// A task's end of the mesh, by its port on the overlay's bridge.
    MeshTask(String),
    /// A chain of the packet filter with its rules, or a set's form.
    Rules {
        /// The namespace.
        namespace: NamespaceName,
        /// The chain's or set's name.
        name: String,
    },
    /// A program on a link.
    Program {
        /// The program's name.
        program: String,
        /// Namespace of the link.
        namespace: NamespaceName,
        /// The link.
        link: String,
    },
    /// The pin of a map, by which the next daemon finds it.
    Map(String),
    /// A program on the sockets of the machine.
    SocketProgram(String),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.subject, self.found)?;
        match &self.unrepaired {
            None => Ok(()),
            Some(reason) => write!(f, " (not repaired: {reason})"),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "is missing",
            Self::Different => "differs",
            Self::Unexpected => "should not be there",
        })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mesh => f.write_str("mesh settings"),
            Self::NodeAddress(address) => write!(f, "node address {address}"),
            Self::Sandbox(name) => write!(f, "sandbox {name}"),
            Self::Service(key) => write!(f, "virtual service {}", Shown(key)),
            Self::RealServer(key, task) => write!(f, "real server {task} of {}", Shown(key)),
            Self::Leftover(what) => write!(f, "leftover {what}"),
            Self::MeshTask(port) => write!(f, "mesh task behind {port}"),
            Self::Rules { namespace, name } => write!(f, "rules {name} in {namespace}"),
            Self::Program { program, namespace, link } => {
                write!(f, "program {program} on {link} in {namespace}")
            }
            Self::Map(name) => write!(f, "pin of the map {name}"),
            Self::SocketProgram(program) => write!(f, "socket program {program}"),
        }
    }
}

struct Shown<'a>(&'a VirtualServiceKey);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            VirtualServiceKey::EastWest { network, vip } => write!(f, "{vip} on network {network}"),
            VirtualServiceKey::Ingress { protocol, port } => write!(f, "port {port}/{protocol}"),
        }
    }
}
