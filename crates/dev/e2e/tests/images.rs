//! Images through the docker command: archives, a registry, and archives that must be refused.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use shoal_e2e::{Lab, MANAGER, eventually};
use std::fs;
use std::process::{Child, Command, Stdio};

/// A registry in a host's namespace, ended on drop.
struct Registry(Child);

impl Registry {
    fn start(lab: &Lab, directory: &std::path::Path) -> Self {
        let config = directory.join("config.yml");
        let storage = directory.join("storage");
        fs::write(
            &config,
            format!(
                "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:5000\n",
                storage.display()
            ),
        )
        .unwrap();
        let mut command = lab.exec_command(MANAGER, &["docker-registry", "serve", config.to_str().unwrap()]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        eventually("the registry answers", || lab.curl(MANAGER, "http://127.0.0.1:5000/v2/").code == 0);
        Self(child)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn archives_and_a_registry_by_the_docker_command() {
    let lab = Lab::swarm();
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("whoami.tar");
    lab.docker(MANAGER, &["save", "-o", archive.to_str().unwrap(), "whoami"]).ok();
    let _registry = Registry::start(&lab, directory.path());
    lab.docker(MANAGER, &["tag", "whoami", "127.0.0.1:5000/whoami:1"]).ok();
    let pushed = lab.docker(MANAGER, &["push", "127.0.0.1:5000/whoami:1"]).ok();
    assert!(pushed.contains("digest: sha256:"), "{pushed}");
    lab.docker(MANAGER, &["rmi", "whoami", "127.0.0.1:5000/whoami:1"]).ok();
    let pulled = lab.docker(MANAGER, &["pull", "127.0.0.1:5000/whoami:1"]).ok();
    assert!(pulled.contains("Status: Downloaded newer image for 127.0.0.1:5000/whoami:1"), "{pulled}");
    a_service_fetches_its_image(&lab);

    let loaded = lab.docker(MANAGER, &["load", "-i", archive.to_str().unwrap()]).ok();
    assert_eq!(loaded.trim(), "Loaded image: whoami:latest");
    let root = directory.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("hello"), "x").unwrap();
    let tar = directory.path().join("root.tar");
    assert!(
        Command::new("tar").arg("-cf").arg(&tar).arg("-C").arg(&root).arg(".").status().unwrap().success()
    );
    let imported = lab.docker(MANAGER, &["import", tar.to_str().unwrap(), "mine:1"]).ok();
    assert!(imported.trim().starts_with("sha256:"), "{imported}");
    let unknown = lab.docker(MANAGER, &["pull", "127.0.0.1:5000/nosuch:1"]).refused();
    assert!(unknown.contains("not found") || unknown.contains("denied"), "{unknown}");
    broken_archives(&lab, &archive, directory.path());
}

/// The image is on no node that could run the task, so the node must fetch it.
fn a_service_fetches_its_image(lab: &Lab) {
    lab.docker(MANAGER, &["rmi", "127.0.0.1:5000/whoami:1"]).ok();
    let constraint = ["--constraint", "node.hostname==swarm-manager"];
    let mut create = vec!["service", "create", "--detach", "--name", "fetched"];
    create.extend(constraint);
    create.push("127.0.0.1:5000/whoami:1");
    lab.docker(MANAGER, &create).ok();
    lab.converged("fetched", 1);
    lab.docker(MANAGER, &["service", "rm", "fetched"]).ok();
}

/// Each is refused with a reason, and nothing of it is kept.
fn broken_archives(lab: &Lab, good: &std::path::Path, directory: &std::path::Path) {
    let images = || lab.docker(MANAGER, &["images", "-q"]).ok();
    let before = images();
    let bytes = fs::read(good).unwrap();
    let truncated = directory.join("truncated.tar");
    fs::write(&truncated, &bytes[..bytes.len() / 2]).unwrap();
    let noise = directory.join("noise.tar");
    fs::write(&noise, vec![7_u8; 4096]).unwrap();
    for bad in [&truncated, &noise] {
        let refused = lab.docker(MANAGER, &["load", "-i", bad.to_str().unwrap()]).refused();
        assert!(!refused.trim().is_empty());
    }
    let outside = directory.join("outside.tar");
    let script = "import tarfile,io,sys\nt=tarfile.open(sys.argv[1],'w')\ni=tarfile.TarInfo('../../escaped')\ni.size=1\nt.addfile(i,io.BytesIO(b'x'))\nt.close()\n";
    assert!(Command::new("python3").args(["-c", script]).arg(&outside).status().unwrap().success());
    let refused = lab.docker(MANAGER, &["import", outside.to_str().unwrap(), "evil:1"]).refused();
    assert!(refused.contains("escaped"), "{refused}");
    assert_eq!(images(), before, "nothing of the broken archives is kept");
}
