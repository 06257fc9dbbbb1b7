//! The daemon and its machine.

use super::Backend;
use crate::entropy;
use crate::machine::ENGINE_VERSION;
use async_trait::async_trait;
use futures::stream::BoxStream;
use shoal_api::backend::System;
use shoal_model::Timestamp;
use shoal_model::assignment::ContainerState;
use shoal_wire::ApiError;
use shoal_wire::event::Event;
use shoal_wire::system::{DiskUsage, SystemFacts};
use std::fs;
use std::path::Path;

#[async_trait]
impl System for Backend {
    fn now(&self) -> Timestamp {
        entropy::now()
    }

    fn system(&self) -> SystemFacts {
        let engine = &self.engine;
        let (machine, config) = (&engine.machine, &engine.config);
        let view = engine.view.borrow().clone();
        let running = view
            .observed
            .containers
            .values()
            .filter(|c| matches!(c.state, ContainerState::Running { .. }))
            .count();
        let counted = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        SystemFacts {
            id: engine.id.clone(),
            name: machine.hostname.clone(),
            version: ENGINE_VERSION.to_owned(),
            git_commit: env!("CARGO_PKG_VERSION").to_owned(),
            build_time: String::new(),
            compiler: format!("shoal {}", env!("CARGO_PKG_VERSION")),
            kernel_version: machine.kernel_version.clone(),
            operating_system: machine.operating_system.clone(),
            os_version: machine.os_version.clone(),
            architecture: machine.architecture.clone(),
            cpus: machine.cpus,
            memory_bytes: machine.memory_bytes,
            labels: config.labels.clone(),
            data_root: config.data_root.to_string_lossy().into_owned(),
            storage_driver: "overlay2".to_owned(),
            storage_status: vec![
                ("Backing Filesystem".to_owned(), machine.backing_filesystem.clone()),
                ("Supports d_type".to_owned(), "true".to_owned()),
            ],
            cgroup_version: machine.cgroup_version,
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
            balancer: engine.with_virtual_server(|server| server.name().to_owned()),
            containers_running: counted(running),
            containers_paused: 0,
            containers_stopped: counted(view.observed.containers.len() - running),
            images: counted(self.image_count()),
            ipv4_forwarding: fs::read_to_string("/proc/sys/net/ipv4/ip_forward")
                .is_ok_and(|v| v.trim() == "1"),
            memory_limit: machine.controllers.memory,
            swap_limit: machine.controllers.swap,
            cpu_quota: machine.controllers.cpu,
            cpu_set: machine.controllers.cpuset,
            pids_limit: machine.controllers.pids,
            debug: tracing::enabled!(tracing::Level::DEBUG),
            file_descriptors: counted(fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)),
            async_tasks: counted(tokio::runtime::Handle::current().metrics().num_alive_tasks()),
            event_listeners: engine.events.listeners(),
            default_addr_pools: config.pools.iter().map(|p| (p.base, p.size)).collect(),
            insecure_registries: config.insecure_registries.clone(),
            http_proxy: variable("HTTP_PROXY"),
            https_proxy: variable("HTTPS_PROXY"),
            no_proxy: variable("NO_PROXY"),
            warnings: engine.balancer.fallback.iter().map(|why| fallback_warning(why)).collect(),
        }
    }

    async fn disk_usage(&self) -> Result<DiskUsage, ApiError> {
        let engine = self.engine.clone();
        super::blocking(move || {
            let records = engine.records.all().map_err(super::internal)?;
            let written = |id: &str| size_below(&engine.records.directory(id).join("upper"));
            let container_bytes = records.iter().map(|r| (r.id.clone(), written(&r.id))).collect();
            let layers_bytes = size_below(&engine.config.data_root.join("images"));
            Ok(DiskUsage { layers_bytes, container_bytes, at: entropy::now() })
        })
        .await
    }

    fn events(&self, since: Option<Timestamp>) -> BoxStream<'static, Event> {
        self.engine.events.listen(since)
    }
}

impl Backend {
    fn image_count(&self) -> usize {
        let images = self.engine.images.clone();
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(images.list())).len()
    }
}

/// What `docker info` says where the usual engine does not run.
fn fallback_warning(why: &str) -> String {
    format!("balancing with nft, as the ebpf engine does not run: {why}")
}

/// Bytes of all files below a directory; what vanishes meanwhile is not counted.
fn size_below(directory: &Path) -> u64 {
    let mut bytes = 0;
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(data) if data.is_dir() => directories.push(entry.path()),
                Ok(data) => bytes += data.len(),
                Err(_vanished) => {}
            }
        }
    }
    bytes
}
