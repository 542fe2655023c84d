#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What `sluice status` shows of limits of storage: who is throttled, by which limit, by how much, while it lasts and after
# `sluice apply` has taken the limit away.
#
#   storage: sluice io ──── lo ──── sluice target
. "$(dirname "$0")/lib.sh"

NQN=nqn.2026-11.io.example:limits
policy() { # limits as YAML
	cat <<EOP
sluice: 1
name: e2e-limits
default: allow
interfaces: [{name: eth0}]
storage:
  portals: [{address: $STORAGE4}]
  steering: none
  reactors: auto
  subsystems:
    - {nqn: $NQN, hosts: any, namespaces: [{id: 1, backend: memory, size: 16MiB}, {id: 2, backend: memory, size: 16MiB}]}
  limits: [$1]
EOP
}
wide="{name: wide, hosts: any, bandwidth: 1GiB/s}"
policy "{name: slow, hosts: any, namespace: 2, iops: 50}, $wide" >"$tmp/host.yaml"

hosts_up
case_ok "the storage host's policy is applied" sluice_in storage apply "$tmp/host.yaml"
topology_start storage "$SLUICE" --root "$(topology_root storage)" target "$tmp/host.yaml" >"$tmp/target.log" 2>&1
wait_for 10 topology_in storage ncat -z -w 1 "$STORAGE4" 4420 || { not_ok "the target listens" "$(tail -3 "$tmp/target.log")"; exit 1; }

load() { # namespace
	topology_start storage "$SLUICE" io bench --to "$STORAGE4:4420" --nqn "$NQN" --namespaces "$1" --time 60s --depth 16 \
		>"$tmp/bench.$1.log" 2>&1
}
now() { sluice_in storage status --json >"$tmp/status.json"; }
limit() { jq -r ".targets[0].limits[] | select(.name == \"$1\") | .$2" "$tmp/status.json"; }
shown() { now && jq -e "$1" "$tmp/status.json" >/dev/null; }
why() { now && jq -c '.targets[0] | {limits, queues: [.queues[] | {qid, receive, open}]}' "$tmp/status.json"; }

load 2
slow=$started
case_if "JSON shows a limit that throttles: commands that wait, and at most its rate" "$(why)" wait_for 20 shown \
	'.targets[0].limits[] | select(.name == "slow") | .iops == 50 and .waiting >= 10 and .throttled > 50 and
	 .commands_per_second >= 25 and .commands_per_second <= 52 and .bytes_per_second <= 52 * 4096'
case_if "and one that does not" "$(why)" shown \
	'.targets[0].limits | map(.name) == ["slow", "wide"] and (.[1] | .throttled == 0 and .waiting == 0 and .commands > 0)'
case_if "JSON says of each queue whether it is read, and how many commands it has open" "$(why)" shown \
	'.targets[0].queues | all(.receive == "receives") and any(.qid > 0 and .open >= 10)'

# limit, iops, bandwidth, now a second, bytes, commands, throttled, waiting
row() { sluice_in storage status | awk -v name="$1" '$1 == name'; }
text_is() { row slow | awk '{ exit !($2 == 50 && $3 == "-" && $NF >= 10) }' && row wide | awk '{ exit !($2 == "-" && $NF == 0) }'; }
case_if "the text has a line a limit, with what waits" "$(row slow; row wide)" text_is
said() { sluice_in storage status | grep -c -E "$1" >"$tmp/said" && (($(<"$tmp/said") == $2)); }
case_if "and one a queue, with whether it is read" "$(sluice_in storage status)" said "^ *${STORAGE4//./\\.}:.* receives *$" 2

policy "$wide" >"$tmp/host.yaml"
case_ok "apply takes the limit away" sluice_in storage apply "$tmp/host.yaml"
before=$(now; limit wide commands)
faster() { shown '.targets[0].limits | length == 1' && (($(limit wide commands) > before + 1000)); }
case_if "and the queue goes on without it" "$(why)" wait_for 20 faster
kill "$slow" # by SIGTERM: shells have their jobs ignore SIGINT
case_ok "and ends when it is told to" wait_for 10 topology_process_gone "$slow"
