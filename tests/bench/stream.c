// SPDX-License-Identifier: Apache-2.0
/*
 * The floor of the storage bench: requests and replies of given sizes over one TCP connection on loopback, by io_uring at both
 * ends, with nothing in them. Each end does what the target and its initiator do with a socket (storage/ring.h: multishot receive
 * into provided buffers, one send at a time of all that is due) and nothing else.
 *
 *   stream --request BYTES --reply BYTES --depth N [--seconds S] [--cpus ASKER,SERVER] [--spin USEC] [--zero-copy]
 *   stream --crc BYTES
 *
 * Prints messages a second, p50, p99 and p99.9 in ns, ns of the server's CPU a message; with --zero-copy, which is how the server
 * then sends, also the share of its sends whose data the kernel copied all the same. With --crc: ns that CRC32C of so many bytes
 * takes, by ISA-L, of data that are in the cache.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <isa-l.h>

#include "base/util.h"
#include "storage/histogram.h"
#include "storage/ring.h"

#define DEPTH_MAX 1024
#define BUFFERS	  256 /* as the target has them */
#define BUFFER	  16384
#define BURST	  (1u << 20) /* bytes of one send, at most */

/* Of Linux 6.2, not in liburing 2.3. */
#ifndef IORING_SEND_ZC_REPORT_USAGE
#define IORING_SEND_ZC_REPORT_USAGE (1u << 3)
#define IORING_NOTIF_USAGE_ZC_COPIED (1u << 31)
#endif

enum { OP_RECV = RING_OP_NONE + 1, OP_SEND };

struct shape {
	unsigned int request, reply, depth, spin_us;
	unsigned int cpus[2]; /* asker, server */
	bool zero_copy;
	double seconds;
};

/* One end of the connection. What it takes comes in units of `in` bytes, each of which it owes a unit of `out` for. */
struct end {
	const struct shape *shape;
	int fd;
	bool asks;
	unsigned int in, out;
	struct ring ring;
	struct ring_buffers rx;
	struct ring_file file;
	uint8_t *burst;	       /* what is sent, over and over */
	unsigned int owed;     /* units to send */
	unsigned int sending;  /* units under way */
	unsigned int partial;  /* bytes of the unit that is being received */
	unsigned int awaited;  /* asker: replies that have not come */
	unsigned int noticed;  /* zero-copy: sends whose data nobody reads any more, and how many of these were copied */
	unsigned int copied;
	unsigned int unnoticed;
	bool received_all;     /* the other end has closed */
	uint64_t until_ns;     /* asker: no request after this */
	uint64_t stamps[DEPTH_MAX]; /* asker: when requests were sent, in turn */
	uint64_t sent, taken;
	struct histogram latency;
	double cpu_seconds;
};

static void fail(const char *what, int r)
{
	fprintf(stderr, "stream: %s: %s\n", what, strerror(r < 0 ? -r : r));
	exit(1);
}

static void end_open(struct end *e)
{
	struct ring_options options = {.entries = 64, .files = 1};
	struct error err = {};

	if (ring_open(&e->ring, &options, &err) || ring_buffers_open(&e->ring, 0, BUFFERS, BUFFER, &err, &e->rx)) {
		fprintf(stderr, "stream: %s\n", err.text);
		exit(1);
	}
	ring_file_add(&e->ring, e->fd, &e->file);
	e->burst = calloc(1, BURST);
	if (!e->burst)
		fail("memory", ENOMEM);
	ring_recv(&e->ring, &e->file, &e->rx, (struct token){.op = OP_RECV});
}

static void end_close(struct end *e)
{
	ring_file_remove(&e->ring, &e->file);
	ring_buffers_close(&e->rx);
	ring_close(&e->ring);
	free(e->burst);
	close(e->fd);
}

