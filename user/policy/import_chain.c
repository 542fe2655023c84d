// SPDX-License-Identifier: Apache-2.0
/*
 * Chains of iptables and nftables → one list of rules in which the first match decides. Jumps are inlined with the
 * conditions of the jump and of the rule put together. What an allow would need to stay as narrow as it was, and cannot
 * have, is left out with it: a packet that a conditional RETURN took out of a chain must not meet an allow behind it.
 */
#include <errno.h>
#include <fnmatch.h>
#include <string.h>

#include "base/util.h"
#include "policy/import_internal.h"

#define DEPTH_MAX 16

/* One base chain's way through the chains. */
struct walk {
	struct import *im;
	enum import_verdict policy;
	bool dry;	  /* only to find out whether it is stateful */
	bool stateful;	  /* whatever belongs to a connection passes, here or later on the way */
	bool decided;	  /* the entry just flattened gave its packets a verdict */
	bool established; /* that was seen */
	unsigned int stateless_rules;
	unsigned int denies_before; /* of that */
	unsigned int depth;
	const struct import_match *context; /* what the base chain judges */
};

static bool flatten(struct walk *w, struct import_chain *chain, const struct import_match *context,
		    unsigned int returned);

/* --------------------------------------------------------------------- interfaces */

const char import_why_interface[] = "holds on one interface only; import it for that one with --interface NAME, or "
				    "write it into a policy of its own";

enum import_holds import_interface_holds(const struct import *im, const char *name, bool negated)
{
	size_t i, n = im->options->n_interfaces, fits = 0;
	char glob[64];

	snprintf(glob, sizeof(glob), "%s", name);
	if (*glob && glob[strlen(glob) - 1] == '+')
		glob[strlen(glob) - 1] = '*';
	if (!strcmp(name, "lo")) /* never judged: sluice stands on no loopback */
		return negated ? IMPORT_HOLDS : IMPORT_HOLDS_NOT;
	for (i = 0; i < n; i++) {
		if (strpbrk(im->options->interfaces[i], "*?["))
			return IMPORT_HOLDS_SOMEWHERE;
		fits += !fnmatch(glob, im->options->interfaces[i], 0);
	}
	if (!n || (fits && fits < n))
		return IMPORT_HOLDS_SOMEWHERE;
	return (fits == n) != negated ? IMPORT_HOLDS : IMPORT_HOLDS_NOT;
}

/* ------------------------------------------------------------------------ entries */

static void entry_drop(struct walk *w, struct import_entry *e, const char *why, bool widens)
{
	const struct import *im = w->im;

	if (w->dry)
		return;
	/* Entries of one rule share its text: it is named once. */
	if (!e->named && (!im->n_dropped || im->dropped[im->n_dropped - 1].text != e->text))
		import_drop(w->im, e->line, e->text, why, widens);
	e->named = true;
}

static bool verdict_narrows(enum import_verdict v)
{
	return v != IMPORT_VERDICT_ACCEPT && v != IMPORT_VERDICT_LOG && v != IMPORT_VERDICT_NONE;
}

static const char *rule_name(struct import *im, const struct import_chain *chain, const struct import_entry *e)
{
	return e->name ?: import_print(im, "%s-%zu", chain->name, (size_t)(e - chain->entries) + 1);
}

static void emit(struct walk *w, struct import_chain *chain, struct import_entry *e, enum import_verdict verdict,
		 const struct import_match *m, bool log)
{
	static const enum sluice_action actions[] = {
		[IMPORT_VERDICT_ACCEPT] = SLUICE_ACTION_ALLOW,
		[IMPORT_VERDICT_DROP] = SLUICE_ACTION_DENY,
		[IMPORT_VERDICT_REJECT] = SLUICE_ACTION_REJECT,
	};
	struct import_rule *rule;

	if (w->dry)
		return;
	if (!w->stateful && (e->syn || !(m->states & IMPORT_ESTABLISHED))) {
		entry_drop(w, e,
			   "judges the first packet of a connection only, and no rule accepts established ones; write "
			   "what "
			   "is meant by hand",
			   verdict != IMPORT_VERDICT_ACCEPT);
		return;
	}
	rule = import_rule_add(w->im, m, actions[verdict], rule_name(w->im, chain, e), e->line);
	if (!rule)
		return;
	rule->stateless = verdict == IMPORT_VERDICT_ACCEPT && !w->stateful;
	w->stateless_rules += rule->stateless;
	rule->log = log || e->log;
	rule->log_every = e->log_every;
	if (verdict != IMPORT_VERDICT_ACCEPT && !w->established)
		w->denies_before++;
}

