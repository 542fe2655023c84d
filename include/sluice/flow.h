/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Live flows: map `flows`, the table that both halves know. Part of the contract (abi.h includes it); the functions are
 * pure, so that userspace finds a flow where the kernel half has put it.
 *
 * The table is an ARRAY of buckets of 1 KiB, mmapable, sized once: 15 units of a cache line each and one line that says
 * what they are. A flow of IPv4 takes one unit, one of IPv6 two. Every flow has a home bucket, another, and a third for
 * when both are full; it lives at home unless that was crowded when it was made (Azar et al., "Balanced Allocations", 1994; Fan et al., "MemC3", 2013,
 * for the tags). Within a bucket it lives in the unit that it likes if that was free: so most packets find their flow by one
 * line, that of the flow itself, and the others by one line of tags and one of the flow, rarely two of each.
 *
 * Who changes what, without a lock: a unit belongs to whoever has moved its tag from free to busy by compare and swap;
 * the flow can be found once the tag is live; who moves the tag from live to retired has ended it and does what follows
 * from that. A retired unit is not given away for SLUICE_FLOW_RETIRED, so that a packet that has just found the flow
 * writes to nobody else's. Written by the kernel half only.
 */
#ifndef SLUICE_FLOW_H
#define SLUICE_FLOW_H

/*
 * One connection, both directions: the end with the lower (address, port) comes first. IPv4 addresses are IPv4-mapped
 * (::ffff:a.b.c.d). For an ICMP query the port of the end that asks holds the identifier and the other's is 0 (65535 if
 * the identifier is 0), so that two hosts that ask each other have two flows, save with 65535 and 0; for protocols
 * without ports both are 0.
 */
struct sluice_flow_key {
	__u8 addr[2][16];
	__be16 port[2];
	__u16 tenant;
	__u8 protocol;
	__u8 version; /* 4 or 6: an IPv6 packet with IPv4-mapped addresses is not of an IPv4 flow */
};
_Static_assert(sizeof(struct sluice_flow_key) == 40, "flow_key crosses to userspace; resizing bumps the ABI");

/* Facts seen, only ever added (by atomic or): the TCP state is derived from them. Direction 0 is the originator's. */
#define SLUICE_FLOW_SYN(dir)	(1u << (0 + (dir)))
#define SLUICE_FLOW_ACK(dir)	(1u << (2 + (dir))) /* the end acknowledged something: its side's `acked` is valid */
#define SLUICE_FLOW_FIN(dir)	(1u << (4 + (dir)))
#define SLUICE_FLOW_RST		(1u << 6)
#define SLUICE_FLOW_REPLIED	(1u << 7)
#define SLUICE_FLOW_PICKED_UP	(1u << 8)
#define SLUICE_FLOW_AUDIT_DENY	(1u << 9)  /* mode audit: would have been denied */
#define SLUICE_FLOW_SECOND	(1u << 10) /* the originator is the second end of the key */
#define SLUICE_FLOW_ENDED	(1u << 11) /* retired: whoever finds this set may count nothing any more */
#define SLUICE_FLOW_CUT		(1u << 12) /* TCP, cut by hand: bpf/cut.h. No packet is of it, and it waits to be forgotten */
#define SLUICE_FLOW_SLOT	15	   /* bits of facts, below the counter slot */
#define SLUICE_FLOW_FACTS	((1u << SLUICE_FLOW_SLOT) - 1)

/*
 * Times of a flow, from CLOCK_MONOTONIC: the last packet in 2^18 ns (0.26 ms), the first in 2^24 ns. 2^32 of the former
 * are 13 days, which bounds timeouts.
 */
#define SLUICE_FLOW_LAST_SHIFT	18
#define SLUICE_FLOW_FIRST_SHIFT 24
#define SLUICE_TIMEOUT_MAX_NS	(12 * 86400 * 1000000000ull)

/* Bits of sluice_flow_side.traffic that count bytes; those above count packets, and carry into packets_high. */
#define SLUICE_FLOW_BYTES 54

struct sluice_flow_side {
	__u64 traffic;	    /* packets << SLUICE_FLOW_BYTES | frame bytes, Ethernet header included: one addition a packet */
	__u32 packets_high; /* times the packets above have passed 2^10 */
	__u32 acked;	    /* TCP: the newest acknowledgment number that this side has sent, host order */
};

