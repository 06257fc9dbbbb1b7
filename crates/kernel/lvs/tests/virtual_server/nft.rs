//! The nft engine: hands it to the suite, and looks at what only it leaves in the kernel.

#[path = "access.rs"]
mod access;
#[path = "affinity.rs"]
mod affinity;
#[path = "corners.rs"]
mod corners;
#[path = "east_west.rs"]
mod east_west;
#[path = "fragments.rs"]
mod fragments;
#[path = "icmp.rs"]
mod icmp;
#[path = "looking.rs"]
mod looking;
#[path = "mesh.rs"]
mod mesh;
#[path = "mtu.rs"]
mod mtu;
#[path = "own_processes.rs"]
mod own_processes;
#[path = "resets.rs"]
mod resets;
#[path = "tcp_corners.rs"]
mod tcp_corners;
#[path = "upkeep.rs"]
mod upkeep;

use crate::lab::{Engine, Place};
use shoal_lvs::{Nft, NftConfig, VirtualServer};

struct NftEngine;

fn config(place: &Place) -> NftConfig {
    let mut config = NftConfig::new(place.netns_root(), "shoal_lvs");
    config.host_namespace = Some(place.host_namespace());
    config
}

impl Engine for NftEngine {
    fn open(&self, place: &Place) -> Box<dyn VirtualServer> {
        Box::new(Nft::open(&config(place)).unwrap_or_else(|e| panic!("{e:?}")))
    }

    fn remove(&self, place: &Place) {
        Nft::remove(&config(place)).unwrap_or_else(|e| panic!("{e:?}"));
    }

    fn steers_by_mark(&self) -> bool {
        true
    }
}

fn engine() -> Box<dyn Engine> {
    Box::new(NftEngine)
}

mod cases {
    use super::config;
    use super::upkeep::lab;
    use crate::lab::Engine;
    use crate::lab::{Lab, Port, VIP};
    use crate::talk::{Connection, ask, eventually, names, spread};
    use shoal_lvs::{Difference, Ebpf, Found, Nft, Subject, TcAttachment};
    use shoal_model::spec::Protocol;
    use std::io::ErrorKind;

    fn repaired(found: &[Difference]) -> Vec<&Subject> {
        for difference in found {
            assert_eq!(difference.unrepaired, None, "{difference}");
        }
        found.iter().map(|difference| &difference.subject).collect()
    }

    /// Both ways still work on every host, with both tasks.
    fn works(lab: &Lab) {
        for host in &lab.hosts {
            assert_eq!(spread(&names(&lab.client.path, &format!("{}:8080", host.address), 4)).len(), 2);
        }
        for task in ["a", "b"] {
            assert_eq!(spread(&names(lab.namespace(task), &format!("{VIP}:80"), 4)).len(), 2);
        }
    }

    #[test]
    fn what_somebody_changes_comes_back_and_connections_go_on() {
        let mut lab = lab();
        let mut kept = Connection::open(&lab.client.path, "192.168.50.10:8080".parse().unwrap()).unwrap();
        let name = kept.ask().unwrap().name;
        let damages = [
            "delete element inet shoal_lvs port4-services { tcp . 8080 }",
            "flush map inet shoal_lvs port4-slots",
            "flush set inet shoal_lvs node4-addresses",
            "flush chain inet shoal_lvs enter",
            "add rule inet shoal_lvs enter tcp dport 8080 drop",
            "add element inet shoal_lvs node4-addresses { 192.168.50.77 }",
            "delete chain inet shoal_lvs enter",
            "add chain inet shoal_lvs stranger",
        ];
        for damage in damages {
            lab.hosts[0].netns.output(&["nft", damage]);
            let found = lab.sync();
            assert_ne!(repaired(&found[0]), Vec::<&Subject>::new(), "{damage}");
            assert_eq!(found[1], [], "{damage}");
            assert_eq!(lab.sync(), [[], []], "{damage}");
            works(&lab);
            assert_eq!(kept.ask().unwrap().name, name, "{damage}");
        }
        lab.hosts[0].netns.output(&["nft", "delete table inet shoal_lvs"]);
        assert_ne!(lab.sync()[0], []);
        works(&lab);
        assert_eq!(kept.ask().unwrap().name, name);
    }

    #[test]
    fn one_more_service_is_a_few_elements_and_no_rule() {
        let mut lab = lab();
        lab.ports.push(Port(Protocol::Tcp, 8081, 81));
        let found = lab.sync().remove(0);
        assert!(found.iter().all(|d| d.found == Found::Missing), "{found:?}");
        assert!(!found.iter().any(|d| matches!(d.subject, Subject::Rules { .. })), "{found:?}");
        assert_eq!(ask(&lab.client.path, "192.168.50.10:8081").unwrap().port, 81);
    }

    #[test]
    fn the_tool_can_list_every_table() {
        let mut lab = lab();
        lab.affinity = Some(60);
        lab.sync();
        names(&lab.client.path, "192.168.50.10:8080", 2);
        for netns in [&lab.hosts[0].netns, &lab.tasks["a"].netns] {
            let listed = netns.output(&["nft", "list", "table", "inet", "shoal_lvs"]);
            assert!(listed.contains("shoal "), "{listed}");
        }
    }

