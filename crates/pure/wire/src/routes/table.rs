//! The table, literal paths before those with placeholders.

use super::Answer::{Operation as Op, Unbuilt};
use super::Method::{Delete, Get, Head, Post, Put};
use super::Operation::{
    Config, Container, Exec, Image, Network, Node, Secret, Service, Swarm, System, Volume,
};
use super::{
    Answer, ConfigOp, ContainerOp, ExecOp, ImageOp, Method, NetworkOp, NodeOp, Route, SecretOp, ServiceOp,
    SwarmOp, SystemOp, VolumeOp,
};
use crate::ApiVersion;

const fn row(method: Method, path: &'static str, minor: u16, answer: Answer) -> Route {
    Route { method, path, since: ApiVersion::minor(minor), answer }
}

/// Every path of the API, built or not.
pub static ROUTES: &[Route] = &[
    // system
    row(Head, "/_ping", 24, Op(System(SystemOp::Ping))),
    row(Get, "/_ping", 24, Op(System(SystemOp::Ping))),
    row(Get, "/version", 24, Op(System(SystemOp::Version))),
    row(Get, "/info", 24, Op(System(SystemOp::Info))),
    row(Get, "/system/df", 25, Op(System(SystemOp::DiskUsage))),
    row(Get, "/events", 24, Op(System(SystemOp::Events))),
    row(Get, "/plugins", 25, Op(System(SystemOp::Plugins))),
    row(
        Post,
        "/auth",
        24,
        Unbuilt("logging in to a registry through the daemon (the docker command keeps credentials itself)"),
    ),
    // swarm
    row(Get, "/swarm", 24, Op(Swarm(SwarmOp::Inspect))),
    row(Post, "/swarm/init", 24, Op(Swarm(SwarmOp::Init))),
    row(Post, "/swarm/join", 24, Op(Swarm(SwarmOp::Join))),
    row(Post, "/swarm/leave", 24, Op(Swarm(SwarmOp::Leave))),
    row(Post, "/swarm/update", 24, Op(Swarm(SwarmOp::Update))),
    row(Post, "/swarm/unlock", 24, Op(Swarm(SwarmOp::Unlock))),
    row(Get, "/swarm/unlockkey", 24, Op(Swarm(SwarmOp::UnlockKey))),
    // nodes
    row(Get, "/nodes", 24, Op(Node(NodeOp::List))),
    row(Get, "/nodes/{id}", 24, Op(Node(NodeOp::Inspect))),
    row(Delete, "/nodes/{id}", 24, Op(Node(NodeOp::Remove))),
    row(Post, "/nodes/{id}/update", 24, Op(Node(NodeOp::Update))),
    // services
    row(Get, "/services", 24, Op(Service(ServiceOp::List))),
    row(Post, "/services/create", 24, Op(Service(ServiceOp::Create))),
    row(Get, "/services/{id}", 24, Op(Service(ServiceOp::Inspect))),
    row(Delete, "/services/{id}", 24, Op(Service(ServiceOp::Remove))),
    row(Post, "/services/{id}/update", 24, Op(Service(ServiceOp::Update))),
    row(Get, "/services/{id}/logs", 29, Op(Service(ServiceOp::Logs))),
    row(Get, "/tasks", 24, Op(Service(ServiceOp::ListTasks))),
    row(Get, "/tasks/{id}", 24, Op(Service(ServiceOp::InspectTask))),
    row(Get, "/tasks/{id}/logs", 29, Op(Service(ServiceOp::TaskLogs))),
    // secrets and configs
    row(Get, "/secrets", 25, Op(Secret(SecretOp::List))),
    row(Post, "/secrets/create", 25, Op(Secret(SecretOp::Create))),
    row(Get, "/secrets/{id}", 25, Op(Secret(SecretOp::Inspect))),
    row(Delete, "/secrets/{id}", 25, Op(Secret(SecretOp::Remove))),
    row(Post, "/secrets/{id}/update", 25, Op(Secret(SecretOp::Update))),
    row(Get, "/configs", 30, Op(Config(ConfigOp::List))),
    row(Post, "/configs/create", 30, Op(Config(ConfigOp::Create))),
    row(Get, "/configs/{id}", 30, Op(Config(ConfigOp::Inspect))),
    row(Delete, "/configs/{id}", 30, Op(Config(ConfigOp::Remove))),
    row(Post, "/configs/{id}/update", 30, Op(Config(ConfigOp::Update))),
    // networks
    row(Get, "/networks", 24, Op(Network(NetworkOp::List))),
    row(Post, "/networks/create", 24, Op(Network(NetworkOp::Create))),
    row(Post, "/networks/prune", 25, Op(Network(NetworkOp::Prune))),
    row(Get, "/networks/{id}", 24, Op(Network(NetworkOp::Inspect))),
    row(Delete, "/networks/{id}", 24, Op(Network(NetworkOp::Remove))),
    row(Get, "/shoal/lvs", 24, Op(Network(NetworkOp::VirtualServices))),
    row(Post, "/networks/{id}/connect", 24, Unbuilt("attaching single containers to networks")),
    row(Post, "/networks/{id}/disconnect", 24, Unbuilt("detaching single containers from networks")),
    // containers
    row(Get, "/containers/json", 24, Op(Container(ContainerOp::List))),
    row(
        Post,
        "/containers/create",
        24,
        Unbuilt("making single containers (docker run, docker create); make a service instead"),
    ),
    row(Post, "/containers/prune", 25, Op(Container(ContainerOp::Prune))),
    row(Get, "/containers/{id}/json", 24, Op(Container(ContainerOp::Inspect))),
    row(Delete, "/containers/{id}", 24, Op(Container(ContainerOp::Remove))),
    row(Post, "/containers/{id}/start", 24, Op(Container(ContainerOp::Start))),
    row(Post, "/containers/{id}/stop", 24, Op(Container(ContainerOp::Stop))),
    row(Post, "/containers/{id}/restart", 24, Op(Container(ContainerOp::Restart))),
    row(Post, "/containers/{id}/kill", 24, Op(Container(ContainerOp::Kill))),
    row(Post, "/containers/{id}/wait", 24, Op(Container(ContainerOp::Wait))),
    row(Post, "/containers/{id}/resize", 24, Op(Container(ContainerOp::Resize))),
    row(Get, "/containers/{id}/top", 24, Op(Container(ContainerOp::Top))),
    row(Get, "/containers/{id}/stats", 24, Op(Container(ContainerOp::Stats))),
    row(Get, "/containers/{id}/logs", 24, Op(Container(ContainerOp::Logs))),
    row(Post, "/containers/{id}/exec", 24, Op(Exec(ExecOp::Create))),
    row(Post, "/containers/{id}/attach", 24, Unbuilt("attaching to a container's first process")),
    row(Get, "/containers/{id}/attach/ws", 24, Unbuilt("attaching to a container by web socket")),
    row(Get, "/containers/{id}/changes", 24, Unbuilt("listing the changes in a container's file system")),
    row(Get, "/containers/{id}/export", 24, Unbuilt("exporting a container's file system")),
    row(
        Head,
        "/containers/{id}/archive",
        24,
        Unbuilt("copying files out of and into containers (docker cp)"),
    ),
    row(Get, "/containers/{id}/archive", 24, Unbuilt("copying files out of containers (docker cp)")),
    row(Put, "/containers/{id}/archive", 24, Unbuilt("copying files into containers (docker cp)")),
    row(Post, "/containers/{id}/rename", 24, Unbuilt("renaming containers")),
    row(Post, "/containers/{id}/pause", 24, Unbuilt("pausing containers")),
    row(Post, "/containers/{id}/unpause", 24, Unbuilt("unpausing containers")),
    row(Post, "/containers/{id}/update", 24, Unbuilt("changing the bounds of running containers")),
    row(Get, "/containers/{id}/checkpoints", 25, Unbuilt("checkpoints of containers")),
    row(Post, "/containers/{id}/checkpoints", 25, Unbuilt("checkpoints of containers")),
    row(Delete, "/containers/{id}/checkpoints/{checkpoint}", 25, Unbuilt("checkpoints of containers")),
    row(Post, "/commit", 24, Unbuilt("making images of containers (docker commit)")),
    // exec
    row(Post, "/exec/{id}/start", 24, Op(Exec(ExecOp::Start))),
    row(Post, "/exec/{id}/resize", 24, Op(Exec(ExecOp::Resize))),
    row(Get, "/exec/{id}/json", 24, Op(Exec(ExecOp::Inspect))),
    // images
    row(Get, "/images/json", 24, Op(Image(ImageOp::List))),
    row(Get, "/images/search", 24, Unbuilt("searching registries")),
    row(Get, "/images/get", 24, Op(Image(ImageOp::SaveMany))),
    row(Post, "/images/create", 24, Op(Image(ImageOp::Create))),
    row(Post, "/images/load", 24, Op(Image(ImageOp::Load))),
    row(Post, "/images/prune", 25, Op(Image(ImageOp::Prune))),
    row(Get, "/images/{name..}/json", 24, Op(Image(ImageOp::Inspect))),
    row(Get, "/images/{name..}/history", 24, Op(Image(ImageOp::History))),
    row(Get, "/images/{name..}/get", 24, Op(Image(ImageOp::Save))),
    row(Post, "/images/{name..}/tag", 24, Op(Image(ImageOp::Tag))),
    row(Post, "/images/{name..}/push", 24, Op(Image(ImageOp::Push))),
    row(Delete, "/images/{name..}", 24, Op(Image(ImageOp::Remove))),
    row(Get, "/distribution/{name..}/json", 30, Op(Image(ImageOp::Distribution))),
    row(Post, "/build", 24, Unbuilt("building images; build elsewhere and docker load, import or pull them")),
    row(Post, "/build/prune", 31, Op(Image(ImageOp::PruneBuilds))),
    row(Post, "/build/cancel", 39, Unbuilt("building images")),
    row(Post, "/session", 31, Unbuilt("building images")),
    row(Post, "/grpc", 24, Unbuilt("building images")),
    // volumes
    row(Get, "/volumes", 24, Op(Volume(VolumeOp::List))),
    row(Post, "/volumes/create", 24, Unbuilt("making volumes by hand (services make theirs themselves)")),
    row(Post, "/volumes/prune", 25, Op(Volume(VolumeOp::Prune))),
    row(Get, "/volumes/{name}", 24, Op(Volume(VolumeOp::Inspect))),
    row(Put, "/volumes/{name}", 42, Unbuilt("cluster volumes")),
    row(Delete, "/volumes/{name}", 24, Op(Volume(VolumeOp::Remove))),
    // plugins
    row(Get, "/plugins/privileges", 25, Unbuilt("plugins of any kind")),
    row(Get, "/plugins/{name..}/json", 25, Op(System(SystemOp::InspectPlugin))),
    row(Post, "/plugins/pull", 25, Unbuilt("plugins of any kind")),
    row(Post, "/plugins/create", 25, Unbuilt("plugins of any kind")),
    row(Post, "/plugins/{name..}/enable", 25, Unbuilt("plugins of any kind")),
    row(Post, "/plugins/{name..}/disable", 25, Unbuilt("plugins of any kind")),
    row(Post, "/plugins/{name..}/upgrade", 26, Unbuilt("plugins of any kind")),
    row(Post, "/plugins/{name..}/push", 25, Unbuilt("plugins of any kind")),
    row(Post, "/plugins/{name..}/set", 25, Unbuilt("plugins of any kind")),
    row(Delete, "/plugins/{name..}", 25, Unbuilt("plugins of any kind")),
];
