/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: how another process asks a running one. A unix-domain SOCK_SEQPACKET socket; one request is one
 * packet with the command's name ("stats", "version"); the answer is one or more packets of bytes, and then the end of
 * the connection. An answer is one JSON document. A handler that fails answers {"error": "text"}.
 *
 * Sockets lie in /run/sluice (SLUICE_RUN_DIR overrides, for tests and unprivileged use) and are named KIND-PID.sock.
 * Mode 0600: only the same user and root may ask.
 */
#ifndef SLUICE_CONTROL_CONTROL_H
#define SLUICE_CONTROL_CONTROL_H

#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

#define CONTROL_RUN_DIR	    "/run/sluice"
#define CONTROL_REQUEST_MAX 4352	/* bytes of a request: a word and a path */
#define CONTROL_ANSWER_MAX  (16u << 20) /* bytes of an answer */

struct control_server;

/*
 * Called on the server's own thread, one request at a time. `command` is NUL-terminated. On success returns 0 and
 * *ret_answer is a NUL-terminated JSON text that the server frees. -errno: the client is told strerror() of it; -ENOENT
 * means "no such command" and is what a handler returns for one that it does not know.
 */
typedef int (*control_handler_fn)(void *arg, const char *command, char **ret_answer);

/*
 * Listens at `path` (made with its directory; a dead socket of the same name is replaced, a live one is -EADDRINUSE)
 * and answers on a thread of its own until control_server_stop(), which joins the thread and unlinks the socket.
 */
int control_server_start(const char *path, control_handler_fn handler, void *arg, struct error *err,
			 struct control_server **ret_server);
void control_server_stop(struct control_server *server);
void control_server_stopp(struct control_server **server);

/*
 * Asks the process that listens at `path`; waits at most timeout_ms for each step. *ret_answer is the caller's, free().
 * -ECONNREFUSED or -ENOENT: nobody listens (the process is dead). -ETIMEDOUT: no answer.
 */
int control_request(const char *path, const char *command, int timeout_ms, char **ret_answer, struct error *err);

/* The folder of sockets, and the default path "DIR/KIND-PID.sock" in buffer `ret_path` of `size` bytes (-ENAMETOOLONG).
 */
const char *control_run_dir(void);
int control_default_path(const char *kind, pid_t pid, char *ret_path, size_t size);

/* Calls fn with the path of every socket "KIND-*.sock" in the folder until it returns non-zero, which is returned. */
typedef int (*control_path_fn)(void *arg, const char *path);
int control_list(const char *kind, control_path_fn fn, void *arg);

#endif
