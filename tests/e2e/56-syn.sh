#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# SYN floods, with real listeners and a kernel that has to believe in the cookies: SYNs from random sources as fast as one CPU
# makes them, and beside them connections that are to succeed and one that is to go on.
#
#   intruder 10.10.66.66 ──┐
#     (flood: live frames) ├─ [ dpu: sluice, echo on tcp/4420 ] ──── storage 10.20.0.5
#   trainer 10.10.1.10 ────┘
. "$(dirname "$0")/lib.sh"

LIVE=$BUILD/tests/bench/live
DPU_INTRUDER=10.10.66.1 DPU_TRAINER4=10.10.1.1 DPU_TRAINER6=fd00:10:1::1

# policy ATTACH [CONNTRACK]
policy() {
	cat <<EOP
sluice: 1
name: e2e-syn
conntrack: {pickup: 0s, max: 20k, syn-threshold: 1000${2:+, $2}}
interfaces:
  - {name: trainer, attach: $1}
  - {name: intruder, attach: $1}
services:
  echo: [tcp/4420, tcp/5000]
rules:
  - {name: echo, from: any, to: any, service: echo, action: allow}
EOP
}

status_of() { sluice_in dpu status --json | jq -r "$1"; }
settings() { topology_in "$1" sysctl -qw net.ipv4.tcp_syncookies="$2"; }
counted() { echo $(($(reason_packets dpu "$1") - ${before[$1]})); }
declare -A before
count_from_here() {
	local reason
	for reason in syn-cookie syn-cookie-ack half-open-limit; do before[$reason]=$(reason_packets dpu "$reason"); done
}

# flood SECONDS DEST: in the background; its output is in $tmp/flood.
flood() {
	: >"$tmp/flood"
	"$LIVE" flood --from-namespace "$(topology_namespace intruder)" --from-device eth0 --seconds "$1" \
		--to-namespace "$(topology_namespace dpu)" --to-device intruder --source 64.0.0.0 --sources $((1 << 28)) \
		--ports 32768 --dest "$2" --port 4420 --cpu 0 >"$tmp/flood" 2>&1 &
	flooder=$!
}
flood_is_on() { (($(status_of .syn.half_open) >= 1000)) && (($(counted "$1") > 1000)); }
flood_ends() {
	wait "$flooder" && read -r _ frames _ <"$tmp/flood"
}

# connects HOST ADDRESS COUNT: how many connections carry a line there and back.
connects() {
	local i good=0
	for ((i = 0; i < $3; i++)); do
		tcp_echo "$1" "$2" 4420 && ((good++))
	done
	echo "$good"
}

# A connection from before the flood: `talks` says a line on it and wants it back.
talk_begin() {
	coproc TALK { topology_in trainer ncat "$DPU_TRAINER4" 4420; }
	talks
}
talks() {
	local line
	echo "still here" >&"${TALK[1]}" && read -rt 3 -u "${TALK[0]}" line && [[ $line == "still here" ]]
}
talk_end() {
	[[ ${TALK_PID:-} ]] || return 0
	local pid=$TALK_PID
	kill "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null || true # ended by the signal
}

# survives NAME: a flood to the dpu itself. Cookies keep it from making flows; who means it gets through.
survives() {
	local name=$1 good
	count_from_here
	case_if "$name: a connection before the flood" "it does not talk" talk_begin
	flood 6 "$DPU_INTRUDER"
	case_if "$name: the flood is answered with cookies" "$(cat "$tmp/flood")" wait_for 5 flood_is_on syn-cookie
	good=$(connects trainer "$DPU_TRAINER4" 5)
	case_if "$name: new connections get through" "$good of 5 did" test "$good" = 5
	good=$(connects trainer "$DPU_TRAINER6" 5)
	case_if "$name: IPv6: new connections get through" "$good of 5 did" test "$good" = 5
	good=$(connects intruder "$DPU_INTRUDER" 5)
	case_if "$name: also by the flooded interface" "$good of 5 did" test "$good" = 5
	case_if "$name: the connection from before goes on" "it does not talk" talks
	case_if "$name: the flood was on all the while" "it had ended" kill -0 "$flooder"
	flood_ends
	case_if "$name: the kernel took the cookies" "$(counted syn-cookie-ack) were returned" \
		test "$(counted syn-cookie-ack)" -ge 15
	case_if "$name: at most $2 flows of 20,000 are half-open" "$(status_of .syn.half_open)" \
		test "$(status_of .syn.half_open)" -le "$2"
	echo "# $name: $frames SYNs, $(counted syn-cookie) cookies, $(counted syn-cookie-ack) returned"
	talk_end
	settle
}

# The flows of a flood live half a minute: a fresh table instead.
settle() { sluice_in dpu detach >/dev/null; }

