/* The maps. User space pins each by its name; sizes of the flow maps are set when they are made. */
#pragma once

#include "abi.h"
#include "kernel.h"

#define HASH(map, key_type, value_type, entries)           \
	struct {                                           \
		__uint(type, BPF_MAP_TYPE_HASH);           \
		__uint(map_flags, BPF_F_NO_PREALLOC);      \
		__uint(max_entries, entries);              \
		__type(key, key_type);                     \
		__type(value, value_type);                 \
	} map SEC(".maps")

#define RECENT(map, key_type, value_type)                  \
	struct {                                           \
		__uint(type, BPF_MAP_TYPE_LRU_HASH);       \
		__uint(max_entries, 65536);                \
		__type(key, key_type);                     \
		__type(value, value_type);                 \
	} map SEC(".maps")

/* The declared table. Entries are allocated as they come, but 16 bytes of each possible one at once: these sizes, for
 * more than 10000 services of 4 tasks, cost 12 MB. */
HASH(vip_services, struct vip_key, struct service, 65536);
HASH(port_services, struct port_key, struct service, 65536);
HASH(slots, struct slot_key, __u32, 262144);
HASH(servers, __u32, struct server, 131072);
HASH(sandboxes, __u64, struct sandbox, 8192);
HASH(node_addresses, struct address, __u32, 1024);
HASH(published_on, struct service_address, __u32, 65536);
HASH(mesh_tasks, __u32, struct mesh_task, 8192);
HASH(task_ports, struct task_port_key, struct task_port, 32768);

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mesh);
} mesh_settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct allow_key);
	__type(value, __u32);
} allowed SEC(".maps");

/* Counters, apart from what they count so that a change of the table does not reset them. */
HASH(cursors, __u32, __u32, 131072);
HASH(tallies, __u32, struct tally, 131072);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DROP_REASONS);
	__type(key, __u32);
	__type(value, __u64);
} drops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, __u32);
	__type(value, struct traffic);
} mesh_traffic SEC(".maps");

/* Sockets of this machine that are connected to a real server, by cookie. Written when a socket connects and when it
 * is closed, never by a packet.
 */
HASH(balanced_sockets, __u64, struct balanced, 131072);

/* What the traffic itself left behind. Flows start among the openings, and leave them when the client has sent
 * something after an answer: a flood of packets that nobody waits for an answer to drives out openings only.
 */
RECENT(affinities, struct service_address, struct affinity);
RECENT(entry_flows, struct entry_key, struct entry_flow);
RECENT(entry_openings, struct entry_key, struct entry_flow);
RECENT(task_flows, struct task_key, struct task_flow);
RECENT(task_openings, struct task_key, struct task_flow);
RECENT(clashes, struct clash_key, struct clash);
RECENT(fragments, struct fragment_key, struct fragment);
RECENT(datagram_choices, struct datagram_key, struct datagram_choice);
RECENT(datagram_peers, struct datagram_key, struct datagram_asked);

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct connected);
} connected_sockets SEC(".maps");

/* User space's own: numbers of networks by id, lost real servers, and the next free numbers. The programs never look at these, but
 * they must survive with the maps whose keys they explain. */
struct network_id {
	char text[28];
};
HASH(networks, struct network_id, __u32, 16384);
HASH(gone_servers, __u32, struct gone_server, 16384);

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u32);
} next_numbers SEC(".maps");
