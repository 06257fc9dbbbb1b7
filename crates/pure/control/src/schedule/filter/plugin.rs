//! The node must have the volume drivers that the task's mounts name.

use crate::schedule::node_set::NodeLoad;
use crate::schedule::reasons::Reason;
use shoal_model::spec::{Mount, TaskSpec};

pub(super) fn check(spec: &TaskSpec, load: &NodeLoad) -> Result<(), Reason> {
    let container = spec.container();
    let mut drivers = container.mounts.iter().filter_map(volume_driver);
    let plugins = &load.node.description.engine.plugins;
    let has = |driver: &str| {
        driver == "local" || plugins.iter().any(|plugin| plugin.kind == "Volume" && plugin.name == driver)
    };
    if drivers.all(has) { Ok(()) } else { Err(Reason::MissingPlugin) }
}

fn volume_driver(mount: &Mount) -> Option<&str> {
    let name = mount.volume_options.as_ref()?.get("DriverConfig")?.get("Name")?.as_str()?;
    (!name.is_empty()).then_some(name)
}
