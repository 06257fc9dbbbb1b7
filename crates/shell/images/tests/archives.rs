//! Archives in and out.
#![allow(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

mod common;

use common::{TestImage, TestStore, collected, gzip, names, pack, pack_together, read, tar};
use serde_json::json;
use shoal_images::{Error, ErrorKind, LayerError, Progress, Settings};
use std::io::Cursor;

fn two_layers() -> TestImage {
    TestImage::new(&[&[("etc/a", b"low"), ("etc/b", b"low")], &[("etc/a", b"high"), ("bin/tool", b"12345")]])
}

#[tokio::test]
async fn an_archive_of_docker_save_becomes_an_image() {
    let store = TestStore::new();
    let image = two_layers();
    let (progress, messages) = Progress::channel();
    let names = store
        .images
        .load(Cursor::new(image.docker_archive(&["whoami:2", "a.b:5/x"])), progress)
        .await
        .unwrap();
    assert_eq!(names, ["whoami:2", "a.b:5/x:latest"]);
    let streams: Vec<String> =
        collected(messages).await.into_iter().filter_map(|message| message.stream).collect();
    assert_eq!(streams, ["Loaded image: whoami:2\n", "Loaded image: a.b:5/x:latest\n"]);

    let found = store.images.find("whoami:2").await.unwrap();
    assert_eq!(found.id, image.id());
    assert_eq!(found.repo_tags, ["a.b:5/x:latest", "whoami:2"]);
    assert_eq!(found.repo_digests, Vec::<String>::new());
    assert_eq!((found.size, found.layer_sizes.as_slice()), (15, &[6, 9][..]));
    assert_eq!(found.created.to_string(), "2024-01-02T03:04:05.5Z");
    assert_eq!((found.os.as_str(), found.config.cmd.as_slice()), ("linux", &["/bin/sh".to_owned()][..]));
    assert_eq!(found.config.exposed_ports, ["80/tcp"]);
    assert_eq!(found.config.healthcheck.as_ref().unwrap().interval, 5_000_000_000);
    assert_eq!((found.history.len(), found.diff_ids.len()), (1, 2));
    assert_eq!(store.images.list().await, [found]);

    let layers = store.images.root_layers(&image.id()).await.unwrap();
    assert_eq!(layers.len(), 2);
    assert_eq!((read(&layers[..1], "etc/a"), read(&layers[1..], "etc/a")), ("high".into(), "low".into()));
}

#[tokio::test]
async fn images_are_found_by_every_form_of_their_name() {
    let store = TestStore::new();
    let image = TestImage::small("x");
    store.load(image.docker_archive(&["busybox:latest"])).await.unwrap();
    let id = image.id();
    let digits = &id["sha256:".len()..];
    for name in
        ["busybox", "busybox:latest", "docker.io/library/busybox", &id, digits, &digits[..12], &id[..20]]
    {
        assert_eq!(store.images.find(name).await.unwrap().id, id, "{name}");
    }
    let missing = "sha256:".to_owned() + &"0".repeat(64);
    for (name, shown) in [
        ("nosuch", "nosuch:latest"),
        ("busybox:1", "busybox:1"),
        ("docker.io/library/x", "x:latest"),
        (missing.as_str(), missing.as_str()),
        ("Not A Name", "Not A Name"),
    ] {
        let error = store.images.find(name).await.unwrap_err();
        assert_eq!(error.to_string(), format!("No such image: {shown}"));
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn a_beginning_that_several_ids_have_is_ambiguous() {
    let store = TestStore::new();
    // Seventeen ids cannot all begin differently.
    for number in 0..17 {
        store.load(TestImage::small(&number.to_string()).docker_archive(&[])).await.unwrap();
    }
    let mut first: Vec<String> =
        store.images.list().await.into_iter().map(|image| image.id[7..8].to_owned()).collect();
    first.sort();
    let twice = first.windows(2).find(|pair| pair[0] == pair[1]).unwrap()[0].clone();
    let error = store.images.find(&twice).await.unwrap_err();
    assert!(matches!(error, Error::Ambiguous { .. }), "{error}");
}

#[tokio::test]
async fn every_compression_of_archive_and_layers_is_read() {
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    let plain = |bytes: &[u8]| bytes.to_vec();
    for outer in [plain as fn(&[u8]) -> Vec<u8>, gzip, zstd] {
        for inner in [plain as fn(&[u8]) -> Vec<u8>, gzip, zstd] {
            let image = two_layers().compressed(inner);
            let (docker, oci) = (TestStore::new(), TestStore::new());
            assert_eq!(docker.load(outer(&image.docker_archive(&["x:1"]))).await.unwrap(), ["x:1"]);
            assert_eq!(oci.load(outer(&pack(&image.oci_members(Some("x:1"))))).await.unwrap(), ["x:1"]);
            for store in [docker, oci] {
                let layers = store.images.root_layers("x:1").await.unwrap();
                assert_eq!(read(&layers, "bin/tool"), "12345");
                assert_eq!(store.images.find("x:1").await.unwrap().id, image.id());
            }
        }
    }
}

#[tokio::test]
async fn an_image_without_a_name_is_told_by_its_id() {
    let store = TestStore::new();
    let image = TestImage::small("x");
    assert_eq!(store.load(pack(&image.oci_members(None))).await.unwrap(), [image.id()]);
    assert_eq!(store.images.list().await[0].repo_tags, Vec::<String>::new());
}

#[tokio::test]
async fn the_own_platform_is_taken_from_a_layout_of_several() {
    let store = TestStore::new();
    let (own, other) = (TestImage::small("own"), TestImage::small("other"));
    let architecture = own.configuration["architecture"].clone();
    let entry = |image: &TestImage, architecture: &serde_json::Value| {
        let manifest = image.manifest();
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        json!({
            "mediaType": media_type, "digest": common::digest(&manifest), "size": manifest.len(),
            "platform": {"os": "linux", "architecture": architecture},
        })
    };
    let list = json!({"schemaVersion": 2, "manifests": [entry(&other, &json!("s390x")), entry(&own, &architecture)]});
    let list = serde_json::to_vec(&list).unwrap();
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.index.v1+json", "digest": common::digest(&list), "size": list.len(),
        "annotations": {"org.opencontainers.image.ref.name": "docker.io/library/multi:1"},
    }]});
    let mut members = own.oci_blobs();
    members.push((format!("blobs/sha256/{}", &common::digest(&list)[7..]), list));
    members.push(("index.json".into(), serde_json::to_vec(&index).unwrap()));
    assert_eq!(store.load(pack(&members)).await.unwrap(), ["multi:1"]);
    assert_eq!(store.images.find("multi:1").await.unwrap().id, own.id());
}

