//! A file system's archive as an image of one layer.

use crate::changes;
use crate::configuration::{Configuration, History, RootFs};
use crate::digest::Digest;
use crate::error::{Error, LayerError};
use crate::ingest::{Intake, LayerSource};
use crate::manifest::own_architecture;
use crate::progress::Progress;
use crate::store::Store;
use shoal_model::Timestamp;
use shoal_model::image_reference::ImageReference;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::SystemTime;

/// What an imported image is to be.
pub(crate) struct Import<'a> {
    pub(crate) name: Option<ImageReference>,
    pub(crate) message: &'a str,
    pub(crate) changes: &'a [String],
}

/// Makes an image of the archive `stream`. Returns its id.
pub(crate) fn import(
    store: &Arc<Store>,
    stream: impl Read,
    import: &Import<'_>,
    progress: &Progress,
) -> Result<String, Error> {
    let mut configuration = Configuration::default();
    import.changes.iter().try_for_each(|change| changes::apply(&mut configuration.config, change))?;
    let mut intake = Intake::new(store)?;
    let path = intake.directory().join("import");
    let mut file = File::create_new(&path).map_err(Error::io(format!("make {}", path.display())))?;
    let most = store.bounds(0).bytes;
    let length = io::copy(&mut stream.take(most.saturating_add(1)), &mut file)
        .map_err(|source| Error::Layer { layer: "import".into(), source: LayerError::Archive(source) })?;
    if length > most {
        let source = LayerError::TooLarge { what: "bytes:", bound: most };
        return Err(Error::Layer { layer: "import".into(), source });
    }
    if length == 0 {
        return Err(Error::InvalidImage("the archive is empty".into()));
    }
    let mut transfer = progress.transfer("import", "Importing", length);
    let source = LayerSource { path: &path, name: "import", digest: None, diff_id: None };
    let layer = intake.layer(&source, &[], &mut transfer)?;
    let created = now().to_string();
    configuration.created.clone_from(&created);
    own_architecture().clone_into(&mut configuration.architecture);
    "linux".clone_into(&mut configuration.os);
    import.message.clone_into(&mut configuration.comment);
    configuration.rootfs = Some(RootFs { kind: "layers".into(), diff_ids: vec![layer.diff_id.to_string()] });
    configuration.history =
        vec![History { created, comment: import.message.to_owned(), ..History::default() }];
    let bytes = serde_json::to_vec(&configuration)
        .map_err(|error| Error::io("write a configuration")(error.into()))?;
    let id = intake.image(&bytes, None, &[layer])?;
    let names: Vec<(ImageReference, Digest)> = import.name.iter().map(|name| (name.clone(), id)).collect();
    intake.finish(&names)?;
    progress.status(id.to_string());
    Ok(id.to_string())
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::default().plus(since)
}
