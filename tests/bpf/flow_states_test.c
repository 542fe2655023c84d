// SPDX-License-Identifier: Apache-2.0
/*
 * Every transition of a flow's state, in both families and with either end first in the key: a script of packets, what the
 * last of them gets, and which state that leaves. States are told apart by their timeouts, which all differ here: one
 * nanosecond before its end a flow is there, and at its end it is not. The flow model is asked the same (model_replay.h).
 *
 * A script is a row of packets, ">" from the client and "<" from the server, before it TCP flags (S A F R P U), behind
 * it, if it matters, sequence and acknowledgment number: "S>0 SA<100,1 A>1,101".
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "judge.h"
#include "model_replay.h"

struct ends {
	const char *family, *client, *server;
};

static const struct ends ends[] = {
	{"ipv4", "10.1.0.1", "10.2.0.1"},
	{"ipv4, server below", "10.3.0.1", "10.2.0.1"},
	{"ipv6", "fd01::1", "fd02::1"},
	{"ipv6, server below", "fd03::1", "fd02::1"},
};

#define GONE MODEL_TIMEOUTS

struct script {
	const char *name, *packets;
	enum sluice_reason last; /* of all others: pass */
	enum model_timeout state;
};

/* Servers take everything from anybody but servers; nobody else takes anything. */
static const struct model_policy policy = {
	.rules = {{.service = "any", .from = ZONE_SERVERS, .to = MODEL_ANY, .low = MODEL_ANY, .action = SLUICE_ACTION_DENY},
		  {.service = "any",
		   .from = MODEL_ANY,
		   .to = ZONE_SERVERS,
		   .low = MODEL_ANY,
		   .action = SLUICE_ACTION_ALLOW,
		   .stateful = true}},
	.n_rules = 2,
	.antispoof = MODEL_ANY,
	.max_flows = 4096,
	.timeout_ns = {[MODEL_OPENING] = 30 * NSEC_PER_SEC,
		       [MODEL_OTHER] = 30 * NSEC_PER_SEC,
		       [MODEL_ESTABLISHED] = 3000 * NSEC_PER_SEC,
		       [MODEL_CLOSING] = 10 * NSEC_PER_SEC,
		       [MODEL_UDP] = 20 * NSEC_PER_SEC,
		       [MODEL_STREAM] = 180 * NSEC_PER_SEC,
		       [MODEL_ICMP] = 9 * NSEC_PER_SEC},
};

#define OPEN	"S>0 SA<100,1 A>1,101 "
#define ON	SLUICE_R_PASS_FLOW
#define NEW	SLUICE_R_PASS_RULE
#define STRAY	SLUICE_R_TCP_NO_FLOW
#define DENIED	SLUICE_R_DENY_RULE
#define ASTRAY	SLUICE_R_TCP_RST
#define OPENING MODEL_OPENING
#define UP	MODEL_ESTABLISHED
#define CLOSED	MODEL_CLOSING

