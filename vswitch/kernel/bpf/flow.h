/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The flow table: firewall's flow.go and bucket.go. A flow is found under its bucket's lock, which Go takes too. */
#pragma once
#include "key.h"

/* seeds of the hash; the loader draws them. */
const volatile __u64 seeds[5];

enum { LOCK_FREE = 0, LOCK_GO = 1, LOCK_KERNEL = 2 };

/* fold multiplies to 128 bits, for which BPF has no instruction, and folds them. */
INLINE __u64 fold(__u64 a, __u64 b)
{
	__u64 a0 = (__u32)a, a1 = a >> 32, b0 = (__u32)b, b1 = b >> 32;
	__u64 low = a0 * b0, one = a0 * b1, other = a1 * b0, top = a1 * b1;
	__u64 middle = (low >> 32) + (__u32)one + (__u32)other;

	top += (one >> 32) + (other >> 32) + (middle >> 32);
	return top ^ (middle << 32 | (__u32)low);
}

INLINE __u64 hash_of(const struct flow_id *id)
{
	__u64 a = fold(id->a_low ^ seeds[0], id->a_high ^ id->rest ^ seeds[1]);
	__u64 b = fold(id->b_low ^ seeds[2], id->b_high ^ (id->rest << 32 | id->rest >> 32) ^ seeds[3]);

	return fold(a ^ seeds[4], b);
}

INLINE __u64 rest_of(__u16 a_port, __u16 b_port, __u8 proto)
{
	return (__u64)a_port << 48 | (__u64)b_port << 32 | (__u64)proto << 8;
}

/* identify gives a frame's flow, and says whether its source is end b. */
INLINE int identify(const struct key *k, struct flow_id *id)
{
	if (k->src_high > k->dst_high || (k->src_high == k->dst_high && (k->src_low > k->dst_low ||
	    (k->src_low == k->dst_low && k->src_port > k->dst_port)))) {
		*id = (struct flow_id){k->dst_high, k->dst_low, k->src_high, k->src_low, rest_of(k->dst_port, k->src_port, k->proto)};
		return 1;
	}
	*id = (struct flow_id){k->src_high, k->src_low, k->dst_high, k->dst_low, rest_of(k->src_port, k->dst_port, k->proto)};
	return 0;
}

INLINE int same(const struct flow_id *a, const struct flow_id *b)
{
	return a->rest == b->rest && a->a_low == b->a_low && a->b_low == b->b_low && a->a_high == b->a_high && a->b_high == b->b_high;
}

INLINE struct bucket *bucket_of(__u64 hash, __u32 mask)
{
	__u32 i = ((__u32)hash & mask) * SHARDS + (hash >> 58);

	return bpf_map_lookup_elem(&buckets, &i);
}

/* try_lock does not wait: Go may have been interrupted while it has the lock. */
INLINE int try_lock(struct bucket *b)
{
	return __sync_val_compare_and_swap(&b->lock, LOCK_FREE, LOCK_KERNEL) == LOCK_FREE;
}

INLINE void unlock(struct bucket *b)
{
	__sync_lock_test_and_set(&b->lock, LOCK_FREE); /* BPF knows no store that releases; an exchange does */
}

/* find gives the flow's entry, and 1 + its index. What is in a chain is left to Go. The caller has the lock. */
INLINE struct entry *find(struct bucket *b, const struct flow_id *id, __u64 hash, __u32 *index)
{
	__u16 tag = (__u16)(hash >> 32) | 1;

	for (int i = 0; i < SLOTS; i++) {
		struct entry *e;
		__u32 at;

		if (b->tags[i] != tag)
			continue;
		at = b->index[i] - 1;
		e = bpf_map_lookup_elem(&entries, &at);
		if (e && same(&e->id, id)) {
			*index = at;
			return e;
		}
	}
	return 0;
}
