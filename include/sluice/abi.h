/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract between the kernel half (bpf/) and the userspace half (user/): map keys, map values, events, limits.
 *
 * Both halves include this file and nothing of each other. Every struct that lives in a map or crosses the ring buffer
 * has explicit zeroed padding and an asserted size. A change of any of them, or of the meaning of a field, bumps
 * SLUICE_ABI_VERSION: a pinned folder of another version is refused, not adopted (DESIGN, decision 4).
 *
 * Byte order: addresses and ports are network order (__be16, __be32 or byte arrays); everything else is host order.
 */
#ifndef SLUICE_ABI_H
#define SLUICE_ABI_H

#ifndef __VMLINUX_H__
#include <linux/bpf.h>
#include <linux/types.h>
#endif

#define SLUICE_ABI_VERSION 5
#define SLUICE_ABI_MAGIC   0x43554c53 /* "SLUC" little endian */

#define SLUICE_NAME_LEN	      64     /* names of rules, tenants, policies, NUL included */
#define SLUICE_MAX_INTERFACES 64     /* slots; one bit each in struct sluice_class.antispoof */
#define SLUICE_MAX_TENANTS    4096   /* per policy; tenant 0 is the host's */
#define SLUICE_MAX_RULES      131072 /* per policy, and counter slots */
#define SLUICE_MAX_QUEUES     4096   /* steered NVMe/TCP queues */
#define SLUICE_FLOWS_DEFAULT  (1 << 20)

/* ------------------------------------------------------------------ reasons */

enum sluice_reason {
#define R(NAME, name, kind, text) SLUICE_R_##NAME,
#include <sluice/reasons.def>
#undef R
	SLUICE_REASON_COUNT
};

/* What the packet got. REJECT is DROP plus an answer. */
enum sluice_verdict {
	SLUICE_PASS = 0,
	SLUICE_DROP = 1,
	SLUICE_REJECT = 2,
};

/* Which hook judged it. */
enum sluice_hook {
	SLUICE_HOOK_XDP = 0,
	SLUICE_HOOK_TC_INGRESS = 1,
	SLUICE_HOOK_TC_EGRESS = 2,
};

/* ------------------------------------------------------------ control words */

/*
 * Map `control`: ARRAY of one, mmapable; the one word that says which bank is live. Writer: dataplane (apply), except
 * attached_ns, and confirm.h. Reader: every program, once a packet. bank = generation & 1; generation 0 = no policy yet,
 * all passes. It may go back: whoever remembers a generation compares it for equality, never for order.
 */
struct sluice_control {
	__u32 magic;	   /* SLUICE_ABI_MAGIC */
	__u32 abi_version; /* SLUICE_ABI_VERSION */
	__u64 generation;  /* flipped by one aligned 8-byte store */
	__u64 attached_ns; /* CLOCK_MONOTONIC of the first attach: start of conntrack pickup */
	__u32 bucket_size; /* sizeof(struct sluice_flow_bucket), checked before adoption */
	__u32 max_flows;   /* that `flows` was sized for */
	__u64 build;	   /* hash of the kernel object that the maps and programs came from */
	__u64 seed[2];	   /* random, made with the folder: what strangers can choose is hashed with it (limit.h, table.h) */
	__u32 steered;	   /* 1: a target has steered connections here, map `steering` may hold some */
	__u32 reserved;
};
_Static_assert(sizeof(struct sluice_control) == 64, "sluice_control is pinned; resizing bumps the ABI");

/* --------------------------------------------------------------- bank tables */

/*
 * Each table is an ARRAY_OF_MAPS of two, one inner array per bank. A packet reads control.generation once and uses one
 * bank throughout.
 *
 * Table `words` holds everything that a packet is judged with: tries, port tables, classes, the heads of rules. It is one
 * array of __u32 in pages of 4 MiB: word i is page i >> 20, entry i & 0xfffff. The pages are that large because to the
 * kernel half a page is a function call and a word in it is a load: most policies fit in one. Word 0 is never part of
 * anything. struct sluice_policy says where each part begins.
 */
#define SLUICE_PAGE_SHIFT 20
#define SLUICE_PAGE_WORDS (1u << SLUICE_PAGE_SHIFT)
struct sluice_page {
	__u32 word[SLUICE_PAGE_WORDS];
};
_Static_assert(sizeof(struct sluice_page) == 4 << 20, "sluice_page is a map value; resizing bumps the ABI");

