/* Reading and rewriting packets. Bytes are fetched by helper, never through packet pointers: it works on packets that
 * are not linear, and clang cannot turn it into pointer arithmetic that the verifier refuses.
 */
#pragma once

#include "choose.h"

#define IPV4_CHECKSUM_AT (ETHERNET_BYTES + 10)
#define IPV4_SOURCE_AT 12
#define IPV4_DESTINATION_AT 16
#define IPV6_SOURCE_AT 8
#define IPV6_DESTINATION_AT 24
#define TCP_CHECKSUM_AT 16
#define UDP_CHECKSUM_AT 6
#define ICMP_CHECKSUM_AT 2
#define SOURCE_PORT_AT 0
#define DESTINATION_PORT_AT 2

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define IPV4_MAY_NOT_FRAGMENT 0x4000
#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_FRAGMENT_OFFSET 0x1fff /* in units of eight bytes */
#define IPV6_MORE_FRAGMENTS 0x0001
#define IPV6_FRAGMENT_OFFSET 0xfff8

#define IPV6_HOP_BY_HOP 0
#define IPV6_ROUTING 43
#define IPV6_FRAGMENT 44
#define IPV6_DESTINATION_OPTIONS 60
#define EXTENSIONS_MAX 6

struct ethernet {
	__u8 destination[6];
	__u8 source[6];
	__u16 type;
};

struct ipv4 {
	__u8 version_and_words;
	__u8 service_class;
	__u16 length;
	__u16 id;
	__u16 fragment;
	__u8 ttl;
	__u8 protocol;
	__u16 checksum;
	__u32 source;
	__u32 destination;
};

struct ipv6 {
	__u32 version_and_class;
	__u16 length;
	__u8 next;
	__u8 hops;
	struct address source;
	struct address destination;
};

/* The start of every extension header, and all of that of fragments. */
struct ipv6_extension {
	__u8 next;
	__u8 eights; /* beyond the first one; not of fragments */
	__u16 fragment;
	__u32 id;
};

/* As much of a transport header as is looked at. */
struct transport {
	__u16 source_port;
	__u16 destination_port;
	__u8 in_between[9];
	__u8 tcp_flags;
};

enum part {
	WHOLE,
	FIRST_FRAGMENT,
	LATER_FRAGMENT,
};

/* A packet of either family. */
struct packet {
	struct address source;
	struct address destination;
	__u16 source_port; /* ports in network byte order */
	__u16 destination_port;
	__u32 network_at;
	__u32 transport_at;
	__u32 checksum_at; /* the transport's own, if it covers addresses; else 0 */
	__u32 id; /* of the datagram that it is a fragment of */
	bool is_ipv4;
	bool may_fragment;
	__u8 part;
	__u8 protocol;
	__u8 tcp_flags; /* 0 for UDP */
};

/* What may be done with a packet. */
enum reading {
	OTHER, /* not for the mesh */
	WITH_PORTS, /* TCP or UDP */
	REST, /* a fragment, which has no ports */
	MESSAGE, /* ICMP of either version */
};

INLINE void note_fragment_header(struct packet *packet, const struct ipv6_extension *header)
{
	packet->id = header->id;
	if (header->fragment & swap16(IPV6_FRAGMENT_OFFSET))
		packet->part = LATER_FRAGMENT;
	else if (header->fragment & swap16(IPV6_MORE_FRAGMENTS))
		packet->part = FIRST_FRAGMENT;
}

/* Finds the transport header behind those of IPv6. False where there are more than anybody sends, or such as nobody
 * may look behind.
 */
INLINE bool skip_extensions(struct __sk_buff *skb, struct packet *packet, __u8 next)
{
	struct ipv6_extension extension;

#pragma clang loop unroll(disable)
	for (int i = 0; i < EXTENSIONS_MAX; i++) {
		if (packet->part == LATER_FRAGMENT ||
		    (next != IPV6_HOP_BY_HOP && next != IPV6_ROUTING && next != IPV6_DESTINATION_OPTIONS &&
		     next != IPV6_FRAGMENT))
			break;
		if (bpf_skb_load_bytes(skb, packet->transport_at, &extension, sizeof(extension)))
			return false;
		if (next == IPV6_FRAGMENT) {
			note_fragment_header(packet, &extension);
			extension.eights = 0;
		}
		next = extension.next;
		packet->transport_at += (extension.eights + 1) * 8;
	}
	packet->protocol = next;
	return true;
}

