// SPDX-License-Identifier: Apache-2.0
/*
 * Names and texts of verdict reasons, all from include/sluice/reasons.def. Called by whoever shows a reason to a
 * person.
 */
#include "policy/policy.h"

enum reason_kind { PASS, DROP };

static const struct {
	const char *name;
	enum reason_kind kind;
	const char *text;
} reasons[SLUICE_REASON_COUNT] = {
#define R(NAME, name, kind, text) [SLUICE_R_##NAME] = {name, kind, text},
#include <sluice/reasons.def>
#undef R
};

const char *reason_name(enum sluice_reason r)
{
	return (unsigned int)r < SLUICE_REASON_COUNT ? reasons[r].name : "unknown";
}

const char *reason_text(enum sluice_reason r)
{
	return (unsigned int)r < SLUICE_REASON_COUNT ? reasons[r].text : "reason of another version of sluice";
}

bool reason_drops(enum sluice_reason r)
{
	return (unsigned int)r < SLUICE_REASON_COUNT && reasons[r].kind == DROP;
}
