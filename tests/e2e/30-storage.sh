#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# NVMe/TCP through the firewall: every backend, digests, both families, access by host name, steering, connections and targets that
# die.
#
#   trainer: sluice io ──── trainer [ dpu: sluice, tcp/4420 and tcp/8009 ] storage ──── eth0 storage: XDP, cpumap → reactors
#                                                                                     sluice target: file memory null
. "$(dirname "$0")/lib.sh"

NQN=nqn.2026-11.io.example:e2e
PRIVATE=nqn.2026-11.io.example:private
FRIEND=nqn.2026-11.io.example:friend
MIB=1048576

cat >"$tmp/dpu.yaml" <<'EOP'
sluice: 1
name: e2e-storage-dpu
default: deny
interfaces: [{name: trainer}, {name: intruder}, {name: storage}]
segments:
  trainers: [10.10.1.0/24, "fd00:10:1::/64"]
  store: [10.20.0.5/32, "fd00:20::5/128"]
rules:
  - {name: nvme, from: trainers, to: store, service: [tcp/4420, tcp/8009], action: allow}
EOP
cat >"$tmp/host.yaml" <<EOP
sluice: 1
name: e2e-storage-host
default: allow
interfaces: [{name: eth0}]
storage:
  portals: [{address: $STORAGE4, port: 4420}, {address: $STORAGE4, port: 8009}, {address: "$STORAGE6", port: 4420}]
  steering: cpumap
  reactors: auto
  subsystems:
    - nqn: $NQN
      hosts: any
      namespaces:
        - {id: 1, backend: file, path: $tmp/disk.img, size: 128MiB, block: 4096}
        - {id: 2, backend: memory, size: 64MiB}
        - {id: 3, backend: null, size: 1TiB}
        - {id: 4, backend: file, path: $tmp/readonly.img, size: 16MiB, block: 512, readonly: true}
    - nqn: $PRIVATE
      hosts: [$FRIEND]
      namespaces: [{id: 1, backend: memory, size: 16MiB, block: 512}]
EOP
truncate -s 128M "$tmp/disk.img"
head -c $((16 * MIB)) /dev/urandom >"$tmp/readonly.img"

io() { topology_in trainer "$SLUICE" io "$1" --to "$STORAGE4:4420" "${@:2}"; }
target_start() {
	topology_start storage "$SLUICE" --root "$(topology_root storage)" target "$tmp/host.yaml" >>"$tmp/target.log" 2>&1
	target=$started
	wait_for 10 topology_in trainer ncat -z -w 1 "$STORAGE4" 4420 || { not_ok "the target listens" "$(tail -3 "$tmp/target.log")"; exit 1; }
}
target_gone() { topology_process_gone "$target"; }

hosts_up
case_ok "the dpu's policy is applied" sluice_in dpu apply "$tmp/dpu.yaml"
case_ok "the storage host's policy is applied" sluice_in storage apply "$tmp/host.yaml"
target_start

# ------------------------------------------------------------------------------------------------------- what is there

discovers() { topology_in trainer "$SLUICE" io discover --to "$STORAGE4:8009" --json "$@" | jq -c "[.records[].subsystem] | unique - [\"nqn.2014-08.org.nvmexpress.discovery\"]"; }
case_if "discovery on 8009 names what any host may use" "$(discovers)" eval '[[ $(discovers) == "[\"$NQN\"]" ]]'
case_if "and the private subsystem to its host" "$(discovers --hostnqn "$FRIEND")" \
	eval '[[ $(discovers --hostnqn "$FRIEND") == "[\"$NQN\",\"$PRIVATE\"]" ]]'
case_if "connect --identify shows four namespaces of the right size" "$(io connect --nqn "$NQN" --identify 2>&1)" \
	eval 'io connect --nqn "$NQN" --identify --json | jq -e "[.namespaces[] | .blocks * .block] ==
		[134217728, 67108864, 1099511627776, 16777216]"'
case_ok "connect over IPv6" topology_in trainer "$SLUICE" io connect --to "[$STORAGE6]:4420" --nqn "$NQN"
case_if "an unknown subsystem is refused" "it connected" not io connect --nqn nqn.2026-11.io.example:nobody
case_if "a private subsystem refuses another host" "it connected" not io connect --nqn "$PRIVATE"
case_ok "a private subsystem admits its host" io connect --nqn "$PRIVATE" --hostnqn "$FRIEND"
case_if "the intruder does not get as far as the target" "it connected" \
	not topology_in intruder "$SLUICE" io connect --to "$STORAGE4:4420" --nqn "$NQN" --timeout 500ms

# ------------------------------------------------------------------------------------------------ data, every way

