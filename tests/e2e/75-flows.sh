#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# `sluice flows` on real connections: what is listed, filtered, ordered and watched, and that a transfer ends when its flow is
# cut, in the time of pickup and after it, while another one goes on.
#
#   trainer 10.10.1.10 ──── trainer [ dpu: flows, flows --cut ] storage ──── storage 10.20.0.5
#     two transfers, datagrams, echoes ──────────────────────────▶  echo on tcp and udp 4420, 5000
. "$(dirname "$0")/lib.sh"

policy_write() { # PICKUP [RULE]
	cat >"$tmp/policy.yaml" <<-EOP
		sluice: 1
		name: flows
		default: deny
		interfaces: [{name: trainer}, {name: storage}]
		segments:
		  trainers: [10.10.1.0/24, "fd00:10:1::/64"]
		  store: [10.20.0.5/32, "fd00:20::5/128"]
		  elsewhere: [192.0.2.0/24]
		conntrack: {pickup: $1}
		rules:
		  - {name: storage, from: trainers, to: store, service: [tcp/4420, udp/4420], action: allow}
		  - {name: other, from: trainers, to: store, service: tcp/5000, action: allow}
		  - {name: ping, from: any, to: any, service: [icmp/echo-request, icmpv6/echo-request], action: allow}
		  - {name: elsewhere, from: elsewhere, to: any, action: deny}
		${2:-}
	EOP
}

status_of() { sluice_in dpu "$@" >"$tmp/out" 2>"$tmp/err"; echo $?; }
status_is() { # NAME STATUS ARG...
	local name=$1 wanted=$2 got
	shift 2
	got=$(status_of "$@")
	case_if "$name" "status $got: $(head -c 300 "$tmp/out" "$tmp/err")" test "$got" = "$wanted"
}
said() { case_if "$1" "$(head -c 600 "$tmp/out" "$tmp/err")" grep -qE -- "$2" "$tmp/out" "$tmp/err"; }
json_is() { case_if "$1" "$(head -c 900 "$tmp/out")" jq -e "$2" "$tmp/out"; }

flows() { sluice_in dpu flows "$@"; }
count_is() { [[ $(flows --count "${@:2}") == "$1" ]]; } # COUNT FILTER...
# counted NAME COUNT FILTER...
counted() { case_if "$1" "$(flows --count "${@:3}") of them" count_is "${@:2}"; }

# transfer HOST ADDRESS PORT: sends and gets back without end.
transfer() {
	topology_start "$1" sh -c "exec ncat $2 $3 </dev/zero >/dev/null" # the shell's own redirection is not for jobs
	transfers+=("$started")
}
bytes_of() { flows --json --protocol tcp --port "$1" --state established | jq '[.flows[] | .bytes + .bytes_back] | add // 0'; }
moves() { (($(bytes_of "$1") > ${2:-0} + 1000000)); }
no_flow_more() { (($(reason_packets dpu tcp-no-flow) >= $1 + 3)); }

# The transfer on port 4420 is cut, and nothing of it passes any more; that on port 5000 goes on.
cut_ends() { # NAME
	local strays passed moved
	transfer trainer "$STORAGE4" 4420
	case_ok "$1: a transfer runs" wait_for 10 moves 4420
	strays=$(reason_packets dpu tcp-no-flow)
	status_is "$1: it is cut" 0 flows --cut --port 4420 --state established --json
	json_is "$1: and nothing else" '. == {dry_run: false, matched: 1, cut: 1, ended: 0}'
	passed=$(rule_packets dpu storage)
	case_ok "$1: its packets belong to no flow" wait_for 20 no_flow_more "$strays"
	case_if "$1: none of them passes" "rule storage counted more" test "$(rule_packets dpu storage)" = "$passed"
	counted "$1: it is not back" 0 --protocol tcp --port 4420 --state established
	moved=$(bytes_of 5000)
	case_ok "$1: the other transfer goes on" wait_for 10 moves 5000 "$moved"
	case_ok "$1: a new connection opens" tcp_echo trainer "$STORAGE4" 4420
	kill -KILL "${transfers[-1]}"
}

transfers=()
hosts_up
serve storage
status_is "flows without a policy" 3 flows
said "says what to do" "sluice apply POLICY. first"
policy_write 1h
status_is "the policy is in force" 0 apply "$tmp/policy.yaml"

# ------------------------------------------------------------------------------------------------------- listing