static const struct script tcp[] = {
	{"none: ACK", "A>", STRAY, GONE},
	{"none: SYN+ACK", "SA>", STRAY, GONE},
	{"none: FIN+ACK", "FA>", STRAY, GONE},
	{"none: RST", "R>", STRAY, GONE},
	{"none: Xmas", "FPU>", STRAY, GONE},
	{"none: the server's SYN", "S<", DENIED, GONE},
	{"none: the server's ACK", "A<", DENIED, GONE},
	{"SYN", "S>", NEW, OPENING},
	{"SYN again", "S> S>", ON, OPENING},
	{"SYN, answered", "S> SA<", ON, OPENING},
	{"SYN, answered twice", "S> SA< SA<", ON, OPENING},
	{"SYN, ACK before the answer", "S> A>", ON, OPENING},
	{"SYN, only data behind it", "S> PA> PA>", ON, OPENING},
	{"handshake", OPEN, ON, UP},
	{"handshake whose answer went elsewhere", "S> A> A<", ON, UP},
	{"simultaneous open: both SYNs", "S> S<", ON, OPENING},
	{"simultaneous open: one SYN+ACK", "S> S< SA>", ON, OPENING},
	{"simultaneous open: both", "S> S< SA> SA<", ON, UP},
	{"data", OPEN "PA> A< PA< A>", ON, UP},
	{"urgent data", OPEN "PUA>", ON, UP},
	{"SYN within a connection", OPEN "S>", ON, UP},
	{"the server's SYN within a connection", OPEN "S<", ON, UP},
	{"half-closed by the client", OPEN "FA>", ON, UP},
	{"half-closed by the client, data back", OPEN "FA> A< PA< A>", ON, UP},
	{"half-closed by the server", OPEN "FA<", ON, UP},
	{"half-closed by the server, data there", OPEN "FA< A> PA> A<", ON, UP},
	{"FIN without ACK ends nothing", OPEN "F> F<", ON, UP},
	{"closed, client first", OPEN "FA> FA<", ON, CLOSED},
	{"closed, server first", OPEN "FA< A> FA> A<", ON, CLOSED},
	{"closed, and data all the same", OPEN "FA> FA< PA>", ON, CLOSED},
	{"closed before it was open", "S> FA> FA<", ON, CLOSED},
	{"half-closed before it was open", "S> FA>", ON, OPENING},
	{"refused", "S>0 RA<0,1", ON, CLOSED},
	{"given up", "S>0 R>1", ON, CLOSED},
	{"reset by the server, next byte", OPEN "R<101", ON, CLOSED},
	{"reset by the client, next byte", OPEN "RA>1,101", ON, CLOSED},
	{"reset by the client, last of the largest window", OPEN "R>1073741825", ON, CLOSED},
	{"reset by the client, beyond it", OPEN "R>1073741826", ASTRAY, UP},
	{"reset by the server, beyond it", OPEN "R<1073741926", ASTRAY, UP},
	{"reset by the server, a byte that was acknowledged", OPEN "R<100", ASTRAY, UP},
	{"reset by the client, far behind", OPEN "RA>4000000000,101", ASTRAY, UP},
	{"reset across the end of numbers", "S>4294967290 SA<100,4294967291 A>4294967291,101 A<101,4294967295 R>3", ON, CLOSED},
	{"acknowledgments do not go back", OPEN "A<101,1000 A<101,500 R>999", ASTRAY, UP},
	{"reset while half-closed", OPEN "FA> RA<101", ON, CLOSED},
	{"reset and data all the same", OPEN "R<101 PA>", ON, CLOSED},
	{"SYN+RST is no segment", OPEN "SR>", SLUICE_R_TCP_FLAGS, UP},
	{"ports used anew after both FINs", OPEN "FA> FA< S>", NEW, OPENING},
	{"ports used anew, and open", OPEN "FA> FA< " OPEN, ON, UP},
	{"ports used anew after the client's FIN", OPEN "FA> S>", NEW, OPENING},
	{"ports used anew by the client after the server's FIN", OPEN "FA< S>", NEW, OPENING},
	{"ports used anew after RST", OPEN "R<101 S>", NEW, OPENING},
	{"the server's SYN after the client's FIN", OPEN "FA> S<", ON, UP},
	{"the server's SYN after its own FIN", OPEN "FA< S<", ON, UP},
	{"the server's SYN after both FINs", OPEN "FA> FA< S<", DENIED, GONE},
	{"the server's SYN after RST", OPEN "R<101 S<", DENIED, GONE},
	{"SYN+ACK opens nothing anew", OPEN "FA> FA< SA>", ON, CLOSED},
};

static const struct script udp[] = {
	{"answer before the question", "<", DENIED, GONE},
	{"question", ">", NEW, MODEL_UDP},
	{"questions", "> > >", ON, MODEL_UDP},
	{"answer", "> <", ON, MODEL_STREAM},
	{"answered, and on", "> < > >", ON, MODEL_STREAM},
};

static const struct script sctp[] = {
	{"the server's", "<", DENIED, GONE},
	{"first packet", ">", NEW, MODEL_OTHER},
	{"answered", "> <", ON, MODEL_STREAM},
};

/* "<" is a reply, "S<" a request of the server. */
static const struct script echo[] = {
	{"reply before the request", "<", DENIED, GONE},
	{"request", ">", NEW, MODEL_ICMP},
	{"reply", "> <", ON, MODEL_ICMP},
	{"another request", "> < >", ON, MODEL_ICMP},
	{"the server's own request is another flow", "> S<", DENIED, MODEL_ICMP},
};

static const struct script gre[] = {
	{"the server's", "<", DENIED, GONE},
	{"first packet", ">", NEW, MODEL_OTHER},
	{"answered", "> <", ON, MODEL_OTHER},
};

/* Within the time of pickup. */
static const struct script pickup[] = {
	{"pickup: client's ACK", "A>", NEW, UP},
	{"pickup: server's ACK", "A<", NEW, UP},
	{"pickup: data both ways", "PA< A> PA>", ON, UP},
	{"pickup: client's FIN", "FA>", NEW, UP},
	{"pickup: FIN of both", "FA> FA<", ON, CLOSED},
	{"pickup: reset", "A> R<77", ON, CLOSED},
	{"pickup: RST alone", "R>", STRAY, GONE},
	{"pickup: RST+ACK alone", "RA>", STRAY, GONE},
	{"pickup: SYN+ACK alone", "SA>", STRAY, GONE},
	{"pickup: FIN scan", "F>", STRAY, GONE},
	{"pickup: Xmas scan", "FPU>", STRAY, GONE},
	{"pickup: SYN is no stray", "S>", NEW, OPENING},
};

/* -------------------------------------------------------------------- reading scripts */

struct token {
	uint16_t flags;
	bool back;
	uint32_t seq, ack;
};

/* The next packet of a script; NULL: there is none. */
static const char *token_read(const char *text, struct token *ret)
{
	static const char letters[] = "FSRPAU"; /* in the order of their bits */
	char *end;

	*ret = (struct token){};
	while (*text == ' ')
		text++;
	if (!*text)
		return NULL;
	for (; strchr(letters, *text); text++)
		ret->flags |= (uint16_t)(1u << (strchr(letters, *text) - letters));
	if (*text != '<' && *text != '>')
		abort();
	ret->back = *text++ == '<';
	if (!isdigit((unsigned char)*text))
		return text;
	ret->seq = (uint32_t)strtoull(text, &end, 10);
	if (*end == ',')
		ret->ack = (uint32_t)strtoull(end + 1, &end, 10);
	return end;
}

