/* The mesh at the task: on the host's end of its ingress link, in the ingress network's namespace.
 *
 * What a client addressed (node and published port) becomes the task's own address and port, and back again in the
 * answers, which are sent to the entry node that the request came from. Everything needed is learned again from any
 * packet, so that nothing is lost for good with the maps.
 */
#pragma once

#include "flow.h"
#include "fragment.h"
#include "icmp.h"

#define CLASH_TRIES 8

/* The key under which the task's answers to this client are found. */
INLINE void key_at_task(const struct packet *packet, const struct address *own, __u16 port, struct task_key *key)
{
	key->task = *own;
	key->client = packet->source;
	key->client_port = packet->source_port;
	key->port = port;
	key->protocol = packet->protocol;
}

INLINE void clash_key_of(const struct task_key *key, const struct task_flow *wanted, struct clash_key *clash)
{
	clash->flow = *key;
	clash->node = wanted->node;
	clash->published = wanted->published;
}

INLINE bool same_request(const struct task_flow *a, const struct task_flow *b)
{
	return a->published == b->published && a->client_port == b->client_port && same_address(&a->node, &b->node);
}

/* A flow at the task, and which of the two maps it is in. */
struct at_task {
	struct task_flow *flow;
	bool is_opening;
};

INLINE struct at_task find_at_task(const struct task_key *key)
{
	struct at_task found = { .flow = bpf_map_lookup_elem(&task_flows, key) };

	if (found.flow)
		return found;
	found.flow = bpf_map_lookup_elem(&task_openings, key);
	found.is_opening = found.flow != 0;
	/* Between the two looks another processor may have moved it from the second map to the first. */
	if (!found.flow)
		found.flow = bpf_map_lookup_elem(&task_flows, key);
	return found;
}

/* Whether another flow may be the same to the task from now on. While the task may hold the old one in TIME_WAIT it
 * would take the new one's SYN for an old packet, so that a connection closed in order keeps its port for as long.
 */
INLINE bool is_free(const struct packet *packet, const struct task_flow *flow, __u64 now)
{
	return (flow->state & FLOW_RESET) || is_idle(now, flow->seen, packet->protocol, flow->state);
}

/* Two flows of one client, by two entry nodes or two published ports, may be one and the same to the task: same
 * address and port, same target. The later one gets another client port on its way to the task.
 */
INLINE bool take_other_port(const struct packet *packet, struct task_key *key, const struct clash_key *clash_key,
			    __u64 now)
{
	struct task_flow *taken;
	struct clash clash = {};

#pragma clang loop unroll(disable)
	for (int i = 0; i < CLASH_TRIES; i++) {
		clash.client_port = swap16(1024 + bpf_get_prandom_u32() % (65536 - 1024));
		key->client_port = clash.client_port;
		taken = find_at_task(key).flow;
		if (!taken || is_free(packet, taken, now))
			return bpf_map_update_elem(&clashes, clash_key, &clash, BPF_ANY) == 0;
	}
	return false;
}

/* The flow that the task knows this packet's by, if any; settles which client port it has there. `fails` when the
 * flow cannot be told apart from another one.
 */
INLINE struct at_task find_flow(const struct packet *packet, struct task_key *key, const struct task_flow *wanted,
				bool *fails)
{
	struct at_task kept = find_at_task(key);
	struct clash_key clash_key = {};
	struct clash *known;

	if (kept.flow && same_request(kept.flow, wanted))
		return kept;
	/* Looked up even if the other flow is over by now: this one keeps its port to its end. */
	clash_key_of(key, wanted, &clash_key);
	known = bpf_map_lookup_elem(&clashes, &clash_key);
	if (known) {
		key->client_port = known->client_port;
		kept = find_at_task(key);
		if (!kept.flow || same_request(kept.flow, wanted) || is_free(packet, kept.flow, wanted->seen))
			return kept;
		/* This one was over for long, and the port is somebody else's by now. */
		key->client_port = wanted->client_port;
	} else if (!kept.flow || is_free(packet, kept.flow, wanted->seen)) {
		return kept;
	}
	*fails = !take_other_port(packet, key, &clash_key, wanted->seen);
	return find_at_task(key);
}

INLINE void establish_at_task(const struct task_key *key, const struct task_flow *opening)
{
	struct task_flow flow = *opening;

	if (!bpf_map_update_elem(&task_flows, key, &flow, BPF_ANY))
		bpf_map_delete_elem(&task_openings, key);
}

