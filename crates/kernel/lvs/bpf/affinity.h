/* Clients that keep their real server for a while. */
#pragma once

#include "maps.h"

/* Whether more than `limit` has passed since `seen`. Another processor may have seen the flow after `now` was read, so
 * the difference may be negative.
 */
INLINE bool passed(__u64 now, __u64 seen, __u64 limit)
{
	return (__s64)(now - seen) > (__s64)limit;
}

/* The server that this client was given, as long as it takes new connections and the client came back in time. */
INLINE struct server *server_of_client(const struct service *service, const struct address *client, __u32 *number)
{
	struct service_address key = { .service = service->number, .address = *client };
	struct affinity *kept;
	struct server *server;

	if (!service->affinity)
		return 0;
	kept = bpf_map_lookup_elem(&affinities, &key);
	if (!kept || passed(bpf_ktime_get_ns(), kept->seen, service->affinity * SECOND))
		return 0;
	*number = kept->server;
	server = bpf_map_lookup_elem(&servers, number);
	return server && server->weight ? server : 0;
}

/* The client keeps this server from now on. */
INLINE void keep_server(const struct service *service, const struct address *client, __u32 number)
{
	struct service_address key = { .service = service->number, .address = *client };
	struct affinity value = { .seen = bpf_ktime_get_ns(), .server = number };

	if (service->affinity)
		bpf_map_update_elem(&affinities, &key, &value, BPF_ANY);
}
