//! `/secrets…`

use crate::call::Call;
use crate::lookup::failed;
use crate::objects;
use crate::reply::{self, Reply};
use shoal_model::Secret;
use shoal_wire::object::{DataObject, IdResponse};
use shoal_wire::routes::SecretOp;

fn shown(secret: &Secret) -> DataObject {
    DataObject::new(secret.id.as_str(), secret.meta, &secret.spec, false)
}

pub(crate) async fn perform(op: SecretOp, mut call: Call) -> Reply {
    let state = call.backend().state()?;
    let find = |name: &str| state.find_secret(name).map_err(|e| failed(&e));
    match op {
        SecretOp::List => {
            let filters = call.filters(&objects::FILTERS)?;
            let found = state.secrets().values();
            let wanted = found.filter(|secret| objects::wanted(&filters, secret.id.as_str(), &secret.spec));
            reply::json(&wanted.map(|secret| shown(secret)).collect::<Vec<_>>())
        }
        SecretOp::Create => {
            let spec = objects::asked(&mut call).await?;
            let id = call.backend().create_secret(spec).await?.to_string();
            reply::created(&IdResponse { id })
        }
        SecretOp::Inspect => reply::json(&shown(find(call.target())?)),
        SecretOp::Update => {
            let version = call.query.object_version("secret")?;
            let spec = objects::asked(&mut call).await?;
            let id = find(call.target())?.id.clone();
            call.backend().update_secret(id, version, spec).await?;
            reply::empty()
        }
        SecretOp::Remove => {
            let id = find(call.target())?.id.clone();
            call.backend().remove_secret(id).await?;
            reply::no_content()
        }
    }
}
