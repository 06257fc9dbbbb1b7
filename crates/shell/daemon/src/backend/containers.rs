//! Containers of this host. All of them belong to tasks: what a person does to one, the swarm sees and mends.

use super::{Backend, blocking, internal};
use crate::engine::Engine;
use crate::logs;
use crate::node_loop::chain;
use crate::record::Record;
use crate::steps::{self, signal_number};
use async_trait::async_trait;
use shoal_api::backend::{Containers, ExecIo, StateChange, Stream};
use shoal_model::spec::PublishMode;
use shoal_model::task::Attachment;
use shoal_model::{Mac, Timestamp};
use shoal_runtime::ContainerInfo;
use shoal_wire::ApiError;
use shoal_wire::container::{
    Container, ContainerLimits, ContainerNetwork, ContainerState, ContainerUsage, ProcessTable,
    RemoveOptions, StopOptions, WaitCondition, WaitOutcome,
};
use shoal_wire::exec::{Exec, ExecConfig, ExecStart};
use shoal_wire::logs::{LogLine, LogQuery};
use shoal_wire::network::endpoint_id;
use std::collections::BTreeMap;
use std::time::Duration;

#[async_trait]
impl Containers for Backend {
    async fn containers(&self) -> Result<Vec<Container>, ApiError> {
        let engine = self.engine.clone();
        let execs = self.execs.clone();
        blocking(move || {
            let mut seen: BTreeMap<String, ContainerInfo> = BTreeMap::new();
            for info in engine.runtime.list().map_err(runtime_error)? {
                seen.insert(info.id.clone(), info);
            }
            let records = engine.records.all().map_err(internal)?;
            let present = records.into_iter().filter_map(|record| Some((seen.remove(&record.id)?, record)));
            Ok(present
                .map(|(info, record)| shown(&engine, &record, &info, execs.of_container(&record.id)))
                .collect())
        })
        .await
    }

    async fn start_container(&self, id: &str) -> Result<StateChange, ApiError> {
        let (engine, id) = (self.engine.clone(), id.to_owned());
        blocking(move || {
            let state = engine.runtime.state(&id).map_err(runtime_error)?;
            match state.map(|s| s.state) {
                Some(ContainerState::Running { .. }) => Ok(StateChange::Unchanged),
                Some(ContainerState::Created) => {
                    engine.runtime.start(&id).map_err(runtime_error)?;
                    engine.wake.notify_one();
                    Ok(StateChange::Changed)
                }
                _ => Err(ApiError::conflict(
                    "a swarm task's container runs once: the swarm starts another in its place",
                )),
            }
        })
        .await
    }

    async fn stop_container(&self, id: &str, options: StopOptions) -> Result<StateChange, ApiError> {
        if !self.is_running(id).await? {
            return Ok(StateChange::Unchanged);
        }
        let signal = match options.signal.as_deref().filter(|s| !s.is_empty()) {
            Some(text) => Some(parse_signal(text)?),
            None => None,
        };
        let grace = match options.timeout_seconds {
            Some(seconds) => u64::try_from(seconds).ok().map(Duration::from_secs),
            None => Some(self.stop_grace(id)?),
        };
        let (engine, id) = (self.engine.clone(), id.to_owned());
        self.carry_through(async move {
            let stopped = steps::stop_container(&engine, &id, signal, grace).await;
            engine.wake.notify_one();
            stopped.map_err(|e| internal(format!("{e:#}")))
        })
        .await?;
        Ok(StateChange::Changed)
    }

    async fn restart_container(&self, id: &str, options: StopOptions) -> Result<(), ApiError> {
        // Tasks are one-shot: stopping is what brings the replacement.
        self.stop_container(id, options).await.map(drop)
    }

    async fn kill_container(&self, id: &str, signal: &str) -> Result<(), ApiError> {
        let signal = if signal.is_empty() { nix::libc::SIGKILL } else { parse_signal(signal)? };
        if !self.is_running(id).await? {
            let short: String = id.chars().take(12).collect();
            return Err(ApiError::conflict(format!(
                "cannot kill container: {short}: container {id} is not running"
            )));
        }
        steps::send_signal(&self.engine, id, signal).await.map_err(|e| internal(format!("{e:#}")))
    }

