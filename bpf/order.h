/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order of memory between CPUs. x86 keeps loads in order, and stores in order, so there these cost nothing. Others
 * (arm64) must be told, and BPF has no barriers; load-acquire came with kernel 6.14. But an atomic operation that gives
 * back the old value is a full barrier everywhere, and no CPU reads through an address before what it was computed
 * from.
 */
#ifndef SLUICE_BPF_ORDER_H
#define SLUICE_BPF_ORDER_H

#include "config.h"

/* A store that no later one is seen before. */
static __always_inline void store_first(__u64 *at, __u64 value)
{
#ifdef __TARGET_ARCH_x86
	*(volatile __u64 *)at = value;
#else
	value = __sync_lock_test_and_set(at, value);
	barrier_var(value); /* an exchange, as long as the old value is used */
#endif
}

/* 0, computed from what is read at a place; the verifier knows that it is, the compiler and the CPU do not. */
static __always_inline __u64 zero_of(const volatile __u64 *at)
{
#ifdef __TARGET_ARCH_x86
	return 0;
#else
	__u64 seen = *at;

	asm volatile("%0 &= 0" : "+r"(seen));
	return seen;
#endif
}

#endif
