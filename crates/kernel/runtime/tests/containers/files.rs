//! File systems.

use crate::fixture::Host;
use shoal_runtime::{BindMount, ContainerSpec, Error, FileMount, MountKind, RootFs};
use std::fs;

crate::tests![
    what_a_container_writes_goes_to_its_own_layer,
    upper_layers_hide_lower_ones,
    many_layers_with_odd_names_are_mounted,
    a_read_only_root_is_read_only,
    generated_files_have_their_content_owner_and_mode,
    generated_files_never_touch_the_disk,
    host_paths_are_bound,
    memory_is_mounted_with_a_size,
    a_missing_source_is_refused_in_dockers_words,
    links_in_the_image_do_not_lead_out_of_it,
    links_inside_the_image_are_followed,
    refusals_tell_their_reason,
    the_usual_file_systems_are_there,
];

fn what_a_container_writes_goes_to_its_own_layer() {
    let host = Host::new();
    let spec = host.spec("echo mine > /tmp/file; rm /etc/group");
    host.run_spec(&spec).text();
    assert_eq!(fs::read_to_string(spec.rootfs.upper.join("tmp/file")).unwrap(), "mine\n");
    assert!(host.root.join("image/etc/group").exists());
    let again = ContainerSpec { id: host.spec("").id, ..spec.clone() };
    let again = ContainerSpec {
        args: ["sh", "-c", "cat /tmp/file; ls /etc"].map(ToOwned::to_owned).to_vec(),
        ..again
    };
    let text = host.run_spec(&again).output;
    assert!(text.ends_with("mine\npasswd\n"), "the layer outlives its container: {text}");
}

fn layer(host: &Host, name: &str, file: &str, content: &str) -> std::path::PathBuf {
    let path = host.root.join("layers").join(name);
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join(file), content).unwrap();
    path
}

fn upper_layers_hide_lower_ones() {
    let host = Host::new();
    let spec = host.spec("cat /file");
    let lowers =
        vec![layer(&host, "top", "file", "top"), layer(&host, "low", "file", "low"), host.root.join("image")];
    let spec = ContainerSpec { rootfs: RootFs { lowers, ..spec.rootfs.clone() }, ..spec };
    assert_eq!(host.run_spec(&spec).text(), "top");
}

fn many_layers_with_odd_names_are_mounted() {
    let host = Host::new();
    let spec = host.spec("cat /file0 /file99");
    let mut lowers: Vec<_> = (0..100)
        .map(|n| layer(&host, &format!("sha256:{n:0>80},x"), &format!("file{n}"), &n.to_string()))
        .collect();
    lowers.push(host.root.join("image"));
    let spec = ContainerSpec { rootfs: RootFs { lowers, ..spec.rootfs.clone() }, ..spec };
    assert_eq!(host.run_spec(&spec).text(), "099");
}

fn a_read_only_root_is_read_only() {
    let host = Host::new();
    let tmpfs = BindMount { kind: MountKind::Tmpfs, target: "/run/x".into(), ..BindMount::default() };
    let spec = ContainerSpec {
        read_only: true,
        mounts: vec![tmpfs],
        ..host.spec("touch /file; touch /run/x/file /dev/shm/file && echo fine")
    };
    let ended = host.run_spec(&spec);
    assert_eq!(ended.text(), "fine");
    assert_eq!(ended.errors, "touch: /file: Read-only file system\n");
}

fn secret(content: &str) -> FileMount {
    FileMount {
        target: "/run/secrets/key".into(),
        content: content.into(),
        mode: 0o440,
        uid: 1000,
        gid: 1001,
        read_only: true,
    }
}

fn generated_files_have_their_content_owner_and_mode() {
    let host = Host::new();
    let hosts = FileMount {
        target: "/etc/hosts".into(),
        content: b"127.0.0.1 localhost\n".to_vec(),
        mode: 0o644,
        ..FileMount::default()
    };
    let script = "cat /run/secrets/key /etc/hosts; stat -c '%a %u %g' /run/secrets/key; echo more >> /etc/hosts; tail -n 1 /etc/hosts; echo no > /run/secrets/key";
    let spec = ContainerSpec { files: vec![secret("hush\n"), hosts], ..host.spec(script) };
    let ended = host.run_spec(&spec);
    assert_eq!(ended.output, "hush\n127.0.0.1 localhost\n440 1000 1001\nmore\n");
    assert!(ended.errors.contains("Read-only file system"), "{ended:?}");
}

fn generated_files_never_touch_the_disk() {
    let host = Host::new();
    let spec = ContainerSpec { files: vec![secret("very-secret-indeed")], ..host.spec("sleep 1000") };
    host.start(&spec);
    let state = host.root.join("containers").join(&spec.id);
    let grep = std::process::Command::new("grep")
        .args(["-rl", "--exclude-dir=rootfs", "--exclude-dir=files", "very-secret-indeed"])
        .arg(&state)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(grep.stdout).unwrap(), "");
    assert_eq!(fs::read_to_string(state.join("files/0")).unwrap(), "very-secret-indeed");
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(mounts.lines().any(|l| l.contains(&format!("{}/files tmpfs", spec.id))));
}

