/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both ends of one DH-HMAC-CHAP transaction, without a wire: included by each test program of it, which so has its own
 * copies. A test makes a pair as it needs it, steps or runs it, looks, and ends it.
 */
#ifndef TESTS_DHCHAP_PAIR_H
#define TESTS_DHCHAP_PAIR_H

#include <criterion/criterion.h>

#include "nvme/dhchap.h"

struct pair {
	struct dhchap_key host_key, controller_key, other_key;
	struct dhchap_controller controller;
	struct dhchap_host host;
	uint8_t message[DHCHAP_MESSAGE_MAX]; /* the last one, len bytes */
	size_t len;
};

__attribute__((unused)) static void pair_end(struct pair *p)
{
	dhchap_host_end(&p->host);
	dhchap_controller_end(&p->controller);
}

/* One message from whoever is to speak. false: nobody is. */
__attribute__((unused)) static bool pair_step(struct pair *p)
{
	if (p->host.step == DHCHAP_DONE || p->host.step == DHCHAP_FAILED)
		return false;
	if (dhchap_host_speaks(&p->host)) {
		p->len = dhchap_host_give(&p->host, p->message);
		cr_assert_leq(p->len, sizeof(p->message));
		dhchap_controller_take(&p->controller, p->message, p->len);
	} else {
		cr_assert_eq(dhchap_controller_give(&p->controller, p->message, sizeof(p->message), &p->len), 0);
		cr_assert(p->len, "the controller has nothing to say");
		dhchap_host_take(&p->host, p->message, p->len);
	}
	return true;
}

/* To the end; returns how many messages that took. */
__attribute__((unused)) static unsigned int pair_run(struct pair *p)
{
	unsigned int n = 0;

	while (n < 10 && pair_step(p))
		n++;
	return n;
}

#endif
