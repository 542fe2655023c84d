// SPDX-License-Identifier: Apache-2.0
/*
 * The two banks of policy tables: fill the spare one, flip, read the live one. Called by apply and status. What always
 * holds: only the bank that is not live is written, and before it is written again no packet can still be using it,
 * because a flip does not return before the kernel's grace period has passed. The retired bank stays whole until the
 * next load: undo.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <bpf/btf.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "dataplane/image.h"
#include "dataplane/internal.h"

/* What the kernel must know to create an inner array. A room of up to this many times what is needed is used again. */
#define REUSE_FACTOR 4

static const struct table_type {
	const char *name;
	const char *value_type; /* in the object's BTF, so that bpftool prints fields */
	size_t value_size;
	size_t entries; /* 0: sized to the policy */
} table_types[] = {
#define T(table, type, entries) [TABLE_##table] = {#table, #type, sizeof(type), entries},
	SLUICE_BANK_TABLES(T)
#undef T
};

/* The bytes of one table of a compiled policy; those of `words` are written by its image. */
struct table_source {
	const void *data;
	size_t count; /* elements */
	const struct image *image;
};

static struct table_source table_source(const struct image *image, enum bank_table table)
{
	const struct policy_tables *t = image->tables;

	switch (table) {
	case TABLE_policy:
		return (struct table_source){&image->head, 1, NULL};
	case TABLE_tenants:
		return (struct table_source){t->tenants, t->n_tenants, NULL};
	case TABLE_words:
		return (struct table_source){NULL, (image->words + SLUICE_PAGE_WORDS - 1) / SLUICE_PAGE_WORDS, image};
	case TABLE_rules:
		return (struct table_source){t->rules, t->n_rules, NULL};
	default:
		return (struct table_source){};
	}
}

/* ------------------------------------------------------------------- inner arrays */

/* Descriptor of the inner array in a bank; -ENOENT: none. */
static int inner_get(const struct dataplane *dp, enum bank_table table, unsigned int bank)
{
	__u32 key = bank, id = 0;
	int fd;

	if (bpf_map_lookup_elem(dp->table[table], &key, &id))
		return -errno;
	fd = bpf_map_get_fd_by_id(id);
	return fd < 0 ? -errno : fd;
}

static int inner_view(int fd, size_t value_size, int prot, struct table_view *ret)
{
	struct bpf_map_info info = {};
	__u32 length = sizeof(info);
	size_t bytes;
	void *p;

	if (bpf_obj_get_info_by_fd(fd, &info, &length))
		return -errno;
	if (info.value_size != value_size)
		return -EPROTO;
	bytes = (size_t)info.max_entries * info.value_size;
	p = mmap(NULL, bytes, prot, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	*ret = (struct table_view){p, bytes, info.max_entries};
	return 0;
}

int table_view(const struct dataplane *dp, enum bank_table table, unsigned int bank, int prot, struct table_view *ret)
{
	_cleanup_close_ int fd = inner_get(dp, table, bank);

	return fd < 0 ? fd : inner_view(fd, table_types[table].value_size, prot, ret);
}

void table_unview(struct table_view *v)
{
	if (v->address)
		munmap(v->address, v->bytes);
	v->address = NULL;
}

/* The type information that the kernel holds for the control map covers all structs of the object. */
struct type_facts {
	struct btf *btf;
	int fd;
};

static void type_facts_done(struct type_facts *f)
{
	btf__free(f->btf);
	base_closep(&f->fd);
}

static int type_facts_get(const struct dataplane *dp, struct type_facts *ret)
{
	struct bpf_map_info info = {};
	__u32 length = sizeof(info);

	if (bpf_obj_get_info_by_fd(dp->map[MAP_control], &info, &length))
		return -errno;
	ret->btf = info.btf_id ? btf__load_from_kernel_by_id(info.btf_id) : NULL;
	ret->fd = info.btf_id ? bpf_btf_get_fd_by_id(info.btf_id) : -1;
	return 0;
}

static int inner_create(const struct type_facts *types, enum bank_table table, size_t count)
{
	const struct table_type *type = &table_types[table];
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE | (type->entries ? 0 : BPF_F_INNER_MAP));
	const char *name = strchr(type->value_type, ' ') + 1; /* past "struct" */
	int value, key, fd;

	if (types->btf && types->fd >= 0) {
		value = btf__find_by_name_kind(types->btf, name, BTF_KIND_STRUCT);
		key = btf__find_by_name_kind(types->btf, "unsigned int", BTF_KIND_INT);
		if (value > 0 && key > 0) {
			opts.btf_fd = (__u32)types->fd;
			opts.btf_key_type_id = (__u32)key;
			opts.btf_value_type_id = (__u32)value;
		}
	}
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, type->name, sizeof(__u32), (__u32)type->value_size, (__u32)count,
			    &opts);
	return fd < 0 ? -errno : fd;
}

