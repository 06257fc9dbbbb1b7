//! Images to and from registries: Debian's own, filled by us and by skopeo, and one that lies.
#![allow(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

#[path = "../common/mod.rs"]
mod common;
mod debian;
mod hostile;

use common::{TestImage, TestStore, collected, digest, gzip, names, read, tar};
use debian::Registry;
use hostile::{Answer, Hostile};
use serde_json::json;
use shoal_images::{ErrorKind, Progress, RegistryAuth};
use shoal_model::image_reference::ImageReference;
use std::time::{Duration, Instant};

fn name(text: &str) -> ImageReference {
    text.parse().unwrap()
}

fn image() -> TestImage {
    TestImage::new(&[&[("etc/a", b"low")], &[("etc/a", b"high"), ("bin/tool", b"12345")]])
}

/// A store with the image under a name in the registry.
async fn filled(image: &TestImage, tag: &str) -> TestStore {
    let store = TestStore::new();
    store.load(image.docker_archive(&[tag])).await.unwrap();
    store
}

#[tokio::test]
async fn what_is_pushed_comes_back_the_same() {
    let registry = Registry::open();
    let tag = format!("{}/some/app:1", registry.address);
    let from = filled(&image(), &tag).await;
    let (progress, messages) = Progress::channel();
    let pushed = from.images.push(&name(&tag), None, progress).await.unwrap();
    let messages = collected(messages).await;
    let statuses: Vec<&str> = messages.iter().filter_map(|message| message.status.as_deref()).collect();
    assert_eq!(statuses[0], format!("The push refers to repository [{}/some/app]", registry.address));
    assert_eq!(statuses.iter().filter(|status| **status == "Pushed").count(), 2);
    assert!(statuses.last().unwrap().starts_with(&format!("1: digest: {pushed} size: ")));
    assert_eq!(messages.last().unwrap().aux.as_ref().unwrap()["Digest"], pushed);
    assert_eq!(registry.skopeo_inspect("some/app:1")["Digest"], pushed);

    let to = TestStore::new();
    let (progress, messages) = Progress::channel();
    let pulled = to.images.pull(&name(&tag), None, progress).await.unwrap();
    assert_eq!(
        (pulled.id, pulled.digest.as_str(), pulled.already_there),
        (image().id(), pushed.as_str(), false)
    );
    let messages = collected(messages).await;
    let statuses: Vec<&str> = messages.iter().filter_map(|message| message.status.as_deref()).collect();
    assert_eq!((statuses[0], messages[0].id.as_deref()), ("Pulling from some/app", Some("1")));
    for status in ["Pulling fs layer", "Downloading", "Download complete", "Extracting", "Pull complete"] {
        assert!(statuses.contains(&status), "{status} in {statuses:?}");
    }
    assert_eq!(statuses[statuses.len() - 2], format!("Digest: {pushed}"));
    assert_eq!(statuses[statuses.len() - 1], format!("Status: Downloaded newer image for {tag}"));

    let by_digest = format!("{}/some/app@{pushed}", registry.address);
    for store in [&from, &to] {
        let found = store.images.find(&tag).await.unwrap();
        assert_eq!(
            (found.id.as_str(), &found.repo_digests),
            (image().id().as_str(), &vec![by_digest.clone()])
        );
        assert_eq!(store.images.find(&by_digest).await.unwrap().id, image().id());
        assert_eq!(read(&store.images.root_layers(&tag).await.unwrap(), "etc/a"), "high");
    }
    assert_eq!(to.holds(), from.holds(), "both have the same blobs and layers, and nothing more");
    let layers = to.images.root_layers(&tag).await.unwrap();
    for layer in &layers {
        std::fs::remove_dir_all(layer.parent().unwrap()).unwrap();
    }
    assert_eq!(read(&to.images.root_layers(&tag).await.unwrap(), "bin/tool"), "12345");
}

