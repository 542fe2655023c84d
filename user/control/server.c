// SPDX-License-Identifier: Apache-2.0
/*
 * The answering end of a control socket: one thread that polls the listening socket and an eventfd that says stop.
 * Requests are served one at a time; a client that sends nothing or reads nothing within CLIENT_TIMEOUT is dropped, so
 * that it cannot hold up the others for longer. The handler runs on this thread and must not touch what it may not
 * touch from there.
 */
#include "control/control.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"

#define CLIENT_TIMEOUT_SEC 2
#define ANSWER_PACKET	   32768u /* below the default socket buffer, so that one packet always fits */

struct control_server {
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	control_handler_fn handler;
	void *arg;
	int listener;
	int stop; /* eventfd */
	pthread_t thread;
	bool running;
};

static int send_answer(int fd, const char *text)
{
	size_t left = strlen(text), part;
	ssize_t n;

	for (; left; left -= part, text += part) {
		part = min(left, (size_t)ANSWER_PACKET);
		n = TEMP_FAILURE_RETRY(send(fd, text, part, MSG_NOSIGNAL));
		if (n < 0)
			return -errno;
	}
	return 0;
}

static void serve_client(struct control_server *s, int fd)
{
	struct timeval timeout = {.tv_sec = CLIENT_TIMEOUT_SEC};
	char command[CONTROL_REQUEST_MAX] = "";
	_cleanup_free_ char *answer = NULL;
	char failure[160];
	ssize_t n;
	int r;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	n = TEMP_FAILURE_RETRY(recv(fd, command, sizeof(command) - 1, 0));
	if (n <= 0)
		return;
	command[n] = 0;
	r = s->handler(s->arg, command, &answer);
	if (r) {
		snprintf(failure, sizeof(failure), "{\"error\": \"%s\"}",
			 r == -ENOENT ? "no such command" : strerror(-r));
		r = send_answer(fd, failure);
	} else {
		r = send_answer(fd, answer);
	}
	if (r)
		log_debug(s->path, "client went away: %s", strerror(-r));
}

static void *serve(void *arg)
{
	struct control_server *s = arg;
	struct pollfd p[2] = {{.fd = s->listener, .events = POLLIN}, {.fd = s->stop, .events = POLLIN}};

	for (;;) {
		if (TEMP_FAILURE_RETRY(poll(p, 2, -1)) < 0) {
			log_error(s->path, "poll: %s; the control socket no longer answers", strerror(errno));
			return NULL;
		}
		if (p[1].revents)
			return NULL;
		if (p[0].revents) {
			_cleanup_close_ int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);

			if (fd >= 0)
				serve_client(s, fd);
		}
	}
}

/* A socket file whose process is dead refuses connections: it is removed. A live one stays, and so does the error. */
static int remove_stale(const struct sockaddr_un *address)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (!connect(fd, (const struct sockaddr *)address, sizeof(*address)))
		return -EADDRINUSE;
	if (errno != ECONNREFUSED)
		return -errno;
	return unlink(address->sun_path) ? -errno : 0;
}

/*
 * A process that was killed has left its socket. One that refuses connections may also be just about to listen, so the
 * process that its name bears must be gone too.
 */
static int remove_dead(void *arg, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *number = strrchr(path, '-');
	long pid = number ? strtol(number + 1, NULL, 10) : 0;

	if (pid <= 0 || !kill((pid_t)pid, 0) || errno != ESRCH || strlen(path) >= sizeof(address.sun_path))
		return 0;
	memcpy(address.sun_path, path, strlen(path) + 1);
	if (!remove_stale(&address))
		log_debug(path, "removed: its process is dead");
	return 0;
}

/* Sockets of the same kind in the run folder. */
static void remove_dead_siblings(const char *path)
{
	const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	const char *end = strrchr(name, '-');
	char kind[64];

	if (!end || (size_t)(end - name) >= sizeof(kind))
		return;
	memcpy(kind, name, (size_t)(end - name));
	kind[end - name] = 0;
	control_list(kind, remove_dead, NULL);
}

static int make_folder(const char *path)
{
	char folder[sizeof(((struct sockaddr_un *)0)->sun_path)];
	char *slash;

	snprintf(folder, sizeof(folder), "%s", path);
	slash = strrchr(folder, '/');
	if (!slash || slash == folder)
		return 0;
	*slash = 0;
	return mkdir(folder, 0755) && errno != EEXIST ? -errno : 0;
}

static int server_listen(struct control_server *s)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	mode_t mask;
	int r;

	memcpy(address.sun_path, s->path, sizeof(s->path));
	r = make_folder(s->path);
	if (r)
		return r;
	s->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (s->listener < 0)
		return -errno;
	mask = umask(0177);
	r = bind(s->listener, (struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
	if (r == -EADDRINUSE) {
		r = remove_stale(&address);
		if (!r)
			r = bind(s->listener, (struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
	}
	umask(mask);
	if (r) {
		s->path[0] = 0; /* not ours to unlink */
		return r;
	}
	return listen(s->listener, 16) ? -errno : 0;
}

static int server_run(struct control_server *s)
{
	int r;

	s->stop = eventfd(0, EFD_CLOEXEC);
	if (s->stop < 0)
		return -errno;
	r = pthread_create(&s->thread, NULL, serve, s);
	s->running = !r;
	return -r;
}

void control_server_stop(struct control_server *s)
{
	uint64_t one = 1;

	if (!s)
		return;
	if (s->running) {
		if (write(s->stop, &one, sizeof(one)) != sizeof(one))
			log_error(s->path, "cannot stop the control thread: %s", strerror(errno));
		pthread_join(s->thread, NULL);
	}
	if (s->path[0])
		unlink(s->path);
	if (s->listener >= 0)
		close(s->listener);
	if (s->stop >= 0)
		close(s->stop);
	free(s);
}

void control_server_stopp(struct control_server **s)
{
	control_server_stop(*s);
}

int control_server_start(const char *path, control_handler_fn handler, void *arg, struct error *err,
			 struct control_server **ret_server)
{
	_cleanup_(control_server_stopp) struct control_server *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return error_set(err, ENOMEM, "%s: out of memory", path);
	s->listener = s->stop = -1;
	if (strlen(path) >= sizeof(s->path))
		return error_set(err, ENAMETOOLONG,
				 "%s: a socket path has at most %zu bytes; set SLUICE_RUN_DIR to a shorter one", path,
				 sizeof(s->path) - 1);
	memcpy(s->path, path, strlen(path) + 1);
	s->handler = handler;
	s->arg = arg;
	r = server_listen(s);
	if (!r)
		r = server_run(s);
	if (r)
		return error_system(err, -r, "%s: cannot listen for control requests", path);
	remove_dead_siblings(path);
	*ret_server = TAKE_PTR(s);
	return 0;
}
