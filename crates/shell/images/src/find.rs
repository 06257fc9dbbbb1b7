//! Names, ids and beginnings of ids to images.

use crate::digest::Digest;
use crate::error::Error;
use crate::image::Image;
use crate::index::kept_name;
use crate::store::Catalogue;
use shoal_model::image_reference::ImageReference;

/// The id of the image that `text` means: a name, an id, or the beginning of one.
pub(crate) fn find(catalogue: &Catalogue, text: &str) -> Result<Digest, Error> {
    if let Ok(id) = text.parse::<Digest>() {
        let known = catalogue.index.images.contains_key(&id);
        return if known { Ok(id) } else { Err(Error::NotFound { reference: text.to_owned() }) };
    }
    let reference: Option<ImageReference> = text.parse().ok();
    if let Some(id) = reference.as_ref().and_then(|name| catalogue.index.names.get(&kept_name(name))) {
        return Ok(*id);
    }
    let prefix = text.strip_prefix("sha256:").unwrap_or(text);
    if is_id_prefix(prefix) {
        let mut ids = catalogue.index.images.keys().filter(|id| id.hex().starts_with(prefix));
        match (ids.next(), ids.count()) {
            (Some(id), 0) => return Ok(*id),
            (Some(_), more) => return Err(Error::Ambiguous { prefix: text.to_owned(), count: more + 1 }),
            (None, _) => {}
        }
    }
    Err(Error::NotFound { reference: reference.map_or_else(|| text.to_owned(), |name| name.familiar()) })
}

/// Whether `text` means `id` by its digits rather than by a name.
pub(crate) fn means_by_id(catalogue: &Catalogue, text: &str, id: &Digest) -> bool {
    let named = text.parse().ok().and_then(|name| catalogue.index.names.get(&kept_name(&name)).copied());
    let prefix = text.strip_prefix("sha256:").unwrap_or(text);
    named.is_none() && is_id_prefix(prefix) && id.hex().starts_with(prefix)
}

fn is_id_prefix(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// An image as its users see it.
pub(crate) fn describe(catalogue: &Catalogue, id: &Digest) -> Option<Image> {
    let (record, parsed) = (catalogue.index.images.get(id)?, catalogue.parsed.get(id)?);
    let (digests, tags): (Vec<_>, Vec<_>) =
        catalogue.index.names_of(id).into_iter().partition(|name| name.digest.is_some());
    let familiar = |names: Vec<&ImageReference>| names.into_iter().map(ImageReference::familiar).collect();
    let configuration = &parsed.configuration;
    Some(Image {
        id: id.to_string(),
        repo_tags: familiar(tags),
        repo_digests: familiar(digests),
        created: configuration.created.parse().unwrap_or_default(),
        size: record.layer_sizes.iter().sum(),
        config: configuration.config.clone(),
        architecture: configuration.architecture.clone(),
        variant: configuration.variant.clone(),
        os: configuration.os.clone(),
        author: configuration.author.clone(),
        comment: configuration.comment.clone(),
        diff_ids: parsed.diff_ids.iter().map(Digest::to_string).collect(),
        history: configuration.history.clone(),
        layer_sizes: record.layer_sizes.clone(),
    })
}
