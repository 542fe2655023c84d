/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between stages 7's rules and its flow: SYN floods. Nothing here is asked while the half-open flows are fewer than
 * the policy's threshold. From there on a SYN that the rules allow gets,
 *
 *   if a listener of this host is behind it   a cookie: the SYN-ACK is written here and sent back, and no flow is made.
 *                                             The ACK that returns the cookie makes the flow, complete.
 *   otherwise, and where there is no cookie   a flow, as long as its source has not too many unfinished ones, and all
 *                                             together no more than half of the table.
 *
 * Cookies are the kernel's own, by bpf_tcp_gen_syncookie() and bpf_tcp_check_syncookie() on the listener, because
 * it is the kernel that has to recognise them. That helper is asked rather than its raw sibling since it also notes
 * the flood at the listener, without which the kernel refuses to look at cookies (tcp_synq_no_recent_overflow()),
 * and since it knows what the listener can take: with net.ipv4.tcp_syncookies=1 it makes cookies only once the
 * listener's own queue is full, so that as many SYNs pass before; with 2 at once; with 0 never. No sysctl has to be
 * changed, none is.
 *
 * Which addresses are this host's: those that it was seen to answer SYNs from, of late. Of others the route lookup
 * is asked, but where forwarding is off it cannot say, and a listener on any address is no proof: the packet may be
 * for a machine behind a bridge. While nothing is known, SYNs pass, and the first answer tells.
 */
#ifndef SLUICE_BPF_SYN_H
#define SLUICE_BPF_SYN_H

#include "answer.h"
#include "config.h"
#include "failsafe.h"
#include "half_open.h"
#include "parse.h"
#include "pkt.h"
#include "reject.h"
#include "syn_options.h"

#define CURRENT_NETNS ((__u64)-1)

#define SYN_HOSTS    1024
#define SYN_HOST_NS  60000000000ull  /* an address that answered no SYN for so long has to show again */
#define SYN_NOTE_NS  1000000000ull   /* times below are stored again when they are older than this */
#define SYN_VALID_NS 130000000000ull /* cookies are valid for at most 2 minutes */

#define SYN_FRAME_LEAST 60 /* without its checksum: not every device pads */
#define SYN_IW		10 /* segments that a peer may send before it has seen a window from the kernel itself */

#define LINK_MAX	(14 + 4 * VLAN_TAGS_MAX)

/* Addresses of this host that have answered a SYN. Writer, reader: this file. */
struct syn_host {
	__u8 addr[16]; /* IPv4-mapped */
	__u32 tenant;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SYN_HOSTS);
	__type(key, struct syn_host);
	__type(value, __u64); /* when, CLOCK_MONOTONIC ns */
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} syn_hosts SEC(".maps");

/* When the last cookie was sent, CLOCK_MONOTONIC ns: ACKs are looked at for a while after. Writer, reader: here. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} syn_cookie_time SEC(".maps");

/* What is known of a handshake beside the answer, which is in `answer_drafts`: too much for the stack. */
struct syn_draft {
	struct tcphdr asked; /* the packet's own, options behind it */
	__u8 asked_options[TCP_OPTIONS_MAX];
	union { /* as much of its IP header as the kernel looks at */
		struct iphdr ip4;
		struct ipv6hdr ip6;
	};
	__u8 link[24]; /* of the answer, for XDP: Ethernet header and tags */
	__u32 link_bytes;
	__u32 tcp_bytes; /* of the answer, options included */
	struct syn_options options;
};

/* One a CPU: between the decision and the sending nothing else uses it. Writer, reader: this file. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct syn_draft);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} syn_drafts SEC(".maps");

static __always_inline struct syn_draft *syn_draft(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&syn_drafts, &zero);
}

static __always_inline struct answer *syn_answer_draft(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&answer_drafts, &zero);
}

/* ------------------------------------------------------------------- addresses of this host */

