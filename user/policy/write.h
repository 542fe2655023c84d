/* SPDX-License-Identifier: Apache-2.0 */
/* What policy_write() puts its text together from. Errors stay in the stream. Internal to user/policy. */
#ifndef SLUICE_POLICY_WRITE_H
#define SLUICE_POLICY_WRITE_H

#include "policy/model.h"

/* A scalar, in double quotes if it needs them. `text` is valid UTF-8. */
void scalar_write(FILE *out, const char *text);

/* One part as policy_write() writes it. */
enum policy_part {
	POLICY_PART_INTERFACE, /* i of each kind; of segments and services with a name */
	POLICY_PART_SEGMENT,
	POLICY_PART_SERVICE,
	POLICY_PART_RULE,
	POLICY_PART_FAILSAFE, /* empty: as by default; likewise conntrack and storage */
	POLICY_PART_CONNTRACK,
	POLICY_PART_STORAGE,
};
/* *ret_text is the caller's. -ENOMEM. */
int policy_part_text(const struct policy *p, enum policy_part part, size_t i, char **ret_text);

struct write_unit {
	const char *name;
	uint64_t factor;
};

/* A number in the largest unit that it is a whole multiple of; units descend and end with one of factor 1. */
void scaled_write(FILE *out, const struct write_unit *units, uint64_t number);
void duration_write(FILE *out, const char *before, uint64_t ns, const char *after);

/* A flow list or mapping that wraps; `indent` is that of the lines it goes on in. */
struct list {
	FILE *out;
	size_t column;
	size_t count;
	size_t indent;
	const char *end; /* what closes it */
};

/* `head` begins the line; brackets: "[]", "{}", or "" around a single thing. */
void list_begin(struct list *l, FILE *out, size_t indent, const char *head, const char *brackets);
void list_add(struct list *l, const char *text);
void list_add_scalar(struct list *l, const char *text);
void list_add_prefixes(struct list *l, const struct policy_prefix *prefixes, size_t count);
/* "number", or "number: name". */
void list_add_number(struct list *l, unsigned int number, const char *name);
void list_end(struct list *l);

/* write_ana.c: `ana:` of a subsystem, if it has it; `referrals:`, if there are any. */
void ana_write(FILE *out, const struct policy_subsystem *s);
void referrals_write(FILE *out, const struct policy_storage *s);

/* write_hosts.c: `hosts:` of a subsystem that does not take any. */
void hosts_write(FILE *out, const struct policy_subsystem *s);

/* write_limits.c: `limits:` of storage. */
void limits_write(FILE *out, const struct policy *p);

#endif
