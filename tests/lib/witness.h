/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two policies that contradict each other, and a witness: a thread that judges packets without pause and notices a
 * packet that was judged by a mixture of the two, or by neither. Everything runs on the bench of judge.h.
 *
 * Eight packets get opposite verdicts, each by a rule of its own behind an audit rule; policy A allows the even ones, B
 * the odd ones. All of these rules log every packet, and an event says the generation and the counter slot: so of every
 * packet is known which policy its generation is of, and whether its rules are of the same. The numbers of rules,
 * classes and tables differ as far as they can.
 */
#ifndef SLUICE_TESTS_WITNESS_H
#define SLUICE_TESTS_WITNESS_H

#include <stdbool.h>
#include <stdint.h>

enum witness_policy { WITNESS_A, WITNESS_B, WITNESS_POLICIES };

/* Writes the policy; its name is "a" or "b". B is so much larger that tables are made anew when one follows the other.
 */
void witness_policy_write(enum witness_policy policy, const char *path);

/* Once something is attached. */
void witness_open(void);

/*
 * Which policy is live, by the name in its head; -1: neither, or a rule of it has not the counter slot that it always
 * had. `learn`: these are its slots from now on.
 */
int witness_policy_live(bool learn);

/* Which policy the eight packets tell of; -1: neither. */
int witness_ask(void);

struct witness_account {
	uint64_t packets;
	uint64_t changes;		 /* how often the policy was another one than before */
	uint64_t mixtures;		 /* packets that got a third verdict, or that of no one policy */
	uint64_t unseen;		 /* events that should have come and have not */
	char first[200];		 /* the first mixture, in words */
	uint64_t common, common_counted; /* packets for a rule that both policies have, and its counter */
	uint64_t flow, flow_counted;	 /* of a flow that both allow */
	uint64_t strange;		 /* packets counted for a reason that no packet here has */
};

void witness_start(void);
void witness_stop(struct witness_account *ret);

#endif