/* All that the base chain judges, whatever the state. */
static bool covers_all(const struct walk *w, const struct import_match *m)
{
	struct import_match all = *m;

	all.states = w->context->states;
	all.families = w->context->families;
	return import_match_equal(&all, w->context);
}

/* A verdict on packets that belong to a connection: sluice gives its own, or the entry has no equal. */
static void judge_states(struct walk *w, struct import_entry *e, const struct import_match *m)
{
	unsigned int live = IMPORT_ESTABLISHED | IMPORT_RELATED;

	if (e->verdict == IMPORT_VERDICT_ACCEPT && !(m->states & ~(live | IMPORT_UNTRACKED)) && covers_all(w, m)) {
		w->established |= m->states & IMPORT_ESTABLISHED;
	} else if (e->verdict == IMPORT_VERDICT_ACCEPT && (m->states & IMPORT_INVALID)) {
		entry_drop(w, e, "accepts invalid packets, which sluice always drops; nothing to do", false);
	} else if (e->verdict == IMPORT_VERDICT_ACCEPT) {
		entry_drop(w, e,
			   "accepts some packets of live connections; sluice passes all of a connection that a rule "
			   "allowed, "
			   "and judges its first packet only: allow that one",
			   false);
	} else if (m->states & live) {
		entry_drop(w, e, "denies packets of live connections; deny the connection's first packet instead",
			   true);
	}
}

static bool is_last(const struct import_chain *chain, const struct import_entry *e)
{
	return e + 1 == chain->entries + chain->n_entries;
}

/* A LOG goes into the rule behind it if that has the same conditions; else it becomes a rule that only counts. */
static bool log_joins(const struct import_chain *chain, struct import_entry *e)
{
	struct import_entry *next = e + 1;

	if (is_last(chain, e) || next->why || next->elsewhere || next->built_in ||
	    (next->verdict != IMPORT_VERDICT_ACCEPT && next->verdict != IMPORT_VERDICT_DROP &&
	     next->verdict != IMPORT_VERDICT_REJECT) ||
	    !import_match_equal(&e->match, &next->match))
		return false;
	next->log = true;
	next->log_every = e->log_every;
	return true;
}

static void log_emit(struct walk *w, struct import_chain *chain, struct import_entry *e, const struct import_match *m)
{
	struct import_rule *rule;

	if (w->dry || log_joins(chain, e))
		return;
	rule = import_rule_add(w->im, m, SLUICE_ACTION_DENY, rule_name(w->im, chain, e), e->line);
	if (!rule)
		return;
	rule->audit = rule->log = true;
	rule->log_every = e->log_every;
}

/* -------------------------------------------------------------------------- chains */

static struct import_chain *chain_find(struct import *im, const char *scope, const char *name)
{
	size_t i;

	for (i = 0; i < im->n_chains; i++)
		if (!strcmp(im->chains[i].scope, scope) && !strcmp(im->chains[i].name, name))
			return &im->chains[i];
	return NULL;
}

/* Whether no packet comes back from there. */
static bool jump(struct walk *w, struct import_chain *chain, struct import_entry *e, const struct import_match *m,
		 unsigned int returned)
{
	struct import_chain *target = chain_find(w->im, chain->scope, e->target ?: "");
	bool decides = false;

	if (!target) {
		entry_drop(w, e, "leads to a chain that is not here; import the whole ruleset", true);
	} else if (target->on_path || w->depth == DEPTH_MAX) {
		entry_drop(w, e, "leads into a loop, or deeper than 16 chains; straighten the chains", true);
	} else {
		w->depth++;
		decides = flatten(w, target, m, returned);
		w->depth--;
	}
	return decides;
}