/*
 * Tries: level-compressed and path-compressed (Nilsson and Karlsson, "IP-Address Lookup Using LC-Tries", 1999), over a
 * key of 128 bits of which the walk uses the next ones each time. A trie word is a leaf (bit 31 clear: the value) or a
 * child (bit 31 set): bits 26 to 30 are its stride, bits 0 to 25 the place of the node in `words`, in units of 8 words.
 *
 *   stride 1..20   a branch: 2^stride words, indexed with the next `stride` bits of the key
 *   stride 0       a skip, struct sluice_skip: compares the next bits with one value
 *
 * Decisions are looked up in these: the key is destination and port classes, see struct sluice_class; a leaf is an index
 * in `rules`.
 */
#define SLUICE_TRIE_CHILD   0x80000000u
#define SLUICE_TRIE_STRIDE  26
#define SLUICE_TRIE_PLACE   0x03ffffffu
#define SLUICE_STRIDE_MAX   20

/* One node of 8 words, aligned to 8. */
struct sluice_skip {
	__u64 value; /* the bits, left-aligned, 0 below them */
	__u32 bits;  /* 1..64 */
	__u32 equal; /* trie word where the key's next bits are `value`; they are used up */
	__u32 other; /* trie word where they are not; none is used up */
	__u32 reserved[3];
};
_Static_assert(sizeof(struct sluice_skip) == 32, "sluice_skip is part of a map value; resizing bumps the ABI");

/*
 * Addresses: a trie of cache lines, from sluice_policy.lines_at on, which is a multiple of SLUICE_LINE_WORDS. A word of
 * it is a leaf (bit 31 clear: an index in `classes`) or a child (bit 31 set): bits 26 to 30 say of what kind, bits 0 to
 * 25 at which line it begins, counted from lines_at. The key is the address, IPv4 in its first 32 bits; a walk uses the
 * next ones each time.
 *
 *   1..20                  a branch: 2^kind words, indexed with the next `kind` bits
 *   SLUICE_LINE_LIST + n   2^n struct sluice_line_list, n up to SLUICE_LINE_GROUP, indexed with the next n bits
 *   SLUICE_LINE_MATCH + n  2^n struct sluice_line_match, likewise
 *   SLUICE_LINE_SKIP       struct sluice_skip
 *
 * A branch and a skip take at least SLUICE_LINE_BITS bits unless fewer are left, which bounds the steps of a walk. A
 * list and a match are the end of it, for classes below 65536. A walk to one of 1,000,000 prefixes reads a word and a
 * line, seldom more.
 */
#define SLUICE_LINE_SHIFT  4
#define SLUICE_LINE_WORDS  (1u << SLUICE_LINE_SHIFT)
#define SLUICE_LINE_GROUP  3
#define SLUICE_LINE_LIST   21
#define SLUICE_LINE_MATCH  25
#define SLUICE_LINE_SKIP   29
#define SLUICE_LINE_BITS   4
#define SLUICE_LINE_STEPS  (128 / SLUICE_LINE_BITS + 1)

/*
 * Intervals of the next 15 bits, or of all that are left, with zeros behind them: class[k] is that of a key at or above
 * exactly k edges. Four edges to a number, so that they are compared at once; SLUICE_NO_EDGE where there is none, and
 * always in the last place.
 */
#define SLUICE_LIST_BITS  15
#define SLUICE_LIST_EDGES 15
#define SLUICE_NO_EDGE	  0x8000
struct sluice_line_list {
	__u64 edges[4];	 /* edge i: bits 16 * (i % 4) to 16 * (i % 4) + 15 of edges[i / 4] */
	__u16 class[16];
};
_Static_assert(sizeof(struct sluice_line_list) == 64, "sluice_line_list is in a map value; resizing bumps the ABI");

/*
 * Prefixes, the first that fits decides; class[4] where none does. With `bits` the next 64 of the key and `rest` the 64
 * from the 64th of these on, prefix i fits if (bits ^ value[i]) >> shift[i] is 0 and, of the first two, which may be
 * longer than 63 bits, (rest ^ tail[i]) >> tail_shift[i] >> 1 too. Shifts of values are not 0, so that the result of
 * both has no highest bit. Unused ones say class[4].
 */
#define SLUICE_MATCH_PREFIXES 4
#define SLUICE_MATCH_TAILS    2
#define SLUICE_MATCH_BITS     63 /* of a value, and of a tail */
struct sluice_line_match {
	__u64 value[SLUICE_MATCH_PREFIXES];
	__u64 tail[SLUICE_MATCH_TAILS];
	__u16 class[SLUICE_MATCH_PREFIXES + 1];
	__u8 shift[SLUICE_MATCH_PREFIXES];
	__u8 tail_shift[SLUICE_MATCH_TAILS];
};
_Static_assert(sizeof(struct sluice_line_match) == 64, "sluice_line_match is in a map value; resizing bumps the ABI");

