/* SPDX-License-Identifier: Apache-2.0 */
/* What libyaml refuses, said so that somebody who knows no YAML can mend it. Internal to user/policy. */
#ifndef SLUICE_POLICY_SYNTAX_H
#define SLUICE_POLICY_SYNTAX_H

#include <yaml.h>

#include "policy/policy.h"

/*
 * Notes why `yaml`, which has failed on `text`, cannot read it. file is that of the places. -EINVAL once noted, or
 * -ENOMEM.
 */
int syntax_refuse(const yaml_parser_t *yaml, const char *file, const char *text, size_t length,
		  struct policy_diagnostics *d);

#endif
