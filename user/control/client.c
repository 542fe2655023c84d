// SPDX-License-Identifier: Apache-2.0
/*
 * The asking end of a control socket. One connection a request; no state between requests. The answer is read to the
 * end of the connection, never past CONTROL_ANSWER_MAX bytes.
 */
#include "control/control.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/util.h"

static int client_connect(const char *path, struct error *err, int *ret_fd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -1;

	if (strlen(path) >= sizeof(address.sun_path))
		return error_set(err, ENAMETOOLONG, "%s: a socket path has at most %zu bytes; choose a shorter folder",
				 path, sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_system(err, errno, "%s: socket", path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return error_system(err, errno, "%s: connect", path);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int wait_readable(const char *path, int fd, int timeout_ms, struct error *err)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int n = TEMP_FAILURE_RETRY(poll(&p, 1, timeout_ms));

	if (n < 0)
		return error_system(err, errno, "%s: poll", path);
	if (!n)
		return error_set(err, ETIMEDOUT, "%s: no answer within %d ms; is the process stopped?", path,
				 timeout_ms);
	return 0;
}

/* Appends packets to a growing text until the other end closes. */
static int read_answer(const char *path, int fd, int timeout_ms, struct error *err, char **ret_answer)
{
	_cleanup_free_ char *text = NULL;
	size_t used = 0, room = 0;
	ssize_t n;
	int r;

	for (;;) {
		if (room - used < 65537) {
			char *grown = realloc(text, room = max(2 * room, (size_t)131072));

			if (!grown)
				return error_set(err, ENOMEM, "%s: out of memory", path);
			text = grown;
		}
		r = wait_readable(path, fd, timeout_ms, err);
		if (r)
			return r;
		n = recv(fd, text + used, room - used - 1, 0);
		if (n < 0)
			return error_system(err, errno, "%s: read", path);
		if (!n)
			break;
		used += (size_t)n;
		if (used > CONTROL_ANSWER_MAX)
			return error_set(err, EMSGSIZE, "%s: the answer is longer than %u bytes", path,
					 CONTROL_ANSWER_MAX);
	}
	if (!used)
		return error_set(err, ECONNRESET, "%s: closed without an answer", path);
	text[used] = 0;
	*ret_answer = TAKE_PTR(text);
	return 0;
}

int control_request(const char *path, const char *command, int timeout_ms, char **ret_answer, struct error *err)
{
	_cleanup_close_ int fd = -1;
	int r;

	if (strlen(command) >= CONTROL_REQUEST_MAX)
		return error_set(err, EINVAL, "%s: a command has at most %d bytes", path, CONTROL_REQUEST_MAX - 1);
	r = client_connect(path, err, &fd);
	if (r)
		return r;
	if (send(fd, command, strlen(command), MSG_NOSIGNAL) < 0)
		return error_system(err, errno, "%s: write", path);
	return read_answer(path, fd, timeout_ms, err, ret_answer);
}