/* With a frame of its own, for its key. */
static __noinline bool syn_host_is_known(struct pkt *pkt)
{
	struct syn_host key = {.tenant = pkt->tuple.tenant};
	const __u64 *seen;

	addr_copy(key.addr, pkt->tuple.dest);
	seen = bpf_map_lookup_elem(&syn_hosts, &key);
	return seen && pkt_now(pkt) < *(const volatile __u64 *)seen + SYN_HOST_NS;
}

/* `address`: the packet's source or destination. */
static __noinline void syn_host_note(struct pkt *pkt, const __u8 *address)
{
	struct syn_host key = {.tenant = pkt->tuple.tenant};
	__u64 now = pkt_now(pkt), *seen;

	addr_copy(key.addr, address);
	seen = bpf_map_lookup_elem(&syn_hosts, &key);
	if (!seen)
		bpf_map_update_elem(&syn_hosts, &key, &now, BPF_ANY);
	else if (now > *(volatile __u64 *)seen + SYN_NOTE_NS)
		*(volatile __u64 *)seen = now;
}

/* Whether the packet is for this host, beyond doubt. */
static __always_inline bool syn_host_is_here(void *ctx, struct pkt *pkt)
{
	return syn_host_is_known(pkt) || (!pkt->for_group && packet_route(ctx, pkt) == BPF_FIB_LKUP_RET_NOT_FWDED);
}

/* At egress, of a packet that passes. */
static __always_inline void syn_answered(struct pkt *pkt)
{
	if (!pkt->from_here || !(pkt->policy_flags & SLUICE_SYN_COOKIES))
		return;
	if ((pkt->tcp_flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK))
		syn_host_note(pkt, pkt->tuple.source);
}

/* ------------------------------------------------------------------- asking the listener */

/* Reads the TCP header with its options; the IP header is made of what is known. The bytes of TCP, or 0. */
static __always_inline __u32 syn_read(void *ctx, enum sluice_hook hook, const struct pkt *pkt, struct syn_draft *d)
{
	__u32 at = pkt->payload - sizeof(d->asked), options;

	if (frame_load(ctx, hook, at, &d->asked, sizeof(d->asked)))
		return 0;
	options = d->asked.doff * 4 - sizeof(d->asked);
	if (options > TCP_OPTIONS_MAX)
		return 0;
	if (options && frame_load_some(ctx, hook, at + sizeof(d->asked), d->asked_options, options, TCP_OPTIONS_MAX))
		return 0;
	if (pkt->tuple.version == 4) {
		d->ip4.version = 4;
		d->ip4.ihl = sizeof(d->ip4) / 4;
		d->ip4.saddr = *(const __be32 *)&pkt->tuple.source[12];
		d->ip4.daddr = *(const __be32 *)&pkt->tuple.dest[12];
	} else {
		d->ip6.version = 6;
		addr_copy((__u8 *)&d->ip6.saddr, pkt->tuple.source);
		addr_copy((__u8 *)&d->ip6.daddr, pkt->tuple.dest);
	}
	return sizeof(d->asked) + options;
}

/* One option of the SYN; 1 when there is no other. */
static long syn_option_read(__u32 n, struct syn_options *o)
{
	const struct syn_draft *d = syn_draft();
	__u32 at = o->at, size;

	if (!d || at >= o->length || at >= TCP_OPTIONS_MAX || d->asked_options[at] == OPTION_END)
		return 1;
	if (d->asked_options[at] == OPTION_NOP) {
		o->at = at + 1;
		return 0;
	}
	if (at + 1 >= o->length || at + 1 >= TCP_OPTIONS_MAX)
		return 1;
	size = d->asked_options[at + 1];
	if (size < 2 || at + size > o->length)
		return 1;
	if (d->asked_options[at] == OPTION_WSCALE && size == 3 && at + 2 < TCP_OPTIONS_MAX) {
		o->scaled = 1;
		o->scale = d->asked_options[at + 2] > WSCALE_MAX ? WSCALE_MAX : d->asked_options[at + 2];
	} else if (d->asked_options[at] == OPTION_SACK && size == 2) {
		o->sack = 1;
	} else if (d->asked_options[at] == OPTION_TIMESTAMP && size == 10 && at + 6 <= TCP_OPTIONS_MAX) {
		o->stamped = 1;
		__builtin_memcpy(&o->stamp, d->asked_options + at + 2, sizeof(o->stamp));
	}
	o->at = at + size;
	return 0;
}

