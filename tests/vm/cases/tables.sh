# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Tables of tests/bpf through the programs, as this kernel has compiled them; two at once. Those that run for minutes
# here, and those about the time that things take, are left to the host's kernel.
# minutes: 12

TABLES=(frames reject rules syn tunnel tenants flow_states steering flow_live)

# Every second one from the given on: what it says is said when it has ended.
lane() {
	local i program said failed=0
	for ((i = $1; i < ${#TABLES[@]}; i += 2)); do
		program=${TABLES[i]}
		if ! said=$(timeout 600 "$BUILD/tests/bpf/${program}_test" 2>&1); then
			said+=$'\n'"not ok - tables: ${program}_test ends as it should: it said no or took more than 600 s"
			failed=1
		fi
		echo "$said"
	done
	return "$failed"
}

# libxdp 1.3 leaves two descriptors open wherever it looks at a dispatcher, which flow_live does hundreds of times in one process.
guest() {
	ulimit -n 4096
	two_at_once lane
}
