/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random frames among few hosts and few ports, so that they meet: handshakes in any order, answers, scans, fragments,
 * errors that quote what may have been sent, tags and tunnels. For the tests that use flow_model.h.
 */
#ifndef SLUICE_TESTS_MODEL_TRAFFIC_H
#define SLUICE_TESTS_MODEL_TRAFFIC_H

#include <stddef.h>
#include <stdint.h>

#define TRAFFIC_MAX 600

struct traffic_frame {
	uint8_t byte[TRAFFIC_MAX];
	size_t length;
};

void traffic_draw(uint64_t *state, struct traffic_frame *ret);
/* The same in VXLAN or Geneve between two hosts, if there is room. */
void traffic_wrap(uint64_t *state, struct traffic_frame *f);
/* One line about it, for a person; in a static buffer. */
const char *traffic_text(const uint8_t *frame, size_t length);

#endif
