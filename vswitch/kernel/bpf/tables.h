/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What the programs share with the engine in Go, which maps all of it: the flow table (firewall.Flows), what Go has
 * shown of ways, ports and settings. TestLayout holds each structure against Go's. */
#pragma once
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define MAX_PORTS 4096
#define MAX_DEVICES 16384
#define MAX_CPUS 256
#define SHARDS 64
#define SLOTS 8
#define STATES 13

/* flow_id, window, entry and bucket are firewall's flowID, window, entry and bucket. */
struct flow_id {
	__u64 a_high, a_low, b_high, b_low;
	__u64 rest;
};

struct window {
	__u32 end, max_end, max_win, max_ack;
};

struct entry {
	struct flow_id id;
	__u32 stamp, seen, next, rule;
	__u16 points[2];
	__u16 owner;
	__u8 state, flags;
	__u32 frames[2], low[2];
	__u8 high[2], options[2];
	__u16 last_win;
	__u8 last, changed;
	__u32 last_end;
	struct window side[2];
	__u32 spare;
};

struct bucket {
	__u32 lock, more;
	__u16 tags[SLOTS];
	__u32 index[SLOTS];
	__u32 spare[2];
};

/* way is where frames of a flow go that come in at one port, as Go has found last. It holds while generation is what
 * the settings and both ports say, until a time in ms of the switch (0: without end). */
struct way {
	__u32 generation, until;
	__u32 flow; /* bits of the flow's hash, as its entry may be another's by now */
	__u16 in, out, mtu;
	__u8 flags;
	__u8 spare;
	__u8 dst[6]; /* the frame's destination, as it comes */
	__u8 to[6];  /* and as it leaves, where it is routed */
};

enum way_flag {
	WAY_CHECK_IN = 1,  /* the insertion point where it comes in has let it pass */
	WAY_CHECK_OUT = 2, /* so has the one where it leaves */
	WAY_ROUTED = 4,
	WAY_SLOW = 8, /* it goes to the appliance */
};

/* port is what is known of one port. */
struct port {
	__u32 device; /* ifindex; 0: frames to it are punted */
	__u32 generation;
	__u8 mac[6], gateway[6]; /* the guest's own, and that of its segment's gateway */
	__u32 seen;    /* when the guest's own MAC was last seen, in ms */
	__u32 punted;  /* frames that were punted, and how many there were when Go last had none left: */
	__u32 settled; /* while they differ, Go has frames of the port that may not be overtaken */
};

/* settings are the plan's. */
struct settings {
	__u32 open; /* frames of known flows go their ways; 0: everything is punted */
	__u32 generation;
	__u32 now; /* ms, by the switch's clock */
	__u32 stamp, enforce;
	__u32 bucket_mask; /* buckets of a shard, less one */
	__u32 timeouts[STATES];
};

/* walk counts the programs that have begun and ended on a processor: it is odd while one walks. */
struct walk {
	__u64 count;
	__u64 spare[7];
};

struct counters {
	__u64 in, in_bytes, out, out_bytes, slow, slow_bytes;
};

#define TABLE(name, kind, what, many, how)          \
	struct {                                    \
		__uint(type, BPF_MAP_TYPE_##kind);  \
		__uint(max_entries, many);          \
		__uint(map_flags, how);             \
		__type(key, __u32);                 \
		__type(value, what);                \
	} name SEC(".maps")

TABLE(the_settings, ARRAY, struct settings, 1, BPF_F_MMAPABLE);
TABLE(port_of, ARRAY, __u32, MAX_DEVICES, 0); /* by ifindex */
TABLE(ports, ARRAY, struct port, MAX_PORTS, BPF_F_MMAPABLE);
TABLE(counts, PERCPU_ARRAY, struct counters, MAX_PORTS, 0);
TABLE(walks, ARRAY, struct walk, MAX_CPUS, BPF_F_MMAPABLE);
TABLE(entries, ARRAY, struct entry, 1, BPF_F_MMAPABLE); /* the loader says how many */
TABLE(buckets, ARRAY, struct bucket, 1, BPF_F_MMAPABLE);
TABLE(ways, ARRAY, struct way, 1, BPF_F_MMAPABLE); /* two for each entry: by original, reply */
