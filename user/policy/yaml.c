// SPDX-License-Identifier: Apache-2.0
/*
 * policy_load(): files → documents → model. Owns the order of reading: names are declared before they are used, over
 * all files of a directory, so that every reference is resolved, or refused with its place, where it stands. What the
 * sections hold is in yaml_network.c, yaml_rules.c, yaml_storage.c.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "policy/check.h"
#include "policy/diagnostics.h"
#include "policy/reader.h"
#include "policy/values.h"

/* The top level of one file: where each section stands, if it does. */
struct sections {
	const struct node *sluice, *name, *mode, *default_action, *interfaces, *tenants, *failsafe, *segments,
		*services, *rules, *conntrack, *storage;
};

#define SECTION(name, member, ...) FIELD(name, read_node, struct sections, member, ##__VA_ARGS__)

static const struct field section_fields[] = {SECTION("sluice", sluice, REQUIRED),
					      SECTION("name", name),
					      SECTION("mode", mode),
					      SECTION("default", default_action),
					      SECTION("interfaces", interfaces),
					      SECTION("tenants", tenants),
					      SECTION("failsafe", failsafe),
					      SECTION("segments", segments),
					      SECTION("services", services),
					      SECTION("rules", rules),
					      SECTION("conntrack", conntrack),
					      SECTION("storage", storage),
					      {}};

struct document {
	struct node root;
	struct sections sections;
};

struct source {
	struct document *documents;
	size_t n_documents;
};

static void source_done(struct source *s)
{
	size_t i;

	for (i = 0; i < s->n_documents; i++)
		document_free(&s->documents[i].root);
	free(s->documents);
}

/* ------------------------------------------------------------- single-value sections */

static void version_read(struct reader *r, const struct node *node)
{
	const char *text = reader_scalar(r, node, "sluice");

	if (text && strcmp(text, "1"))
		reader_error(r, node, "language version '%.40s' is not known here; this sluice reads 'sluice: 1'",
			     text);
}

static void name_read(struct reader *r, const struct node *node)
{
	const char *text = reader_scalar(r, node, "name");
	struct error err;

	if (!text)
		return;
	if (value_name("policy", text, &err)) {
		reader_error(r, node, "%s", err.text);
		return;
	}
	free(r->policy->name);
	r->policy->name = reader_strdup(r, text);
}

static void mode_read(struct reader *r, const struct node *node)
{
	static const struct choice choices[] = {{"enforce", false}, {"audit", true}, {}};
	static const struct field f = {.key = "mode", .arg = choices};
	int audit = r->policy->audit;

	read_choice(r, &f, node, &audit);
	r->policy->audit = audit;
}

static void default_read(struct reader *r, const struct node *node)
{
	static const struct choice choices[] = {{"deny", false}, {"allow", true}, {}};
	static const struct field f = {.key = "default", .arg = choices};
	int allow = r->policy->default_allow;

	read_choice(r, &f, node, &allow);
	r->policy->default_allow = allow;
}

/* ---------------------------------------------------------------- order of reading */

struct section {
	size_t offset; /* in struct sections */
	void (*read)(struct reader *r, const struct node *node);
	const char *once; /* name of a section that only one file may have */
};

/* Declarations first: what a line reads must have been declared by the lines above it. */
static const struct section reading_order[] = {
	{offsetof(struct sections, sluice), version_read, NULL},
	{offsetof(struct sections, name), name_read, "name"},
	{offsetof(struct sections, mode), mode_read, "mode"},
	{offsetof(struct sections, default_action), default_read, "default"},
	{offsetof(struct sections, tenants), read_tenants, NULL},
	{offsetof(struct sections, segments), declare_segments, NULL},
	{offsetof(struct sections, services), read_services, NULL},
	{offsetof(struct sections, segments), read_segments, NULL},
	{offsetof(struct sections, failsafe), read_failsafe, "failsafe"},
	{offsetof(struct sections, interfaces), read_interfaces, NULL},
	{offsetof(struct sections, rules), read_rules, NULL},
	{offsetof(struct sections, conntrack), read_conntrack, "conntrack"},
	{offsetof(struct sections, storage), read_storage, "storage"},
};

