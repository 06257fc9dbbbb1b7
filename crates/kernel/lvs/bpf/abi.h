/* What the programs and user space share. Mirrored field by field in src/ebpf/abi.rs, with sizes asserted there.
 *
 * Addresses and ports are in network byte order, everything else in the machine's. IPv4 addresses are held as
 * ::ffff:a.b.c.d, so that one kind of key serves both families. Every struct is free of implicit padding, because
 * keys are compared byte by byte.
 */
#pragma once

#include <linux/types.h>

struct address {
	__u32 word[4];
};

/* A service is chosen by (network number, virtual address) between tasks ... */
struct vip_key {
	__u32 network;
	struct address vip;
};

/* ... and by published port for the mesh. */
struct port_key {
	__u16 port;
	__u8 protocol;
	__u8 zero;
};

enum scheduler {
	SCHEDULER_ROUND_ROBIN = 0,
	SCHEDULER_SOURCE_HASH = 1,
};

/* Only networks in the map `allowed` may use the port. */
#define SERVICE_RESTRICTED 1
/* The port is the mesh's on the addresses in the map `published_on` only. */
#define SERVICE_ON_ADDRESSES 2

/* A virtual service: which immutable generation of its ring counts now. */
struct service {
	__u32 number;
	__u32 generation;
	__u32 slots;
	__u32 scheduler;
	__u32 affinity; /* seconds for which a client keeps its server; 0: not at all */
	__u32 flags; /* SERVICE_* */
};

/* A network whose clients may use a service; `prefix` counts the bits of the service's number too. */
struct allow_key {
	__u32 prefix;
	__u32 service;
	struct address network;
};

/* A service's node address, or its client. */
struct service_address {
	__u32 service;
	struct address address;
};

/* The server that a client keeps. */
struct affinity {
	__u64 seen; /* its last new connection: nanoseconds, CLOCK_MONOTONIC */
	__u32 server;
	__u32 zero;
};

struct slot_key {
	__u32 service;
	__u32 generation;
	__u32 slot;
};

/* A real server of one service; its number is never given out twice. */
struct server {
	struct address address;
	struct address address6; /* where it has one of each family; else zero */
	__u8 mac[6];
	__u16 port; /* 0 keeps the client's */
	__u32 service;
	__u32 weight; /* 0: no new connections */
	char task[28];
};

/* Connections ever given to a real server, and sockets of this machine that are connected to it now. */
struct tally {
	__u64 connections;
	__u64 active;
	__u64 inactive;
};

/* What passed between the clients of the mesh and a real server. */
struct traffic {
	__u64 packets_in;
	__u64 bytes_in;
	__u64 packets_out;
	__u64 bytes_out;
};

/* User space's own: a real server that went while connections to it were open. */
struct gone_server {
	__u64 removed; /* nanoseconds, CLOCK_MONOTONIC */
	__u64 resets;
	__u32 service;
	char task[28];
};

/* Why a packet was dropped. */
enum drop {
	DROP_NOT_ALLOWED,
	DROP_TABLE_FULL,
	DROP_CLASH,
	DROP_UNKNOWN_FLOW,
	DROP_REASONS,
};

#define SANDBOX_NETWORKS_MAX 30
#define SANDBOX_IS_HOST 1

/* A namespace whose own connections are balanced. */
struct sandbox {
	struct address ingress; /* its address on the ingress network, or zero */
	struct address ingress6; /* its second one there, of the other family, or zero */
	__u32 flags;
	__u32 count;
	__u32 networks[SANDBOX_NETWORKS_MAX];
	struct address client; /* as whom it asks for published ports: the node's own address */
};

/* Where the mesh hooks into the node; interface numbers count in the namespace of the program that uses them. */
struct mesh {
	__u32 gateway_port; /* host: the host's end of the sandbox's gateway link */
	__u32 sandbox_ingress; /* ingress sandbox: its link on the ingress network */
	__u32 sandbox_gateway; /* ingress sandbox: its link towards the host */
	__u8 entry_mac[6]; /* of sandbox_ingress */
	__u8 retired; /* another engine gives out new connections; only known ones go on here */
	__u8 accompanied; /* another engine still carries connections that are not known here */
	__u32 mtu; /* of the ingress network */
};

/* A client's flow as the node sees it where it enters the mesh. */
struct entry_key {
	struct address client;
	struct address node;
	__u16 client_port;
	__u16 port;
	__u8 protocol;
	__u8 zero[3];
};

