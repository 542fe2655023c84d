// SPDX-License-Identifier: Apache-2.0
/*
 * YAML text → node tree, by libyaml's events. Called by yaml.c. What the policy language does not need is refused here
 * with its place: anchors, aliases, tags, several documents, NUL in scalars, deep nesting. So the tree is a tree: its
 * size is bounded by the text's.
 */
#include "policy/document.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/cleanup.h"
#include "policy/array.h"
#include "policy/diagnostics.h"
#include "policy/syntax.h"

struct loader {
	yaml_parser_t yaml;
	const char *file;
	const char *text;
	size_t length;
	struct policy_diagnostics *diagnostics;
};

static struct policy_place place_of(const struct loader *l, yaml_mark_t mark)
{
	return (struct policy_place){l->file, (unsigned int)mark.line + 1, (unsigned int)mark.column + 1};
}

static int refuse(struct loader *l, yaml_mark_t mark, const char *text)
{
	int r = diagnostics_add(l->diagnostics, POLICY_ERROR, place_of(l, mark), "%s", text);

	return r ? r : -EINVAL;
}

static int event_next(struct loader *l, yaml_event_t *ret_event)
{
	return yaml_parser_parse(&l->yaml, ret_event)
		       ? 0
		       : syntax_refuse(&l->yaml, l->file, l->text, l->length, l->diagnostics);
}

static int node_read(struct loader *l, const yaml_event_t *event, unsigned int depth, struct node *node);

static int scalar_read(struct loader *l, const yaml_event_t *event, struct node *node)
{
	if (strlen((const char *)event->data.scalar.value) != event->data.scalar.length)
		return refuse(l, event->start_mark, "text with a NUL character; remove it");
	node->kind = NODE_SCALAR;
	node->text = strdup((const char *)event->data.scalar.value);
	return node->text ? 0 : -ENOMEM;
}

/* Reads children up to the event of type `end`. On failure the node keeps what it has; the caller frees the tree. */
static int children_read(struct loader *l, yaml_event_type_t end, unsigned int depth, struct node *node)
{
	yaml_event_t event;
	struct node *child;
	int r;

	for (;;) {
		r = event_next(l, &event);
		if (r)
			return r;
		if (event.type == end) {
			yaml_event_delete(&event);
			return 0;
		}
		child = array_add(&node->children, &node->n_children, sizeof(*child));
		r = child ? node_read(l, &event, depth + 1, child) : -ENOMEM;
		yaml_event_delete(&event);
		if (r)
			return r;
	}
}

/* The parts that an event of any kind of node may carry and the language refuses. */
static int extras_refuse(struct loader *l, const yaml_event_t *event, const yaml_char_t *anchor, const yaml_char_t *tag)
{
	if (anchor)
		return refuse(l, event->start_mark,
			      "anchors (&name) are not part of the policy language; write the value out");
	if (tag)
		return refuse(
			l, event->start_mark,
			"tags (!name) are not part of the policy language; remove it, or use 'except' of a segment to "
			"leave addresses out");
	return 0;
}

static int node_read(struct loader *l, const yaml_event_t *event, unsigned int depth, struct node *node)
{
	int r;

	node->place = place_of(l, event->start_mark);
	if (depth > DOCUMENT_DEPTH_MAX)
		return refuse(l, event->start_mark, "nested too deep; a policy needs no more than 7 levels");
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		r = extras_refuse(l, event, event->data.scalar.anchor, event->data.scalar.tag);
		return r ? r : scalar_read(l, event, node);
	case YAML_SEQUENCE_START_EVENT:
		node->kind = NODE_LIST;
		r = extras_refuse(l, event, event->data.sequence_start.anchor, event->data.sequence_start.tag);
		return r ? r : children_read(l, YAML_SEQUENCE_END_EVENT, depth, node);
	case YAML_MAPPING_START_EVENT:
		node->kind = NODE_MAPPING;
		r = extras_refuse(l, event, event->data.mapping_start.anchor, event->data.mapping_start.tag);
		return r ? r : children_read(l, YAML_MAPPING_END_EVENT, depth, node);
	default:
		return refuse(
			l, event->start_mark,
			"aliases (*name) are not part of the policy language; write the value out, or put a name that "
			"begins with * in quotes");
	}
}

/* stream start, document start, one node, document end, stream end. */
static int stream_read(struct loader *l, struct node *root)
{
	bool read = false;
	yaml_event_t event;
	int r = 0;

	for (;;) {
		r = event_next(l, &event);
		if (r)
			return r;
		switch (event.type) {
		case YAML_STREAM_START_EVENT:
		case YAML_DOCUMENT_END_EVENT:
			break;
		case YAML_DOCUMENT_START_EVENT:
			if (read)
				r = refuse(l, event.start_mark, "a second document; put it into a file of its own");
			break;
		case YAML_STREAM_END_EVENT:
			yaml_event_delete(&event);
			return read ? 0 : refuse(l, l->yaml.mark, "the file is empty; begin with 'sluice: 1'");
		default:
			r = node_read(l, &event, 1, root);
			read = true;
		}
		yaml_event_delete(&event);
		if (r)
			return r;
	}
}

int document_parse(const char *file, const char *text, size_t length, struct policy_diagnostics *d,
		   struct node *ret_root)
{
	struct loader l = {.file = file, .text = text, .length = length, .diagnostics = d};
	struct node root = {};
	int r;

	if (!yaml_parser_initialize(&l.yaml))
		return -ENOMEM;
	yaml_parser_set_encoding(&l.yaml, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&l.yaml, (const unsigned char *)text, length);
	r = stream_read(&l, &root);
	yaml_parser_delete(&l.yaml);
	if (r) {
		document_free(&root);
		return r;
	}
	*ret_root = root;
	return 0;
}

/* Recurses no deeper than DOCUMENT_DEPTH_MAX. */
void document_free(struct node *root)
{
	size_t i;

	for (i = 0; i < root->n_children; i++)
		document_free(&root->children[i]);
	free(root->children);
	free(root->text);
	*root = (struct node){};
}
