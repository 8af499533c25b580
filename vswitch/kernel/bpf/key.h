/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Parse of the plain kind of frame: Ethernet, IPv4 without options or IPv6 without extensions, whole, TCP or UDP. What
 * is anything else, or doubtful, is not ours. It must take no frame for plain that frame.Parse drops. */
#pragma once
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "tables.h"

#define INLINE static __always_inline

/* key is what of a plain frame matters. Numbers are in the order of this machine. */
struct key {
	__u64 src_high, src_low, dst_high, dst_low;
	__u32 l3_len, payload_len;
	__u32 seq, ack;
	__u16 src_port, dst_port, window;
	__u16 l4; /* where its header begins */
	__u8 proto, tcp_flags, ttl;
	__u8 sack; /* its TCP options may have a SACK */
};

#define MAPPED (0xffffULL << 32) /* ::ffff:a.b.c.d */

enum tcp_flag { FIN = 1, SYN = 2, RST = 4, ACK = 16 };

INLINE int parse_tcp(struct key *k, void *at, void *end, __u32 len)
{
	struct tcphdr *tcp = at;
	__u32 head;

	if ((void *)(tcp + 1) > end || len < sizeof(*tcp))
		return 0;
	head = tcp->doff * 4;
	if (head < sizeof(*tcp) || head > len)
		return 0;
	if (head > sizeof(*tcp)) { /* most segments have a timestamp and nothing else (RFC 7323 appendix A) */
		__be32 *options = (void *)(tcp + 1);

		k->sack = head != 32 || (void *)(options + 1) > end || *options != bpf_htonl(0x0101080a);
	}
	k->src_port = bpf_ntohs(tcp->source);
	k->dst_port = bpf_ntohs(tcp->dest);
	k->seq = bpf_ntohl(tcp->seq);
	k->ack = bpf_ntohl(tcp->ack_seq);
	k->window = bpf_ntohs(tcp->window);
	k->tcp_flags = ((__u8 *)at)[13];
	k->payload_len = len - head;
	return 1;
}

INLINE int parse_udp(struct key *k, void *at, void *end, __u32 len)
{
	struct udphdr *udp = at;
	__u32 said;

	if ((void *)(udp + 1) > end)
		return 0;
	said = bpf_ntohs(udp->len);
	if (said < sizeof(*udp) || said > len)
		return 0;
	k->src_port = bpf_ntohs(udp->source);
	k->dst_port = bpf_ntohs(udp->dest);
	k->payload_len = said - sizeof(*udp);
	return 1;
}

INLINE int parse_l4(struct key *k, void *at, void *end, __u32 len)
{
	if (k->proto == IPPROTO_TCP)
		return parse_tcp(k, at, end, len);
	return k->proto == IPPROTO_UDP && parse_udp(k, at, end, len);
}

/* header_holds says whether the checksum of an IPv4 header without options is right (RFC 1071). */
INLINE int header_holds(const __u16 *w)
{
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += w[i];
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return sum == 0xffff;
}

INLINE int parse_ipv4(struct key *k, struct __sk_buff *frame, void *at, void *end)
{
	struct iphdr *ip = at;

	if ((void *)(ip + 1) > end || *(__u8 *)at != 0x45 || ip->frag_off & bpf_htons(0x3fff) || !header_holds(at))
		return 0;
	k->l3_len = bpf_ntohs(ip->tot_len);
	if (k->l3_len < sizeof(*ip) || k->l3_len > frame->len - ETH_HLEN)
		return 0;
	k->proto = ip->protocol;
	k->ttl = ip->ttl;
	k->src_low = MAPPED | bpf_ntohl(ip->saddr);
	k->dst_low = MAPPED | bpf_ntohl(ip->daddr);
	k->l4 = ETH_HLEN + sizeof(*ip);
	return parse_l4(k, ip + 1, end, k->l3_len - sizeof(*ip));
}

INLINE __u64 high(const __be32 *a) { return (__u64)bpf_ntohl(a[0]) << 32 | bpf_ntohl(a[1]); }

