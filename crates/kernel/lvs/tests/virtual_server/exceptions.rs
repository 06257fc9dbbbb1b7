//! Cases that an engine cannot do, each with the reason; `docs/engines.md` tells them to users.
//!
//! Files that an engine does not include: `ipv6` by nft (published ports over IPv6: the host has no way to the ingress
//! network's IPv6 subnet), `foreign`, `flows`, `pressure` and `upgrade` by nft (they look into what only ebpf has).

/// Case and reason.
const EXCEPTIONS: &[(&str, &str)] = &[
    (
        "nft::fragments::pass_both_ways_over_ipv6_once_the_client_knows_the_mtu",
        "published ports over IPv6 are not this engine's",
    ),
    (
        "nft::icmp::a_client_learns_the_mtu_of_the_ingress_network",
        "published ports over IPv6 are not this engine's, and the case asks by both families",
    ),
    (
        "nft::icmp::a_task_is_told_that_its_client_is_gone",
        "a client's ICMP errors do not reach the task; why is not known yet",
    ),
    (
        "nft::mtu::a_task_learns_that_its_client_s_uplink_is_shorter_than_the_ingress_network",
        "ICMP errors of the entry node do not reach the task; why is not known yet",
    ),
    (
        "nft::mtu::bulk_data_passes_over_links_of_any_length",
        "a sender of longer packets than the way carries is not told; why is not known yet",
    ),
    (
        "nft::tcp_corners::short_connections_by_all_nodes_repeat_no_more_first_packets_than_direct_ones",
        "a first packet may meet TIME_WAIT of another connection at the task; connection tracking does not look there",
    ),
    (
        "nft::affinity::tasks_and_nodes_keep_theirs",
        "the node's own processes are one client by loopback and another by the node's address",
    ),
    (
        "nft::corners::one_port_of_a_task_may_lead_to_virtual_addresses_and_to_a_task_directly",
        "packets that are the same once they are translated are told apart by another source port, not by the socket",
    ),
    (
        "nft::mesh::a_connection_goes_on_when_its_node_address_moves_to_another_node",
        "clients are told apart by the node that they come through, so that two may use one port at once",
    ),
    (
        "nft::resets::clients_that_only_listen_are_told_when_a_task_is_taken_away",
        "a client outside is reset when it next says something; the node that it came through has forgotten it by the \
         time that the task could tell it",
    ),
    (
        "nft::resets::connections_to_tasks_of_a_dead_node_are_reset_and_counted",
        "they are reset, but not counted: nothing in the packet filter remembers a real server that is gone",
    ),
    (
        "nft::resets::connections_end_with_the_port_that_they_were_made_to",
        "connection tracking carries them on until they end by themselves",
    ),
    (
        "nft::upkeep::packets_and_bytes_are_counted_where_clients_enter",
        "packets are not counted for the sake of their speed",
    ),
    (
        "nft::own_processes::see_the_peer_that_they_asked_for_over_ipv6_loopback",
        "the kernel routes no packet from ::1 off the loopback device, and nothing translates IPv6 into IPv4",
    ),
    (
        "nft::looking::connections_of_tasks_and_own_processes_are_known_until_they_are_closed",
        "connection tracking remembers a connection for some time after it was closed",
    ),
    (
        "nft::looking::datagram_sockets_are_known_connected_or_not",
        "connection tracking knows exchanges of datagrams, not sockets, and remembers them when the socket is gone",
    ),
    (
        "nft::looking::an_answer_that_belongs_to_no_flow_is_dropped_and_counted",
        "a packet without a tracked connection is routed like any other",
    ),
];

/// Whether the case that runs on this thread is excused.
pub(crate) fn excused() -> bool {
    let thread = std::thread::current();
    let Some((case, reason)) = EXCEPTIONS.iter().find(|(case, _)| thread.name() == Some(case)) else {
        return false;
    };
    println!("{case} is not run: {reason}");
    true
}