#[tokio::test]
async fn what_is_there_already_is_neither_sent_nor_fetched() {
    let registry = Registry::open();
    let tag = format!("{}/app:1", registry.address);
    let store = filled(&image(), &tag).await;
    let first = store.images.push(&name(&tag), None, Progress::none()).await.unwrap();
    let (progress, messages) = Progress::channel();
    assert_eq!(store.images.push(&name(&tag), None, progress).await.unwrap(), first);
    let sent = collected(messages).await;
    let kept = sent.iter().filter(|message| message.status.as_deref() == Some("Layer already exists"));
    assert_eq!(kept.count(), 2);

    let (progress, messages) = Progress::channel();
    let pulled = store.images.pull(&name(&tag), None, progress).await.unwrap();
    assert!(pulled.already_there);
    let statuses: Vec<String> =
        collected(messages).await.into_iter().filter_map(|message| message.status).collect();
    assert_eq!(statuses.iter().filter(|status| *status == "Already exists").count(), 2);
    assert_eq!(statuses.last().unwrap(), &format!("Status: Image is up to date for {tag}"));

    // By its digest the image is known without asking.
    let by_digest = name(&format!("{}/app@{first}", registry.address));
    drop(registry);
    let pulled = store.images.pull(&by_digest, None, Progress::none()).await.unwrap();
    assert!(pulled.already_there);
}

#[tokio::test]
async fn what_other_tools_pushed_is_pulled_in_every_format() {
    let registry = Registry::open();
    let archive = registry.path("image.tar");
    std::fs::write(&archive, image().docker_archive(&["x:1"])).unwrap();
    let source = format!("docker-archive:{}", archive.display());
    for (format, compression) in [("v2s2", "gzip"), ("oci", "gzip"), ("oci", "zstd")] {
        let repository = format!("{format}-{compression}");
        let options = ["--format", format, "--dest-compress-format", compression];
        registry.skopeo_copy(&options, &source, &format!("{repository}:1"));
        let store = TestStore::new();
        let tag = format!("{}/{repository}:1", registry.address);
        let pulled = store.images.pull(&name(&tag), None, Progress::none()).await.unwrap();
        assert_eq!(registry.skopeo_inspect(&format!("{repository}:1"))["Digest"], pulled.digest);
        assert_eq!(read(&store.images.root_layers(&tag).await.unwrap(), "bin/tool"), "12345");

        // Pushed on, it keeps its digest.
        let copy = format!("{}/{repository}-copy:2", registry.address);
        store.images.tag(&tag, &name(&copy)).await.unwrap();
        assert_eq!(store.images.push(&name(&copy), None, Progress::none()).await.unwrap(), pulled.digest);
        // Saved and loaded elsewhere, too.
        let elsewhere = TestStore::new();
        elsewhere.load(store.save(&[&tag]).await.unwrap()).await.unwrap();
        assert_eq!(elsewhere.images.push(&name(&tag), None, Progress::none()).await.unwrap(), pulled.digest);
    }
}

/// An OCI layout of two platforms; the own one is `own`.
fn layout_of_two(own: &TestImage, other: &TestImage, directory: &std::path::Path) {
    let entry = |image: &TestImage, architecture: &serde_json::Value| {
        let manifest = image.manifest();
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(&manifest),
            "size": manifest.len(), "platform": {"os": "linux", "architecture": architecture},
        })
    };
    let own_architecture = &own.configuration["architecture"];
    let list = serde_json::to_vec(&json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry(other, &json!("s390x")), entry(own, own_architecture)],
    }))
    .unwrap();
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest(&list), "size": list.len(),
    }]});
    let mut members = [own.oci_blobs(), other.oci_blobs()].concat();
    members.push((format!("blobs/sha256/{}", &digest(&list)[7..]), list));
    members.push(("index.json".into(), serde_json::to_vec(&index).unwrap()));
    members.push(("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
    for (member, data) in members {
        let path = directory.join(member);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, data).unwrap();
    }
}

