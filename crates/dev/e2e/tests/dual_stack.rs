//! IPv6 beside IPv4, and alone: networks, names, virtual addresses and published ports.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::Value;
use shoal_e2e::{CLIENT, CLIENT_ADDRESS6, HOSTS, Lab, MANAGER, Said, address, address6, eventually, said};
use std::collections::BTreeSet;
use std::process::Command;

#[test]
fn ipv6_from_end_to_end() {
    let lab = Lab::dual_stack();
    bad_networks_are_refused(&lab);
    for arguments in [
        &["--ipv6", "dual"][..],
        &["--ipv6", "--ipv4=false", "six"],
        &["--ipv6", "--subnet", "10.7.0.0/24", "--subnet", "fd07::/64", "--gateway", "fd07::ff", "chosen"],
    ] {
        lab.docker(MANAGER, &[&["network", "create", "-d", "overlay"], arguments].concat()).ok();
    }
    let loops = ["busybox", "sh", "-c", "while true; do sleep 3600; done"];
    let create = |name: &str, arguments: &[&str]| {
        let head = ["service", "create", "--detach", "--name", name];
        lab.docker(MANAGER, &[&head, arguments].concat()).ok();
    };
    create(
        "client",
        &[&["--network", "dual", "--network", "six", "--network", "chosen"][..], &loops].concat(),
    );
    create("whoami", &["-p", "8000:8000", "--network", "dual", "--replicas", "3", "whoami"]);
    create("lonely", &["--network", "six", "--replicas", "2", "whoami"]);
    lab.converged("client", 1);
    lab.converged("whoami", 3);
    lab.converged("lonely", 2);

    networks_show_both_families(&lab);
    containers_show_both_addresses(&lab);
    names_have_addresses_of_both_families(&lab);
    virtual_addresses_are_balanced(&lab);
    published_ports_answer_over_ipv6(&lab);
    the_mesh_is_made_again(&lab);
}