/* Table `tenants`: read by userspace; the kernel half reads the two roots of each at sluice_policy.tenants_at. */
struct sluice_tenant {
	__u32 root4; /* word of its IPv4 addresses: a class, or a child */
	__u32 root6;
	char name[SLUICE_NAME_LEN];
};
_Static_assert(sizeof(struct sluice_tenant) == 72, "sluice_tenant is a map value; resizing bumps the ABI");

/*
 * Classes, at sluice_policy.classes_at, indexed by address class (an equivalence class: the set of segments that contain the address).
 *
 * A decision asks row[plane] of the source's class, for every plane below sluice_policy.planes, with the key
 *
 *   dest of the destination's class, dest_bits; destination port class, port_bits; source port class, source_bits
 *
 * from the top of the first 64 bits. Each plane holds some of the rules and answers with the first of them that matches; the lowest
 * answer decides. No match: the answer is the default, the last entry of `rules`. Why planes: rules that name one
 * source and all destinations, and rules that name all sources and one destination, multiply in one trie and add up
 * in two.
 *
 * Plane SLUICE_PLANE_AUDIT holds the audit rules, if the policy has SLUICE_HAS_AUDITS: its leaf is 0 (none) or the place
 * of a list in `words`: the number of rules, at most SLUICE_AUDITS_MAX, then that many indices in `rules`, ascending.
 * Those below the deciding one have counted the packet on its way.
 */
#define SLUICE_PLANES	   4
#define SLUICE_PLANE_AUDIT (SLUICE_PLANES - 1)
#define SLUICE_AUDITS_MAX  16 /* audit rules that match one packet; the compiler refuses more */

struct sluice_class {
	__u32 dest;	       /* class of the address as a destination */
	__u32 row[SLUICE_PLANES]; /* trie words of the address as a source */
	__u32 reserved;	       /* 0 */
	__u64 antispoof; /* bit i: the source may enter at the interface of slot i (unset only if slot i lists antispoof) */
};
_Static_assert(sizeof(struct sluice_class) == 32, "sluice_class is part of a map value; resizing bumps the ABI");

/*
 * Protocols, 256 entries at sluice_policy.protocols_at, indexed by IP protocol. A port table is 65536 words: word (table + port in host order)
 * is the port's class. A destination port class says the protocol too: it is numbered over all of them. ICMP and ICMPv6
 * use `dports` with (type << 8 | code) in place of a port. Without `dports` the class is `port_class`, without `sports`
 * it is 0.
 */
#define SLUICE_NO_TABLE 0xffffffffu
struct sluice_protocol {
	__u32 dports; /* first word of the table of destination ports */
	__u32 sports;
	__u32 port_class;
	__u32 failsafe; /* first word of a bitmap of 65536 failsafe ports, 0: none; SLUICE_NO_TABLE: the whole protocol */
};
_Static_assert(sizeof(struct sluice_protocol) == 16, "sluice_protocol is part of a map value; resizing bumps the ABI");

enum sluice_action {
	SLUICE_ACTION_DENY = 0,
	SLUICE_ACTION_ALLOW = 1,
	SLUICE_ACTION_REJECT = 2,
};

#define SLUICE_RULE_STATEFUL (1u << 0)
#define SLUICE_RULE_DEFAULT  (1u << 1) /* the pseudo rule at the end */
#define SLUICE_RULE_LOG	     (1u << 2) /* log_period_ns says how often */
#define SLUICE_RULE_AUDIT    (1u << 3) /* counts as it would have judged; matching goes on with the next rule */
#define SLUICE_RULE_LIMIT	 (1u << 4) /* of what it allows, limit_rate passes */
#define SLUICE_RULE_LIMIT_BITS	 (1u << 5) /* counted in bits of frames; else in packets */
#define SLUICE_RULE_LIMIT_SOURCE (1u << 6) /* for each source address by itself; else for all together */

/*
 * Table `rules`: all about a rule. What a packet is judged with is the head, at sluice_policy.rules_at, with the same
 * index.
 */
struct sluice_rule_head {
	__u16 action; /* enum sluice_action */
	__u16 flags;  /* SLUICE_RULE_* */
	__u32 slot;   /* as in struct sluice_rule */
};
_Static_assert(sizeof(struct sluice_rule_head) == 8, "sluice_rule_head is part of a map value; resizing bumps the ABI");

