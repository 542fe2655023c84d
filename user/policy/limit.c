// SPDX-License-Identifier: Apache-2.0
/*
 * The limit of a rule: what it is when half of it is not said, in words, and as the kernel counts it (abi.h, struct
 * sluice_limit). Called by the reader, the writer, explain, status and the dataplane. Pure.
 */
#include <stdio.h>

#include "base/util.h"
#include "policy/model.h"

#define TICKS_PER_SEC (NSEC_PER_SEC << SLUICE_LIMIT_TICK_SHIFT)

uint64_t policy_burst_default(const struct policy_limit *limit)
{
	uint64_t least = limit->bits ? 10 * POLICY_BURST_MIN_BITS : 10;

	return max(limit->rate / 10, least);
}

struct policy_limit policy_rule_limit(const struct policy *p, size_t i)
{
	return i < p->n_rules ? p->rules[i].limit : (struct policy_limit){};
}

struct policy_limit policy_limit_of(const struct sluice_rule *rule)
{
	return (struct policy_limit){
		.rate = rule->limit_rate,
		.burst = rule->limit_burst,
		.bits = rule->flags & SLUICE_RULE_LIMIT_BITS,
		.per_source = rule->flags & SLUICE_RULE_LIMIT_SOURCE,
	};
}

/* A count in the largest unit that it is a whole multiple of, as the policy language has it. */
static size_t count_text(uint64_t count, char *buf, size_t size)
{
	static const char units[] = {'\0', 'k', 'M', 'G'};
	size_t unit = 0;

	for (; count && count % 1000 == 0 && unit + 1 < ARRAY_SIZE(units); count /= 1000)
		unit++;
	return (size_t)snprintf(buf, size, "%llu%.1s", (unsigned long long)count, &units[unit]);
}

const char *policy_limit_text(const struct policy_limit *limit, char buf[POLICY_LIMIT_LEN])
{
	size_t n = count_text(limit->rate, buf, POLICY_LIMIT_LEN);

	n += (size_t)snprintf(buf + n, POLICY_LIMIT_LEN - n, " %s, burst ", limit->bits ? "bit/s" : "pps");
	n += count_text(limit->burst, buf + n, POLICY_LIMIT_LEN - n);
	snprintf(buf + n, POLICY_LIMIT_LEN - n, ", per %s", limit->per_source ? "source" : "rule");
	return buf;
}

struct sluice_limit policy_limit_compile(const struct sluice_rule *rule)
{
	const struct policy_limit l = policy_limit_of(rule);
	uint64_t cost, burst;

	if (!l.rate)
		return (struct sluice_limit){};
	/* Of a packet, or of a byte: no product here passes 64 bits within the bounds of model.h. */
	cost = ((TICKS_PER_SEC << SLUICE_LIMIT_COST_SHIFT) + l.rate / 2) / l.rate;
	if (l.bits)
		cost = (8 * (TICKS_PER_SEC << SLUICE_LIMIT_COST_SHIFT) + l.rate / 2) / l.rate;
	burst = (l.bits ? l.burst / 8 : l.burst) * cost >> SLUICE_LIMIT_COST_SHIFT;
	return (struct sluice_limit){
		.cost = cost,
		.burst = burst & ((1ull << 48) - 1),
		.bytes = l.bits,
		.per_source = l.per_source,
		.mark = (rule->identity ^ rule->identity >> 32) & ((1u << 14) - 1),
	};
}