fn bad_networks_are_refused(lab: &Lab) {
    for (arguments, why) in [
        (&["--subnet", "fd08::/64"][..], "subnet fd08::/64 was given, but IPv6 is not enabled"),
        (&["--ipv6", "--subnet", "fd08::/64", "--gateway", "fd09::1"], "no matching subnet for gateway"),
        (&["--ipv6", "--subnet", "fd00:10::/72"], "overlaps with subnet fd00:10::/64 of network ingress"),
        (&["--ipv6", "--subnet", "fd00:50::/80"], "overlaps with route fd00:50::/64 of node"),
        (&["--ipv4=false"], "IPv4 or IPv6 must be enabled"),
        (&["--ipv6", "--opt", "com.docker.network.driver.mtu=1200"], "leaves no room for IPv6"),
    ] {
        let all = [&["network", "create", "-d", "overlay"], arguments, &["bad"]].concat();
        let said = lab.docker(MANAGER, &all).refused();
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
}

fn inspected(lab: &Lab, host: &str, arguments: &[&str]) -> Value {
    let text = lab.docker(host, arguments).ok();
    serde_json::from_str::<Vec<Value>>(&text).unwrap().remove(0)
}

fn subnets(network: &Value) -> Vec<String> {
    let config = network["IPAM"]["Config"].as_array().unwrap();
    config.iter().map(|one| one["Subnet"].as_str().unwrap().to_owned()).collect()
}

fn networks_show_both_families(lab: &Lab) {
    let network = |name: &str| inspected(lab, MANAGER, &["network", "inspect", name]);
    assert_eq!(subnets(&network("ingress")), ["10.0.0.0/24", "fd00:10::/64"]);
    let dual = network("dual");
    assert_eq!((&dual["EnableIPv4"], &dual["EnableIPv6"]), (&true.into(), &true.into()));
    assert_eq!(subnets(&dual), ["10.0.1.0/24", "fd00:10:0:1::/64"]);
    let six = network("six");
    assert_eq!((&six["EnableIPv4"], &six["EnableIPv6"]), (&false.into(), &true.into()));
    assert_eq!(subnets(&six), ["fd00:10:0:2::/64"]);
    let chosen = network("chosen");
    assert_eq!(subnets(&chosen), ["10.7.0.0/24", "fd07::/64"]);
    assert_eq!(chosen["IPAM"]["Config"][1]["Gateway"], "fd07::ff");
}

/// The container's addresses as `docker inspect`, `docker network inspect` and its own `ip` tell them.
fn containers_show_both_addresses(lab: &Lab) {
    let (client, host) = lab.containers_of("client").remove(0);
    let container = inspected(lab, host, &["inspect", &client]);
    let dual = &container["NetworkSettings"]["Networks"]["dual"];
    let (four, six) = (dual["IPAddress"].as_str().unwrap(), dual["GlobalIPv6Address"].as_str().unwrap());
    assert!(four.starts_with("10.0.1.") && six.starts_with("fd00:10:0:1::"), "{dual}");
    assert_eq!(dual["GlobalIPv6PrefixLen"], 64);
    assert_eq!(container["NetworkSettings"]["Networks"]["six"]["IPAddress"], "");
    let network = inspected(lab, host, &["network", "inspect", "dual"]);
    let endpoint = &network["Containers"][container["Id"].as_str().unwrap()];
    assert_eq!(endpoint["IPv6Address"], format!("{six}/64"));
    let own = lab.docker(host, &["exec", &client, "ip", "-6", "address"]).ok();
    assert!(own.contains(six) && !own.contains("tentative"), "{own}");
    let hosts = lab.docker(host, &["exec", &client, "cat", "/etc/hosts"]).ok();
    let named: BTreeSet<&str> =
        hosts.lines().filter_map(|line| line.strip_suffix(&client)).map(str::trim).collect();
    let of = |network: &Value| -> BTreeSet<String> {
        let both = ["IPAddress", "GlobalIPv6Address"].map(|key| network[key].as_str().unwrap().to_owned());
        both.into_iter().filter(|address| !address.is_empty()).collect()
    };
    let networks = container["NetworkSettings"]["Networks"].as_object().unwrap();
    let first =
        networks.values().any(|network| of(network).iter().map(String::as_str).eq(named.iter().copied()));
    assert!(first, "all addresses of one of its networks: {hosts}");
}

/// The virtual addresses of a service without prefix lengths.
fn virtual_addresses(lab: &Lab, service: &str) -> Vec<String> {
    let format = "{{range .Endpoint.VirtualIPs}}{{.Addr}} {{end}}";
    let said = lab.docker(MANAGER, &["service", "inspect", service, "--format", format]).ok();
    said.split_whitespace().map(|net| net.split('/').next().unwrap().to_owned()).collect()
}

fn in_client(lab: &Lab, command: &[&str]) -> Said {
    let (client, host) = lab.containers_of("client").remove(0);
    lab.docker(host, &[&["exec", &client][..], command].concat())
}

/// What the name server of the client's sandbox answers: the addresses behind the line with the name.
fn resolved(lab: &Lab, family: &str, name: &str) -> BTreeSet<String> {
    let said = in_client(lab, &["nslookup", &format!("-type={family}"), name]);
    assert!(!said.out.contains("NXDOMAIN") && !said.err.contains("NXDOMAIN"), "{name}: {said:?}");
    let answers = said.out.split_once("answer:").map_or("", |(_, behind)| behind);
    answers.lines().filter_map(|line| line.strip_prefix("Address: ")).map(|a| a.trim().to_owned()).collect()
}

fn names_have_addresses_of_both_families(lab: &Lab) {
    let on_dual: BTreeSet<String> = virtual_addresses(lab, "whoami")
        .into_iter()
        .filter(|a| !a.starts_with("10.0.0.") && !a.starts_with("fd00:10::"))
        .collect();
    assert_eq!(on_dual.len(), 2, "{on_dual:?}");
    let both: BTreeSet<String> =
        ["a", "aaaa"].iter().flat_map(|family| resolved(lab, family, "whoami")).collect();
    assert_eq!(both, on_dual);
    assert_eq!(resolved(lab, "aaaa", "tasks.whoami").len(), 3);
    assert_eq!(resolved(lab, "a", "tasks.whoami").len(), 3);
    assert_eq!(resolved(lab, "a", "lonely"), BTreeSet::new(), "it exists, without such an address");
    assert_eq!(resolved(lab, "aaaa", "lonely"), virtual_addresses(lab, "lonely").into_iter().collect());
}

/// Whom `count` requests from inside the client reach.
fn reached(lab: &Lab, url: &str, count: usize) -> BTreeSet<String> {
    let ask = |_| in_client(lab, &["wget", "-qO-", url]).ok().trim().replace("I'm ", "");
    (0..count).map(ask).collect()
}

fn virtual_addresses_are_balanced(lab: &Lab) {
    let tasks = |service: &str| -> BTreeSet<String> {
        lab.containers_of(service).into_iter().map(|(id, _)| id).collect()
    };
    let vips = virtual_addresses(lab, "whoami");
    let on_dual = |prefix: &str| vips.iter().find(|vip| vip.starts_with(prefix)).unwrap();
    let (four, six) = (on_dual("10.0.1."), on_dual("fd00:10:0:1::"));
    assert_eq!(reached(lab, &format!("http://[{six}]:8000/"), 6), tasks("whoami"));
    assert_eq!(reached(lab, &format!("http://{four}:8000/"), 6), tasks("whoami"));
    assert_eq!(reached(lab, "http://lonely:8000/", 4), tasks("lonely"));
    in_client(lab, &["ping", "-6", "-c1", "-W5", "whoami"]).ok();
    for task in resolved(lab, "aaaa", "tasks.whoami") {
        in_client(lab, &["ping", "-6", "-c1", "-W5", &task]).ok();
    }
}

/// Every node's published port, from a machine outside and from the node itself, over both families.
fn published_ports_answer_over_ipv6(lab: &Lab) {
    let tasks: BTreeSet<String> = lab.containers_of("whoami").into_iter().map(|(id, _)| id).collect();
    for host in HOSTS {
        let url = format!("http://[{}]:8000/", address6(host));
        assert_eq!(lab.answers(CLIENT, &url, 9), tasks, "{url} from outside");
        assert_eq!(lab.answers(host, &url, 9), tasks, "{url} from the node itself");
        assert_eq!(lab.answers(host, "http://[::1]:8000/", 9), tasks, "[::1] on {host}");
        assert_eq!(lab.answers(CLIENT, &format!("http://{}:8000/", address(host)), 9), tasks);
        let said = lab.curl(CLIENT, &format!("{url}?verbose")).ok();
        assert!(said.contains(&format!("client [{CLIENT_ADDRESS6}]:")), "who came through {host}: {said}");
    }
    // More than the tunnel carries in one packet, out of one request.
    let big = "x".repeat(6000);
    let header = format!("X-Big: {big}");
    let url = format!("http://[{}]:8000/?verbose", address6(HOSTS[1]));
    let said = lab.exec(CLIENT, &["curl", "-sS", "--max-time", "5", "-H", &header, &url]).ok();
    assert!(said.contains(&big), "{} bytes came back", said.len());
}

/// `docker network rm ingress`, and another in its place, of IPv6 only and with a subnet of the user's.
fn the_mesh_is_made_again(lab: &Lab) {
    lab.docker(MANAGER, &["service", "rm", "whoami"]).ok();
    eventually("the tasks of whoami are gone", || lab.containers_of("whoami").is_empty());
    eventually("the ingress network can be removed", || {
        let asked = lab.docker_command(MANAGER);
        let environment = asked.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let mut command = Command::new("sh");
        command.args(["-c", "yes | docker network rm ingress"]).envs(environment);
        said(&mut command).code == 0
    });
    let mesh = ["--ingress", "--ipv6", "--ipv4=false", "--subnet", "fd08::/64", "mesh"];
    lab.docker(MANAGER, &[&["network", "create", "-d", "overlay"], &mesh[..]].concat()).ok();
    let service = ["service", "create", "--detach", "--name", "again", "-p", "8001:8000", "whoami"];
    lab.docker(MANAGER, &service).ok();
    lab.converged("again", 1);
    for host in HOSTS {
        let answers = |from: &str, url: &str| lab.curl(from, url).code == 0;
        let url = format!("http://[{}]:8001/", address6(host));
        eventually("the new mesh answers", || answers(CLIENT, &url));
        assert!(answers(host, &url) && answers(host, "http://[::1]:8001/"), "on {host} itself");
        assert!(!answers(CLIENT, &format!("http://{}:8001/", address(host))), "it has no IPv4");
    }
}
