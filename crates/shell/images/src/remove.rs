//! Removing names and images, by Docker's rules and in its words.

use crate::digest::Digest;
use crate::error::Error;
use crate::find::{find, means_by_id};
use crate::image::{Removed, Usage};
use crate::index::kept_name;
use crate::pins::Part;
use crate::store::{Catalogue, Store};
use shoal_model::image_reference::ImageReference;
use std::collections::BTreeSet;

/// Removes what `text` means: a name, and the image with its last name; or by its id the image with all its names.
/// `usage` is who uses the image `expected`, which `text` meant when it was asked for.
pub(crate) fn remove(
    store: &Store,
    text: &str,
    force: bool,
    expected: &str,
    usage: Option<&Usage>,
) -> Result<Vec<Removed>, Error> {
    let change = store.change();
    let mut catalogue = Catalogue::clone(&store.catalogue());
    let id = find(&catalogue, text)?;
    if id.to_string() != expected {
        return Err(Error::Conflict(format!("{text} has just become another image, try again")));
    }
    let names: Vec<ImageReference> = catalogue.index.names_of(&id).into_iter().cloned().collect();
    let by_id = means_by_id(&catalogue, text, &id);
    let going = if by_id {
        may_go_by_id(&id, &names, force, usage)?;
        names.clone()
    } else {
        may_lose_name(text, &id, &names, force, usage)?;
        going_names(&kept_name(&text.parse()?), &names)
    };
    let mut removed: Vec<Removed> = going.iter().map(|name| Removed::Untagged(name.familiar())).collect();
    for name in &going {
        catalogue.index.names.remove(name);
    }
    // A container that does not run keeps its image, without a name, until it is gone itself.
    if going.len() < names.len() || usage.is_some() {
        change.set(catalogue)?;
        return Ok(removed);
    }
    let needed: BTreeSet<Part> = catalogue.needs(&id).into_iter().collect();
    catalogue.index.images.remove(&id);
    catalogue.parsed.remove(&id);
    change.set(catalogue)?;
    removed.push(Removed::Deleted(id.to_string()));
    removed.extend(change.sweep(&needed).iter().map(|chain| Removed::Deleted(chain.to_string())));
    Ok(removed)
}

/// The names that go when `name` goes: digests of its repository go with the repository's last tag.
fn going_names(name: &ImageReference, names: &[ImageReference]) -> Vec<ImageReference> {
    let same_repository =
        |other: &&ImageReference| (&other.domain, &other.path) == (&name.domain, &name.path);
    let mut going = vec![name.clone()];
    let others = || names.iter().filter(same_repository).filter(|other| *other != name);
    if name.digest.is_none() && others().all(|other| other.digest.is_some()) {
        going.extend(others().cloned());
    }
    going
}

fn may_lose_name(
    text: &str,
    id: &Digest,
    names: &[ImageReference],
    force: bool,
    usage: Option<&Usage>,
) -> Result<(), Error> {
    match usage {
        Some(usage) if !force && is_single(names) => Err(Error::Conflict(format!(
            "unable to remove repository reference {text:?} (must force) - container {} is using its referenced image \
             {}",
            short(&usage.container),
            id.short()
        ))),
        _ => Ok(()),
    }
}

fn may_go_by_id(
    id: &Digest,
    names: &[ImageReference],
    force: bool,
    usage: Option<&Usage>,
) -> Result<(), Error> {
    let conflict = |forced: &str, why: String| {
        Err(Error::Conflict(format!("unable to delete {} ({forced}) - {why}", id.short())))
    };
    match usage {
        Some(usage) if usage.running => {
            let why = format!("image is being used by running container {}", short(&usage.container));
            return conflict("cannot be forced", why);
        }
        _ if force => return Ok(()),
        Some(usage) if is_single(names) => {
            let why = format!("image is being used by stopped container {}", short(&usage.container));
            return conflict("must be forced", why);
        }
        _ => {}
    }
    if is_single(names) {
        return Ok(());
    }
    conflict("must be forced", "image is referenced in multiple repositories".into())
}

/// Whether these names are as good as one: at most one tag, and digests of its repository only.
fn is_single(names: &[ImageReference]) -> bool {
    let tags = names.iter().filter(|name| name.digest.is_none()).count();
    let repositories: BTreeSet<_> = names.iter().map(|name| (&name.domain, &name.path)).collect();
    names.len() <= 1 || (tags <= 1 && repositories.len() == 1)
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
