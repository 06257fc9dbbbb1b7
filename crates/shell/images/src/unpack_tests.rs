use super::*;
use proptest::prelude::*;
use rustix::fs::{getxattr, lgetxattr, major, minor};
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::sync::atomic::{AtomicU32, Ordering};

const ROOMY: Bounds = Bounds { bytes: 1 << 30, entries: 10_000 };

/// A layer's archive in the making.
#[derive(Default)]
struct Layer {
    builder: Option<tar::Builder<Vec<u8>>>,
}

/// What an entry has unless a test says otherwise.
fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_000_000);
    header.set_size(0);
    header
}

impl Layer {
    fn new() -> Self {
        Self { builder: Some(tar::Builder::new(Vec::new())) }
    }

    fn raw(mut self, header: &mut tar::Header, name: &str, link: &str, data: &[u8]) -> Self {
        // Names are written as they are: the crate would refuse the bad ones.
        let bytes = header.as_mut_bytes();
        bytes[..100].fill(0);
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        bytes[157..257].fill(0);
        bytes[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_size(data.len() as u64);
        header.set_cksum();
        self.builder.as_mut().unwrap().append(header, data).unwrap();
        self
    }

    fn file(self, name: &str, data: &str) -> Self {
        self.raw(&mut header(tar::EntryType::Regular, 0o644), name, "", data.as_bytes())
    }

    fn directory(self, name: &str, mode: u32) -> Self {
        self.raw(&mut header(tar::EntryType::Directory, mode), name, "", b"")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.raw(&mut header(tar::EntryType::Symlink, 0o777), name, target, b"")
    }

    fn hard_link(self, name: &str, target: &str) -> Self {
        self.raw(&mut header(tar::EntryType::Link, 0o644), name, target, b"")
    }

    fn xattr(mut self, name: &str, value: &[u8]) -> Self {
        let key = format!("SCHILY.xattr.{name}");
        self.builder.as_mut().unwrap().append_pax_extensions([(key.as_str(), value)]).unwrap();
        self
    }

    fn bytes(mut self) -> Vec<u8> {
        self.builder.take().unwrap().into_inner().unwrap()
    }
}

/// Unpacked layers beside each other, and a place to mount an overlay of them.
struct Stack {
    directory: tempfile::TempDir,
    /// Highest first.
    roots: Vec<PathBuf>,
    mounted: Option<PathBuf>,
}

impl Stack {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("shoal-test-unpack-").tempdir().unwrap();
        Self { directory, roots: Vec::new(), mounted: None }
    }

    fn try_add(&mut self, layer: Layer) -> Result<Unpacked, LayerError> {
        let root = self.directory.path().join(format!("layer{}", self.roots.len()));
        fs::create_dir(&root).unwrap();
        let unpacked = unpack(&layer.bytes()[..], Some(&root), &self.roots, ROOMY)?;
        self.roots.insert(0, root);
        Ok(unpacked)
    }

    fn with(mut self, layer: Layer) -> Self {
        self.try_add(layer).unwrap();
        self
    }

    /// The highest layer alone.
    fn top(&self, path: &str) -> PathBuf {
        self.roots[0].join(path)
    }

