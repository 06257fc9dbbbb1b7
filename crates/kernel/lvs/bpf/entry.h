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

#include "allow.h"
#include "flow.h"
#include "fragment.h"
#include "icmp.h"

#define MARK_TO_OVERLAY 0x5b0a1001
#define MARK_TO_CLIENT 0x5b0a1002

#define FAMILY_TRIES 16

/* Every link that IPv6 runs over lets this much through; below it MTUs are not looked up. */
#define MTU_MIN 1280

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

/* Whether the packet goes on with a TCP connection. If its real server is gone, the node's own stack, which knows
 * nothing of it, resets it.
 */
INLINE bool goes_on(const struct packet *packet)
{
	return packet->protocol == PROTOCOL_TCP && !opens(packet);
}

/* A flow where it enters, and which of the two maps it is in. */
struct entry {
	struct entry_flow *flow;
	bool is_opening;
};

INLINE struct entry find_entry(const struct entry_key *key)
{
	struct entry found = { .flow = bpf_map_lookup_elem(&entry_flows, key) };

	if (found.flow)
		return found;
	found.flow = bpf_map_lookup_elem(&entry_openings, key);
	found.is_opening = found.flow != 0;
	/* Between the two looks another processor may have moved it from the second map to the first. */
	if (!found.flow)
		found.flow = bpf_map_lookup_elem(&entry_flows, key);
	return found;
}

INLINE void establish_entry(const struct entry_key *key, const struct entry_flow *opening)
{
	struct entry_flow flow = *opening;

	if (!bpf_map_update_elem(&entry_flows, key, &flow, BPF_ANY))
		bpf_map_delete_elem(&entry_openings, key);
}

/* Whether the packet belongs to this flow; then notes it. */
INLINE bool keeps(const struct packet *packet, struct entry_flow *flow, const struct server *server, __u64 now)
{
	if (replaces(packet, flow, server, now))
		return false;
	flow->seen = now;
	flow->state = state_after_client(flow->state, packet);
	return true;
}

/* Whether the server has an address of the client's family. */
INLINE bool can_serve(const struct server *server, bool ipv4)
{
	if (ipv4)
		return is_ipv4(&server->address);
	return !is_ipv4(&server->address) || server->address6.word[0];
}

/* The real server at this position or behind it. Servers that do not speak the client's family are passed over; where
 * there are very many of them in a row, as when none speaks it, the node refuses the connection.
 */
INLINE struct server *server_for(const struct service *service, __u32 position, bool ipv4, __u32 *number)
{
	struct server *server;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < FAMILY_TRIES; i++) {
		server = server_at(service, position + i, number);
		if (!server || can_serve(server, ipv4))
			return server;
	}
	return 0;
}

/* A TCP packet from the middle of a connection that is not known here takes no turn of the round robin: its server is
 * found again if there is but one, or if its client keeps it, and else resets the connection, which is what its client
 * must learn anyway.
 */
INLINE struct server *new_server(const struct packet *packet, const struct entry_key *key,
				 const struct service *service, __u32 *number)
{
	bool begins = packet->protocol != PROTOCOL_TCP || opens(packet);
	struct server *server = server_of_client(service, &key->client, number);
	__u32 position;

	if (!server) {
		bool takes_turn = begins && service->scheduler != SCHEDULER_SOURCE_HASH;

		position = takes_turn ? next_turn(service) : hash_address(&key->client);
		server = server_for(service, position, packet->is_ipv4, number);
	}
	if (server && begins)
		keep_server(service, &key->client, *number);
	return server;
}

INLINE struct server *schedule(const struct packet *packet, const struct entry_key *key,
			       const struct service *service, __u32 uplink, __u64 now, __u32 *number)
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
	if (bpf_map_update_elem(&entry_openings, key, &flow, BPF_ANY))
		count_drop(DROP_TABLE_FULL);
	*number = flow.server;
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

/* Hands a packet to the ingress network, for this server. */
INLINE int hand_over(struct __sk_buff *skb, const struct mesh *settings, const struct server *server)
{
	if (set_macs(skb, server->mac, settings->entry_mac))
		return TC_ACT_SHOT;
	skb->mark = MARK_TO_OVERLAY;
	return bpf_redirect_peer(settings->gateway_port, 0);
}

/* The same for one from a client. */
INLINE int send_over(struct __sk_buff *skb, const struct mesh *settings, const struct server *server, __u32 number)
{
	count_traffic(skb, number, FROM_CLIENT);
	return hand_over(skb, settings, server);
}

