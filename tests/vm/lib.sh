# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What the cases of tests/vm share. A case file has up to three parts, and is read by both ends:
#
#   # kernels: 6.1 6.12     (a comment) where it runs; without it, everywhere
#   # minutes: 5            (a comment) how long it may take; 4 without it
#   # packages: NAME...     (a comment) of the kernel's release; the guest has them, and what they need, in $vm_kernel/tools
#   host WORD ARG...        what the host does when the guest asks for it; `host up` before the guest starts, `host down` after it
#   guest                   what the guest does
#
# The two ends:
#
#      guest 10.77.0.2 ── eth0 ─ virtio ─ tap0 ── 10.77.0.1 ┐ host: a namespace of the run's own,
#            10.77.1.2 ── eth1 ─ virtio ─ tap1 ── 10.77.1.1 ┘ with `sluice target`
#
# A case says "ok - NAME", "not ok - NAME: WHY" or "skip - NAME: WHY", a line each.

GUEST=10.77.0.2 HOST=10.77.0.1 HOST_B=10.77.1.1 ASK_PORT=4999
failures=0

ok() { echo "ok - $1"; }
not_ok() {
	echo "not ok - $1: ${2//$'\n'/ | }"
	((failures++))
}

# case_ok NAME COMMAND...: passes if the command succeeds; the end of its output is the why.
case_ok() {
	local name=$1 out
	shift
	if out=$("$@" 2>&1); then ok "$name"; else not_ok "$name" "$(tail -n 4 <<<"${out:-$* failed}")"; fi
}

# case_is NAME WANTED COMMAND...: passes if the command succeeds and says exactly that.
case_is() {
	local name=$1 wanted=$2 out
	shift 2
	if out=$("$@" 2>&1) && [[ $out == "$wanted" ]]; then ok "$name"; else not_ok "$name" "not '$wanted' but '$(tail -n 4 <<<"$out")'"; fi
}
not() { ! "$@"; }

# wait_for SECONDS COMMAND...: until the command succeeds. The condition itself must be cheap.
wait_for() {
	local deadline=$((${EPOCHREALTIME/./} + ${1}000000))
	shift
	until "$@" >/dev/null 2>&1; do
		((${EPOCHREALTIME/./} < deadline)) || return 1
		read -rt 0.1 <> <(:) || :
	done
}

# two_at_once LANE: `LANE 0` and `LANE 1` side by side; each returns how many of its cases failed.
two_at_once() {
	local lanes=() pid lane
	for lane in 0 1; do
		"$1" "$lane" &
		lanes+=($!)
	done
	for pid in "${lanes[@]}"; do
		wait "$pid" || ((failures += $?))
	done
}

# ------------------------------------------------------------------------------------------------------- guest's end

# ask WORD ARG...: has the host do something, waits for it, says what it said; its status is the host's. By the first path, or ASK_BY.
ask() {
	local answer status
	answer=$(printf '%s\n' "$*" | ncat --no-shutdown -w 120s "${ASK_BY:-$HOST}" "$ASK_PORT") || return
	status=${answer##*$'\n'}
	answer=${answer%"$status"}
	[[ $answer ]] && printf '%s' "$answer"
	return "${status:-1}"
}

guest_network() {
	local i name
	for i in 0 1; do
		name=$(basename "$(dirname "$(grep -l "52:54:00:77:0$i:02" /sys/class/net/*/address)")")
		[[ $name == "eth$i" ]] || { ip link set "$name" down && ip link set "$name" name "eth$i"; } || return
		ip addr add "10.77.$i.2/24" dev "eth$i"
		ip -6 addr add "fd00:77:$i::2/64" dev "eth$i" nodad
		ip link set "eth$i" up
	done
}

# The kernel may complain of nothing while a case runs: an oops, a warning, a hung task is a failure of its own.
guest_kernel_quiet() {
	local said
	said=$(dmesg | grep -E 'BUG:|WARNING:|Oops|Call Trace|hung_task|blocked for more than|general protection') || return 0
	echo "$said" | head -5
	return 1
}

guest_run() {
	guest_network || not_ok "network of the guest" "$(ip -br link)"
	guest
	case_ok "the guest's kernel complained of nothing" guest_kernel_quiet
	dmesg >/run/vm/dmesg
	echo "$((failures > 0))" >/run/vm/status
}
