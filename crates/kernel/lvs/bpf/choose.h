/* Choosing a real server: one look into the ring that user space computed. */
#pragma once

#include "affinity.h"
#include "tallies.h"

INLINE bool same_address(const struct address *a, const struct address *b)
{
	return a->word[0] == b->word[0] && a->word[1] == b->word[1] && a->word[2] == b->word[2] &&
	       a->word[3] == b->word[3];
}

INLINE void set_ipv4(struct address *to, __u32 ipv4)
{
	to->word[0] = 0;
	to->word[1] = 0;
	to->word[2] = __builtin_bswap32(0x0000ffff);
	to->word[3] = ipv4;
}

INLINE bool is_ipv4(const struct address *address)
{
	return address->word[0] == 0 && address->word[1] == 0 && address->word[2] == __builtin_bswap32(0x0000ffff);
}

/* Spreads neighbouring inputs over the whole range (the finalizer of MurmurHash3). */
INLINE __u32 mix(__u32 hash)
{
	hash ^= hash >> 16;
	hash *= 0x85ebca6b;
	hash ^= hash >> 13;
	hash *= 0xc2b2ae35;
	return hash ^ (hash >> 16);
}

/* The same on every machine of the cluster, whatever its byte order, so that all choose alike for one client. */
INLINE __u32 hash_address(const struct address *address)
{
	__u32 hash = 0;

#pragma clang loop unroll(full)
	for (int i = 3; i >= 0; i--)
		hash = mix(hash ^ network_order(address->word[i]));
	return hash;
}

/* One more turn of the service's round robin. */
INLINE __u32 next_turn(const struct service *service)
{
	__u32 *cursor = bpf_map_lookup_elem(&cursors, &service->number);

	return cursor ? __sync_fetch_and_add(cursor, 1) : bpf_get_prandom_u32();
}

/* The real server in the ring's slot for `position`; tells its number. */
INLINE struct server *server_at(const struct service *service, __u32 position, __u32 *number)
{
	struct slot_key key = { .service = service->number, .generation = service->generation };
	__u32 *slot;

	if (!service->slots)
		return 0;
	key.slot = position % service->slots;
	slot = bpf_map_lookup_elem(&slots, &key);
	if (!slot)
		return 0;
	*number = *slot;
	return bpf_map_lookup_elem(&servers, number);
}

/* The real server for a new connection of a client. */
INLINE struct server *choose(const struct service *service, const struct address *client, __u32 *number)
{
	bool by_source = service->scheduler == SCHEDULER_SOURCE_HASH;
	struct server *server = server_of_client(service, client, number);

	if (!server)
		server = server_at(service, by_source ? hash_address(client) : next_turn(service), number);
	if (server)
		keep_server(service, client, *number);
	return server;
}
