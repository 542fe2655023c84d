// SPDX-License-Identifier: Apache-2.0
/*
 * See range_lock.h. Called by reactors for every command that reads or writes blocks which somebody keeps. The usual
 * case, nobody in the way, touches the range's words and one counter; the mutex and the queue are for the rest. What
 * always holds: of two in the queue that want the same words, the earlier has them first.
 */
#include "storage/range_lock.h"

#include <errno.h>
#include <stdlib.h>

#define RANGE_LOCK_WRITER (1u << 31)
/* So many of the queue are looked at for one that makes way: what a crowd on one block may cost. */
#define RANGE_LOCK_WINDOW 64

int range_locks_make(struct range_locks **ret_locks)
{
	struct range_locks *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	pthread_mutex_init(&l->mutex, NULL);
	l->tail = &l->queue;
	*ret_locks = l;
	return 0;
}

void range_locks_free(struct range_locks *l)
{
	if (!l)
		return;
	pthread_mutex_destroy(&l->mutex);
	free(l);
}

void range_hold_set(struct range_hold *h, uint64_t offset, uint64_t len, bool exclusive)
{
	h->first = offset >> RANGE_LOCK_SHIFT;
	h->last = (offset + len - 1) >> RANGE_LOCK_SHIFT;
	h->exclusive = exclusive;
}

/* ---- words ---- */

static uint64_t units(const struct range_hold *h)
{
	uint64_t n = h->last - h->first + 1;

	return n < RANGE_LOCK_WORDS ? n : RANGE_LOCK_WORDS;
}

static uint32_t *word_of(struct range_locks *l, const struct range_hold *h, uint64_t i)
{
	return &l->words[(h->first + i) % RANGE_LOCK_WORDS];
}

static bool word_take(uint32_t *word, bool exclusive)
{
	uint32_t seen = __atomic_load_n(word, __ATOMIC_RELAXED);

	while (!(exclusive ? seen : seen & RANGE_LOCK_WRITER))
		if (__atomic_compare_exchange_n(word, &seen, exclusive ? RANGE_LOCK_WRITER : seen + 1, true,
						__ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
			return true;
	return false;
}

static void words_give(struct range_locks *l, const struct range_hold *h, uint64_t n)
{
	uint64_t i;

	for (i = 0; i < n; i++)
		__atomic_sub_fetch(word_of(l, h, i), h->exclusive ? RANGE_LOCK_WRITER : 1, __ATOMIC_SEQ_CST);
}

static bool words_take(struct range_locks *l, const struct range_hold *h)
{
	uint64_t i, n = units(h);

	for (i = 0; i < n; i++)
		if (!word_take(word_of(l, h, i), h->exclusive)) {
			words_give(l, h, i);
			return false;
		}
	return true;
}

/* ---- the queue; the mutex is held ---- */

static bool conflict(const struct range_hold *a, const struct range_hold *b)
{
	uint64_t a_n = units(a), b_n = units(b);
	uint64_t ahead = (b->first - a->first) % RANGE_LOCK_WORDS, behind = (a->first - b->first) % RANGE_LOCK_WORDS;

	return (a->exclusive || b->exclusive) && (ahead < a_n || behind < b_n);
}

/* Whether somebody from `first` up to `end` was there before and wants a part of it. */
static bool must_wait(const struct range_hold *first, const struct range_hold *end, const struct range_hold *h)
{
	unsigned int n = 0;

	for (; first != end; first = first->next)
		if (++n > RANGE_LOCK_WINDOW || conflict(first, h))
			return true;
	return false;
}

static void waiting_set(struct range_locks *l, uint32_t n)
{
	__atomic_store_n(&l->n_waiting, n, __ATOMIC_SEQ_CST);
}

/* Gives those who can have it their range, and tells them; `self` is not told: true if it got its own. */
static bool grant(struct range_locks *l, const struct range_hold *self, void *by)
{
	struct range_hold **link = &l->queue, *h;
	bool got = false;
	unsigned int n = 0;

	while ((h = *link) && n++ < RANGE_LOCK_WINDOW) {
		if (must_wait(l->queue, h, h) || !words_take(l, h)) {
			link = &h->next;
			continue;
		}
		*link = h->next;
		if (!h->next)
			l->tail = link;
		waiting_set(l, l->n_waiting - 1);
		if (h == self)
			got = true;
		else
			h->granted(h, by);
	}
	return got;
}

/* ---- the two calls ---- */

bool range_lock(struct range_locks *l, struct range_hold *h, void *by)
{
	bool got;

	if (!__atomic_load_n(&l->n_waiting, __ATOMIC_SEQ_CST) && words_take(l, h))
		return true;
	pthread_mutex_lock(&l->mutex);
	h->next = NULL;
	*l->tail = h;
	l->tail = &h->next;
	/* Counted before the next try: who gives a word back after that sees that somebody waits. */
	waiting_set(l, l->n_waiting + 1);
	/* All are tried: the words that the first try had taken and given back may have been in somebody's way. */
	got = grant(l, h, by);
	pthread_mutex_unlock(&l->mutex);
	return got;
}

void range_unlock(struct range_locks *l, struct range_hold *h, void *by)
{
	words_give(l, h, units(h));
	if (!__atomic_load_n(&l->n_waiting, __ATOMIC_SEQ_CST))
		return;
	pthread_mutex_lock(&l->mutex);
	grant(l, NULL, by);
	pthread_mutex_unlock(&l->mutex);
}
