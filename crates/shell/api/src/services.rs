//! `/services…`

use crate::call::Call;
use crate::lookup::failed;
use crate::reply::{self, Reply};
use crate::{logs, tasks};
use shoal_model::ServiceId;
use shoal_model::spec::{ServiceMode, ServiceSpec};
use shoal_store::State;
use shoal_wire::ApiError;
use shoal_wire::logs::LogSource;
use shoal_wire::requests::{AuthFrom, ServiceUpdate};
use shoal_wire::routes::ServiceOp;
use shoal_wire::service::{CreateResponse, Service, UpdateResponse, canonical, count_tasks};

pub(crate) async fn perform(op: ServiceOp, call: Call) -> Reply {
    let state = call.backend().state()?;
    match op {
        ServiceOp::List => list(&call, &state),
        ServiceOp::Create => create(call).await,
        ServiceOp::Inspect => {
            let defaults = call.query.strict_flag("insertDefaults")?;
            let service = state.find_service(call.target()).map_err(|e| failed(&e))?;
            reply::json(&Service::new(service, defaults))
        }
        ServiceOp::Update => update(call, &state).await,
        ServiceOp::Remove => {
            call.backend().remove_service(find(&state, call.target())?).await?;
            reply::empty()
        }
        ServiceOp::Logs => {
            let service = state.find_service(call.target()).map_err(|e| failed(&e))?;
            let tty = service.spec.task_template.container().tty;
            logs::of_tasks(&call, LogSource::Service(service.id.clone()), tty).await
        }
        ServiceOp::ListTasks => tasks::list(&call, &state),
        ServiceOp::InspectTask => tasks::inspect(&call, &state),
        ServiceOp::TaskLogs => {
            let task = state.find_task(call.target()).map_err(|e| failed(&e))?;
            let tty = task.spec.container().tty;
            logs::of_tasks(&call, LogSource::Task(task.id.clone()), tty).await
        }
    }
}

fn find(state: &State, text: &str) -> Result<ServiceId, ApiError> {
    state.find_service(text).map(|service| service.id.clone()).map_err(|e| failed(&e))
}

fn mode_word(mode: &ServiceMode) -> &'static str {
    if mode.global.is_some() {
        "global"
    } else if mode.replicated_job.is_some() {
        "replicated-job"
    } else if mode.global_job.is_some() {
        "global-job"
    } else {
        "replicated"
    }
}

fn list(call: &Call, state: &State) -> Reply {
    let filters = call.filters(&["id", "label", "mode", "name", "runtime"])?;
    let (status, defaults) = (call.query.strict_flag("status")?, call.query.strict_flag("insertDefaults")?);
    let wanted = state.services().values().filter(|service| {
        filters.prefix("id", [service.id.as_str()])
            && filters.prefix("name", [service.spec.name.as_str()])
            && filters.labels("label", &service.spec.labels)
            && filters.exact("mode", mode_word(&service.spec.mode))
            && filters.exact("runtime", "container")
    });
    let shown: Vec<Service> = wanted
        .map(|service| {
            let tasks = state.tasks_of_service(&service.id).map(AsRef::as_ref);
            let service_status = status.then(|| count_tasks(service, tasks));
            Service { service_status, ..Service::new(service, defaults) }
        })
        .collect();
    reply::json(&shown)
}

async fn create(mut call: Call) -> Reply {
    let mut spec: ServiceSpec = call.json().await?;
    canonical(&mut spec);
    let made = call.backend().create_service(spec, call.auth_header()).await?;
    reply::created(&CreateResponse { id: made.id.to_string(), warnings: made.warnings })
}

async fn update(mut call: Call, state: &State) -> Reply {
    let mut spec: ServiceSpec = call.json().await?;
    canonical(&mut spec);
    let rollback = match call.query.text("rollback") {
        "" | "none" => false,
        "previous" => true,
        other => {
            return Err(ApiError::bad_request(format!("unrecognized rollback option {other}")));
        }
    };
    let auth_from = match call.query.text("registryAuthFrom") {
        "" | "spec" => AuthFrom::Spec,
        "previous-spec" => AuthFrom::PreviousSpec,
        _ => return Err(ApiError::bad_request("unsupported registryAuthFrom value")),
    };
    let version = call.query.object_version("service")?;
    let update = ServiceUpdate { version, spec, rollback, auth: call.auth_header(), auth_from };
    let warnings = call.backend().update_service(find(state, call.target())?, update).await?;
    reply::json(&UpdateResponse { warnings })
}
