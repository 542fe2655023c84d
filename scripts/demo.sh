#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# make demo: the main job on real packets and real I/O, in under a minute.
#
#   scripts/demo.sh --build DIR
#
# Builds four hosts (scripts/topology.sh), puts policies/ai-pod.yaml on the dpu and policies/storage-host.yaml on the storage
# host, serves NVMe/TCP there, and plays trainer and intruder against it. Each probe has an expectation; the exit status
# is 0 only if all of them were met. Everything it makes is named sluice-demo and goes when it ends, also on Ctrl-C.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
# shellcheck source=scripts/topology.sh
. scripts/topology.sh

build=build
[[ ${1:-} == --build ]] && build=$2
((EUID == 0)) || { echo "demo: namespaces and BPF need root: sudo make demo" >&2; exit 3; }
SLUICE=$(realpath "$build/sluice")
topology_prefix=sluice-demo
export SLUICE_RUN_DIR=/run/sluice-demo SLUICE_STATE_DIR=/run/sluice-demo/state
NQN=nqn.2026-11.io.example:datasets
SECONDS_OF_IO=10
probes=0 failed=0 missed=()
tmp=$(mktemp -d /tmp/sluice-demo.XXXXXX)

finish() {
	local status=$?
	trap - EXIT INT TERM
	topology_down sluice-demo 2>/dev/null
	rm -rf "$tmp" "$SLUICE_RUN_DIR" /tmp/sluice-demo
	exit "$status"
}
trap finish EXIT
trap 'echo; echo "demo: interrupted, cleaning up"; exit 130' INT TERM

# ------------------------------------------------------------------------------------------------------------ words

if [[ -t 1 ]]; then bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'; else bold='' green='' red='' plain=''; fi
title() { printf '\n%s== %s%s\n\n' "$bold" "$*" "$plain"; }
say() { printf '  %s\n' "$*"; }
runs() { printf '  $ %s\n' "$*"; }

# Tab-separated lines, the first being the heading, as a table; columns that hold only numbers to the right.
table() {
	awk -F '\t' '
		{ for (i = 1; i <= NF; i++) { cell[NR, i] = $i; if (length($i) > width[i]) width[i] = length($i)
			if (NR > 1 && $i !~ /^[-0-9.,%]*$/) text[i] = 1 }
		  if (NF > columns) columns = NF }
		END { for (r = 1; r <= NR; r++) { line = " "
			for (i = 1; i <= columns; i++) line = line sprintf(" %" (text[i] ? "-" : "") width[i] "s ", cell[r, i])
			sub(/ +$/, "", line); print line } }'
}

sluice_in() { topology_in "$1" "$SLUICE" --root "$(topology_root "$1")" "${@:2}"; }
reasons() { sluice_in dpu status --json | jq -r '.reasons[] | select(.packets > 0) | "\(.name)\t\(.packets)"' | sort; }

