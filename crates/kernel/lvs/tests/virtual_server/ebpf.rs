//! The eBPF engine: hands it to the suite, and looks at what only it leaves in the kernel.

#[path = "access.rs"]
mod access;
#[path = "affinity.rs"]
mod affinity;
#[path = "corners.rs"]
mod corners;
#[path = "east_west.rs"]
mod east_west;
#[path = "expiry.rs"]
mod expiry;
#[path = "ebpf_flows.rs"]
mod flows;
#[path = "foreign.rs"]
mod foreign;
#[path = "fragments.rs"]
mod fragments;
#[path = "icmp.rs"]
mod icmp;
#[path = "ipv6.rs"]
mod ipv6;
#[path = "looking.rs"]
mod looking;
#[path = "mesh.rs"]
mod mesh;
#[path = "mtu.rs"]
mod mtu;
#[path = "own_processes.rs"]
mod own_processes;
#[path = "pressure.rs"]
mod pressure;
#[path = "resets.rs"]
mod resets;
#[path = "tcp_corners.rs"]
mod tcp_corners;
#[path = "upgrade.rs"]
mod upgrade;
#[path = "upkeep.rs"]
mod upkeep;

use crate::lab::{Engine, Place};
use shoal_lvs::{Ebpf, EbpfConfig, TcAttachment, VirtualServer};

pub(crate) struct EbpfEngine(pub(crate) TcAttachment);

impl EbpfEngine {
    pub(crate) fn config(&self, place: &Place) -> EbpfConfig {
        let mut config = EbpfConfig::new(place.pin_root(), place.netns_root());
        config.host_namespace = Some(place.host_namespace());
        config.flow_entries = 4096;
        config.attachment = self.0;
        config
    }
}

impl Engine for EbpfEngine {
    fn open(&self, place: &Place) -> Box<dyn VirtualServer> {
        Box::new(Ebpf::open(&self.config(place)).unwrap_or_else(|e| panic!("{e:?}")))
    }

    fn remove(&self, place: &Place) {
        Ebpf::remove(&self.config(place)).unwrap_or_else(|e| panic!("{e:?}"));
    }
}

/// The engine as it runs by default.
fn engine() -> Box<dyn Engine> {
    Box::new(EbpfEngine(TcAttachment::Auto))
}

mod cases {
    use super::EbpfEngine;
    use super::upkeep::lab;
    use crate::lab::{Lab, Place, Port, VIP};
    use crate::talk::{ask, eventually, ip, names, spread};
    use shoal_lvs::{Difference, Ebpf, Found, Subject, TcAttachment};
    use shoal_model::netns::NamespaceName;
    use shoal_model::spec::Protocol;
    use std::path::PathBuf;
    use std::process::Command;
    use std::{fs, path::Path};

