// SPDX-License-Identifier: Apache-2.0
/* `sluice version`: what was built, and what this kernel offers it. */
#include <getopt.h>
#include <json-c/json.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <bpf/libbpf.h>

#include "base/util.h"
#include "cli/cli.h"

struct feature {
	const char *name;
	bool there;
	const char *without; /* what happens instead */
};

static bool has_io_uring(void)
{
	struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
	struct io_uring ring;

	if (io_uring_queue_init_params(4, &ring, &params))
		return false;
	io_uring_queue_exit(&ring);
	return true;
}

static void print_text(const struct feature *features, size_t count, const char *release)
{
	size_t i;

	printf("sluice %s, ABI %d, kernel %s, libbpf %s\n", SLUICE_VERSION, SLUICE_ABI_VERSION, release,
	       libbpf_version_string());
	for (i = 0; i < count; i++)
		printf("  %-10s %s%s\n", features[i].name,
		       features[i].there ? "yes" : "no: ", features[i].there ? "" : features[i].without);
}

static void print_json(const struct feature *features, size_t count, const char *release)
{
	struct json_object *o = json_object_new_object(), *f = json_object_new_object();
	size_t i;

	json_object_object_add(o, "version", json_object_new_string(SLUICE_VERSION));
	json_object_object_add(o, "abi", json_object_new_int(SLUICE_ABI_VERSION));
	json_object_object_add(o, "kernel", json_object_new_string(release));
	for (i = 0; i < count; i++)
		json_object_object_add(f, features[i].name, json_object_new_boolean(features[i].there));
	json_object_object_add(o, "features", f);
	printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY));
	json_object_put(o);
}

int cmd_version(int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {}};
	struct dataplane_features f;
	struct utsname kernel;
	bool json = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option != 'j')
			return cli_usage("version", "takes --json only");
		json = true;
	}
	uname(&kernel);
	dataplane_features(&f);
	const struct feature features[] = {
		{"bpffs", f.bpffs, "apply mounts it at /sys/fs/bpf"},
		{"tcx", f.tcx, "clsact is used"},
		{"xdp.frags", f.xdp_frags, "interfaces with large frames are attached without"},
		{"cpumap", f.cpumap, "steering by reuseport only"},
		{"io_uring", has_io_uring(), "`sluice target` falls back to older ring modes, or cannot run"},
	};
	if (geteuid())
		fprintf(stderr, "sluice: version: not root: kernel features cannot be probed and show as no\n");
	(json ? print_json : print_text)(features, ARRAY_SIZE(features), kernel.release);
	return EXIT_FINE;
}