#[tokio::test]
async fn the_own_platform_is_pulled_and_the_list_is_what_the_name_means() {
    let registry = Registry::open();
    let (own, other) = (image().compressed(gzip), TestImage::small("other").compressed(gzip));
    let layout = registry.path("layout");
    layout_of_two(&own, &other, &layout);
    registry.skopeo_copy(&["--all"], &format!("oci:{}", layout.display()), "multi:1");
    let tag = format!("{}/multi:1", registry.address);
    let store = TestStore::new();
    let pulled = store.images.pull(&name(&tag), None, Progress::none()).await.unwrap();
    assert_eq!(pulled.id, own.id());
    let resolved = store.images.resolve(&name(&tag), None).await.unwrap();
    assert_eq!(resolved.digest, pulled.digest);
    assert_ne!(pulled.digest, digest(&own.manifest()), "the list's digest, not the platform's");
    assert_eq!(resolved.media_type, "application/vnd.oci.image.index.v1+json");
    let platforms: Vec<&str> = resolved.platforms.iter().map(|one| one.architecture.as_str()).collect();
    assert_eq!(platforms, ["s390x", own.configuration["architecture"].as_str().unwrap()]);

    let by_digest = format!("{}/multi@{}", registry.address, pulled.digest);
    let elsewhere = TestStore::new();
    let again = elsewhere.images.pull(&name(&by_digest), None, Progress::none()).await.unwrap();
    assert_eq!((again.id, again.digest), (own.id(), pulled.digest));
    let found = elsewhere.images.find(&by_digest).await.unwrap();
    assert_eq!((found.repo_tags.len(), found.repo_digests), (0, vec![by_digest]));
}

#[tokio::test]
async fn a_registry_tells_what_it_has_without_a_pull() {
    let registry = Registry::open();
    let tag = format!("{}/app:1", registry.address);
    let store = filled(&image(), &tag).await;
    let pushed = store.images.push(&name(&tag), None, Progress::none()).await.unwrap();
    let resolved = TestStore::new().images.resolve(&name(&tag), None).await.unwrap();
    assert_eq!((resolved.digest, resolved.platforms.len()), (pushed, 1));
    assert_eq!(resolved.platforms[0].os, "linux");
    assert!(resolved.size > 100 && resolved.media_type.ends_with("manifest.v1+json"));
}

#[tokio::test]
async fn what_a_registry_does_not_have_is_told_in_dockers_words() {
    let registry = Registry::open();
    let store = TestStore::new();
    let tag = format!("{}/no/such:1", registry.address);
    for result in [
        store.images.pull(&name(&tag), None, Progress::none()).await.map(drop),
        store.images.resolve(&name(&tag), None).await.map(drop),
    ] {
        let error = result.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("manifest for {tag} not found: manifest unknown: manifest unknown")
        );
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    store.assert_empty();
    let error = store.images.push(&name(&tag), None, Progress::none()).await.unwrap_err();
    let repository = tag.strip_suffix(":1").unwrap();
    assert_eq!(error.to_string(), format!("An image does not exist locally with the tag: {repository}"));
    store.load(image().docker_archive(&[&tag])).await.unwrap();
    let other = format!("{repository}:2");
    let error = store.images.push(&name(&other), None, Progress::none()).await.unwrap_err();
    assert_eq!(
        (error.to_string(), error.kind()),
        (format!("tag does not exist: {other}"), ErrorKind::NotFound)
    );
}

