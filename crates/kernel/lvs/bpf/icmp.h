/* ICMP and ICMPv6: error messages quote the packet that they are about, and the quoted headers must be translated as
 * those of packets are, or nobody would know them. Pings are the node's own affair.
 */
#pragma once

#include "packet.h"

#define ICMP_BYTES 8
#define ICMP_UNREACHABLE 3
#define ICMP_FRAGMENTATION_NEEDED 4 /* a code of the above */
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12
#define ICMPV6_TOO_BIG 2
#define ICMPV6_INFORMATION 128 /* this and all above are no errors */

/* Bytes that our own messages quote: the longest headers of IPv4, or those of IPv6 with some extensions, and ports.
 * Only packets longer than any MTU's minimum are refused, so there are that many.
 */
#define QUOTED_BYTES 96

struct icmp {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__u16 unused;
	__u16 mtu; /* ICMPv6 takes `unused` too */
};

INLINE bool is_error(const struct packet *message, __u8 type)
{
	if (message->is_ipv4)
		return type == ICMP_UNREACHABLE || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETER_PROBLEM;
	return type < ICMPV6_INFORMATION;
}

/* Reads the packet that an error is about; false when the message is no error, or about something without ports. */
INLINE bool read_quoted(struct __sk_buff *skb, const struct packet *message, struct packet *quoted)
{
	__u16 ports[2];
	__u8 type;

	if (bpf_skb_load_bytes(skb, message->transport_at, &type, sizeof(type)) || !is_error(message, type))
		return false;
	if (!read_network(skb, quoted, message->transport_at + ICMP_BYTES, message->is_ipv4))
		return false;
	if (!has_ports(quoted) || quoted->part == LATER_FRAGMENT ||
	    bpf_skb_load_bytes(skb, quoted->transport_at, ports, sizeof(ports)))
		return false;
	quoted->source_port = ports[0];
	quoted->destination_port = ports[1];
	return true;
}

/* Writes an address into the quoted header. IPv4's own checksum takes up the change, so that the message's does not
 * see it.
 */
INLINE long set_quoted_address(struct __sk_buff *skb, const struct packet *message, const struct packet *quoted, bool source,
			       const struct address *to)
{
	const struct address *from = source ? &quoted->source : &quoted->destination;
	__u32 at = quoted->network_at;
	__s64 change;

	if (same_address(from, to))
		return 0;
	if (quoted->is_ipv4) {
		if (bpf_l3_csum_replace(skb, at + 10, from->word[3], to->word[3], 4))
			return -1;
		at += source ? IPV4_SOURCE_AT : IPV4_DESTINATION_AT;
		return bpf_skb_store_bytes(skb, at, &to->word[3], 4, 0);
	}
	change = bpf_csum_diff(from, sizeof(*from), to, sizeof(*to), 0);
	if (bpf_l4_csum_replace(skb, message->transport_at + ICMP_CHECKSUM_AT, 0, change, 0))
		return -1;
	at += source ? IPV6_SOURCE_AT : IPV6_DESTINATION_AT;
	return bpf_skb_store_bytes(skb, at, to, sizeof(*to), 0);
}

/* Writes a port into the quoted header. The quoted checksum stays: whoever gets a part of a packet cannot check it. */
INLINE long set_quoted_port(struct __sk_buff *skb, const struct packet *message, const struct packet *quoted, bool source,
			    __u16 to)
{
	__u16 from = source ? quoted->source_port : quoted->destination_port;

	if (from == to)
		return 0;
	if (bpf_l4_csum_replace(skb, message->transport_at + ICMP_CHECKSUM_AT, from, to, sizeof(to)))
		return -1;
	return bpf_skb_store_bytes(skb, quoted->transport_at + (source ? SOURCE_PORT_AT : DESTINATION_PORT_AT), &to,
				   sizeof(to), 0);
}

/* Whether the packet does not pass through links of this MTU. What the card put together is taken apart again. */
INLINE bool is_too_long(const struct __sk_buff *skb, __u32 mtu)
{
	return mtu && skb->len - ETHERNET_BYTES > mtu && !skb->gso_size;
}

