//! `/configs…`

use crate::call::Call;
use crate::lookup::failed;
use crate::objects;
use crate::reply::{self, Reply};
use shoal_model::Config;
use shoal_wire::object::{DataObject, IdResponse};
use shoal_wire::routes::ConfigOp;

fn shown(config: &Config) -> DataObject {
    DataObject::new(config.id.as_str(), config.meta, &config.spec, true)
}

pub(crate) async fn perform(op: ConfigOp, mut call: Call) -> Reply {
    let state = call.backend().state()?;
    let find = |name: &str| state.find_config(name).map_err(|e| failed(&e));
    match op {
        ConfigOp::List => {
            let filters = call.filters(&objects::FILTERS)?;
            let found = state.configs().values();
            let wanted = found.filter(|config| objects::wanted(&filters, config.id.as_str(), &config.spec));
            reply::json(&wanted.map(|config| shown(config)).collect::<Vec<_>>())
        }
        ConfigOp::Create => {
            let spec = objects::asked(&mut call).await?;
            let id = call.backend().create_config(spec).await?.to_string();
            reply::created(&IdResponse { id })
        }
        ConfigOp::Inspect => reply::json(&shown(find(call.target())?)),
        ConfigOp::Update => {
            let version = call.query.object_version("config")?;
            let spec = objects::asked(&mut call).await?;
            let id = find(call.target())?.id.clone();
            call.backend().update_config(id, version, spec).await?;
            reply::empty()
        }
        ConfigOp::Remove => {
            let id = find(call.target())?.id.clone();
            call.backend().remove_config(id).await?;
            reply::no_content()
        }
    }
}