/* A flow, its first unit. The first 16 bytes are what it is found by. */
struct sluice_flow {
	__be32 addr[2]; /* IPv4; IPv6: 0, both addresses are the next unit */
	__be16 port[2];
	__u32 kind;	  /* protocol << 24 | tenant << 8 | version */
	__u32 state;	  /* counter slot of the deciding rule << SLUICE_FLOW_SLOT | SLUICE_FLOW_* */
	__u32 generation; /* low half: under which the rule was decided */
	__u32 first;	  /* SLUICE_FLOW_FIRST_SHIFT */
	__u32 last;	  /* SLUICE_FLOW_LAST_SHIFT */
	struct sluice_flow_side side[2]; /* 0: originator to responder */
};
_Static_assert(sizeof(struct sluice_flow) == 64, "a flow is a cache line");

union sluice_flow_unit {
	struct sluice_flow flow;
	struct { /* the second unit of a flow of IPv6 */
		__u64 none[2]; /* 0, where another flow has what it is found by: addresses are chosen by strangers */
		__u8 addr[2][16];
	};
};

#define SLUICE_FLOW_UNITS  15
#define SLUICE_FLOW_PLACES 3

/* Tags: 0 is a free unit; otherwise state in bits 0 to 2, bit 3: lives away from home, above: a part of the hash. */
enum sluice_flow_tag {
	SLUICE_TAG_FREE,
	SLUICE_TAG_BUSY,     /* being made or unmade */
	SLUICE_TAG_LIVE,     /* of IPv4 */
	SLUICE_TAG_LIVE6,    /* of IPv6, and the next unit is its second: at even units only */
	SLUICE_TAG_SECOND,
	SLUICE_TAG_RETIRED,  /* ended; above bit 3: when, in units of `last` */
	SLUICE_TAG_RETIRED6,
};
#define SLUICE_TAG_STATE 7u
#define SLUICE_TAG_AWAY	 8u
#define SLUICE_TAG_SHIFT 4

#define SLUICE_FLOW_RETIRED_NS 1000000000ull

/* The unit that a flow likes, of each of its buckets: by its tag. Of IPv6, an even one. */
static inline __attribute__((always_inline)) __u32 sluice_flow_liked(__u32 tag)
{
	return (tag >> SLUICE_TAG_SHIFT & 0xfff) * SLUICE_FLOW_UNITS >> 12;
}
static inline __attribute__((always_inline)) __u32 sluice_flow_liked6(__u32 tag)
{
	return (tag >> SLUICE_TAG_SHIFT & 0xfff) * (SLUICE_FLOW_UNITS / 2) >> 12 << 1;
}

struct sluice_flow_bucket {
	__u32 tag[SLUICE_FLOW_UNITS];
	__u32 away; /* flows at home here that live elsewhere: 0, and nobody needs to look there */
	union sluice_flow_unit unit[SLUICE_FLOW_UNITS];
};
_Static_assert(sizeof(struct sluice_flow_bucket) == 1024, "a bucket is a map value; resizing bumps the ABI");

/*
 * Buckets for `max` flows of either family: 5.4 a bucket, of which IPv6 fits seven, and 190 bytes a flow. A table takes
 * them all, but for at most one in 10,000 if all are IPv6, in the last 10 % (tests/unit/flow_table_test.c).
 */
static inline __u32 sluice_flow_buckets(__u32 max)
{
	return (__u32)((__u64)max * 10 / 54) + 8;
}

/* Map `flow_totals`: ARRAY of one. Writer: the kernel half, by atomic additions. */
struct sluice_flow_totals {
	__u32 flows;	 /* live */
	__u32 half_open; /* of these TCP with an unfinished handshake */
};
_Static_assert(sizeof(struct sluice_flow_totals) == 8, "flow_totals is a map value; resizing bumps the ABI");

/* Where a flow may be. */
struct sluice_flow_probe {
	__u64 word[2];	/* the first 16 bytes of its unit */
	__u32 tag;	/* of the live flow at home */
	__u32 bucket[SLUICE_FLOW_PLACES]; /* home, other, third */
};

#define SLUICE_HASH_1 0x9e3779b97f4a7c15ull
#define SLUICE_HASH_2 0xc2b2ae3d27d4eb4full
#define SLUICE_HASH_3 0x165667b19e3779f9ull

/*
 * Both addresses of an IPv6 flow. Two lanes, or two words could undo each other's bits whatever the secret. Not a
 * cryptographic hash: the secret, drawn when the maps are made, keeps a peer from knowing which flows share a bucket.
 */
static inline __attribute__((always_inline)) __u64 sluice_flow_hash6(const __u64 word[4], __u64 seed)
{
	__u64 x = seed, y = ~seed;
	int i;

	for (i = 0; i < 4; i++) {
		x = (x ^ word[i]) * SLUICE_HASH_1;
		x ^= x >> 32;
		y = (y + word[i]) * SLUICE_HASH_3;
	}
	return x ^ (y >> 31);
}

