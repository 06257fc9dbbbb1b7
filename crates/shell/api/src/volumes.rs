//! `/volumes…`: volumes of services are made by the services' nodes and are not managed by hand.

use crate::call::Call;
use crate::reply::{self, Reply};
use serde_json::json;
use shoal_wire::ApiError;
use shoal_wire::routes::VolumeOp;

pub(crate) fn perform(op: VolumeOp, call: &Call) -> Reply {
    match op {
        VolumeOp::List => {
            call.filters(&["dangling", "driver", "label", "name"])?;
            reply::json(&json!({"Volumes": [], "Warnings": null}))
        }
        VolumeOp::Inspect | VolumeOp::Remove => {
            Err(ApiError::not_found(format!("get {}: no such volume", call.target())))
        }
        VolumeOp::Prune => {
            call.filters(&["all", "label", "label!"])?;
            reply::json(&json!({"VolumesDeleted": [], "SpaceReclaimed": 0}))
        }
    }
}
