//! A swarm's networks on one machine: hosts on a LAN, VXLAN between them, laid out as on real nodes.

use crate::netns::Netns;
use crate::talk::{Responder, ip};
use shoal_lvs::{Difference, VirtualServer};
use shoal_model::lvs::{
    Access, Mesh, MeshTask, PortMapping, RealServer, Scheduler, Table, VirtualService, VirtualServiceKey,
};
use shoal_model::netns::NamespaceName;
use shoal_model::spec::Protocol;
use shoal_model::{Mac, NetworkId, TaskId};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Makes and removes the engine under test; the cases know no more of it.
pub(crate) trait Engine {
    fn open(&self, place: &Place) -> Box<dyn VirtualServer>;
    fn remove(&self, place: &Place);

    /// Whether answers of tasks find their way back by a mark, by rules and routes that the agent would declare.
    fn steers_by_mark(&self) -> bool {
        false
    }
}

/// One host's directories.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) root: PathBuf,
}

impl Place {
    pub(crate) fn host_namespace(&self) -> PathBuf {
        self.root.join("host")
    }

    pub(crate) fn netns_root(&self) -> PathBuf {
        self.root.join("netns")
    }

    pub(crate) fn pin_root(&self) -> PathBuf {
        self.root.join("bpf")
    }
}

pub(crate) const OVERLAY_ID: u128 = 2;
pub(crate) const VIP: &str = "10.0.1.2";
pub(crate) const VIP6: &str = "fd00:1::2";
/// What VXLAN over IPv4 adds to a packet.
const TUNNEL_BYTES: u32 = 50;
const INGRESS: &str = "1-ingress";
const OVERLAY: &str = "1-overlay";

pub(crate) struct Host {
    pub(crate) place: Place,
    index: usize,
    pub(crate) address: String,
    pub(crate) engine: Option<Box<dyn VirtualServer>>,
    pub(crate) netns: Netns,
    pub(crate) sandbox: Netns,
    pub(crate) ingress: Netns,
    overlay: Netns,
    next_gateway_address: usize,
}

pub(crate) struct Task {
    pub(crate) id: TaskId,
    pub(crate) host: usize,
    pub(crate) weight: u32,
    number: usize,
    pub(crate) netns: Netns,
    /// Whether its own connections are balanced.
    pub(crate) registered: bool,
    /// Whether it is declared with its IPv6 address on the ingress network.
    pub(crate) speaks_ipv6: bool,
    _responder: Responder,
}

/// A published port of the one service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Port(pub(crate) Protocol, pub(crate) u16, pub(crate) u16);

pub(crate) struct Lab {
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) tasks: BTreeMap<String, Task>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) client: Netns,
    pub(crate) ports: Vec<Port>,
    pub(crate) scheduler: Scheduler,
    pub(crate) affinity: Option<u32>,
    pub(crate) access: Access,
    /// An address that every host counts among its own, as one that moves with a fail-over does.
    pub(crate) floating: Option<IpAddr>,
    /// Whether the ingress network has no other family.
    pub(crate) only_ipv6: bool,
    /// The host's links to clients, by name.
    pub(crate) uplinks: BTreeSet<String>,
    /// Sandboxes without any overlay network, by host.
    containers: Vec<(usize, Netns)>,
    lan: Netns,
    root: PathBuf,
    next_task: usize,
}

pub(crate) fn network(number: u128) -> NetworkId {
    NetworkId::from_random(number)
}

impl Task {
    pub(crate) fn ingress_address(&self) -> String {
        format!("10.0.0.{}", 20 + self.number)
    }

    pub(crate) fn ingress_address6(&self) -> String {
        format!("fd00::{}", 20 + self.number)
    }

    pub(crate) fn overlay_address(&self) -> String {
        format!("10.0.1.{}", 20 + self.number)
    }

    pub(crate) fn overlay_address6(&self) -> String {
        format!("fd00:1::{}", 20 + self.number)
    }