hosts_up
serve dpu
serve storage
case_ok "echo works before the policy" tcp_echo trainer "$DPU_TRAINER4" 4420
settings dpu 2
ip -n "$(topology_namespace dpu)" route add default via "$INTRUDER4" # whom the kernel answers, where it does
topology_in dpu ethtool -K intruder gro on >/dev/null # or without XDP it takes no live frames

# Where nothing is forwarded the route lookup does not say whose an address is: its answers do.
topology_in dpu sysctl -qw net.ipv4.conf.intruder.forwarding=0
policy xdp >"$tmp/policy.yaml"
case_ok "tc way: policy is applied" sluice_in dpu apply "$tmp/policy.yaml"
case_if "tc way: a veth whose end takes no XDP frames is answered by TC" "$(status_of '.interfaces[].cookies')" \
	test "$(status_of '[.interfaces[].cookies] | unique | join(" ")')" = tc
survives "tc way" 1100

topology_in dpu sysctl -qw net.ipv4.conf.intruder.forwarding=1
for end in intruder trainer; do topology_in "$end" ethtool -K eth0 gro on >/dev/null; done
case_ok "redirect: policy is applied" sluice_in dpu apply "$tmp/policy.yaml"
case_if "redirect: one that does is answered by XDP" "$(status_of '.interfaces[].cookies')" \
	test "$(status_of '[.interfaces[].cookies] | unique | join(" ")')" = "xdp redirect"
survives "redirect" 1100

policy tc >"$tmp/policy.yaml"
case_ok "attach tc: policy is applied" sluice_in dpu apply "$tmp/policy.yaml"
survives "attach tc" 1100

policy xdp-generic >"$tmp/policy.yaml"
case_ok "generic: policy is applied" sluice_in dpu apply "$tmp/policy.yaml"
survives "generic" 1100

# What the kernel makes of a connection by cookie: without time stamps an old-fashioned one, with them a whole one.
options_of() { topology_in "$1" ss -tineH state established "$2 = :4420" | grep -o "$3" | head -1; }
options_agree() { # how each end scales what the other announces
	local here there
	here=$(options_of dpu sport 'wscale:[0-9,]*') there=$(options_of trainer dport 'wscale:[0-9,]*')
	[[ $here =~ ^wscale:([0-9]+),([0-9]+)$ && $there == "wscale:${BASH_REMATCH[2]},${BASH_REMATCH[1]}" ]] ||
		{ echo "here $here, there $there"; return 1; }
}
carries() { # 3 MB there and back
	head -c 3000000 /dev/urandom >"$tmp/sent"
	topology_in trainer ncat -w 5 "$1" 4420 <"$tmp/sent" >"$tmp/got" && cmp "$tmp/sent" "$tmp/got"
}
policy xdp "syn-cookies: always" >"$tmp/policy.yaml"
case_ok "options: policy is applied" sluice_in dpu apply "$tmp/policy.yaml"
for stamps in 1 2; do
	topology_in dpu sysctl -qw net.ipv4.tcp_timestamps=$stamps
	count_from_here
	case_if "timestamps=$stamps: a connection is made" "it is not" talk_begin
	if ((stamps == 2)); then
		case_if "timestamps=2: it has time stamps and SACK" "$(options_of dpu sport '.*')" \
			test "$(options_of dpu sport '\bts sack\b')"
		case_ok "timestamps=2: both ends scale windows alike" options_agree
	else
		case_if "timestamps=1: it has none" "$(options_of dpu sport '.*')" \
			test -z "$(options_of dpu sport '\bts\b\|wscale')"
	fi
	talk_end
	case_ok "timestamps=$stamps: 3 MB go there and back" carries "$DPU_TRAINER4"
	case_ok "timestamps=$stamps: IPv6: 3 MB go there and back" carries "$DPU_TRAINER6"
	case_if "timestamps=$stamps: all by cookie" "$(counted syn-cookie-ack)" test "$(counted syn-cookie-ack)" = 3
done
topology_in dpu sysctl -qw net.ipv4.tcp_timestamps=1
settle

# The kernel's usual setting: as many SYNs pass as the listener's queue takes, then there are cookies.
settings dpu 1
policy xdp >"$tmp/policy.yaml"
case_ok "syncookies=1: policy is applied" sluice_in dpu apply "$tmp/policy.yaml"
survives "syncookies=1" 10000

# Forwarded: no cookies, but the table does not fill, and connections go on.
policy xdp >"$tmp/policy.yaml"
case_ok "forwarded: policy is applied" sluice_in dpu apply "$tmp/policy.yaml"
count_from_here
case_if "forwarded: a connection before the flood" "it does not talk" talk_begin
flood 3 "$STORAGE4"
case_if "forwarded: the flood is limited" "$(cat "$tmp/flood")" wait_for 5 flood_is_on half-open-limit
case_if "forwarded: the connection from before goes on" "it does not talk" talks
case_if "forwarded: no more than half of the table is half-open" "$(status_of .flows.live) flows" \
	test "$(status_of .flows.live)" -le 10100
flood_ends
talk_end
