/* SPDX-License-Identifier: Apache-2.0 */
/* The long help of `sluice io`; the options below it come from the table in io_options.c. Included by io.c alone. */
#ifndef SLUICE_CLI_IO_HELP_H
#define SLUICE_CLI_IO_HELP_H

static const char io_help_discover[] =
	"Asks the discovery controller at an address for its log page and prints one line a record: type, address,\n"
	"port, subsystem NQN. Use a subsystem's NQN with --nqn in the other subcommands.\n\n"
	"  sluice io discover --to 10.20.0.5:4420\n\n"
	"JSON: {\"records\": [{\"subtype\", \"address\", \"port\", \"subsystem\"}], \"skipped\"}\n";

static const char io_help_connect[] =
	"Connects an admin queue and one I/O queue, then disconnects. Succeeds if a host could use the subsystem;\n"
	"says what stands in the way if not. --identify also prints the controller and its namespaces.\n\n"
	"  sluice io connect --to 10.20.0.5 --nqn nqn.2026-11.io.example:datasets --identify\n\n"
	"JSON: {\"target\", \"subsystem\", \"cntlid\", \"model\", \"serial\", \"firmware\", \"max_transfer\",\n"
	"\"in_capsule\", \"commands\": [optional ones that it offers], \"namespaces\": [{\"nsid\", \"blocks\", \"block\", \"readonly\", \"uuid\"}]}\n"
	"Sizes are bytes; max_transfer 0: no limit.\n";

static const char io_help_read[] =
	"Copies --length bytes from --offset of a namespace to a file, or to standard output. Stops at the first\n"
	"error.\n\n"
	"  sluice io read --to 10.20.0.5 --nqn NQN --namespace 1 --length 1MiB --file part.img\n";

static const char io_help_write[] =
	"Copies a file, or standard input, to a namespace from --offset on, then flushes. The input must be whole\n"
	"blocks; nothing is padded. Stops at the first error; what was written before stays.\n\n"
	"  sluice io write --to 10.20.0.5 --nqn NQN --namespace 1 --file datasets.img\n";

static const char io_help_verify[] =
	"OVERWRITES a range of a namespace with a pattern, flushes, reads it back and checks every block. A\n"
	"block carries its own address, namespace and seed and a CRC32C, so that lost, torn, misplaced, stale\n"
	"and damaged blocks are told apart. --read-only writes nothing and checks what an earlier run with the\n"
	"same --seed wrote: after a restart, from another host, or after `bench --verify`.\n\n"
	"  sluice io verify --to 10.20.0.5 --nqn NQN --namespace 1 --length 64MiB --seed 7\n\n"
	"JSON: {\"blocks\", \"bad_blocks\", \"block\", \"bytes\", \"first_fault\": null or text,\n"
	"\"write_seconds\", \"read_seconds\", \"reconnects\", \"paths\": [PATH]}; PATH as of `bench`\n";

static const char io_help_bench[] =
	"Keeps --depth commands outstanding in each of --queues queues, each with a thread and an io_uring of\n"
	"its own, for --time or --count commands, and prints IOPS, MiB/s and latency (submission to\n"
	"completion). Commands that fail are counted by status and the run goes on; a lost connection is\n"
	"made anew and what was under way is sent again, by another path where there is one; a queue ends when\n"
	"no path came back within --ctrl-loss-timeout. Any error makes the exit status 1. With --read-percent below 100 it OVERWRITES the range: with\n"
	"any data, or with --verify with the pattern. On a terminal a line a second shows the progress.\n\n"
	"  sluice io bench --to 10.20.0.5 --nqn NQN --read-percent 70 --depth 64 --queues 2 --time 30s\n\n"
	"JSON, stable: {\"target\", \"subsystem\", \"pattern\", \"read_percent\", \"block_size\", \"depth\",\n"
	"\"queues\", \"seconds\", \"cpu_seconds\", \"total\": PART, \"read\": PART, \"write\": PART, \"errors\",\n"
	"\"bad_blocks\", \"statuses\": [{\"status\", \"name\", \"count\"}], \"failures\": [text],\n"
	"\"per_queue\": [{\"qid\", \"cpu\", \"ios\", \"iops\"}], \"reconnects\", \"paths\": [PATH]}\n"
	"PATH: {\"address\", \"state\": live, connecting or lost, \"ana\": [a state for each namespace],\n"
	"\"reconnects\", \"commands\", \"resubmitted\", \"retries\": [{\"status\", \"name\", \"count\"}] of these by status,\n"
	"\"aborts\", \"aborted\", \"ana_timeouts\", \"why\": null or text}\n"
	"PART: {\"ios\", \"bytes\", \"iops\", \"mib_per_s\", \"latency_us\": {\"mean\", \"min\", \"p50\", \"p90\",\n"
	"\"p99\", \"p999\", \"max\"}}; cpu -1: not pinned; status below 0: no answer, -errno\n";

