#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# make bench: what sluice costs, as ratios to something known that is measured in the same run.
#
#   tests/bench/run.sh --build DIR [--rounds N] [--seconds S] [--only WORD,...]
#
#   packets        one generator, one veth pair and one namespace for each candidate:
#
#        bench-generator                    bench-CANDIDATE
#       +--------------+                  +-------------------+
#       |  live ── v0  |------ veth ------| eth0  the candidate → (UDP socket)
#       |          v1  |------ veth ------| ...
#       +--------------+                  +-------------------+
#
#   forward        a wire and a router, beside a bare redirect and the kernel's forwarding; 1 to 1,000,000 live flows
#   new            first packets of flows, beside conntrack
#   flood          what a SYN flood leaves of a transfer, and whether connections can still be made
#   storage        sluice target and sluice io over loopback, bare messages of the same sizes, and fio on the file that the target serves
#   noise          what a throttled host does to another's p99
#   prefix         an address in 1 to 1,000,000 prefixes, beside the LPM trie, by test run
#   classify       a new packet under 1 to 100,000 rules in the manner of ClassBench, by test run
#   policies       check, apply, load and memory of 1 to 100,000 ACL rules
#   policy         check and apply of 100, 1,000 and 10,000 rules
#
# Candidates are measured in interleaved rounds, so that whatever else the machine does falls on all of them; a ratio is
# the median of the rounds' ratios. Raw figures go to DIR/bench/*.tsv. --only takes sections or candidates.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=scripts/topology.sh
. scripts/topology.sh

build=build rounds=5 seconds=1 only=''
while (($#)); do
	case $1 in
	--build) build=$2 ;;
	--rounds) rounds=$2 ;;
	--seconds) seconds=$2 ;;
	--only) only=,$2, ;;
	*) echo "usage: tests/bench/run.sh --build DIR [--rounds N] [--seconds S] [--only WORD,...]" >&2; exit 2 ;;
	esac
	shift 2
done
((EUID == 0)) || { echo "bench: namespaces and BPF need root: sudo make bench" >&2; exit 3; }

SLUICE=$(realpath "$build/sluice")
live=$build/tests/bench/live
out=$build/bench
topology_prefix=sluice-bench
cpu=$(($(nproc) - 1))
export SLUICE_RUN_DIR=/run/sluice-bench SLUICE_STATE_DIR=/run/sluice-bench/state
mkdir -p "$out"

wanted() { [[ -z $only || $only == *",$1,"* ]]; }
say() { printf '%s\n' "$*"; }
title() { printf '\n== %s\n' "$*"; }
namespaces() { ip netns list | awk '{ print $1 }' | grep "^$topology_prefix-" || :; }
sluice_in() { topology_in "$1" "$SLUICE" --root "$(topology_root "$1")" "${@:2}"; }
# shellcheck source=tests/bench/forward.lib
. tests/bench/forward.lib
# shellcheck source=tests/bench/storage.lib
. tests/bench/storage.lib
# shellcheck source=tests/bench/noise.lib
. tests/bench/noise.lib