/* The rest of a datagram follows its first fragment; if that was not the mesh's, to the node itself. */
INLINE int rest_in(struct __sk_buff *skb, const struct packet *packet, const struct mesh *settings)
{
	struct fragment *first = first_of(packet);
	struct server *server = first ? bpf_map_lookup_elem(&servers, &first->number) : 0;

	if (!server)
		return TC_ACT_OK;
	if (!packet->may_fragment && is_too_long(skb, settings->mtu))
		return refuse_length(skb, packet, settings->mtu);
	return send_over(skb, settings, server, first->number);
}

/* Errors about answers, from the client or from a router on the way, are for the server that sent them. */
INLINE int message_in(struct __sk_buff *skb, const struct packet *message, const struct mesh *settings)
{
	struct entry_key key = {};
	struct entry_flow *flow;
	struct packet quoted;
	struct server *server;

	if (!read_quoted(skb, message, &quoted) || !same_address(&message->destination, &quoted.source))
		return TC_ACT_OK;
	key_of_answer(&quoted, &key);
	flow = find_entry(&key).flow;
	server = flow ? bpf_map_lookup_elem(&servers, &flow->server) : 0;
	return server ? send_over(skb, settings, server, flow->server) : TC_ACT_OK;
}

INLINE void note_first_request(const struct packet *packet, const struct entry_key *key)
{
	struct entry_flow *flow = find_entry(key).flow;
	struct fragment fragment = {};

	if (!flow)
		return;
	fragment.number = flow->server;
	note_first(packet, &fragment);
}

/* Whether the packet is too long for the ingress network and cannot be sent on as two. Datagrams that are whole could
 * be, but it may be the card's task still to write their checksum, over all of it; their sender is told the MTU even
 * though it did not ask.
 */
INLINE bool cannot_pass(const struct __sk_buff *skb, const struct packet *packet, const struct mesh *settings)
{
	if (!is_too_long(skb, settings->mtu))
		return false;
	return !packet->may_fragment || packet->part == WHOLE ||
	       skb->len - ETHERNET_BYTES > settings->mtu + TAIL_BYTES - 8;
}

/* Whether the packet goes on with a known flow to this server, if that is still one; then notes it. */
INLINE bool stays(const struct packet *packet, const struct entry_key *key, const struct entry *entry,
		  const struct server *server, __u64 now)
{
	if (!server || !keeps(packet, entry->flow, server, now))
		return false;
	if (entry->is_opening && confirms(packet, entry->flow->state))
		establish_entry(key, entry->flow);
	return true;
}

/* Once another engine has taken this one's place: everything but the flows that began here is the other's. */
INLINE int known_request_in(struct __sk_buff *skb, const struct packet *packet, const struct mesh *settings)
{
	struct entry_key key = {};
	struct entry entry;
	struct server *server;
	__u32 number;

	key_of_request(packet, &key);
	entry = find_entry(&key);
	if (!entry.flow)
		return TC_ACT_OK;
	number = entry.flow->server;
	server = bpf_map_lookup_elem(&servers, &number);
	if (!stays(packet, &key, &entry, server, bpf_ktime_get_ns()))
		return TC_ACT_OK;
	if (cannot_pass(skb, packet, settings))
		return refuse_length(skb, packet, settings->mtu);
	return send_over(skb, settings, server, number);
}

INLINE int request_in(struct __sk_buff *skb, const struct packet *packet, const struct mesh *settings)
{
	struct port_key port = { .port = packet->destination_port, .protocol = packet->protocol };
	struct service *service = bpf_map_lookup_elem(&port_services, &port);
	struct entry_key key = {};
	struct entry entry;
	struct server *server = 0;
	__u32 number = 0;
	__u64 now;

	if (!service || !is_node_address(&packet->destination) || !is_published_on(service, &packet->destination)) {
		if (packet->part == FIRST_FRAGMENT)
			note_stranger(packet);
		return TC_ACT_OK;
	}
	if (!is_allowed(service, &packet->source)) {
		count_drop(DROP_NOT_ALLOWED);
		return TC_ACT_SHOT;
	}
	now = bpf_ktime_get_ns();
	key_of_request(packet, &key);
	entry = find_entry(&key);
	if (entry.flow) {
		number = entry.flow->server;
		server = bpf_map_lookup_elem(&servers, &number);
		if (!server && goes_on(packet))
			return TC_ACT_OK;
		if (!stays(packet, &key, &entry, server, now))
			server = 0;
	} else if (settings->accompanied && goes_on(packet)) {
		return TC_ACT_OK;
	}
	if (!server) {
		if (entry.flow && !entry.is_opening)
			bpf_map_delete_elem(&entry_flows, &key);
		server = schedule(packet, &key, service, skb->ifindex, now, &number);
	}
	/* Nobody to serve it: the node's own stack refuses it. */
	if (!server)
		return TC_ACT_OK;
	if (packet->part == FIRST_FRAGMENT)
		note_first_request(packet, &key);
	if (cannot_pass(skb, packet, settings))
		return refuse_length(skb, packet, settings->mtu);
	return send_over(skb, settings, server, number);
}

