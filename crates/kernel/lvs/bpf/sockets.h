/* Balancing at the socket: connections of registered namespaces to virtual addresses, and of the node's own processes
 * (and containers) to its published ports. The socket is connected to the real server from the start, so nothing is
 * left to do per packet and the kernel never sees two connections as one.
 */
#pragma once

#include "allow.h"
#include "choose.h"

/* Whether the kernel has bpf_set_retval (5.18). Without it a refused connect fails with EPERM. */
const volatile __u32 can_set_retval = 0;

#define ECONNREFUSED 111

struct endpoint {
	struct address address;
	__u16 port;
};

enum verdict {
	LEAVE,
	TRANSLATED,
	REFUSED,
};

enum kind {
	NOT_OURS,
	EAST_WEST,
	PUBLISHED,
	NOT_ALLOWED,
};

INLINE bool is_loopback(const struct address *address)
{
	if (is_ipv4(address))
		return (address->word[3] & __builtin_bswap32(0xff000000)) == __builtin_bswap32(0x7f000000);
	return !address->word[0] && !address->word[1] && !address->word[2] &&
	       address->word[3] == __builtin_bswap32(1);
}

INLINE bool find_vip(const struct sandbox *sandbox, const struct address *to, struct service *found)
{
	struct vip_key key = { .vip = *to };

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < SANDBOX_NETWORKS_MAX; i++) {
		struct service *service;

		if (i >= sandbox->count)
			break;
		key.network = sandbox->networks[i];
		service = bpf_map_lookup_elem(&vip_services, &key);
		if (service) {
			*found = *service;
			return true;
		}
	}
	return false;
}

INLINE enum kind find_published(const struct sandbox *sandbox, const struct endpoint *to, __u8 protocol,
				struct service *found)
{
	struct port_key key = { .port = to->port, .protocol = protocol };
	struct service *service;
	bool here = (sandbox->flags & SANDBOX_IS_HOST) && is_loopback(&to->address);

	if (!here && !bpf_map_lookup_elem(&node_addresses, &to->address))
		return NOT_OURS;
	service = bpf_map_lookup_elem(&port_services, &key);
	/* Without a real server the node's own stack answers, by refusing. */
	if (!service || !service->slots || !is_published_on(service, &to->address))
		return NOT_OURS;
	if (!is_allowed(service, &sandbox->client))
		return NOT_ALLOWED;
	*found = *service;
	return PUBLISHED;
}

INLINE enum kind find_service(const struct sandbox *sandbox, const struct endpoint *to, __u8 protocol,
			      struct service *found)
{
	if (protocol != PROTOCOL_TCP && protocol != PROTOCOL_UDP)
		return NOT_OURS;
	if (find_vip(sandbox, &to->address, found))
		return EAST_WEST;
	return find_published(sandbox, to, protocol, found);
}

INLINE enum verdict refuse(void)
{
	if (can_set_retval)
		bpf_set_retval(-ECONNREFUSED);
	return REFUSED;
}

/* Connecting or sending fails with EPERM, as behind any packet filter on the way out. */
INLINE enum verdict forbid(void)
{
	count_drop(DROP_NOT_ALLOWED);
	return REFUSED;
}

INLINE __u64 *tally_of(struct tally *tally, __u32 counted)
{
	return counted == COUNTED_ACTIVE ? &tally->active : &tally->inactive;
}

/* Takes the socket's earlier connection out of the counters. */
INLINE void release(struct connected *connected)
{
	struct tally *tally = bpf_map_lookup_elem(&tallies, &connected->server);

	if (connected->counted && tally)
		__sync_fetch_and_sub(tally_of(tally, connected->counted), 1);
	connected->counted = 0;
	bpf_map_delete_elem(&balanced_sockets, &connected->cookie);
}

/* Lets user space see the connection. Without room it is merely not seen. */
INLINE void show_connected(const struct connected *connected, __u64 netns, __u8 protocol)
{
	struct balanced value = {
		.netns = netns,
		.asked = connected->asked,
		.real = connected->real,
		.asked_port = connected->asked_port,
		.real_port = connected->real_port,
		.server = connected->server,
		.protocol = protocol,
	};

	bpf_map_update_elem(&balanced_sockets, &connected->cookie, &value, BPF_ANY);
}