INLINE int parse_ipv6(struct key *k, struct __sk_buff *frame, void *at, void *end)
{
	struct ipv6hdr *ip = at;

	if ((void *)(ip + 1) > end || ip->version != 6)
		return 0;
	k->l3_len = sizeof(*ip) + bpf_ntohs(ip->payload_len);
	if (k->l3_len > frame->len - ETH_HLEN)
		return 0;
	k->proto = ip->nexthdr;
	k->ttl = ip->hop_limit;
	k->src_high = high(ip->saddr.in6_u.u6_addr32);
	k->src_low = high(ip->saddr.in6_u.u6_addr32 + 2);
	k->dst_high = high(ip->daddr.in6_u.u6_addr32);
	k->dst_low = high(ip->daddr.in6_u.u6_addr32 + 2);
	if ((!k->src_high && k->src_low >> 32 == 0xffff) || (!k->dst_high && k->dst_low >> 32 == 0xffff))
		return 0; /* an IPv4 address in disguise */
	k->l4 = ETH_HLEN + sizeof(*ip);
	return parse_l4(k, ip + 1, end, k->l3_len - sizeof(*ip));
}

/* parse says whether a frame is plain, and reads it. Where its headers are not in reach, it is not: a guest says how
 * much of a frame is (hdr_len of virtio_net_hdr). */
INLINE int parse(struct key *k, struct __sk_buff *frame)
{
	void *data = (void *)(long)frame->data, *end = (void *)(long)frame->data_end;
	struct ethhdr *eth = data;

	__builtin_memset(k, 0, sizeof(*k));
	if ((void *)(eth + 1) > end || frame->vlan_present)
		return 0;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return parse_ipv4(k, frame, eth + 1, end);
	return eth->h_proto == bpf_htons(ETH_P_IPV6) && parse_ipv6(k, frame, eth + 1, end);
}

/* What follows is of the kernel (include/linux/skbuff.h), as far as we look at it. */
struct sk_buff {
	unsigned char *head, *data;
	__u32 end;
	__u8 ip_summed : 2;
	__u16 csum_start, csum_offset;
} __attribute__((preserve_access_index));

struct skb_shared_info {
	unsigned int gso_type;
} __attribute__((preserve_access_index));

enum { SUMMED_PARTIAL = 3 };                                             /* CHECKSUM_PARTIAL */
enum { GSO_TCPV4 = 1 << 0, GSO_DODGY = 1 << 1, GSO_ECN = 1 << 2, GSO_TCPV6 = 1 << 4 }; /* SKB_GSO_* */

extern void *bpf_cast_to_kern_ctx(void *) __ksym __weak;
extern void *bpf_rdonly_cast(const void *, __u32) __ksym __weak;

/* offloads_fit says whether what the frame leaves to others is what its headers say. A guest writes that in its
 * virtio_net_hdr: with another csum_offset the kernel would write a sum over the port that was checked. */
INLINE int offloads_fit(struct __sk_buff *frame, const struct key *k)
{
	struct sk_buff *skb;
	struct skb_shared_info *shared;
	__u32 gso = frame->gso_size, type;

	if (!bpf_cast_to_kern_ctx || !bpf_rdonly_cast)
		return 0;
	skb = bpf_cast_to_kern_ctx(frame);
	if (BPF_CORE_READ_BITFIELD(skb, ip_summed) != SUMMED_PARTIAL)
		return !gso;
	if (skb->csum_start != (__u16)(skb->data - skb->head) + k->l4)
		return 0;
	if (skb->csum_offset != (k->proto == IPPROTO_TCP ? 16 : 6))
		return 0;
	if (!gso)
		return 1;
	if (k->proto != IPPROTO_TCP || k->payload_len <= gso || k->l3_len != frame->len - ETH_HLEN)
		return 0;
	shared = bpf_rdonly_cast(skb->head + skb->end, bpf_core_type_id_kernel(struct skb_shared_info));
	type = shared->gso_type & ~(GSO_DODGY | GSO_ECN);
	return type == (k->l4 == ETH_HLEN + sizeof(struct iphdr) ? GSO_TCPV4 : GSO_TCPV6);
}
