//! Containers as Docker shows them; key order and null-or-empty follow moby 28.

use crate::ApiVersion;
use crate::container::{
    Container, ContainerNetwork, ContainerState, ContainerUsage, Health, InterfaceUsage, ProcessTable,
    WaitOutcome,
};
use crate::status_text::{container_status, state_word};
use serde_json::{Map, Value, json};
use shoal_model::spec::{Mount, MountKind, PortConfig};
use shoal_model::{Timestamp, spec::PublishMode};

/// An entry of `GET /containers/json`. `size` adds the sizes, where they were measured.
pub fn summary(container: &Container, now: Timestamp, size: bool) -> Value {
    let mut body = json!({
        "Id": container.id,
        "Names": [format!("/{}", container.name)],
        "Image": container.image,
        "ImageID": container.image_id,
        "Command": container.command.join(" "),
        "Created": container.created.unix_seconds(),
        "Ports": container.ports.iter().flat_map(port_entries).collect::<Vec<_>>(),
    });
    if let (true, Some(map)) = (size, body.as_object_mut()) {
        map.insert("SizeRw".to_owned(), json!(container.size_rw.unwrap_or(0)));
        map.insert("SizeRootFs".to_owned(), json!(container.size_root_fs.unwrap_or(0)));
    }
    let rest = json!({
        "Labels": container.labels,
        "State": state_word(&container.state),
        "Status": container_status(&container.state, container.health, now),
        "HostConfig": {"NetworkMode": "default"},
        "NetworkSettings": {"Networks": networks(container)},
        "Mounts": mount_points(container),
    });
    if let (Some(map), Value::Object(rest)) = (body.as_object_mut(), rest) {
        map.extend(rest);
    }
    body
}

fn port_entries(port: &PortConfig) -> Vec<Value> {
    let kind = port.transport().to_string();
    if port.mode() != PublishMode::Host || port.published_port == 0 {
        return vec![json!({"PrivatePort": port.target_port, "Type": kind})];
    }
    ["0.0.0.0", "::"]
        .map(|ip| {
            let (private, public) = (port.target_port, port.published_port);
            json!({"IP": ip, "PrivatePort": private, "PublicPort": public, "Type": kind})
        })
        .into()
}

fn port_bindings(ports: &[PortConfig]) -> Map<String, Value> {
    let bound = |port: &PortConfig| {
        if port.mode() != PublishMode::Host || port.published_port == 0 {
            return Value::Null;
        }
        let public = port.published_port.to_string();
        json!([{"HostIp": "0.0.0.0", "HostPort": public}, {"HostIp": "::", "HostPort": public}])
    };
    ports.iter().map(|port| (format!("{}/{}", port.target_port, port.transport()), bound(port))).collect()
}

fn networks(container: &Container) -> Map<String, Value> {
    container.networks.iter().map(|(name, network)| (name.clone(), endpoint_settings(network))).collect()
}

fn endpoint_settings(network: &ContainerNetwork) -> Value {
    let of = |v6: bool| network.addresses.iter().find(|a| a.addr().is_ipv6() == v6).copied();
    let (v4, v6) = (of(false), of(true));
    let address = |net: Option<ipnet::IpNet>| net.map(|n| n.addr().to_string()).unwrap_or_default();
    let gateway =
        |v6: bool| network.gateway.filter(|g| g.is_ipv6() == v6).map(|g| g.to_string()).unwrap_or_default();
    let aliases = if network.aliases.is_empty() { Value::Null } else { json!(network.aliases) };
    json!({
        "IPAMConfig": ipam_config(&network.addresses),
        "Links": null,
        "Aliases": aliases,
        "MacAddress": network.mac.map(|m| m.to_string()).unwrap_or_default(),
        "DriverOpts": null,
        "GwPriority": 0,
        "NetworkID": network.network_id,
        "EndpointID": network.endpoint_id,
        "Gateway": gateway(false),
        "IPAddress": address(v4),
        "IPPrefixLen": v4.map_or(0, |a| a.prefix_len()),
        "IPv6Gateway": gateway(true),
        "GlobalIPv6Address": address(v6),
        "GlobalIPv6PrefixLen": v6.map_or(0, |a| a.prefix_len()),
        "DNSNames": aliases,
    })
}