cleanup() {
	local namespace pids
	for namespace in $(namespaces); do
		pids=$(ip netns pids "$namespace")
		# shellcheck disable=SC2086
		[[ -z $pids ]] || kill -KILL $pids 2>/dev/null || :
		[[ ! -e $(topology_root "${namespace#"$topology_prefix"-}") ]] ||
			sluice_in "${namespace#"$topology_prefix"-}" detach >/dev/null || :
		ip netns delete "$namespace"
	done
	rm -rf "/sys/fs/bpf/$topology_prefix"-* "$SLUICE_RUN_DIR"* "$out/disk.img"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
cleanup

median() { sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# rates FILE CANDIDATE: the rate of each round, in order. Columns of a raw file: round, candidate, rate, ...
rates() { awk -F '\t' -v c="$2" '$2 == c { print $3 }' "$1"; }
ratio() { paste <(rates "$1" "$2") <(rates "$1" "$3") | awk '{ print $1 / $2 }' | median; }

# row FILE CANDIDATE TEXT REFERENCE BUDGET: one line of a result table. Reference "-": none.
row() {
	local value budget=$5 mark='' r='-'
	wanted_row "$1" "$2" || return 0
	value=$(rates "$1" "$2" | median)
	if [[ $4 != - ]] && wanted_row "$1" "$4"; then
		r=$(ratio "$1" "$2" "$4")
		[[ $budget == - ]] || mark=$(awk -v r="$r" -v b="$budget" 'BEGIN { print (r >= b ? "met" : "MISSED") }')
		r=$(printf '%.2f' "$r")
	fi
	printf '  %-46s %12.0f  %6s of %-14s budget %-5s %s\n' "$3" "$value" "$r" "$4" "$budget" "$mark"
}
wanted_row() { [[ -n $(rates "$1" "$2") ]]; }

# --------------------------------------------------------------------------------------------------------- packets

# A policy of N rules: the first passes what the bench wants passed, the others look for sources that never come. nft_door
# says the same in nftables.
policy_rules() {
	local count=$1 i
	cat <<-YAML
		sluice: 1
		name: bench-$count
		default: deny
		failsafe: []
		interfaces: [{name: eth0}]
		rules:
		  - {name: established, from: 10.99.1.1/32, to: 10.99.0.1/32, service: udp/4420, action: allow}
	YAML
	for ((i = 1; i < count; i++)); do
		echo "  - {name: rule-$i, from: 10.$((i / 250 % 50 + 100)).$((i % 250)).1, to: any, action: deny}"
	done
}

# One namespace with one veth pair; the generator's end is named after the candidate.
candidate_up() {
	local namespace=$topology_prefix-$1
	ip netns add "$namespace"
	ip -n "$topology_prefix-generator" link add "$1" type veth peer name eth0 netns "$namespace"
	topology_in "$1" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
	ip -n "$namespace" addr add 10.99.0.1/16 dev eth0
	ip -n "$namespace" neigh add 10.99.1.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent
	ip -n "$namespace" link set lo up
	ip -n "$namespace" link set eth0 up
	ip -n "$topology_prefix-generator" link set "$1" up
	# veth takes redirected frames only where NAPI polls: with an XDP program, or with GRO on.
	topology_in "$1" ethtool -K eth0 gro on
}

nft_door() { # at the earliest hook there is, which is also nftables' fastest
	local i
	echo 'table netdev bench { chain door { type filter hook ingress device eth0 priority 0; policy accept;'
	for ((i = 1; i < $1; i++)); do
		echo "ip saddr 10.$((i / 250 % 50 + 100)).$((i % 250)).1 drop"
	done
	printf 'ip saddr 10.99.0.0/16 drop\n}\n}\n'
}

# The best that nftables has for many sources: an interval set.
nft_set() {
	local i
	echo 'table netdev bench { set sources { type ipv4_addr; flags interval; elements = {'
	for ((i = 0; i < $1; i++)); do
		echo "16.$((i / 65536)).$((i / 256 % 256)).$((i * 7 % 256)),"
	done
	echo '10.99.0.0/16 } }'
	echo 'chain door { type filter hook ingress device eth0 priority 0; policy accept; ip saddr @sources drop'
	printf '}\n}\n'
}

# 1,000,000 prefixes and more in four segments, the sources of `live --scatter` among them (live.h), and 1,000 rules.
policy_prefixes() {
	local i
	policy_rules 1000
	for ((i = 0; i < 4; i++)); do
		echo "  - {name: many-$i, from: many-$i, to: 10.98.0.0/16, service: tcp/$((80 + i)), action: allow}"
	done
	awk 'BEGIN {
		print "segments:"
		for (s = 0; s < 4; s++) {
			printf "  many-%d: [", s
			for (n = s; n < 1048576; n += 4) {
				a = 268435456 + n * 256 + n * 7 % 256
				printf "%d.%d.%d.%d, ", a / 16777216, a / 65536 % 256, a / 256 % 256, a % 256
			}
			print "10.99.64.0/24]"
		}
	}'
}

nft_conntrack() {
	cat <<-NFT
		table inet bench { chain input { type filter hook input priority 0; policy drop;
			ct state established,related accept
			ip saddr 10.99.1.1 udp dport 4420 accept
		}
		}
	NFT
}

candidate_prepare() {
	case $1 in
	floor*) "$live" drop --to-namespace "$topology_prefix-$1" --to-device eth0 ;;
	nft-1) nft_door 1 | topology_in "$1" nft -f - ;;
	nft-1000) nft_door 1000 | topology_in "$1" nft -f - ;;
	nft-ct) nft_conntrack | topology_in "$1" nft -f - ;;
	nft-set-10000) nft_set 10000 | topology_in "$1" nft -f - ;;
	sluice-1m*)
		[[ -s $out/policy-1m.yaml ]] || policy_prefixes >"$out/policy-1m.yaml"
		sluice_in "$1" apply "$out/policy-1m.yaml" >/dev/null
		;;
	sluice-*)
		policy_rules 1000 >"$out/policy-1000.yaml"
		sluice_in "$1" apply "$out/policy-1000.yaml" >/dev/null
		;;
	esac
}

