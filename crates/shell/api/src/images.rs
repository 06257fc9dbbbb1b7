//! `/images…` and `/distribution…`

use crate::call::Call;
use crate::networks::prune_before;
use crate::reply::{self, Reply};
use crate::system::within;
use serde_json::json;
use shoal_model::Timestamp;
use shoal_model::image_reference::ImageReference;
use shoal_wire::ApiError;
use shoal_wire::filters::Filters;
use shoal_wire::image::{Image, ImportOptions};
use shoal_wire::image_body as body;
use shoal_wire::registry_auth::RegistryAuth;
use shoal_wire::routes::ImageOp;
use std::time::Duration;

/// How long a registry may take to tell of an image: every deployment waits for it.
const REGISTRY_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) async fn perform(op: ImageOp, call: Call) -> Reply {
    let backend = call.backend().clone();
    match op {
        ImageOp::List => list(&call).await,
        ImageOp::Inspect => {
            let driver = backend.system().storage_driver;
            reply::json(&body::inspect(&find(&call).await?, &driver, call.version))
        }
        ImageOp::History => {
            let id = find(&call).await?.id;
            reply::json(&body::history(&backend.image_history(&id).await?))
        }
        ImageOp::Create => create(call).await,
        ImageOp::Load => {
            let quiet = call.query.flag("quiet");
            reply::progress(backend.load_images(call.into_bytes(), quiet).await?)
        }
        ImageOp::Save => {
            let names = vec![call.target().to_owned()];
            reply::stream("application/x-tar", backend.save_images(names).await?)
        }
        ImageOp::SaveMany => {
            let names: Vec<String> = call.query.all("names").map(str::to_owned).collect();
            if names.is_empty() {
                return Err(ApiError::bad_request("no image names given"));
            }
            reply::stream("application/x-tar", backend.save_images(names).await?)
        }
        ImageOp::Tag => {
            let reference = named(call.query.text("repo"), call.query.text("tag"))?;
            backend.tag_image(&find(&call).await?.id, reference).await?;
            reply::created_empty()
        }
        ImageOp::Push => {
            let reference = named(call.target(), call.query.text("tag"))?;
            reply::progress(backend.push_image(reference, auth(&call)).await?)
        }
        ImageOp::Remove => {
            find(&call).await?;
            let force = call.query.flag("force");
            reply::json(&body::removed(&backend.remove_image(call.target(), force).await?))
        }
        ImageOp::Prune => {
            let filters = call.filters(&["dangling"])?;
            let dangling = filters.flag("dangling", true)?;
            reply::json(&body::pruned(&backend.prune_images(dangling).await?))
        }
        ImageOp::PruneBuilds => reply::json(&json!({"CachesDeleted": null, "SpaceReclaimed": 0})),
        ImageOp::Distribution => {
            let reference = named(call.target(), "")?;
            let asking = backend.distribution(reference, auth(&call));
            reply::json(&body::distribution(&within(REGISTRY_TIMEOUT, "the registry", asking).await?))
        }
    }
}

fn auth(call: &Call) -> Option<RegistryAuth> {
    RegistryAuth::from_header(call.header("x-registry-auth")?)
}

/// A name with the tag or digest that came apart from it.
fn named(name: &str, tag: &str) -> Result<ImageReference, ApiError> {
    let text = match tag {
        "" => name.to_owned(),
        digest if digest.contains(':') => format!("{name}@{digest}"),
        tag => format!("{name}:{tag}"),
    };
    text.parse::<ImageReference>().map_err(|_| ApiError::bad_request("invalid reference format"))
}

async fn create(call: Call) -> Reply {
    let backend = call.backend().clone();
    let from_image = call.query.text("fromImage");
    if !from_image.is_empty() {
        let reference = named(from_image, call.query.text("tag"))?;
        let platform = call.query.text("platform").to_owned();
        return reply::progress(backend.pull_image(reference, platform, auth(&call)).await?);
    }
    if call.query.text("fromSrc") != "-" {
        return Err(ApiError::not_implemented(
            "Shoal lacks imports from addresses: download the archive and import it from standard input (-)",
        ));
    }
    let (repository, tag) = (call.query.text("repo"), call.query.text("tag"));
    let reference = if repository.is_empty() { None } else { Some(named(repository, tag)?.familiar()) };
    let options = ImportOptions {
        reference,
        message: call.query.text("message").to_owned(),
        changes: call.query.all("changes").map(str::to_owned).collect(),
        platform: call.query.text("platform").to_owned(),
    };
    reply::progress(backend.import_image(call.into_bytes(), options).await?)
}

async fn find(call: &Call) -> Result<Image, ApiError> {
    pick(call.backend().images().await?, call.target())
}