/// The addresses that the swarm asked for, as the daemon of a task passes them on; nothing without any.
fn ipam_config(addresses: &[ipnet::IpNet]) -> Option<Value> {
    let named = addresses.iter().map(|net| {
        let key = if net.addr().is_ipv4() { "IPv4Address" } else { "IPv6Address" };
        (key.to_owned(), json!(net.addr().to_string()))
    });
    let named: Map<String, Value> = named.collect();
    (!named.is_empty()).then_some(Value::Object(named))
}

fn mount_points(container: &Container) -> Vec<Value> {
    let shown = container.mounts.iter().map(|mount| {
        let kind = match mount.kind {
            MountKind::Volume => "volume",
            MountKind::Bind => "bind",
            MountKind::Tmpfs => "tmpfs",
        };
        json!({
            "Type": kind,
            "Source": mount.source,
            "Destination": mount.target,
            "Mode": "",
            "RW": !mount.read_only,
            "Propagation": if mount.kind == MountKind::Bind { "rprivate" } else { "" },
        })
    });
    shown.collect()
}

/// Answer of `GET /containers/{id}/json`.
pub fn inspect(container: &Container, storage_driver: &str, size: bool) -> Value {
    let program = container.command.first().cloned().unwrap_or_default();
    let arguments = container.command.get(1..).unwrap_or_default();
    let exec_ids = if container.exec_ids.is_empty() { Value::Null } else { json!(container.exec_ids) };
    let mut body = json!({
        "Id": container.id,
        "Created": container.created,
        "Path": program,
        "Args": arguments,
        "State": state(container),
        "Image": container.image_id,
        "ResolvConfPath": container.resolv_conf_path,
        "HostnamePath": container.hostname_path,
        "HostsPath": container.hosts_path,
        "LogPath": container.log_path,
        "Name": format!("/{}", container.name),
        "RestartCount": container.restart_count,
        "Driver": storage_driver,
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": exec_ids,
        "HostConfig": host_config(container),
        "GraphDriver": {"Data": null, "Name": storage_driver},
    });
    let Some(map) = body.as_object_mut() else { return body };
    if size {
        map.insert("SizeRw".to_owned(), json!(container.size_rw.unwrap_or(0)));
        map.insert("SizeRootFs".to_owned(), json!(container.size_root_fs.unwrap_or(0)));
    }
    map.insert("Mounts".to_owned(), json!(mount_points(container)));
    map.insert("Config".to_owned(), config(container));
    map.insert("NetworkSettings".to_owned(), network_settings(container));
    body
}

fn state(container: &Container) -> Value {
    let never = Timestamp::default();
    let (pid, exit_code, finished_at, out_of_memory) = match &container.state {
        ContainerState::Created => (0, 0, never, false),
        ContainerState::Running { pid, .. } => (*pid, 0, never, false),
        ContainerState::Exited { code, finished_at, out_of_memory } => {
            (0, *code, *finished_at, *out_of_memory)
        }
    };
    let mut body = json!({
        "Status": state_word(&container.state),
        "Running": matches!(container.state, ContainerState::Running { .. }),
        "Paused": false,
        "Restarting": false,
        "OOMKilled": out_of_memory,
        "Dead": false,
        "Pid": pid,
        "ExitCode": exit_code,
        "Error": container.error,
        "StartedAt": container.started_at,
        "FinishedAt": finished_at,
    });
    if let (Some(health), Some(map)) = (container.health, body.as_object_mut()) {
        let word = match health {
            Health::Starting => "starting",
            Health::Healthy => "healthy",
            Health::Unhealthy => "unhealthy",
        };
        map.insert("Health".to_owned(), json!({"Status": word, "FailingStreak": 0, "Log": []}));
    }
    body
}