    #[test]
    fn clients_of_this_node_that_only_listen_are_told_when_a_task_goes() {
        let mut lab = lab();
        let vip = format!("{VIP}:80").parse().unwrap();
        let own = "127.0.0.1:8080".parse().unwrap();
        let host = lab.hosts[0].netns.path.clone();
        for (namespace, to) in [(host, own), (lab.namespace("a").to_owned(), vip)] {
            let mut tries = (0..4).map(|_| Connection::open(&namespace, to).unwrap());
            let found = tries.find_map(|mut c| (c.ask().unwrap().name == "b").then_some(c));
            let mut connection = found.unwrap();
            let task = lab.tasks.remove("b").unwrap();
            lab.sync_host(0);
            let error = connection.listen().unwrap_err().kind();
            assert!(matches!(error, ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted), "{error}");
            lab.tasks.insert("b".to_owned(), task);
            lab.sync();
        }
    }

    #[test]
    fn remove_leaves_nothing() {
        let mut lab = lab();
        works(&lab);
        lab.hosts[0].engine = None;
        let place = lab.hosts[0].place.clone();
        lab.engine.remove(&place);
        for netns in [&lab.hosts[0].netns, &lab.tasks["a"].netns] {
            assert!(!netns.output(&["nft", "list", "tables"]).contains("shoal_lvs"));
        }
        lab.engine.remove(&place);
    }

    /// Every host changes from nft to ebpf while a task has a connection to a virtual address.
    #[test]
    fn a_former_engine_keeps_its_connections_and_takes_no_new_ones() {
        let mut lab = lab();
        let vip = format!("{VIP}:80");
        let mut kept = Connection::open(lab.namespace("a"), vip.parse().unwrap()).unwrap();
        let name = kept.ask().unwrap().name;
        let ebpf = crate::ebpf::EbpfEngine(TcAttachment::Auto);
        let mut former: Vec<Nft> = Vec::new();
        for host in 0..2 {
            let place = lab.hosts[host].place.clone();
            lab.hosts[host].engine = Some(ebpf.open(&place));
            lab.sync_host(host);
            former.push(Nft::open(&config(&place)).unwrap());
            assert_eq!(former[host].retire(&lab.table(host)).unwrap(), usize::from(host == 0));
        }
        assert_eq!(kept.ask().unwrap().name, name);
        works(&lab);
        assert_eq!(former[0].retire(&lab.table(0)).unwrap(), 1, "no new connection is the former engine's");
        drop(kept);
        eventually("the former engine is idle", || former[0].retire(&lab.table(0)).unwrap() == 0);
        for host in &mut lab.hosts {
            host.engine = None;
            Nft::remove(&config(&host.place)).unwrap();
            ebpf.remove(&host.place);
        }
    }

    /// A node through which clients have come changes its engine, there and back.
    #[test]
    fn connections_through_the_mesh_go_on_when_their_node_changes_its_engine() {
        let mut lab = lab();
        let ebpf = crate::ebpf::EbpfEngine(TcAttachment::Auto);
        let open = |lab: &Lab| {
            let to = format!("{}:8080", lab.hosts[1].address);
            Connection::open(&lab.client.path, to.parse().unwrap()).unwrap()
        };
        let places: Vec<_> = lab.hosts.iter().map(|host| host.place.clone()).collect();
        let mut by_nft = [open(&lab), open(&lab)];
        let names = by_nft.each_mut().map(|connection| connection.ask().unwrap().name);
        let mut former: Vec<Nft> = places.iter().map(|place| Nft::open(&config(place)).unwrap()).collect();
        for (host, place) in places.iter().enumerate() {
            let mut engine = ebpf.open(place);
            engine.accompany(true);
            lab.hosts[host].engine = Some(engine);
            lab.sync_host(host);
            former[host].retire(&lab.table(host)).unwrap();
        }
        let still = by_nft.each_mut().map(|connection| connection.ask().unwrap().name);
        assert_eq!(still, names, "after nft comes ebpf");
        let mut by_ebpf = [open(&lab), open(&lab)];
        let names = by_ebpf.each_mut().map(|connection| connection.ask().unwrap().name);
        for host in 0..places.len() {
            lab.reopen(host);
            lab.sync_host(host);
        }
        let mut former: Vec<Ebpf> =
            places.iter().map(|place| Ebpf::open(&ebpf.config(place)).unwrap()).collect();
        let going_on: usize = former.iter_mut().map(|engine| engine.retire().unwrap()).sum();
        assert_eq!(going_on, 2);
        let still = by_ebpf.each_mut().map(|connection| connection.ask().unwrap().name);
        assert_eq!(still, names, "after ebpf comes nft");
        works(&lab);
        drop(by_ebpf);
        eventually("the former engine is idle", || former.iter_mut().all(|e| e.retire().unwrap() == 0));
        drop(former);
        for place in &places {
            ebpf.remove(place);
        }
        works(&lab);
    }

    /// And back.
    #[test]
    fn after_ebpf_connections_of_tasks_go_on() {
        let ebpf = crate::ebpf::EbpfEngine(TcAttachment::Auto);
        let mut lab = lab();
        let place = lab.hosts[0].place.clone();
        lab.hosts[0].engine = None;
        Nft::remove(&config(&place)).unwrap();
        lab.hosts[0].engine = Some(ebpf.open(&place));
        lab.sync_host(0);
        let vip = format!("{VIP}:80");
        let mut kept = Connection::open(lab.namespace("a"), vip.parse().unwrap()).unwrap();
        let name = kept.ask().unwrap().name;
        lab.reopen(0);
        lab.sync();
        let mut former = Ebpf::open(&ebpf.config(&place)).unwrap();
        assert_eq!(former.retire().unwrap(), 0);
        assert_eq!(kept.ask().unwrap().name, name);
        works(&lab);
        drop(former);
        ebpf.remove(&place);
        assert_eq!(kept.ask().unwrap().name, name);
        works(&lab);
    }
}