    fn ingress_mac(&self) -> Mac {
        Mac::of_endpoint(self.id.as_str(), "ingress")
    }

    fn overlay_mac(&self) -> Mac {
        Mac::of_endpoint(self.id.as_str(), "overlay")
    }

    fn name(&self) -> String {
        format!("task{}", self.number)
    }

    pub(crate) fn port_link(&self) -> String {
        format!("vi{}", self.number)
    }
}

impl Host {
    fn sandbox_mac(&self) -> Mac {
        Mac::of_endpoint(&self.address, "ingress")
    }

    fn sandbox_address(&self) -> String {
        format!("10.0.0.{}", self.index + 2)
    }

    fn sandbox_address6(&self) -> String {
        format!("fd00::{}", self.index + 2)
    }

    /// Its address on the LAN over IPv6.
    pub(crate) fn address6(&self) -> String {
        format!("fd50::1{}", self.index)
    }
}

static LABS: AtomicUsize = AtomicUsize::new(0);

impl Lab {
    /// Hosts 0 to `hosts - 1` at `192.168.50.10` and `fd50::10` and up, a client at `.100` of both, no tasks.
    pub(crate) fn new(engine: Box<dyn Engine>, hosts: usize) -> Self {
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let root = PathBuf::from(format!("/tmp/shoal-test-lvs-{}-{number}", std::process::id()));
        let lan = Netns::new(root.join("lan"));
        lan.ip("link add lan0 type bridge\nlink set lan0 up");
        let client = Netns::new(root.join("client"));
        plug(&lan, "client", &client, &["192.168.50.100/24", "fd50::100/64"]);
        let mut lab = Self {
            engine,
            tasks: BTreeMap::new(),
            hosts: Vec::new(),
            client,
            ports: Vec::new(),
            scheduler: Scheduler::RoundRobin,
            affinity: None,
            access: Access::default(),
            floating: None,
            only_ipv6: false,
            uplinks: ["eth0".to_owned()].into(),
            containers: Vec::new(),
            lan,
            root,
            next_task: 0,
        };
        for index in 0..hosts {
            lab.add_host(index);
        }
        lab.connect_sandboxes();
        lab
    }

    fn add_host(&mut self, index: usize) {
        let place = Place { root: self.root.join(format!("host{index}")) };
        let address = format!("192.168.50.1{index}");
        let host = Netns::new(place.host_namespace());
        let named = |name: &str| Netns::new(place.netns_root().join(name));
        let (sandbox, ingress, overlay) = (named("ingress_sbox"), named(INGRESS), named(OVERLAY));
        let own = [format!("{address}/24"), format!("fd50::1{index}/64")];
        plug(&self.lan, &format!("h{index}"), &host, &own.each_ref().map(String::as_str));
        for netns in [&host, &sandbox] {
            netns.sysctl("net/ipv4/ip_forward", "1");
        }
        host.ip("link add docker_gwbridge type bridge\n\
             addr add 172.18.0.1/16 dev docker_gwbridge\n\
             link set docker_gwbridge up");
        let mut made = Host {
            place,
            index,
            address,
            engine: None,
            netns: host,
            sandbox,
            ingress,
            overlay,
            next_gateway_address: 3,
        };
        made.lay_overlays();
        made.lay_sandbox();
        made.lay_masquerade();
        if self.engine.steers_by_mark() {
            made.netns.sysctl("net/ipv4/conf/docker_gwbridge/route_localnet", "1");
        }
        made.engine = Some(self.engine.open(&made.place));
        self.hosts.push(made);
    }

    /// Every node's ingress endpoint is known on every other node.
    fn connect_sandboxes(&self) {
        for (at, host) in self.hosts.iter().enumerate() {
            for (_, other) in self.hosts.iter().enumerate().filter(|(i, _)| *i != at) {
                let (mac, tunnel) = (other.sandbox_mac(), &other.address);
                remote_endpoint(&host.ingress, &other.sandbox_address(), mac, tunnel);
                remote_endpoint(&host.ingress, &other.sandbox_address6(), mac, tunnel);
            }
        }
    }

