/* Datagrams in fragments. The first fragment has ports and goes the way of its flow; where it went is noted for the
 * rest, by what puts a datagram together again: both addresses, its number, and for IPv4 the protocol.
 *
 * A fragment that overtakes its first one at the entry follows the last datagram that came in fragments between the
 * same two addresses: usually one of the same flow, since a host that speaks with two servers in fragments at once is
 * rare. Where that guess is wrong the datagram is lost, as it would be without one. At the task no guess is needed: its
 * Ethernet address says whose the fragment is, and fragments have no ports to translate.
 */
#pragma once

#include "packet.h"

/* Bytes that a fragment for the ingress network may have too many to be sent on as two. */
#define TAIL_BYTES 1024

struct tail {
	__u8 bytes[TAIL_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tail);
} tails SEC(".maps");

INLINE void key_of_fragment(const struct packet *packet, struct fragment_key *key)
{
	key->source = packet->source;
	key->destination = packet->destination;
	key->id = packet->id;
	key->protocol = packet->is_ipv4 ? packet->protocol : 0;
	key->is_latest = 0;
}

INLINE void key_of_latest(struct fragment_key *key)
{
	key->id = 0;
	key->is_latest = 1;
}

/* Notes where the first fragment went. */
INLINE void note_first(const struct packet *packet, struct fragment *fragment)
{
	struct fragment_key key = {};

	fragment->seen = bpf_ktime_get_ns();
	key_of_fragment(packet, &key);
	bpf_map_update_elem(&fragments, &key, fragment, BPF_ANY);
	key_of_latest(&key);
	bpf_map_update_elem(&fragments, &key, fragment, BPF_ANY);
}

/* The last datagram of this pair was not the mesh's. */
INLINE void note_stranger(const struct packet *packet)
{
	struct fragment_key key = {};

	key_of_fragment(packet, &key);
	key_of_latest(&key);
	bpf_map_delete_elem(&fragments, &key);
}

/* Where the first fragment went, or is likely to go. */
INLINE struct fragment *first_of(const struct packet *packet)
{
	struct fragment_key key = {};
	struct fragment *first;
	__u64 now = bpf_ktime_get_ns();

	key_of_fragment(packet, &key);
	first = bpf_map_lookup_elem(&fragments, &key);
	if (first && !passed(now, first->seen, IDLE_FRAGMENT))
		return first;
	key_of_latest(&key);
	first = bpf_map_lookup_elem(&fragments, &key);
	return first && !passed(now, first->seen, IDLE_LATEST) ? first : 0;
}

INLINE long write_ipv4_header(struct __sk_buff *skb, struct ipv4 *ip, __u32 payload, __u16 fragment)
{
	ip->length = swap16(sizeof(*ip) + payload);
	ip->fragment = swap16(fragment);
	ip->checksum = 0;
	ip->checksum = folded(bpf_csum_diff(0, 0, (__u32 *)ip, sizeof(*ip), 0));
	return bpf_skb_store_bytes(skb, ETHERNET_BYTES, ip, sizeof(*ip), 0);
}

/* Sends the front of an IPv4 fragment that is too long out by `link`, and leaves the rest of it as the packet. */
INLINE long split(struct __sk_buff *skb, __u32 mtu, __u32 link)
{
	const __u32 payload_at = ETHERNET_BYTES + sizeof(struct ipv4);
	__u32 front = (mtu - sizeof(struct ipv4)) & ~7U;
	__u32 rest = skb->len - payload_at - front;
	__u32 zero = 0;
	struct tail *tail = bpf_map_lookup_elem(&tails, &zero);
	struct ipv4 ip;
	__u16 fragment;

	if (!tail || rest < 1 || rest > TAIL_BYTES || bpf_skb_load_bytes(skb, ETHERNET_BYTES, &ip, sizeof(ip)))
		return -1;
	fragment = swap16(ip.fragment);
	if (bpf_skb_load_bytes(skb, payload_at + front, tail, rest) ||
	    bpf_skb_change_tail(skb, payload_at + front, 0) ||
	    write_ipv4_header(skb, &ip, front, fragment | IPV4_MORE_FRAGMENTS) || bpf_clone_redirect(skb, link, 0))
		return -1;
	if (bpf_skb_change_tail(skb, payload_at + rest, 0) ||
	    bpf_skb_store_bytes(skb, payload_at, tail, rest, BPF_F_RECOMPUTE_CSUM))
		return -1;
	return write_ipv4_header(skb, &ip, rest, fragment + front / 8);
}