verify() { case_ok "$1: pattern comes back" io verify --nqn "$NQN" --length 16MiB --namespace "${@:2}"; }
verify "file backend" 1
verify "memory backend" 2
verify "file backend, header digest" 1 --seed 2 --header-digest
verify "file backend, data digest" 1 --seed 3 --data-digest
verify "memory backend, both digests" 2 --seed 4 --header-digest --data-digest
verify "memory backend, 4 KiB commands, depth 128" 2 --seed 5 --block-size 4k --depth 128
verify "memory backend, 1 MiB commands" 2 --seed 6 --block-size 1MiB --depth 4
verify "file backend, data aligned to 128" 1 --seed 7 --alignment 128 --header-digest
case_ok "memory backend over IPv6" topology_in trainer "$SLUICE" io verify --to "[$STORAGE6]:4420" --nqn "$NQN" --namespace 2 \
	--length 16MiB --seed 8

head -c $((8 * MIB)) /dev/urandom >"$tmp/in"
case_ok "a file is written to the namespace" io write --nqn "$NQN" --namespace 1 --file "$tmp/in"
case_ok "and lies as it is in the backing file" cmp -n $((8 * MIB)) "$tmp/in" "$tmp/disk.img"
case_ok "it is read back" io read --nqn "$NQN" --namespace 1 --length 8MiB --file "$tmp/out"
case_ok "and is the same" cmp "$tmp/in" "$tmp/out"
case_ok "a read-only namespace can be read" io read --nqn "$NQN" --namespace 4 --length 16MiB --file "$tmp/out"
case_ok "and holds the file" cmp "$tmp/readonly.img" "$tmp/out"
case_if "a read-only namespace refuses a write" "it was written" not io write --nqn "$NQN" --namespace 4 --file "$tmp/in"
case_ok "and is unchanged" cmp "$tmp/readonly.img" "$tmp/out"
case_if "reading past the end is refused" "it was read" not io read --nqn "$NQN" --namespace 2 --offset 64MiB --length 4k

# --------------------------------------------------------------------------------------- steering, under mixed I/O

# The steered I/O queues of a status document: what the kernel counted, with the queue identifier that the target knows.
io_queues='[.targets[].queues[] as $t | .queues[] | select(.peer == $t.peer) | . + {qid: $t.qid} | select(.qid > 0)]'
status_now() { sluice_in storage status --json >"$tmp/status.json"; }
queues_are() { status_now && jq -e --argjson n "$1" "$io_queues | length == \$n" "$tmp/status.json"; }
queues_busy() { status_now && jq -e "$io_queues | length == 4 and all(.packets > 5000)" "$tmp/status.json"; }

case_ok "the range is filled with the pattern" io verify --nqn "$NQN" --namespace 2 --seed 9
# Long enough that the snapshot below is taken while the queues are open.
io bench --nqn "$NQN" --namespaces 2 --read-percent 70 --depth 16 --queues 4 --time 4s --verify --seed 9 --json \
	>"$tmp/bench.json" 2>"$tmp/bench.log" &
bench=$!
case_if "status shows four busy I/O queues" "$(tail -2 "$tmp/bench.log")" wait_for 10 queues_busy
seen=$(jq -c "$io_queues | map({cpu, packets, packets_there})" "$tmp/status.json")
wait "$bench"
status=$?
case_if "mixed random I/O on four queues has no error and no bad block" "status $status: $(tail -2 "$tmp/bench.log")" test "$status" = 0
case_if "at least 95 % of each queue's packets are processed on its reactor's CPU" "$seen" \
	jq -e "$io_queues | length > 0 and all(.packets_there >= 0.95 * .packets)" "$tmp/status.json"
case_if "the queues are spread over more than one reactor" "$seen" \
	eval '(($(nproc) == 1)) || jq -e "$io_queues | map(.cpu) | unique | length > 1" "$tmp/status.json"'

# ------------------------------------------------------------------------------------- what changes while it is served

io bench --nqn "$NQN" --namespaces 2 --read-percent 100 --depth 8 --queues 2 --time 3s --verify --seed 9 --json >"$tmp/bench.json" \
	2>"$tmp/bench.log" &
bench=$!
case_ok "two queues read meanwhile" wait_for 5 queues_are 2
sed -i -e 's/size: 1TiB/size: 2TiB/' -e "/id: 4,/a\        - {id: 5, backend: file, path: $tmp/late.img, size: 32MiB}" "$tmp/host.yaml"
case_ok "apply reaches the running target" eval 'sluice_in storage apply "$tmp/host.yaml" >"$tmp/apply"'
case_if "and says what it did" "$(cat "$tmp/apply")" \
	eval 'grep -q "namespace 3: resized, 2.0 TiB" "$tmp/apply" && grep -q "namespace 5: added, 32.0 MiB" "$tmp/apply"'
