#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# `action: reject` with real sockets: who is rejected learns it at once, whatever way the programs are attached, from the
# far side and on the host itself; and a flood is answered at most 1,000 times a second.
#
#   trainer  10.10.1.10, fd00:10:1::10 ──── [ dpu: sluice ] ──── storage 10.20.0.5, fd00:20::5
#                                                                 echo on tcp/4420, tcp/5000, udp/5000
. "$(dirname "$0")/lib.sh"

# policy ATTACH
policy() {
	cat <<EOP
sluice: 1
name: e2e-reject
default: allow
conntrack: {pickup: 0s}
tenants: [red]
interfaces:
  - {name: trainer, attach: $1, vlans: {100: red}}
segments:
  store: [10.20.0.5, "fd00:20::5"]
services:
  echo: [tcp/5000, udp/5000]
  ping: [icmp/echo-request, icmpv6/echo-request]
rules:
  - {name: no-echo, from: any, to: any, service: echo, action: reject}
  - {name: no-ping, from: any, to: store, service: ping, action: reject}
EOP
}

# says WORDS COMMAND...: the command fails within half a second, and its last word on it has WORDS in it.
says() {
	local words=$1 out
	shift
	out=$(timeout 0.5 "$@" 2>&1) && { echo "it succeeded: $out"; return 1; }
	[[ $out == *"$words"* ]] || { echo "it says: ${out:-nothing, in time}"; return 1; }
}
connect() { topology_in "$1" bash -c "exec 3<>/dev/tcp/$2/5000"; }
export -f topology_in connect
export topology_prefix
refused() { says "Connection refused" bash -c "connect $1 $2"; }
filtered_ping() {
	local out
	out=$(topology_in trainer ping -c 1 -W 1 "$1" 2>&1)
	[[ $out == *"Packet filtered"* || $out == *"Administratively prohibited"* ]] || { echo "it says: $out"; return 1; }
}
datagram() { # the socket learns of it: its second send fails
	local out
	out=$(topology_in "$1" timeout 2 bash -c "exec 3<>/dev/udp/$2/5000; until echo x >&3; do exit 1; done; read -rt 0.5 -u 3; echo x >&3" 2>&1)
	[[ $out == *"No route to host"* || $out == *"Permission denied"* ]] || { echo "it says: ${out:-nothing}"; return 1; }
}
answers() { sluice_in dpu status --json | jq ".answers.$1"; }

hosts_up
serve storage
serve trainer
case_ok "tcp/5000 works before the policy" tcp_echo trainer "$STORAGE4" 5000

for attach in xdp tc xdp-generic; do
	policy $attach >"$tmp/policy.yaml"
	case_ok "$attach: policy is applied" sluice_in dpu apply "$tmp/policy.yaml"
	for family in v4 v6; do
		if [[ $family == v4 ]]; then store=$STORAGE4 trainer=$TRAINER4
		else store=$STORAGE6 trainer=$TRAINER6; fi
		case_ok "$attach: $family: TCP is refused at once" refused trainer "$store"
		case_ok "$attach: $family: a ping is answered: prohibited" filtered_ping "$store"
		case_ok "$attach: $family: a datagram's sender learns of it" datagram trainer "$store"
		case_ok "$attach: $family: what is not rejected works" tcp_echo trainer "$store" 4420
		case_ok "$attach: $family: on the host itself TCP is refused at once" refused dpu "$trainer"
		case_ok "$attach: $family: on the host itself a datagram's sender learns of it" datagram dpu "$trainer"
	done
	case_if "$attach: nothing was suppressed" "$(answers suppressed) suppressed" test "$(answers suppressed)" = 0
done

# A tagged SYN from a raw socket, and what comes back with the same tag.
tagged() {
	local pid mac
	mac=$(ip -n "$(topology_namespace dpu)" -j link show trainer | jq -r '.[0].address')
	: >"$tmp/tagged"
	topology_start trainer timeout 3 tcpdump -Z root -nel --immediate-mode -Q in -c 1 -i eth0 \
		'vlan 100 and tcp src port 5000' >"$tmp/tagged" 2>"$tmp/tagged.log"
	pid=$started
	wait_for 3 grep -q "listening on" "$tmp/tagged.log" || { cat "$tmp/tagged.log"; return 1; }
	topology_in trainer "$FRAMES" send eth0 "$mac" 1 "$1" 5000 || return 1
	wait_for 3 topology_process_gone "$pid" || kill "$pid"
	grep -qE 'vlan 100,.*Flags \[R\.\], .* ack 2?[0-9]+' "$tmp/tagged" || { cat "$tmp/tagged" "$tmp/tagged.log"; return 1; }
}
for attach in xdp tc xdp-generic; do
	policy $attach >"$tmp/policy.yaml"
	case_ok "$attach: again" sluice_in dpu apply "$tmp/policy.yaml"
	case_ok "$attach: the answer bears the packet's VLAN tag" tagged vlan-tag-unlisted
	case_ok "$attach: the answer bears the packet's VLAN tag, IPv6" tagged vlan-tag-unlisted-v6
