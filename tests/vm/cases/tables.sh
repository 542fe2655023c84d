# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Tables of tests/bpf through the programs, as this kernel has compiled them. Those that run for minutes here, and those about the
# time that things take, are left to the host's kernel.
# minutes: 8

guest() {
	local program
	for program in rules frames tunnel tenants flow_states; do
		timeout 240 "$BUILD/tests/bpf/${program}_test" | grep -a -v '^#'
		((PIPESTATUS[0] == 0)) || not_ok "tables: ${program}_test" "ended with status ${PIPESTATUS[0]}"
	done
}