/* TC ingress of the host's uplinks. */
SEC("classifier")
int entry_in(struct __sk_buff *skb)
{
	struct mesh *settings = mesh();
	struct packet packet;

	if (!settings || !settings->gateway_port)
		return TC_ACT_OK;
	switch (read_packet(skb, &packet)) {
	case WITH_PORTS:
		if (settings->retired)
			return known_request_in(skb, &packet, settings);
		return request_in(skb, &packet, settings);
	case REST:
		return rest_in(skb, &packet, settings);
	case MESSAGE:
		return message_in(skb, &packet, settings);
	default:
		return TC_ACT_OK;
	}
}

/* TC ingress of the ingress sandbox's gateway link. Only IPv4's own fragments come here too long: the network's bridge
 * would drop them without a word.
 */
SEC("classifier")
int entry_over(struct __sk_buff *skb)
{
	struct mesh *settings = mesh();

	if (skb->mark != MARK_TO_OVERLAY || !settings)
		return TC_ACT_OK;
	skb->mark = 0;
	if (is_too_long(skb, settings->mtu) && split(skb, settings->mtu, settings->sandbox_ingress))
		return TC_ACT_SHOT;
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

/* The interface that leads to the client, or 0 when the flow is not known; tells the number of the server too. */
INLINE __u32 way_out(const struct __sk_buff *skb, const struct packet *packet, __u32 *server)
{
	struct fragment fragment = {};
	struct entry_key key = {};
	struct entry_flow *flow;

	key_of_answer(packet, &key);
	flow = find_entry(&key).flow;
	if (!flow)
		return 0;
	flow->seen = bpf_ktime_get_ns();
	flow->state = state_after_server(flow->state, packet);
	if (packet->part == FIRST_FRAGMENT) {
		fragment.number = flow->uplink;
		fragment.server = flow->server;
		note_first(packet, &fragment);
	}
	count_traffic(skb, flow->server, TO_CLIENT);
	*server = flow->server;
	return flow->uplink;
}

/* An answer that is too long for the client's uplink, which may let less through than the ingress network: its task is
 * told.
 */
INLINE int refuse_answer(struct __sk_buff *skb, const struct packet *packet, __u32 number, __u32 mtu)
{
	struct server *server = bpf_map_lookup_elem(&servers, &number);
	struct mesh *settings = mesh();

	if (!server || !settings || become_too_big(skb, packet, mtu))
		return TC_ACT_SHOT;
	return hand_over(skb, settings, server);
}

INLINE __u32 way_out_of_rest(const struct __sk_buff *skb, const struct packet *packet)
{
	struct fragment *first = first_of(packet);

	if (!first)
		return 0;
	count_traffic(skb, first->server, TO_CLIENT);
	return first->number;
}

/* Errors about requests, from the task or from the overlay between it and here. */
INLINE __u32 way_out_of_message(struct __sk_buff *skb, const struct packet *message)
{
	struct entry_key key = {};
	struct entry_flow *flow;
	struct packet quoted;

	if (!read_quoted(skb, message, &quoted))
		return 0;
	key_of_request(&quoted, &key);
	flow = find_entry(&key).flow;
	return flow ? flow->uplink : 0;
}

/* TC ingress of the host's end of the gateway link: only answers of known flows leave, by the uplink that their client
 * came in by.
 */
SEC("classifier")
int entry_out(struct __sk_buff *skb)
{
	struct packet packet;
	__u32 uplink = 0;
	__u32 server = 0;
	__u32 mtu = 0;

	if (skb->mark != MARK_TO_CLIENT)
		return TC_ACT_OK;
	skb->mark = 0;
	switch (read_packet(skb, &packet)) {
	case WITH_PORTS:
		uplink = way_out(skb, &packet, &server);
		if (uplink && skb->len > ETHERNET_BYTES + MTU_MIN && bpf_check_mtu(skb, uplink, &mtu, 0, 0) > 0)
			return refuse_answer(skb, &packet, server, mtu);
		break;
	case REST:
		uplink = way_out_of_rest(skb, &packet);
		break;
	case MESSAGE:
		uplink = way_out_of_message(skb, &packet);
		break;
	default:
		break;
	}
	if (!uplink) {
		count_drop(DROP_UNKNOWN_FLOW);
		return TC_ACT_SHOT;
	}
	return bpf_redirect_neigh(uplink, 0, 0, 0);
}