/* Fills `p` from p->word, which is set, and from `x`: what word[0] of IPv4, or the addresses of IPv6, are hashed to. */
static inline __attribute__((always_inline)) void sluice_flow_place(struct sluice_flow_probe *p, __u64 x, __u32 live,
								    __u32 buckets)
{
	x *= SLUICE_HASH_1;
	x ^= x >> 32;
	x ^= p->word[1];
	x *= SLUICE_HASH_2;
	x ^= x >> 29;
	x *= SLUICE_HASH_3;
	x ^= x >> 32;
	p->bucket[0] = (x & 0xffffffff) * buckets >> 32;
	p->bucket[1] = (x >> 32) * buckets >> 32;
	p->bucket[2] = (x >> 16 & 0xffffffff) * buckets >> 32;
	p->tag = (__u32)(x * SLUICE_HASH_1 >> 32) << SLUICE_TAG_SHIFT | live;
}

static inline __attribute__((always_inline)) __u64 sluice_flow_word1(__be16 a, __be16 b, __u32 kind)
{
	union {
		struct {
			__be16 port[2];
			__u32 kind;
		} part;
		__u64 word;
	} u = {.part = {{a, b}, kind}};

	return u.word;
}

/* Where the flow with that key may be, in a table of `buckets` with the secret `seed` (struct sluice_control). */
static inline __attribute__((always_inline)) void sluice_flow_probe(const struct sluice_flow_key *key, __u64 seed,
								    __u32 buckets, struct sluice_flow_probe *ret)
{
	const __u32 *word = (const __u32 *)(const void *)key->addr;
	union {
		__u32 half[2];
		__u64 word;
	} both = {.half = {word[3], word[7]}};

	ret->word[0] = key->version == 6 ? 0 : both.word;
	ret->word[1] = sluice_flow_word1(key->port[0], key->port[1],
					 (__u32)key->protocol << 24 | (__u32)key->tenant << 8 | key->version);
	if (key->version == 6) {
		const __u64 addresses[4] = {
			word[0] | (__u64)word[1] << 32,
			word[2] | (__u64)word[3] << 32,
			word[4] | (__u64)word[5] << 32,
			word[6] | (__u64)word[7] << 32,
		};
		sluice_flow_place(ret, sluice_flow_hash6(addresses, seed), SLUICE_TAG_LIVE6, buckets);
	} else {
		sluice_flow_place(ret, ret->word[0] ^ seed, SLUICE_TAG_LIVE, buckets);
	}
}

/* The key of a flow; `addresses6` are the next unit's, read for IPv6 only. */
static inline __attribute__((always_inline)) void
sluice_flow_key_of(const struct sluice_flow *flow, const __u8 addresses6[2][16], struct sluice_flow_key *ret)
{
	__u32 *word = (__u32 *)(void *)ret->addr;
	const __u32 *from = (const __u32 *)(const void *)addresses6;
	int i;

	ret->port[0] = flow->port[0];
	ret->port[1] = flow->port[1];
	ret->protocol = flow->kind >> 24;
	ret->tenant = flow->kind >> 8;
	ret->version = flow->kind;
	for (i = 0; i < 8; i++)
		word[i] = ret->version == 6 ? from[i] : 0;
	if (ret->version == 6)
		return;
	ret->addr[0][10] = ret->addr[0][11] = ret->addr[1][10] = ret->addr[1][11] = 0xff;
	word[3] = flow->addr[0];
	word[7] = flow->addr[1];
}

/*
 * Map `flow_marks`: ARRAY of __u64 by sluice_flow_mark(). Bits 0 to 31 count flows made, bits 32 to 63 flows that have
 * ended: equal, no flow of that mark is alive; bits 0 to 31 unchanged, none was made. Read and written as one word. Who
 * makes a flow adds 1 before, who removes one adds 1 << 32 afterwards.
 */
#define SLUICE_FLOW_MARKS 65536
static inline __attribute__((always_inline)) __u32 sluice_flow_mark_of(__u32 addresses, __be16 a, __be16 b)
{
	return ((addresses ^ ((__u32)a + (__u32)b) * 0x85ebca6bu) * 0x9e3779b1u) >> 16;
}

/* The same for both directions, and one word of mixing for both families. */
static inline __attribute__((always_inline)) __u32 sluice_flow_mark(const struct sluice_flow_key *key)
{
	const __u32 *word = (const __u32 *)(const void *)key->addr;

	return sluice_flow_mark_of(word[0] ^ word[1] ^ word[2] ^ word[3] ^ word[4] ^ word[5] ^ word[6] ^ word[7],
				   key->port[0], key->port[1]);
}

#endif