/* What the SYN of `bytes` offers. With a frame of its own, for what bpf_loop() hands on. */
static __noinline void syn_options_read(struct syn_draft *d, __u32 bytes)
{
	const __u8 *header = (const __u8 *)&d->asked;
	struct syn_options o = {.length = bytes - sizeof(d->asked)};

	o.ecn = (header[13] & (TCP_ECE | TCP_CWR)) == (TCP_ECE | TCP_CWR) && !(header[12] & TCP_AE);
	bpf_loop(TCP_OPTIONS_MAX, syn_option_read, &o, 0);
	d->options = o;
}

/* The socket that the packet would be delivered to; to be released. */
static __always_inline struct bpf_sock *syn_socket(void *ctx, const struct pkt *pkt)
{
	struct bpf_sock_tuple t = {};

	if (pkt->tuple.version == 4) {
		t.ipv4.saddr = *(const __be32 *)&pkt->tuple.source[12];
		t.ipv4.daddr = *(const __be32 *)&pkt->tuple.dest[12];
		t.ipv4.sport = pkt->tuple.source_port;
		t.ipv4.dport = pkt->tuple.dest_port;
		return bpf_skc_lookup_tcp(ctx, &t, sizeof(t.ipv4), CURRENT_NETNS, 0);
	}
	addr_copy((__u8 *)t.ipv6.saddr, pkt->tuple.source);
	addr_copy((__u8 *)t.ipv6.daddr, pkt->tuple.dest);
	t.ipv6.sport = pkt->tuple.source_port;
	t.ipv6.dport = pkt->tuple.dest_port;
	return bpf_skc_lookup_tcp(ctx, &t, sizeof(t.ipv6), CURRENT_NETNS, 0);
}

/* The cookie in the lower 32 bits, or negative: there is no listener, or it wants none. */
static __always_inline __s64 syn_cookie_make(void *ctx, const struct pkt *pkt, struct syn_draft *d, __u32 bytes)
{
	const struct sluice_policy *p = policy_live(pkt->tuple.bank);
	struct bpf_sock *sk = syn_socket(ctx, pkt);
	const struct tcp_sock___syn *listener;
	__s64 cookie;

	if (!sk)
		return -1;
	cookie = bpf_tcp_gen_syncookie(sk, &d->ip4, answer_ip_bytes(pkt), &d->asked, bytes);
	listener = (void *)bpf_skc_to_tcp_sock(sk);
	if (cookie >= 0 && listener && p)
		syn_options_settle(listener, p->rmem_max, &d->options);
	else
		d->options.stamped = 0;
	bpf_sk_release(sk);
	return cookie;
}

/* Whether the packet acknowledges a cookie that its listener would take now. */
static __always_inline bool syn_cookie_check(void *ctx, const struct pkt *pkt, struct syn_draft *d)
{
	struct bpf_sock *sk = syn_socket(ctx, pkt);
	long r;

	if (!sk)
		return false;
	r = bpf_tcp_check_syncookie(sk, &d->ip4, answer_ip_bytes(pkt), &d->asked, sizeof(d->asked));
	bpf_sk_release(sk);
	return !r;
}

/* ------------------------------------------------------------------- the SYN-ACK */

/* The sender's Ethernet header and tags, turned round. False: what was sent to a group gets no answer. */
static __always_inline bool syn_link(struct xdp_md *ctx, struct syn_draft *d)
{
	const __be16 *word = (const __be16 *)d->link;
	__u8 mac[6];

	if (bpf_xdp_load_bytes(ctx, 0, d->link, LINK_MAX) || (d->link[0] & 1))
		return false;
	__builtin_memcpy(mac, d->link, 6);
	__builtin_memcpy(d->link, d->link + 6, 6);
	__builtin_memcpy(d->link + 6, mac, 6);
	d->link_bytes = 14;
	if (word[6] == bpf_htons(ETHERTYPE_8021Q) || word[6] == bpf_htons(ETHERTYPE_8021AD)) {
		d->link_bytes = 18;
		if (word[8] == bpf_htons(ETHERTYPE_8021Q) || word[8] == bpf_htons(ETHERTYPE_8021AD))
			d->link_bytes = 22;
	}
	return true;
}

