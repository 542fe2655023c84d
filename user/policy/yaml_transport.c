// SPDX-License-Identifier: Apache-2.0
/*
 * `storage: transport:`: what the target negotiates on each NVMe/TCP connection. Called by yaml_storage.c. The bounds
 * are those of the target's buffers (storage/buffer.h) and of the TCP transport specification.
 */
#include <string.h>

#include "policy/reader.h"
#include "policy/values.h"

#define DATA_UNIT      4096u	    /* the target's buffers are aligned so */
#define DATA_MAX       (256u << 10) /* of one command */
#define ALIGNMENT_UNIT 4u
#define ALIGNMENT_MAX  128u

/* Bytes: whole units within the bounds. */
struct size_bounds {
	uint32_t least, most, unit;
};

static void size_read(struct reader *r, const struct field *f, const struct node *value, void *at)
{
	const struct size_bounds *bounds = f->arg;
	const char *text = reader_scalar(r, value, f->key);
	struct error err;
	uint64_t bytes;

	if (!text)
		return;
	if (value_size(text, &bytes, &err))
		reader_error(r, value, "%s: %s", f->key, err.text);
	else if (bytes < bounds->least || bytes > bounds->most || bytes % bounds->unit)
		reader_error(r, value, "%s: %s is not usable; use a multiple of %u from %u to %u", f->key, text,
			     bounds->unit, bounds->least, bounds->most);
	else
		*(uint32_t *)at = (uint32_t)bytes;
}

static const struct size_bounds capsule_bounds = {0, DATA_MAX, DATA_UNIT};
static const struct size_bounds data_bounds = {DATA_UNIT, DATA_MAX, DATA_UNIT};
static const struct size_bounds alignment_bounds = {ALIGNMENT_UNIT, ALIGNMENT_MAX, ALIGNMENT_UNIT};
static const struct bounds r2ts_bounds = {1, POLICY_R2TS_MAX};

static const struct field fields[] = {
	FIELD("in-capsule", size_read, struct policy_transport, in_capsule, .arg = &capsule_bounds),
	FIELD("max-h2c-data", size_read, struct policy_transport, max_h2c_data, .arg = &data_bounds),
	FIELD("r2t", size_read, struct policy_transport, r2t, .arg = &data_bounds),
	FIELD("r2ts", read_number, struct policy_transport, r2ts, .arg = &r2ts_bounds),
	FIELD("alignment", size_read, struct policy_transport, alignment, .arg = &alignment_bounds),
	{}};

void read_transport(struct reader *r, const struct node *node)
{
	reader_mapping(r, node, "transport", fields, &r->policy->storage.transport);
}
