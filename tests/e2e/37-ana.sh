#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# One subsystem by two portals under load, with links that go, ANA states that change while they are used, a target that is
# killed, and a state that does not settle. No command may fail, no block may be wrong, and commands go where the ANA log
# says: counted by the target, per portal.
#
#   trainer eth0 ─── trainer [ dpu ] storage ─── eth0  storage   portal left
#           right ──────────────────────────── right           portal right
. "$(dirname "$0")/lib.sh"

NQN=nqn.2026-11.io.example:ana
RIGHT4=10.30.0.5
RANGE=(--nqn "$NQN" --length 16MiB --seed 37)

# policy LEFT RIGHT: what the portals' states are.
policy() {
	cat <<EOP
sluice: 1
name: e2e-ana
default: allow
storage:
  portals: [{address: $STORAGE4, port: 4420, name: left}, {address: $RIGHT4, port: 4420, name: right}]
  steering: none
  subsystems:
    - nqn: $NQN
      hosts: any
      ana: [{group: 1, portal: left, state: $1}, {group: 1, portal: right, state: $2}]
      namespaces: [{id: 1, backend: file, path: $tmp/disk.img, size: 32MiB, block: 4096}]
EOP
}
states() {
	policy "$1" "$2" >"$tmp/ana.yaml"
	case_ok "apply: left $1, right $2" sluice_in storage apply "$tmp/ana.yaml"
}

target_start() {
	topology_start storage "$SLUICE" --root "$(topology_root storage)" target "$tmp/ana.yaml" >>"$tmp/target.log" 2>&1
	target=$started
	wait_for 10 topology_in trainer ncat -z -w 1 "$RIGHT4" 4420 || { not_ok "the target listens" "$(tail -3 "$tmp/target.log")"; exit 1; }
}
target_gone() { topology_process_gone "$target"; }

io() { topology_in trainer "$SLUICE" io "$1" --to "$STORAGE4:4420" --to "$RIGHT4:4420" "${RANGE[@]}" "${@:2}"; }
load_start() {
	: >"$tmp/load.json"
	io bench --verify --read-percent 50 --depth 8 --queues 2 --reconnect-delay 50ms --json "$@" >"$tmp/load.json" 2>"$tmp/load.log" &
	load=$!
}
load_end() { # NAME: nothing failed, nothing is wrong
	local status
	wait "$load"
	status=$?
	case_if "$1: no command failed, no block is wrong" "status $status: $(tail -2 "$tmp/load.log") $(jq -c '{errors, statuses, failures, paths}' \
		"$tmp/load.json")" test "$status" = 0
}
paths() { case_if "$1" "$(jq -c .paths "$tmp/load.json")" jq -e ".paths | $2" "$tmp/load.json"; }