INLINE void remember_connected(struct bpf_sock_addr *ctx, const struct endpoint *asked, const struct endpoint *real,
			       __u32 server, __u64 netns)
{
	__u8 protocol = ctx->protocol;
	struct connected value = {
		.asked = asked->address,
		.real = real->address,
		.asked_port = asked->port,
		.real_port = real->port,
		.server = server,
		.counted = protocol == PROTOCOL_TCP ? COUNTED_ACTIVE : COUNTED_INACTIVE,
		.cookie = bpf_get_socket_cookie(ctx),
	};
	struct connected *kept = bpf_sk_storage_get(&connected_sockets, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	struct tally *tally = bpf_map_lookup_elem(&tallies, &server);

	if (!kept)
		return;
	*kept = value;
	if (tally)
		__sync_fetch_and_add(tally_of(tally, value.counted), 1);
	count_connection(server);
	show_connected(&value, netns, protocol);
}

INLINE void forget_connected(struct bpf_sock *sk)
{
	struct connected *kept = bpf_sk_storage_get(&connected_sockets, sk, 0, 0);

	if (!kept)
		return;
	release(kept);
	bpf_sk_storage_delete(&connected_sockets, sk);
}

/* Who asks, for choosing a server. The node has its address; of other namespaces the cookie stands for the client, whose
 * socket has no address yet.
 */
INLINE void client_of(const struct sandbox *sandbox, __u64 netns, struct address *client)
{
	if (sandbox->flags & SANDBOX_IS_HOST) {
		*client = sandbox->client;
		return;
	}
	client->word[0] = 0;
	client->word[1] = 0;
	client->word[2] = netns >> 32;
	client->word[3] = netns;
}

INLINE enum verdict connect_to(struct bpf_sock_addr *ctx, struct endpoint *to)
{
	__u64 netns = bpf_get_netns_cookie(ctx);
	struct sandbox *sandbox = bpf_map_lookup_elem(&sandboxes, &netns);
	struct endpoint asked = *to;
	struct service service;
	struct server *server;
	struct address client;
	enum kind kind;
	__u32 number = 0;

	if (!sandbox || !ctx->sk)
		return LEAVE;
	forget_connected(ctx->sk);
	kind = find_service(sandbox, to, ctx->protocol, &service);
	if (kind == NOT_OURS)
		return LEAVE;
	if (kind == NOT_ALLOWED)
		return forbid();
	client_of(sandbox, netns, &client);
	server = choose(&service, &client, &number);
	if (!server)
		return refuse();
	to->address = server->address;
	if (server->port)
		to->port = server->port;
	remember_connected(ctx, &asked, to, number, netns);
	return TRANSLATED;
}

/* The server that this socket's datagrams to `key` go to already, as long as it is one and was spoken to lately. */
INLINE struct server *kept_choice(const struct datagram_key *key, __u64 now, __u32 *number)
{
	struct datagram_choice *choice = bpf_map_lookup_elem(&datagram_choices, key);

	if (!choice || passed(now, choice->seen, idle_datagram))
		return 0;
	choice->seen = now;
	*number = choice->server;
	return bpf_map_lookup_elem(&servers, number);
}

INLINE struct server *choose_for_datagram(const struct service *service, const struct datagram_key *key,
					  const struct address *client, __u32 *number)
{
	__u64 now = bpf_ktime_get_ns();
	struct server *server = kept_choice(key, now, number);
	struct datagram_choice choice = { .seen = now };

	if (server)
		return server;
	server = choose(service, client, number);
	if (!server)
		return 0;
	choice.server = *number;
	bpf_map_update_elem(&datagram_choices, key, &choice, BPF_ANY);
	count_connection(*number);
	return server;
}

/* Lets the answers of `real` appear to come from what was asked for. */
INLINE void remember_asked(__u64 socket, const struct endpoint *asked, const struct endpoint *real)
{
	struct datagram_key key = { .socket = socket, .peer = real->address, .port = real->port };
	struct datagram_asked value = { .address = asked->address, .port = asked->port };
	struct datagram_asked *kept = bpf_map_lookup_elem(&datagram_peers, &key);

	if (kept && same_address(&kept->address, &asked->address) && kept->port == asked->port)
		return;
	bpf_map_update_elem(&datagram_peers, &key, &value, BPF_ANY);
}

INLINE enum verdict send_to(struct bpf_sock_addr *ctx, struct sandbox *sandbox, __u64 netns, struct endpoint *to)
{
	struct datagram_key key = { .socket = bpf_get_socket_cookie(ctx), .peer = to->address, .port = to->port };
	struct endpoint asked = *to;
	struct service service;
	struct server *server;
	struct address client;
	enum kind kind;
	__u32 number = 0;

	kind = find_service(sandbox, to, PROTOCOL_UDP, &service);
	if (kind == NOT_OURS)
		return LEAVE;
	if (kind == NOT_ALLOWED)
		return forbid();
	client_of(sandbox, netns, &client);
	server = choose_for_datagram(&service, &key, &client, &number);
	if (!server)
		return refuse();
	to->address = server->address;
	if (server->port)
		to->port = server->port;
	remember_asked(key.socket, &asked, to);
	return TRANSLATED;
}

/* A task's answer to a client of the mesh must leave from the task's ingress address, or it would go out by its
 * default route and reach the client from a stranger. A server on a wildcard socket leaves the choice to the routes.
 */
INLINE bool answers_mesh(struct bpf_sock_addr *ctx, const struct address *own, const struct endpoint *to)
{
	struct task_key key = {
		.task = *own,
		.client = to->address,
		.client_port = to->port,
		.protocol = PROTOCOL_UDP,
	};

	if (!own->word[3] || !ctx->sk)
		return false;
	key.port = swap16(ctx->sk->src_port);
	return bpf_map_lookup_elem(&task_flows, &key) || bpf_map_lookup_elem(&task_openings, &key);
}

/* The sandbox's IPv6 address on the ingress network, or zeros. */
INLINE const struct address *ingress_ipv6(const struct sandbox *sandbox)
{
	return is_ipv4(&sandbox->ingress) ? &sandbox->ingress6 : &sandbox->ingress;
}

/* Turns the address of a real server into what this socket asked for. */
INLINE bool asked_by_connection(struct bpf_sock *sk, struct endpoint *peer)
{
	struct connected *kept = sk ? bpf_sk_storage_get(&connected_sockets, sk, 0, 0) : 0;

	if (!kept || kept->real_port != peer->port || !same_address(&kept->real, &peer->address))
		return false;
	peer->address = kept->asked;
	peer->port = kept->asked_port;
	return true;
}

INLINE bool asked_by_datagram(struct bpf_sock_addr *ctx, struct endpoint *peer)
{
	struct datagram_key key = { .peer = peer->address, .port = peer->port };
	struct datagram_asked *asked;

	key.socket = bpf_get_socket_cookie(ctx);
	asked = bpf_map_lookup_elem(&datagram_peers, &key);
	if (!asked)
		return false;
	peer->address = asked->address;
	peer->port = asked->port;
	return true;
}

INLINE bool received_from(struct bpf_sock_addr *ctx, struct endpoint *peer)
{
	__u64 netns = bpf_get_netns_cookie(ctx);

	if (!bpf_map_lookup_elem(&sandboxes, &netns))
		return false;
	return asked_by_connection(ctx->sk, peer) || asked_by_datagram(ctx, peer);
}

INLINE void read_ipv4(struct bpf_sock_addr *ctx, struct endpoint *endpoint)
{
	set_ipv4(&endpoint->address, ctx->user_ip4);
	endpoint->port = ctx->user_port;
}

INLINE void write_ipv4(struct bpf_sock_addr *ctx, const struct endpoint *endpoint)
{
	ctx->user_ip4 = endpoint->address.word[3];
	ctx->user_port = endpoint->port;
}

INLINE void read_ipv6(struct bpf_sock_addr *ctx, struct endpoint *endpoint)
{
	endpoint->address.word[0] = ctx->user_ip6[0];
	endpoint->address.word[1] = ctx->user_ip6[1];
	endpoint->address.word[2] = ctx->user_ip6[2];
	endpoint->address.word[3] = ctx->user_ip6[3];
	endpoint->port = ctx->user_port;
}

INLINE void write_ipv6(struct bpf_sock_addr *ctx, const struct endpoint *endpoint)
{
	ctx->user_ip6[0] = endpoint->address.word[0];
	ctx->user_ip6[1] = endpoint->address.word[1];
	ctx->user_ip6[2] = endpoint->address.word[2];
	ctx->user_ip6[3] = endpoint->address.word[3];
	ctx->user_port = endpoint->port;
}

INLINE bool has_no_source(struct bpf_sock_addr *ctx)
{
	return !ctx->msg_src_ip6[0] && !ctx->msg_src_ip6[1] && !ctx->msg_src_ip6[2] && !ctx->msg_src_ip6[3];
}

INLINE void set_source_ipv6(struct bpf_sock_addr *ctx, const struct address *from)
{
	ctx->msg_src_ip6[0] = from->word[0];
	ctx->msg_src_ip6[1] = from->word[1];
	ctx->msg_src_ip6[2] = from->word[2];
	ctx->msg_src_ip6[3] = from->word[3];
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	struct endpoint to;
	enum verdict verdict;

	read_ipv4(ctx, &to);
	verdict = connect_to(ctx, &to);
	if (verdict == TRANSLATED)
		write_ipv4(ctx, &to);
	return verdict != REFUSED;
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	struct endpoint to;
	enum verdict verdict;

	read_ipv6(ctx, &to);
	verdict = connect_to(ctx, &to);
	if (verdict == TRANSLATED)
		write_ipv6(ctx, &to);
	return verdict != REFUSED;
}

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx)
{
	__u64 netns = bpf_get_netns_cookie(ctx);
	struct sandbox *sandbox = bpf_map_lookup_elem(&sandboxes, &netns);
	struct endpoint to;
	enum verdict verdict;

	if (!sandbox)
		return 1;
	read_ipv4(ctx, &to);
	verdict = send_to(ctx, sandbox, netns, &to);
	if (verdict == TRANSLATED)
		write_ipv4(ctx, &to);
	else if (verdict == LEAVE && !ctx->msg_src_ip4 && answers_mesh(ctx, &sandbox->ingress, &to))
		ctx->msg_src_ip4 = sandbox->ingress.word[3];
	return verdict != REFUSED;
}