fn host_paths_are_bound() {
    let host = Host::new();
    let shared = layer(&host, "shared", "file", "shared\n");
    let bind = |target: &str, read_only| BindMount {
        source: shared.clone(),
        target: target.into(),
        read_only,
        ..BindMount::default()
    };
    let mounts = vec![bind("/read/only", true), bind("/read/write", false)];
    let spec = ContainerSpec {
        mounts,
        ..host.spec("cat /read/only/file; echo new > /read/write/new; echo no > /read/only/no")
    };
    let ended = host.run_spec(&spec);
    assert_eq!(ended.output, "shared\n");
    assert!(ended.errors.contains("Read-only file system"), "{ended:?}");
    assert_eq!(fs::read_to_string(shared.join("new")).unwrap(), "new\n");
}

fn memory_is_mounted_with_a_size() {
    let host = Host::new();
    let tmpfs = BindMount {
        kind: MountKind::Tmpfs,
        target: "/cache".into(),
        options: vec!["size=1048576".into(), "mode=1777".into()],
        ..BindMount::default()
    };
    let spec = ContainerSpec {
        mounts: vec![tmpfs],
        shm_bytes: Some(2 * 1024 * 1024),
        ..host.spec("df -k /cache /dev/shm | awk 'NR>1 {print $2}'; stat -c %a /cache")
    };
    assert_eq!(host.run_spec(&spec).text(), "1024\n2048\n1777");
}

fn a_missing_source_is_refused_in_dockers_words() {
    let host = Host::new();
    let bind = BindMount { source: "/no/such".into(), target: "/x".into(), ..BindMount::default() };
    let error = host.runtime.create(&ContainerSpec { mounts: vec![bind], ..host.spec("true") }).unwrap_err();
    assert!(matches!(error, Error::InvalidSpec(_)), "{error:?}");
    let text = "invalid mount config for type \"bind\": bind source path does not exist: /no/such";
    assert_eq!(error.to_string(), text);
}

fn with_layer(spec: ContainerSpec, layer: std::path::PathBuf) -> ContainerSpec {
    let mut lowers = spec.rootfs.lowers.clone();
    lowers.insert(0, layer);
    ContainerSpec { rootfs: RootFs { lowers, ..spec.rootfs.clone() }, ..spec }
}

fn links_in_the_image_do_not_lead_out_of_it() {
    let host = Host::new();
    let (evil, outside) = (host.root.join("layers/evil"), host.root.join("outside"));
    fs::create_dir_all(&evil).unwrap();
    fs::create_dir_all(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, evil.join("run")).unwrap();
    let file = ContainerSpec { files: vec![secret("hush\n")], ..host.spec("true") };
    let directory = ContainerSpec { cwd: "/run/dir".into(), ..host.spec("true") };
    for spec in [file, directory] {
        assert!(host.runtime.create(&with_layer(spec, evil.clone())).is_err());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }
}

fn links_inside_the_image_are_followed() {
    let host = Host::new();
    let layer = host.root.join("layers/links");
    fs::create_dir_all(layer.join("var")).unwrap();
    std::os::unix::fs::symlink("/tmp", layer.join("run")).unwrap();
    let spec = ContainerSpec { files: vec![secret("hush\n")], ..host.spec("cat /tmp/secrets/key") };
    assert_eq!(host.run_spec(&with_layer(spec, layer)).text(), "hush");
}

fn refusals_tell_their_reason() {
    let host = Host::new();
    let tmpfs = |options: &[&str]| BindMount {
        kind: MountKind::Tmpfs,
        target: "/x".into(),
        options: options.iter().map(ToString::to_string).collect(),
        ..BindMount::default()
    };
    let file = FileMount { target: "/etc/passwd/x".into(), ..FileMount::default() };
    let lowers = vec!["/no/such".into()];
    let cases = [
        (
            ContainerSpec { mounts: vec![tmpfs(&["size=banana"])], ..host.spec("true") },
            "\"size=banana\"",
            "EINVAL",
        ),
        (ContainerSpec { files: vec![file], ..host.spec("true") }, "/etc/passwd/x", "O_DIRECTORY"),
        (
            ContainerSpec { rootfs: RootFs { lowers, ..host.spec("").rootfs }, ..host.spec("") },
            "/no/such",
            "not there",
        ),
        (
            ContainerSpec { network_namespace: Some("/etc/passwd".into()), ..host.spec("") },
            "/etc/passwd",
            "EINVAL",
        ),
        (ContainerSpec { oom_score_adj: -5000, ..host.spec("true") }, "oom_score_adj", "Invalid argument"),
        (ContainerSpec { cwd: "/etc/passwd".into(), ..host.spec("true") }, "/etc/passwd", "O_DIRECTORY"),
    ];
    for (spec, what, why) in cases {
        let error = host.runtime.create(&spec).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains(why), "{what}, {why}: {error}");
    }
}

fn the_usual_file_systems_are_there() {
    let host = Host::new();
    let script =
        "while read _ where kind options _; do echo $where $kind ${options%%,*}; done < /proc/mounts";
    let text = host.run(script).text().to_owned();
    for line in [
        "/ overlay rw",
        "/proc proc rw",
        "/dev tmpfs rw",
        "/dev/pts devpts rw",
        "/sys sysfs ro",
        "/dev/mqueue mqueue rw",
        "/dev/shm tmpfs rw",
        "/proc/sys proc ro",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing:\n{text}");
    }
}