/// An image by name (with tag or digest) or id (with or without `sha256:`, or a unique beginning of it).
fn pick(images: Vec<Image>, text: &str) -> Result<Image, ApiError> {
    let reference = text.parse::<ImageReference>().ok();
    let familiar = reference.as_ref().map(ImageReference::familiar);
    let wanted = text.strip_prefix("sha256:").unwrap_or(text);
    let not_found = || ApiError::not_found(format!("No such image: {}", familiar.as_deref().unwrap_or(text)));
    let has_name = |image: &Image| {
        reference.as_ref().is_some_and(|reference| {
            let names = image.tags.iter().chain(&image.digests);
            names.filter_map(|name| name.parse::<ImageReference>().ok()).any(|name| fits(&name, reference))
        })
    };
    if let Some(index) = images.iter().position(has_name) {
        return images.into_iter().nth(index).ok_or_else(not_found);
    }
    if wanted.is_empty() || !wanted.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(not_found());
    }
    let hex = |image: &Image| image.id.strip_prefix("sha256:").unwrap_or(&image.id).to_owned();
    let mut fitting = images.into_iter().filter(|image| hex(image).starts_with(wanted));
    match (fitting.next(), fitting.next()) {
        (Some(image), None) => Ok(image),
        (Some(_), Some(_)) => Err(ApiError::bad_request(format!("image {text} is ambiguous"))),
        (None, _) => Err(not_found()),
    }
}

/// Whether an image's name is the one looked for; a digest decides where one is given.
fn fits(name: &ImageReference, wanted: &ImageReference) -> bool {
    let same_place = name.domain == wanted.domain && name.path == wanted.path;
    same_place
        && match &wanted.digest {
            Some(digest) => name.digest.as_ref() == Some(digest),
            None => name.tag == wanted.tag,
        }
}

const FILTERS: [&str; 6] = ["before", "dangling", "label", "reference", "since", "until"];

async fn list(call: &Call) -> Reply {
    let filters = call.filters(&FILTERS)?;
    let images = call.backend().images().await?;
    let edge = |key: &str| filters.values(key).next().map(|name| pick(images.clone(), name)).transpose();
    let (before, since) = (edge("before")?, edge("since")?);
    let until: Option<Timestamp> =
        filters.values("until").next().map(|text| prune_before(call, text)).transpose()?;
    let dangling = filters.has("dangling").then(|| filters.flag("dangling", false)).transpose()?;
    let mut wanted: Vec<&Image> = images
        .iter()
        .filter(|i| dangling.is_none_or(|dangling| dangling == i.tags.is_empty()))
        .filter(|i| filters.labels("label", &i.config.labels))
        .filter(|i| before.as_ref().is_none_or(|b| i.created < b.created))
        .filter(|i| since.as_ref().is_none_or(|s| i.created > s.created))
        .filter(|i| until.is_none_or(|until| i.created <= until))
        .filter(|i| refers(i, &filters))
        .collect();
    wanted.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
    reply::json(&wanted.into_iter().map(|i| body::summary(i, call.version)).collect::<Vec<_>>())
}

/// The `reference` filter: a name with or without tag; `*` stands for anything within a path segment.
fn refers(image: &Image, filters: &Filters) -> bool {
    !filters.has("reference")
        || filters.values("reference").any(|pattern| {
            image.tags.iter().chain(&image.digests).any(|name| {
                let repository = name.rsplit_once([':', '@']).map_or(name.as_str(), |(left, _)| left);
                glob(pattern, name) || glob(pattern, repository)
            })
        })
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|tail| {
            let within = tail.find('/').unwrap_or(tail.len());
            (0..=within).filter(|at| tail.is_char_boundary(*at)).any(|at| glob(rest, &tail[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str, tag: &str) -> Image {
        Image { id: format!("sha256:{id}"), tags: vec![tag.to_owned()], ..Image::default() }
    }

    #[test]
    fn images_are_found_by_name_and_by_id() {
        let images = || vec![image("abc1", "web:latest"), image("abd2", "localhost:5000/a/b:1")];
        let found = |text: &str| pick(images(), text).map(|i| i.id);
        assert_eq!(found("web").unwrap(), "sha256:abc1");
        assert_eq!(found("docker.io/library/web:latest").unwrap(), "sha256:abc1");
        assert_eq!(found("localhost:5000/a/b:1").unwrap(), "sha256:abd2");
        assert_eq!(found("sha256:abd").unwrap(), "sha256:abd2");
        assert_eq!(found("abc").unwrap(), "sha256:abc1");
        assert_eq!(found("ab").unwrap_err().status.code(), 400);
        assert_eq!(found("other").unwrap_err().message, "No such image: other:latest");
    }

    #[test]
    fn reference_patterns_stay_within_a_segment() {
        assert!(glob("web*", "web:1") && glob("*/b", "a/b") && glob("a/*:1", "a/b:1"));
        assert!(!glob("*", "a/b") && !glob("web", "web2"));
    }

    #[test]
    fn a_tag_may_be_a_digest() {
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(named("a/b", &digest).unwrap().digest, Some(digest));
        assert_eq!(named("a/b", "1").unwrap().tag.as_deref(), Some("1"));
        assert!(named("A", "").is_err());
    }
}