struct sluice_rule {
	__u32 action;	     /* enum sluice_action */
	__u32 flags;	     /* SLUICE_RULE_* */
	__u32 slot;	     /* counter slot, below SLUICE_MAX_RULES: stays with an unchanged rule across policies */
	__u32 reserved;	     /* 0 */
	__u64 log_period_ns; /* least time between two events of the rule; 0: every packet that is judged anew */
	__u64 identity;	     /* hash of what the rule says; same name and identity: same rule, slot and counters */
	__u64 limit_rate;    /* packets or bits a second; 0: no limit */
	__u64 limit_burst;   /* packets or bits at once */
	char name[SLUICE_NAME_LEN];
};
_Static_assert(sizeof(struct sluice_rule) == 112, "sluice_rule is a map value; resizing bumps the ABI");

#define SLUICE_NO_RULE 0xffffffffu

#define SLUICE_MODE_AUDIT	 (1u << 0) /* sluice_policy.flags */
#define SLUICE_ON_FULL_STATELESS (1u << 1)
#define SLUICE_HAS_AUDITS	 (1u << 2) /* some rule has mode: audit */
#define SLUICE_HAS_PORTS	 (1u << 3) /* some interface is wired, or forwards in XDP: forward.h */
#define SLUICE_HAS_LIMITS	 (1u << 4) /* some rule has a limit */
#define SLUICE_SYN_COOKIES	 (1u << 8) /* SYNs to this host are answered with cookies in a flood */
#define SLUICE_SYN_ALWAYS	 (1u << 9) /* and without one */

enum sluice_timeout {
	SLUICE_T_TCP_OPENING,	  /* SYN seen, handshake unfinished */
	SLUICE_T_TCP_ESTABLISHED,
	SLUICE_T_TCP_CLOSING,	  /* FIN or RST seen */
	SLUICE_T_UDP,
	SLUICE_T_UDP_STREAM,	  /* answered */
	SLUICE_T_ICMP,
	SLUICE_T_OTHER,
	SLUICE_T_PICKUP,	  /* not a flow timeout: how long after attach strays may become flows */
	SLUICE_TIMEOUT_COUNT
};

/* Table `policy`: one entry a bank, the head of the policy. */
struct sluice_policy {
	__u64 generation;
	__u32 flags;		/* SLUICE_MODE_*, SLUICE_ON_FULL_* */
	__u32 default_action;	/* enum sluice_action: also for other ethertypes */
	__u32 rules;		/* entries of `rules`, the default included as the last */
	__u8 dest_bits;		/* of the key of a decision, see struct sluice_class */
	__u8 port_bits;
	__u8 source_bits;
	__u8 planes; /* used for deciding, at most SLUICE_PLANE_AUDIT */
	__u32 failsafes; /* entries used of failsafe[] */
	__u32 tenants_at;   /* places in `words`, multiples of 8: pairs of roots, see struct sluice_tenant */
	__u32 protocols_at; /* struct sluice_protocol */
	__u32 classes_at;   /* struct sluice_class */
	__u32 rules_at;	    /* struct sluice_rule_head */
	__u32 max_flows;    /* more are not made; at most what the table was sized for */
	__u32 lines_at;	    /* the lines of addresses; a multiple of SLUICE_LINE_WORDS */
	__u32 rmem_max;	     /* net.core.rmem_max when it was loaded, where it is told: syn_options.h */
	__u32 syn_threshold; /* half-open flows from which on it is a flood */
	__u32 syn_max;	     /* half-open flows from which on no other is made */
	__u64 syn_step_ns;   /* in a flood: what a half-open flow costs its source, of timeout_ns[SLUICE_T_TCP_OPENING] */
	__u64 timeout_ns[SLUICE_TIMEOUT_COUNT];
	struct {
		__u8 protocol;
		__u8 any_port;	     /* 1: port is ignored */
		__be16 port;	     /* of this host; type << 8 | code for ICMP, as __be16 */
		__be16 port_last;    /* inclusive */
		__u16 reserved;
	} failsafe[16];
	__u8 digest[32];	     /* SHA-256 of the normalised policy */
	char name[SLUICE_NAME_LEN];
};
_Static_assert(sizeof(struct sluice_policy) == 360, "sluice_policy is a map value; resizing bumps the ABI");

/*
 * Every banked table: T(map name, value type, entries; 0: sized to the policy). bpf/maps.h makes the outer maps of it,
 * user/dataplane/bank.c fills them. All indices are __u32. A table of fixed size costs a packet no call: the kernel
 * compiles its lookup into the program.
 */