/* Largest segment that this host takes, by the MTU of the interface, as the kernel would say without a better route. */
static __always_inline __u32 syn_mss(void *ctx, const struct pkt *pkt)
{
	__u32 headers = answer_ip_bytes(pkt) + sizeof(struct tcphdr), mtu = 0;

	bpf_check_mtu(ctx, 0, &mtu, 0, 0); /* fills in the MTU whatever it thinks of the packet */
	if (mtu > 65535)
		mtu = 65535;
	return mtu > headers + 536 ? mtu - headers : 536;
}

static __always_inline void syn_tcp(void *ctx, const struct pkt *pkt, struct syn_draft *d, struct answer *a,
				    __u32 cookie)
{
	__u32 mss = syn_mss(ctx, pkt), window = mss * SYN_IW;
	__be32 *options = (__be32 *)(a->body.bytes + sizeof(struct tcphdr));
	struct tcphdr *tcp = &a->body.tcp;

	d->tcp_bytes = sizeof(*tcp) + syn_options_write(&d->options, mss, options);
	__builtin_memset(tcp, 0, sizeof(*tcp));
	tcp->source = pkt->tuple.dest_port;
	tcp->dest = pkt->tuple.source_port;
	tcp->seq = bpf_htonl(cookie);
	tcp->ack_seq = bpf_htonl(bpf_ntohl(d->asked.seq) + 1); /* data and Fast Open are not taken: RFC 7413, 4.2.2 */
	tcp->doff = d->tcp_bytes / 4;
	tcp->syn = 1;
	tcp->ack = 1;
	tcp->ece = d->options.stamped && d->options.ecn;
	tcp->window = bpf_htons(window > 65535 ? 65535 : window);
	tcp->check = answer_fold(body_sum(a, d->tcp_bytes) + pseudo_sum(pkt, IPPROTO_TCP, d->tcp_bytes));
}

/* When the last cookie was sent. */
static __always_inline void syn_cookie_note(struct pkt *pkt)
{
	__u32 zero = 0;
	__u64 *last = bpf_map_lookup_elem(&syn_cookie_time, &zero);

	if (last && pkt_now(pkt) > *(volatile __u64 *)last + SYN_NOTE_NS)
		*(volatile __u64 *)last = pkt->now;
}

static __always_inline bool syn_cookies_are_out(struct pkt *pkt)
{
	__u32 zero = 0;
	const __u64 *last = bpf_map_lookup_elem(&syn_cookie_time, &zero);

	return last && *(const volatile __u64 *)last && pkt_now(pkt) < *(const volatile __u64 *)last + SYN_VALID_NS;
}

/* Writes the answer into the drafts, if the packet is to have one. */
static __always_inline bool syn_answer(void *ctx, enum sluice_hook hook, struct pkt *pkt)
{
	struct answer *a = syn_answer_draft();
	struct syn_draft *d = syn_draft();
	__s64 cookie;
	__u32 bytes;

	if (!a || !d)
		return false;
	bytes = syn_read(ctx, hook, pkt, d);
	barrier_var(bytes); /* so that both bounds are compared: kernel 6.1 wants to see the lower one */
	if (bytes < sizeof(d->asked) || bytes > sizeof(d->asked) + TCP_OPTIONS_MAX)
		return false;
	if (hook == SLUICE_HOOK_XDP ? !syn_link(ctx, d) : !answer_ethernet(ctx, pkt, a))
		return false;
	syn_options_read(d, bytes);
	cookie = syn_cookie_make(ctx, pkt, d, bytes);
	if (cookie < 0)
		return false;
	syn_tcp(ctx, pkt, d, a, cookie);
	answer_ip(pkt, a, ANSWER_BACK, IPPROTO_TCP, d->tcp_bytes);
	syn_cookie_note(pkt);
	return true;
}