/* The spare bank's own array if it is long enough and not far too long. */
static int inner_reuse(const struct dataplane *dp, enum bank_table table, unsigned int bank, size_t count)
{
	_cleanup_close_ int fd = inner_get(dp, table, bank);
	struct bpf_map_info info = {};
	__u32 length = sizeof(info);

	if (fd < 0)
		return fd;
	if (bpf_obj_get_info_by_fd(fd, &info, &length))
		return -errno;
	if (info.value_size != table_types[table].value_size || info.max_entries < count ||
	    info.max_entries / REUSE_FACTOR > count)
		return -ENOSPC;
	return TAKE_FD(fd);
}

static int table_fill(int fd, enum bank_table table, const struct table_source *source)
{
	size_t used = source->count * table_types[table].value_size;
	struct table_view view = {};
	int r = inner_view(fd, table_types[table].value_size, PROT_READ | PROT_WRITE, &view);

	if (r)
		return r;
	if (source->image) {
		memset(view.address, 0, view.bytes);
		image_write(source->image, view.address);
	} else {
		memcpy(view.address, source->data, used);
		memset((char *)view.address + used, 0, view.bytes - used);
	}
	table_unview(&view);
	return 0;
}

static int table_load(const struct dataplane *dp, const struct type_facts *types, enum bank_table table,
		      unsigned int bank, const struct table_source *source)
{
	_cleanup_close_ int fd = inner_reuse(dp, table, bank, source->count);
	__u32 key = bank;
	int r;

	if (fd >= 0)
		return table_fill(fd, table, source);
	fd = inner_create(types, table, max(source->count, (size_t)1));
	if (fd < 0)
		return fd;
	r = table_fill(fd, table, source);
	if (!r && bpf_map_update_elem(dp->table[table], &key, &fd, BPF_ANY))
		r = -errno;
	return r;
}

int bank_load(struct dataplane *dp, unsigned int bank, const struct policy_tables *t, struct error *err)
{
	_cleanup_(type_facts_done) struct type_facts types = {.fd = -1};
	struct table_source source;
	enum bank_table table;
	struct image image;
	int r = type_facts_get(dp, &types);

	image_plan(t, &image);
	for (table = 0; !r && table < TABLE_COUNT; table++) {
		source = table_source(&image, table);
		r = table_load(dp, &types, table, bank, &source);
		if (r)
			return error_system(err, -r, "%s: cannot load table %s with %zu entries into bank %u", dp->root,
					    table_types[table].name, source.count, bank);
	}
	return r ? error_system(err, -r, "%s: cannot load bank %u", dp->root, bank) : 0;
}

/* ------------------------------------------------------------------- the flip */

/*
 * Replacing an entry of a map of maps makes the kernel wait until every program that may have seen the old one has
 * ended. Here an entry is replaced by itself: what is wanted is the wait.
 */
int bank_settle(struct dataplane *dp, struct error *err)
{
	_cleanup_close_ int fd = -1;
	__u32 bank;

	for (bank = 0; fd < 0 && bank < 2; bank++)
		fd = inner_get(dp, TABLE_policy, bank);
	if (fd == -ENOENT) /* never loaded: nothing can be using it */
		return 0;
	bank--;
	if (fd < 0 || bpf_map_update_elem(dp->table[TABLE_policy], &bank, &fd, BPF_ANY))
		return error_system(err, fd < 0 ? -fd : errno, "%s: cannot wait for packets under way", dp->root);
	return 0;
}

int bank_flip(struct dataplane *dp, uint64_t generation, struct error *err)
{
	__atomic_store_n(&dp->control->generation, generation, __ATOMIC_RELEASE);
	return bank_settle(dp, err);
}

uint64_t bank_next_generation(const struct dataplane *dp)
{
	uint64_t live = dp->control->generation, next = live + 1;
	struct table_view spare = {};

	/* A flip that was taken back has used the spare bank's number: flows may bear it. */
	if (!table_view(dp, TABLE_policy, next & 1, PROT_READ, &spare)) {
		const struct sluice_policy *head = spare.address;

		if (head->generation >= next)
			next = head->generation + 2;
		table_unview(&spare);
	}
	return next;
}