#[tokio::test]
async fn images_in_one_archive_share_layers() {
    let store = TestStore::new();
    let base: &[(&str, &[u8])] = &[("base", b"same")];
    let one = TestImage::new(&[base, &[("one", b"1")]]);
    let two = TestImage::new(&[base, &[("two", b"2")]]);
    let archive = pack_together(&[one.docker_members(&["one:1"]), two.docker_members(&["two:1"])]);
    assert_eq!(store.load(archive).await.unwrap(), ["one:1", "two:1"]);
    let (one, two) =
        (store.images.root_layers("one:1").await.unwrap(), store.images.root_layers("two:1").await.unwrap());
    assert_eq!(one[1], two[1]);
    assert_ne!(one[0], two[0]);
    assert_eq!(store.holds()["layers"].len(), 3);
}

#[tokio::test]
async fn layers_may_be_links_to_each_other_as_old_archives_have_them() {
    let store = TestStore::new();
    let image = TestImage::new(&[&[("a", b"same")], &[("a", b"same")]]);
    let members = image.docker_members(&["x:1"]);
    let first = members[0].0.clone();
    let mut builder = tar::Builder::new(Vec::new());
    for (index, (name, data)) in members.iter().enumerate() {
        let mut header = tar::Header::new_gnu();
        if index == 1 {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, name, format!("../{first}")).unwrap();
        } else {
            header.set_size(data.len() as u64);
            builder.append_data(&mut header, name, data.as_slice()).unwrap();
        }
    }
    store.load(builder.into_inner().unwrap()).await.unwrap();
    assert_eq!(store.images.root_layers("x:1").await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_name_moves_to_the_image_that_was_loaded_last() {
    let store = TestStore::new();
    let (old, new) = (TestImage::small("old"), TestImage::small("new"));
    store.load(old.docker_archive(&["x:1"])).await.unwrap();
    store.load(new.docker_archive(&["x:1"])).await.unwrap();
    assert_eq!(store.images.find("x:1").await.unwrap().id, new.id());
    assert_eq!(store.images.find(&old.id()).await.unwrap().repo_tags, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_saved_can_be_loaded_elsewhere() {
    for compress in [|bytes: &[u8]| bytes.to_vec(), gzip as fn(&[u8]) -> Vec<u8>] {
        let (from, to) = (TestStore::new(), TestStore::new());
        let (one, two) = (two_layers().compressed(compress), TestImage::small("two"));
        from.load(pack_together(&[
            one.docker_members(&["one:1", "one:2"]),
            two.docker_members(&["r.io/two:1"]),
        ]))
        .await
        .unwrap();
        let archive = from.save(&["one", &two.id()]).await.unwrap();
        assert_eq!(to.load(archive).await.unwrap(), ["one:1", "one:2", two.id().as_str()]);
        assert_eq!(to.images.find("one:2").await.unwrap().id, one.id());
        assert_eq!(to.holds()["blobs"], from.holds()["blobs"]);

        let by_tag = from.save(&["one:2", "r.io/two:1"]).await.unwrap();
        assert_eq!(TestStore::new().load(by_tag).await.unwrap(), ["one:2", "r.io/two:1"]);
        assert_eq!(from.save(&["nosuch"]).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn other_tools_read_what_is_saved() {
    let store = TestStore::new();
    let image = two_layers().compressed(gzip);
    store.load(image.docker_archive(&["x:1"])).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.tar");
    std::fs::write(&path, store.save(&["x:1"]).await.unwrap()).unwrap();
    for transport in ["docker-archive", "oci-archive"] {
        let to = directory.path().join(transport);
        let output = std::process::Command::new("skopeo")
            .args(["copy", "--insecure-policy", "--quiet"])
            .arg(format!("{transport}:{}", path.display()))
            .arg(format!("dir:{}", to.display()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{transport}: {}", String::from_utf8_lossy(&output.stderr));
        let configuration = to.join(&image.id()["sha256:".len()..]);
        assert!(configuration.exists(), "{transport} keeps the configuration: {:?}", names(&to));
    }
}

/// Archives that must not come in, with a part of what is said.
fn bad_archives() -> Vec<(&'static str, Vec<u8>)> {
    let image = two_layers();
    let without = |gone: &str| {
        let mut members = image.docker_members(&["x:1"]);
        members.retain(|(name, _)| !name.ends_with(gone));
        pack(&members)
    };
    let changed = |edit: &dyn Fn(&mut TestImage)| {
        let mut image = image.clone();
        edit(&mut image);
        image.docker_archive(&["x:1"])
    };
    let hostile = |name: &str| {
        let mut bad = TestImage::small("x");
        let layer = tar(&[(name, b"bad")]);
        bad.configuration["rootfs"]["diff_ids"] = json!([common::digest(&layer)]);
        (bad.layers, bad.plain) = (vec![layer.clone()], vec![layer]);
        bad.docker_archive(&["x:1"])
    };
    let mut tampered = image.docker_members(&["x:1"]);
    let configuration = tampered.iter_mut().find(|(_, data)| *data == image.configuration_bytes()).unwrap();
    configuration.1.push(b' ');
    let mut tampered_blob = image.oci_members(Some("x:1"));
    let layer = tampered_blob.iter_mut().find(|(_, data)| *data == image.layers[1]).unwrap();
    layer.1.clone_from(&image.layers[0]);
    let mut sneaky = image.docker_members(&["x:1"]);
    for member in &mut sneaky {
        if member.0 == "manifest.json" {
            let text = String::from_utf8(member.1.clone()).unwrap();
            let first = image.docker_members(&[])[0].0.clone();
            member.1 = text.replace(&first, "../../../etc/passwd").into_bytes();
        }
    }
    vec![
        ("neither", pack(&[])),
        ("neither", without("manifest.json")),
        ("has no", without(&format!("{}.json", &image.id()[7..]))),
        ("has no", without("-1/layer.tar")),
        ("has no ../../../etc/passwd", pack(&sneaky)),
        ("digest is", pack(&tampered)),
        ("digest is", pack(&tampered_blob)),
        ("digest is", changed(&|image| image.layers.reverse())),
        ("digest is", changed(&|image| image.layers[1] = gzip(&image.plain[0]))),
        ("names 1 layers", changed(&|image| image.configuration["rootfs"]["diff_ids"] = json!([image.id()]))),
        ("names no layers", changed(&|image| image.configuration["rootfs"] = json!(null))),
        ("unknown type", changed(&|image| image.configuration["rootfs"]["type"] = json!("zip"))),
        ("digest", changed(&|image| image.configuration["rootfs"]["diff_ids"] = json!(["sha256:../x", "y"]))),
        ("windows", changed(&|image| image.configuration["os"] = json!("windows"))),
        ("configuration", changed(&|image| image.configuration["config"] = json!({"Env": "x"}))),
        ("invalid reference", image.docker_archive(&["UPPER:1"])),
        ("leads out", hostile("../escape")),
        ("leads out", hostile("a/../../escape")),
        ("broken or cut short", changed(&|image| image.layers[1].truncate(700))),
        ("broken or cut short", changed(&|image| image.layers[1] = gzip(&image.plain[1])[..60].to_vec())),
        ("checksum", b"this is no archive at all".repeat(100)),
        ("broken or cut short", gzip(&image.docker_archive(&["x:1"]))[..300].to_vec()),
        ("manifest.json", pack(&[("manifest.json".into(), b"{".to_vec())])),
        ("names no image", pack(&[("manifest.json".into(), b"[]".to_vec())])),
        ("xz", b"\xfd7zXZ\0\0\0\0".to_vec()),
    ]
}

#[tokio::test]
async fn bad_archives_are_refused_with_a_reason_and_leave_nothing() {
    let store = TestStore::new();
    for (index, (reason, archive)) in bad_archives().into_iter().enumerate() {
        let error = store.load(archive).await.expect_err(reason);
        assert!(error.report().contains(reason), "{index}: {} should say {reason}", error.report());
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{}", error.report());
        assert!(store.images.list().await.is_empty());
        store.assert_empty();
    }
}

#[tokio::test]
async fn an_archive_cut_anywhere_is_refused() {
    let store = TestStore::new();
    let archive = pack(&TestImage::small("x").oci_members(Some("x:1")));
    // Only the zeros at its end may be missing.
    let end = archive.len() - 1024;
    for length in (0..end).step_by(256) {
        assert!(store.load(archive[..length].to_vec()).await.is_err(), "{length} of {}", archive.len());
        store.assert_empty();
    }
}

#[tokio::test]
async fn an_archive_comes_in_as_a_whole_or_not_at_all() {
    let store = TestStore::new();
    let good = TestImage::small("good");
    store.load(good.docker_archive(&["x:1"])).await.unwrap();
    let before = store.holds();
    let (fine, mut bad) = (TestImage::small("fine"), TestImage::small("bad"));
    bad.layers[0] = tar(&[("file", b"other")]);
    let archive = pack_together(&[fine.docker_members(&["x:1"]), bad.docker_members(&["y:1"])]);
    let error = store.load(archive).await.unwrap_err();
    assert!(matches!(error, Error::Layer { source: LayerError::WrongDigest { .. }, .. }), "{error}");
    assert_eq!(store.holds(), before);
    assert_eq!(store.images.find("x:1").await.unwrap().id, good.id());
}

#[tokio::test]
async fn more_than_the_bound_is_refused() {
    let big = "0".repeat(200_000);
    let image = TestImage::small(&big).compressed(gzip);
    let small = Settings { unpacked_bytes: 100_000, ..Settings::default() };
    let few = Settings { entries: 2, ..Settings::default() };
    for settings in [small, few] {
        let store = TestStore::with(settings);
        let error = store.load(image.docker_archive(&["x:1"])).await.unwrap_err();
        assert!(error.report().contains("more than"), "{}", error.report());
        store.assert_empty();
    }
    let bounded = TestStore::with(Settings { unpacked_bytes: 300_000, ..Settings::default() });
    let twice = TestImage::new(&[&[("a", big.as_bytes())], &[("b", big.as_bytes())]]).compressed(gzip);
    let error = bounded.load(twice.docker_archive(&["x:1"])).await.unwrap_err();
    assert!(error.report().contains("more than"), "the bound is for all layers: {}", error.report());
    bounded.load(image.docker_archive(&["x:1"])).await.unwrap();
}

#[tokio::test]
async fn a_store_is_the_same_after_a_restart_without_what_was_left_over() {
    let store = TestStore::new();
    let image = two_layers();
    store.load(image.docker_archive(&["x:1"])).await.unwrap();
    let (listed, held) = (store.images.list().await, store.holds());
    let root = store.root();
    std::fs::create_dir_all(root.join("work/half/done")).unwrap();
    std::fs::create_dir_all(root.join("layers").join("0".repeat(64)).join("diff")).unwrap();
    std::fs::write(root.join("blobs/sha256").join("1".repeat(64)), "junk").unwrap();
    std::fs::write(root.join("blobs/sha256/strange"), "junk").unwrap();
    std::fs::write(root.join("index.json.new"), "{").unwrap();
    let store = store.reopened();
    assert_eq!(store.images.list().await, listed);
    assert_eq!(store.holds(), held);
}

#[tokio::test]
async fn a_damaged_image_does_not_keep_the_store_from_opening() {
    let store = TestStore::new();
    let (good, bad) = (TestImage::small("good"), TestImage::small("bad"));
    store.load(good.docker_archive(&["good:1"])).await.unwrap();
    store.load(bad.docker_archive(&["bad:1"])).await.unwrap();
    std::fs::write(store.root().join("blobs/sha256").join(&bad.id()[7..]), "damage").unwrap();
    let store = store.reopened();
    assert_eq!(store.images.list().await.len(), 1);
    assert_eq!(store.images.find("good:1").await.unwrap().id, good.id());
    store.load(bad.docker_archive(&["bad:1"])).await.unwrap();
    assert_eq!(store.images.root_layers("bad:1").await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_get_in_each_others_way_not() {
    let store = TestStore::new();
    let image = two_layers().compressed(gzip);
    let loads = (0..8).map(|number| store.load(image.docker_archive(&[&format!("x:{number}")])));
    for result in futures::future::join_all(loads).await {
        result.unwrap();
    }
    assert_eq!(store.images.find("x:0").await.unwrap().repo_tags.len(), 8);
    assert_eq!(store.holds()["layers"].len(), 2);
    let layers = store.images.root_layers("x:0").await.unwrap();
    for layer in &layers {
        std::fs::remove_dir_all(layer.parent().unwrap()).unwrap();
    }
    let unpacked = futures::future::join_all((0..8).map(|_| store.images.root_layers("x:3"))).await;
    for result in unpacked {
        assert_eq!(result.unwrap(), layers);
    }
    assert_eq!(read(&layers, "bin/tool"), "12345");
    assert!(store.holds()["work"].is_empty());
}

#[tokio::test]
async fn a_layer_that_went_missing_or_is_damaged_is_unpacked_again() {
    let store = TestStore::new();
    store.load(two_layers().docker_archive(&["x:1"])).await.unwrap();
    let layers = store.images.root_layers("x:1").await.unwrap();
    std::fs::remove_file(layers[1].parent().unwrap().join("size")).unwrap();
    std::fs::write(layers[1].join("etc/a"), "damage").unwrap();
    assert_eq!(store.images.root_layers("x:1").await.unwrap(), layers);
    assert_eq!(read(&layers[1..], "etc/a"), "low");
}

#[tokio::test]
async fn a_file_system_becomes_an_image_of_one_layer() {
    let store = TestStore::new();
    let layer = tar(&[("bin/sh", b"#!"), ("./etc/x", b"y")]);
    let changes = ["CMD [\"/bin/sh\"]".to_owned(), "ENV A=b".to_owned(), "EXPOSE 80".to_owned()];
    for (name, archive) in [("mine:1", layer.clone()), ("mine:2", gzip(&layer))] {
        let (progress, messages) = Progress::channel();
        let reference = Some(name.parse().unwrap());
        let id =
            store.images.import(Cursor::new(archive), reference, "why", &changes, progress).await.unwrap();
        let last = collected(messages).await.pop().unwrap();
        assert_eq!(last.status.as_deref(), Some(id.as_str()));
        let image = store.images.find(name).await.unwrap();
        assert_eq!((image.id.as_str(), image.comment.as_str(), image.size), (id.as_str(), "why", 3));
        assert_eq!((image.config.cmd, image.config.env), (vec!["/bin/sh".into()], vec!["A=b".into()]));
        assert_eq!(image.config.exposed_ports, ["80/tcp"]);
        assert!(!image.created.is_never());
        assert_eq!(image.diff_ids, [common::digest(&layer)]);
        assert_eq!(read(&store.images.root_layers(name).await.unwrap(), "etc/x"), "y");
    }
    let anonymous = store.images.import(Cursor::new(layer), None, "", &[], Progress::none()).await.unwrap();
    assert_eq!(store.images.find(&anonymous).await.unwrap().repo_tags, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_no_file_system_is_not_imported() {
    let store = TestStore::new();
    let layer = tar(&[("a", &[7; 3000])]);
    let good = ["CMD x".to_owned()];
    let bad = ["RUN x".to_owned()];
    for (archive, changes, reason) in [
        (Vec::new(), &good, "empty"),
        (b"no archive".repeat(80), &good, "checksum"),
        (layer[..2000].to_vec(), &good, "cut short"),
        (gzip(&layer)[..40].to_vec(), &good, "cut short"),
        (tar(&[("../x", b"")]), &good, "leads out"),
        (layer.clone(), &bad, "not a valid change command"),
    ] {
        let result = store.images.import(Cursor::new(archive), None, "", changes, Progress::none()).await;
        let error = result.expect_err(reason);
        assert!(error.report().contains(reason), "{}", error.report());
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        store.assert_empty();
    }
}