/* ------------------------------------------------------------------- the decision */

static __always_inline bool syn_may_be_answered(void *ctx, struct pkt *pkt)
{
	if ((pkt->policy_flags & (SLUICE_SYN_COOKIES | SLUICE_MODE_AUDIT)) != SLUICE_SYN_COOKIES)
		return false;
	return pkt->fragment == FRAGMENT_NONE && !(pkt->interface_flags & SLUICE_IF_WIRE) && syn_host_is_here(ctx, pkt);
}

static __always_inline int syn_open(void *ctx, enum sluice_hook hook, struct pkt *pkt)
{
	return syn_may_be_answered(ctx, pkt) && syn_answer(ctx, hook, pkt) ? SLUICE_R_PASS_SYN_COOKIE : syn_limit(pkt);
}

static __always_inline int syn_acknowledge(void *ctx, enum sluice_hook hook, struct pkt *pkt)
{
	struct syn_draft *d = syn_draft();

	if (!d || pkt->fragment != FRAGMENT_NONE || !syn_cookies_are_out(pkt) || !syn_read(ctx, hook, pkt, d) ||
	    !syn_cookie_check(ctx, pkt, d))
		return SLUICE_R_TCP_NO_FLOW;
	if (classify(&pkt->tuple, &pkt->decision)) /* again: of a stray it was forgotten which rule allows it */
		return SLUICE_R_INTERNAL;
	pkt->pickup = PICKUP_COOKIE;
	syn_host_note(pkt, pkt->tuple.dest); /* who answers with cookies only is not forgotten */
	return UNDECIDED;
}

static __always_inline int syn_look(void *ctx, enum sluice_hook hook, struct pkt *pkt, int reason)
{
	return reason == UNDECIDED ? syn_open(ctx, hook, pkt) : syn_acknowledge(ctx, hook, pkt);
}

/* Global, once a context type: verified once. */
__noinline int syn_look_xdp(struct xdp_md *ctx, struct pkt *pkt, int reason)
{
	return pkt ? syn_look(ctx, SLUICE_HOOK_XDP, pkt, reason) : SLUICE_R_INTERNAL;
}

__noinline int syn_look_skb(struct __sk_buff *ctx, struct pkt *pkt, int reason)
{
	return pkt ? syn_look(ctx, SLUICE_HOOK_TC_INGRESS, pkt, reason) : SLUICE_R_INTERNAL;
}

/* Of a packet inside a tunnel: no cookie, since its answer would have to be wrapped up again. */
__noinline int syn_look_inside(struct pkt *pkt)
{
	return pkt ? syn_limit(pkt) : SLUICE_R_INTERNAL;
}

/* Whether a SYN that the rules allow needs a second look. */
static __always_inline bool syn_is_due(const struct pkt *pkt)
{
	const struct sluice_policy *p = policy_live(pkt->tuple.bank);

	return p && (pkt->policy_flags & SLUICE_SYN_ALWAYS || syn_half_open() >= p->syn_threshold);
}

/*
 * `reason`: what the rules said of a packet without a flow. `hook` and whether there is a `ctx` are constants: there is
 * none for what came in a tunnel. At egress there is nothing to do, since this host's own connections are no flood.
 */
static __always_inline int syn_decide(void *ctx, enum sluice_hook hook, struct pkt *pkt, int reason)
{
	bool due = false;

	if (replay || hook == SLUICE_HOOK_TC_EGRESS || pkt->tuple.protocol != IPPROTO_TCP)
		return reason;
	if (!ctx) {
		due = reason == UNDECIDED && tcp_opens(pkt) && pkt->hook != SLUICE_HOOK_TC_EGRESS && syn_is_due(pkt);
		return due ? syn_look_inside(pkt) : reason;
	}
	if (reason == UNDECIDED && tcp_opens(pkt))
		due = syn_is_due(pkt);
	else if (reason == SLUICE_R_TCP_NO_FLOW)
		due = (pkt->policy_flags & SLUICE_SYN_COOKIES) && (pkt->tcp_flags & (TCP_ACK | TCP_SYN | TCP_RST)) == TCP_ACK;
	if (!due)
		return reason;
	return hook == SLUICE_HOOK_XDP ? syn_look_xdp(ctx, pkt, reason) : syn_look_skb(ctx, pkt, reason);
}