done

# ------------------------------------------------------------------------------------------- connections that were allowed

# What a host has of the connection from that port. A reset leaves nothing; a close, TIME-WAIT at one end.
sockets() { topology_in "$1" ss -Htn exclude listening "( sport = :$2 or dport = :$2 )"; }
reset_both() { [[ -z $(sockets "$1" "$3") && -z $(sockets "$2" "$3") ]]; }

# cut ATTACH CLIENT SERVER ADDRESS: a connection idles while the policy comes that rejects it. Its next line resets both ends.
cut() {
	local attach=$1 client=$2 server=$3 address=$4 line port to
	printf 'sluice: 1\nname: open\ndefault: allow\ninterfaces: [{name: trainer, attach: %s}]\n' "$attach" >"$tmp/open.yaml"
	sluice_in dpu apply "$tmp/open.yaml" >/dev/null || return 1
	exec {to}<> <(:)
	: >"$tmp/line"
	topology_in "$client" ncat "$address" 5000 <&"$to" >"$tmp/line" 2>/dev/null &
	disown
	echo one >&"$to"
	wait_for 2 grep -q one "$tmp/line" || { echo "the connection does not echo"; return 1; }
	port=$(topology_in "$client" ss -Htn state established "dport = :5000" | awk '{ sub(/.*:/, "", $3); print $3 }')
	policy "$attach" >"$tmp/policy.yaml"
	sluice_in dpu apply "$tmp/policy.yaml" >/dev/null || return 1
	[[ $(sockets "$client" "$port") == ESTAB* && $(sockets "$server" "$port") == ESTAB* ]] || { echo "no connection from port '$port'"; return 1; }
	echo two >&"$to"
	wait_for 1 reset_both "$client" "$server" "$port"
	line="$client: $(sockets "$client" "$port") $server: $(sockets "$server" "$port")"
	exec {to}>&-
	[[ $line == "$client:  $server: " ]] || { echo "$line"; return 1; }
}
for attach in xdp tc xdp-generic; do
	case_ok "$attach: a connection that a new policy rejects is reset at both ends" cut $attach trainer storage "$STORAGE4"
	case_ok "$attach: the same, IPv6" cut $attach trainer storage "$STORAGE6"
	case_ok "$attach: the same, where the programs see its client at egress" cut $attach storage trainer "$TRAINER4"
	case_ok "$attach: the same, of the host itself" cut $attach dpu trainer "$TRAINER6"
done

# ------------------------------------------------------------------------------------------------------------- a flood

unreachables() { topology_in trainer awk '/^Icmp:/ && $5 ~ /^[0-9]+$/ {print $5}' /proc/net/snmp; }
flood() {
	local before start got ms most
	before=$(unreachables)
	start=${EPOCHREALTIME/./}
	"$BUILD/tests/bench/live" send --from-namespace "$(topology_namespace trainer)" --from-device eth0 \
		--to-namespace "$(topology_namespace dpu)" --to-device trainer --source "$TRAINER4" --dest "$STORAGE4" \
		--ports 1024 --port 5000 --seconds 2 >"$tmp/flood" || { cat "$tmp/flood"; return 1; }
	ms=$(((${EPOCHREALTIME/./} - start) / 1000))
	got=$(($(unreachables) - before))
	most=$((ms + 100))
	((got <= most && got >= 1000)) || { echo "$got answers in $ms ms"; return 1; }
	(($(answers suppressed) > 1000)) || { echo "only $(answers suppressed) suppressed: no flood"; return 1; }
}
policy xdp >"$tmp/policy.yaml" # a veth takes frames of the generator only where native XDP is
case_ok "attached to xdp again" sluice_in dpu apply "$tmp/policy.yaml"
case_ok "a flood is answered at most 1,000 times a second" flood
exit 0
