// SPDX-License-Identifier: Apache-2.0
/*
 * `sluice io feature`: a feature of a controller, set if asked for, and what it is then, was by default, and may be.
 * Called by io.c. A table has for each feature where its value is: in the completion, or in data of so many bytes.
 */
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "cli/cli.h"
#include "cli/io.h"

#define SELECT_DEFAULT	    (1 << 8) /* cdw10 */
#define SELECT_CAPABILITIES (3 << 8)
#define CAN_SAVE	    (1 << 0)
#define CAN_NAMESPACE	    (1 << 1)
#define CAN_CHANGE	    (1 << 2)

/* Those that are not a number in the completion. cdw11: of Get Features. */
static const struct data_feature {
	uint8_t fid;
	uint32_t len, cdw11;
} data_features[] = {
	{NVME_FID_TIMESTAMP, 8, 0},
	{NVME_FID_HOST_BEHAVIOR, NVME_BEHAVIOR_LEN, 0},
	{NVME_FID_HOST_ID, 16, 1},
};

static const struct data_feature *data_feature(unsigned int fid)
{
	for (size_t k = 0; k < ARRAY_SIZE(data_features); k++)
		if (data_features[k].fid == fid)
			return &data_features[k];
	return NULL;
}

static bool of_namespace(unsigned int fid)
{
	return fid == NVME_FID_RESV_MASK || fid == NVME_FID_RESV_PERSIST || fid == NVME_FID_WRITE_PROTECT ||
	       fid == NVME_FID_ERROR_RECOVERY;
}

static int execute(struct initiator *i, const struct io_options *o, uint8_t opcode, uint32_t select, uint32_t cdw11,
		   uint8_t *data, uint32_t len, uint64_t *ret_result, struct error *err)
{
	uint32_t nsid = of_namespace(o->subject) ? o->nsids[0] : 0;
	struct initiator_io io = {
		.sqe = nvme_sqe_make(opcode, 0, nsid, o->subject | select, cdw11), .data = data, .len = len};
	int r = initiator_queue_execute(initiator_admin(i), &io, err);

	*ret_result = io.result & UINT32_MAX;
	return r;
}

static void add_data(struct json_object *root, const uint8_t *data, uint32_t len)
{
	char text[2 * NVME_BEHAVIOR_LEN + 1] = "";

	for (uint32_t k = 0; k < len; k++)
		sprintf(text + 2 * k, "%02x", data[k]);
	json_object_object_add(root, "data", json_object_new_string(text));
}

/* What it is now, by default, and may be. */
static int read_feature(struct initiator *i, const struct io_options *o, struct json_object *root, struct error *err)
{
	const struct data_feature *d = data_feature(o->subject);
	uint8_t data[NVME_BEHAVIOR_LEN] __attribute__((aligned(8))) = {0};
	uint64_t now, normal, can;
	uint32_t len = d ? d->len : 0;
	int r = execute(i, o, NVME_ADM_GET_FEATURES, 0, d ? d->cdw11 : 0, len ? data : NULL, len, &now, err);

	if (r)
		return r;
	json_object_object_add(root, "feature", json_object_new_string(io_word_of(io_feature_words, o->subject)));
	json_object_object_add(root, "fid", json_object_new_int64(o->subject));
	if (d)
		add_data(root, data, len);
	else
		json_object_object_add(root, "value", json_object_new_int64((int64_t)now));
	if (!(initiator_controller(i)->oncs & NVME_ONCS_SELECT))
		return 0;
	r = execute(i, o, NVME_ADM_GET_FEATURES, SELECT_CAPABILITIES, 0, NULL, 0, &can, err);
	if (!r && !d)
		r = execute(i, o, NVME_ADM_GET_FEATURES, SELECT_DEFAULT, 0, NULL, 0, &normal, err);
	if (r)
		return r;
	if (!d)
		json_object_object_add(root, "default", json_object_new_int64((int64_t)normal));
	json_object_object_add(root, "changeable", json_object_new_boolean(can & CAN_CHANGE));
	json_object_object_add(root, "saveable", json_object_new_boolean(can & CAN_SAVE));
	json_object_object_add(root, "per_namespace", json_object_new_boolean(can & CAN_NAMESPACE));
	return 0;
}

int io_feature(const struct io_options *o, struct error *err)
{
	_cleanup_(io_closep) struct initiator *i = NULL;
	struct json_object *root;
	uint64_t ignored;

	if (o->has_value && data_feature(o->subject)) {
		error_set(err, EINVAL, "--value: %s is no number; it can only be read here",
			  io_word_of(io_feature_words, o->subject));
		return EXIT_USAGE;
	}
	if (initiator_open(&o->target, &i, err))
		return EXIT_SYSTEM;
	if (o->has_value && execute(i, o, NVME_ADM_SET_FEATURES, 0, o->value, NULL, 0, &ignored, err))
		return EXIT_NO;
	root = json_object_new_object();
	if (read_feature(i, o, root, err)) {
		json_object_put(root);
		return EXIT_NO;
	}
	if (o->json)
		io_print_json(root);
	else
		io_print_text(root);
	return EXIT_FINE;
}
