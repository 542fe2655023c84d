# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# The target on this kernel's io_uring, TCP and file systems: those of its unit tests that depend on them; two at once.
# minutes: 10

TESTS=(storage_faults storage_stress storage_ring storage_target storage_parts durability tls_target)

lane() {
	local i
	failures=0
	for ((i = $1; i < ${#TESTS[@]}; i += 2)); do
		case_ok "${TESTS[i]}_test" timeout 240 "$BUILD/tests/unit/${TESTS[i]}_test"
	done
	return "$failures"
}

guest() { two_at_once lane; }
