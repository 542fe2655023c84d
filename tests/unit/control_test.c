// SPDX-License-Identifier: Apache-2.0
/* The control socket: both ends in one process. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "control/control.h"

static char folder[] = "/tmp/sluice-unit-control.XXXXXX";
static char path[256];
static struct error err;

static void setup(void)
{
	cr_assert(mkdtemp(folder) != NULL);
	setenv("SLUICE_RUN_DIR", folder, 1);
	cr_assert(!control_default_path("target", getpid(), path, sizeof(path)));
}

static void teardown(void)
{
	unlink(path);
	rmdir(folder);
}

TestSuite(control, .init = setup, .fini = teardown);

#define LONG_ANSWER 300000

static int handler(void *arg, const char *command, char **ret_answer)
{
	++*(int *)arg;
	if (!strcmp(command, "long")) {
		*ret_answer = malloc(LONG_ANSWER + 1);
		memset(*ret_answer, 'x', LONG_ANSWER);
		(*ret_answer)[LONG_ANSWER] = 0;
		return 0;
	}
	if (!strcmp(command, "fail"))
		return -EIO;
	if (strcmp(command, "stats"))
		return -ENOENT;
	*ret_answer = strdup("{\"n\": 1}");
	return 0;
}

Test(control, answers)
{
	struct control_server *server = NULL;
	char *answer = NULL;
	int calls = 0, i;

	cr_assert(!control_server_start(path, handler, &calls, &err, &server), "%s", err.text);
	for (i = 0; i < 100; i++) {
		cr_assert(!control_request(path, "stats", 2000, &answer, &err), "%s", err.text);
		cr_assert_str_eq(answer, "{\"n\": 1}");
		free(answer);
	}
	cr_assert_eq(calls, 100);
	control_server_stop(server);
}

Test(control, long_answers_and_errors)
{
	struct control_server *server = NULL;
	char *answer = NULL;
	int calls = 0;

	cr_assert(!control_server_start(path, handler, &calls, &err, &server), "%s", err.text);
	cr_assert(!control_request(path, "long", 2000, &answer, &err), "%s", err.text);
	cr_assert_eq(strlen(answer), LONG_ANSWER);
	free(answer);
	cr_assert(!control_request(path, "nonsense", 2000, &answer, &err));
	cr_assert_str_eq(answer, "{\"error\": \"no such command\"}");
	free(answer);
	cr_assert(!control_request(path, "fail", 2000, &answer, &err));
	cr_assert(strstr(answer, "\"error\"") && strstr(answer, strerror(EIO)));
	free(answer);
	control_server_stop(server);
}

Test(control, stop_removes_the_socket)
{
	struct control_server *server = NULL;
	char *answer = NULL;
	struct stat st;
	int calls = 0;

	cr_assert(!control_server_start(path, handler, &calls, &err, &server));
	cr_assert(!stat(path, &st) && (st.st_mode & 0777) == 0600);
	control_server_stop(server);
	cr_assert(stat(path, &st) && errno == ENOENT);
	cr_assert_eq(control_request(path, "stats", 2000, &answer, &err), -ENOENT);
	cr_assert_null(answer);
}

static void leave_dead_socket(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	strcpy(address.sun_path, path);
	cr_assert(!bind(fd, (struct sockaddr *)&address, sizeof(address)));
	close(fd);
}

Test(control, dead_socket_is_replaced_live_one_is_not)
{
	struct control_server *server = NULL, *second = NULL;
	char *answer = NULL;
	int calls = 0;

	leave_dead_socket();
	cr_assert_eq(control_request(path, "stats", 2000, &answer, &err), -ECONNREFUSED);
	cr_assert(!control_server_start(path, handler, &calls, &err, &server), "%s", err.text);
	cr_assert_eq(control_server_start(path, handler, &calls, &err, &second), -EADDRINUSE);
	cr_assert_null(second);
	cr_assert(!control_request(path, "stats", 2000, &answer, &err), "the first server is gone: %s", err.text);
	free(answer);
	control_server_stop(server);
}

/* A client that says nothing holds the server up for its time limit, not for ever. */
Test(control, silent_client_is_dropped, .timeout = 20)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct control_server *server = NULL;
	int calls = 0, fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	char *answer = NULL;

	cr_assert(!control_server_start(path, handler, &calls, &err, &server));
	strcpy(address.sun_path, path);
	cr_assert(!connect(fd, (struct sockaddr *)&address, sizeof(address)));
	cr_assert(!control_request(path, "stats", 10000, &answer, &err), "%s", err.text);
	free(answer);
	close(fd);
	control_server_stop(server);
}

/* What a killed process has left goes when another of its kind starts; a live one's stays. */
Test(control, sockets_of_dead_processes_are_swept)
{
	struct control_server *server = NULL;
	char other[256];
	struct stat st;
	int calls = 0, status;
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	waitpid(pid, &status, 0);
	leave_dead_socket(); /* bears our own, live process */
	memcpy(other, path, sizeof(other));
	cr_assert(!control_default_path("target", pid, path, sizeof(path)));
	leave_dead_socket();
	cr_assert(!control_default_path("target", getppid(), path, sizeof(path)));
	cr_assert(!control_server_start(path, handler, &calls, &err, &server), "%s", err.text);
	control_server_stop(server);
	cr_assert(!stat(other, &st), "a live process's socket was taken");
	unlink(other);
	cr_assert(!control_default_path("target", pid, path, sizeof(path)));
	cr_assert(stat(path, &st) && errno == ENOENT, "the dead one's socket is still there");
}

static int count_path(void *arg, const char *found)
{
	cr_expect_str_eq(found, path);
	++*(int *)arg;
	return 0;
}

Test(control, list_finds_sockets_of_the_kind)
{
	int found = 0;

	leave_dead_socket();
	cr_assert(!control_list("target", count_path, &found));
	cr_assert_eq(found, 1);
	cr_assert(!control_list("daemon", count_path, &found));
	cr_assert_eq(found, 1);
}

Test(control, missing_folder_is_an_empty_list)
{
	int found = 0;

	setenv("SLUICE_RUN_DIR", "/nonexistent/sluice", 1);
	cr_assert(!control_list("target", count_path, &found));
	cr_assert_eq(found, 0);
}