static const char why_returned[] =
	"stands behind a rule that takes packets out of this chain and that a list of rules cannot carry; without that "
	"rule this one would allow more than it did: write it by hand";

/* Packets leave the chain undecided: a base chain's policy is theirs, and of another chain they return to the caller.
 */
static void leave(struct walk *w, struct import_chain *chain, struct import_entry *e, const struct import_match *m,
		  bool whole, unsigned int *returned)
{
	if (!(m->states & IMPORT_NEW))
		return;
	if (!w->depth) {
		emit(w, chain, e, w->policy, m, false);
	} else if (!whole) {
		entry_drop(w, e,
			   "takes some packets out of a chain, which a list of rules cannot say; write what follows it "
			   "by hand",
			   false);
		*returned = e->line ?: 1;
	}
}

/*
 * One entry under the conditions of the jumps to it. *returned is the line of an entry that took packets out of the
 * chain, 0 if none did. Returns whether the chain ends here; w->decided says whether with a verdict.
 */
static bool entry_flatten(struct walk *w, struct import_chain *chain, struct import_entry *e,
			  const struct import_match *context, unsigned int *returned)
{
	bool whole = import_match_is_any(&e->match) && e->match.states == IMPORT_STATES &&
		     !(context->families & ~e->match.families);
	struct import_match m;
	bool decides;

	w->decided = false;
	e->visited = true;
	if (e->built_in || e->elsewhere)
		return false;
	if (e->why) {
		entry_drop(w, e, e->why, verdict_narrows(e->verdict));
		if (e->verdict == IMPORT_VERDICT_RETURN || e->verdict == IMPORT_VERDICT_GOTO)
			*returned = e->line ?: 1;
		return false;
	}
	if (!import_match_both(w->im, context, &e->match, &m))
		return false;
	switch (e->verdict) {
	case IMPORT_VERDICT_NONE:
		return false;
	case IMPORT_VERDICT_LOG:
		if (m.states & IMPORT_NEW)
			log_emit(w, chain, e, &m);
		return false;
	case IMPORT_VERDICT_RETURN:
		leave(w, chain, e, &m, whole, returned);
		return whole;
	case IMPORT_VERDICT_JUMP:
		w->decided = jump(w, chain, e, &m, *returned);
		return whole && w->decided;
	case IMPORT_VERDICT_GOTO:
		decides = jump(w, chain, e, &m, *returned);
		if (!decides)
			leave(w, chain, e, &m, whole, returned);
		w->decided = decides;
		return whole;
	default:
		break;
	}
	if (e->verdict == IMPORT_VERDICT_ACCEPT && *returned)
		entry_drop(w, e, why_returned, false);
	else if (!(m.states & IMPORT_NEW))
		judge_states(w, e, &m);
	else
		emit(w, chain, e, e->verdict, &m, false);
	w->decided = true;
	return whole;
}

/* Whether every packet got a verdict in the chain, and none returned. */
static bool flatten(struct walk *w, struct import_chain *chain, const struct import_match *context,
		    unsigned int returned)
{
	unsigned int before = returned;
	bool ended = false, decides = false;
	size_t i;

	chain->on_path = true;
	for (i = 0; i < chain->n_entries && !w->im->failed; i++) {
		if (ended) {
			chain->entries[i].visited = true; /* never reached there either */
		} else {
			ended = entry_flatten(w, chain, &chain->entries[i], context, &returned);
			decides = ended && w->decided && returned == before;
		}
	}
	chain->on_path = false;
	return decides;
}

/* ---------------------------------------------------------------------- base chains */