#define SLUICE_BANK_TABLES(T)                \
	T(policy, struct sluice_policy, 1)    \
	T(tenants, struct sluice_tenant, 0)   \
	T(words, struct sluice_page, 0)       \
	T(rules, struct sluice_rule, 0)

/* ----------------------------------------------------------------- interfaces */

/*
 * Map `interfaces`: HASH, one for both banks (the bank is in the key). Writer: dataplane. Reader: tenant.h.
 * A VLAN id that an interface does not list has no entry: reason unknown-tenant. An interface that the live bank does not
 * name at all has none either, nor one for SLUICE_VLAN_NONE: its packets pass, reason no-policy.
 */
#define SLUICE_VLAN_NONE 0xffff /* untagged traffic */
struct sluice_interface_key {
	__u32 ifindex;
	__u16 vlan;	/* VLAN id in host order, or SLUICE_VLAN_NONE */
	__u16 bank;	/* generation & 1 */
};
_Static_assert(sizeof(struct sluice_interface_key) == 8, "sluice_interface_key is a map key; resizing bumps the ABI");

struct sluice_interface {
	__u32 slot;	 /* bit in sluice_class.antispoof */
	__u16 tenant;
	__u16 flags;	 /* SLUICE_IF_*; struct pkt has a byte, for those below 256 */
	__u32 peer;	 /* ifindex of the other end of the wire; 0: no wire */
	__u8 mac[6];	 /* of the interface: only frames for it are forwarded */
	__u16 peer_mtu;	 /* of the other end when the policy was applied: what is longer is held against its present one */
};
#define SLUICE_IF_ANTISPOOF (1u << 0)
#define SLUICE_IF_TUNNELS   (1u << 1) /* lists VNIs: what VXLAN and Geneve carry here is judged too, map `tunnels` */
#define SLUICE_IF_NAMED	    (1u << 2) /* the entry is one: those of `untagged` are zero where there is none */
#define SLUICE_IF_WIRE	    (1u << 3) /* what passes leaves by `peer`; nothing is for this host */
#define SLUICE_IF_FORWARD   (1u << 4) /* forward: xdp */
#define SLUICE_IF_BACK	     (1u << 6) /* XDP_TX sends out of the interface: syn.h */
#define SLUICE_IF_BOUNCE     (1u << 7) /* a redirect to itself does */
#define SLUICE_IF_UNFINISHED (1u << 5) /* native XDP on a veth: checksums may be left to a device, forward.h */
#define SLUICE_IF_LIMITS     (1u << 8) /* the policy has SLUICE_HAS_LIMITS: said here, too, for lane.h */
_Static_assert(sizeof(struct sluice_interface) == 20, "sluice_interface is a map value; resizing bumps the ABI");

/*
 * Map `untagged`: ARRAY, the entries of `interfaces` for untagged traffic once more, at ifindex << 1 | bank. A shortcut
 * for what nearly every packet asks; interfaces numbered SLUICE_UNTAGGED and above are in the hash only.
 */
#define SLUICE_UNTAGGED 4096

/*
 * Map `tunnels`: HASH, one for both banks. The tenant of a VNI on an interface; VXLAN and Geneve share the numbers.
 * Writer: dataplane. Reader: tunnel.h. A VNI that an interface does not list has no entry: reason unknown-tenant.
 */
struct sluice_tunnel_key {
	__u32 ifindex;
	__u32 vni_bank; /* VNI << 8 | bank */
};
_Static_assert(sizeof(struct sluice_tunnel_key) == 8, "sluice_tunnel_key is a map key; resizing bumps the ABI");

struct sluice_tunnel {
	__u16 tenant;
	__u16 reserved;
};
_Static_assert(sizeof(struct sluice_tunnel) == 4, "sluice_tunnel is a map value; resizing bumps the ABI");

/* ------------------------------------------------------------------ forwarding */

/*
 * What forward.h did with a packet that passes, on interfaces that are wired or forward. Map `forwards`: PERCPU_ARRAY of
 * __u64 packets by outcome.
 *
 * F(NAME, "name", what, "text"): `what` is SENT, DROPPED, KERNEL (left to the kernel's own forwarding) or NOTED (counted
 * beside one of the others).
 */