    /// A task with servers on ports 80 and 53, and on 81 over both families.
    pub(crate) fn add_task(&mut self, name: &str, host: usize) {
        let number = self.next_task;
        self.next_task += 1;
        let netns = Netns::new(self.hosts[host].place.netns_root().join(format!("task{number}")));
        let responder = Responder::new(&netns.path, name, &[80, 53], &[81]);
        let task = Task {
            id: TaskId::from_random(number as u128 + 1000),
            host,
            weight: 1,
            number,
            netns,
            registered: true,
            speaks_ipv6: true,
            _responder: responder,
        };
        self.hosts[host].lay_task(&task);
        if self.engine.steers_by_mark() {
            self.lay_ways_back(&task);
        }
        for (_, other) in self.hosts.iter().enumerate().filter(|(i, _)| *i != host) {
            let tunnel = &self.hosts[host].address;
            remote_endpoint(&other.ingress, &task.ingress_address(), task.ingress_mac(), tunnel);
            remote_endpoint(&other.ingress, &task.ingress_address6(), task.ingress_mac(), tunnel);
            remote_endpoint(&other.overlay, &task.overlay_address(), task.overlay_mac(), tunnel);
            remote_endpoint(&other.overlay, &task.overlay_address6(), task.overlay_mac(), tunnel);
        }
        self.tasks.insert(name.to_owned(), task);
    }

    /// Answers of a task to clients that came by a node go back by that node's ingress endpoint.
    fn lay_ways_back(&self, task: &Task) {
        for host in &self.hosts {
            let way = host.sandbox_address();
            let mark = shoal_model::lvs::entry_mark(&[ip(&way)].into()).unwrap();
            task.netns.ip(&format!(
                "route add default via {way} dev eth0 table {mark}\nrule add fwmark {mark} lookup {mark} pref 90"
            ));
        }
    }

    /// A container that is on `docker_gwbridge` only; its namespace.
    pub(crate) fn add_container(&mut self, host: usize) -> PathBuf {
        let number = self.containers.len();
        let at = &mut self.hosts[host];
        let netns = Netns::new(at.place.netns_root().join(format!("container{number}")));
        at.lay_container(&netns, &format!("gc{number}"));
        let path = netns.path.clone();
        self.containers.push((host, netns));
        path
    }

    /// What the agent of one host would declare.
    pub(crate) fn table(&self, host: usize) -> Table {
        let mut table = Table::default();
        let mut service = |key, real: Vec<RealServer>| {
            let ring = (0_u16..).zip(&real).filter(|(_, r)| r.weight > 0).map(|(i, _)| i).collect();
            let name = "web".to_owned();
            let value = VirtualService {
                name,
                scheduler: self.scheduler,
                affinity: self.affinity,
                access: self.access.clone(),
                real_servers: real,
                ring,
            };
            table.services.insert(key, value);
        };
        let overlay = network(OVERLAY_ID);
        let east_west = VirtualServiceKey::EastWest { network: overlay.clone(), vip: ip(VIP) };
        service(east_west, self.real_servers(|t| (t.overlay_address(), None, t.overlay_mac(), 0)));
        let east_west6 = VirtualServiceKey::EastWest { network: overlay.clone(), vip: ip(VIP6) };
        service(east_west6, self.real_servers(|t| (t.overlay_address6(), None, t.overlay_mac(), 0)));
        for Port(protocol, port, target) in self.ports.iter().copied() {
            let key = VirtualServiceKey::Ingress { protocol, port };
            let place = |t: &Task| {
                let (address, address6) = self.ingress_addresses(t);
                (address, address6, t.ingress_mac(), target)
            };
            service(key, self.real_servers(place));
        }
        for task in self.tasks.values().filter(|task| task.host == host && task.registered) {
            table.sandboxes.insert(NamespaceName::Named(task.name()), [overlay.clone()].into());
        }
        for (_, netns) in self.containers.iter().filter(|(at, _)| *at == host) {
            let name = netns.path.file_name().unwrap().to_string_lossy().into_owned();
            table.sandboxes.insert(NamespaceName::Named(name), BTreeSet::new());
        }
        table.mesh = Some(self.mesh(host));
        table
    }

