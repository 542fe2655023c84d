#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The firewall on a router, judged through real sockets and real frames: TCP, UDP, ICMP, both families; return traffic;
# forged sources; scans; malformed and tagged frames.
#
#   trainer  10.10.1.10 ───────┐  trainer            storage
#            fd00:10:1::10     ├─────[ dpu: sluice ]────────── storage 10.20.0.5, fd00:20::5
#   intruder 10.10.66.66 ──────┘  intruder                     echo on tcp/4420, tcp/5000, udp/5000
#            fd00:10:66::66
. "$(dirname "$0")/lib.sh"

cat >"$tmp/policy.yaml" <<'EOP'
sluice: 1
name: e2e-firewall
default: deny
conntrack: {pickup: 0s}
interfaces:
  - {name: trainer, antispoof: [trainers, link]}
  - {name: intruder, antispoof: [outside, link]}
  - {name: storage}
segments:
  trainers: [10.10.1.0/24, "fd00:10:1::/64"]
  outside: [10.10.66.0/24, "fd00:10:66::/64"]
  store: [10.20.0.5/32, "fd00:20::5/128"]
  link: ["fe80::/10"]
services:
  ping: [icmp/echo-request, icmpv6/echo-request]
rules:
  - {name: storage, from: trainers, to: store, service: tcp/4420, action: allow}
  - {name: telemetry, from: trainers, to: store, service: udp/5000, action: allow}
  - {name: ping, from: trainers, to: store, service: ping, action: allow}
  - {name: never, from: outside, to: store, service: tcp/5000, action: deny}
EOP

hosts_up
serve storage
serve trainer
case_ok "tcp/5000 works before the policy" tcp_echo trainer "$STORAGE4" 5000
case_ok "policy is applied" sluice_in dpu apply "$tmp/policy.yaml"

for family in v4 v6; do
	if [[ $family == v4 ]]; then store=$STORAGE4 trainer=$TRAINER4 intruder=$INTRUDER4
	else store=$STORAGE6 trainer=$TRAINER6 intruder=$INTRUDER6; fi

	case_ok "$family: allowed TCP connects and echoes" tcp_echo trainer "$store" 4420
	case_ok "$family: allowed UDP is answered" udp_echo trainer "$store" 5000
	case_ok "$family: allowed ping is answered" pings trainer "$store"
	case_ok "$family: TCP port without a rule is denied by default" \
		denied dpu default-deny tcp_connects trainer "$store" 5000
	case_ok "$family: a deny rule denies" denied dpu rule-deny tcp_connects intruder "$store" 5000
	case_ok "$family: intruder does not reach the storage port" \
		denied dpu default-deny tcp_connects intruder "$store" 4420
	case_ok "$family: intruder's ping is denied" denied dpu default-deny pings intruder "$store" 0.3
	case_ok "$family: intruder's UDP is denied" denied dpu default-deny udp_echo intruder "$store" 5000
	case_ok "$family: storage opens no connection to trainer" denied dpu default-deny tcp_connects storage "$trainer" 4420
	case_ok "$family: storage does not ping intruder" denied dpu default-deny pings storage "$intruder" 0.3

	ip -n "$(topology_namespace intruder)" addr add "$trainer/$((${#trainer} > 10 ? 128 : 32))" dev lo
	case_ok "$family: a forged source does not connect" denied dpu antispoof tcp_connects intruder "$store" 4420 -s "$trainer"
	ip -n "$(topology_namespace intruder)" addr del "$trainer/$((${#trainer} > 10 ? 128 : 32))" dev lo
done

# ------------------------------------------------------------------------------------- established flows and pieces

big_transfer() { # 20 MB through the echo and back, with super-frames and real windows
	head -c 20000000 /dev/urandom >"$tmp/sent"
	topology_in trainer timeout 20 ncat "$1" 4420 <"$tmp/sent" >"$tmp/back"
	cmp "$tmp/sent" "$tmp/back"
}
case_ok "20 MB through an allowed flow come back intact (v4)" big_transfer "$STORAGE4"
case_ok "20 MB through an allowed flow come back intact (v6)" big_transfer "$STORAGE6"
case_ok "fragmented ping passes (v4)" topology_in trainer ping -q -c 1 -W 2 -s 4000 "$STORAGE4"
case_ok "fragmented ping passes (v6)" topology_in trainer ping -q -c 1 -W 2 -s 4000 "$STORAGE6"

# ------------------------------------------------------------------------------------------------- a burst of new flows

burst_tracked() {
	local full
	full=$(reason_packets dpu conntrack-full)
	"$BUILD/tests/bench/live" send --from-namespace "$(topology_namespace trainer)" --from-device eth0 \
		--to-namespace "$(topology_namespace dpu)" --to-device trainer --source "$TRAINER4" --dest "$STORAGE4" \
		--ports 1024 --port 5000 --seconds 0.01 || return 1
	full=$(($(reason_packets dpu conntrack-full) - full))
	((full == 0)) || { echo "$full packets dropped as conntrack-full, with $(sluice_in dpu status --json | jq -c .flows)"; return 1; }
}
case_ok "1,024 UDP flows that begin in one burst are all tracked" burst_tracked

# ------------------------------------------------------------------------------------------------------------ scans

# scan FLAGS...: no port may be reported open, closed or unfiltered.
scan() {
	local out
	out=$(topology_in intruder nmap -n -Pn --max-retries 0 --host-timeout 10s -T5 "$@" -p 4420,5000,8009 2>/dev/null)
	grep -qE '^[0-9]+/(tcp|udp) ' <<<"$out" || { echo "nmap said nothing of any port: $out"; return 1; }
	! grep -E '^[0-9]+/(tcp|udp) +(open|closed|unfiltered) ' <<<"$out"
}
case_ok "SYN scan learns nothing" scan -sS "$STORAGE4"
case_ok "SYN scan learns nothing (v6)" scan -6 -sS "$STORAGE6"
case_ok "FIN scan learns nothing" scan -sF "$STORAGE4"
case_ok "Xmas scan learns nothing" scan -sX "$STORAGE4"
case_ok "NULL scan learns nothing" scan -sN "$STORAGE4"
case_ok "ACK scan learns nothing" scan -sA "$STORAGE4"
case_ok "UDP scan learns nothing" scan -sU "$STORAGE4"

# ------------------------------------------------------------------------------------------- frames no socket sends

dpu_mac=$(ip -n "$(topology_namespace dpu)" -j link show trainer | jq -r '.[0].address')
frame_counted() {
	local before after
	before=$(reason_packets dpu "$2")
	topology_in trainer "$FRAMES" send eth0 "$dpu_mac" 3 "$1" || return 1
	after=$(reason_packets dpu "$2")
	((after >= before + 3)) || { echo "$2 went from $before to $after"; return 1; }
}
frames=$("$FRAMES" list) && [[ $frames ]] || not_ok "frames to send" "$FRAMES lists none"
while read -r frame reason; do
	case_ok "frame $frame is dropped as $reason" frame_counted "$frame" "$reason"
done <<<"$frames"

case_ok "the allowed flow still works after all of it" tcp_echo trainer "$STORAGE4" 4420
case_ok "detach" sluice_in dpu detach
case_ok "after detach everything passes again" tcp_echo intruder "$STORAGE4" 5000