/* Writes the ICMP header at `at`, before what it quotes; `pseudo` is the sum of what else the checksum covers. */
INLINE long write_too_big(struct __sk_buff *skb, struct icmp *icmp, __u32 at, __s64 pseudo)
{
	__u32 quoted[QUOTED_BYTES / 4];
	__s64 sum;

	if (bpf_skb_load_bytes(skb, at + ICMP_BYTES, quoted, sizeof(quoted)))
		return -1;
	sum = bpf_csum_diff(0, 0, quoted, sizeof(quoted), pseudo);
	icmp->checksum = folded(bpf_csum_diff(0, 0, (__u32 *)icmp, sizeof(*icmp), sum));
	return bpf_skb_store_bytes(skb, at, icmp, sizeof(*icmp), 0);
}

INLINE long write_too_big_ipv4(struct __sk_buff *skb, const struct packet *packet, __u32 mtu)
{
	struct icmp icmp = {
		.type = ICMP_UNREACHABLE, .code = ICMP_FRAGMENTATION_NEEDED, .mtu = swap16((__u16)mtu)
	};
	struct ipv4 ip = {
		.version_and_words = 0x45,
		.length = swap16(sizeof(ip) + ICMP_BYTES + QUOTED_BYTES),
		.fragment = swap16(IPV4_MAY_NOT_FRAGMENT),
		.ttl = 64,
		.protocol = PROTOCOL_ICMP,
		.source = packet->destination.word[3],
		.destination = packet->source.word[3],
	};

	if (bpf_skb_adjust_room(skb, sizeof(ip) + ICMP_BYTES, BPF_ADJ_ROOM_MAC, 0))
		return -1;
	ip.checksum = folded(bpf_csum_diff(0, 0, (__u32 *)&ip, sizeof(ip), 0));
	if (bpf_skb_store_bytes(skb, ETHERNET_BYTES, &ip, sizeof(ip), 0))
		return -1;
	return write_too_big(skb, &icmp, ETHERNET_BYTES + sizeof(ip), 0);
}

INLINE long write_too_big_ipv6(struct __sk_buff *skb, const struct packet *packet, __u32 mtu)
{
	struct icmp icmp = { .type = ICMPV6_TOO_BIG, .mtu = swap16((__u16)mtu) };
	struct ipv6 ip = {
		.version_and_class = __builtin_bswap32(0x60000000),
		.length = swap16(ICMP_BYTES + QUOTED_BYTES),
		.next = PROTOCOL_ICMPV6,
		.hops = 64,
		.source = packet->destination,
		.destination = packet->source,
	};
	__u32 rest[2] = { __builtin_bswap32(ICMP_BYTES + QUOTED_BYTES), __builtin_bswap32(PROTOCOL_ICMPV6) };
	__s64 pseudo;

	if (bpf_skb_adjust_room(skb, sizeof(ip) + ICMP_BYTES, BPF_ADJ_ROOM_MAC, 0))
		return -1;
	if (bpf_skb_store_bytes(skb, ETHERNET_BYTES, &ip, sizeof(ip), 0))
		return -1;
	pseudo = bpf_csum_diff(0, 0, (__u32 *)&ip.source, sizeof(ip.source) + sizeof(ip.destination), 0);
	pseudo = bpf_csum_diff(0, 0, rest, sizeof(rest), pseudo);
	return write_too_big(skb, &icmp, ETHERNET_BYTES + sizeof(ip), pseudo);
}

/* Makes the packet the message that it is too long, from where it was sent to. One answer for each, and a shorter one,
 * so that it amplifies nothing.
 */
INLINE long become_too_big(struct __sk_buff *skb, const struct packet *packet, __u32 mtu)
{
	if (bpf_skb_change_tail(skb, ETHERNET_BYTES + QUOTED_BYTES, 0))
		return -1;
	return packet->is_ipv4 ? write_too_big_ipv4(skb, packet, mtu) : write_too_big_ipv6(skb, packet, mtu);
}

/* Sends the message back to where the packet came in. */
INLINE int refuse_length(struct __sk_buff *skb, const struct packet *packet, __u32 mtu)
{
	struct ethernet ethernet;

	if (bpf_skb_load_bytes(skb, 0, &ethernet, sizeof(ethernet)) || become_too_big(skb, packet, mtu) ||
	    set_macs(skb, ethernet.source, ethernet.destination))
		return TC_ACT_SHOT;
	return bpf_redirect(skb->ifindex, 0);
}
