/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What firewall's settled and follow do: a frame of a flow that is answered, or is one side's only, at points that have
 * accepted it, which changes nothing but counters and windows. What is not so simple is left to Go, and nothing is changed then. */
#pragma once
#include "flow.h"

enum state { TCP_STATE_ESTABLISHED = 4, DATAGRAM_SINGLE = 11, DATAGRAM_MULTIPLE = 12 };
enum flow_flag { FLOW_SWAPPED = 1, FLOW_REPLIED = 2, FLOW_ASSURED = 4 };
enum window_flag { WINDOW_SCALE = 15, WINDOW_SACK = 1 << 5, WINDOW_ACKED = 1 << 7 };
enum last_flag { LAST_KIND = 7, LAST_REPLY = 8, SEGMENT_ACK = 2 };

#define ACK_WINDOW 66000

INLINE int after(__u32 a, __u32 b) { return (__s32)(b - a) < 0; }
INLINE int before(__u32 a, __u32 b) { return (__s32)(a - b) < 0; }
INLINE __u32 larger(__u32 a, __u32 b) { return a > b ? a : b; }

INLINE int follow(struct entry *e, const struct key *k, __u32 dir)
{
	struct window *from = dir ? &e->side[1] : &e->side[0], *to = dir ? &e->side[0] : &e->side[1];
	__u8 options = dir ? e->options[1] : e->options[0], others = dir ? e->options[0] : e->options[1];
	__u32 end = k->seq + k->payload_len, win = (__u32)k->window << (options & WINDOW_SCALE);

	if (!from->max_win || !to->max_win || !before(k->seq, from->max_end + 1) || !before(k->ack, to->end + 1) ||
	    !after(end, from->end - to->max_win - 1) || !after(k->ack, to->end - larger(from->max_win, ACK_WINDOW) - 1) ||
	    !(options & WINDOW_ACKED))
		return 0;
	if (others & WINDOW_SACK && k->sack)
		return 0;
	from->max_win = larger(from->max_win, win);
	if (after(end, from->end))
		from->end = end;
	if (after(k->ack, from->max_ack))
		from->max_ack = k->ack;
	if (after(end, from->max_end))
		to->max_win += end - from->max_end;
	if (after(k->ack + win, to->max_end - 1))
		to->max_end = k->ack + larger(win, 1);
	e->last_end = end;
	e->last_win = k->window;
	e->last = (e->last & ~(LAST_KIND | LAST_REPLY)) | SEGMENT_ACK | (dir ? LAST_REPLY : 0);
	if (e->flags & FLOW_REPLIED)
		e->flags |= FLOW_ASSURED;
	return 1;
}

/* count adds a frame. Counters stay at their top. */
INLINE void count(struct entry *e, __u32 dir, __u32 bytes)
{
	__u32 *frames = dir ? &e->frames[1] : &e->frames[0], *low = dir ? &e->low[1] : &e->low[0];
	__u8 *top = dir ? &e->high[1] : &e->high[0];

	if (!++*frames)
		--*frames;
	*low += bytes;
	if (*low < bytes && !++*top) {
		--*top;
		*low = ~0U;
	}
}

/* settle judges a frame that goes a way. The caller has the entry's lock. */
INLINE int settle(struct entry *e, const struct key *k, const struct way *w, const struct settings *s, __u32 reply)
{
	__u32 state = e->state;
	__s32 idle = s->now - e->seen;

	if (s->enforce) {
		__u16 in = reply ? e->points[1] : e->points[0], out = reply ? e->points[0] : e->points[1];

		if (e->stamp != s->stamp || (w->flags & WAY_CHECK_IN && in != w->in) || (w->flags & WAY_CHECK_OUT && out != w->out))
			return 0;
	}
	if (state >= STATES || (idle > 0 && (__u32)idle > s->timeouts[state]))
		return 0;
	if (state == TCP_STATE_ESTABLISHED) {
		if ((k->tcp_flags & (SYN | FIN | RST | ACK)) != ACK || (reply && !(e->flags & FLOW_REPLIED)))
			return 0;
		if (w->flags & WAY_CHECK_IN && !follow(e, k, reply))
			return 0;
	} else if (state != DATAGRAM_MULTIPLE && (state != DATAGRAM_SINGLE || reply)) {
		return 0;
	}
	if (w->flags & WAY_CHECK_IN)
		count(e, reply, k->l3_len);
	if (e->seen != s->now)
		e->seen = s->now;
	return 1;
}