static void send_owed(struct end *e)
{
	struct io_uring_sqe *sqe;
	uint64_t now;

	if (!e->owed || e->sending)
		return;
	e->sending = min(e->owed, BURST / e->out);
	sqe = ring_sqe(&e->ring);
	if (e->shape->zero_copy && !e->asks)
		io_uring_prep_send_zc(sqe, ring_file_fd(&e->file), e->burst, (size_t)e->sending * e->out,
				      MSG_WAITALL | MSG_NOSIGNAL, IORING_SEND_ZC_REPORT_USAGE);
	else
		io_uring_prep_send(sqe, ring_file_fd(&e->file), e->burst, (size_t)e->sending * e->out,
				   MSG_WAITALL | MSG_NOSIGNAL);
	ring_file_flag(sqe, &e->file);
	ring_push(sqe, (struct token){.op = OP_SEND});
	e->owed -= e->sending;
	if (!e->asks)
		return;
	now = time_now_ns();
	for (unsigned int i = 0; i < e->sending; i++)
		e->stamps[e->sent++ % DEPTH_MAX] = now;
	e->awaited += e->sending;
}

static void unit_taken(struct end *e, uint64_t now)
{
	uint64_t stamp = e->stamps[e->taken++ % DEPTH_MAX];

	if (!e->asks) {
		e->owed++;
		return;
	}
	histogram_add(&e->latency, now - stamp);
	e->awaited--;
	if (now < e->until_ns)
		e->owed++;
}

static void received(struct end *e, const struct ring_completion *c)
{
	uint64_t now = e->asks ? time_now_ns() : 0;

	if (c->result > 0) {
		ring_buffer_give(&e->rx, ring_buffer_id(c));
		e->partial += (unsigned int)c->result;
		for (; e->partial >= e->in; e->partial -= e->in)
			unit_taken(e, now);
	} else if (!c->result) {
		e->received_all = true;
		return;
	} else if (c->result != -ENOBUFS) {
		fail("receive", c->result);
	}
	if (!ring_more(c))
		ring_recv(&e->ring, &e->file, &e->rx, (struct token){.op = OP_RECV});
}

static void sent(struct end *e, const struct ring_completion *c)
{
	if (c->flags & IORING_CQE_F_NOTIF) {
		e->unnoticed--;
		e->noticed++;
		e->copied += (uint32_t)c->result & IORING_NOTIF_USAGE_ZC_COPIED ? 1 : 0;
		return;
	}
	if (c->result != (int)(e->sending * e->out))
		fail("send", c->result < 0 ? c->result : EPIPE);
	e->sending = 0;
	if (ring_more(c))
		e->unnoticed++;
}

static void dispatch(struct end *e)
{
	struct ring_completion c;

	while (ring_next(&e->ring, &c)) {
		if (c.token.op == OP_RECV)
			received(e, &c);
		else
			sent(e, &c);
	}
}

/* Looks for completions as long as it may before it sleeps: as the reactor does. */
static void collect(struct end *e)
{
	int r = 0;

	if (ring_queued(&e->ring)) {
		r = ring_poll(&e->ring);
		if (r)
			fail("io_uring", r);
		if (io_uring_cq_ready(&e->ring.uring))
			return;
	}
	if (e->shape->spin_us && ring_spin(&e->ring, time_now_ns() + e->shape->spin_us * 1000ull))
		r = ring_poll(&e->ring);
	else
		r = ring_wait(&e->ring, -1);
	if (r)
		fail("io_uring", r);
}

static bool is_over(const struct end *e)
{
	return e->asks ? !e->owed && !e->awaited && !e->sending : e->received_all && !e->unnoticed;
}

static void *end_main(void *arg)
{
	struct end *e = arg;
	struct rusage u;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(e->shape->cpus[e->asks ? 0 : 1], &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail("affinity", errno);
	end_open(e);
	if (e->asks) {
		e->until_ns = time_now_ns() + (uint64_t)(e->shape->seconds * 1e9);
		e->owed = e->shape->depth;
	}
	for (;;) {
		send_owed(e);
		if (is_over(e))
			break;
		collect(e);
		dispatch(e);
	}
	if (e->asks)
		shutdown(e->fd, SHUT_WR);
	getrusage(RUSAGE_THREAD, &u);
	e->cpu_seconds = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
	end_close(e);
	return NULL;
}

/* A pair of connected sockets, set as those of the target and its initiator are. */
static void connect_pair(int fds[2])
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || fds[0] < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&address, &length) ||
	    connect(fds[0], (struct sockaddr *)&address, sizeof(address)))
		fail("loopback", errno);
	fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (fds[1] < 0)
		fail("accept", errno);
	for (int i = 0; i < 2; i++)
		setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	close(listener);
}