/* Notes who must get the answers. May change the key's client port; false when that cannot be done. */
INLINE bool remember(const struct packet *packet, struct task_key *key, struct task_flow *wanted)
{
	struct at_task kept;
	bool fails = false;

	wanted->seen = bpf_ktime_get_ns();
	wanted->state = state_after_client(0, packet);
	kept = find_flow(packet, key, wanted, &fails);
	if (fails) {
		count_drop(DROP_CLASH);
		return false;
	}
	if (!kept.flow || !same_request(kept.flow, wanted) || (opens(packet) && is_closed(kept.flow->state))) {
		if (kept.flow && !kept.is_opening)
			bpf_map_delete_elem(&task_flows, key);
		if (!bpf_map_update_elem(&task_openings, key, wanted, BPF_ANY))
			return true;
		count_drop(DROP_TABLE_FULL);
		return false;
	}
	kept.flow->seen = wanted->seen;
	kept.flow->state |= wanted->state;
	__builtin_memcpy(kept.flow->entry_mac, wanted->entry_mac, sizeof(kept.flow->entry_mac));
	if (kept.is_opening && confirms(packet, kept.flow->state))
		establish_at_task(key, kept.flow);
	return true;
}

INLINE struct mesh_task *task_behind(struct __sk_buff *skb)
{
	__u32 port_link = skb->ifindex;

	return bpf_map_lookup_elem(&mesh_tasks, &port_link);
}

/* The task's address of one family, or null. */
INLINE const struct address *own_address(const struct mesh_task *task, bool ipv4)
{
	if (is_ipv4(&task->address) == ipv4)
		return &task->address;
	return !ipv4 && task->address6.word[0] ? &task->address6 : 0;
}

/* The task's port for a published one; 0 when the packet is not for a published port of this task. */
INLINE __u16 target_of(struct __sk_buff *skb, __u16 published, __u8 protocol)
{
	struct task_port_key key = {
		.port_link = skb->ifindex,
		.published = published,
		.protocol = protocol,
	};
	struct task_port *port = bpf_map_lookup_elem(&task_ports, &key);

	return port ? port->target : 0;
}