verify "the namespace that came" 5 --seed 12
case_if "its file is open" "$(ls -l "/proc/$target/fd")" eval 'ls -l "/proc/$target/fd" | grep -c "$tmp/late.img"'
sed -i -e '/id: 5,/d' "$tmp/host.yaml"
case_if "apply --json says what went" "$(tail -1 "$tmp/apply")" eval 'sluice_in storage apply "$tmp/host.yaml" --json |
	jq -e ".targets[0].changes == [{change: \"removed\", subsystem: \"$NQN\", nsid: 5}]"'
case_if "the namespace that went is gone" "it was read" not io read --nqn "$NQN" --namespace 5 --length 4k
case_if "and its file is closed" "$(ls -l "/proc/$target/fd")" eval '! ls -l "/proc/$target/fd" | grep "$tmp/late.img"'
wait "$bench"
status=$?
case_if "who read another namespace saw nothing of it" "status $status: $(tail -2 "$tmp/bench.log")" test "$status" = 0

# ------------------------------------------------------------------------------------------- what dies, and what not

topology_start trainer "$SLUICE" io bench --to "$STORAGE4:4420" --nqn "$NQN" --namespaces 1,2,3 --queues 2 --time 30s >/dev/null 2>&1
victim=$started
case_ok "two queues are open" wait_for 5 queues_are 2
kill -KILL "$victim"
case_ok "a killed initiator's queues are cleaned up" wait_for 5 queues_are 0
case_ok "and the target serves on" io verify --nqn "$NQN" --namespace 1 --length 1MiB --seed 10

# A connection that says nothing, and one that talks nonsense.
head -c 4096 /dev/urandom | topology_in trainer ncat -w 2 "$STORAGE4" 4420 >"$tmp/answer" 2>/dev/null
case_ok "noise instead of a PDU does not hurt the target" io connect --nqn "$NQN"

case_ok "seed 11 is written" io verify --nqn "$NQN" --namespace 1 --seed 11 --length 32MiB
kill -KILL "$target"
wait_for 5 target_gone
target_start
case_ok "after the target was killed and started again the data is there" \
	io verify --nqn "$NQN" --namespace 1 --seed 11 --length 32MiB --read-only

# Acknowledged writes and what is under way survive the target, by two paths at once.
io bench --to "[$STORAGE6]:4420" --round-robin --nqn "$NQN" --namespaces 1 --length 32MiB --seed 11 --verify --read-percent 50 \
	--depth 16 --queues 2 --time 5s --reconnect-delay 50ms --json >"$tmp/bench.json" 2>"$tmp/bench.log" &
bench=$!
case_ok "two queues on each of two paths are open" wait_for 5 queues_are 4
kill -KILL "$target"
wait_for 5 target_gone
target_start
case_ok "and are there again after the target was killed" wait_for 5 queues_are 4
wait "$bench"
status=$?
case_if "no command failed, no block is wrong" "status $status: $(tail -2 "$tmp/bench.log") $(jq -c '{errors, statuses, failures, paths}' \
	"$tmp/bench.json")" test "$status" = 0
case_if "each path was connected again, and carried commands" "$(jq -c .paths "$tmp/bench.json")" \
	jq -e '.paths | length == 2 and all(.reconnects == 1 and .state == "live" and .commands > 0)' "$tmp/bench.json"
case_ok "what was written is there" io verify --nqn "$NQN" --namespace 1 --seed 11 --length 32MiB --read-only
case_if "discovery names the paths" "$(io verify --nqn "$NQN" --length 1MiB --all-portals --json | jq -c .paths)" \
	eval 'io verify --nqn "$NQN" --namespace 2 --length 1MiB --all-portals --json | jq -e ".paths | length == 3 and all(.state == \"live\")"'
kill -KILL "$target"
case_if "a target that stays away is given up" "the command succeeded" \
	not io verify --nqn "$NQN" --namespace 1 --length 1MiB --seed 11 --ctrl-loss-timeout 500ms
wait_for 5 target_gone
target_start
no_queues() { sluice_in storage status --json | jq -e ".queues == []"; }
case_if "and no queue of the dead one is left in the steering map" "$(sluice_in storage status --json | jq -c .queues)" no_queues
kill -TERM "$target"
case_ok "the target ends on SIGTERM" wait_for 10 target_gone
case_if "and leaves no control socket" "$(ls "$SLUICE_RUN_DIR")" eval '[[ -z $(ls "$SLUICE_RUN_DIR" 2>/dev/null) ]]'