static void run(const struct shape *shape)
{
	static struct end asker, server;
	pthread_t threads[2];
	uint64_t start;
	double seconds;
	int fds[2], r;

	connect_pair(fds);
	asker = (struct end){.shape = shape, .fd = fds[0], .asks = true, .in = shape->reply, .out = shape->request};
	server = (struct end){.shape = shape, .fd = fds[1], .in = shape->request, .out = shape->reply};
	start = time_now_ns();
	r = pthread_create(&threads[0], NULL, end_main, &server);
	if (!r)
		r = pthread_create(&threads[1], NULL, end_main, &asker);
	if (r)
		fail("thread", r);
	pthread_join(threads[1], NULL);
	seconds = (double)(time_now_ns() - start) / 1e9;
	pthread_join(threads[0], NULL);
	printf("%.0f\t%llu\t%llu\t%llu\t%.0f", (double)asker.taken / seconds,
	       (unsigned long long)histogram_percentile(&asker.latency, 50000),
	       (unsigned long long)histogram_percentile(&asker.latency, 99000),
	       (unsigned long long)histogram_percentile(&asker.latency, 99900), server.cpu_seconds * 1e9 / (double)server.taken);
	if (shape->zero_copy)
		printf("\t%.2f", (double)server.copied / max(server.noticed, 1u));
	printf("\n");
}

#define CRC_RUNS 200000

static void crc(unsigned int bytes)
{
	uint8_t *data = calloc(1, bytes);
	uint32_t value = 0;
	uint64_t start;

	if (!data)
		fail("memory", ENOMEM);
	start = time_now_ns();
	for (unsigned int i = 0; i < CRC_RUNS; i++)
		value = crc32_iscsi(data, (int)bytes, value);
	printf("%.1f\n", (double)(time_now_ns() - start) / CRC_RUNS + (value == 1 ? 0.1 : 0)); /* used, so that it is computed */
	free(data);
}

static unsigned int number(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || !*text || n > BURST) {
		fprintf(stderr, "stream: \"%s\" is no number up to %u\n", text, BURST);
		exit(2);
	}
	return (unsigned int)n;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"request", required_argument, NULL, 'q'}, {"reply", required_argument, NULL, 'a'},
		{"depth", required_argument, NULL, 'd'},   {"seconds", required_argument, NULL, 's'},
		{"cpus", required_argument, NULL, 'c'},	   {"spin", required_argument, NULL, 'p'},
		{"crc", required_argument, NULL, 'x'},	   {"zero-copy", no_argument, NULL, 'z'},
		{},
	};
	struct shape shape = {.depth = 1, .seconds = 1, .cpus = {0, 1}};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 'q': shape.request = number(optarg); break;
		case 'a': shape.reply = number(optarg); break;
		case 'd': shape.depth = number(optarg); break;
		case 'p': shape.spin_us = number(optarg); break;
		case 'z': shape.zero_copy = true; break;
		case 's': shape.seconds = strtod(optarg, NULL); break;
		case 'c':
			if (sscanf(optarg, "%u,%u", &shape.cpus[0], &shape.cpus[1]) == 2)
				break;
			fprintf(stderr, "stream: --cpus wants two numbers, as 0,1\n");
			return 2;
		case 'x': crc(number(optarg)); return 0;
		default: return 2;
		}
	}
	if (!shape.request || !shape.reply || !shape.depth || shape.depth > DEPTH_MAX || optind < argc) {
		fprintf(stderr, "usage: stream --request BYTES --reply BYTES --depth 1-%u [--seconds S] [--cpus A,B] [--spin USEC] [--zero-copy]\n"
				"       stream --crc BYTES\n", DEPTH_MAX);
		return 2;
	}
	run(&shape);
	return 0;
}
