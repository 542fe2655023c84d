#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What a stranger learns by scanning: nothing. Not which ports are open or closed, not which hosts exist, not that there is a
# router; not one frame comes back to him. And the dataplane counts why. The same scans do learn all that before the policy.
#
#   trainer  10.10.1.10 ──┐
#                         ├── [ dpu: sluice ] ──── storage 10.20.0.5: echo on tcp and udp 4420 and 5000
#   intruder 10.10.66.66 ─┘   10.10.66.1, fd00:10:66::1
. "$(dirname "$0")/lib.sh"

command -v traceroute >/dev/null || { echo "not ok - $test_name: traceroute is missing; 'make deps'"; exit 1; }

cat >"$tmp/policy.yaml" <<'YAML'
sluice: 1
name: scans
default: deny
conntrack: {pickup: 0s}
failsafe: [icmpv6/135, icmpv6/136]
interfaces:
  - {name: trainer}
  - {name: intruder, antispoof: [outside]}
  - {name: storage}
segments:
  trainers: [10.10.1.0/24, "fd00:10:1::/64"]
  outside: [10.10.66.0/24, "fd00:10:66::/64", "fe80::/10"]
  store: [10.20.0.5, "fd00:20::5"]
rules:
  - {name: storage, from: trainers, to: store, service: [tcp/4420, tcp/5000, udp/5000], action: allow}
  - {name: never, from: outside, to: store, service: tcp/5000, action: deny}
YAML

dpu4=10.10.66.1 dpu6=fd00:10:66::1
absent4=10.20.0.77 absent6=fd00:20::77 # nobody has it

# He and his gateway know each other: frames that come to him are then answers, and nothing that links do by themselves.
link_address() { ip -n "$(topology_namespace "$1")" -j link show "$2" | jq -r '.[0].address'; }
know() { # HOST DEVICE LLADDR ADDRESS...
	local address
	for address in "${@:4}"; do
		ip -n "$(topology_namespace "$1")" neigh replace "$address" lladdr "$3" dev "$2" nud permanent
	done
}

# hears COMMAND...: frames that come to the intruder meanwhile are counted; the number is $heard.
hears() {
	local ears status
	: >"$tmp/ears"
	topology_start intruder timeout 60 tcpdump --immediate-mode -ni eth0 -Q in -w "$tmp/heard" \
		'not arp and not ip6 multicast' >/dev/null 2>"$tmp/ears"
	ears=$started
	wait_for 5 grep -q "listening on" "$tmp/ears" || { echo "tcpdump does not listen: $(cat "$tmp/ears")"; return 1; }
	"$@"
	status=$?
	kill -TERM "$ears"
	wait_for 5 topology_process_gone "$ears" || { echo "tcpdump does not end"; return 1; }
	heard=$(sed -n 's/ packets\? captured//p' "$tmp/ears")
	return "$status"
}

# scan ARGUMENT...: what nmap says, in $said.
scan() {
	said=$(topology_in intruder nmap -n -Pn --send-ip --max-retries 0 --host-timeout 20s --max-rtt-timeout 200ms -T5 "$@" 2>&1)
	grep -qE '^[0-9]+(/(tcp|udp|sctp))? +[a-z|]+ ' <<<"$said" || { echo "nmap says nothing of any port: $said"; return 1; }
}

learns() { # PATTERN ARGUMENT...: sees it, and hears answers
	local pattern=$1
	shift
	hears scan "$@" || return 1
	grep -qE "$pattern" <<<"$said" || { echo "it does not see $pattern: $said"; return 1; }
	((heard)) || { echo "he heard nothing, so ears prove nothing"; return 1; }
}

# learns_nothing REASON ARGUMENT...: every port is filtered or does not answer, no frame comes back, and the reason is counted.
learns_nothing() {
	local reason=$1 before after
	shift
	before=$(reason_packets dpu "$reason")
	hears scan "$@" || return 1
	after=$(reason_packets dpu "$reason")
	! grep -E '^[0-9]+(/(tcp|udp|sctp))? +(open|closed|unfiltered)( |$)' <<<"$said" || return 1
	((heard == 0)) || { tcpdump -nr "$tmp/heard" 2>/dev/null; return 1; }
	((after > before)) || { echo "$reason stayed at $after"; return 1; }
}
trace() { said=$(topology_in intruder traceroute -n -q 1 -w 0.2 -m 4 "$@" 2>&1) || { echo "$said"; return 1; }; }
forged() { # ARGUMENT...: with the trainer's address
	ip -n "$(topology_namespace intruder)" addr add "$TRAINER4/32" dev lo
	learns_nothing antispoof -e eth0 -S "$TRAINER4" "$@"
	local status=$?
	ip -n "$(topology_namespace intruder)" addr del "$TRAINER4/32" dev lo
	return "$status"
}
no_hop() { # ARGUMENT...
	hears trace "$@" || return 1
	! grep -E '^ *[0-9]+ +[^* ]' <<<"$said" || return 1
	((heard == 0)) || { tcpdump -nr "$tmp/heard" 2>/dev/null; return 1; }
}
hops() { [[ $(topology_in intruder traceroute -n -q 1 -w 1 -m 4 "$@" 2>&1) == *"$dpu4"* ]]; }