    pub(super) fn bpftool(arguments: &[&str]) -> String {
        let output = Command::new("bpftool").args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The directory of the one version of the maps' layout that is in use.
    pub(super) fn version(place: &Place) -> PathBuf {
        let entries = fs::read_dir(place.pin_root()).unwrap().map(|entry| entry.unwrap().path());
        let mut versions =
            entries.filter(|path| pin(path).rsplit_once("/v").is_some_and(|(_, n)| n.parse::<u32>().is_ok()));
        let only = versions.next().unwrap();
        assert_eq!(versions.next(), None);
        only
    }

    pub(super) fn pins(place: &Place, directory: &str) -> Vec<PathBuf> {
        let at = version(place).join(directory);
        fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    pub(super) fn pin(path: &Path) -> &str {
        path.to_str().unwrap()
    }

    /// Both ways still work on every host, with both tasks.
    pub(super) fn works(lab: &Lab) {
        for host in &lab.hosts {
            let mesh = format!("{}:8080", host.address);
            assert_eq!(spread(&names(&lab.client.path, &mesh, 4)).len(), 2);
        }
        for task in ["a", "b"] {
            assert_eq!(spread(&names(lab.namespace(task), &format!("{VIP}:80"), 4)).len(), 2);
        }
    }

    pub(super) fn repaired(found: &[Difference]) -> Vec<&Subject> {
        for difference in found {
            assert_eq!(difference.unrepaired, None, "{difference}");
        }
        found.iter().map(|difference| &difference.subject).collect()
    }

    #[test]
    fn every_program_that_somebody_detaches_is_attached_again() {
        let mut lab = lab();
        let attached = pins(&lab.hosts[0].place, "attached");
        assert_eq!(attached.len(), 9 + 6);
        for path in &attached {
            bpftool(&["link", "detach", "pinned", pin(path)]);
        }
        let found = lab.sync().remove(0);
        assert_eq!(repaired(&found).len(), 9 + 6);
        assert!(found.iter().all(|difference| difference.found == Found::Missing));
        assert_eq!(lab.sync(), [[], []]);
        works(&lab);
    }

    #[test]
    fn a_lost_pin_is_found() {
        let mut lab = lab();
        fs::remove_file(version(&lab.hosts[0].place).join("attached/link@entry_in@@eth0")).unwrap();
        let found = lab.sync().remove(0);
        let subject = Subject::Program {
            program: "entry_in".to_owned(),
            namespace: NamespaceName::Host,
            link: "eth0".to_owned(),
        };
        assert_eq!(repaired(&found), [&subject]);
        works(&lab);
    }

    #[test]
    fn a_link_made_anew_gets_its_programs() {
        let mut lab = lab();
        lab.hosts[0].netns.ip("link del gwsbox");
        let found = lab.sync().remove(0);
        assert!(found.iter().any(|difference| difference.unrepaired.is_some()), "{found:?}");
        assert!(ask(lab.namespace("a"), &format!("{VIP}:80")).is_ok());
        lab.hosts[0].lay_gateway();
        assert_ne!(lab.sync()[0], []);
        assert_eq!(lab.sync(), [[], []]);
        works(&lab);
    }

    #[test]
    fn whatever_somebody_deletes_from_the_maps_comes_back() {
        let lost = [
            "vip_services",
            "port_services",
            "slots",
            "servers",
            "sandboxes",
            "node_addresses",
            "allowed",
            "published_on",
            "mesh_tasks",
            "task_ports",
            "cursors",
            "tallies",
            "networks",
        ];
        let mut lab = lab();
        lab.access.allow = ["192.168.50.0/24".parse().unwrap()].into();
        lab.access.addresses = Some(lab.hosts.iter().map(|host| ip(&host.address)).collect());
        lab.sync();
        for name in lost {
            let path = version(&lab.hosts[0].place).join("maps").join(name);
            let dump = bpftool(&["-j", "map", "dump", "pinned", pin(&path)]);
            let first = dump.split_once("\"key\":[").unwrap().1.split_once(']').unwrap().0.replace('"', "");
            let mut delete = vec!["map", "delete", "pinned", pin(&path), "key", "hex"];
            let bytes: Vec<String> =
                first.split(',').map(|byte| byte.trim_start_matches("0x").to_owned()).collect();
            delete.extend(bytes.iter().map(String::as_str));
            bpftool(&delete);
            let found = lab.sync().remove(0);
            assert_ne!(repaired(&found), Vec::<&Subject>::new(), "{name}");
            assert_eq!(lab.sync(), [[], []], "{name}");
            works(&lab);
        }
    }

    #[test]
    fn what_somebody_adds_or_changes_is_found() {
        let mut lab = lab();
        let maps = version(&lab.hosts[0].place).join("maps");
        let slots = maps.join("slots");
        let key = ["1", "0", "0", "0", "1", "0", "0", "0", "0", "0", "0", "0"];
        let update = |path: &Path, key: &[&str], value: &[&str]| {
            let mut arguments = vec!["map", "update", "pinned", pin(path), "key"];
            arguments.extend(key);
            arguments.push("value");
            arguments.extend(value);
            bpftool(&arguments);
        };
        update(&slots, &key, &["99", "0", "0", "0"]);
        assert_eq!(repaired(&lab.sync()[0]).len(), 1);
        let stranger = ["77", "0", "0", "0", "1", "0", "0", "0", "0", "0", "0", "0"];
        update(&slots, &stranger, &["1", "0", "0", "0"]);
        assert_eq!(repaired(&lab.sync()[0]), [&Subject::Leftover("ring")]);
        assert_eq!(lab.sync(), [[], []]);
        works(&lab);
    }

    /// What is pinned, as words for `bpftool`: links, or programs that run as filters.
    fn kernel_objects(place: &Place) -> Vec<[String; 4]> {
        let numbered = |path: PathBuf| {
            let kind = if pin(&path).contains("filter@") { "prog" } else { "link" };
            let shown = bpftool(&["-j", kind, "show", "pinned", pin(&path)]);
            let id: u32 = shown.split_once("\"id\":").unwrap().1.split(',').next().unwrap().parse().unwrap();
            [kind.to_owned(), "show".to_owned(), "id".to_owned(), id.to_string()]
        };
        pins(place, "attached").into_iter().map(numbered).collect()
    }

    fn exists(object: &[String; 4]) -> bool {
        Command::new("bpftool").args(object).output().unwrap().status.success()
    }

    fn remains_nothing(mut lab: Lab, engine: &EbpfEngine) {
        works(&lab);
        let place = lab.hosts[0].place.clone();
        let objects = kernel_objects(&place);
        assert!(objects.iter().all(exists));
        lab.hosts[0].engine = None;
        Ebpf::remove(&engine.config(&place)).unwrap();
        eventually("nothing attached", || !objects.iter().any(exists));
        assert!(!place.pin_root().exists());
        assert!(!fs::read_to_string("/proc/self/mounts").unwrap().contains(pin(&place.pin_root())));
        Ebpf::remove(&engine.config(&place)).unwrap();
        // Task a has the virtual address itself, and nothing balances any more.
        assert_eq!(names(lab.namespace("a"), &format!("{VIP}:80"), 3), ["a", "a", "a"]);
        assert!(ask(&lab.client.path, &format!("{}:8080", lab.hosts[0].address)).is_err());
    }

    #[test]
    fn remove_leaves_nothing() {
        remains_nothing(lab(), &EbpfEngine(TcAttachment::Auto));
    }

    #[test]
    fn without_tcx_programs_run_as_filters() {
        let mut lab = Lab::new(Box::new(EbpfEngine(TcAttachment::Clsact)), 2);
        lab.add_task("a", 0);
        lab.add_task("b", 1);
        lab.ports = vec![Port(Protocol::Tcp, 8080, 80)];
        lab.sync();
        assert_eq!(lab.sync(), [[], []]);
        works(&lab);
        lab.hosts[0].netns.output(&["tc", "filter", "del", "dev", "eth0", "ingress"]);
        assert_eq!(repaired(&lab.sync()[0]).len(), 1);
        lab.reopen(0);
        assert_eq!(repaired(&lab.sync()[0]).len(), 6);
        assert_eq!(lab.sync(), [[], []]);
        lab.remove_task("b");
        lab.add_task("b", 1);
        lab.sync();
        remains_nothing(lab, &EbpfEngine(TcAttachment::Clsact));
    }

    #[test]
    fn the_kernel_passes_the_probe() {
        shoal_lvs::probe().unwrap_or_else(|e| panic!("{e:?}"));
    }
}