/* What the ACK of a cookie counts for, once its flow is made. */
static __always_inline int syn_reason(const struct pkt *pkt, int reason)
{
	return pkt->pickup == PICKUP_COOKIE && !reason_drops(reason) ? SLUICE_R_PASS_COOKIE_ACK : reason;
}

/* ------------------------------------------------------------------- sending */

/* The drafts take the place of the SYN. */
static __always_inline bool syn_put_xdp(struct xdp_md *ctx, const struct pkt *pkt)
{
	const struct syn_draft *d = syn_draft();
	const struct answer *a = syn_answer_draft();
	__u32 ip = answer_ip_bytes(pkt), link, tcp, total;

	if (!a || !d)
		return false;
	link = d->link_bytes;
	tcp = d->tcp_bytes;
	if (link < 14 || link > LINK_MAX || tcp < sizeof(struct tcphdr) || tcp > sizeof(struct tcphdr) + TCP_OPTIONS_MAX)
		return false;
	total = link + ip + tcp;
	total = total < SYN_FRAME_LEAST ? SYN_FRAME_LEAST : total;
	return !bpf_xdp_adjust_tail(ctx, (int)total - (int)bpf_xdp_get_buff_len(ctx)) &&
	       !bpf_xdp_store_bytes(ctx, 0, (void *)d->link, link) &&
	       !bpf_xdp_store_bytes(ctx, link, (void *)&a->ip4, ip) &&
	       !bpf_xdp_store_bytes(ctx, link + ip, (void *)a->body.bytes, tcp);
}

/*
 * Where the answer goes, by what the interface can: back at once; to the interface as if redirected there, which
 * serves a veth whose other end takes XDP frames (XDP_TX there, on 6.18, leaves them lying unless the other end has
 * a program); otherwise by TC, where it is made once more. With a frame of its own.
 */
static __noinline int syn_send_xdp(struct xdp_md *ctx, const struct pkt *pkt)
{
	if (!(pkt->interface_flags & (SLUICE_IF_BACK | SLUICE_IF_BOUNCE)))
		return answer_later(ctx, ANSWER_SYN);
	if (!syn_put_xdp(ctx, pkt))
		return XDP_DROP;
	return pkt->interface_flags & SLUICE_IF_BACK ? XDP_TX : (int)bpf_redirect(ctx->ingress_ifindex, 0);
}

/* At TC ingress, of a SYN whose answer is in the drafts. */
static __noinline int syn_send_skb(struct __sk_buff *ctx, const struct pkt *pkt)
{
	struct syn_draft *d = syn_draft();
	struct answer *a = syn_answer_draft();
	__u32 tcp;

	if (!a || !d)
		return TC_ACT_SHOT;
	tcp = d->tcp_bytes;
	if (tcp < sizeof(struct tcphdr) || tcp > sizeof(struct tcphdr) + TCP_OPTIONS_MAX ||
	    answer_make_room(ctx, pkt, tcp) || answer_store(ctx, pkt, a, tcp))
		return TC_ACT_SHOT;
	return bpf_redirect(ctx->ifindex, 0);
}

/* Behind sluice_xdp, of a SYN that it has marked: the listener is asked again, as only the mark came along. */
__noinline int syn_answer_marked(struct __sk_buff *ctx, struct pkt *pkt)
{
	if (!pkt || !syn_answer(ctx, SLUICE_HOOK_TC_INGRESS, pkt))
		return TC_ACT_SHOT;
	return syn_send_skb(ctx, pkt);
}

#endif
