//! What foreign hands did, in words.

use crate::example::{self, NOW, assignment, facts};
use crate::fake::Fake;
use shoal_agent::{declare, deviations, names};
use shoal_model::netns::{NamespaceName, Namespaces};
use shoal_model::{Mac, Observed};

fn declared() -> Namespaces {
    declare(&assignment(), &Observed::default(), &Namespaces::new(), &facts(), NOW)
}

fn said(declared: &Namespaces, observed: &Namespaces) -> String {
    let lines: Vec<String> =
        deviations(declared, observed).iter().map(|d| format!("{}: {d}", d.kind.as_str())).collect();
    lines.join("\n")
}

#[test]
fn what_is_as_declared_does_not_deviate() {
    let declared = declared();
    assert_eq!(deviations(&declared, &declared), []);
    assert_eq!(deviations(&declared, &Fake::holding(&declared).namespaces), []);
}

#[test]
fn everything_that_is_missing_is_named() {
    insta::assert_snapshot!(said(&declared(), &Namespaces::new()));
}

#[test]
fn every_foreign_change_is_named_with_what_was_found() {
    let declared = declared();
    let mut seen = Fake::holding(&declared).namespaces;
    let overlay = seen.values_mut().find(|n| !n.forwarding.is_empty()).unwrap();
    let mut entry = overlay.forwarding.pop_first().unwrap();
    entry.tunnel = "192.168.50.99".parse().unwrap();
    overlay.forwarding.insert(entry);
    overlay.neighbours.pop_first().unwrap();
    let tunnel = overlay.links.get_mut("vxlan0").unwrap();
    (tunnel.up, tunnel.mtu, tunnel.master) = (false, 9000, None);
    let sandbox = seen.get_mut(&names::sandbox(&example::client_1())).unwrap();
    sandbox.routes.pop_first().unwrap();
    let link = sandbox.links.get_mut("eth0").unwrap();
    link.mac = Some(Mac([2, 0, 0, 0, 0, 9]));
    link.addresses.insert("10.9.9.9/24".parse().unwrap());
    let host = seen.get_mut(&NamespaceName::Host).unwrap();
    host.firewall.clear();
    seen.insert(NamespaceName::Named("1-gone".to_owned()), shoal_model::netns::Namespace::default());
    insta::assert_snapshot!(said(&declared, &seen));
}

#[test]
fn parameters_of_a_family_that_the_kernel_lacks_do_not_deviate() {
    let mut declared = declared();
    let host = declared.get_mut(&NamespaceName::Host).unwrap();
    host.sysctls.insert("net.ipv6.conf.all.forwarding".to_owned(), "1".to_owned());
    let mut seen = Fake::holding(&declared).namespaces;
    let host = seen.get_mut(&NamespaceName::Host).unwrap();
    host.sysctls.remove("net.ipv6.conf.all.forwarding");
    assert_eq!(said(&declared, &seen), "");
    let host = seen.get_mut(&NamespaceName::Host).unwrap();
    host.sysctls.insert("net.ipv6.conf.all.forwarding".to_owned(), "0".to_owned());
    assert_eq!(
        said(&declared, &seen),
        "sysctl: parameter net.ipv6.conf.all.forwarding=1 in host differs (it is 0)"
    );
}