#[tokio::test]
async fn credentials_are_needed_and_used() {
    let registry = Registry::with_passwords();
    let tag = format!("{}/app:1", registry.address);
    let store = filled(&image(), &tag).await;
    let auth = |password: &str| {
        Some(RegistryAuth { username: "tester".into(), password: password.into(), ..RegistryAuth::default() })
    };
    for wrong in [None, auth("wrong")] {
        let error = store.images.push(&name(&tag), wrong.clone(), Progress::none()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{}", error.report());
        let error = store.images.pull(&name(&tag), wrong.clone(), Progress::none()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{}", error.report());
        assert_eq!(
            store.images.resolve(&name(&tag), wrong).await.unwrap_err().kind(),
            ErrorKind::Unauthorized
        );
    }
    let pushed = store.images.push(&name(&tag), auth("secret"), Progress::none()).await.unwrap();
    let to = TestStore::new();
    assert_eq!(to.images.pull(&name(&tag), auth("secret"), Progress::none()).await.unwrap().digest, pushed);
    assert_eq!(to.images.resolve(&name(&tag), auth("secret")).await.unwrap().digest, pushed);
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_told_soon() {
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let silent = Hostile::start(vec![("/v2/".into(), Answer::Silence)]).await;
    let store = TestStore::new();
    for address in [&closed, &silent.address] {
        let start = Instant::now();
        let error = store.images.resolve(&name(&format!("{address}/x:1")), None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report());
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    }
    let error = store.images.pull(&name(&format!("{closed}/x:1")), None, Progress::none()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.report().len() > error.to_string().len(), "the cause is told: {}", error.report());
}

/// Answers that make up `image` under `app:1`.
fn answers(image: &TestImage) -> Vec<(String, Answer)> {
    let blobs = image.layers.iter().cloned().chain([image.configuration_bytes()]);
    let mut answers: Vec<(String, Answer)> =
        blobs.map(|blob| (format!("/v2/app/blobs/{}", digest(&blob)), Answer::Document(blob))).collect();
    answers.push(("/v2/app/manifests/1".into(), Answer::Document(image.manifest())));
    answers
}

/// Answers that must not lead to an image, with a part of what is said.
fn lies() -> Vec<(&'static str, Vec<(String, Answer)>)> {
    let good = image().compressed(gzip);
    let layer = format!("/v2/app/blobs/{}", digest(&good.layers[1]));
    let configuration = format!("/v2/app/blobs/{}", digest(&good.configuration_bytes()));
    let with = |path: &str, answer: Answer| {
        let mut all = answers(&good);
        all.retain(|(known, _)| known != path);
        all.push((path.to_owned(), answer));
        all
    };
    let manifest = |edit: &dyn Fn(&mut serde_json::Value)| {
        let mut manifest: serde_json::Value = serde_json::from_slice(&good.manifest()).unwrap();
        edit(&mut manifest);
        with("/v2/app/manifests/1", Answer::Document(serde_json::to_vec(&manifest).unwrap()))
    };
    let mut hostile = TestImage::small("x");
    let escape = tar(&[("../escape", b"x")]);
    hostile.configuration["rootfs"]["diff_ids"] = json!([digest(&escape)]);
    (hostile.layers, hostile.plain) = (vec![escape.clone()], vec![escape]);
    let mut tampered = good.layers[1].clone();
    let middle = tampered.len() / 2;
    tampered[middle] ^= 0xff;
    let same_length = [&good.configuration_bytes()[..good.configuration_bytes().len() - 1], b" "].concat();
    vec![
        ("", with(&layer, Answer::Document(tampered))),
        ("sent more", with(&layer, Answer::Document([good.layers[1].as_slice(), b"more"].concat()))),
        ("", with(&layer, Answer::Cut(good.layers[1][..50].to_vec()))),
        ("not found", with(&layer, Answer::Error(404, ""))),
        ("", with(&configuration, Answer::Document(same_length))),
        ("more than", manifest(&|manifest| manifest["config"]["size"] = json!(1_u64 << 40))),
        ("digest", manifest(&|manifest| manifest["layers"][0]["digest"] = json!("sha256:../../x"))),
        ("names 2 layers", manifest(&|manifest| drop(manifest["layers"].as_array_mut().unwrap().pop()))),
        ("schema version", manifest(&|manifest| manifest["schemaVersion"] = json!(1))),
        ("no matching manifest for linux/", {
            let list = json!({"schemaVersion": 2, "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(b"x"), "size": 1,
                "platform": {"os": "windows", "architecture": "amd64"},
            }]});
            with("/v2/app/manifests/1", Answer::Document(serde_json::to_vec(&list).unwrap()))
        }),
        ("manifest", with("/v2/app/manifests/1", Answer::Document(b"<html>".to_vec()))),
        ("pull access denied for", with("/v2/app/manifests/1", Answer::Error(403, "{}"))),
        ("", with("/v2/app/manifests/1", Answer::Error(500, "oops"))),
        ("leads out", answers(&hostile)),
    ]
}

#[tokio::test]
async fn lies_of_a_registry_are_found_out_and_leave_nothing() {
    for (index, (reason, answers)) in lies().into_iter().enumerate() {
        let registry = Hostile::start(answers).await;
        let store = TestStore::new();
        let tag = name(&format!("{}/app:1", registry.address));
        let error = store.images.pull(&tag, None, Progress::none()).await.expect_err(reason);
        assert!(error.report().contains(reason), "{index}: {} should say {reason}", error.report());
        assert!(store.images.list().await.is_empty());
        store.assert_empty();
    }
    let honest = Hostile::start(answers(&image().compressed(gzip))).await;
    let tag = name(&format!("{}/app:1", honest.address));
    TestStore::new().images.pull(&tag, None, Progress::none()).await.unwrap();
}

#[tokio::test]
async fn another_manifest_than_the_digest_asked_for_is_refused() {
    let (asked, given) = (image(), TestImage::small("given"));
    let wanted = digest(&asked.manifest());
    let mut all = answers(&given);
    all.push((format!("/v2/app/manifests/{wanted}"), Answer::Document(given.manifest())));
    let registry = Hostile::start(all).await;
    let store = TestStore::new();
    let tag = name(&format!("{}/app@{wanted}", registry.address));
    store.images.pull(&tag, None, Progress::none()).await.unwrap_err();
    store.assert_empty();
}

#[tokio::test]
async fn several_that_want_the_same_image_fetch_it_once() {
    let image = image().compressed(gzip);
    let registry = Hostile::start(answers(&image)).await;
    let store = TestStore::new();
    let tag = name(&format!("{}/app:1", registry.address));
    let pulls = (0..5).map(|_| store.images.pull(&tag, None, Progress::none()));
    let outcomes = futures::future::join_all(pulls).await;
    let fetched = outcomes.into_iter().filter(|outcome| !outcome.as_ref().unwrap().already_there).count();
    assert_eq!(fetched, 1);
    for layer in &image.layers {
        assert_eq!(registry.asked(&format!("/v2/app/blobs/{}", digest(layer))), 1);
    }
}

#[tokio::test]
async fn a_pull_that_is_given_up_leaves_nothing() {
    let image = image().compressed(gzip);
    let mut all = answers(&image);
    let layer = format!("/v2/app/blobs/{}", digest(&image.layers[1]));
    all.retain(|(path, _)| *path != layer);
    all.push((layer.clone(), Answer::Silence));
    let registry = Hostile::start(all).await;
    let store = TestStore::new();
    let tag = name(&format!("{}/app:1", registry.address));
    let pull = store.images.pull(&tag, None, Progress::none());
    let given_up = async {
        let until = Instant::now() + Duration::from_secs(20);
        while registry.asked(&layer) == 0 && Instant::now() < until {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = pull => panic!("the registry is silent"),
        () = given_up => {}
    }
    assert_eq!(registry.asked(&layer), 1);
    store.assert_empty();
}

#[tokio::test]
async fn an_image_with_a_layer_twice_is_pulled() {
    let twice: &[(&str, &[u8])] = &[("a", b"same")];
    let image = TestImage::new(&[twice, twice]).compressed(gzip);
    let registry = Hostile::start(answers(&image)).await;
    let store = TestStore::new();
    let tag = name(&format!("{}/app:1", registry.address));
    store.images.pull(&tag, None, Progress::none()).await.unwrap();
    let layers = store.images.root_layers(&tag.to_string()).await.unwrap();
    assert_eq!((layers.len(), names(&layers[0]), names(&layers[1])), (2, vec!["a".into()], vec!["a".into()]));
}