/* clang-format off */
#define SLUICE_FORWARDS(F)                                                                             \
	F(WIRED,      "wired",            SENT,    "sent out at the other end of a wire")                   \
	F(WIRE_LONG,  "wire-too-long",    DROPPED, "longer than the other end's MTU, or unsegmented")       \
	F(WIRE_GONE,  "wire-end-gone",    DROPPED, "the interface at the other end is gone")                \
	F(WIRE_SUM,   "wire-checksum",    DROPPED, "checksum left to a device, frame too long to finish it") \
	F(FINISHED,   "checksum-filled",  NOTED,   "checksum left to a device, filled in")                  \
	F(ROUTED,     "routed",           SENT,    "routed, and sent out by XDP")                           \
	F(KERNEL_NEW, "first-packets",    KERNEL,  "not of a flow that goes on")                            \
	F(KERNEL_UNUSUAL, "unusual",      KERNEL,  "options, fragments, tags, addresses that are not simply routed")  \
	F(KERNEL_TTL, "ttl",              KERNEL,  "hop limit used up; the kernel answers")                 \
	F(KERNEL_LONG, "too-long",        KERNEL,  "longer than the way's MTU; the kernel answers or segments") \
	F(KERNEL_ROUTE, "route",          KERNEL,  "for this host, nowhere, or back where it came from")    \
	F(KERNEL_NEIGHBOUR, "neighbour",  KERNEL,  "the next hop's address is not known yet")               \
	F(KERNEL_PORT, "other-interface", KERNEL,  "leaves by an interface without forward: xdp")           \
	F(KERNEL_REFRESH, "refresh",      KERNEL,  "one in 8,192, so that neighbours stay confirmed")
/* clang-format on */

enum sluice_forward {
#define F(NAME, name, what, text) SLUICE_FORWARD_##NAME,
	SLUICE_FORWARDS(F)
#undef F
	SLUICE_FORWARD_COUNT
};

/*
 * Map `ports`: DEVMAP_HASH by ifindex: interfaces where frames may be sent out by XDP, of both banks. Writer: dataplane.
 * Which interface a packet may leave by is said by `interfaces`, with the bank.
 */
#define SLUICE_PORTS 4096

/* --------------------------------------------------------------- confirmation */

/*
 * Map `confirm`: ARRAY of one: a policy that was put in force on trial (`apply --confirm`). Writer: the kernel only
 * (confirm.h), so that it goes on when every process has died. Reader: dataplane (apply, status).
 *
 * `word` is generation << SLUICE_CONFIRM_SHIFT | enum sluice_confirm_phase, and who moves it from pending by compare
 * and swap decides: the timer, `sluice confirm`, or `sluice rollback`. While it is pending the bank of `previous` must
 * not be written.
 */
enum sluice_confirm_phase {
	SLUICE_CONFIRM_NONE,	  /* never used */
	SLUICE_CONFIRM_PENDING,	  /* in force, until deadline_ns */
	SLUICE_CONFIRM_KEPT,	  /* confirmed */
	SLUICE_CONFIRM_EXPIRED,	  /* nobody confirmed: the timer has put `previous` back in force */
	SLUICE_CONFIRM_WITHDRAWN, /* somebody put `previous` back in force before that */
};
#define SLUICE_CONFIRM_SHIFT 3
#define SLUICE_CONFIRM_PHASE 7u

struct sluice_confirm {
	struct bpf_timer timer;
	__u64 word;
	__u64 previous;	   /* generation to go back to; 0: no policy */
	__u64 deadline_ns; /* CLOCK_MONOTONIC */
	__u64 ended_ns;	   /* when it left the pending phase */
};
_Static_assert(sizeof(struct sluice_confirm) == 48, "sluice_confirm is a map value; resizing bumps the ABI");

/* What program sluice_confirm is asked by test run, and answers. */
enum sluice_confirm_op {
	SLUICE_CONFIRM_PREPARE, /* gets the timer: the one step that may fail for want of memory */
	SLUICE_CONFIRM_BEGIN,	/* flips to `generation`, and back to `previous` after `delay_ns` */
	SLUICE_CONFIRM_KEEP,	/* `generation` stays */
	SLUICE_CONFIRM_REVERT,	/* `generation` goes: back to the previous one now */
};

struct sluice_confirm_call {
	__u32 op;
	__s32 result; /* 0 or -errno; -ESTALE: `generation` is not pending, somebody was faster */
	__u64 generation;
	__u64 previous;
	__u64 delay_ns;
};
_Static_assert(sizeof(struct sluice_confirm_call) == 32, "sluice_confirm_call is a program's context");

/* ----------------------------------------------------------------------- flows */

/* Map `flows`: see flow.h. */
#include <sluice/flow.h>

/* What `sluice flows --cut` asks of program sluice_cut. */
struct sluice_cut_call {
	struct sluice_flow_key key;
	__u32 first;  /* as in the flow's unit: a flow that has begun since under the same key is another one */
	__s32 result; /* 0 or -errno; -ENOENT: there is no such flow (any more) */
};
_Static_assert(sizeof(struct sluice_cut_call) == 48, "sluice_cut_call is a program's context");

