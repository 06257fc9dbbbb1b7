/* The mesh on the node where a client comes in: choose the real server, hand the packet to the ingress network, and
 * send the answers on. Nothing is translated here; only Ethernet addresses are written.
 *
 *   host uplink --entry_in--> ingress sandbox eth1 --entry_over--> its eth0's other end, a port of the overlay's bridge
 *   ingress sandbox eth0 --entry_back--> host's end of eth1 --entry_out--> uplink
 *
 * The redirects skip both network stacks. The mark says between two programs that the packet is the mesh's: unlike
 * anything in the packet, a container cannot forge it.
 */
#pragma once

#include "flow.h"

#define MARK_TO_OVERLAY 0x5b0a1001
#define MARK_TO_CLIENT 0x5b0a1002

#define FAMILY_TRIES 16

INLINE struct mesh *mesh(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&mesh_settings, &first);
}

INLINE bool is_node_address(const struct address *address)
{
	return bpf_map_lookup_elem(&node_addresses, address) != 0;
}

/* Whether the packet starts a new connection on top of a flow that is over or was only begun with a draining server. */
INLINE bool replaces(const struct packet *packet, const struct entry_flow *flow, const struct server *server, __u64 now)
{
	if (is_idle(now, flow->seen, packet->protocol, flow->state))
		return true;
	return opens(packet) && (is_closed(flow->state) || !server->weight);
}

/* Whether the packet goes on with a connection whose real server is gone: the node's own stack, which knows nothing of
 * it, resets it.
 */
INLINE bool lost_its_server(const struct packet *packet, const struct entry_flow *flow)
{
	return packet->protocol == PROTOCOL_TCP && !opens(packet) && !bpf_map_lookup_elem(&servers, &flow->server);
}

INLINE struct server *kept_server(const struct packet *packet, struct entry_flow *flow, __u64 now)
{
	struct server *server = bpf_map_lookup_elem(&servers, &flow->server);

	if (!server || replaces(packet, flow, server, now))
		return 0;
	flow->seen = now;
	flow->state = state_after_client(flow->state, packet);
	return server;
}

/* Whether the server has an address of the client's family. */
INLINE bool can_serve(const struct server *server, bool ipv4)
{
	if (ipv4)
		return is_ipv4(&server->address);
	return !is_ipv4(&server->address) || server->address6.word[0];
}

/* A TCP packet from the middle of a connection that is not known here takes no turn of the round robin: its server is
 * found again if there is but one, and else resets the connection, which is what its client must learn anyway.
 * Servers that do not speak the client's family are passed over; where there are very many of them in a row, as when
 * none speaks it, the node refuses the connection.
 */
INLINE struct server *new_server(const struct packet *packet, const struct entry_key *key,
				 const struct service *service, __u32 *number)
{
	bool takes_turn = service->scheduler != SCHEDULER_SOURCE_HASH &&
			  (packet->protocol != PROTOCOL_TCP || opens(packet));
	__u32 position = takes_turn ? next_turn(service) : hash_address(&key->client);
	struct server *server;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < FAMILY_TRIES; i++) {
		server = server_at(service, position + i, number);
		if (!server || can_serve(server, packet->is_ipv4))
			return server;
	}
	return 0;
}

INLINE struct server *schedule(const struct packet *packet, const struct entry_key *key,
			       const struct service *service, __u32 uplink, __u64 now)
{
	struct entry_flow flow = { .seen = now, .uplink = uplink };
	struct server *server;

	if (packet->tcp_flags & TCP_RST)
		return 0;
	server = new_server(packet, key, service, &flow.server);
	if (!server)
		return 0;
	if (packet->protocol == PROTOCOL_UDP || opens(packet))
		count_connection(flow.server);
	flow.state = state_after_client(0, packet);
	bpf_map_update_elem(&entry_flows, key, &flow, BPF_ANY);
	return server;
}

