#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# `sluice replay` as a person uses it: real traffic, captured by tcpdump in two ways, judged afterwards by a policy that was not there.
#
#   trainer ────┐                      ┌──── storage  captured: any (cooked, knows directions)
#   intruder ───┴── dpu ───────────────┘
#                   captured: storage (Ethernet, nanoseconds); nothing applied until the end
. "$(dirname "$0")/lib.sh"

replay() { "$SLUICE" replay "$@"; }

# status_is NAME STATUS PATTERN ARG...: runs sluice replay, compares the status, and wants the pattern in what it says.
status_is() {
	local name=$1 wanted=$2 pattern=$3 status
	shift 3
	replay "$@" >"$tmp/out" 2>&1
	status=$?
	case_if "$name" "status $status, said: $(tail -c 300 "$tmp/out")" \
		eval '((status == wanted)) && grep -qE -- "$pattern" "$tmp/out"'
}

# capture HOST INTERFACE FILE [OPTION...]: starts tcpdump, returns when it listens.
capture() {
	local host=$1 interface=$2 file=$3
	shift 3
	topology_start "$host" tcpdump -Z root -U --immediate-mode -i "$interface" -w "$file" "$@" 2>"$file.log"
	captures+=("$started")
	wait_for 5 grep -q "listening on" "$file.log" || { not_ok "tcpdump" "$(<"$file.log")"; exit 1; }
}
captures=()

cat >"$tmp/policy.yaml" <<EOP
sluice: 1
name: e2e-replay
default: deny
interfaces:
  - {name: storage}
  - {name: 'eth*'}
failsafe: [tcp/22, icmpv6/neighbour-solicitation, icmpv6/neighbour-advertisement]
segments:
  trainers: [10.10.1.0/24, "fd00:10:1::/64"]
  storage: [10.20.0.0/24, "fd00:20::/64"]
rules:
  - {name: echo, from: trainers, to: storage, service: [tcp/4420, udp/5000], action: allow}
  - {name: no-5000, from: any, to: storage, service: tcp/5000, action: deny}
  - {name: ping, from: any, to: storage, service: [icmp/echo-request, icmpv6/echo-request], action: allow}
EOP
policy=$tmp/policy.yaml

# ------------------------------------------------------------------------------------------------------- captures

hosts_up
serve storage
capture dpu storage "$tmp/wire.pcap" --time-stamp-precision=nano
capture storage any "$tmp/cooked.pcap"
ip -n "$(topology_namespace dpu)" neigh flush dev storage
for to in "$STORAGE4" "$STORAGE6"; do
	case_ok "trainer talks tcp to $to" tcp_echo trainer "$to" 4420
	case_ok "trainer talks udp to $to" udp_echo trainer "$to" 5000
	case_ok "trainer talks tcp to another port of $to" tcp_echo trainer "$to" 5000
	case_ok "intruder talks tcp to $to" tcp_echo intruder "$to" 4420
	case_ok "intruder pings $to" pings intruder "$to"
	case_if "nobody serves port 22 of $to" "somebody does" not tcp_connects intruder "$to" 22
	case_if "nobody serves udp/4999 of $to" "somebody does" not udp_echo trainer "$to" 4999
done
tcp_echo storage "$TRAINER4" 4420 # nobody serves there: the storage host's own SYN
for pid in "${captures[@]}"; do
	kill -INT "$pid"
	wait_for 5 topology_process_gone "$pid" || not_ok "tcpdump ends" "process $pid does not"
done
packets() { tcpdump -r "$1" 2>/dev/null | wc -l; }

# ------------------------------------------------------------------------------------------------- one file, two ways

