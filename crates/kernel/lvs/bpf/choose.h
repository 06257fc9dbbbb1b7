/* Choosing a real server: one look into the ring that user space computed. */
#pragma once

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

INLINE __u32 hash_address(const struct address *address)
{
	return mix(address->word[0] ^ mix(address->word[1] ^ mix(address->word[2] ^ mix(address->word[3]))));
}

/* Whether more than `limit` has passed since `seen`. Another processor may have seen the flow after `now` was read, so
 * the difference may be negative.
 */
INLINE bool passed(__u64 now, __u64 seen, __u64 limit)
{
	return (__s64)(now - seen) > (__s64)limit;
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

/* The real server for a new connection of a client that `client_hash` stands for. */
INLINE struct server *choose(const struct service *service, __u32 client_hash, __u32 *number)
{
	bool by_source = service->scheduler == SCHEDULER_SOURCE_HASH;

	return server_at(service, by_source ? client_hash : next_turn(service), number);
}