# Prints rate, seconds, frames taken, frames at the socket. A rate is of what reached the end: the socket, for what may pass.
candidate_measure() {
	local traffic
	case $1 in
	floor-all | sluice-1m-all | nft-set-10000) traffic=(--source 10.99.64.0 --scatter --port 4420) ;;
	floor | *-deny | sluice-1m | nft-1 | nft-1000) traffic=(--source 10.99.64.0 --sources 1024 --port 4420) ;;
	*) traffic=(--source 10.99.1.1 --ports 1024 --port 4420 --sink --reply) ;;
	esac
	"$live" send --from-namespace "$topology_prefix-generator" --from-device "$1" --to-namespace "$topology_prefix-$1" \
		--to-device eth0 --dest 10.99.0.1 --cpu "$cpu" --seconds "$seconds" "${traffic[@]}" |
		awk -v sink="${#traffic[@]}" '{ printf "%.0f\t%s\t%s\t%s\n", (sink > 6 ? $4 : $3) / $1, $1, $3, $4 }'
}

# What a candidate should have thrown away never reaches a socket, and what it should have passed always does.
candidate_verify() {
	local denied
	case $1 in
	sluice-deny)
		denied=$(sluice_in "$1" status --json | jq '[.reasons[] | select(.name == "default-deny").packets] | add // 0')
		((denied > 100000)) || { say "bench: $1: only $denied packets were denied by default" >&2; return 1; }
		;;
	*-pass | open | nft-ct)
		awk -F '\t' -v c="$1" '$2 == c && $6 < 0.99 * $5 { bad = 1 } END { exit bad }' "$out/packets.tsv" ||
			{ say "bench: $1: frames were lost on the way to the socket" >&2; return 1; }
		;;
	esac
}

