#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Policies that change while packets flow: allowed flows never break, revoked ones stop at once, a rejected policy and a killed
# process change nothing, and a pinned folder of another ABI is refused but stays in force.
#
#   trainer 10.10.1.10 ──── trainer [ dpu: sluice apply, again and again ] storage ──── storage 10.20.0.5
#                            the long transfer ─────────────────────────▶  echo on tcp/4420, tcp/5000
. "$(dirname "$0")/lib.sh"

# policy_write FILE NAME RULE...: the rules differ, all else is the same.
policy_write() {
	local file=$1 name=$2 rule
	shift 2
	cat >"$file" <<-EOP
		sluice: 1
		name: $name
		default: deny
		interfaces: [{name: trainer}, {name: intruder}, {name: storage}]
		segments:
		  trainers: [10.10.1.0/24, "fd00:10:1::/64"]
		  store: [10.20.0.5/32, "fd00:20::5/128"]
		rules:
	EOP
	for rule; do echo "  - $rule" >>"$file"; done
}
storage_rule='{name: storage, from: trainers, to: store, service: tcp/4420, action: allow}'
other_rule='{name: other, from: trainers, to: store, service: tcp/5000, action: allow}'
ping_rule='{name: ping, from: trainers, to: store, service: icmp/echo-request, action: allow}'
policy_write "$tmp/both.yaml" both "$storage_rule" "$other_rule"
policy_write "$tmp/one.yaml" one "$storage_rule"
policy_write "$tmp/turned.yaml" turned "$other_rule" "$ping_rule" "$storage_rule"
policy_write "$tmp/broken.yaml" broken '{name: x, from: nowhere, to: store, service: tcp/99999, action: maybe}'

hosts_up
serve storage
case_ok "first apply" sluice_in dpu apply "$tmp/both.yaml"
case_ok "status is another process's view of the same policy" \
	jq -e '.policy.name == "both"' <(sluice_in dpu status --json)

# -------------------------------------------------------------------------------------------- under a long transfer

chunk=$tmp/chunk
head -c 4000000 /dev/urandom >"$chunk"
chunks_send() { while [[ ! -e $tmp/enough ]]; do cat "$chunk"; echo x >>"$tmp/chunks"; done; }
# The echo comes back, so that both directions carry data all the time; what came back is counted, not kept.
transfer() { chunks_send | topology_in trainer ncat -w 10 "$STORAGE4" 4420 2>"$tmp/client.log" | wc -c >"$tmp/returned"; }
transfer &
transfer_pid=$!
wait_for 5 test -s "$tmp/chunks" || not_ok "transfer" "does not start"

applied=0
for ((i = 0; i < 50; i++)); do
	if ((i % 2)); then next=both; else next=turned; fi
	sluice_in dpu apply "$tmp/$next.yaml" >"$tmp/apply.log" 2>&1 && ((applied++))
done
before=$(wc -l <"$tmp/chunks")
wait_for 5 eval '(($(wc -l <"$tmp/chunks") > before + 2))'
alive=$?
: >"$tmp/enough"
wait "$transfer_pid"
expected=$(($(wc -l <"$tmp/chunks") * 4000000))
case_if "50 policies applied under traffic" "$applied: $(tail -1 "$tmp/apply.log")" test "$applied" = 50
case_if "the transfer goes on after them" "stalled at $before chunks" test "$alive" = 0
case_if "not a byte of it is lost" "$(<"$tmp/returned") of $expected came back" test "$(<"$tmp/returned")" = "$expected"

# --------------------------------------------------------------------------------------------------- revoked flows

# A connection that stays open: lines written to $to come back to the file.
exec {to}<> <(:)
topology_in trainer ncat "$STORAGE4" 5000 <&"$to" >"$tmp/line" 2>/dev/null &
disown
line_returns() {
	echo "$1" >&"$to"
	wait_for "${2:-2}" grep -qx "$1" "$tmp/line"
}
case_ok "an open connection echoes" line_returns first
stale=$(reason_packets dpu policy-change)
case_ok "apply of a policy without its rule" sluice_in dpu apply "$tmp/one.yaml"
case_if "the revoked connection is cut at once" "it still echoes" not line_returns second 500ms
case_if "and counted as policy-change" "still $stale" test "$(reason_packets dpu policy-change)" -gt "$stale"
case_ok "what both policies allow still works" tcp_echo trainer "$STORAGE4" 4420
case_ok "what is no longer allowed does not open again" denied dpu default-deny tcp_connects trainer "$STORAGE4" 5000
exec {to}>&-

# ------------------------------------------------------------------------------------------------ rejected, killed

was=$(generation dpu)
sluice_in dpu apply "$tmp/broken.yaml" >"$tmp/out" 2>&1
status=$?
case_if "a wrong policy is rejected with status 2" "status $status" test "$status" = 2
case_if "all three errors are reported with their places" "$(<"$tmp/out")" \
	test "$(grep -c "broken.yaml:[0-9]*:[0-9]*: error" "$tmp/out")" -ge 3
case_if "the rejected policy changed nothing" "generation $was became $(generation dpu)" test "$(generation dpu)" = "$was"
case_ok "and the allowed flow works" tcp_echo trainer "$STORAGE4" 4420

sluice_in dpu apply "$tmp/one.yaml" >/dev/null 2>&1
wrong=''
for delay in 0 2 4 6 8 12 16 24 32 48; do
	topology_start dpu "$SLUICE" --root "$(topology_root dpu)" apply "$tmp/turned.yaml" >/dev/null 2>&1
	read -rt "0.$(printf %03d "$delay")" <> <(:)
	kill -KILL "$started" 2>/dev/null
	wait_for 5 topology_process_gone "$started"
	tcp_echo trainer "$STORAGE4" 4420 || wrong+=" allowed flow broken at $delay ms;"
	tcp_connects intruder "$STORAGE4" 4420 && wrong+=" intruder passed at $delay ms;"
done
case_if "killing apply at 10 moments changes no verdict" "$wrong" test -z "$wrong"
case_ok "the next apply succeeds" sluice_in dpu apply "$tmp/one.yaml"

# ----------------------------------------------------------------------------------------------------- another ABI

control=$(find "$(topology_root dpu)" -name control | sed 1q)
value=$(bpftool -j map lookup pinned "$control" key 0 0 0 0 | jq -r '.value | map(ltrimstr("0x")) | join(" ")')
# shellcheck disable=SC2086
other=$(set -- $value; printf '%s ' "$1" "$2" "$3" "$4" 63; shift 5; echo "$*")
# shellcheck disable=SC2086
bpftool map update pinned "$control" key 0 0 0 0 value hex $other
sluice_in dpu apply "$tmp/both.yaml" >"$tmp/out" 2>&1
status=$?
case_if "a folder of another ABI is refused with status 3" "status $status: $(<"$tmp/out")" test "$status" = 3
case_if "and the reason said" "$(<"$tmp/out")" grep -qi abi "$tmp/out"
case_if "it stays in force: intruder is out" "it got through" not tcp_connects intruder "$STORAGE4" 4420
case_ok "it stays in force: trainer is in" tcp_echo trainer "$STORAGE4" 4420
case_ok "detach removes it all the same" sluice_in dpu detach
case_if "and leaves nothing pinned" "$(ls "$(topology_root dpu)" 2>&1)" test ! -e "$(topology_root dpu)"
case_ok "everything passes again" tcp_echo intruder "$STORAGE4" 4420