    async fn remove_container(&self, id: &str, options: RemoveOptions) -> Result<(), ApiError> {
        if self.is_running(id).await? {
            if !options.force {
                return Err(ApiError::conflict(format!(
                    "cannot remove container \"{id}\": container is running: stop the container before removing or force remove"
                )));
            }
            let kill = steps::stop_container(
                &self.engine,
                id,
                Some(nix::libc::SIGKILL),
                Some(Duration::from_secs(10)),
            );
            kill.await.map_err(|e| internal(format!("{e:#}")))?;
        }
        let (engine, id) = (self.engine.clone(), id.to_owned());
        blocking(move || {
            steps::remove_container(&engine, &id).map_err(|e| internal(format!("{e:#}")))?;
            engine.wake.notify_one();
            Ok(())
        })
        .await
    }

    async fn wait_container(&self, id: &str, condition: WaitCondition) -> Result<WaitOutcome, ApiError> {
        loop {
            let watch = steps::container_changed(&self.engine, id);
            let (engine, asked) = (self.engine.clone(), id.to_owned());
            let state = blocking(move || engine.runtime.state(&asked).map_err(runtime_error)).await?;
            match state.map(|s| s.state) {
                None => return Ok(WaitOutcome { status_code: 0, error: None }),
                Some(ContainerState::Exited { code, .. }) if condition != WaitCondition::Removed => {
                    return Ok(WaitOutcome { status_code: i64::from(code), error: None });
                }
                Some(ContainerState::Created) if condition == WaitCondition::NotRunning => {
                    return Ok(WaitOutcome { status_code: 0, error: None });
                }
                _ => drop(tokio::time::timeout(Duration::from_millis(500), watch).await),
            }
        }
    }

    async fn resize_container(&self, id: &str, height: u16, width: u16) -> Result<(), ApiError> {
        let (engine, id) = (self.engine.clone(), id.to_owned());
        blocking(move || engine.runtime.resize(&id, height, width).map_err(runtime_error)).await
    }

    async fn container_processes(&self, id: &str, ps_args: &str) -> Result<ProcessTable, ApiError> {
        let (engine, id, ps_args) = (self.engine.clone(), id.to_owned(), ps_args.to_owned());
        blocking(move || {
            let pids = engine.runtime.processes(&id).map_err(runtime_error)?;
            crate::usage::process_table(&pids, &ps_args)
        })
        .await
    }

    async fn container_usage(&self, id: &str) -> Result<ContainerUsage, ApiError> {
        let (engine, id) = (self.engine.clone(), id.to_owned());
        blocking(move || {
            let pids = engine.runtime.processes(&id).map_err(runtime_error)?;
            crate::usage::read(&engine, &id, &pids)
        })
        .await
    }

    async fn container_logs(&self, id: &str, query: LogQuery) -> Result<Stream<LogLine>, ApiError> {
        Ok(logs::of_container(self.engine.clone(), id.to_owned(), query))
    }

    async fn create_exec(&self, container: &str, config: ExecConfig) -> Result<String, ApiError> {
        if !self.is_running(container).await? {
            return Err(ApiError::conflict(format!("container {container} is not running")));
        }
        Ok(self.execs.create(container, config))
    }

    async fn exec(&self, id: &str) -> Result<Option<Exec>, ApiError> {
        Ok(self.execs.get(id))
    }

    async fn start_exec(&self, id: &str, start: ExecStart) -> Result<ExecIo, ApiError> {
        self.execs.start(&self.engine, id, start).await
    }

    async fn resize_exec(&self, id: &str, height: u16, width: u16) -> Result<(), ApiError> {
        self.execs.resize(id, height, width)
    }
}

impl Backend {
    async fn is_running(&self, id: &str) -> Result<bool, ApiError> {
        let (engine, asked) = (self.engine.clone(), id.to_owned());
        let state = blocking(move || engine.runtime.state(&asked).map_err(runtime_error)).await?;
        let state = state.ok_or_else(|| ApiError::not_found(format!("No such container: {id}")))?;
        Ok(matches!(state.state, ContainerState::Running { .. }))
    }

