# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What the end-to-end tests share. A test sources this, calls `hosts_up`, and says one line a case:
# "ok - NAME", "not ok - NAME: WHY" or "skip - NAME: WHY". Namespaces, pins and files carry the test's own name; they go when
# it ends, however it ends, and a test begins by removing what an aborted run of it left.
#
# A denial is believed only with its evidence: the client did not get through, and the dataplane counted the reason. A
# client that fails for any other cause fails the test.

set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
# shellcheck source=scripts/topology.sh
. scripts/topology.sh

BUILD=$(realpath "${BUILD:-build}")
SLUICE=$BUILD/sluice
FRAMES=$BUILD/tests/bench/frames
test_name=$(basename "$0" .sh)
test_name=${test_name#*-}
topology_prefix=sluice-e2e-$test_name
tmp=$(mktemp -d "/tmp/$topology_prefix.XXXXXX")
export SLUICE_RUN_DIR=/run/$topology_prefix
export SLUICE_STATE_DIR=$tmp/state
failures=0

if ((EUID)); then
	echo "skip - $test_name: network namespaces need root"
	exit 77
fi
for tool in ncat nmap jq ip ethtool ping "$SLUICE"; do
	command -v "$tool" >/dev/null || { echo "not ok - $test_name: $tool is missing; 'make deps all'"; exit 1; }
done

test_end() {
	local status=$?
	trap - EXIT INT TERM
	topology_down "$topology_prefix" 2>/dev/null
	rm -rf "$tmp" "$SLUICE_RUN_DIR"
	((status)) || ((failures == 0)) || status=1
	exit "$status"
}
trap test_end EXIT
trap 'exit 130' INT TERM

ok() { echo "ok - $test_name: $1"; }
not_ok() {
	echo "not ok - $test_name: $1: $2"
	((failures++))
}

# case_ok NAME COMMAND...: passes if the command succeeds; its output is the why.
case_ok() {
	local name=$1 out
	shift
	if out=$("$@" 2>&1); then ok "$name"; else not_ok "$name" "${out:-$* failed}"; fi
}

hosts_up() { topology_up "$topology_prefix" || { not_ok "topology" "hosts are not up"; exit 1; }; }

# sluice_in HOST ARG...: the host's own sluice, with its own pinned folder.
sluice_in() {
	local host=$1
	shift
	topology_in "$host" "$SLUICE" --root "$(topology_root "$host")" "$@"
}

# ------------------------------------------------------------------------------------------------------- counters

reason_packets() { sluice_in "$1" status --json | jq --arg n "$2" '[.reasons[] | select(.name == $n).packets] | add // 0'; }
rule_packets() { sluice_in "$1" status --json | jq --arg n "$2" '[.rules[] | select(.name == $n).packets] | add // 0'; }
generation() { sluice_in "$1" status --json | jq .generation; }

# ------------------------------------------------------------------------------------------------------- services

# serve HOST: echo on TCP and UDP ports 4420 and 5000, both families.
serve() {
	topology_start "$1" "$BUILD/tests/bench/echo" 4420 5000
	wait_for 5 serves "$1" || { not_ok "echo server" "does not listen"; exit 1; }
}
serves() { topology_in "$1" ncat -z -w 1 127.0.0.1 5000 && topology_in "$1" ncat -z -w 1 127.0.0.1 4420; }

# ------------------------------------------------------------------------------------------------------- clients

# Sends a line and wants it back. Time limits only bound a failure.
tcp_echo() { [[ $(echo hello | topology_in "$1" ncat -w 3 "${@:4}" "$2" "$3" 2>/dev/null) == hello ]]; }
udp_echo() { # ncat ends when its input does, so its input stays open until the answer is there
	local input client status
	exec {input}<> <(:)
	echo hello >&"$input"
	: >"$tmp/udp"
	topology_in "$1" ncat -u "${@:4}" "$2" "$3" <&"$input" >"$tmp/udp" 2>/dev/null &
	client=$!
	wait_for 2 grep -q hello "$tmp/udp"
	status=$?
	kill "$client" 2>/dev/null
	wait "$client" 2>/dev/null
	exec {input}>&-
	return "$status"
}
tcp_connects() { topology_in "$1" ncat -z -w 400ms "${@:4}" "$2" "$3" 2>/dev/null; }
pings() { topology_in "$1" ping -q -c 1 -W "${3:-1}" "$2" >/dev/null; }

# denied HOST REASON COMMAND...: the command fails, and `dpu` counted the reason while it ran.
denied() {
	local on=$1 reason=$2 before after
	shift 2
	before=$(reason_packets "$on" "$reason")
	if "$@"; then
		echo "it got through"
		return 1
	fi
	after=$(reason_packets "$on" "$reason")
	((after > before)) || { echo "it failed, but $reason stayed at $after: not for this reason"; return 1; }
}

# case_if NAME WHY COMMAND...: passes if the command succeeds; WHY is said if not.
case_if() {
	local name=$1 why=$2
	shift 2
	if "$@" >/dev/null 2>&1; then ok "$name"; else not_ok "$name" "$why"; fi
}
not() { ! "$@"; }
