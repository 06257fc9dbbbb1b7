//! `GET /info`, `GET /version` and `GET /system/df`.

use crate::container::Container;
use crate::image::Image;
use crate::swarm::SwarmInfo;
use crate::system::{DiskUsage, SystemFacts};
use crate::version::{MAX, MIN};
use serde_json::{Value, json};
use shoal_model::Timestamp;

/// The only container runtime.
pub const RUNTIME: &str = "libcontainer";

/// Network drivers that a node offers.
pub const NETWORK_DRIVERS: [&str; 4] = ["bridge", "host", "null", "overlay"];

/// Answer of `GET /info`.
pub fn info(facts: &SystemFacts, swarm: &SwarmInfo, now: Timestamp) -> Value {
    let mut body = json!({
        "ID": facts.id,
        "Containers": facts.containers_running + facts.containers_paused + facts.containers_stopped,
        "ContainersRunning": facts.containers_running,
        "ContainersPaused": facts.containers_paused,
        "ContainersStopped": facts.containers_stopped,
        "Images": facts.images,
        "Driver": facts.storage_driver,
        "DriverStatus": facts.storage_status.iter().map(|(k, v)| [k, v]).collect::<Vec<_>>(),
        "Plugins": {
            "Volume": ["local"],
            "Network": NETWORK_DRIVERS,
            "Authorization": null,
            "Log": ["json-file"],
        },
    });
    for part in [capabilities(facts, now), machine(facts), programs(facts, swarm)] {
        if let (Some(map), Value::Object(part)) = (body.as_object_mut(), part) {
            map.extend(part);
        }
    }
    body
}

fn capabilities(facts: &SystemFacts, now: Timestamp) -> Value {
    json!({
        "MemoryLimit": facts.memory_limit,
        "SwapLimit": facts.swap_limit,
        "CpuCfsPeriod": facts.cpu_quota,
        "CpuCfsQuota": facts.cpu_quota,
        "CPUShares": facts.cpu_quota,
        "CPUSet": facts.cpu_set,
        "PidsLimit": facts.pids_limit,
        "IPv4Forwarding": facts.ipv4_forwarding,
        "BridgeNfIptables": true,
        "BridgeNfIp6tables": true,
        "Debug": facts.debug,
        "NFd": facts.file_descriptors,
        "OomKillDisable": false,
        "NGoroutines": facts.async_tasks,
        "SystemTime": now,
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": facts.cgroup_version.to_string(),
        "NEventsListener": facts.event_listeners,
    })
}

fn machine(facts: &SystemFacts) -> Value {
    let insecure: Vec<&str> = std::iter::once("127.0.0.0/8")
        .chain(facts.insecure_registries.iter().map(String::as_str).filter(|r| *r != "127.0.0.0/8"))
        .collect();
    json!({
        "KernelVersion": facts.kernel_version,
        "OperatingSystem": facts.operating_system,
        "OSVersion": facts.os_version,
        "OSType": "linux",
        "Architecture": facts.architecture,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {
            "AllowNondistributableArtifactsCIDRs": null,
            "AllowNondistributableArtifactsHostnames": null,
            "InsecureRegistryCIDRs": insecure,
            "IndexConfigs": {
                "docker.io": {"Name": "docker.io", "Mirrors": [], "Secure": true, "Official": true},
            },
            "Mirrors": null,
        },
        "NCPU": facts.cpus,
        "MemTotal": facts.memory_bytes,
        "GenericResources": null,
        "DockerRootDir": facts.data_root,
        "HttpProxy": facts.http_proxy,
        "HttpsProxy": facts.https_proxy,
        "NoProxy": facts.no_proxy,
        "Name": facts.name,
        "Labels": facts.labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(),
    })
}

fn programs(facts: &SystemFacts, swarm: &SwarmInfo) -> Value {
    let mut body = json!({
        "ExperimentalBuild": false,
        "ServerVersion": facts.version,
        "Runtimes": {RUNTIME: {"path": ""}},
        "DefaultRuntime": RUNTIME,
        "Swarm": swarm,
        "LiveRestoreEnabled": true,
        "Isolation": "",
        "InitBinary": "",
        "ContainerdCommit": {"ID": ""},
        "RuncCommit": {"ID": facts.runtime_version},
        "InitCommit": {"ID": ""},
        "SecurityOptions": ["name=cgroupns"],
    });
    let Some(map) = body.as_object_mut() else { return body };
    if !facts.default_addr_pools.is_empty() {
        let pools = facts.default_addr_pools.iter();
        let shown: Vec<Value> =
            pools.map(|(base, size)| json!({"Base": base.to_string(), "Size": size})).collect();
        map.insert("DefaultAddressPools".to_owned(), Value::Array(shown));
    }
    map.insert("FirewallBackend".to_owned(), json!({"Driver": facts.balancer}));
    map.insert("CDISpecDirs".to_owned(), json!([]));
    map.insert("Warnings".to_owned(), json!((!facts.warnings.is_empty()).then_some(&facts.warnings)));
    body
}

/// Answer of `GET /version`.
pub fn version(facts: &SystemFacts) -> Value {
    let arch = go_architecture(&facts.architecture);
    json!({
        "Platform": {"Name": "Shoal"},
        "Components": [
            {
                "Name": "Engine",
                "Version": facts.version,
                "Details": {
                    "ApiVersion": MAX,
                    "Arch": arch,
                    "BuildTime": facts.build_time,
                    "Experimental": "false",
                    "GitCommit": facts.git_commit,
                    "GoVersion": facts.compiler,
                    "KernelVersion": facts.kernel_version,
                    "MinAPIVersion": MIN,
                    "Os": "linux",
                },
            },
            {"Name": RUNTIME, "Version": facts.runtime_version, "Details": {"GitCommit": ""}},
        ],
        "Version": facts.version,
        "ApiVersion": MAX,
        "MinAPIVersion": MIN,
        "GitCommit": facts.git_commit,
        "GoVersion": facts.compiler,
        "Os": "linux",
        "Arch": arch,
        "KernelVersion": facts.kernel_version,
        "BuildTime": facts.build_time,
    })
}

/// Go's name of a processor (`GOARCH`) for the kernel's.
pub fn go_architecture(kernel: &str) -> &str {
    match kernel {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "armv7l" | "armv6l" => "arm",
        "i686" | "i386" => "386",
        "loongarch64" => "loong64",
        other => other,
    }
}

/// Answer of `GET /system/df`.
pub fn disk_usage(
    usage: &DiskUsage,
    images: &[Image],
    containers: &[Container],
    version: crate::ApiVersion,
) -> Value {
    let images: Vec<Value> = images
        .iter()
        .map(|image| {
            let users = containers.iter().filter(|c| c.image_id == image.id).count();
            let counted = Image { containers: u64::try_from(users).ok(), ..image.clone() };
            let mut body = crate::image_body::summary(&counted, version);
            body["SharedSize"] = json!(0);
            body
        })
        .collect();
    let written = |id: &str| usage.container_bytes.iter().find(|(c, _)| c == id).map(|(_, bytes)| *bytes);
    let containers: Vec<Value> = containers
        .iter()
        .map(|container| {
            let sized = Container { size_rw: written(&container.id), ..container.clone() };
            crate::container_body::summary(&sized, usage.at, true)
        })
        .collect();
    json!({
        "LayersSize": usage.layers_bytes,
        "Images": images,
        "Containers": containers,
        "Volumes": [],
        "BuildCache": [],
        "BuilderSize": 0,
    })
}
