//! From a task and an image to the container that the runtime makes. No input or output: what must be read is handed in.

use crate::record::Record;
use shoal_model::assignment::{Assignment, TaskAssignment};
use shoal_model::dns;
use shoal_model::spec::{ContainerSpec, FileTarget, MountKind, PortConfig};
use shoal_model::{NodeId, Timestamp};
use shoal_runtime::{BindMount, FileMount, Limits, RootFs};
use shoal_wire::image::{Image, ImageConfig};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Annotation that names a container's task.
pub(crate) const TASK_ANNOTATION: &str = "shoal.task";

/// What besides the task goes into its container.
pub(crate) struct Surroundings<'a> {
    pub(crate) assignment: &'a Assignment,
    pub(crate) node: &'a NodeId,
    pub(crate) node_hostname: &'a str,
    pub(crate) image: &'a Image,
    /// Unpacked layers, topmost first.
    pub(crate) layers: Vec<PathBuf>,
    /// The container's directory.
    pub(crate) directory: &'a Path,
    /// Where named volumes are.
    pub(crate) volumes: &'a Path,
    /// File of the sandbox's namespace.
    pub(crate) sandbox: PathBuf,
    pub(crate) log_path: PathBuf,
    pub(crate) now: Timestamp,
}

/// Why a task's spec cannot be carried out; trying again does not help.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpecError {
    #[error("no command specified")]
    NoCommand,
    #[error("invalid mount config for type \"bind\": bind source path does not exist: {0}")]
    BindSource(String),
    #[error("invalid mount config: the target {0:?} is not an absolute path")]
    MountTarget(String),
    #[error("secret {0} is not there")]
    Secret(String),
    #[error("config {0} is not there")]
    Config(String),
    #[error("invalid owner {0:?} of a secret or config: a number is needed")]
    Owner(String),
}

impl SpecError {
    /// Whether another try may help: secrets and configs are in memory only, and come back with the managers.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Secret(_) | Self::Config(_))
    }
}

/// The container of a task: its record, and what the runtime is asked for.
pub(crate) fn build(
    task: &TaskAssignment,
    id: &str,
    around: &Surroundings<'_>,
) -> Result<(Record, shoal_runtime::ContainerSpec), SpecError> {
    let spec = task.spec.container();
    let fill = |text: &str| shoal_agent::template::fill(text, task, around.node, around.node_hostname);
    let (entrypoint, cmd) = command(&spec, &around.image.config);
    let args: Vec<String> = entrypoint.iter().chain(&cmd).cloned().collect();
    if args.is_empty() {
        return Err(SpecError::NoCommand);
    }
    let hostname =
        if spec.hostname.is_empty() { id.chars().take(12).collect() } else { fill(&spec.hostname) };
    let env = merged_env(&around.image.config.env, &spec.env.iter().map(|e| fill(e)).collect::<Vec<_>>());
    let record = record(task, id, around, &spec, (entrypoint, cmd), (&env, &hostname));
    let runtime_spec = shoal_runtime::ContainerSpec {
        id: id.to_owned(),
        annotations: [(TASK_ANNOTATION.to_owned(), task.id.to_string())].into(),
        rootfs: RootFs {
            lowers: around.layers.clone(),
            upper: around.directory.join("upper"),
            work: around.directory.join("work"),
        },
        network_namespace: Some(around.sandbox.clone()),
        hostname: hostname.clone(),
        args,
        env,
        cwd: record.working_dir.clone(),
        user: record.user.clone(),
        groups: spec.groups.clone(),
        terminal: spec.tty,
        open_stdin: spec.open_stdin,
        read_only: spec.read_only,
        mounts: mounts(&spec, around.volumes)?,
        files: files(task, &spec, around, &hostname)?,
        limits: limits(task),
        capabilities_add: spec.capability_add.clone(),
        capabilities_drop: spec.capability_drop.clone(),
        sysctls: spec.sysctls.clone(),
        ulimits: spec.ulimits.clone(),
        oom_score_adj: spec.oom_score_adj,
        init: spec.init.unwrap_or(false),
        log_path: around.log_path.clone(),
        stop_signal: record.stop_signal.clone(),
        ..shoal_runtime::ContainerSpec::default()
    };
    Ok((record, runtime_spec))
}

