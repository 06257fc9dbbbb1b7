//! Packets between two nodes, each a private namespace, over a LAN.

use crate::layout::{FIRST, INGRESS, SECOND, TASK, declared, ops_for};
use crate::place::{Place, run_in};

#[test]
fn two_nodes_reach_each_others_tasks_over_vxlan() {
    let (one, two) = (Place::new(), Place::new());
    let lan = one.foreign("lan");
    run_in(&lan, "ip link add lan type bridge && ip link set lan up");
    for (place, node) in [(&one, FIRST), (&two, SECOND)] {
        let number = node.number;
        let (ok, text) = run_in(
            &lan,
            &format!(
                "ip link add port{number} type veth peer name up0 netns {} && \
                 ip link set port{number} master lan up",
                place.host_file().display()
            ),
        );
        assert!(ok, "{text}");
        place.run("host", &format!("ip addr add {}/24 dev up0 && ip link set up0 up", node.address));
        let declared = declared(node);
        place.apply(&ops_for(&declared));
        assert_eq!(place.observe(&declared), declared);
    }
    // The other node's task and ingress endpoint, from a task and from the balancer.
    one.run(TASK, "ping -c1 -W2 10.0.0.13");
    one.run(TASK, "ping -c1 -W2 10.0.0.3");
    two.run(INGRESS, "ping -c1 -W2 10.0.0.12");
    // The node's own processes, through its balancer's namespace.
    one.run("host", "ping -c1 -W2 10.0.0.12");
    // The tunnel carries packets as large as the overlay promises.
    one.run(TASK, "ping -c1 -W2 -M do -s 1422 10.0.0.13");
    let unknown = one.attempt(TASK, "ping -c1 -W1 10.0.0.99");
    assert!(!unknown.0, "nobody has this address");
}
