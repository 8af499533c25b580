/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What decides a frame at the ingress of a port's device, before the kernel's stack and the switch in Go see it. Plain
 * frames of known flows go the way that Go has found for them (fast); all others are punted to Go. scripts/bpf compiles
 * it. */
#include "settle.h"

/* punt_offset is what lies between the index of a port's device and that of the device to which it punts
 * (vnic.PuntOffset). The loader sets it. */
const volatile __u32 punt_offset;

/* punt hands the frame to the port's goroutine. The kernel goes on with it as if it had come in at the far end of the
 * named veth, where a packet socket hears it: whole, with its open checksum, GSO and VLAN tag, in order. */
INLINE int punt(struct __sk_buff *frame)
{
	return bpf_redirect_peer(frame->ifindex + punt_offset, 0);
}

INLINE struct port *port_at(__u32 id) { return bpf_map_lookup_elem(&ports, &id); }

INLINE int equal(const __u8 *a, const __u8 *b)
{
	return *(__u32 *)a == *(__u32 *)b && *(__u16 *)(a + 4) == *(__u16 *)(b + 4);
}

INLINE void copy(__u8 *to, const __u8 *from) { __builtin_memcpy(to, from, ETH_ALEN); }

/* holds says whether a way is still one, and this frame's. */
INLINE int holds(const struct way *w, __u64 hash, __u32 in, const struct port *from, const struct port *to,
		 const struct settings *s)
{
	return w->generation == s->generation + from->generation + to->generation && w->flow == (__u32)hash && w->in == in &&
	       w->flags && to->device && (!w->until || before(s->now, w->until));
}

/* packet_len is the length in bytes of an IP packet, or of the longest that a GSO frame stands for. */
INLINE __u32 packet_len(struct __sk_buff *frame, const struct key *k)
{
	return frame->gso_size ? k->l3_len - k->payload_len + frame->gso_size : k->l3_len;
}

/* may_be_routed is what of walk's obstacle is not the same for all frames of a flow. */
INLINE int may_be_routed(struct __sk_buff *frame, const struct key *k, const struct way *w)
{
	return k->ttl > 1 && (!w->mtu || packet_len(frame, k) <= w->mtu);
}

/* route writes what a router changes: both MACs, and the TTL with its checksum (RFC 1624). */
INLINE void route(struct __sk_buff *frame, const struct way *w, const struct port *to)
{
	void *data = (void *)(long)frame->data, *end = (void *)(long)frame->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct ipv6hdr *ip6 = (void *)(eth + 1);
	__u32 sum;

	if ((void *)(ip + 1) > end)
		return; /* never: it was parsed */
	copy(eth->h_dest, w->to);
	copy(eth->h_source, to->gateway);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		ip6->hop_limit--;
		return;
	}
	sum = (__u16)~bpf_ntohs(ip->check) + (__u16)~(ip->ttl << 8 | ip->protocol);
	ip->ttl--;
	sum += ip->ttl << 8 | ip->protocol;
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	ip->check = bpf_htons((__u16)~sum);
}

/* add counts a frame, as the guests see it. */
INLINE void add(__u32 in, __u32 out, __u32 bytes, __u8 flags)
{
	struct counters *c = bpf_map_lookup_elem(&counts, &in);

	if (c) {
		c->in++;
		c->in_bytes += bytes;
		if (flags & WAY_SLOW) {
			c->slow++;
			c->slow_bytes += bytes;
		}
	}
	c = bpf_map_lookup_elem(&counts, &out);
	if (c) {
		c->out++;
		c->out_bytes += bytes;
	}
}

/* judge finds the flow of a plain frame and its way, and takes the frame into account. It gives the port that the frame
 * goes to, and a copy of the way; 0 where Go must see the frame. */
INLINE struct port *judge(struct __sk_buff *frame, const struct key *k, struct port *from, __u32 in, const struct settings *s,
			  struct way *taken)
{
	struct flow_id id;
	int swapped = identify(k, &id);
	__u64 hash = hash_of(&id);
	struct bucket *b = bucket_of(hash, s->bucket_mask);
	struct ethhdr *eth = (void *)(long)frame->data;
	struct port *to = 0;
	struct entry *e;
	struct way *w;
	__u32 index, reply;

	if (!b || (void *)(eth + 1) > (void *)(long)frame->data_end || !try_lock(b))
		return 0;
	e = find(b, &id, hash, &index);
	if (!e)
		goto out;
	reply = swapped != (e->flags & FLOW_SWAPPED);
	index = 2 * index + reply;
	w = bpf_map_lookup_elem(&ways, &index);
	if (!w)
		goto out;
	*taken = *w;
	to = port_at(taken->out);
	if (!to || !holds(taken, hash, in, from, to, s) || !equal(eth->h_dest, taken->dst) ||
	    (taken->flags & WAY_ROUTED && !may_be_routed(frame, k, taken)) || !settle(e, k, taken, s, reply))
		to = 0;
out:
	unlock(b);
	return to;
}

/* fast sends a plain frame of a known flow on its way; -1 where Go must see it. */
INLINE int fast(struct __sk_buff *frame, struct port *from, __u32 in)
{
	__u32 zero = 0;
	struct settings *s = bpf_map_lookup_elem(&the_settings, &zero);
	struct ethhdr *eth = (void *)(long)frame->data;
	struct way w;
	struct key k;
	struct port *to;

	if (!s || !s->open || from->punted != from->settled)
		return -1;
	if ((void *)(eth + 1) > (void *)(long)frame->data_end || !equal(eth->h_source, from->mac))
		return -1;
	if (!parse(&k, frame) || !offloads_fit(frame, &k))
		return -1;
	to = judge(frame, &k, from, in, s, &w);
	if (!to)
		return -1;
	if (from->seen != s->now)
		from->seen = s->now;
	add(in, w.out, frame->len, w.flags);
	if (w.flags & WAY_ROUTED)
		route(frame, &w, to);
	return bpf_redirect(to->device, 0);
}

/* decide says what becomes of a frame that a guest has sent. */
SEC("tc")
int decide(struct __sk_buff *frame)
{
	__u32 device = frame->ifindex, cpu = bpf_get_smp_processor_id();
	__u32 *id = bpf_map_lookup_elem(&port_of, &device);
	struct walk *w = bpf_map_lookup_elem(&walks, &cpu);
	struct port *p;
	int done;

	if (!id || !*id || !w)
		return punt(frame);
	p = port_at(*id);
	if (!p)
		return punt(frame);
	__sync_fetch_and_add(&w->count, 1); /* before what follows is read: Go waits for it, once it has changed that */
	done = fast(frame, p, *id);
	if (done < 0)
		__sync_fetch_and_add(&p->punted, 1);
	__sync_fetch_and_add(&w->count, 1);
	return done < 0 ? punt(frame) : done;
}

/* elsewhere is for a port whose device is not in the namespace of the others: no frame can be redirected between them. */
SEC("tc")
int elsewhere(struct __sk_buff *frame)
{
	return punt(frame);
}

char _license[] SEC("license") = "Dual MIT/GPL";