static void section_read(struct reader *r, const struct source *source, const struct section *section)
{
	const struct node *node, *first = NULL;
	size_t i;

	for (i = 0; i < source->n_documents; i++) {
		node = *(const struct node **)((const char *)&source->documents[i].sections + section->offset);
		if (!node)
			continue;
		if (first && section->once)
			reader_error(r, node, "'%s' is also in %s:%u; keep one", section->once, first->place.file,
				     first->place.line);
		else
			section->read(r, node);
		first = node;
	}
}

static int model_build(struct reader *r, struct source *source)
{
	bool failsafe = false;
	size_t i;

	for (i = 0; i < source->n_documents; i++) {
		reader_mapping(r, &source->documents[i].root, "the policy", section_fields,
			       &source->documents[i].sections);
		failsafe |= source->documents[i].sections.failsafe != NULL;
	}
	for (i = 0; i < ARRAY_SIZE(reading_order); i++)
		section_read(r, source, &reading_order[i]);
	return failsafe ? 0 : policy_failsafe_default(r->policy->failsafe);
}

/* Documents → policy. *wrong: an earlier step found an error, and the policy is only read for more of them. */
static int policy_build(struct source *source, bool wrong, struct policy **policy, struct policy_diagnostics *d)
{
	_cleanup_(reader_done) struct reader r = {
		.policy = *policy, .diagnostics = d, .wrong = wrong, .incomplete = wrong};
	int e = model_build(&r, source);

	if (!e)
		e = r.failed;
	if (!e)
		e = policy_check(r.policy, d, &r.wrong);
	diagnostics_sort(d);
	if (!e && r.wrong)
		e = -EINVAL;
	return e;
}

/* ----------------------------------------------------------------------- sources */

/* p's own copy of a file name, which every place in the model points to. */
static const char *file_add(struct policy *p, const char *file)
{
	char *copy = strdup(file), **slot;

	slot = copy ? array_add(&p->files, &p->n_files, sizeof(*slot)) : NULL;
	if (!slot) {
		free(copy);
		return NULL;
	}
	*slot = copy;
	return copy;
}

static int text_add(struct source *source, struct policy *p, const char *name, const char *text, size_t length,
		    struct policy_diagnostics *d)
{
	const char *file = file_add(p, name);
	struct document *document;
	struct node root;
	int r;

	if (!file)
		return -ENOMEM;
	r = document_parse(file, text, length, d, &root);
	if (r)
		return r;
	document = array_add(&source->documents, &source->n_documents, sizeof(*document));
	if (!document) {
		document_free(&root);
		return -ENOMEM;
	}
	document->root = root;
	return 0;
}

static int file_refuse(struct policy_diagnostics *d, const char *path, int errnum, const char *fact)
{
	int r = diagnostics_add(d, POLICY_ERROR, (struct policy_place){.file = path}, "%s", fact);

	return r ? r : -errnum;
}

static int file_read(const char *path, struct policy_diagnostics *d, char **ret_text, size_t *ret_length)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	_cleanup_free_ char *text = NULL;
	size_t length = 0, capacity = 0, n;

	if (!f)
		return file_refuse(d, path, errno, strerror(errno));
	do {
		if (array_reserve(&text, &capacity, length, 65536, 1))
			return -ENOMEM;
		n = fread(text + length, 1, capacity - length, f);
		length += n;
		if (length > DOCUMENT_BYTES_MAX)
			return file_refuse(d, path, EFBIG,
					   "larger than 256 MiB; split it into several files of a directory");
	} while (n);
	if (ferror(f))
		return file_refuse(d, path, errno, strerror(errno));
	*ret_text = TAKE_PTR(text);
	*ret_length = length;
	return 0;
}

