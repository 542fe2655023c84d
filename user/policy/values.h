/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text of one scalar → value. Every function returns 0, or -EINVAL with err saying the fact and the remedy (not the
 * place, which the caller knows); outputs are untouched on failure.
 */
#ifndef SLUICE_POLICY_VALUES_H
#define SLUICE_POLICY_VALUES_H

#include "base/error.h"
#include "policy/model.h"

/* A CIDR prefix or a bare address. Host bits must be 0; an IPv4-mapped IPv6 prefix must be written as IPv4. */
int value_prefix(const char *text, struct policy_prefix *ret_prefix, struct error *err);

/* Whether the text was meant as a prefix: a name cannot look like this. */
bool value_looks_like_prefix(const char *text);

/* A decimal number of min..max. `what` is the noun of the message. */
int value_number(const char *what, const char *text, uint64_t low, uint64_t high, uint64_t *ret_number,
		 struct error *err);

/* "30s", "1h", "1ms", also us, m, d; the unit is required except for 0. */
int value_duration(const char *text, uint64_t *ret_ns, struct error *err);

/* "10GiB", also B, KiB, MiB, TiB; a plain number is bytes. */
int value_size(const char *text, uint64_t *ret_bytes, struct error *err);

/* "1M", "10k", "2G" (powers of ten), or a plain number. */
int value_count(const char *text, uint64_t *ret_count, struct error *err);

/* "10k pps", "1G bit/s", also "1 Gbit/s"; in range for its unit. */
int value_rate(const char *text, uint64_t *ret_rate, bool *ret_bits, struct error *err);

/* "443" or "8000-8999"; 1..65535, and a range may begin at 0. */
int value_ports(const char *text, uint16_t *ret_first, uint16_t *ret_last, struct error *err);

/* "tcp", "tcp/443", "icmp/echo-request", "icmp/3.4", "gre", "47", "any". */
int value_item(const char *text, struct policy_item *ret_item, struct error *err);

/* Whether an item is the number of an IP protocol that nobody uses and of a port that everybody does. */
bool value_item_suspect(const char *text);

/* What a service by that name usually is ("https" → "tcp/443"), for suggestions; NULL: not known. */
const char *value_item_usual(const char *name);

/* The name of a protocol ("tcp", "gre", "47") → its number. */
int value_protocol(const char *text, uint8_t *ret_protocol, struct error *err);
bool value_protocol_has_ports(uint8_t protocol);

/* Back to text, in the shortest form that reads back to the same value. */
#define VALUE_PREFIX_LEN 56
#define VALUE_ITEM_LEN	 96
const char *value_prefix_text(const struct policy_prefix *prefix, char buf[VALUE_PREFIX_LEN]);
/* As in "tcp/443"; an item with source ports has no such form and is shown as "udp/53 from ports 1024-65535". */
const char *value_item_text(const struct policy_item *item, char buf[VALUE_ITEM_LEN]);
/* "443" or "8000-8999". */
const char *value_ports_text(uint16_t first, uint16_t last, char buf[VALUE_ITEM_LEN]);
/* "tcp", or "47" where there is no name; buf is used for numbers only. */
const char *value_protocol_text(uint8_t protocol, char buf[VALUE_ITEM_LEN]);
/* Whether the item fits every packet of its protocol, and whether any source port does. */
bool value_item_is_protocol(const struct policy_item *item);
bool value_item_any_source(const struct policy_item *item);

/* Letter or _ first, then letters, digits, - _ . ; below SLUICE_NAME_LEN bytes; not "any". */
int value_name(const char *what, const char *text, struct error *err);

#endif
