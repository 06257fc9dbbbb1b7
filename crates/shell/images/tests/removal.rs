//! Names come and go, and images with them.
#![allow(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

mod common;

use common::{TestImage, TestStore};
use shoal_images::{ErrorKind, Removed, Usage};

fn free(_: &str) -> Option<Usage> {
    None
}

fn used(running: bool) -> impl Fn(&str) -> Option<Usage> + Sync {
    move |_| Some(Usage { container: "c0ffee".repeat(11)[..64].into(), running })
}

fn untagged(name: &str) -> Removed {
    Removed::Untagged(name.into())
}

async fn with(tags: &[&str]) -> (TestStore, TestImage) {
    let (store, image) = (TestStore::new(), TestImage::small("x"));
    store.load(image.docker_archive(tags)).await.unwrap();
    (store, image)
}

#[tokio::test]
async fn the_last_name_takes_the_image_with_it() {
    let (store, image) = with(&["x:1", "x:2"]).await;
    assert_eq!(store.images.remove("x:1", false, &free).await.unwrap(), [untagged("x:1")]);
    assert_eq!(store.images.find("x:2").await.unwrap().id, image.id());
    let chain = common::digest(&image.plain[0]);
    let gone = store.images.remove("x:2", false, &free).await.unwrap();
    assert_eq!(gone, [untagged("x:2"), Removed::Deleted(image.id()), Removed::Deleted(chain)]);
    assert!(store.images.list().await.is_empty());
    store.assert_empty();
    let store = store.reopened();
    assert!(store.images.list().await.is_empty());
    assert_eq!(store.images.remove("x:2", true, &free).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn what_other_images_need_stays() {
    let store = TestStore::new();
    let base: &[(&str, &[u8])] = &[("base", b"same")];
    let one = TestImage::new(&[base, &[("one", b"1")]]);
    let two = TestImage::new(&[base]);
    store.load(one.docker_archive(&["one:1"])).await.unwrap();
    store.load(two.docker_archive(&["two:1"])).await.unwrap();
    let gone = store.images.remove("one:1", false, &free).await.unwrap();
    assert_eq!(gone.len(), 3, "name, image and its own layer: {gone:?}");
    let layers = store.images.root_layers("two:1").await.unwrap();
    assert_eq!(common::read(&layers, "base"), "same");
    store.save(&["two:1"]).await.unwrap();
}

#[tokio::test]
async fn by_its_id_an_image_goes_with_its_name_but_not_with_several() {
    let (store, image) = with(&["x:1"]).await;
    let gone = store.images.remove(&image.id()[7..19], false, &free).await.unwrap();
    assert_eq!(gone[..2], [untagged("x:1"), Removed::Deleted(image.id())]);

    let (store, image) = with(&["x:1", "y:1"]).await;
    let error = store.images.remove(&image.id(), false, &free).await.unwrap_err();
    let short = &image.id()[7..19];
    assert_eq!(
        error.to_string(),
        format!(
            "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        )
    );
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let gone = store.images.remove(&image.id(), true, &free).await.unwrap();
    assert_eq!(gone[..3], [untagged("x:1"), untagged("y:1"), Removed::Deleted(image.id())]);
    store.assert_empty();
}

#[tokio::test]
async fn an_image_in_use_stays() {
    let (store, image) = with(&["x:1"]).await;
    let (id, short) = (image.id(), &image.id()[7..19]);
    let error = store.images.remove("x:1", false, &used(false)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "conflict: unable to remove repository reference \"x:1\" (must force) - container c0ffeec0ffee is using its \
             referenced image {short}"
        )
    );
    for (force, running, said) in [
        (false, true, "(cannot be forced) - image is being used by running container c0ffeec0ffee"),
        (true, true, "(cannot be forced) - image is being used by running container c0ffeec0ffee"),
        (false, false, "(must be forced) - image is being used by stopped container c0ffeec0ffee"),
    ] {
        let error = store.images.remove(&id, force, &used(running)).await.unwrap_err();
        assert_eq!(error.to_string(), format!("conflict: unable to delete {short} {said}"));
    }
    assert_eq!(store.images.find("x:1").await.unwrap().id, id);
    assert_eq!(store.images.remove("x:1", true, &used(true)).await.unwrap(), [untagged("x:1")]);
    assert_eq!(store.images.root_layers(&id).await.unwrap().len(), 1, "what is used keeps its layers");
}

#[tokio::test]
async fn of_several_names_one_may_go_while_the_image_is_used() {
    let (store, _) = with(&["x:1", "y:1"]).await;
    assert_eq!(store.images.remove("x:1", false, &used(true)).await.unwrap(), [untagged("x:1")]);
}

#[tokio::test]
async fn a_tag_is_one_more_name() {
    let (store, image) = with(&["x:1"]).await;
    store.images.tag("x:1", &"localhost:5000/y:2".parse().unwrap()).await.unwrap();
    store.images.tag(&image.id()[7..15], &"z".parse().unwrap()).await.unwrap();
    let found = store.images.find("z:latest").await.unwrap();
    assert_eq!(found.repo_tags, ["x:1", "z:latest", "localhost:5000/y:2"]);
    let error = store.images.tag("nosuch", &"z".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.to_string(), "No such image: nosuch:latest");
    let by_digest = format!("z@{}", image.id()).parse().unwrap();
    assert_eq!(store.images.tag("z", &by_digest).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    let store = store.reopened();
    assert_eq!(store.images.find("localhost:5000/y:2").await.unwrap().id, image.id());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn removals_and_loads_at_once_leave_whole_images() {
    let (store, image) = with(&["keep:1"]).await;
    let archive = image.docker_archive(&["x:1"]);
    for _ in 0..10 {
        let (loaded, removed) =
            tokio::join!(store.load(archive.clone()), store.images.remove("keep:1", true, &free));
        loaded.unwrap();
        removed.unwrap();
        let layers = store.images.root_layers("x:1").await.unwrap();
        assert_eq!(common::read(&layers, "file"), "x");
        store.save(&["x:1"]).await.unwrap();
        store.images.tag("x:1", &"keep:1".parse().unwrap()).await.unwrap();
        store.images.remove("x:1", false, &free).await.unwrap();
    }
}