/* -------------------------------------------------------------------- fragments */

struct sluice_fragment_key {
	__u8 addr[2][16]; /* source, destination; IPv4-mapped */
	__be32 id;
	__u16 tenant;
	__u8 protocol;
	__u8 reserved; /* 0 */
};
_Static_assert(sizeof(struct sluice_fragment_key) == 40, "fragment_key is a map key; resizing bumps the ABI");

struct sluice_fragment {
	__u64 seen_ns;	  /* first fragment; dead after SLUICE_FRAGMENT_NS */
	__u64 generation; /* a policy change forgets it */
	__u8 verdict;	  /* enum sluice_verdict */
	__u8 opener;	  /* which end of the flow's key opened it: 0 or 1 */
	__u16 reason;	  /* enum sluice_reason of the first fragment */
	__u32 rule;	  /* counter slot, or SLUICE_NO_RULE */
	__u32 end;	  /* bytes of the datagram that the first fragment holds: no later one begins before */
	__u32 reserved;
};
#define SLUICE_FRAGMENT_NS 30000000000ull
#define SLUICE_FRAGMENTS   65536
_Static_assert(sizeof(struct sluice_fragment) == 32, "sluice_fragment is a map value; resizing bumps the ABI");

/* ------------------------------------------------------------------------ limits */

/*
 * A bucket is one word, the time at which all that was taken from it will have flowed back (GCRA, the virtual scheduling
 * algorithm of ITU-T I.371): taking moves it on by what is taken, and how far it lies ahead of now is what is owed. It is
 * moved by compare and swap, so any number of CPUs share it without a lock, and one that is not ahead is a full bucket,
 * whoever used it last.
 *
 * Its unit is the tick, 1/64 ns: a frame of 64 bytes at 1 Tbit/s is 33 of them. It wraps around every nine years, and
 * what lies further ahead than any debt can is a leftover from before and nothing is owed.
 */
#define SLUICE_LIMIT_TICK_SHIFT 6
#define SLUICE_LIMIT_COST_SHIFT 16
#define SLUICE_LIMIT_BYTES_MAX	(1u << 19) /* a frame counts for at most so many */
#define SLUICE_LIMIT_FAR	((4 * 3600 * 1000000000ull) << SLUICE_LIMIT_TICK_SHIFT)

/*
 * Map `limits`: ARRAY by bank * SLUICE_MAX_RULES + counter slot, mmapable: the limit of a rule. Written with the bank, so
 * that a limit comes into force with its policy. Only read if the policy has SLUICE_HAS_LIMITS.
 */
struct sluice_limit {
	__u64 cost;	      /* of a packet or byte, ticks << SLUICE_LIMIT_COST_SHIFT; 0: the rule has no limit */
	__u64 burst : 48;     /* ticks: what may be owed */
	__u64 bytes : 1;      /* cost is of a byte, not of a packet */
	__u64 per_source : 1; /* a bucket for each source, map `limit_sources`; else one, map `limit_buckets` */
	__u64 mark : 14;      /* of the rule's identity: another rule that gets the slot starts with full buckets */
};
_Static_assert(sizeof(struct sluice_limit) == 16, "sluice_limit is a map value; resizing bumps the ABI");

/*
 * Map `limit_buckets`: ARRAY of __u64, mmapable: the bucket of a rule, at sluice_limit_bucket(slot): neighbours among
 * slots lie in different cache lines.
 */
static inline __attribute__((always_inline)) __u32 sluice_limit_bucket(__u32 slot)
{
	return (slot << 3 | slot >> 14) & (SLUICE_MAX_RULES - 1);
}
_Static_assert(SLUICE_MAX_RULES == 1 << 17, "sluice_limit_bucket rotates 17 bits");

/*
 * Map `limit_sources`: ARRAY of sets of buckets by a hash of rule, tenant and source, mmapable. A source that is in its
 * set has its own. One that is not takes over the one that owes least, debt and all: the debt of a source is never
 * forgotten, so that nobody gets more than the limit by making others crowd him out (the Space-Saving algorithm of
 * Metwally, Agrawal and El Abbadi, 2005). A bucket that owes nothing is free, and nothing is lost with it.
 */
#define SLUICE_LIMIT_SETS 16384
#define SLUICE_LIMIT_WAYS 8

struct sluice_limit_source {
	__u64 tag; /* hash of rule, tenant and source; 0: never used */
	__u64 due; /* the bucket */
};