transfer trainer "$STORAGE4" 5000
case_ok "a transfer runs" wait_for 10 moves 5000
udp_echo trainer "$STORAGE6" 4420
pings trainer "$STORAGE4"
status_is "flows" 0 flows
said "has a line for the transfer" "^tcp +10\.10\.1\.10:[0-9]+ +10\.20\.0\.5:5000 +established +other "
said "for the datagrams" "^udp +\[fd00:10:1::10\]:[0-9]+ +\[fd00:20::5\]:4420 +answered +storage "
said "for the echo, with its identifier" "^icmp +10\.10\.1\.10:[0-9]+ +10\.20\.0\.5 +answered +ping "
said "and how many there are" "^3 of 3 flows$"
status_is "flows --json" 0 flows --json
json_is "has its fields" '
	.generation > 0 and .live == 3 and .matched == 3 and .shown == 3 and (.flows | length == 3) and (.flows | all(
	(.tenant == "") and (.source | type == "string") and (.dest | type == "string") and .source_port > 0 and (.dest_port > 0) == (.protocol != "icmp")
	and (.rule | type == "string") and .decided_by == "rule" and (.age_seconds | type == "number") and .idle_seconds >= 0
	and .packets > 0 and .bytes > 0 and .packets_back > 0 and .bytes_back > 0 and (.bytes_per_second | type == "number")
	and .picked_up == false and .audit_deny == false and .stale == false))'
json_is "the transfer's" '
	.flows | map(select(.protocol == "tcp")) | length == 1 and .[0].source == "10.10.1.10" and .[0].dest == "10.20.0.5"
	and .[0].dest_port == 5000 and .[0].state == "established" and .[0].rule == "other" and .[0].bytes > 1000000'
status_is "status counts them" 0 status --json
json_is "with those half open" '.flows.live == 3 and .flows.half_open == 0 and .flows.max > 3'

counted "by address" 3 --address "$STORAGE4" --address fd00:20::/64
counted "by one family's" 1 --address ::/0
counted "by port" 1 --port 5000
counted "by ports and protocol" 1 --port 4000-6000 --protocol udp
counted "by rule" 1 --rule storage
counted "by no rule" 0 --rule default
counted "by state" 2 --state answered
counted "by segment" 3 --segment store
counted "by a segment that nobody is in" 0 --segment elsewhere
counted "by the host's tenant" 3 --tenant ''
status_is "by a segment that there is not" 2 flows --segment stare
said "which is said" "policy flows has no segment 'stare'; did you mean 'store'"
status_is "a wrong port is wrong usage" 2 flows --port 0
status_is "in order" 0 flows --sort bytes --limit 1
said "the most bytes first" ":5000 "
said "the others are counted" "^3 of 3 flows, 2 of them not shown$"
status_is "in order, turned round" 0 flows --sort bytes --reverse --json
json_is "the fewest bytes first" '[.flows[] | .bytes + .bytes_back] | . == sort'

# A new policy is asked at the next packet only.
policy_write 1h "  - {name: more, from: elsewhere, to: any, service: tcp/1, action: deny}"
status_is "another policy" 0 apply "$tmp/policy.yaml"
status_is "flows that have been quiet since" 0 flows --protocol udp --json
json_is "are stale, of a rule that is still there" '.flows[0].stale and .flows[0].rule == "storage"'

# ------------------------------------------------------------------------------------------------------- watching

watch_json() {
	topology_in dpu timeout --preserve-status -s INT 2 "$SLUICE" --root "$(topology_root dpu)" flows --watch 0.2 --json --port 5000 \
		>"$tmp/out"
}
case_ok "--watch ends on SIGINT with status 0" watch_json
case_if "after several whole documents" "$(head -c 600 "$tmp/out")" jq -se '
	length >= 3 and all(.shown == 1) and .[-1].flows[0].bytes > .[0].flows[0].bytes and .[-1].flows[0].bytes_per_second > 0' "$tmp/out"
watch_terminal() {
	script -qec "stty rows 5 cols 60; nsenter --net=/run/netns/$(topology_namespace dpu) timeout --preserve-status -s INT 1 $SLUICE \
		--root $(topology_root dpu) flows --watch 0.2" /dev/null </dev/null >"$tmp/out"
}
case_ok "on a terminal, too" watch_terminal
case_if "it draws over what was there, as many as fit" "$(head -c 900 "$tmp/out")" grep -qa $'^3 of 3 flows, 1 of them not shown; every 0.2 s\033\[K' "$tmp/out"
case_if "and no line is longer than it" "$(head -c 900 "$tmp/out")" awk '{ gsub(/\033\[[0-9]*[A-Z]|\r/, ""); if (length($0) > 60) exit 1 }' "$tmp/out"

# ------------------------------------------------------------------------------------------------------- cutting

status_is "--cut without a filter is wrong usage" 2 flows --cut
status_is "--cut of nothing" 1 flows --cut --port 1
said "says so" "no flow matches"
status_is "--dry-run" 0 flows --cut --all --dry-run
said "only says how many" "^3 flows would be cut$"
counted "and cuts none" 3
case_ok "a datagram's flow is cut" flows --cut --protocol udp
case_ok "its next datagram makes a new one" udp_echo trainer "$STORAGE6" 4420
cut_ends "while strays are picked up"
policy_write 0s
status_is "no pickup any more" 0 apply "$tmp/policy.yaml"
cut_ends "afterwards"
status_is "all are cut" 0 flows --cut --all
case_ok "and none is left" wait_for 10 count_is 0 --state established
case_ok "--cut of a live flow while it is opened again and again" tcp_echo trainer "$STORAGE4" 5000
kill -KILL "${transfers[@]}" 2>/dev/null
