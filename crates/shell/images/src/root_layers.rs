//! Where an image's unpacked layers are; unpacks again what has gone missing.

use crate::digest::Digest;
use crate::error::Error;
use crate::find::find;
use crate::ingest::{CheckedLayer, Intake, LayerSource};
use crate::progress::Progress;
use crate::store::{Parsed, Store};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

/// The unpacked layers of an image, highest first.
pub(crate) fn root_layers(store: &Arc<Store>, image: &str) -> Result<Vec<PathBuf>, Error> {
    let catalogue = store.catalogue();
    let id = find(&catalogue, image)?;
    let Some(parsed) = catalogue.parsed.get(&id) else {
        return Err(Error::NotFound { reference: image.to_owned() });
    };
    let chains = parsed.chains();
    let missing = || chains.iter().any(|chain| store.layer_size(chain).is_none());
    if missing() {
        let _repair = store.repair.lock().unwrap_or_else(PoisonError::into_inner);
        if missing() {
            unpack_missing(store, parsed, &chains)?;
        }
    }
    Ok(chains.iter().rev().map(|chain| store.layer_root(chain)).collect())
}

fn unpack_missing(store: &Arc<Store>, parsed: &Parsed, chains: &[Digest]) -> Result<(), Error> {
    let mut intake = Intake::new(store)?;
    let mut checked: Vec<CheckedLayer> = Vec::new();
    for ((layer, diff_id), chain) in parsed.manifest.layers.iter().zip(&parsed.diff_ids).zip(chains) {
        if store.layer_size(chain).is_none() {
            store.remove_layer(chain)?;
        }
        let path = store.blob(&layer.digest);
        let source = LayerSource {
            path: &path,
            name: &layer.digest.to_string(),
            digest: Some(layer.digest),
            diff_id: Some(*diff_id),
        };
        let mut transfer = Progress::none().transfer("", "", 0);
        let layer = intake.layer(&source, &checked, &mut transfer)?;
        checked.push(layer);
    }
    intake.finish(&[])
}
