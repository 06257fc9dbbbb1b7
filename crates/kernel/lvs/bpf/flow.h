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
		return idle_datagram;
	if (is_closed(state))
		return idle_closed;
	return state & FLOW_ANSWERED ? idle_connection : idle_opening;
}

/* Whether a flow last seen at `seen` has been idle for too long. */
INLINE bool is_idle(__u64 now, __u64 seen, __u8 protocol, __u32 state)
{
	return passed(now, seen, longest_idle(protocol, state));
}

/* Whether the client's packet shows that it got an answer, as far as can be told without its sequence numbers. */
INLINE bool confirms(const struct packet *packet, __u32 state)
{
	return (state & FLOW_ANSWERED) && !(packet->tcp_flags & (TCP_SYN | TCP_RST));
}

INLINE __u32 state_after_client(__u32 state, const struct packet *packet)
{
	if (packet->tcp_flags & TCP_FIN)
		state |= FLOW_CLIENT_FIN;
	if (packet->tcp_flags & TCP_RST)
		state |= FLOW_RESET;
	return state;
}

/* A server that goes on sending did not believe the reset that the client seemed to send: it was forged, or came late. */
INLINE __u32 state_after_server(__u32 state, const struct packet *packet)
{
	if (packet->tcp_flags & TCP_RST)
		return state | FLOW_RESET;
	state &= ~FLOW_RESET;
	if (packet->tcp_flags & TCP_FIN)
		state |= FLOW_SERVER_FIN;
	return state | FLOW_ANSWERED;
}