static void token_build(const struct ends *e, uint8_t protocol, const struct token *t, struct frame *f)
{
	struct packet p = {.from = t->back ? e->server : e->client, .to = t->back ? e->client : e->server};
	uint32_t numbers[2] = {htonl(t->seq), htonl(t->ack)};
	uint16_t ports[2] = {htons(t->back ? 80 : 1000), htons(t->back ? 1000 : 80)};
	bool v6 = strchr(e->client, ':');

	if (protocol == IPPROTO_ICMP) {
		p.icmp = t->back && !t->flags ? ICMP(v6 ? 129 : 0, 0) : ICMP(v6 ? 128 : 8, 0);
		p.icmp_id = 77;
	} else {
		p.protocol = protocol;
		p.payload = protocol == IPPROTO_TCP || protocol == IPPROTO_UDP ? 0 : 12;
		p.tcp = t->flags;
		p.dport = 1;
	}
	packet_build(f, &p);
	if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP)
		memcpy(f->byte + f->l4, ports, sizeof(ports));
	if (protocol == IPPROTO_TCP)
		memcpy(f->byte + f->l4 + 4, numbers, sizeof(numbers));
}

/* ------------------------------------------------------------------------ running them */

/* Runs a script; false and a "not ok" line where it goes wrong. */
static bool script_play(struct model_replay *r, const char *name, const struct ends *e, uint8_t protocol,
			const struct script *s)
{
	const char *at = s->packets, *next, *why;
	enum sluice_reason reason;
	static struct frame f;
	struct token t;

	model_replay_forget(r);
	for (at = token_read(at, &t); at; at = next) {
		token_build(e, protocol, &t, &f);
		why = model_replay_frame(r, 0, f.byte, f.length); /* all at once: dropped ones do not count */
		if (why) {
			judge_check(name, false, "before \"%s\": %s", at, why);
			return false;
		}
		next = token_read(at, &t);
		reason = r->got_reason;
		if (next ? r->got_verdict != SLUICE_PASS : reason != s->last) {
			judge_check(name, false, "before \"%s\": %s", at, judge_reason(reason));
			return false;
		}
	}
	return true;
}

/* Whether a packet of the flow, so long after the last, finds it. */
static bool flow_is_there(struct model_replay *r, const struct ends *e, uint8_t protocol, uint64_t after_ns)
{
	struct token t = {.back = true, .flags = protocol == IPPROTO_TCP ? TCP_F_ACK : 0};
	static struct frame f;
	const char *why;

	token_build(e, protocol, &t, &f);
	why = model_replay_frame(r, after_ns, f.byte, f.length);
	return !why && r->got_reason == SLUICE_R_PASS_FLOW;
}

static void script_run(struct model_replay *r, const struct ends *e, uint8_t protocol, const struct script *s)
{
	uint64_t timeout = s->state == GONE ? 0 : policy.timeout_ns[s->state];
	char name[200];
	bool before, at;

	snprintf(name, sizeof(name), "%s: %s%s", e->family,
		 protocol == IPPROTO_UDP    ? "udp: "
		 : protocol == IPPROTO_SCTP ? "sctp: "
		 : protocol == IPPROTO_ICMP ? "echo: "
		 : protocol == IPPROTO_GRE  ? "gre: "
					    : "tcp: ",
		 s->name);
	if (!script_play(r, name, e, protocol, s))
		return;
	if (s->state == GONE) {
		const char *why = model_replay_count(r);

		judge_check(name, !why && !r->host.n_flows, "%zu flows are left%s", r->host.n_flows, why ? why : "");
		return;
	}
	before = flow_is_there(r, e, protocol, timeout - 1);
	if (!script_play(r, name, e, protocol, s))
		return;
	at = flow_is_there(r, e, protocol, timeout);
	judge_check(name, before && !at, "%s a nanosecond before its end, %s at its end", before ? "there" : "not there",
		    at ? "there" : "not there");
}

#define RUN(protocol, scripts)                                                                                         \
	for (size_t k = 0; k < ARRAY_SIZE(scripts); k++)                                                               \
	script_run(&r, &ends[i], protocol, &scripts[k])

int main(void)
{
	struct model_replay r = {.policy = policy};

	judge_name("states");
	model_replay_open(&r);
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		RUN(IPPROTO_TCP, tcp);
		RUN(IPPROTO_UDP, udp);
		RUN(IPPROTO_SCTP, sctp);
		RUN(IPPROTO_ICMP, echo);
		RUN(IPPROTO_GRE, gre);
	}
	model_replay_close(&r);
	r = (struct model_replay){.policy = policy};
	r.policy.pickup_ns = 11 * 86400 * NSEC_PER_SEC;
	model_replay_open(&r);
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		RUN(IPPROTO_TCP, pickup);
	model_replay_close(&r);
	return judge_failed();
}