/* IPv4-mapped destinations come by sendmsg4. The kernel lets nobody turn a real IPv6 destination into a mapped one
 * here, so ::1 is left alone: it could only lead to an IPv4 server.
 */
SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx)
{
	__u64 netns = bpf_get_netns_cookie(ctx);
	struct sandbox *sandbox = bpf_map_lookup_elem(&sandboxes, &netns);
	struct endpoint to;
	enum verdict verdict;

	if (!sandbox)
		return 1;
	read_ipv6(ctx, &to);
	if (is_loopback(&to.address))
		return 1;
	verdict = send_to(ctx, sandbox, netns, &to);
	if (verdict == TRANSLATED)
		write_ipv6(ctx, &to);
	else if (verdict == LEAVE && has_no_source(ctx) && answers_mesh(ctx, ingress_ipv6(sandbox), &to))
		set_source_ipv6(ctx, ingress_ipv6(sandbox));
	return verdict != REFUSED;
}

SEC("cgroup/recvmsg4")
int recvmsg4(struct bpf_sock_addr *ctx)
{
	struct endpoint peer;

	read_ipv4(ctx, &peer);
	if (received_from(ctx, &peer))
		write_ipv4(ctx, &peer);
	return 1;
}

SEC("cgroup/recvmsg6")
int recvmsg6(struct bpf_sock_addr *ctx)
{
	struct endpoint peer;

	read_ipv6(ctx, &peer);
	if (received_from(ctx, &peer))
		write_ipv6(ctx, &peer);
	return 1;
}

SEC("cgroup/getpeername4")
int getpeername4(struct bpf_sock_addr *ctx)
{
	struct endpoint peer;

	read_ipv4(ctx, &peer);
	if (asked_by_connection(ctx->sk, &peer))
		write_ipv4(ctx, &peer);
	return 1;
}

SEC("cgroup/getpeername6")
int getpeername6(struct bpf_sock_addr *ctx)
{
	struct endpoint peer;

	read_ipv6(ctx, &peer);
	if (asked_by_connection(ctx->sk, &peer))
		write_ipv6(ctx, &peer);
	return 1;
}

/* A closed socket leaves the counters. */
SEC("cgroup/sock_release")
int sock_release(struct bpf_sock *ctx)
{
	struct connected *kept = bpf_sk_storage_get(&connected_sockets, ctx, 0, 0);

	if (kept)
		release(kept);
	return 1;
}