struct sluice_limit_set {
	struct sluice_limit_source way[SLUICE_LIMIT_WAYS];
};
_Static_assert(sizeof(struct sluice_limit_set) == 128, "sluice_limit_set is a map value; resizing bumps the ABI");

/* ---------------------------------------------------------------------- counters */

/* Map `rule_counters`: PERCPU_ARRAY by counter slot. Map `reason_counters`: PERCPU_ARRAY by enum sluice_reason. */
struct sluice_rule_counter {
	__u64 packets;	     /* every packet that the rule decided, those of its flows included */
	__u64 bytes;
	__u64 audit_packets; /* would have been dropped, but the rule or the policy is in audit mode */
	__u64 limited_packets; /* were over its limit; audited ones included */
};
_Static_assert(sizeof(struct sluice_rule_counter) == 32, "sluice_rule_counter is a map value; resizing bumps the ABI");

struct sluice_reason_counter {
	__u64 packets;
	__u64 bytes;
	__u64 audit_packets;	   /* would have been dropped for this reason */
	enum sluice_reason reason; /* for bpftool: BTF prints the name; written at load */
	__u32 reserved;
};
_Static_assert(sizeof(struct sluice_reason_counter) == 32, "sluice_reason_counter is a map value; resizing bumps the ABI");

/* Map `answers`: PERCPU_ARRAY of one: what became of the answers to rejected packets. */
struct sluice_answers {
	__u64 sent;
	__u64 suppressed; /* over the limit, or to what must not be answered */
};
_Static_assert(sizeof(struct sluice_answers) == 16, "sluice_answers is a map value; resizing bumps the ABI");

/* Map `answer_state`: ARRAY of one: what the programs that answer share. */
struct sluice_answer_state {
	__u64 full_ns; /* CLOCK_MONOTONIC: when answers may be sent at full rate again */
	__u8 mac[6];   /* source of what this host puts into its own ingress; random, so that nobody else sends by it */
	__u16 reserved;
};
_Static_assert(sizeof(struct sluice_answer_state) == 16, "sluice_answer_state is a map value; resizing bumps the ABI");

/* ------------------------------------------------------------------------- events */

/* Map `events`: RINGBUF, 1 MiB. One record a logged verdict. */
struct sluice_event {
	__u64 time_ns;	  /* CLOCK_MONOTONIC */
	__u64 generation;
	__u8 source[16];  /* as the packet has them; IPv4-mapped */
	__u8 dest[16];
	__be16 source_port;
	__be16 dest_port; /* ICMP: type << 8 | code */
	__u32 rule;	  /* counter slot; SLUICE_NO_RULE: no rule was asked */
	__u32 ifindex;
	__u32 length;	  /* frame bytes */
	__u16 tenant;
	__u16 vlan;	  /* SLUICE_VLAN_NONE: untagged */
	__u8 protocol;
	__u8 hook;	  /* enum sluice_hook */
	__u8 verdict;	  /* enum sluice_verdict: what the policy says */
	__u8 audited;	  /* 1: passed in spite of it */
	__u32 reason;	  /* enum sluice_reason */
	__u32 reserved;
};
_Static_assert(sizeof(struct sluice_event) == 80, "sluice_event is read from the ring buffer; resizing bumps the ABI");

/* ----------------------------------------------------------------------- steering */

/*
 * Map `steering`: HASH from the initiator-to-target direction of a queue's connection to the CPU of its reactor.
 * Writer: sluice target, on accept and close. Reader: steer.h.
 */
struct sluice_steer_key {
	__u8 source[16]; /* initiator, IPv4-mapped */
	__u8 dest[16];	 /* portal */
	__be16 source_port;
	__be16 dest_port;
	__u32 reserved;	 /* 0 */
};
_Static_assert(sizeof(struct sluice_steer_key) == 40, "steer_key is a map key; resizing bumps the ABI");

struct sluice_steer {
	__u32 cpu;	/* of the reactor */
	__u32 slot;	/* index into queue_packets */
	__u32 redirect; /* 1: move by cpumap; 0: only count */
	__u32 reserved;
};
_Static_assert(sizeof(struct sluice_steer) == 16, "sluice_steer is a map value; resizing bumps the ABI");

/* Map `queue_packets`: PERCPU_ARRAY by slot: packets of the queue by the CPU that processed them. */
struct sluice_queue_packets {
	__u64 packets;
	__u64 bytes;
};
_Static_assert(sizeof(struct sluice_queue_packets) == 16, "sluice_queue_packets is a map value; resizing bumps the ABI");

#endif
