// SPDX-License-Identifier: Apache-2.0
/* `ana:` of a subsystem and `referrals:` as YAML; the writing end of yaml_ana.c. Called by write.c. */
#include "policy/write.h"

void ana_write(FILE *out, const struct policy_subsystem *s)
{
	static const char *const states[] = {
		[POLICY_ANA_OPTIMIZED] = "optimized",
		[POLICY_ANA_NON_OPTIMIZED] = "non-optimized",
		[POLICY_ANA_INACCESSIBLE] = "inaccessible",
		[POLICY_ANA_PERSISTENT_LOSS] = "persistent-loss",
		[POLICY_ANA_CHANGE] = "change",
	};
	size_t i;

	if (!s->has_ana)
		return;
	fprintf(out, "      ana:%s\n", s->n_ana ? "" : " []");
	for (i = 0; i < s->n_ana; i++) {
		fprintf(out, "        - {group: %u", s->ana[i].group);
		if (s->ana[i].portal) {
			fputs(", portal: ", out);
			scalar_write(out, s->ana[i].portal);
		}
		fprintf(out, ", state: %s}\n", states[s->ana[i].state]);
	}
}

void referrals_write(FILE *out, const struct policy_storage *s)
{
	size_t i;

	if (s->n_referrals)
		fputs("  referrals:\n", out);
	for (i = 0; i < s->n_referrals; i++) {
		fputs("    - {address: ", out);
		scalar_write(out, s->referrals[i].address);
		fprintf(out, ", port: %u}\n", s->referrals[i].port);
	}
}