static void base_flatten(struct import *im, struct import_chain *chain, const struct import_match *context)
{
	struct walk w = {.im = im, .policy = chain->policy, .context = context};
	w.dry = true;
	flatten(&w, chain, context, 0);
	w = (struct walk){.im = im, .policy = chain->policy, .context = context, .stateful = w.established};
	flatten(&w, chain, context, 0);
	if (w.stateless_rules)
		import_note(im, import_print(im,
					     "chain %s does not accept established connections, so its rules are "
					     "`stateful: false` and answers need rules of their own, as there",
					     chain->name));
	else if (w.stateful && w.denies_before)
		import_note(im, import_print(
					im,
					"in chain %s, %u rules that deny stand before the one that accepts established "
					"connections: there they also cut live connections, here they judge the "
					"first packet of new ones",
					chain->name, w.denies_before));
}

/* The policy of a chain, for all that its rules left over. A set of one family says nothing about the other. */
static void rest_emit(struct import *im, const struct import_chain *chain, const struct import_match *context)
{
	struct import_match m;
	const struct import_match family = import_match_any(chain->families);

	if (import_match_both(im, context, &family, &m))
		import_rule_add(im, &m, chain->policy == IMPORT_VERDICT_DROP ? SLUICE_ACTION_DENY : SLUICE_ACTION_ALLOW,
				import_print(im, "%s-policy", chain->name), 0);
}

static void family_note(struct import *im, const struct import_chain *chain)
{
	import_note(
		im,
		import_print(im,
			     "chain %s lets IPv%c through that no rule decides; so does the last rule. It says nothing "
			     "about IPv%c, which is denied: import that ruleset too",
			     chain->name, chain->families == IMPORT_IPV4 ? '4' : '6',
			     chain->families == IMPORT_IPV4 ? '6' : '4'));
}

/* --------------------------------------------------------------- which chains, for what */

enum { BASES_MAX = 8 };

struct bases {
	struct import_chain *items[BASES_MAX];
	size_t count;
};

static bool is_base(const struct import *im, const struct import_chain *c)
{
	if (im->options->chain)
		return !strcmp(c->name, im->options->chain) && c->hook != IMPORT_HOOK_NONE;
	if (c->hook == IMPORT_HOOK_OUTPUT)
		return im->options->n_addresses;
	return c->hook == IMPORT_HOOK_INPUT || c->hook == IMPORT_HOOK_FORWARD || c->hook == IMPORT_HOOK_INGRESS;
}

/* The base chains that are asked for. With addresses all of them count, for their policies; else those with rules. */
static void bases_find(struct import *im, struct bases *b)
{
	size_t i;

	for (i = 0; i < im->n_chains; i++)
		if (is_base(im, &im->chains[i]) && (im->chains[i].n_entries || im->options->n_addresses) &&
		    b->count < BASES_MAX)
			b->items[b->count++] = &im->chains[i];
}

/* Two chains that judge the same packets in one another's stead cannot be told apart. */
static const struct import_chain *bases_clash(struct import *im, const struct bases *b,
					      const struct import_chain **ret_other)
{
	const struct import_chain *x, *y;
	size_t i, k;

	for (i = 0; i < b->count; i++) {
		for (k = 0; k < i; k++) {
			x = b->items[k];
			y = b->items[i];
			*ret_other = y;
			if (x->hook == y->hook ? (x->families & y->families) != 0
					       : !im->options->n_addresses || x->hook == IMPORT_HOOK_INGRESS ||
							 y->hook == IMPORT_HOOK_INGRESS)
				return x;
		}
	}
	return NULL;
}

/* Those of one hook, one after the other: they are of different families. */
static void hook_flatten(struct import *im, const struct bases *b, enum import_hook hook,
			 const struct import_match *context, bool rest)
{
	size_t i;

	for (i = 0; i < b->count; i++) {
		if (b->items[i]->hook != hook)
			continue;
		base_flatten(im, b->items[i], context);
		if (rest)
			rest_emit(im, b->items[i], context);
	}
}