hosts_up
serve storage
know intruder eth0 "$(link_address dpu intruder)" $dpu4 $dpu6
know dpu intruder "$(link_address intruder eth0)" "$INTRUDER4" "$INTRUDER6"
case_ok "before: a SYN scan sees the open port" learns '^5000/tcp +open' -sS -p 5000,8009 "$STORAGE4"
case_ok "before: and the closed one" learns '^8009/tcp +closed' -sS -p 5000,8009 "$STORAGE4"
case_ok "before: over IPv6, too" learns '^5000/tcp +open' -6 -sS -p 5000,8009 "$STORAGE6"
case_ok "before: in fragments, too" learns '^5000/tcp +open' -f -sS -p 5000 "$STORAGE4"
case_ok "before: an ACK scan sees that nothing filters" learns '^5000/tcp +unfiltered' -sA -p 5000 "$STORAGE4"
case_ok "before: a FIN scan sees the closed port" learns '^8009/tcp +closed' -sF -p 8009 "$STORAGE4"
case_ok "before: a UDP scan sees the closed port" learns '^8009/udp +closed' -sU -p 8009 "$STORAGE4"
case_ok "before: the router is seen" hops "$STORAGE4"

case_ok "the policy is in force" sluice_in dpu apply "$tmp/policy.yaml"
case_ok "the trainer gets through" tcp_echo trainer "$STORAGE4" 5000

tcp=(-p 22,4420,5000,8009)
for target in "$STORAGE4" $absent4 $dpu4 "$STORAGE6" $absent6 $dpu6; do
	v=()
	[[ $target != *:* ]] || v=(-6)
	name=$target
	case_ok "$name: SYN" learns_nothing default-deny "${v[@]}" -sS "${tcp[@]}" $target
	case_ok "$name: connect" learns_nothing default-deny "${v[@]}" -sT "${tcp[@]}" $target
	case_ok "$name: SYN from a port that is let through elsewhere" learns_nothing default-deny "${v[@]}" -g 4420 -sS "${tcp[@]}" $target
	case_ok "$name: ACK" learns_nothing default-deny "${v[@]}" -sA "${tcp[@]}" $target
	case_ok "$name: ACK, window" learns_nothing default-deny "${v[@]}" -sW "${tcp[@]}" $target
	case_ok "$name: FIN" learns_nothing default-deny "${v[@]}" -sF "${tcp[@]}" $target
	case_ok "$name: FIN and ACK" learns_nothing default-deny "${v[@]}" -sM "${tcp[@]}" $target
	case_ok "$name: FIN, PSH and URG (Xmas)" learns_nothing default-deny "${v[@]}" -sX "${tcp[@]}" $target
	case_ok "$name: no flags" learns_nothing tcp-flags "${v[@]}" -sN "${tcp[@]}" $target
	case_ok "$name: SYN and FIN" learns_nothing tcp-flags "${v[@]}" -sS --scanflags SYNFIN "${tcp[@]}" $target
	case_ok "$name: UDP" learns_nothing default-deny "${v[@]}" -sU "${tcp[@]}" $target
	case_ok "$name: SCTP" learns_nothing default-deny "${v[@]}" -sY "${tcp[@]}" $target
	case_ok "$name: no hop is seen by UDP" no_hop $target
	case_ok "$name: no hop is seen by TCP" no_hop -T -p 5000 $target
	[[ $target != *:* ]] || continue
	case_ok "$name: SYN in fragments of 8 bytes" learns_nothing fragment-tiny -f -sS "${tcp[@]}" $target
	case_ok "$name: SYN in fragments of 16 bytes" learns_nothing fragment-tiny -f -f -sS "${tcp[@]}" $target
	case_ok "$name: IP protocols" learns_nothing default-deny -sO -p 1,2,6,17,47,50,132 $target
	case_ok "$name: in another's name" forged -sS "${tcp[@]}" $target
done
never=$(rule_packets dpu never)
case_if "the rule that denies has counted its port" "$never packets" test "$never" -gt 0
case_ok "the trainer still gets through" tcp_echo trainer "$STORAGE4" 5000
