// SPDX-License-Identifier: Apache-2.0
/* `limits:` of storage as write.c writes it: what yaml_limits.c reads back. */
#include "base/util.h"
#include "policy/write.h"

static const struct write_unit count_units[] = {{"G", 1000000000}, {"M", 1000000}, {"k", 1000}, {"", 1}};
static const struct write_unit size_units[] = {
	{"TiB", 1ull << 40}, {"GiB", 1ull << 30}, {"MiB", 1ull << 20}, {"KiB", 1ull << 10}, {"", 1}};

static void from_write(FILE *out, const struct policy *p, const struct policy_side *from)
{
	const struct policy_segment *s;
	struct list l;
	size_t i;

	list_begin(&l, out, 8, "      from: ", "[]");
	for (i = 0; i < from->n_segments; i++) {
		s = &p->segments[from->segments[i]];
		if (s->name)
			list_add(&l, s->name);
		else
			list_add_prefixes(&l, s->include, s->n_include);
	}
	list_end(&l);
}

static void limit_write(FILE *out, const struct policy *p, const struct policy_storage_limit *limit)
{
	struct list l;
	size_t i;

	fprintf(out, "    - name: %s\n", limit->name);
	if (limit->from)
		from_write(out, p, limit->from);
	if (!limit->any_host) {
		list_begin(&l, out, 8, "      hosts: ", "[]");
		for (i = 0; i < limit->n_hosts; i++)
			list_add_scalar(&l, limit->hosts[i]);
		list_end(&l);
	}
	if (limit->subsystem) {
		fputs("      subsystem: ", out);
		scalar_write(out, limit->subsystem);
		fputs("\n", out);
	}
	if (limit->nsid)
		fprintf(out, "      namespace: %u\n", limit->nsid);
	if (limit->iops) {
		fputs("      iops: ", out);
		scaled_write(out, count_units, limit->iops);
		fputs("\n", out);
	}
	if (limit->bandwidth) {
		fputs("      bandwidth: ", out);
		scaled_write(out, size_units, limit->bandwidth);
		fputs("/s\n", out);
	}
}

void limits_write(FILE *out, const struct policy *p)
{
	size_t i;

	if (p->storage.n_limits)
		fputs("  limits:\n", out);
	for (i = 0; i < p->storage.n_limits; i++)
		limit_write(out, p, &p->storage.limits[i]);
}