INLINE bool read_ipv4_header(struct __sk_buff *skb, struct packet *packet)
{
	struct ipv4 ip;

	if (bpf_skb_load_bytes(skb, packet->network_at, &ip, sizeof(ip)))
		return false;
	packet->transport_at = packet->network_at + (ip.version_and_words & 0x0f) * 4;
	packet->protocol = ip.protocol;
	packet->id = ip.id;
	packet->may_fragment = !(ip.fragment & swap16(IPV4_MAY_NOT_FRAGMENT)) && ip.version_and_words == 0x45;
	if (ip.fragment & swap16(IPV4_FRAGMENT_OFFSET))
		packet->part = LATER_FRAGMENT;
	else if (ip.fragment & swap16(IPV4_MORE_FRAGMENTS))
		packet->part = FIRST_FRAGMENT;
	set_ipv4(&packet->source, ip.source);
	set_ipv4(&packet->destination, ip.destination);
	return true;
}

INLINE bool read_ipv6_header(struct __sk_buff *skb, struct packet *packet)
{
	struct ipv6 ip;

	if (bpf_skb_load_bytes(skb, packet->network_at, &ip, sizeof(ip)))
		return false;
	packet->transport_at = packet->network_at + sizeof(ip);
	packet->source = ip.source;
	packet->destination = ip.destination;
	return skip_extensions(skb, packet, ip.next);
}

/* Reads the headers of the network layer at `at`. */
INLINE bool read_network(struct __sk_buff *skb, struct packet *packet, __u32 at, bool ipv4)
{
	packet->network_at = at;
	packet->is_ipv4 = ipv4;
	packet->may_fragment = false;
	packet->part = WHOLE;
	packet->checksum_at = 0;
	packet->id = 0;
	return ipv4 ? read_ipv4_header(skb, packet) : read_ipv6_header(skb, packet);
}

INLINE bool read_transport(struct __sk_buff *skb, struct packet *packet)
{
	struct transport transport;
	bool tcp = packet->protocol == PROTOCOL_TCP;

	transport.tcp_flags = 0;
	if (tcp ? bpf_skb_load_bytes(skb, packet->transport_at, &transport, sizeof(transport)) :
		  bpf_skb_load_bytes(skb, packet->transport_at, &transport, 4))
		return false;
	packet->source_port = transport.source_port;
	packet->destination_port = transport.destination_port;
	packet->tcp_flags = transport.tcp_flags;
	packet->checksum_at = packet->transport_at + (tcp ? TCP_CHECKSUM_AT : UDP_CHECKSUM_AT);
	return true;
}

INLINE bool has_ports(const struct packet *packet)
{
	return packet->protocol == PROTOCOL_TCP || packet->protocol == PROTOCOL_UDP;
}

INLINE enum reading read_packet(struct __sk_buff *skb, struct packet *packet)
{
	bool ipv4 = skb->protocol == swap16(ETHERTYPE_IPV4);

	if (!ipv4 && skb->protocol != swap16(ETHERTYPE_IPV6))
		return OTHER;
	if (!read_network(skb, packet, ETHERNET_BYTES, ipv4))
		return OTHER;
	if (has_ports(packet) && packet->part != LATER_FRAGMENT)
		return read_transport(skb, packet) ? WITH_PORTS : OTHER;
	if (packet->part == LATER_FRAGMENT)
		return REST;
	if (packet->part != WHOLE || packet->protocol != (ipv4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6))
		return OTHER;
	if (!ipv4)
		packet->checksum_at = packet->transport_at + ICMP_CHECKSUM_AT;
	return MESSAGE;
}

