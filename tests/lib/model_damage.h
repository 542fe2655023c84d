/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames of model_traffic.h, tagged, in tunnels, with IPv4 options and chains of extension headers; then bits are flipped,
 * words written over, ends cut or lengthened, and some are mere noise.
 */
#ifndef SLUICE_TESTS_MODEL_DAMAGE_H
#define SLUICE_TESTS_MODEL_DAMAGE_H

#include <stdbool.h>

#include <sluice/abi.h>

#include "model_traffic.h"

void damage_draw(uint64_t *state, struct traffic_frame *f);
/* Whether a frame has that reason for itself, step 1: where two things are wrong with it, either will do. */
bool damage_explains(enum sluice_reason reason);
/* In words and in hexadecimal. */
void damage_print(const struct traffic_frame *f);

#endif