fn binds(mounts: &[Mount]) -> Vec<String> {
    let bound = mounts.iter().filter(|m| m.kind == MountKind::Bind);
    bound.map(|m| format!("{}:{}{}", m.source, m.target, if m.read_only { ":ro" } else { "" })).collect()
}

fn host_config(container: &Container) -> Value {
    let limits = &container.limits;
    let list = |items: &[String]| if items.is_empty() { Value::Null } else { json!(items) };
    let mut body = json!({
        "Binds": list(&binds(&container.mounts)),
        "ContainerIDFile": "",
        "LogConfig": {"Type": "json-file", "Config": {}},
        "NetworkMode": "default",
        "PortBindings": port_bindings(&container.ports).into_iter().filter(|(_, b)| !b.is_null())
            .collect::<Map<_, _>>(),
        "RestartPolicy": {"Name": "", "MaximumRetryCount": 0},
        "AutoRemove": false,
        "VolumeDriver": "",
        "VolumesFrom": null,
        "ConsoleSize": [0, 0],
        "CapAdd": list(&limits.cap_add),
        "CapDrop": list(&limits.cap_drop),
        "CgroupnsMode": "private",
        "Dns": null,
        "DnsOptions": null,
        "DnsSearch": null,
        "ExtraHosts": null,
        "GroupAdd": null,
        "IpcMode": "private",
        "Cgroup": "",
        "Links": null,
        "OomScoreAdj": limits.oom_score_adj,
        "PidMode": "",
        "Privileged": false,
        "PublishAllPorts": false,
        "ReadonlyRootfs": limits.read_only_root,
        "SecurityOpt": null,
        "UTSMode": "",
        "UsernsMode": "",
        "ShmSize": 67_108_864,
    });
    let Some(map) = body.as_object_mut() else { return body };
    if !limits.sysctls.is_empty() {
        map.insert("Sysctls".to_owned(), json!(limits.sysctls));
    }
    if let Value::Object(rest) = resources(container) {
        map.extend(rest);
    }
    body
}

fn resources(container: &Container) -> Value {
    let limits = &container.limits;
    json!({
        "Runtime": crate::info::RUNTIME,
        "Isolation": "",
        "CpuShares": 0,
        "Memory": limits.memory_bytes,
        "NanoCpus": limits.nano_cpus,
        "CgroupParent": "",
        "BlkioWeight": 0,
        "BlkioWeightDevice": null,
        "BlkioDeviceReadBps": null,
        "BlkioDeviceWriteBps": null,
        "BlkioDeviceReadIOps": null,
        "BlkioDeviceWriteIOps": null,
        "CpuPeriod": 0,
        "CpuQuota": 0,
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": "",
        "CpusetMems": "",
        "Devices": null,
        "DeviceCgroupRules": null,
        "DeviceRequests": null,
        "MemoryReservation": 0,
        "MemorySwap": 0,
        "MemorySwappiness": null,
        "OomKillDisable": null,
        "PidsLimit": (limits.pids != 0).then_some(limits.pids),
        "Ulimits": (!limits.ulimits.is_empty()).then_some(&limits.ulimits),
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
        "Init": limits.init,
    })
}

fn config(container: &Container) -> Value {
    let exposed: Map<String, Value> = container
        .ports
        .iter()
        .map(|port| (format!("{}/{}", port.target_port, port.transport()), json!({})))
        .collect();
    let list = |items: &[String]| if items.is_empty() { Value::Null } else { json!(items) };
    let mut body = json!({
        "Hostname": container.hostname,
        "Domainname": "",
        "User": container.user,
        "AttachStdin": false,
        "AttachStdout": false,
        "AttachStderr": false,
    });
    let Some(map) = body.as_object_mut() else { return body };
    if !exposed.is_empty() {
        map.insert("ExposedPorts".to_owned(), Value::Object(exposed));
    }
    let rest = json!({
        "Tty": container.tty,
        "OpenStdin": container.open_stdin,
        "StdinOnce": false,
        "Env": container.env,
        "Cmd": list(&container.cmd),
        "Image": container.image,
        "Volumes": null,
        "WorkingDir": container.working_dir,
        "Entrypoint": list(&container.entrypoint),
        "OnBuild": null,
        "Labels": container.labels,
    });
    if let Value::Object(rest) = rest {
        map.extend(rest);
    }
    if !container.stop_signal.is_empty() {
        map.insert("StopSignal".to_owned(), json!(container.stop_signal));
    }
    body
}

