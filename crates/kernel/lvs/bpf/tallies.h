/* Counting. */
#pragma once

#include "maps.h"

INLINE void count_connection(__u32 server)
{
	struct tally *tally = bpf_map_lookup_elem(&tallies, &server);

	if (tally)
		__sync_fetch_and_add(&tally->connections, 1);
}

/* One more packet dropped. Each processor has its own counter, so that a flood does not fight over one. */
INLINE void count_drop(enum drop reason)
{
	__u32 at = reason;
	__u64 *counter = bpf_map_lookup_elem(&drops, &at);

	if (counter)
		*counter += 1;
}

enum way {
	FROM_CLIENT,
	TO_CLIENT,
};

/* Counts a packet of the mesh. Segments that the kernel carries as one packet count as what they are on the wire, apart
 * from their headers' bytes.
 */
INLINE void count_traffic(const struct __sk_buff *skb, __u32 server, enum way way)
{
	struct traffic none = {};
	struct traffic *traffic = bpf_map_lookup_elem(&mesh_traffic, &server);
	__u64 packets = skb->gso_segs ? skb->gso_segs : 1;
	__u64 bytes = skb->len - ETHERNET_BYTES;

	if (!traffic) {
		bpf_map_update_elem(&mesh_traffic, &server, &none, BPF_NOEXIST);
		traffic = bpf_map_lookup_elem(&mesh_traffic, &server);
	}
	if (!traffic)
		return;
	if (way == FROM_CLIENT) {
		traffic->packets_in += packets;
		traffic->bytes_in += bytes;
	} else {
		traffic->packets_out += packets;
		traffic->bytes_out += bytes;
	}
}