    fn stop_grace(&self, id: &str) -> Result<Duration, ApiError> {
        let record = self.engine.records.read(id).map_err(internal)?;
        let grace = record.and_then(|r| r.spec.container().stop_grace_period);
        Ok(grace.and_then(|n| u64::try_from(n).ok()).map_or(Duration::from_secs(10), Duration::from_nanos))
    }
}

fn parse_signal(text: &str) -> Result<i32, ApiError> {
    signal_number(text).ok_or_else(|| ApiError::bad_request(format!("invalid signal: {text}")))
}

/// The runtime's errors as Docker's.
#[allow(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
pub(crate) fn runtime_error(error: shoal_runtime::Error) -> ApiError {
    use shoal_runtime::Error;
    let text = chain(&error);
    match error {
        Error::NotFound(_) => ApiError::not_found(text),
        Error::NotRunning(_) | Error::Running(_) | Error::Started(_) | Error::Exists(_) => {
            ApiError::conflict(text)
        }
        Error::InvalidSpec(_) | Error::Command { .. } => ApiError::bad_request(text),
        _ => ApiError::internal(text),
    }
}

/// A container as the API shows it.
fn shown(engine: &Engine, record: &Record, info: &ContainerInfo, exec_ids: Vec<String>) -> Container {
    let spec = record.spec.container();
    let directory = engine.records.directory(&record.id);
    let file = |name: &str| directory.join(name).to_string_lossy().into_owned();
    let sandbox: String = record.id.chars().take(12).collect();
    let resources = record.spec.resources.clone().unwrap_or_default().limits.unwrap_or_default();
    Container {
        id: record.id.clone(),
        name: record.name.clone(),
        created: record.created,
        state: info.state.clone(),
        started_at: info.started_at.unwrap_or(Timestamp(0)),
        health: engine.probes.of(&record.id),
        error: info.error.clone().unwrap_or_default(),
        image: record.image.clone(),
        image_id: record.image_id.clone(),
        command: record.entrypoint.iter().chain(&record.cmd).cloned().collect(),
        entrypoint: record.entrypoint.clone(),
        cmd: record.cmd.clone(),
        env: record.env.clone(),
        working_dir: record.working_dir.clone(),
        user: record.user.clone(),
        hostname: record.hostname.clone(),
        labels: record.labels.clone(),
        tty: spec.tty,
        open_stdin: spec.open_stdin,
        stop_signal: record.stop_signal.clone(),
        ports: record
            .exposed
            .iter()
            .filter(|p| p.publish_mode != Some(PublishMode::Ingress))
            .cloned()
            .collect(),
        mounts: record.mounts.clone(),
        networks: record.attachments.iter().map(|a| network(record, a)).collect(),
        sandbox_key: engine.namespace_path(&sandbox).to_string_lossy().into_owned(),
        log_path: info.log_path.to_string_lossy().into_owned(),
        resolv_conf_path: file("resolv.conf"),
        hosts_path: file("hosts"),
        hostname_path: file("hostname"),
        limits: ContainerLimits {
            nano_cpus: resources.nano_cpus,
            memory_bytes: resources.memory_bytes,
            pids: resources.pids,
            read_only_root: spec.read_only,
            init: spec.init,
            cap_add: spec.capability_add.clone(),
            cap_drop: spec.capability_drop.clone(),
            sysctls: spec.sysctls.clone(),
            ulimits: spec.ulimits.clone(),
            oom_score_adj: spec.oom_score_adj,
        },
        size_rw: None,
        size_root_fs: None,
        exec_ids,
        restart_count: 0,
    }
}

fn network(record: &Record, attachment: &Attachment) -> (String, ContainerNetwork) {
    let id = attachment.network.as_str();
    let name = record.network_names.get(&attachment.network).cloned().unwrap_or_else(|| id.to_owned());
    let network = ContainerNetwork {
        network_id: id.to_owned(),
        endpoint_id: endpoint_id(record.task.as_str(), id),
        addresses: attachment.addresses.clone(),
        mac: Some(Mac::of_endpoint(record.task.as_str(), id)),
        gateway: None,
        aliases: attachment.aliases.clone(),
    };
    (name, network)
}