static int file_add_document(struct source *source, struct policy *p, const char *path, struct policy_diagnostics *d)
{
	_cleanup_free_ char *text = NULL;
	size_t length = 0;
	int r = file_read(path, d, &text, &length);

	return r ? r : text_add(source, p, path, text, length, d);
}

static bool name_ends(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);

	return n > m && !strcmp(name + n - m, end);
}

/* Cases lie beside policies and are not part of them. *.yml is not either, but whoever put it there may think so. */
static int name_is_policy(const struct dirent *entry)
{
	return entry->d_name[0] != '.' &&
	       ((name_ends(entry->d_name, ".yaml") && !name_ends(entry->d_name, ".cases.yaml")) ||
		name_ends(entry->d_name, ".yml"));
}

static int name_compare(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int directory_entry_add(struct source *source, struct policy *p, const char *directory, const char *name,
			       struct policy_diagnostics *d)
{
	_cleanup_free_ char *file = NULL;

	if (asprintf(&file, "%s/%s", directory, name) < 0) {
		file = NULL;
		return -ENOMEM;
	}
	if (name_ends(name, ".yml"))
		return diagnostics_add(d, POLICY_WARNING, (struct policy_place){.file = file},
				       "not read: the files of a policy are called *.yaml; rename it or move it away");
	return file_add_document(source, p, file, d);
}

/* Adds every file of a directory; goes on after a file with syntax errors, to report those of the others too. */
static int directory_add(struct source *source, struct policy *p, const char *path, struct policy_diagnostics *d)
{
	struct dirent **entries = NULL;
	int i, n, e, r = 0;

	n = scandir(path, &entries, name_is_policy, name_compare);
	if (n < 0)
		return file_refuse(d, path, errno, strerror(errno));
	for (i = 0; i < n; i++) {
		if (r && r != -EINVAL)
			break;
		e = directory_entry_add(source, p, path, entries[i]->d_name, d);
		r = e ? e : r;
	}
	if (!r && !source->n_documents)
		r = file_refuse(d, path, EINVAL, "no *.yaml file in this directory; name a policy");
	for (i = 0; i < n; i++)
		free(entries[i]);
	free(entries);
	return r;
}

static int path_add(struct source *source, struct policy *p, const char *path, struct policy_diagnostics *d)
{
	struct stat st;

	if (stat(path, &st))
		return file_refuse(d, path, errno, strerror(errno));
	return S_ISDIR(st.st_mode) ? directory_add(source, p, path, d) : file_add_document(source, p, path, d);
}

/* After the sources were read with result r (-EINVAL: some were refused, the others are still worth reading). */
static int sources_finish(int r, struct source *source, struct policy **policy, struct policy_diagnostics *d,
			  struct policy **ret_policy)
{
	if (r && r != -EINVAL)
		return r;
	r = policy_build(source, r != 0, policy, d);
	if (!r)
		*ret_policy = TAKE_PTR(*policy);
	return r;
}

int policy_load(const char *path, struct policy_diagnostics *diagnostics, struct policy **ret_policy)
{
	_cleanup_(policy_freep) struct policy *p = policy_new();
	_cleanup_(source_done) struct source source = {};

	if (!p)
		return -ENOMEM;
	return sources_finish(path_add(&source, p, path, diagnostics), &source, &p, diagnostics, ret_policy);
}

int policy_load_text(const char *name, const char *text, size_t length, struct policy_diagnostics *diagnostics,
		     struct policy **ret_policy)
{
	_cleanup_(policy_freep) struct policy *p = policy_new();
	_cleanup_(source_done) struct source source = {};

	if (!p)
		return -ENOMEM;
	return sources_finish(text_add(&source, p, name, text, length, diagnostics), &source, &p, diagnostics,
			      ret_policy);
}