    /// An overlay of all layers, in a mount namespace of the test's thread.
    fn mounted(&mut self) -> PathBuf {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if let Some(mounted) = &self.mounted {
            return mounted.clone();
        }
        let place = self.directory.path().join(format!("merged{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&place).unwrap();
        leave_the_machines_mounts();
        let empty = self.directory.path().join("empty");
        fs::create_dir_all(&empty).unwrap();
        let lower: Vec<&str> = self.roots.iter().chain([&empty]).map(|root| root.to_str().unwrap()).collect();
        let options = std::ffi::CString::new(format!("lowerdir={}", lower.join(":"))).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("overlay", &place, "overlay", flags, Some(options.as_c_str())).unwrap();
        self.mounted = Some(place.clone());
        place
    }
}

/// Gives the calling thread a mount namespace of its own, which goes away with it.
fn leave_the_machines_mounts() {
    use rustix::mount::{MountPropagationFlags, mount_change};
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    // SAFETY: the thread shares no descriptor table or memory rights by this; only its view of mounts changes.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.unwrap();
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
}

impl Drop for Stack {
    fn drop(&mut self) {
        if let Some(mounted) = &self.mounted {
            let _ = rustix::mount::unmount(mounted, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn refusal(layers: Vec<Layer>) -> String {
    let mut stack = Stack::new();
    let mut result = None;
    for layer in layers {
        result = Some(stack.try_add(layer));
    }
    let error = result.unwrap().expect_err("refused");
    assert!(matches!(error, LayerError::Refused { .. }), "{error:?}");
    error.to_string()
}

#[test]
fn contents_modes_owners_and_times_are_kept() {
    let mut owned = header(tar::EntryType::Regular, 0o6751);
    owned.set_uid(1234);
    owned.set_gid(2345);
    owned.set_mtime(1_600_000_000);
    let mut directory = header(tar::EntryType::Directory, 0o1777);
    directory.set_mtime(1_500_000_000);
    let mut link = header(tar::EntryType::Symlink, 0o777);
    link.set_uid(7);
    link.set_mtime(1_400_000_000);
    let layer = Layer::new()
        .directory("./", 0o711)
        .raw(&mut directory, "tmp/", "", b"")
        .raw(&mut owned, "tmp/program", "", b"#!")
        .raw(&mut link, "tmp/link", "/nowhere", b"");
    let bytes = layer.bytes();
    let root = tempfile::tempdir().unwrap();
    let unpacked = unpack(&bytes[..], Some(root.path()), &[], ROOMY).unwrap();
    assert_eq!(
        (unpacked.diff_id, unpacked.length, unpacked.size),
        (Digest::of(&bytes), bytes.len() as u64, 2)
    );
    let metadata = |name: &str| fs::symlink_metadata(root.path().join(name)).unwrap();
    let program = metadata("tmp/program");
    assert_eq!((program.mode() & 0o7777, program.uid(), program.gid()), (0o6751, 1234, 2345));
    assert_eq!((program.mtime(), program.size()), (1_600_000_000, 2));
    assert_eq!((metadata("tmp").mode() & 0o7777, metadata("tmp").mtime()), (0o1777, 1_500_000_000));
    assert_eq!((metadata("tmp/link").uid(), metadata("tmp/link").mtime()), (7, 1_400_000_000));
    assert_eq!(metadata("").mode() & 0o7777, 0o711);
}

#[test]
fn attributes_are_kept_but_those_of_overlayfs() {
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let stack = Stack::new().with(
        Layer::new()
            .xattr("user.x", b"line\nline")
            .file("a", "")
            .xattr("security.capability", capability)
            .file("ping", "")
            .xattr("trusted.overlay.opaque", b"y")
            .directory("d", 0o755)
            .xattr("user.overlay.whiteout", b"y")
            .file("b", "")
            .xattr("user.x", b"not for links")
            .symlink("l", "a"),
    );
    let value = |name: &str, attribute: &str| {
        let mut value = vec![0; 100];
        let length = getxattr(stack.top(name), attribute, &mut value)?;
        value.truncate(length);
        Ok::<_, Errno>(value)
    };
    assert_eq!(value("a", "user.x").unwrap(), b"line\nline");
    assert_eq!(value("ping", "security.capability").unwrap(), capability);
    assert_eq!(value("d", "trusted.overlay.opaque"), Err(Errno::NODATA));
    assert_eq!(value("b", "user.overlay.whiteout"), Err(Errno::NODATA));
    assert!(lgetxattr(stack.top("l"), "user.x", &mut [0; 100][..]).is_err());
}

#[test]
fn devices_and_pipes_are_made() {
    let mut device = header(tar::EntryType::Char, 0o666);
    device.set_device_major(1).unwrap();
    device.set_device_minor(5).unwrap();
    let stack = Stack::new().with(Layer::new().raw(&mut device, "dev/zero", "", b"").raw(
        &mut header(tar::EntryType::Fifo, 0o600),
        "run/pipe",
        "",
        b"",
    ));
    let zero = fs::symlink_metadata(stack.top("dev/zero")).unwrap();
    assert!(zero.file_type().is_char_device());
    assert_eq!((major(zero.rdev()), minor(zero.rdev()), zero.mode() & 0o7777), (1, 5, 0o666));
    assert!(fs::symlink_metadata(stack.top("run/pipe")).unwrap().file_type().is_fifo());
}

#[test]
fn hard_links_share_an_inode_and_reach_lower_layers() {
    let mut below = header(tar::EntryType::Regular, 0o4755);
    below.set_uid(9);
    let stack = Stack::new().with(Layer::new().raw(&mut below, "usr/bin/tool", "", b"tool")).with(
        Layer::new().file("a", "x").hard_link("b", "a").hard_link("c", "/b").hard_link("t", "usr/bin/tool"),
    );
    let inode = |name: &str| fs::metadata(stack.top(name)).unwrap().ino();
    assert_eq!((inode("b"), inode("c")), (inode("a"), inode("a")));
    assert_eq!(fs::read(stack.top("t")).unwrap(), b"tool");
    let copied = fs::metadata(stack.top("t")).unwrap();
    assert_eq!((copied.mode() & 0o7777, copied.uid()), (0o4755, 9));
}

#[test]
fn whiteouts_hide_what_is_below_and_nothing_else() {
    let mut stack = Stack::new()
        .with(Layer::new().file("etc/a", "1").file("etc/b", "2").file("var/x/y", "3").file("opt/z", "4"))
        .with(Layer::new().file("etc/.wh.a", "").file(".wh.opt", "").file("nowhere/.wh.q", ""))
        .with(Layer::new().hard_link("var/x/.wh.y", "etc/a"));
    let merged = stack.mounted();
    assert_eq!(names(&merged.join("etc")), ["b"]);
    assert_eq!(names(&merged), ["etc", "var"], "no directory is made to hide nothing in");
    assert_eq!(names(&merged.join("var/x")), Vec::<String>::new(), "a whiteout may have any type");
}

#[test]
fn opaque_directories_hide_lower_layers_wherever_the_mark_stands() {
    let mut stack =
        Stack::new().with(Layer::new().file("d/old", "").file("e/old", "").directory("f/", 0o700)).with(
            Layer::new()
                .directory("d/", 0o755)
                .file("d/new", "")
                .file("d/.wh..wh..opq", "")
                .file("e/.wh..wh..opq", "")
                .file("e/new", "")
                .file(".wh..wh.plnk", ""),
        );
    let merged = stack.mounted();
    assert_eq!(names(&merged.join("d")), ["new"]);
    assert_eq!(names(&merged.join("e")), ["new"]);
    assert_eq!(names(&merged), ["d", "e", "f"]);
}

#[test]
fn an_opaque_root_hides_everything_below() {
    let mut stack = Stack::new()
        .with(Layer::new().file("a/old", "").file("b", ""))
        .with(Layer::new().file("a/new", "").file(".wh..wh..opq", "").file("c", ""));
    let merged = stack.mounted();
    assert_eq!(
        (names(&merged), names(&merged.join("a"))),
        (vec!["a".into(), "c".into()], vec!["new".into()])
    );
}

#[test]
fn a_whiteout_and_the_same_name_anew_hide_only_what_is_below() {
    for layer in [
        Layer::new().file(".wh.d", "").directory("d/", 0o755).file("d/new", ""),
        Layer::new().directory("d/", 0o755).file("d/new", "").file(".wh.d", ""),
        Layer::new().file(".wh.d", "").file("d/new", ""),
    ] {
        let mut stack = Stack::new().with(Layer::new().file("d/old", "")).with(layer);
        assert_eq!(names(&stack.mounted().join("d")), ["new"]);
    }
}

#[test]
fn directories_and_files_replace_each_other() {
    let mut stack = Stack::new().with(Layer::new().file("a/x", "").file("b", "file").file("m", "old")).with(
        Layer::new().file("a", "now a file").file("b/y", "").raw(
            &mut header(tar::EntryType::Regular, 0o600),
            "m",
            "",
            b"new",
        ),
    );
    let merged = stack.mounted();
    assert_eq!(fs::read_to_string(merged.join("a")).unwrap(), "now a file");
    assert_eq!(names(&merged.join("b")), ["y"]);
    assert_eq!(fs::metadata(merged.join("m")).unwrap().mode() & 0o7777, 0o600);
    let within = Stack::new().with(
        Layer::new()
            .directory("a/b/", 0o755)
            .file("a/b/c", "")
            .file("a", "f")
            .directory("a/", 0o700)
            .file("a/n", ""),
    );
    assert_eq!(names(&within.top("a")), ["n"]);
}

#[test]
fn directories_that_are_not_in_the_archive_look_as_below() {
    let mut shared = header(tar::EntryType::Directory, 0o1777);
    shared.set_uid(3);
    let mut stack = Stack::new()
        .with(Layer::new().raw(&mut shared, "tmp/", "", b""))
        .with(Layer::new().file("tmp/new", ""));
    let metadata = fs::metadata(stack.mounted().join("tmp")).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.mtime()), (0o1777, 3, 1_000_000));
}

#[test]
fn names_below_symbolic_links_go_where_the_links_lead() {
    let mut stack = Stack::new()
        .with(Layer::new().directory("usr/bin/", 0o755).symlink("bin", "usr/bin").symlink("abs", "/usr"))
        .with(Layer::new().file("bin/tool", "1").file("abs/lib/x", "2"))
        .with(Layer::new().file("bin/.wh.tool", ""));
    let merged = stack.mounted();
    assert!(fs::symlink_metadata(merged.join("bin")).unwrap().is_symlink());
    assert_eq!(names(&merged.join("usr/bin")), Vec::<String>::new());
    assert_eq!(fs::read_to_string(merged.join("usr/lib/x")).unwrap(), "2");
    let within =
        Stack::new().with(Layer::new().directory("a/b/", 0o755).symlink("c", "./a/../a/b/.").file("c/x", ""));
    assert_eq!(names(&within.top("a/b")), ["x"]);
}

#[test]
fn names_that_lead_out_are_refused() {
    for name in ["../x", "a/../../x", ".."] {
        assert!(refusal(vec![Layer::new().file(name, "")]).contains("leads out"), "{name}");
    }
}

#[test]
fn absolute_names_are_below_the_root_of_the_layer() {
    let stack = Stack::new().with(Layer::new().file("/shoal-test/absolute", "x"));
    assert_eq!(fs::read_to_string(stack.top("shoal-test/absolute")).unwrap(), "x");
    assert!(!Path::new("/shoal-test").exists());
}

#[test]
fn links_that_lead_out_are_refused_and_touch_nothing() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    let (directory, secret) = (outside.path().to_str().unwrap(), secret.to_str().unwrap());
    let climbing = "../../../../../../../../tmp";
    for layer in [
        Layer::new().symlink("l", directory).file("l/secret", "stolen"),
        Layer::new().symlink("l", climbing).file("l/secret", "stolen"),
        Layer::new().directory("d/", 0o755).symlink("d/l", "../..").file("d/l/secret", "stolen"),
        Layer::new().symlink("a", "b").symlink("b", "a").file("a/x", ""),
        Layer::new().symlink("l", directory).directory("l/sub/", 0o777),
        Layer::new().symlink("l", directory).file("l/.wh.secret", ""),
        Layer::new().symlink("l", directory).file("l/.wh..wh..opq", ""),
        Layer::new().hard_link("h", "../secret"),
        Layer::new().hard_link("h", secret),
        Layer::new().symlink("l", directory).hard_link("h", "l/secret"),
        Layer::new().hard_link("h", "h"),
        Layer::new().directory("d/", 0o755).hard_link("h", "d"),
        Layer::new().file("f", "").file("f/x", ""),
        Layer::new().file(".wh.d", "").file(".wh.d/x", ""),
    ] {
        refusal(vec![layer]);
    }
    let replaced = Layer::new().symlink("l", directory).directory("l/", 0o700).file("l/secret", "mine");
    let stack = Stack::new().with(replaced);
    assert!(fs::symlink_metadata(stack.top("l")).unwrap().is_dir(), "a directory takes the link's place");
    assert_eq!(names(outside.path()), ["secret"]);
    assert_eq!(fs::read_to_string(secret).unwrap(), "secret");
    assert_ne!(fs::metadata(outside.path()).unwrap().mode() & 0o7777, 0o777);
}

#[test]
fn a_file_in_the_place_of_a_link_does_not_write_through_it() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("target");
    fs::write(&target, "kept").unwrap();
    let stack = Stack::new().with(Layer::new().symlink("l", target.to_str().unwrap()).file("l", "new"));
    assert_eq!(fs::read_to_string(&target).unwrap(), "kept");
    assert!(fs::symlink_metadata(stack.top("l")).unwrap().is_file());
}

#[test]
fn hard_links_to_symbolic_links_link_the_link() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("target");
    fs::write(&target, "kept").unwrap();
    let stack = Stack::new()
        .with(Layer::new().symlink("l", target.to_str().unwrap()).hard_link("h", "l").file("h", "new"));
    assert_eq!(fs::read_to_string(&target).unwrap(), "kept");
    assert!(fs::symlink_metadata(stack.top("l")).unwrap().is_symlink());
}

#[test]
fn lower_layers_that_are_hostile_lead_nowhere() {
    let outside = tempfile::tempdir().unwrap();
    let mut stack = Stack::new().with(Layer::new().directory("d/", 0o755));
    symlink(outside.path(), stack.top("d/l")).unwrap();
    stack.try_add(Layer::new().file("d/l/x", "")).unwrap();
    assert_eq!(names(outside.path()), Vec::<String>::new());
    let inside = outside.path().strip_prefix("/").unwrap();
    assert!(stack.roots[0].join(inside).join("x").exists(), "the link leads on from the root of the layer");
}

#[test]
fn too_much_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let zeros = "0".repeat(100_000);
    let layer = Layer::new().file("a", &zeros).file("b", "").bytes();
    let mut packed = Vec::new();
    crate::compression::gzip(&layer[..], &mut packed).unwrap();
    let few = Bounds { entries: 1, ..ROOMY };
    let small = Bounds { bytes: 50_000, ..ROOMY };
    for bounds in [few, small] {
        let error = unpack(&packed[..], Some(root.path()), &[], bounds).unwrap_err();
        assert!(matches!(error, LayerError::TooLarge { .. }), "{error:?}");
        fs::remove_file(root.path().join("a")).unwrap();
    }
}