static const char io_help_command[] =
	"One of the I/O commands beside read and write, over a range, one command at a time, then a flush where it\n"
	"changes something. COMMAND is one of\n"
	"  compare         the range with --file; exit status 1 if they differ\n"
	"  compare-write   a fused pair: --file is written if --expect is what is there; one command's length\n"
	"  copy            within the namespace, from --from to --offset\n"
	"  verify          the target reads and checks; no data move\n"
	"  zero            Write Zeroes\n"
	"  deallocate      Dataset Management: what is there is no longer needed; several ranges with --ranges\n"
	"  uncorrectable   Write Uncorrectable: reading fails until it is written again\n"
	"  flush\n\n"
	"  sluice io command copy --to 10.20.0.5 --nqn NQN --from 0 --offset 1GiB --length 64MiB\n"
	"  sluice io command deallocate --to 10.20.0.5 --nqn NQN --ranges 0+64KiB,1MiB+4KiB\n\n"
	"JSON: {\"command\", \"nsid\", \"offset\" (of the first range), \"length\" (of all), \"ranges\", \"commands\",\n"
	"\"bytes\", \"differs_at\": null or a byte, \"reconnects\", \"paths\": [PATH]}; PATH as of `bench`.\n"
	"length 0: none (flush)\n";

static const char io_help_reserve[] =
	"Persistent reservations as one host sees them. ACTION is register, replace (the key), unregister, acquire,\n"
	"preempt, preempt-abort, release, clear or report; afterwards what is in force is reported. A host is its\n"
	"--hostnqn. Types: write-exclusive, exclusive-access, and each with -registrants or -all.\n\n"
	"  sluice io reserve register --new-key 0x1234 --to 10.20.0.5 --nqn NQN\n"
	"  sluice io reserve acquire --key 0x1234 --type write-exclusive --to 10.20.0.5 --nqn NQN\n\n"
	"JSON: {\"nsid\", \"type\": none or as above, \"generation\", \"persists\", \"registered\": [{\"cntlid\" (65535: not\n"
	"connected), \"holds\", \"key\", \"hostid\"}]}\n";

static const char io_help_log[] =
	"A log page, taken apart. PAGE is supported, error, smart, firmware, changed, effects, ana, features or\n"
	"reservation; `sluice io discover` has the discovery log.\n\n"
	"  sluice io log ana --to 10.20.0.5 --nqn NQN\n\n"
	"JSON: {\"page\", \"lid\"} and the fields of the page; numbers of 128 bits by their lower half\n";

static const char io_help_feature[] =
	"A feature's value, and what the controller says of it. FEATURE is arbitration, power, temperature,\n"
	"error-recovery, write-cache, queues, write-atomicity, events, timestamp, keep-alive, behavior, host-id,\n"
	"reservation-mask, reservation-persistence or write-protect. What is set lasts as long as the controller:\n"
	"that of this command, unless the feature is the namespace's.\n\n"
	"  sluice io feature write-cache --to 10.20.0.5 --nqn NQN\n\n"
	"JSON: {\"feature\", \"fid\", \"value\" or \"data\" (bytes in hexadecimal), \"default\", \"changeable\", \"saveable\",\n"
	"\"per_namespace\"}\n";

static const char io_help_events[] =
	"Prints asynchronous events for --time, one line each, and the log page that each names: namespace-changed,\n"
	"ana-changed, reservation-notice, firmware-starting, or discovery-changed with --nqn\n"
	"nqn.2014-08.org.nvmexpress.discovery. Exit status 1 if the connection ends before.\n\n"
	"  sluice io events --to 10.20.0.5 --nqn NQN --time 1h\n\n"
	"JSON, one object a line: {\"event\", \"type\", \"info\", \"lid\", \"page\": as of `log`, or null}\n";

#endif