    /// A task's addresses on the ingress network as they are declared.
    fn ingress_addresses(&self, task: &Task) -> (String, Option<Ipv6Addr>) {
        let address6 = task.ingress_address6();
        if self.only_ipv6 {
            return (address6, None);
        }
        (task.ingress_address(), task.speaks_ipv6.then(|| address6.parse().unwrap()))
    }

    fn real_servers(&self, place: impl Fn(&Task) -> (String, Option<Ipv6Addr>, Mac, u16)) -> Vec<RealServer> {
        let real = |task: &Task| {
            let (address, address6, mac, port) = place(task);
            let weight = task.weight;
            RealServer { task: task.id.clone(), address: ip(&address), address6, mac, port, weight }
        };
        self.tasks.values().map(real).collect()
    }

    fn mesh(&self, host: usize) -> Mesh {
        let at = &self.hosts[host];
        let own_address: IpAddr = ip(&at.address);
        let own_address6: IpAddr = ip(&at.address6());
        let ports = self
            .ports
            .iter()
            .map(|Port(protocol, published, target)| PortMapping {
                protocol: *protocol,
                published: *published,
                target: *target,
            })
            .collect::<BTreeSet<_>>();
        let local = self.tasks.values().filter(|task| task.host == host);
        let tasks = local.map(|task| {
            let (address, address6) = self.ingress_addresses(task);
            let mesh_task = MeshTask {
                sandbox: NamespaceName::Named(task.name()),
                port_link: task.port_link(),
                address: ip(&address),
                address6,
                mac: task.ingress_mac(),
                ports: ports.clone(),
            };
            (task.id.clone(), mesh_task)
        });
        Mesh {
            node_addresses: [own_address, own_address6].into_iter().chain(self.floating).collect(),
            own_address,
            uplinks: self.uplinks.clone(),
            sandbox: NamespaceName::ingress_sandbox(),
            sandbox_ingress_link: "eth0".to_owned(),
            sandbox_ingress_mac: at.sandbox_mac(),
            sandbox_gateway_link: "eth1".to_owned(),
            host_gateway_port: "gwsbox".to_owned(),
            overlay: NamespaceName::Named(INGRESS.to_owned()),
            entries: self
                .hosts
                .iter()
                .map(|h| (h.sandbox_mac(), [ip(&h.sandbox_address()), ip(&h.sandbox_address6())].into()))
                .collect(),
            tasks: tasks.collect(),
        }
    }

    /// Brings every host up to date; what each found.
    pub(crate) fn sync(&mut self) -> Vec<Vec<Difference>> {
        let tables: Vec<Table> = (0..self.hosts.len()).map(|host| self.table(host)).collect();
        self.hosts.iter_mut().zip(&tables).map(|(h, t)| h.engine.as_mut().unwrap().sync(t).unwrap()).collect()
    }