# expect WHAT WANTED COMMAND...: WANTED is "pass", or the reason for which the dpu must drop. Prints a row of the flow table.
# A drop counts only if the command failed and the dpu counted that very reason meanwhile.
expect() {
	local what=$1 wanted=$2 should=dropped happened why mark
	shift 2
	((probes++))
	[[ $wanted == pass ]] && should=pass
	reasons >"$tmp/before"
	if "$@" >"$tmp/probe.log" 2>&1; then happened=pass; else happened=dropped; fi
	reasons >"$tmp/after"
	why=$(join -t $'\t' -a 2 "$tmp/before" "$tmp/after" | awk -F '\t' -v w="$wanted" '
		NF == 2 || $3 > $2 { if ($1 == w) hit = 1; all = all (all ? " " : "") $1 } END { print hit ? w : all }')
	if [[ $happened == "$should" && ($wanted == pass || $why == "$wanted") ]]; then
		mark="${green}yes$plain"
	else
		((failed++))
		missed+=("$what: expected $wanted, got $happened ($why)")
		mark="${red}NO$plain"
	fi
	[[ $happened == pass ]] && why=''
	[[ $wanted == pass ]] || wanted="drop, $wanted"
	printf '  %-50s %-22s %-30s %s\n' "$what" "$wanted" "$happened${why:+, $why}" "$mark"
}
expect_head() { printf '  %s%-50s %-22s %-30s %s%s\n' "$bold" "flow" "expected" "happened" "as expected" "$plain"; }

# check WHAT WHY COMMAND...: an expectation that is no flow.
check() {
	local what=$1 why=$2
	shift 2
	((probes++))
	if "$@" >"$tmp/probe.log" 2>&1; then
		say "${green}yes${plain}  $what"
	else
		((failed++))
		missed+=("$what: $why")
		say "${red}NO${plain}   $what: $why"
		sed 's/^/       /' "$tmp/probe.log"
	fi
}

rule_table() { jq -r '["rule", "action", "packets", "bytes"], (.rules[] | [.name, .action, .packets, .bytes]) | @tsv' "$tmp/dpu.json" | table; }

# ----------------------------------------------------------------------------------------------------------- probes

connects() { topology_in "$1" ncat -z -w 300ms "${@:4}" "$2" "$3"; }
pings() { topology_in "$1" ping -q -c 1 -W 0.3 "${@:3}" "$2"; }
scanner=intruder
# A scan "passes" if it learns anything of any port.
scan() {
	topology_in "$scanner" nmap -n -Pn --max-retries 0 --host-timeout 5s -T5 "$@" >"$tmp/scan" 2>&1
	grep -E '^[0-9]+/(tcp|udp) +(open|closed|unfiltered) ' "$tmp/scan"
}
io() { topology_in trainer "$SLUICE" io "$1" --to "$STORAGE4:4420" "${@:2}"; }

# ============================================================================================================ story

cat <<'PICTURE'

     trainer                          dpu                            storage
  +------------+          +-------------------------+          +-------------------+
  | sluice io  |-- veth --| XDP   ai-pod.yaml    TC |-- veth --| XDP  storage-host |
  | 10.10.1.10 |          |                         |          |  cpumap, reuseport|
  +------------+          |  parse, flow, classify  |          |  sluice target    |
  +------------+          |  pass or drop, account  |          |  file memory null |
  | ncat, nmap |-- veth --| XDP                  TC |          |  10.20.0.5:4420   |
  |10.10.66.66 |          +-------------------------+          +-------------------+
  +------------+             forwards v4 and v6
     intruder
PICTURE

title "1. Four hosts as network namespaces"
topology_up sluice-demo || exit 3
say "trainer $TRAINER4 $TRAINER6, intruder $INTRUDER4 $INTRUDER6, storage $STORAGE4 $STORAGE6"
topology_start storage ncat -lk 4420 -e /bin/true 2>/dev/null
wait_for 5 connects trainer "$STORAGE4" 4420
check "all reach each other; without a policy the intruder connects to tcp/4420 on storage too" \
	"or the probes below would prove nothing" connects intruder "$STORAGE4" 4420
kill "$started"
wait_for 5 topology_process_gone "$started"

title "2. Storage: a target behind XDP steering"
runs "sluice apply policies/storage-host.yaml; sluice target policies/storage-host.yaml               (on storage)"
sluice_in storage apply policies/storage-host.yaml 2>&1 | sed 's/^/  /'
mkdir -p /tmp/sluice-demo && truncate -s 256M /tmp/sluice-demo/datasets.img
topology_start storage "$SLUICE" --root "$(topology_root storage)" target policies/storage-host.yaml >"$tmp/target.log" 2>&1
wait_for 10 connects trainer "$STORAGE4" 4420 || { cat "$tmp/target.log"; say "demo: the target does not listen"; exit 3; }
sed 's/^/  /' "$tmp/target.log"

title "3. The policy goes on the dpu"
runs "sluice apply policies/ai-pod.yaml                                                                (on dpu)"
sluice_in dpu apply policies/ai-pod.yaml 2>&1 | sed 's/^/  /'
in_force=${EPOCHREALTIME/./}
sluice_in dpu status --json >"$tmp/dpu.json"
jq -r '["interface", "ingress", "egress"], (.interfaces[] | [.name, .mode, (.egress_mode // "-")]) | @tsv' "$tmp/dpu.json" | table
say ""
check "apply has exited, no process is left on the dpu; verdicts come from what it pinned" "some process runs there" \
	test -z "$(ip netns pids sluice-demo-dpu)"
expect_head
expect "trainer -> storage tcp/4420 NVMe/TCP" pass connects trainer "$STORAGE4" 4420
expect "trainer -> storage tcp/8009 discovery" pass connects trainer "$STORAGE4" 8009
expect "trainer -> storage tcp/4420, IPv6" pass connects trainer "$STORAGE6" 4420
expect "trainer -> storage ping" pass pings trainer "$STORAGE4"
expect "trainer -> storage ping, IPv6" pass pings trainer "$STORAGE6"
expect "trainer -> storage tcp/22" default-deny connects trainer "$STORAGE4" 22
expect "storage -> trainer tcp/22" default-deny connects storage "$TRAINER4" 22

title "4. The intruder tries"
expect_head
expect "intruder -> storage tcp/4420" default-deny connects intruder "$STORAGE4" 4420
expect "intruder -> storage tcp/4420, IPv6" default-deny connects intruder "$STORAGE6" 4420
expect "intruder -> storage tcp/8009" default-deny connects intruder "$STORAGE4" 8009
expect "intruder -> storage ping" default-deny pings intruder "$STORAGE4"
expect "intruder -> storage tcp/22, a rule of its own" rule-deny connects intruder "$STORAGE4" 22
expect "intruder -> trainer tcp/22" default-deny connects intruder "$TRAINER4" 22
ip -n sluice-demo-intruder addr add "$TRAINER4/32" dev lo
ip -n sluice-demo-intruder addr add "$TRAINER6/128" dev lo
expect "forged: trainer's address -> tcp/4420" antispoof connects intruder "$STORAGE4" 4420 -s "$TRAINER4"
expect "forged: trainer's address -> tcp/4420, IPv6" antispoof connects intruder "$STORAGE6" 4420 -s "$TRAINER6"
expect "forged: trainer's address -> ping" antispoof pings intruder "$STORAGE4" -I "$TRAINER4"
ip -n sluice-demo-intruder addr del "$TRAINER4/32" dev lo
ip -n sluice-demo-intruder addr del "$TRAINER6/128" dev lo
expect "scan: SYN (nmap -sS)" default-deny scan -sS -p 4420,8009,8080 "$STORAGE4"
expect "scan: FIN (nmap -sF)" default-deny scan -sF -p 4420,8009,8080 "$STORAGE4"
expect "scan: Xmas (nmap -sX)" default-deny scan -sX -p 4420,8009,8080 "$STORAGE4"
expect "scan: NULL (nmap -sN)" tcp-flags scan -sN -p 4420,8009,8080 "$STORAGE4"
expect "scan: ACK (nmap -sA)" default-deny scan -sA -p 4420,8009,8080 "$STORAGE4"
expect "scan: UDP (nmap -sU)" default-deny scan -sU -p 4420,8009,8080 "$STORAGE4"
# For the first seconds after the first attach (conntrack.pickup) a stray segment may belong to an older connection.
pickup_over() { ((${EPOCHREALTIME/./} > in_force + 5000000)); }
wait_for 6 pickup_over
scanner=trainer
expect "trainer's ACK without a connection" tcp-no-flow scan -sA -p 4420 "$STORAGE4"

title "5. NVMe/TCP: discover, connect, write a pattern, read it back, verify it"
runs "sluice io discover --to $STORAGE4:8009"
topology_in trainer "$SLUICE" io discover --to "$STORAGE4:8009" 2>&1 | sed 's/^/  /'
check "discovery names the subsystem" "see above" \
	eval 'topology_in trainer "$SLUICE" io discover --to "$STORAGE4:8009" --json | grep "$NQN" >/dev/null'
runs "sluice io connect --identify --to $STORAGE4:4420 --nqn $NQN"
io connect --nqn "$NQN" --identify 2>&1 | sed 's/^/  /'
say ""
for namespace in 1 2; do
	check "namespace $namespace: 64 MiB of pattern written, read back, equal" "sluice io verify failed" \
		io verify --nqn "$NQN" --namespace "$namespace" --length 64MiB
	check "namespace $namespace: 64 MiB read again with both digests, equal" "sluice io verify failed" \
		io verify --nqn "$NQN" --namespace "$namespace" --length 64MiB --read-only --header-digest --data-digest
done

say ""
say "${bold}so far, by rule${plain}"
sluice_in dpu status --json >"$tmp/dpu.json"
rule_table

title "6. $SECONDS_OF_IO s of mixed I/O while policies change"
runs "sluice io bench --nqn $NQN --namespaces 1,2,3 --read-percent 70 --depth 16 --queues 3"
io bench --nqn "$NQN" --namespaces 1,2,3 --read-percent 70 --depth 16 --queues 3 --time "${SECONDS_OF_IO}s" --json \
	>"$tmp/bench.json" 2>"$tmp/bench.log" &
bench=$!
started=$SECONDS applied=0 held=0 leaked=0
wait_for 5 connects trainer "$STORAGE4" 4420
while ((SECONDS - started < SECONDS_OF_IO - 2)); do
	for policy in ai-pod-maintenance ai-pod; do
		sluice_in dpu apply "policies/$policy.yaml" >/dev/null 2>&1 && ((applied++))
	done
	if connects intruder "$STORAGE4" 4420; then ((leaked++)); else ((held++)); fi
done
sluice_in storage status --json >"$tmp/storage.json"
sluice_in dpu apply policies/ai-pod-maintenance.yaml 2>&1 | sed 's/^/  /'
((applied++))
expect_head
expect "in maintenance: trainer -> storage ping" default-deny pings trainer "$STORAGE4"
expect "in maintenance: trainer -> storage tcp/8009" default-deny connects trainer "$STORAGE4" 8009
expect "in maintenance: trainer -> storage new tcp/4420" pass connects trainer "$STORAGE4" 4420
wait "$bench"
status=$?
say ""
check "the I/O ran to its end without an error" "$(tail -3 "$tmp/bench.log")" test "$status" = 0
check "$applied policies were applied meanwhile" "too few" test "$applied" -ge 5
check "the intruder was refused each of $held times meanwhile" "it got in $leaked times" test "$leaked" = 0

title "7. The process that applies is killed"
for delay in 001 003 006 012 024; do
	topology_start dpu "$SLUICE" --root "$(topology_root dpu)" apply policies/ai-pod.yaml >/dev/null 2>&1
	read -rt "0.$delay" <> <(:)
	kill -KILL "$started" 2>/dev/null
	wait_for 5 topology_process_gone "$started"
done
check "killed at five moments; no process on the dpu" "some process runs there" test -z "$(ip netns pids sluice-demo-dpu)"
expect_head
expect "trainer -> storage tcp/4420" pass connects trainer "$STORAGE4" 4420
expect "intruder -> storage tcp/4420" default-deny connects intruder "$STORAGE4" 4420

title "8. What was counted"
sluice_in dpu status --json >"$tmp/dpu.json"
say "${bold}dpu: verdicts by rule; a rule that a change took away and brought back starts anew${plain}"
rule_table
say ""
say "${bold}dpu: verdicts by reason${plain}"
jq -r '["reason", "verdict", "packets", "bytes", "meaning"],
	(.reasons[] | select(.packets > 0) | [.name, .verdict, .packets, .bytes, .text]) | @tsv' "$tmp/dpu.json" | table
say ""
say "${bold}storage: NVMe commands, bytes and latency by namespace, as the target saw them${plain}"
jq -r '["nsid", "backend", "reads", "writes", "other", "MiB read", "MiB written", "errors", "p50 us", "p99 us"],
	(.targets[].namespaces[] | [.nsid, .backend, .commands.read, .commands.write,
	(.commands | .flush + .write_zeroes + .dsm + .other), (.read_bytes / 1048576 | floor),
	(.written_bytes / 1048576 | floor), .errors, .latency_us.p50, .latency_us.p99]) | @tsv' "$tmp/storage.json" | table
say ""
say "${bold}trainer: the $SECONDS_OF_IO s of mixed I/O, as the initiator saw them${plain}"
jq -r '["", "commands", "IOPS", "MiB/s", "mean us", "p50 us", "p99 us", "p99.9 us"],
	({read, write, total} | to_entries[] | [.key, .value.ios, (.value.iops | floor), (.value.mib_per_s | floor),
	.value.latency_us.mean, .value.latency_us.p50, .value.latency_us.p99, .value.latency_us.p999]) | @tsv' "$tmp/bench.json" | table
say ""
say "${bold}storage: each queue's reactor, and the share of its packets processed on the reactor's CPU${plain}"
jq -r '["queue", "peer", "reactor CPU", "steering", "packets", "on that CPU", "share"],
	(.targets[].queues[] as $t | .queues[] | select(.peer == $t.peer and $t.qid > 0) |
	[$t.qid, .peer, .cpu, (if .moved then "cpumap" else "counted" end), .packets, .packets_there,
	(if .packets > 0 then "\(.packets_there * 1000 / .packets | floor / 10)%" else "-" end)]) | @tsv' "$tmp/storage.json" | table
check "every I/O queue has 95% of its packets on its reactor's CPU" "see the table" jq -e '[.targets[].queues[] as $t | .queues[] |
	select(.peer == $t.peer and $t.qid > 0)] | length > 0 and all(.packets_there >= 0.95 * .packets)' "$tmp/storage.json"

title "9. The same from the pinned maps, without sluice"
root=$(topology_root dpu)
runs "bpftool map dump pinned $root/reason_counters"
bpftool -j map dump pinned "$root/reason_counters" | jq -r '["reason, by its BTF name", "packets, all CPUs"], (.[].formatted.values |
	map(select(.value.packets > 0)) | select(length > 0) | [.[0].value.reason, (map(.value.packets) | add)]) | @tsv' | table
runs "bpftool map dump pinned $root/flows"
bpftool -j map dump pinned "$root/flows" | jq -r '.[0].formatted | "  \(.key)\n  \(.value)"' | cut -c 1-150
runs "bpftool map dump pinned $root/rule_counters                 # by rule slot, see 'sluice status --json'"
runs "bpftool map dump pinned $(topology_root storage)/queue_packets             # by queue slot and CPU"
runs "bpftool prog show; bpftool net show"

title "Verdict"
if ((failed)); then
	printf '  %s\n' "${missed[@]}"
	say "${red}$failed of $probes expectations were NOT met${plain} ($SECONDS s)"
	exit 1
fi
say "${green}all $probes expectations were met${plain} ($SECONDS s)"