# Commands of I/O queues by portal, as the target counts them, since the last look. Queues that went count no more: then less.
seen_left=0 seen_right=0 more_left=0 more_right=0
look() {
	local left right
	read -r left right < <(sluice_in storage status --json | jq -r --arg l "$STORAGE4:4420" --arg r "$RIGHT4:4420" '
		[.targets[].queues[] | select(.qid > 0) | {portal, n: ([.commands[]] | add)}] as $q |
		[$l, $r] | map(. as $p | [$q[] | select(.portal == $p).n] | add // 0) | join(" ")')
	more_left=$((left - seen_left)) more_right=$((right - seen_right))
	seen_left=$left seen_right=$right
}
goes_left() { look && ((more_left > 20 && more_right == 0)); }
goes_right() { look && ((more_right > 20 && more_left == 0)); }
goes_both() { look && ((more_right > 20 && more_left > 20)); }
goes_nowhere() { look && ((more_right == 0 && more_left == 0)); }
io_queues() { sluice_in storage status --json | jq -e --argjson n "$1" '[.targets[].queues[] | select(.qid > 0)] | length == $n'; }
# wants SECONDS NAME COMMAND...
wants() {
	if wait_for "$1" "${@:3}"; then ok "$2"; else not_ok "$2" "left $more_left, right $more_right since the last look; $(tail -2 "$tmp/load.log")"; fi
}

hosts_up
trainer=$(topology_namespace trainer) storage=$(topology_namespace storage)
ip -n "$trainer" link add right type veth peer name right netns "$storage"
ip -n "$trainer" addr add 10.30.0.10/24 dev right
ip -n "$storage" addr add "$RIGHT4/24" dev right
ip -n "$trainer" link set right up
ip -n "$storage" link set right up

# `sluice status` tells of targets where something is applied; what the target serves is in a file of its own.
printf 'sluice: 1\nname: e2e-ana-host\ndefault: allow\ninterfaces: [{name: eth0}, {name: right}]\n' >"$tmp/host.yaml"
case_ok "the storage host's policy is applied" sluice_in storage apply "$tmp/host.yaml"
truncate -s 32M "$tmp/disk.img"
policy optimized non-optimized >"$tmp/ana.yaml"
target_start
case_ok "the range is filled with the pattern" io verify

# ---------------------------------------------------------------------------------------------- states change under load

load_start --time 9s
wants 5 "left is optimized: all goes there" goes_left
states non-optimized optimized
wants 5 "right is, now" goes_right
states inaccessible non-optimized
wants 5 "right is the only one" goes_right
states non-optimized inaccessible
wants 5 "left is" goes_left
states inaccessible inaccessible
wants 5 "none is: commands wait" goes_nowhere
states optimized optimized
wants 5 "both are: the first is taken" goes_left
load_end "states"
paths "what the log says is shown, and nothing was connected again" \
	'map(.ana) == [["optimized"], ["optimized"]] and all(.reconnects == 0 and .state == "live" and .commands > 0)'

load_start --time 2s --round-robin
wants 5 "both are, in turn: both are taken" goes_both
load_end "round robin"

# ------------------------------------------------------------------------------------------------------- a link goes

states optimized non-optimized
load_start --time 14s --keep-alive 1s
wants 5 "the link is up: all goes left" goes_left
ip -n "$(topology_namespace dpu)" link set trainer down
wants 4 "the link is down: all goes right, long before any command times out" goes_right
wants 4 "and its queues are gone at the target, which hears no keep-alive" io_queues 2
ip -n "$(topology_namespace dpu)" link set trainer up
wants 12 "the link is up again: all goes left" goes_left
load_end "links"
paths "the left path was connected again" '.[0].reconnects == 1 and .[1].reconnects == 0 and all(.state == "live")'

# ----------------------------------------------------------------------------------------------------- the target is killed

load_start --time 6s
wants 5 "all goes left" goes_left
kill -KILL "$target"
wait_for 5 target_gone
target_start
wants 5 "after the target was killed and started again all goes left" goes_left
load_end "a killed target"
paths "both paths were connected again" 'all(.reconnects == 1 and .state == "live")'

# ------------------------------------------------------------------------------------------------------- a change that lasts

load_start --time 17s
wants 5 "all goes left once more" goes_left
states change non-optimized
wants 5 "while left's state changes all goes right" goes_right
# ANATT is 10 s, and what the initiator then does shows at the target: another admin queue at the left portal.
admin_left() { sluice_in storage status --json | jq -r --arg l "$STORAGE4:4420" '[.targets[].queues[] | select(.qid == 0 and .portal == $l).peer] | join(" ")'; }
before=$(admin_left)
admin_other() { [[ $(admin_left) && $(admin_left) != "$before" ]]; }
case_if "after ANATT the left controller is connected again" "$before is still there" wait_for 13 admin_other
wants 5 "and all goes right still" goes_right
states optimized non-optimized
wants 5 "once it has settled all goes left" goes_left
load_end "a change that lasts"
paths "that is counted" '.[0].ana_timeouts == 1 and .[1].ana_timeouts == 0 and .[1].reconnects == 0'

case_ok "what was written is there" io verify --read-only