#[test]
fn a_broken_archive_is_told_as_such() {
    let layer = Layer::new().file("a", &"x".repeat(4000)).bytes();
    let mut packed = Vec::new();
    crate::compression::gzip(&layer[..], &mut packed).unwrap();
    for bytes in [&layer[..2000], &packed[..packed.len() - 4]] {
        let root = tempfile::tempdir().unwrap();
        let error = unpack(bytes, Some(root.path()), &[], ROOMY).unwrap_err();
        assert!(matches!(error, LayerError::Archive(_)), "{error:?}");
    }
}

#[test]
fn what_follows_the_end_of_the_archive_counts_for_the_digest() {
    let mut bytes = Layer::new().file("a", "x").bytes();
    bytes.extend_from_slice(&[0; 8192]);
    let unpacked = unpack(&bytes[..], None, &[], ROOMY).unwrap();
    assert_eq!(unpacked.diff_id, Digest::of(&bytes));
}

/// Entries of few names, so that they meet each other, with links that lead everywhere.
fn arbitrary_entry(outside: &str) -> impl Strategy<Value = (u8, String, String)> + use<> {
    let names =
        ["a", "b", "c", "a/b", "a/b/c", "b/a", ".wh.a", "a/.wh.b", ".wh..wh..opq", "a/.wh..wh..opq", "../a"];
    let targets = ["a", "b", "a/b", "..", "../..", "b/../../x", "/", ".", "c/../a"];
    let targets: Vec<String> = targets
        .iter()
        .map(|target| (*target).to_owned())
        .chain([outside.to_owned(), format!("{outside}/kept")])
        .collect();
    let kinds = proptest::sample::select(b"012356".to_vec());
    (
        kinds,
        proptest::sample::select(names.to_vec()).prop_map(str::to_owned),
        proptest::sample::select(targets),
    )
}