fn network_settings(container: &Container) -> Value {
    json!({
        "Bridge": "",
        "SandboxID": crate::network::endpoint_id("sandbox", &container.id),
        "SandboxKey": container.sandbox_key,
        "Ports": port_bindings(&container.ports),
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null,
        "EndpointID": "",
        "Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "MacAddress": "",
        "Networks": networks(container),
    })
}

/// Answer of `POST /containers/{id}/wait`.
pub fn wait(outcome: &WaitOutcome) -> Value {
    match &outcome.error {
        Some(error) => json!({"StatusCode": outcome.status_code, "Error": {"Message": error}}),
        None => json!({"StatusCode": outcome.status_code}),
    }
}

/// Answer of `GET /containers/{id}/top`.
pub fn top(table: &ProcessTable) -> Value {
    json!({"Processes": table.rows, "Titles": table.titles})
}

/// One object of `GET /containers/{id}/stats`. `before` is the reading before, if there is one.
pub fn stats(
    container: &Container,
    usage: &ContainerUsage,
    before: Option<&ContainerUsage>,
    version: ApiVersion,
) -> Value {
    let block = |op: &str, value: u64| json!({"major": 0, "minor": 0, "op": op, "value": value});
    let name = if version >= ApiVersion::minor(21) { format!("/{}", container.name) } else { String::new() };
    let interfaces: Map<String, Value> =
        usage.interfaces.iter().map(|(name, traffic)| (name.clone(), interface(traffic))).collect();
    json!({
        "name": name,
        "id": container.id,
        "read": usage.at,
        "preread": before.map_or(Timestamp::default(), |b| b.at),
        "pids_stats": {"current": usage.pids, "limit": usage.pids_limit},
        "blkio_stats": {
            "io_service_bytes_recursive":
                [block("read", usage.block_read_bytes), block("write", usage.block_write_bytes)],
            "io_serviced_recursive": null,
            "io_queue_recursive": null,
            "io_service_time_recursive": null,
            "io_wait_time_recursive": null,
            "io_merged_recursive": null,
            "io_time_recursive": null,
            "sectors_recursive": null,
        },
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": cpu(usage),
        "precpu_stats": before.map_or_else(|| cpu(&ContainerUsage::default()), cpu),
        "memory_stats": {
            "usage": usage.memory_bytes,
            "stats": {"inactive_file": usage.memory_inactive_file_bytes},
            "limit": usage.memory_limit_bytes,
        },
        "networks": interfaces,
    })
}

fn cpu(usage: &ContainerUsage) -> Value {
    json!({
        "cpu_usage": {
            "total_usage": usage.cpu_nanos,
            "usage_in_kernelmode": usage.cpu_kernel_nanos,
            "usage_in_usermode": usage.cpu_user_nanos,
        },
        "system_cpu_usage": usage.system_cpu_nanos,
        "online_cpus": usage.cpus,
        "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
    })
}

fn interface(traffic: &InterfaceUsage) -> Value {
    json!({
        "rx_bytes": traffic.rx_bytes,
        "rx_packets": traffic.rx_packets,
        "rx_errors": traffic.rx_errors,
        "rx_dropped": traffic.rx_dropped,
        "tx_bytes": traffic.tx_bytes,
        "tx_packets": traffic.tx_packets,
        "tx_errors": traffic.tx_errors,
        "tx_dropped": traffic.tx_dropped,
    })
}
