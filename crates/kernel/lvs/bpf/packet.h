/* Reading and rewriting packets. Bytes are fetched by helper, never through packet pointers: it works on packets that
 * are not linear, and clang cannot turn it into pointer arithmetic that the verifier refuses.
 */
#pragma once

#include "choose.h"

#define ETHERNET_BYTES 14
#define IPV4_CHECKSUM_AT (ETHERNET_BYTES + 10)
#define IPV4_SOURCE_AT (ETHERNET_BYTES + 12)
#define IPV4_DESTINATION_AT (ETHERNET_BYTES + 16)
#define TCP_CHECKSUM_AT 16
#define UDP_CHECKSUM_AT 6
#define SOURCE_PORT_AT 0
#define DESTINATION_PORT_AT 2

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define FRAGMENT_BITS 0x3fff /* "more fragments" and the offset */

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

/* A TCP or UDP packet over IPv4. */
struct packet {
	__u32 source; /* addresses and ports in network byte order */
	__u32 destination;
	__u16 source_port;
	__u16 destination_port;
	__u32 transport_at;
	__u8 protocol;
	__u8 tcp_flags; /* 0 for UDP */
};

/* False for everything but whole TCP and UDP packets over IPv4: fragments have no ports to go by. */
INLINE bool read_packet(struct __sk_buff *skb, struct packet *packet)
{
	struct ipv4 ip;
	__u16 ports[2];

	if (skb->protocol != swap16(ETHERTYPE_IPV4) || bpf_skb_load_bytes(skb, ETHERNET_BYTES, &ip, sizeof(ip)))
		return false;
	if (ip.protocol != PROTOCOL_TCP && ip.protocol != PROTOCOL_UDP)
		return false;
	if (ip.fragment & swap16(FRAGMENT_BITS))
		return false;
	packet->transport_at = ETHERNET_BYTES + (ip.version_and_words & 0x0f) * 4;
	if (bpf_skb_load_bytes(skb, packet->transport_at, ports, sizeof(ports)))
		return false;
	packet->tcp_flags = 0;
	if (ip.protocol == PROTOCOL_TCP && bpf_skb_load_bytes(skb, packet->transport_at + 13, &packet->tcp_flags, 1))
		return false;
	packet->source = ip.source;
	packet->destination = ip.destination;
	packet->source_port = ports[0];
	packet->destination_port = ports[1];
	packet->protocol = ip.protocol;
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

INLINE __u32 checksum_at(const struct packet *packet)
{
	return packet->transport_at + (packet->protocol == PROTOCOL_TCP ? TCP_CHECKSUM_AT : UDP_CHECKSUM_AT);
}

/* A UDP checksum of 0 means that there is none; it stays so. */
INLINE __u64 checksum_flags(const struct packet *packet)
{
	return packet->protocol == PROTOCOL_UDP ? BPF_F_MARK_MANGLED_0 : 0;
}

/* Writes an IPv4 address into the header at `at` and mends both checksums. */
INLINE long set_address(struct __sk_buff *skb, const struct packet *packet, __u32 at, __u32 from, __u32 to)
{
	__u64 flags = checksum_flags(packet) | BPF_F_PSEUDO_HDR | sizeof(to);

	if (from == to)
		return 0;
	if (bpf_l4_csum_replace(skb, checksum_at(packet), from, to, flags))
		return -1;
	if (bpf_l3_csum_replace(skb, IPV4_CHECKSUM_AT, from, to, sizeof(to)))
		return -1;
	return bpf_skb_store_bytes(skb, at, &to, sizeof(to), 0);
}

/* Writes a port into the transport header and mends its checksum. */
INLINE long set_port(struct __sk_buff *skb, const struct packet *packet, __u32 at, __u16 from, __u16 to)
{
	__u64 flags = checksum_flags(packet) | sizeof(to);

	if (from == to)
		return 0;
	if (bpf_l4_csum_replace(skb, checksum_at(packet), from, to, flags))
		return -1;
	return bpf_skb_store_bytes(skb, packet->transport_at + at, &to, sizeof(to), 0);
}