/* What decides when no rule does: `default`, or for one family alone a last rule. */
static void default_set(struct import *im, const struct bases *b, enum import_hook except[2])
{
	const struct import_match any = import_match_any(IMPORT_BOTH);
	unsigned int accepts = 0;
	size_t i;

	for (i = 0; i < b->count; i++)
		if (b->items[i]->hook != except[0] && b->items[i]->hook != except[1] &&
		    b->items[i]->policy != IMPORT_VERDICT_DROP)
			accepts |= b->items[i]->families;
	im->default_allow = accepts == IMPORT_BOTH;
	for (i = 0; i < b->count && !im->default_allow; i++) {
		if (b->items[i]->hook == except[0] || b->items[i]->hook == except[1] ||
		    b->items[i]->policy == IMPORT_VERDICT_DROP)
			continue;
		rest_emit(im, b->items[i], &any);
		family_note(im, b->items[i]);
	}
}

static bool addresses_read(struct import *im, struct policy_prefix **list, size_t *count)
{
	struct policy_prefix p, *slot;
	size_t i;

	for (i = 0; i < im->options->n_addresses; i++) {
		if (!import_prefix_read(im->options->addresses[i], &p)) {
			import_fail(im, EINVAL, "--address %s is no address; write it as in 192.0.2.1",
				    im->options->addresses[i]);
			return false;
		}
		slot = import_add(im, list, count, sizeof(*slot));
		if (slot)
			*slot = p;
	}
	return true;
}

/* OUTPUT for what comes from this host, INPUT for what goes to it, FORWARD for the rest. */
static void host_flatten(struct import *im, const struct bases *b)
{
	const struct import_match any = import_match_any(IMPORT_BOTH);
	struct import_match from = any, to = any;
	struct policy_prefix *addresses = NULL;
	size_t n = 0;

	if (!addresses_read(im, &addresses, &n) ||
	    !import_match_side(im, &from, IMPORT_FROM, addresses, n, false, "this-host") ||
	    !import_match_side(im, &to, IMPORT_TO, addresses, n, false, "this-host"))
		return;
	hook_flatten(im, b, IMPORT_HOOK_OUTPUT, &from, true);
	hook_flatten(im, b, IMPORT_HOOK_INPUT, &to, true);
	hook_flatten(im, b, IMPORT_HOOK_FORWARD, &any, false);
	default_set(im, b, (enum import_hook[]){IMPORT_HOOK_OUTPUT, IMPORT_HOOK_INPUT});
}

/* One hook for every packet. */
static void lone_flatten(struct import *im, const struct bases *b)
{
	const struct import_match any = import_match_any(IMPORT_BOTH);

	hook_flatten(im, b, b->items[0]->hook, &any, false);
	default_set(im, b, (enum import_hook[]){IMPORT_HOOK_NONE, IMPORT_HOOK_NONE});
	if (b->items[0]->hook == IMPORT_HOOK_INPUT)
		import_note(
			im,
			import_print(im,
				     "chain %s is carried for all packets, those that this host sends included; with "
				     "--address A of this host it holds for what the host receives, and the output "
				     "chain for what it sends",
				     b->items[0]->name));
}

static void unvisited_drop(struct import *im)
{
	struct walk w = {.im = im};
	struct import_chain *c;
	size_t i;

	for (c = im->chains; im->n_chains && c < im->chains + im->n_chains; c++)
		for (i = 0; i < c->n_entries; i++)
			if (!c->entries[i].visited)
				entry_drop(
					&w, &c->entries[i],
					import_print(im,
						     "chain %s is not imported, nor does an imported one lead to it; "
						     "choose it with --chain if it judges what arrives",
						     c->name),
					false);
}

void import_flatten(struct import *im)
{
	const struct import_chain *clash, *other = NULL;
	struct bases b = {};

	bases_find(im, &b);
	clash = bases_clash(im, &b, &other);
	if (!b.count)
		import_fail(im, EINVAL,
			    "has no base chain%s%s with rules; those of the input and forward hooks can be imported",
			    im->options->chain ? " " : "", im->options->chain ?: "");
	else if (clash)
		import_fail(
			im, EINVAL,
			"both %s and %s have rules; choose one with --chain, or, for input, output and forward chains, "
			"tell them apart by this host's addresses: --address A",
			clash->name, other->name);
	else if (im->options->n_addresses && !im->options->chain)
		host_flatten(im, &b);
	else
		lone_flatten(im, &b);
	if (!im->failed)
		unvisited_drop(im);
}