pins() { find /sys/fs/bpf; ls /run/netns; }
before=$(pins)
for file in wire cooked; do
	replay "$policy" "$tmp/$file.pcap" >"$tmp/$file.text" 2>"$tmp/err"
	status=$?
	case_if "$file: replay" "status $status, $(<"$tmp/err")" eval '((status == 0)) && test ! -s "$tmp/err"'
	replay --json "$policy" "$tmp/$file.pcap" >"$tmp/$file.json"
	jq -c 'select(has("packet"))' "$tmp/$file.json" >"$tmp/$file.packets"
	count=$(packets "$tmp/$file.pcap")
	case_if "$file: one line a packet, then a summary" "$count packets, $(wc -l <"$tmp/$file.json") lines" \
		eval '((count > 50 && $(wc -l <"$tmp/$file.json") == count + 1)) && tail -1 "$tmp/$file.json" | jq -e "has(\"summary\")"'
	case_if "$file: numbered in order" "$(head -c 200 "$tmp/$file.packets")" \
		eval 'jq -es "map(.packet) == [range(1; length + 1)]" "$tmp/$file.packets"'
	case_if "$file: every line has the five fields" "$(head -c 200 "$tmp/$file.packets")" \
		eval 'jq -es "all(keys_unsorted[:5] == [\"packet\", \"verdict\", \"reason\", \"rule\", \"tenant\"])" "$tmp/$file.packets"'
	case_if "$file: the summary adds up" "$(tail -1 "$tmp/$file.json")" eval 'jq -es "
		(map(select(has(\"packet\")))) as \$p | .[-1].summary |
		.packets == (\$p | length) and .pass + .drop + .reject == .packets and
		.drop == (\$p | map(select(.verdict == \"drop\")) | length) and
		([.reasons[]] | add) == .packets and
		.rules == (\$p | map(select(.rule != null)) | group_by(.rule) | map({key: .[0].rule, value: length}) | from_entries)" "$tmp/$file.json"'
	case_if "$file: the text says the same" "$(diff <(jq -r '"\(.packet) \(.verdict) \(.reason) \(.rule // "-")"' "$tmp/$file.packets") \
		<(awk '$2 ~ /^[0-9]+[.][0-9]+$/ { print $1, $3, $4, $5 }' "$tmp/$file.text") | head -5)" \
		cmp <(jq -r '"\(.packet) \(.verdict) \(.reason) \(.rule // "-")"' "$tmp/$file.packets") \
		<(awk '$2 ~ /^[0-9]+[.][0-9]+$/ { print $1, $3, $4, $5 }' "$tmp/$file.text")
done
case_if "replay leaves no pin and no namespace" "$(diff <(echo "$before") <(pins))" test "$before" == "$(pins)"
status_is "standard input is a capture too" 0 '"packets":' --json "$policy" - <"$tmp/wire.pcap"
case_if "the same file gives the same lines" "" cmp "$tmp/wire.json" <(replay --json "$policy" "$tmp/wire.pcap")

# with FILE REASON RULE: packets of the JSON lines that were decided so.
with() { jq -s --arg r "$2" --arg n "$3" 'map(select(.reason == $r and (.rule // "-") == $n)) | length' "$tmp/$1.packets"; }
# are FILE REASON RULE LEAST WHAT
are() {
	local n
	n=$(with "$1" "$2" "$3")
	case_if "$1: $5" "$n packets with reason $2 and rule $3" test "$n" -ge "$4"
}
# A connection has at least six packets after its SYN, however late somebody acknowledges, an exchange of datagrams one after its first.
for file in wire cooked; do
	are $file rule echo 4 "trainer's connections are new flows of the rule"
	are $file flow echo 14 "and both directions of them are its flows"
	are $file rule-deny no-5000 2 "what a rule denies names the rule"
	are $file default-deny - 2 "what no rule matches names none"
	are $file flow ping 2 "answers to pings are flows of the rule"
	are $file failsafe - 2 "failsafe comes before rules"
	are $file link-control - 1 "ARP passes"
done
case_if "cooked: the storage host's own SYN left" "$(grep ":4420 tcp" "$tmp/cooked.text" | tail -3)" \
	eval 'grep -E " drop +default-deny .*${STORAGE4//./\\.}:[0-9]+ > ${TRAINER4//./\\.}:4420 tcp" "$tmp/cooked.text"'

# ------------------------------------------------------------------------------------------------- against explain

# Every packet that the rules decided, asked again by address and service.
disagreements() {
	local file=$1 number from to service rule verdict answer source port asked=0
	while read -r number verdict rule from to service; do
		source=${from%:*} port=${from##*:}
		if [[ $service == icmp* ]]; then
			source=$from port=0
		else
			service=$service/${to##*:} to=${to%:*}
		fi
		source=${source#[} source=${source%]} to=${to#[} to=${to%]}
		answer=$("$SLUICE" explain "$policy" --from "$source" --to "$to" --service "$service" --source-port "$port" --json |
			jq -r '"\(.action) \(.rule // "-")"')
		[[ $answer == "${verdict/pass/allow} $rule" || $answer == "${verdict/drop/deny} $rule" ]] ||
			echo "packet $number: replay $verdict $rule, explain $answer ($source > $to $service)"
		((asked++))
	done < <(awk '$2 ~ /^[0-9]+[.][0-9]+$/ && ($4 == "rule" || $4 == "rule-deny" || $4 == "default-deny") { print $1, $3, $5, $7, $9, $10 }' "$tmp/$file.text")
	((asked >= 10)) || echo "only $asked packets to ask about"
}
for file in wire cooked; do
	differing=$(disagreements $file)
	case_if "$file: the first packet of each flow gets what explain says" "$differing" test -z "$differing"
done

# ------------------------------------------------------------------------------------------------- options

status_is "an interface by its glob's match" 0 "interface eth\\*" --summary --interface eth0 "$policy" "$tmp/wire.pcap"
status_is "an interface by its name" 0 "interface storage" --summary --interface storage "$policy" "$tmp/wire.pcap"
status_is "--summary has no packet lines" 0 "packets" --summary "$policy" "$tmp/wire.pcap"
case_if "really none" "$(head -3 "$tmp/out")" not grep -qE "^ +[0-9]+ +[0-9.]+ +(pass|drop)" "$tmp/out"
replay --host "$STORAGE4" --host "$STORAGE6" "$policy" "$tmp/wire.pcap" >"$tmp/host.text"
answers() { grep -cE " $1 .* (${STORAGE4//./\\.}|\[$STORAGE6\]):22 > " "$2"; } # from the failsafe port
case_if "with --host, answers from its failsafe port leave and pass" "$(grep ":22 " "$tmp/wire.text" "$tmp/host.text")" \
	eval '(($(answers "drop +default-deny" "$tmp/wire.text") == 2 && $(answers "pass +failsafe" "$tmp/host.text") == 2))'
sed 's/^name:/mode: audit\nname:/' "$policy" >"$tmp/audit.yaml"
replay --json "$tmp/audit.yaml" "$tmp/wire.pcap" >"$tmp/audit.json"
case_if "in audit mode everything passes, with its reason" "$(tail -1 "$tmp/audit.json")" eval 'jq -es "
	all(.[:-1][]; .verdict == \"pass\" and (.audited // false) == (.reason | test(\"deny|no-flow|unrelated\"))) and
	.[-1].summary.audited > 4 and .[-1].summary.drop == 0" "$tmp/audit.json"'
tcpdump -r "$tmp/wire.pcap" -w "$tmp/syn.pcap" 'tcp[tcpflags] & tcp-syn != 0' 2>/dev/null
status_is "a filtered capture" 0 '"rule":"echo"' --json "$policy" "$tmp/syn.pcap"
case_if "works where loopback is down" "$(unshare -n "$SLUICE" replay --summary "$policy" "$tmp/wire.pcap" 2>&1)" \
	eval 'unshare -n "$SLUICE" replay --json "$policy" "$tmp/wire.pcap" | cmp - "$tmp/wire.json"'

# one ARP frame in pcapng: section header, interface description, enhanced packet
{
	printf '\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x1c\0\0\0'
	printf '\x01\0\0\0\x14\0\0\0\x01\0\0\0\0\0\x04\0\x14\0\0\0'
	printf '\x06\0\0\0\x5c\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x3c\0\0\0\x3c\0\0\0\x02\0\0\0\0\x02\x02\0\0\0\0\x01\x08\x06'
	head -c 46 /dev/zero
	printf '\x5c\0\0\0'
} >"$tmp/arp.pcapng"
status_is "pcapng" 0 '"reason":"link-control"' --json "$policy" "$tmp/arp.pcapng"

# ------------------------------------------------------------------------------------------------- what is refused

status_is "no capture given" 2 "takes a policy and a capture" "$policy"
status_is "a capture that is not there" 2 "nowhere\\.pcap: No such file" "$policy" "$tmp/nowhere.pcap"
status_is "a file that is no capture" 2 "policy\\.yaml: .*a pcap or pcapng file is needed" "$policy" "$policy"
head -c 3000 "$tmp/wire.pcap" >"$tmp/cut.pcap"
status_is "a capture that was cut names the packet" 2 "cut\\.pcap: packet [0-9]+: .*damaged from here on" "$policy" "$tmp/cut.pcap"
case_if "after the packets before it" "$(head -3 "$tmp/out")" grep -qE "^ +1 " "$tmp/out"
status_is "an interface that the policy has not" 2 "no interface wlan0; it has: storage, eth\\*" --interface wlan0 "$policy" "$tmp/wire.pcap"
status_is "an address that is none" 2 "--host: " --host storage "$policy" "$tmp/wire.pcap"
sed '/^interfaces/,/eth/d' "$policy" >"$tmp/none.yaml"
status_is "a policy without interfaces" 2 "names no interface; add" "$tmp/none.yaml" "$tmp/wire.pcap"
sed 's/default: deny/default: perhaps/' "$policy" >"$tmp/bad.yaml"
status_is "a policy with an error" 2 "bad\\.yaml:3:[0-9]+: error" "$tmp/bad.yaml" "$tmp/wire.pcap"
setpriv --bounding-set=-all --inh-caps=-all "$SLUICE" replay "$policy" "$tmp/wire.pcap" >"$tmp/out" 2>&1
status=$?
case_if "without privileges the kernel refuses" "status $status, said: $(<"$tmp/out")" eval '((status == 3)) && grep -q root "$tmp/out"'

# ------------------------------------------------------------------------------------------------- beside a live policy

sluice_in dpu apply <(sed "s/^  - {name: 'eth\*'}//" "$policy") >"$tmp/out" 2>&1
case_if "a live policy with the same rules" "$(<"$tmp/out")" test -e "$(topology_root dpu)"
live() { sluice_in dpu status --json | jq -c '[.generation, .policy, .interfaces, (.rules | map(select(.default | not) | {name, packets})), .flows, .lost_events]'; }
status_before=$(live)
pins_before=$(pins)
topology_in dpu "$SLUICE" replay --json "$policy" "$tmp/wire.pcap" >"$tmp/beside.json" 2>"$tmp/err"
case_if "the same verdicts beside a live policy" "$(<"$tmp/err")" cmp "$tmp/beside.json" "$tmp/wire.json"
case_if "which has noticed nothing" "$(diff <(echo "$status_before" | jq .) <(live | jq .))" test "$status_before" == "$(live)"
case_if "no pin, no namespace" "$(diff <(echo "$pins_before") <(pins))" test "$pins_before" == "$(pins)"
