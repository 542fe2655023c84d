/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an I/O command asks of its backend, operation by operation. io_command.c runs what is told here; io_steps.c
 * knows no slots, no locks and no waiting. Fused pairs: fused.c.
 */
#ifndef SLUICE_STORAGE_IO_STEPS_H
#define SLUICE_STORAGE_IO_STEPS_H

#include "storage/conn.h"

/* Makes cmd->io one operation on the bytes offset .. offset + len of the namespace. */
void io_prepare(struct command *cmd, enum backend_op op, uint64_t offset, uint64_t len, void *data);

/* Whether the command is answered without its backend; then cmd->status says how. Data are whole. */
bool io_answered(struct command *cmd);
/* Whether it may take more than one operation, and whether it needs scratch for them. */
bool io_several(const struct command *cmd);
bool io_scratch(const struct command *cmd);

/*
 * The operation before, if any, has succeeded: makes cmd->io the next one. false: there is none, and cmd->status is the
 * command's.
 */
bool io_next(struct command *cmd);

#endif
