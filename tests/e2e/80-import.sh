#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Rules of another filter moved to sluice: the same probes get through, or not, with the original in nftables and with what
# `sluice import` made of it.
#
#   trainer ── [ dpu ] ── storage (serves)         the dpu forwards; first nft judges there, then sluice
. "$(dirname "$0")/lib.sh"

sluice() { "$SLUICE" "$@"; }

# imports NAME STATUS PATTERN ARG...: the status, and a pattern in what it says.
imports() {
	local name=$1 wanted=$2 pattern=$3 status
	shift 3
	sluice import "$@" >"$tmp/out" 2>&1
	status=$?
	case_if "$name" "status $status, said: $(head -c 300 "$tmp/out")" \
		eval '((status == wanted)) && grep -qE -- "$pattern" "$tmp/out"'
}

# ------------------------------------------------------------------------------------------------------------ files

"$BUILD/tests/bench/classbench" --seed ipc --rules 5000 >"$tmp/set"
imports "a ClassBench set is carried over whole" 0 "5000 of 5000" "$tmp/set" --action alternate -o "$tmp/set.yaml"
case_ok "and what it becomes is a policy" sluice check "$tmp/set.yaml"
imports "standard input is read" 0 "classbench" - <"$tmp/set"
imports "what is left out is named with its line, reason and remedy" 1 "host.iptables:22: not carried over: .*match-set" \
	tests/unit/import/host.iptables
imports "a rule that denied is left out loudly" 1 "WARNING: later rules may now allow" tests/unit/import/host.iptables
imports "an unknown format is refused" 2 "is no ClassBench set" README.md
imports "a missing file is refused" 2 "No such file" "$tmp/nothing"
imports "a chain that is not there is refused" 2 "no base chain nowhere" tests/unit/import/host.iptables --chain nowhere
imports "--json names every line" 1 '"widens": *true' tests/unit/import/host.iptables --json
case_if "--json holds the policy" "$(head -c 300 "$tmp/out")" \
	eval 'jq -e ".carried + (.dropped | length) == .lines and (.policy | contains(\"sluice: 1\"))" "$tmp/out"'

# ------------------------------------------------------------------------------------------------------------- live

hosts_up
serve storage

cat >"$tmp/rules" <<'RULES'
table inet guard {
	set friends { type ipv4_addr; flags interval; elements = { 10.10.1.0/24 } }
	map ports { type inet_service : verdict; elements = { 4420 : jump storage, 5001 : drop } }
	chain storage { ip saddr @friends accept; ip6 saddr fd00:10:1::/64 accept; }
	chain forward {
		type filter hook forward priority 0; policy drop;
		ct state established,related accept
		meta l4proto ipv6-icmp accept
		tcp dport vmap @ports
		ip saddr . udp dport { 10.10.1.10 . 5000 } accept
		ip protocol icmp ip daddr 10.20.0.0/24 accept
	}
}
RULES

# probes: one word for each, "yes" or "no".
probes() {
	local address
	for address in 10.20.0.5 fd00:20::5; do
		for port in 4420 5000; do
			tcp_connects trainer "$address" "$port" && echo -n "yes " || echo -n "no "
			tcp_connects intruder "$address" "$port" && echo -n "yes " || echo -n "no "
		done
	done
	udp_echo trainer 10.20.0.5 5000 && echo -n "yes " || echo -n "no "
	pings intruder 10.20.0.5 && echo -n "yes " || echo -n "no "
	pings storage 10.10.1.10 && echo -n "yes" || echo -n "no"
}

topology_in dpu nft -f "$tmp/rules"
before=$(probes)
topology_in dpu nft -j list ruleset >"$tmp/ruleset.json"
topology_in dpu nft flush ruleset
imports "a live ruleset is carried over whole" 0 "nft, 6 of 6|nft, 7 of 7" "$tmp/ruleset.json" --interface trainer,intruder,storage \
	-o "$tmp/guard.yaml"
case_ok "and applied" sluice_in dpu apply "$tmp/guard.yaml"
after=$(probes)
case_if "the same probes get through as with nftables" "nftables: $before; sluice: $after" test "$before" = "$after"
case_if "some do and some do not" "$before" grep -q 'yes.*no' <<<"$before"
