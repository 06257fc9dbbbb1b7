/* What a flow's packets tell about its life. */
#pragma once

#include "packet.h"

INLINE bool is_closed(__u32 state)
{
	return (state & FLOW_RESET) || (state & FLOW_CLOSED_BOTH) == FLOW_CLOSED_BOTH;
}

INLINE __u64 longest_idle(__u8 protocol, __u32 state)
{
	if (protocol == PROTOCOL_UDP)
		return IDLE_DATAGRAM;
	if (is_closed(state))
		return IDLE_CLOSED;
	return state & FLOW_ANSWERED ? IDLE_CONNECTION : IDLE_OPENING;
}

/* Whether a flow last seen at `seen` has been idle for too long. */
INLINE bool is_idle(__u64 now, __u64 seen, __u8 protocol, __u32 state)
{
	return passed(now, seen, longest_idle(protocol, state));
}

INLINE __u32 state_after_client(__u32 state, const struct packet *packet)
{
	if (packet->tcp_flags & TCP_FIN)
		state |= FLOW_CLIENT_FIN;
	if (packet->tcp_flags & TCP_RST)
		state |= FLOW_RESET;
	return state;
}

INLINE __u32 state_after_server(__u32 state, const struct packet *packet)
{
	if (packet->tcp_flags & TCP_RST)
		return state | FLOW_RESET;
	if (packet->tcp_flags & TCP_FIN)
		state |= FLOW_SERVER_FIN;
	return state | FLOW_ANSWERED;
}