INLINE void key_of_request(const struct packet *packet, struct entry_key *key)
{
	key->client = packet->source;
	key->node = packet->destination;
	key->client_port = packet->source_port;
	key->port = packet->destination_port;
	key->protocol = packet->protocol;
}

INLINE void key_of_answer(const struct packet *packet, struct entry_key *key)
{
	key->client = packet->destination;
	key->node = packet->source;
	key->client_port = packet->destination_port;
	key->port = packet->source_port;
	key->protocol = packet->protocol;
}

/* TC ingress of the host's uplinks. */
SEC("classifier")
int entry_in(struct __sk_buff *skb)
{
	struct port_key port = {};
	struct entry_key key = {};
	struct packet packet;
	struct service *service;
	struct entry_flow *flow;
	struct server *server = 0;
	struct mesh *settings = mesh();
	__u64 now;

	if (!read_packet(skb, &packet))
		return TC_ACT_OK;
	port.port = packet.destination_port;
	port.protocol = packet.protocol;
	service = bpf_map_lookup_elem(&port_services, &port);
	if (!service || !is_node_address(&packet.destination) || !settings || !settings->gateway_port)
		return TC_ACT_OK;
	now = bpf_ktime_get_ns();
	key_of_request(&packet, &key);
	flow = bpf_map_lookup_elem(&entry_flows, &key);
	if (flow && lost_its_server(&packet, flow))
		return TC_ACT_OK;
	if (flow)
		server = kept_server(&packet, flow, now);
	if (!server)
		server = schedule(&packet, &key, service, skb->ifindex, now);
	/* Nobody to serve it: the node's own stack refuses it. */
	if (!server)
		return TC_ACT_OK;
	if (set_macs(skb, server->mac, settings->entry_mac))
		return TC_ACT_SHOT;
	skb->mark = MARK_TO_OVERLAY;
	return bpf_redirect_peer(settings->gateway_port, 0);
}

/* TC ingress of the ingress sandbox's gateway link. */
SEC("classifier")
int entry_over(struct __sk_buff *skb)
{
	struct mesh *settings = mesh();

	if (skb->mark != MARK_TO_OVERLAY || !settings)
		return TC_ACT_OK;
	skb->mark = 0;
	return bpf_redirect_peer(settings->sandbox_ingress, 0);
}

/* TC ingress of the ingress sandbox's link on the ingress network. Frames for others, which the bridge floods while it
 * learns, are no answers of ours.
 */
SEC("classifier")
int entry_back(struct __sk_buff *skb)
{
	struct mesh *settings = mesh();
	struct ethernet ethernet;
	struct address source;

	if (!settings || bpf_skb_load_bytes(skb, 0, &ethernet, sizeof(ethernet)) || !read_source(skb, &source))
		return TC_ACT_OK;
	if (!same_mac(ethernet.destination, settings->entry_mac) || !is_node_address(&source))
		return TC_ACT_OK;
	skb->mark = MARK_TO_CLIENT;
	return bpf_redirect_peer(settings->sandbox_gateway, 0);
}

/* TC ingress of the host's end of the gateway link: only answers of known flows leave, by the uplink that their client
 * came in by.
 */
SEC("classifier")
int entry_out(struct __sk_buff *skb)
{
	struct entry_key key = {};
	struct entry_flow *flow;
	struct packet packet;

	if (skb->mark != MARK_TO_CLIENT)
		return TC_ACT_OK;
	skb->mark = 0;
	if (!read_packet(skb, &packet))
		return TC_ACT_SHOT;
	key_of_answer(&packet, &key);
	flow = bpf_map_lookup_elem(&entry_flows, &key);
	if (!flow) {
		count_drop(DROP_UNKNOWN_FLOW);
		return TC_ACT_SHOT;
	}
	flow->seen = bpf_ktime_get_ns();
	flow->state = state_after_server(flow->state, &packet);
	return bpf_redirect_neigh(flow->uplink, 0, 0, 0);
}