/* Only where it comes from. */
INLINE bool read_source(struct __sk_buff *skb, struct address *source)
{
	__u32 ipv4;

	if (skb->protocol == swap16(ETHERTYPE_IPV6))
		return !bpf_skb_load_bytes(skb, ETHERNET_BYTES + IPV6_SOURCE_AT, source, sizeof(*source));
	if (skb->protocol != swap16(ETHERTYPE_IPV4) ||
	    bpf_skb_load_bytes(skb, ETHERNET_BYTES + IPV4_SOURCE_AT, &ipv4, sizeof(ipv4)))
		return false;
	set_ipv4(source, ipv4);
	return true;
}

/* The first packet of a TCP connection. */
INLINE bool opens(const struct packet *packet)
{
	return (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

INLINE bool same_mac(const __u8 *a, const __u8 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3] && a[4] == b[4] && a[5] == b[5];
}

INLINE long set_macs(struct __sk_buff *skb, const __u8 *destination, const __u8 *source)
{
	__u8 macs[12];

	__builtin_memcpy(macs, destination, 6);
	__builtin_memcpy(macs + 6, source, 6);
	return bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0);
}

/* A sum as a checksum. */
INLINE __u16 folded(__s64 sum)
{
	__u32 halves = (__u32)sum;

	halves = (halves & 0xffff) + (halves >> 16);
	return (__u16)~((halves & 0xffff) + (halves >> 16));
}

/* A UDP checksum of 0 means that there is none; it stays so. */
INLINE __u64 checksum_flags(const struct packet *packet)
{
	return packet->protocol == PROTOCOL_UDP ? BPF_F_MARK_MANGLED_0 : 0;
}

/* Writes an IPv4 address at `at` of the network header and mends both checksums. */
INLINE long set_ipv4_address(struct __sk_buff *skb, const struct packet *packet, __u32 at, __u32 from, __u32 to)
{
	__u64 flags = checksum_flags(packet) | BPF_F_PSEUDO_HDR | sizeof(to);

	if (packet->checksum_at && bpf_l4_csum_replace(skb, packet->checksum_at, from, to, flags))
		return -1;
	if (bpf_l3_csum_replace(skb, IPV4_CHECKSUM_AT, from, to, sizeof(to)))
		return -1;
	return bpf_skb_store_bytes(skb, ETHERNET_BYTES + at, &to, sizeof(to), 0);
}

/* The same for IPv6, whose header has no checksum of its own. */
INLINE long set_ipv6_address(struct __sk_buff *skb, const struct packet *packet, __u32 at, const struct address *from,
			     const struct address *to)
{
	__s64 change = bpf_csum_diff(from, sizeof(*from), to, sizeof(*to), 0);

	__u64 flags = checksum_flags(packet) | BPF_F_PSEUDO_HDR;

	if (packet->checksum_at && bpf_l4_csum_replace(skb, packet->checksum_at, 0, change, flags))
		return -1;
	return bpf_skb_store_bytes(skb, ETHERNET_BYTES + at, to, sizeof(*to), 0);
}

/* Makes the packet come from `to`, which is of its family. */
INLINE long set_source(struct __sk_buff *skb, const struct packet *packet, const struct address *to)
{
	if (same_address(&packet->source, to))
		return 0;
	if (packet->is_ipv4)
		return set_ipv4_address(skb, packet, IPV4_SOURCE_AT, packet->source.word[3], to->word[3]);
	return set_ipv6_address(skb, packet, IPV6_SOURCE_AT, &packet->source, to);
}

/* Makes it go to `to`. */
INLINE long set_destination(struct __sk_buff *skb, const struct packet *packet, const struct address *to)
{
	if (same_address(&packet->destination, to))
		return 0;
	if (packet->is_ipv4)
		return set_ipv4_address(skb, packet, IPV4_DESTINATION_AT, packet->destination.word[3], to->word[3]);
	return set_ipv6_address(skb, packet, IPV6_DESTINATION_AT, &packet->destination, to);
}

/* Writes a port into the transport header and mends its checksum. */
INLINE long set_port(struct __sk_buff *skb, const struct packet *packet, __u32 at, __u16 from, __u16 to)
{
	__u64 flags = checksum_flags(packet) | sizeof(to);

	if (from == to)
		return 0;
	if (bpf_l4_csum_replace(skb, packet->checksum_at, from, to, flags))
		return -1;
	return bpf_skb_store_bytes(skb, packet->transport_at + at, &to, sizeof(to), 0);
}