    /// Lets the LAN's links carry so many bytes, and the overlays' what remains of them within a tunnel.
    pub(crate) fn set_mtu(&self, lan: u32) {
        let set = |netns: &Netns, link: &str, mtu: u32| netns.ip(&format!("link set {link} mtu {mtu}"));
        let within = lan - TUNNEL_BYTES;
        set(&self.lan, "client", lan);
        set(&self.client, "eth0", lan);
        for (index, host) in self.hosts.iter().enumerate() {
            set(&self.lan, &format!("h{index}"), lan);
            set(&host.netns, "eth0", lan);
            for overlay in [&host.ingress, &host.overlay] {
                set(overlay, "vxlan0", within);
            }
            set(&host.ingress, "visbox", within);
            set(&host.sandbox, "eth0", within);
        }
        for task in self.tasks.values() {
            let host = &self.hosts[task.host];
            set(&host.ingress, &task.port_link(), within);
            set(&host.overlay, &format!("vo{}", task.number), within);
            set(&task.netns, "eth0", within);
            set(&task.netns, "eth2", within);
        }
    }

    /// Takes the task out of every table, and ends it.
    pub(crate) fn remove_task(&mut self, name: &str) {
        drop(self.undeclare(name));
    }

    /// Takes the task out of every table; it goes on running.
    pub(crate) fn undeclare(&mut self, name: &str) -> Task {
        let task = self.tasks.remove(name).unwrap();
        self.sync();
        task
    }

    /// Brings one host up to date; what it found.
    pub(crate) fn sync_host(&mut self, host: usize) -> Vec<Difference> {
        let table = self.table(host);
        self.hosts[host].engine.as_mut().unwrap().sync(&table).unwrap()
    }

    pub(crate) fn namespace(&self, task: &str) -> &Path {
        &self.tasks[task].netns.path
    }

    /// Ends one host's engine as a dying daemon would, and starts another.
    pub(crate) fn reopen(&mut self, host: usize) {
        self.hosts[host].engine = None;
        self.hosts[host].engine = Some(self.engine.open(&self.hosts[host].place));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.tasks.clear();
        self.containers.clear();
        for host in self.hosts.drain(..) {
            let Host { place, engine, .. } = host;
            drop(engine);
            self.engine.remove(&place);
        }
        for name in ["lan", "client"] {
            let _ = nix::mount::umount2(&self.root.join(name), nix::mount::MntFlags::MNT_DETACH);
        }
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// A namespace's `eth0` on the LAN.
fn plug(lan: &Netns, port: &str, netns: &Netns, addresses: &[&str]) {
    lan.ip(&format!(
        "link add {port} type veth peer name eth0 netns {}\nlink set {port} master lan0 up",
        netns.path.display()
    ));
    for address in addresses {
        netns.ip(&format!("addr add {address} dev eth0{}", nodad(address)));
    }
    netns.ip("link set eth0 up");
}

/// Addresses of the lab are given out once, so that nobody needs to wait for them to be found unique.
fn nodad(address: &str) -> &'static str {
    if address.contains(':') { " nodad" } else { "" }
}

/// Permanent neighbour and forwarding entries of an endpoint on another host.
fn remote_endpoint(overlay: &Netns, address: &str, mac: Mac, tunnel: &str) {
    overlay.ip(&format!("neigh replace {address} lladdr {mac} dev vxlan0 nud permanent"));
    overlay.bridge(&format!("fdb replace {mac} dev vxlan0 dst {tunnel} self permanent"));
}

/// A veth pair from `netns` (as `name`) to a bridge's port.
fn join(netns: &Netns, name: &str, mac: Option<Mac>, address: &str, at: &Netns, port: &str, bridge: &str) {
    let mac = mac.map(|mac| format!("address {mac}")).unwrap_or_default();
    let mtu = if bridge == "br0" { 1450 } else { 1500 };
    at.ip(&format!(
        "link add {port} mtu {mtu} type veth peer name {name} {mac} mtu {mtu} netns {}\n\
         link set {port} master {bridge} up",
        netns.path.display()
    ));
    netns.ip(&format!("addr add {address} dev {name}\nlink set {name} up"));
}

impl Host {
    fn lay_overlays(&self) {
        for (netns, vni, gateway, gateway6) in [
            (&self.ingress, 4096, "10.0.0.1/24", "fd00::1/64"),
            (&self.overlay, 4097, "10.0.1.1/24", "fd00:1::1/64"),
        ] {
            netns.ip(&format!(
                "link add br0 mtu 1450 type bridge\n\
                 addr add {gateway} dev br0\n\
                 addr add {gateway6} dev br0 nodad\n\
                 link set br0 up"
            ));
            self.netns.ip(&format!(
                "link add vx{vni} mtu 1450 type vxlan id {vni} dstport 4789 local {} nolearning proxy\n\
                 link set vx{vni} netns {} name vxlan0",
                self.address,
                netns.path.display()
            ));
            netns.ip("link set vxlan0 master br0 up");
        }
    }