struct entry_flow {
	__u64 seen; /* nanoseconds, CLOCK_MONOTONIC */
	__u32 server;
	__u32 uplink; /* interface it came in by; answers leave by it */
	__u32 state;
	__u32 zero;
};

/* What was seen of a TCP connection. */
#define FLOW_ANSWERED 1
#define FLOW_CLIENT_FIN 2
#define FLOW_SERVER_FIN 4
#define FLOW_RESET 8
#define FLOW_CLOSED_BOTH (FLOW_CLIENT_FIN | FLOW_SERVER_FIN)

/* Nanoseconds without a packet after which a flow may be given to another server, or forgotten. Set when the programs
 * are loaded.
 */
#define SECOND 1000000000ULL
const volatile __u64 idle_datagram = 120 * SECOND;
const volatile __u64 idle_opening = 60 * SECOND;
const volatile __u64 idle_closed = 60 * SECOND; /* no less than the kernel keeps TIME_WAIT */
const volatile __u64 idle_connection = 432000 * SECOND;

/* One local task on the ingress network, by the interface number of its port in the overlay's namespace. */
struct mesh_task {
	struct address address;
	struct address address6; /* where it has one of each family; else zero */
	__u8 mac[6];
	__u8 zero[2];
};

struct task_port_key {
	__u32 port_link;
	__u16 published;
	__u8 protocol;
	__u8 zero;
};

struct task_port {
	__u16 target;
	__u16 zero;
};

/* A client's flow as the task sees it. */
struct task_key {
	struct address task;
	struct address client;
	__u16 client_port;
	__u16 port;
	__u8 protocol;
	__u8 zero[3];
};

struct task_flow {
	__u64 seen;
	struct address node; /* what the client addressed ... */
	__u16 published; /* ... 0 where nothing was translated */
	__u16 client_port; /* the client's own port; the key's differs when two clients' flows would be one */
	__u8 entry_mac[6]; /* who gets the answers */
	__u8 zero[2];
	__u32 state;
};

/* The task-side port of a flow whose own port was taken by another entry's flow. */
struct clash_key {
	struct task_key flow; /* with the client's own port */
	struct address node;
	__u16 published;
	__u16 zero[3];
};

struct clash {
	__u16 client_port;
	__u16 zero;
};

/* A datagram in fragments: only the first of them bears ports. */
struct fragment_key {
	struct address source;
	struct address destination;
	__u32 id;
	__u8 protocol; /* 0 for IPv6, where it does not count */
	__u8 is_latest; /* with id 0: the last datagram of this pair, whichever it was */
	__u8 zero[2];
};

/* Where its first fragment went. */
struct fragment {
	__u64 seen;
	struct address node; /* at the task: whom the answer comes from */
	__u32 number; /* at the entry: of the server, or of the interface */
	__u32 server; /* at the entry, of an answer */
	__u8 entry_mac[6];
	__u8 zero[2];
};

/* Nanoseconds for which hosts wait for the rest of a datagram, and for which the last one of a pair of addresses tells
 * something about a fragment that came before its first.
 */
#define IDLE_FRAGMENT (30 * SECOND)
#define IDLE_LATEST (2 * SECOND)

/* A connected socket of a balanced namespace. */
struct connected {
	struct address asked;
	struct address real;
	__u16 asked_port;
	__u16 real_port;
	__u32 server;
	__u32 counted; /* the tally that it is in: one of COUNTED_* */
	__u32 zero;
	__u64 cookie;
};

#define COUNTED_ACTIVE 1
#define COUNTED_INACTIVE 2

/* The same by the socket's cookie: user space cannot look into the storage of sockets. */
struct balanced {
	__u64 netns; /* cookie of the namespace that it was made in */
	struct address asked;
	struct address real;
	__u16 asked_port;
	__u16 real_port;
	__u32 server;
	__u32 protocol;
	__u32 zero;
};

/* An unconnected datagram socket and whom it speaks with. */
struct datagram_key {
	__u64 socket;
	struct address peer;
	__u16 port;
	__u16 zero[3];
};

/* By what was asked for: the server it was given. */
struct datagram_choice {
	__u64 seen;
	__u32 server;
	__u32 zero;
};

/* By the real server: what was asked for. */
struct datagram_asked {
	struct address address;
	__u16 port;
	__u16 zero;
};
