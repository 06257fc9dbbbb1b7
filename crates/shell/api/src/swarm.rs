//! `/swarm…`

use crate::call::Call;
use crate::reply::{self, Reply};
use shoal_wire::ApiError;
use shoal_wire::requests::Rotate;
use shoal_wire::routes::SwarmOp;
use shoal_wire::swarm::{InitRequest, JoinRequest, SpecRequest, Swarm, UnlockKey};

pub(crate) async fn perform(op: SwarmOp, mut call: Call) -> Reply {
    match op {
        SwarmOp::Inspect => {
            let state = call.backend().state()?;
            let cluster = state.cluster().ok_or_else(ApiError::not_in_swarm)?;
            reply::json(&Swarm::from(cluster.as_ref()))
        }
        SwarmOp::Init => {
            let init = call.json::<InitRequest>().await?.resolve()?;
            reply::json(&call.backend().swarm_init(init).await?)
        }
        SwarmOp::Join => {
            let join = call.json::<JoinRequest>().await?.resolve()?;
            call.backend().swarm_join(join).await?;
            reply::empty()
        }
        SwarmOp::Leave => {
            call.backend().swarm_leave(call.query.flag("force")).await?;
            reply::empty()
        }
        SwarmOp::Update => update(call).await,
        SwarmOp::Unlock => {
            let key = call.json::<UnlockKey>().await?.unlock_key;
            call.backend().swarm_unlock(key).await?;
            reply::empty()
        }
        SwarmOp::UnlockKey => {
            let unlock_key = call.backend().unlock_key().await?;
            reply::json(&UnlockKey { unlock_key })
        }
    }
}

async fn update(mut call: Call) -> Reply {
    let asked: SpecRequest = call.json().await?;
    let version = call.query.object_version("swarm")?;
    let rotate = Rotate {
        worker_token: call.query.strict_flag("rotateWorkerToken")?,
        manager_token: call.query.strict_flag("rotateManagerToken")?,
        manager_unlock_key: call.query.strict_flag("rotateManagerUnlockKey")?,
    };
    let state = call.backend().state()?;
    let cluster = state.cluster().ok_or_else(ApiError::not_in_swarm)?;
    call.backend().swarm_update(version, asked.over(&cluster.spec), rotate).await?;
    reply::empty()
}