/* A request. Those to the task's own address (of the nodes' own processes) need no translation, only their way back. */
INLINE int request_to_task(struct __sk_buff *skb, const struct packet *packet, const struct address *own,
			   const __u8 *entry_mac)
{
	struct task_key key = {};
	struct task_flow wanted = {};
	__u16 target = packet->destination_port;

	__builtin_memcpy(wanted.entry_mac, entry_mac, sizeof(wanted.entry_mac));
	wanted.client_port = packet->source_port;
	wanted.node = packet->destination;
	if (!same_address(&packet->destination, own)) {
		target = target_of(skb, packet->destination_port, packet->protocol);
		if (!target)
			return TC_ACT_OK;
		wanted.published = packet->destination_port;
	}
	key_at_task(packet, own, target, &key);
	if (!remember(packet, &key, &wanted))
		return TC_ACT_SHOT;
	if (set_port(skb, packet, SOURCE_PORT_AT, packet->source_port, key.client_port) ||
	    set_port(skb, packet, DESTINATION_PORT_AT, packet->destination_port, target) ||
	    set_destination(skb, packet, own))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

/* Whether the task knows this flow; settles which client port it has there. */
INLINE bool is_known(struct task_key *key, const struct task_flow *wanted)
{
	struct task_flow *kept = find_at_task(key).flow;
	struct clash_key clash_key = {};
	struct clash *known;

	if (kept && same_request(kept, wanted))
		return true;
	clash_key_of(key, wanted, &clash_key);
	known = bpf_map_lookup_elem(&clashes, &clash_key);
	if (known)
		key->client_port = known->client_port;
	return known != 0;
}

/* An error about one of the task's answers: what it quotes becomes what the task had sent. */
INLINE int message_to_task(struct __sk_buff *skb, const struct packet *message, const struct address *own)
{
	struct task_flow wanted = {};
	struct task_key key = {};
	struct packet quoted;

	if (!read_quoted(skb, message, &quoted) || !same_address(&message->destination, &quoted.source))
		return TC_ACT_OK;
	key.task = *own;
	key.client = quoted.destination;
	key.client_port = quoted.destination_port;
	key.port = quoted.source_port;
	key.protocol = quoted.protocol;
	wanted.node = quoted.source;
	wanted.client_port = quoted.destination_port;
	if (!same_address(&quoted.source, own)) {
		key.port = target_of(skb, quoted.source_port, quoted.protocol);
		wanted.published = quoted.source_port;
	}
	if (!key.port || !is_known(&key, &wanted))
		return TC_ACT_OK;
	if (set_quoted_port(skb, message, &quoted, true, key.port) ||
	    set_quoted_port(skb, message, &quoted, false, key.client_port) ||
	    set_quoted_address(skb, message, &quoted, true, own) || set_destination(skb, message, own))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

/* TC egress of the task's port: packets on their way to the task. Frames that are flooded here though meant for others
 * are not touched.
 */
SEC("classifier")
int task_in(struct __sk_buff *skb)
{
	struct mesh_task *task = task_behind(skb);
	const struct address *own;
	struct ethernet ethernet;
	struct packet packet;
	enum reading reading;

	if (!task || bpf_skb_load_bytes(skb, 0, &ethernet, sizeof(ethernet)) ||
	    !same_mac(ethernet.destination, task->mac))
		return TC_ACT_OK;
	reading = read_packet(skb, &packet);
	own = reading == OTHER ? 0 : own_address(task, packet.is_ipv4);
	if (!own)
		return TC_ACT_OK;
	if (reading == WITH_PORTS)
		return request_to_task(skb, &packet, own, ethernet.source);
	if (reading == MESSAGE)
		return message_to_task(skb, &packet, own);
	return set_destination(skb, &packet, own) ? TC_ACT_SHOT : TC_ACT_OK;
}

/* An answer goes back to the entry node, from what was addressed. */
INLINE int answer_of_task(struct __sk_buff *skb, const struct packet *packet)
{
	struct task_key key = {
		.task = packet->source,
		.client = packet->destination,
		.client_port = packet->destination_port,
		.port = packet->source_port,
		.protocol = packet->protocol,
	};
	struct task_flow *flow = find_at_task(&key).flow;
	struct task_flow answer;

	if (!flow) {
		if (packet->part == FIRST_FRAGMENT)
			note_stranger(packet);
		return TC_ACT_OK;
	}
	flow->seen = bpf_ktime_get_ns();
	flow->state = state_after_server(flow->state, packet);
	answer = *flow;
	if (packet->part == FIRST_FRAGMENT) {
		struct fragment fragment = { .node = answer.node };

		__builtin_memcpy(fragment.entry_mac, answer.entry_mac, sizeof(fragment.entry_mac));
		note_first(packet, &fragment);
	}
	if (bpf_skb_store_bytes(skb, 0, answer.entry_mac, sizeof(answer.entry_mac), 0) ||
	    set_port(skb, packet, DESTINATION_PORT_AT, packet->destination_port, answer.client_port))
		return TC_ACT_SHOT;
	if (!answer.published)
		return TC_ACT_OK;
	if (set_port(skb, packet, SOURCE_PORT_AT, packet->source_port, answer.published) ||
	    set_source(skb, packet, &answer.node))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

/* Fragments leave a host in order, so the first has been here. */
INLINE int rest_of_task(struct __sk_buff *skb, const struct packet *packet)
{
	struct fragment *kept = first_of(packet);
	struct fragment first;

	if (!kept)
		return TC_ACT_OK;
	first = *kept;
	if (bpf_skb_store_bytes(skb, 0, first.entry_mac, sizeof(first.entry_mac), 0) ||
	    set_source(skb, packet, &first.node))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

/* An error about a request, such as that nobody listens: what it quotes becomes what the client had sent. */
INLINE int message_of_task(struct __sk_buff *skb, const struct packet *message)
{
	struct task_key key = {};
	struct task_flow *flow, answer;
	struct packet quoted;

	if (!read_quoted(skb, message, &quoted) || !same_address(&message->source, &quoted.destination))
		return TC_ACT_OK;
	key.task = quoted.destination;
	key.client = quoted.source;
	key.client_port = quoted.source_port;
	key.port = quoted.destination_port;
	key.protocol = quoted.protocol;
	flow = find_at_task(&key).flow;
	if (!flow)
		return TC_ACT_OK;
	answer = *flow;
	if (bpf_skb_store_bytes(skb, 0, answer.entry_mac, sizeof(answer.entry_mac), 0) ||
	    set_quoted_port(skb, message, &quoted, true, answer.client_port))
		return TC_ACT_SHOT;
	if (!answer.published)
		return TC_ACT_OK;
	if (set_quoted_port(skb, message, &quoted, false, answer.published) ||
	    set_quoted_address(skb, message, &quoted, false, &answer.node) || set_source(skb, message, &answer.node))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

/* TC ingress of the task's port: what the task sends. */
SEC("classifier")
int task_out(struct __sk_buff *skb)
{
	struct mesh_task *task = task_behind(skb);
	const struct address *own;
	struct packet packet;
	enum reading reading;

	if (!task)
		return TC_ACT_OK;
	reading = read_packet(skb, &packet);
	own = reading == OTHER ? 0 : own_address(task, packet.is_ipv4);
	if (!own || !same_address(&packet.source, own))
		return TC_ACT_OK;
	if (reading == WITH_PORTS)
		return answer_of_task(skb, &packet);
	if (reading == MESSAGE)
		return message_of_task(skb, &packet);
	return rest_of_task(skb, &packet);
}