    fn lay_sandbox(&self) {
        let address = format!("{}/24", self.sandbox_address());
        let mac = Some(self.sandbox_mac());
        join(&self.sandbox, "eth0", mac, &address, &self.ingress, "visbox", "br0");
        self.sandbox.ip(&format!("addr add {}/64 dev eth0 nodad", self.sandbox_address6()));
        self.lay_gateway();
        self.netns
            .ip(&format!("route add 10.0.0.0/24 via 172.18.0.2 dev docker_gwbridge src {}", self.address));
    }

    /// Addresses of `docker_gwbridge` are the same on every node, so they leave neither the node nor its sandbox.
    fn lay_masquerade(&self) {
        for (netns, link) in [(&self.netns, "docker_gwbridge"), (&self.sandbox, "eth1")] {
            netns.output(&[
                "nft",
                &format!(
                    "table ip shoal {{ chain leave {{ type nat hook postrouting priority srcnat; \
                     ip saddr 172.18.0.0/16 oifname != {link} masquerade; }}; }}"
                ),
            ]);
        }
    }

    /// The sandbox's way to the host.
    pub(crate) fn lay_gateway(&self) {
        join(&self.sandbox, "eth1", None, "172.18.0.2/16", &self.netns, "gwsbox", "docker_gwbridge");
        self.sandbox.ip("route add default via 172.18.0.1");
    }

    fn lay_container(&mut self, netns: &Netns, port: &str) {
        let address = format!("172.18.0.{}/16", self.next_gateway_address);
        self.next_gateway_address += 1;
        join(netns, "eth1", None, &address, &self.netns, port, "docker_gwbridge");
        netns.ip("route add default via 172.18.0.1");
    }

    fn lay_task(&mut self, task: &Task) {
        let number = task.number;
        let own = task.ingress_address();
        let ingress = format!("{own}/24");
        let overlay = format!("{}/24", task.overlay_address());
        let gateway = format!("172.18.0.{}/16", self.next_gateway_address);
        self.next_gateway_address += 1;
        let (netns, host) = (&task.netns, &self.netns);
        join(netns, "eth0", Some(task.ingress_mac()), &ingress, &self.ingress, &task.port_link(), "br0");
        join(netns, "eth1", None, &gateway, host, &format!("gw{number}"), "docker_gwbridge");
        let mac = Some(task.overlay_mac());
        join(netns, "eth2", mac, &overlay, &self.overlay, &format!("vo{number}"), "br0");
        netns.ip(&format!(
            "route add default via 172.18.0.1\n\
             route add 10.0.0.0/24 dev eth0 table 100\n\
             route add default via 10.0.0.1 dev eth0 table 100\n\
             rule add from {own} lookup 100\n\
             addr add {VIP}/32 dev lo\n\
             addr add {}/64 dev eth2 nodad",
            task.overlay_address6()
        ));
        let own = task.ingress_address6();
        netns.ip(&format!(
            "addr add {own}/64 dev eth0 nodad\n\
             route add fd00::/64 dev eth0 table 100\n\
             route add default via fd00::1 dev eth0 table 100"
        ));
        netns.output(&["ip", "-6", "rule", "add", "from", &own, "lookup", "100"]);
    }
}
