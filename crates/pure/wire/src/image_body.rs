//! Images as Docker shows them.

use crate::ApiVersion;
use crate::image::{Distribution, HistoryEntry, Image, ImageConfig, Pruned, Removed};
use serde_json::{Map, Value, json};

/// The version since which `VirtualSize` is not sent any more.
const WITHOUT_VIRTUAL_SIZE: ApiVersion = ApiVersion::minor(44);

/// An entry of `GET /images/json`.
pub fn summary(image: &Image, version: ApiVersion) -> Value {
    let mut body = json!({
        "Containers": image.containers.map_or(-1, |n| i64::try_from(n).unwrap_or(i64::MAX)),
        "Created": image.created.unix_seconds(),
        "Id": image.id,
        "Labels": (!image.config.labels.is_empty()).then_some(&image.config.labels),
        "ParentId": "",
        "RepoDigests": image.digests,
        "RepoTags": image.tags,
        "SharedSize": -1,
        "Size": image.size_bytes,
    });
    add_virtual_size(&mut body, image, version);
    body
}

fn add_virtual_size(body: &mut Value, image: &Image, version: ApiVersion) {
    if let (true, Some(map)) = (version < WITHOUT_VIRTUAL_SIZE, body.as_object_mut()) {
        map.insert("VirtualSize".to_owned(), json!(image.size_bytes));
    }
}

/// Answer of `GET /images/{name}/json`.
pub fn inspect(image: &Image, storage_driver: &str, version: ApiVersion) -> Value {
    let mut body = json!({
        "Id": image.id,
        "RepoTags": image.tags,
        "RepoDigests": image.digests,
        "Parent": "",
        "Comment": image.comment,
        "Created": image.created,
        "DockerVersion": "",
        "Author": image.author,
        "Config": config(&image.config),
        "Architecture": image.architecture,
    });
    let Some(map) = body.as_object_mut() else { return body };
    if !image.variant.is_empty() {
        map.insert("Variant".to_owned(), json!(image.variant));
    }
    let rest = json!({
        "Os": image.os,
        "Size": image.size_bytes,
        "GraphDriver": {"Data": null, "Name": storage_driver},
        "RootFS": {"Type": "layers", "Layers": image.layers},
        "Metadata": {"LastTagTime": image.last_tagged},
    });
    if let Value::Object(rest) = rest {
        map.extend(rest);
    }
    add_virtual_size(&mut body, image, version);
    body
}

fn config(config: &ImageConfig) -> Value {
    let list = |items: &[String]| if items.is_empty() { Value::Null } else { json!(items) };
    let set = |items: &[String]| {
        let map: Map<String, Value> = items.iter().map(|item| (item.clone(), json!({}))).collect();
        Value::Object(map)
    };
    let mut body = json!({
        "Hostname": "",
        "Domainname": "",
        "User": config.user,
        "AttachStdin": false,
        "AttachStdout": false,
        "AttachStderr": false,
    });
    let Some(map) = body.as_object_mut() else { return body };
    if !config.exposed_ports.is_empty() {
        map.insert("ExposedPorts".to_owned(), set(&config.exposed_ports));
    }
    let volumes = if config.volumes.is_empty() { Value::Null } else { set(&config.volumes) };
    let rest = json!({
        "Tty": false,
        "OpenStdin": false,
        "StdinOnce": false,
        "Env": list(&config.env),
        "Cmd": list(&config.cmd),
        "Image": "",
        "Volumes": volumes,
        "WorkingDir": config.working_dir,
        "Entrypoint": list(&config.entrypoint),
        "OnBuild": null,
        "Labels": (!config.labels.is_empty()).then_some(&config.labels),
    });
    if let Value::Object(rest) = rest {
        map.extend(rest);
    }
    if let Some(health) = &config.healthcheck {
        map.insert("Healthcheck".to_owned(), json!(health));
    }
    if !config.stop_signal.is_empty() {
        map.insert("StopSignal".to_owned(), json!(config.stop_signal));
    }
    body
}

/// Answer of `GET /images/{name}/history`.
pub fn history(entries: &[HistoryEntry]) -> Value {
    let shown = entries.iter().map(|entry| {
        json!({
            "Comment": entry.comment,
            "Created": entry.created.unix_seconds(),
            "CreatedBy": entry.created_by,
            "Id": entry.id,
            "Size": entry.size_bytes,
            "Tags": (!entry.tags.is_empty()).then_some(&entry.tags),
        })
    });
    Value::Array(shown.collect())
}

/// Answer of `DELETE /images/{name}`.
pub fn removed(items: &[Removed]) -> Value {
    let shown = items.iter().map(|item| match item {
        Removed::Untagged(name) => json!({"Untagged": name}),
        Removed::Deleted(id) => json!({"Deleted": id}),
    });
    Value::Array(shown.collect())
}

/// Answer of `POST /images/prune`.
pub fn pruned(pruned: &Pruned) -> Value {
    let list = if pruned.removed.is_empty() { Value::Null } else { removed(&pruned.removed) };
    json!({"ImagesDeleted": list, "SpaceReclaimed": pruned.bytes})
}

/// Answer of `GET /distribution/{name}/json`.
pub fn distribution(found: &Distribution) -> Value {
    let platforms: Vec<Value> = found
        .platforms
        .iter()
        .map(|platform| json!({"architecture": platform.architecture, "os": platform.os}))
        .collect();
    json!({
        "Descriptor": {"mediaType": found.media_type, "digest": found.digest, "size": found.size},
        "Platforms": platforms,
    })
}
