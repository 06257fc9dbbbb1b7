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