bench_packets() {
	local candidate round candidates=()
	for candidate in floor sluice-deny sluice-1m floor-all sluice-1m-all nft-1 nft-1000 nft-set-10000 open sluice-pass nft-ct; do
		if wanted packets || wanted "$candidate"; then candidates+=("$candidate"); fi
	done
	((${#candidates[@]})) || return 0
	title "packets a second through one veth pair, 64-byte UDP, one CPU for generator and receiver together"
	ends_up
	for candidate in "${candidates[@]}"; do
		candidate_up "$candidate"
		candidate_prepare "$candidate"
	done
	: >"$out/packets.tsv"
	for ((round = 1; round <= rounds; round++)); do
		for candidate in "${candidates[@]}"; do
			printf '%s\t%s\t%s\n' "$round" "$candidate" "$(candidate_measure "$candidate")" >>"$out/packets.tsv"
		done
	done
	for candidate in "${candidates[@]}"; do candidate_verify "$candidate"; done
	local f=$out/packets.tsv
	row "$f" floor "bare XDP_DROP" - -
	row "$f" sluice-deny "sluice drops, 1,000 rules, 1,024 sources" floor 0.7
	row "$f" sluice-1m "sluice drops, 1,000,000 prefixes, 1,024 sources" floor 0.7
	row "$f" sluice-1m-all "the same, sources drawn over all prefixes" floor-all 0.5
	row "$f" nft-set-10000 "nftables, a set of 10,000, such sources" floor-all -
	row "$f" nft-1 "nftables drops at ingress, 1 rule" floor -
	row "$f" nft-1000 "nftables drops at ingress, 1,000 linear rules" floor -
	row "$f" sluice-deny "sluice drops, beside nftables with 1 rule" nft-1 -
	row "$f" sluice-deny "sluice drops, beside nftables with 1,000" nft-1000 -
	row "$f" open "no firewall, to a local UDP socket" - -
	row "$f" sluice-pass "sluice passes 1,024 established flows to it" open 0.85
	row "$f" nft-ct "nftables ct established passes them" open -
	row "$f" sluice-pass "sluice passes, beside nftables" nft-ct -
}

# ---------------------------------------------------------------------------------------------------------- policy

bench_policy() {
	local rules round started
	wanted policy || return 0
	title "policies: milliseconds"
	ip netns list | grep "^$topology_prefix-generator" >/dev/null || ip netns add "$topology_prefix-generator"
	candidate_up policy
	: >"$out/policy.tsv"
	for rules in 100 1000 10000; do
		policy_rules "$rules" >"$out/policy-$rules.yaml"
		for round in 1 2 3; do
			started=${EPOCHREALTIME/./}
			"$SLUICE" check "$out/policy-$rules.yaml" >/dev/null
			printf '%s\tcheck-%s\t%s\n' "$round" "$rules" "$((${EPOCHREALTIME/./} - started))" >>"$out/policy.tsv"
			started=${EPOCHREALTIME/./}
			sluice_in policy apply "$out/policy-$rules.yaml" >/dev/null
			printf '%s\tapply-%s\t%s\n' "$round" "$rules" "$((${EPOCHREALTIME/./} - started))" >>"$out/policy.tsv"
		done
		printf '  %6s rules   check %8.1f   apply, all of it %8.1f\n' "$rules" \
			"$(awk -v us="$(rates "$out/policy.tsv" "check-$rules" | median)" 'BEGIN { print us / 1000 }')" \
			"$(awk -v us="$(rates "$out/policy.tsv" "apply-$rules" | median)" 'BEGIN { print us / 1000 }')"
	done
	say "  budget: apply of 100,000 rules under 1,000 (measured from its own issue on)"
}

# --------------------------------------------------------------------------------------------------------- lookups

# tests/bench/lookup prints the rows of these tables.
bench_prefix() {
	local family count
	wanted prefix || return 0
	title "prefix lookup, ns: family, prefixes, empty program, sluice over it, LPM trie over it"
	: >"$out/prefix.tsv"
	for family in 4 6; do
		for count in 1 10 100 1000 10000 100000 1000000; do
			"$build/tests/bench/lookup" prefix "$family" "$count" | tee -a "$out/prefix.tsv" | sed 's/^/  /'
		done
	done
	awk -F '\t' '$2 == 1000000 { printf "  IPv%s: %s ns, budget 50 %s; LPM trie %.1f times that, budget 10 %s\n", $1, $4,
		($4 <= 50 ? "met" : "MISSED"), $5 / $4, ($5 / $4 >= 10 ? "met" : "MISSED") }' "$out/prefix.tsv"
}

bench_classify() {
	local seed count
	wanted classify || return 0
	title "a new packet, ns: set, rules, empty program, decision over it, new flow over it, denied over it"
	: >"$out/classify.tsv"
	for seed in acl fw ipc; do
		for count in 1 10 100 1000 10000 100000; do
			"$build/tests/bench/lookup" classify "$seed" "$count" | tee -a "$out/classify.tsv" | sed 's/^/  /'
		done
	done
	awk -F '\t' '$2 == 100 { few[$1] = $5 } $2 == 100000 { printf "  %s: a new flow at 100,000 rules costs %.2f times that at 100, budget 1.5 %s\n",
		$1, $5 / few[$1], ($5 <= 1.5 * few[$1] ? "met" : "MISSED") }' "$out/classify.tsv"
}

# Bytes of the kernel's memory that the maps of both banks lock, as the kernel says.
banks_bytes() {
	local table id total=0
	for table in policy tenants words rules; do
		for id in $(bpftool map dump pinned "$(topology_root policies)/$table" 2>/dev/null | awk '/inner_map_id/ { print $NF }'); do
			total=$((total + $(bpftool -j map show id "$id" | jq .bytes_memlock)))
		done
	done
	echo "$total"
}

bench_policies() {
	local count started check apply load
	wanted policies || return 0
	title "policies of ACL rules: rules, check ms, apply ms, load ms, peak MiB of apply, kernel MiB of both banks"
	ip netns list | grep "^$topology_prefix-generator" >/dev/null || ip netns add "$topology_prefix-generator"
	candidate_up policies
	: >"$out/policies.tsv"
	for count in 1 10 100 1000 10000 100000; do
		{
			"$build/tests/bench/classbench" --seed acl --rules "$count" --format policy
			echo 'interfaces: [{name: eth0}]'
		} >"$out/policy-acl.yaml"
		started=${EPOCHREALTIME/./}
		"$SLUICE" check "$out/policy-acl.yaml" >/dev/null 2>&1
		check=$((${EPOCHREALTIME/./} - started))
		sluice_in policies apply "$out/policy-acl.yaml" >/dev/null 2>&1 # the other bank, too
		started=${EPOCHREALTIME/./}
		topology_in policies "$build/tests/bench/peak" "$out/peak" "$SLUICE" --root "$(topology_root policies)" apply \
			--json "$out/policy-acl.yaml" 2>/dev/null >"$out/apply.json"
		apply=$((${EPOCHREALTIME/./} - started))
		load=$(jq .load_ns "$out/apply.json")
		awk -v n="$count" -v c="$check" -v a="$apply" -v l="$load" -v p="$(cat "$out/peak")" -v k="$(banks_bytes)" 'BEGIN {
			printf "%d\t%.1f\t%.1f\t%.2f\t%.0f\t%.1f\n", n, c / 1e3, a / 1e3, l / 1e6, p / 1024, k / 1048576 }' |
			tee -a "$out/policies.tsv" | sed 's/^/  /'
	done
}

# ------------------------------------------------------------------------------------------------------------- all

title "machine"
say "  $(nproc) × $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | sed -n 1p), kernel $(uname -r), load $(cut -d' ' -f1 /proc/loadavg)"
say "  $(df --output=fstype,source "$out" | tail -1 | awk '{ print "files on " $1 " of " $2 }'), nftables $(nft --version | awk '{ print $2 }')"
bench_packets
bench_forward
bench_new
bench_flood
bench_prefix
bench_classify
bench_policies
bench_storage
bench_noise
bench_policy
title "raw figures in $out/"
