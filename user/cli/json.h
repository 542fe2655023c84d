/* SPDX-License-Identifier: Apache-2.0 */
/* What commands with --json share. Every command prints one document, or {"error": ...} and nothing else; docs/json.md.
 */
#ifndef SLUICE_CLI_JSON_H
#define SLUICE_CLI_JSON_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct json_object *json_number(uint64_t n);
struct json_object *json_hex(const uint8_t *bytes, size_t count);
struct json_object *json_name(const char *text); /* NULL or empty: null */
void json_add(struct json_object *o, const char *key, struct json_object *value);

/* A trial, or null if there is nothing to say. */
struct dataplane_trial;
struct json_object *json_trial(const struct dataplane_trial *t);

/* The limit of a rule, or null if it has none. */
struct policy_limit;
struct json_object *json_limit(const struct policy_limit *limit);

/* Prints the document and frees it. */
void json_print(struct json_object *o);

/* cli_fail(), and with `json` {"error": text} on standard output too. */
int json_fail(bool json, const char *command, int r, const struct error *err);
/* The same where the answer is no: returns EXIT_NO. */
int json_refuse(bool json, const char *command, const struct error *err);

/* cli_load_policy() has said all on standard error; {"error": ...} on standard output. Returns `status`. */
int json_rejected(const char *path, int status);

#endif
