#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Limits on a real wire: two CPUs send as fast as they can, several times the limit, and for 10 s it is counted what the dpu lets
# through. Counted, not timed: the length of the interval is measured. Bursts of a second, so that nothing is lost to a sender that is
# kept from sending for a moment.
#
#   trainer  ──┐
#              ├── dpu (sluice) ──── storage
#   intruder ──┘
. "$(dirname "$0")/lib.sh"

mac_of() { ip -n "$(topology_namespace dpu)" -j link show "$1" | jq -r '.[0].address'; }

# flood HOST CPU FRAME: without end, from 10.10.1.10 or fd00:10:1::10, whichever host it is.
flood() {
	topology_start "$1" taskset -c "$2" "$FRAMES" send eth0 "$(mac_of "$1")" 2000000000 "$3" 5000
	floods+=("$started")
}

floods_end() {
	kill -KILL "${floods[@]}" 2>/dev/null
	floods=()
}

# What rule `flood` has let through, and was asked to.
counted() { sluice_in dpu status --json | jq -r '.rules[] | select(.name == "flood") | "\(.packets - .limited_packets) \(.packets)"'; }

# The same, and when it was asked and answered, in microseconds.
counted_at() {
	local before=${EPOCHREALTIME/./} counts
	counts=$(counted)
	echo "$counts $before ${EPOCHREALTIME/./}"
}

limits_something() { (($(reason_packets dpu rate-limited) > ${1:-0})); }

# lets_through RATE: packets a second, within 2 %, while at least twice as many come. The interval is known as well as the counters'
# readings are short.
lets_through() {
	local pass0 all0 asked0 told0 pass1 all1 asked1 told1 least most
	wait_for 10 limits_something $(($(reason_packets dpu rate-limited) + 50000)) || # all bursts are gone
		{ echo "nothing is limited"; return 1; }
	read -r pass0 all0 asked0 told0 < <(counted_at)
	sleep 10 # the interval
	read -r pass1 all1 asked1 told1 < <(counted_at)
	least=$(($1 * (asked1 - told0) / 1000000)) most=$(($1 * (told1 - asked0) / 1000000))
	echo "$((pass1 - pass0)) of $((all1 - all0)) packets passed, expected $least to $most"
	((all1 - all0 > 2 * most)) || return 1
	((pass1 - pass0 > least * 98 / 100 && pass1 - pass0 < most * 102 / 100))
}

policy() { # ATTACH LIMIT
	cat >"$tmp/policy.yaml" <<-YAML
		sluice: 1
		name: limited
		default: deny
		interfaces: [{name: trainer, attach: $1}, {name: intruder, attach: $1}]
		rules:
		  - {name: flood, from: any, to: any, service: tcp/5000, action: allow, stateful: false, limit: {$2}}
		  - {name: rest, from: any, to: any, service: icmp, action: allow}
	YAML
}

floods=()
trap 'floods_end; test_end' EXIT
hosts_up
policy auto "rate: 10k pps, burst: 10k"
case_ok "the policy is in force" sluice_in dpu apply "$tmp/policy.yaml"
flood trainer 0 tcp-ack-without-flow
flood intruder $(($(nproc) > 1)) tcp-ack-without-flow-v6
case_ok "per rule, two CPUs, both families: 10,000 packets a second" lets_through 10000
policy auto "rate: 20k pps, burst: 20k"
case_ok "another limit is applied under the flood" sluice_in dpu apply "$tmp/policy.yaml"
case_ok "per rule: 20,000 packets a second from then on" lets_through 20000
policy auto "rate: 4M bit/s, burst: 4M, per: source"
case_ok "a limit per source in bits" sluice_in dpu apply "$tmp/policy.yaml"
# Frames of 54 bytes over IPv4 and of 74 over IPv6, 4 Mbit/s each: 9,259 and 6,757 of them.
case_ok "per source, two of them: 4 Mbit/s each" lets_through 16016
floods_end
case_ok "what no rule limits is not" pings trainer "$STORAGE4"
case_ok "status names the limit" sh -c "$(printf '%q ' nsenter --net="/run/netns/$topology_prefix-dpu" "$SLUICE" --root "$(topology_root dpu)") status | grep '4M bit/s, burst 4M, per source'"
case_ok "explain names the limit" sh -c "$SLUICE explain $tmp/policy.yaml --from 10.1.1.1 --to 10.2.2.2 --service tcp/5000 | grep 'limit 4M bit/s'"
