// SPDX-License-Identifier: Apache-2.0
/*
 * The other end of the end-to-end tests: sends back what it gets, on TCP and UDP, IPv4 and IPv6.
 *
 *   echo PORT...
 *
 * One process a socket and one a TCP connection, so that none waits for another; all of them end with the namespace that
 * the test runs them in.
 */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

static int listen_on(int type, int port)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_ANY_INIT};
	int fd = socket(AF_INET6, type | SOCK_CLOEXEC, 0);
	int off = 0, on = 1;

	if (fd < 0 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) || (type == SOCK_STREAM && listen(fd, 128))) {
		fprintf(stderr, "echo: port %d: %s\n", port, strerror(errno));
		exit(1);
	}
	return fd;
}

static void datagrams_echo(int fd)
{
	struct sockaddr_in6 from;
	static char buffer[65536];
	socklen_t length;
	ssize_t n;

	for (;;) {
		length = sizeof(from);
		n = recvfrom(fd, buffer, sizeof(buffer), 0, (struct sockaddr *)&from, &length);
		if (n >= 0)
			sendto(fd, buffer, n, 0, (struct sockaddr *)&from, length);
	}
}

static void stream_echo(int fd)
{
	static char buffer[65536];
	ssize_t n, sent, done;

	while ((n = read(fd, buffer, sizeof(buffer))) > 0)
		for (done = 0; done < n; done += sent) {
			sent = write(fd, buffer + done, n - done);
			if (sent < 0)
				exit(1);
		}
	exit(n < 0);
}

static void connections_echo(int fd)
{
	int connection;

	for (;;) {
		connection = accept(fd, NULL, NULL);
		if (connection >= 0 && !fork())
			stream_echo(connection);
		close(connection);
	}
}

int main(int argc, char **argv)
{
	int i, fd;

	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	for (i = 1; i < argc; i++) {
		fd = listen_on(SOCK_DGRAM, atoi(argv[i]));
		if (!fork())
			datagrams_echo(fd);
		fd = listen_on(SOCK_STREAM, atoi(argv[i]));
		if (!fork())
			connections_echo(fd);
	}
	pause();
	return 0;
}
