/* Who may use a published port, and on which of the node's addresses. */
#pragma once

#include "maps.h"

/* Bits of an allow_key behind its prefix length. */
#define ALLOW_KEY_BITS 160

/* Elsewhere the port is the host's. */
INLINE bool is_published_on(const struct service *service, const struct address *node)
{
	struct service_address key = { .service = service->number, .address = *node };

	return !(service->flags & SERVICE_ON_ADDRESSES) || bpf_map_lookup_elem(&published_on, &key);
}

INLINE bool is_allowed(const struct service *service, const struct address *client)
{
	struct allow_key key = { .prefix = ALLOW_KEY_BITS, .service = service->number, .network = *client };

	return !(service->flags & SERVICE_RESTRICTED) || bpf_map_lookup_elem(&allowed, &key);
}