#[test]
fn no_sequence_of_entries_touches_what_is_outside() {
    let outside = tempfile::Builder::new().prefix("shoal-test-outside-").tempdir().unwrap();
    let kept = outside.path().join("kept");
    fs::write(&kept, "kept").unwrap();
    let before = (fs::metadata(outside.path()).unwrap(), fs::metadata(&kept).unwrap());
    let layer = proptest::collection::vec(arbitrary_entry(outside.path().to_str().unwrap()), 0..12);
    let layers = proptest::collection::vec(layer, 1..3);
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(layers in layers)| {
        let mut stack = Stack::new();
        for entries in layers {
            let mut layer = Layer::new();
            for (kind, name, target) in entries {
                let data: &[u8] = if kind == b'0' { b"data" } else { b"" };
                layer = layer.raw(&mut header(tar::EntryType::new(kind), 0o4777), &name, &target, data);
            }
            if stack.try_add(layer).is_err() {
                break;
            }
        }
        let above: Vec<String> = names(stack.directory.path());
        prop_assert!(above.iter().all(|name| name.starts_with("layer")), "{above:?}");
    });
    assert_eq!(names(outside.path()), ["kept"]);
    assert_eq!(fs::read_to_string(&kept).unwrap(), "kept");
    let after = (fs::metadata(outside.path()).unwrap(), fs::metadata(&kept).unwrap());
    for (before, after) in [(before.0, after.0), (before.1, after.1)] {
        let seen = |metadata: &fs::Metadata| {
            (
                metadata.mode(),
                metadata.nlink(),
                metadata.mtime(),
                metadata.mtime_nsec(),
                metadata.ctime_nsec(),
            )
        };
        assert_eq!(seen(&before), seen(&after));
    }
}