/// Docker's rule: an own entrypoint drops the image's command; own arguments replace it.
fn command(spec: &ContainerSpec, image: &ImageConfig) -> (Vec<String>, Vec<String>) {
    let entrypoint = if spec.command.is_empty() { image.entrypoint.clone() } else { spec.command.clone() };
    let cmd = if !spec.args.is_empty() {
        spec.args.clone()
    } else if spec.command.is_empty() {
        image.cmd.clone()
    } else {
        Vec::new()
    };
    (entrypoint, cmd)
}

fn merged_env(image: &[String], own: &[String]) -> Vec<String> {
    let key = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    let mut env: Vec<String> =
        image.iter().filter(|i| !own.iter().any(|o| key(o) == key(i))).cloned().collect();
    // A name without a value takes the variable away, as with Docker.
    env.extend(own.iter().filter(|pair| pair.contains('=')).cloned());
    env
}

fn record(
    task: &TaskAssignment,
    id: &str,
    around: &Surroundings<'_>,
    spec: &ContainerSpec,
    (entrypoint, cmd): (Vec<String>, Vec<String>),
    (env, hostname): (&[String], &str),
) -> Record {
    let image = &around.image.config;
    let or = |own: &str, images: &str| if own.is_empty() { images.to_owned() } else { own.to_owned() };
    let mut labels = image.labels.clone();
    labels.extend(spec.labels.clone());
    labels.extend([
        ("com.docker.swarm.node.id".to_owned(), around.node.to_string()),
        ("com.docker.swarm.service.id".to_owned(), task.service.to_string()),
        ("com.docker.swarm.service.name".to_owned(), task.service_name.clone()),
        ("com.docker.swarm.task".to_owned(), String::new()),
        ("com.docker.swarm.task.id".to_owned(), task.id.to_string()),
        ("com.docker.swarm.task.name".to_owned(), task.container_name.clone()),
    ]);
    let networks = &around.assignment.networks;
    Record {
        id: id.to_owned(),
        name: task.container_name.clone(),
        created: around.now,
        task: task.id.clone(),
        service: task.service.clone(),
        node: around.node.clone(),
        image: spec.image.clone(),
        image_id: around.image.id.clone(),
        entrypoint,
        cmd,
        env: env.to_vec(),
        working_dir: or(&spec.dir, &image.working_dir),
        user: or(&spec.user, &image.user),
        hostname: hostname.to_owned(),
        labels,
        stop_signal: or(&spec.stop_signal, &image.stop_signal),
        exposed: exposed(image, task),
        mounts: spec.mounts.clone(),
        healthcheck: spec.healthcheck.clone().or_else(|| image.healthcheck.clone()),
        spec: task.spec.clone(),
        attachments: task.attachments.clone(),
        network_names: networks.iter().map(|(id, n)| (id.clone(), n.network.spec.name.clone())).collect(),
    }
}

/// Ports that the image exposes, and host-mode ports with their numbers.
fn exposed(image: &ImageConfig, task: &TaskAssignment) -> Vec<PortConfig> {
    let parse = |text: &String| {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol {
            "udp" => shoal_model::spec::Protocol::Udp,
            "sctp" => shoal_model::spec::Protocol::Sctp,
            _ => shoal_model::spec::Protocol::Tcp,
        };
        Some(PortConfig {
            protocol: Some(protocol),
            target_port: port.parse().ok()?,
            ..PortConfig::default()
        })
    };
    let hosted = |p: &PortConfig| {
        task.host_ports.iter().any(|h| h.target_port == p.target_port && h.transport() == p.transport())
    };
    let exposed = image.exposed_ports.iter().filter_map(parse).filter(|p| !hosted(p));
    exposed.chain(task.host_ports.iter().cloned()).collect()
}

fn limits(task: &TaskAssignment) -> Limits {
    let resources = task.spec.resources.clone().unwrap_or_default();
    let limits = resources.limits.unwrap_or_default();
    let positive = |n: i64| u64::try_from(n).ok().filter(|n| *n > 0);
    Limits {
        memory_bytes: positive(limits.memory_bytes),
        memory_reservation_bytes: positive(resources.reservations.unwrap_or_default().memory_bytes),
        nano_cpus: positive(limits.nano_cpus),
        pids: positive(limits.pids),
        ..Limits::default()
    }
}

fn mounts(spec: &ContainerSpec, volumes: &Path) -> Result<Vec<BindMount>, SpecError> {
    let one = |mount: &shoal_model::spec::Mount| {
        if !mount.target.starts_with('/') {
            return Err(SpecError::MountTarget(mount.target.clone()));
        }
        let (kind, source) = match mount.kind {
            MountKind::Tmpfs => (shoal_runtime::MountKind::Tmpfs, PathBuf::new()),
            MountKind::Volume => (shoal_runtime::MountKind::Bind, volumes.join(&mount.source).join("_data")),
            MountKind::Bind if !Path::new(&mount.source).exists() => {
                return Err(SpecError::BindSource(mount.source.clone()));
            }
            MountKind::Bind => (shoal_runtime::MountKind::Bind, PathBuf::from(&mount.source)),
        };
        Ok(BindMount {
            kind,
            source,
            target: mount.target.clone(),
            read_only: mount.read_only,
            options: Vec::new(),
        })
    };
    spec.mounts.iter().map(one).collect()
}

fn files(
    task: &TaskAssignment,
    spec: &ContainerSpec,
    around: &Surroundings<'_>,
    hostname: &str,
) -> Result<Vec<FileMount>, SpecError> {
    let plain = |target: &str, content: String| FileMount {
        target: target.to_owned(),
        content: content.into_bytes(),
        mode: 0o644,
        ..FileMount::default()
    };
    let mut files = vec![
        plain("/etc/hostname", format!("{hostname}\n")),
        plain("/etc/hosts", hosts(task, spec, around.assignment, hostname)),
        plain("/etc/resolv.conf", resolv_conf(spec)),
    ];
    for reference in &spec.secrets {
        let stored = around.assignment.secrets.get(reference.secret_id.as_str());
        let stored = stored.ok_or_else(|| SpecError::Secret(reference.secret_name.clone()))?;
        files.push(data_file(
            reference.file.as_ref(),
            &reference.secret_name,
            "/run/secrets",
            &stored.spec.data,
        )?);
    }
    for reference in &spec.configs {
        let stored = around.assignment.configs.get(reference.config_id.as_str());
        let stored = stored.ok_or_else(|| SpecError::Config(reference.config_name.clone()))?;
        files.push(data_file(reference.file.as_ref(), &reference.config_name, "", &stored.spec.data)?);
    }
    Ok(files)
}

fn data_file(
    target: Option<&FileTarget>,
    name: &str,
    directory: &str,
    data: &[u8],
) -> Result<FileMount, SpecError> {
    let default = FileTarget { name: name.to_owned(), mode: 0o444, ..FileTarget::default() };
    let target = target.unwrap_or(&default);
    let number = |text: &str| match text {
        "" => Ok(0),
        _ => text.parse::<u32>().map_err(|_| SpecError::Owner(text.to_owned())),
    };
    let path = if target.name.starts_with('/') {
        target.name.clone()
    } else {
        format!("{directory}/{}", target.name)
    };
    Ok(FileMount {
        target: path,
        content: data.to_vec(),
        mode: target.mode,
        uid: number(&target.uid)?,
        gid: number(&target.gid)?,
        read_only: true,
    })
}

/// `/etc/hosts`: the usual names, those asked for, and the container's own on its first network besides ingress, once for
/// each family.
fn hosts(task: &TaskAssignment, spec: &ContainerSpec, assignment: &Assignment, hostname: &str) -> String {
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
        ff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
        .to_owned();
    for line in &spec.hosts {
        text.push_str(&line.split_whitespace().collect::<Vec<_>>().join("\t"));
        text.push('\n');
    }
    let ingress = |id| assignment.networks.get(id).is_some_and(|n| n.network.spec.ingress);
    let mut own = task.attachments.iter().filter(|a| !ingress(&a.network)).chain(&task.attachments);
    for address in own.next().into_iter().flat_map(|a| &a.addresses) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}\t{hostname}", address.addr());
    }
    text
}

fn resolv_conf(spec: &ContainerSpec) -> String {
    let config = spec.dns_config.clone().unwrap_or_default();
    let mut text = String::new();
    if !config.search.is_empty() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "search {}", config.search.join(" "));
    }
    let options = if config.options.is_empty() { "ndots:0".to_owned() } else { config.options.join(" ") };
    let _ = writeln!(text, "nameserver {}\noptions {options}", dns::SERVER_ADDRESS);
    text
}
