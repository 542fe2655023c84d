#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What a host can ask of a target beside reading and writing, by `sluice io`: commands on ranges, reservations of two hosts, log
# pages, features, events. Everything against the bytes of the backing file, or against what the other side counts.
#
#   storage: sluice io ──── 10.20.0.5:4420 sluice target
. "$(dirname "$0")/lib.sh"

NQN=nqn.2026-11.io.example:commands
A=nqn.2014-08.org.nvmexpress:uuid:aaaaaaaa-0000-4000-8000-000000000001
B=nqn.2014-08.org.nvmexpress:uuid:bbbbbbbb-0000-4000-8000-000000000002
KIB=1024 MIB=$((1024 * 1024))

policy() {
	cat <<EOP
sluice: 1
name: e2e-commands
default: allow
storage:
  portals: [{address: $STORAGE4, port: 4420, name: only}]
  steering: none
  subsystems:
    - nqn: $NQN
      hosts: any
      ana: [{group: 1, portal: only, state: $1}]
      namespaces:
        - {id: 1, backend: file, path: $tmp/disk.img, size: $2, block: 4096}
        - {id: 2, backend: memory, size: 16MiB, block: 512}
        - {id: 3, backend: memory, size: 16MiB, block: 512}
  limits: [{name: slow, hosts: any, namespace: 3, iops: 4}]
EOP
}

io() { topology_in storage "$SLUICE" io "$1" --to "$STORAGE4:4420" --nqn "$NQN" "${@:2}"; }
range() { io command "$@"; }
reserve() { io reserve "$2" --hostnqn "$1" "${@:3}" --json; }
slice() { tail -c +$(($2 + 1)) "$1" | head -c "$3"; }
same() { cmp <(slice "$tmp/disk.img" "$1" "$3") <(slice "${4:-$tmp/disk.img}" "$2" "$3"); }
zeroes() { cmp <(slice "$tmp/disk.img" "$1" "$2") <(head -c "$2" /dev/zero); }
says() { # FILTER COMMAND...: the JSON of the command fits
	local out
	out=$("${@:2}") || { echo "$out"; return 1; }
	jq -e "$1" <<<"$out" || { echo "$out"; return 1; }
}

hosts_up
head -c $((32 * MIB)) /dev/urandom >"$tmp/disk.img"
policy optimized 32MiB >"$tmp/target.yaml"
topology_start storage "$SLUICE" --root "$(topology_root storage)" target --state-dir "$tmp/target-state" "$tmp/target.yaml" >>"$tmp/target.log" 2>&1
wait_for 10 topology_in storage ncat -z -w 1 "$STORAGE4" 4420 || { not_ok "the target listens" "$(tail -3 "$tmp/target.log")"; exit 1; }

# --------------------------------------------------------------------------------------------------- commands on ranges

slice "$tmp/disk.img" $MIB $((3 * MIB)) >"$tmp/part"
case_ok "compare: what is there" range compare --offset 1MiB --file "$tmp/part"
printf 'X' | dd of="$tmp/part" bs=1 seek=$((2 * MIB + 5)) conv=notrunc status=none
range compare --offset 1MiB --file "$tmp/part" --json >"$tmp/out" 2>"$tmp/err"
status=$?
case_if "compare: another byte is found, with its command's place" "status $status: $(cat "$tmp/out" "$tmp/err")" \
	eval '((status == 1)) && jq -e ".differs_at > 1048576 and .differs_at <= 3145733 and .differs_at % 4096 == 0" "$tmp/out"'

head -c 4096 "$tmp/disk.img" >"$tmp/old"
head -c 4096 /dev/urandom >"$tmp/new"
case_ok "compare-write: as expected, it is written" range compare-write --expect "$tmp/old" --file "$tmp/new"
case_ok "and lies in the file" same 0 0 4096 "$tmp/new"
case_if "compare-write: not as expected, nothing is" "it was written" not range compare-write --expect "$tmp/old" --file "$tmp/old"
case_ok "and the file is as before" same 0 0 4096 "$tmp/new"

case_ok "copy" says '.bytes == 8388608 and .commands >= 1' range copy --from 4MiB --offset 16MiB --length 8MiB --json
case_ok "and the copy is one" same $((4 * MIB)) $((16 * MIB)) $((8 * MIB))
case_if "copy onto itself is refused" "it was done" not range copy --from 4MiB --offset 6MiB --length 8MiB
case_ok "verify moves no data" says '.bytes == 33554432' range verify --json
case_ok "zero" range zero --offset 20MiB --length 64KiB
case_ok "and there are zeroes" zeroes $((20 * MIB)) $((64 * KIB))
slice "$tmp/disk.img" $((28 * MIB)) $((2 * MIB)) >"$tmp/before"
before=$(stat -c %b "$tmp/disk.img")
case_ok "deallocate" range deallocate --offset 24MiB --length 4MiB
case_ok "and there are zeroes, too" zeroes $((24 * MIB)) $((4 * MIB))
case_if "and the file is smaller" "$before blocks, now $(stat -c %b "$tmp/disk.img")" \
	eval '(($(stat -c %b "$tmp/disk.img") <= before - 8000))'
list=$(for k in {0..255}; do echo "$((28 * MIB + k * 8192))+4096"; done | paste -sd,)
case_ok "deallocate: 256 ranges are one command, and a flush" says '.ranges == 256 and .commands == 2 and .bytes == 1048576 and .offset == 29360128' \
	range deallocate --ranges "$list" --json
punched() { # every other block of these is zeroes, the others are what they were
	cmp <(slice "$tmp/disk.img" $((28 * MIB)) $((2 * MIB))) \
		<(for k in {0..255}; do head -c 4096 /dev/zero; slice "$tmp/before" $((k * 8192 + 4096)) 4096; done)
}
case_ok "and only they are zeroes" punched
range deallocate --ranges 0+4k,1MiB+1k >/dev/null 2>"$tmp/err"
status=$?
case_if "a range that is no whole block is named" "status $status: $(cat "$tmp/err")" \
	eval '((status == 2)) && grep -q "range 2, 1048576+1024: namespace 1 has blocks of 4096 bytes" "$tmp/err"'
case_if "one past the end, too" "it was done" not range deallocate --ranges 0+4k,32MiB+4k
case_if "and ranges beside --length are refused" "it was done" not range deallocate --ranges 0+4k --length 4k
case_ok "flush" says '.commands == 1 and .bytes == 0' range flush --namespace 2 --json
offers=$(io connect --json | jq -c .commands)
if [[ $offers == *write-uncorrectable* ]]; then
	case_ok "uncorrectable" range uncorrectable --namespace 2 --offset 1MiB --length 4KiB
	case_if "and it cannot be read" "it was read" not io read --namespace 2 --offset 1MiB --length 4KiB --file "$tmp/out"
	case_if "nor verified" "it was" not range verify --namespace 2 --offset 1MiB --length 4KiB
	head -c 4096 /dev/zero >"$tmp/zero"
	case_ok "until it is written" io write --namespace 2 --offset 1MiB --file "$tmp/zero"
	case_ok "again" range verify --namespace 2 --offset 1MiB --length 4KiB
else
	not_ok "uncorrectable" "the target does not offer it: $offers"
fi
case_if "what changes a namespace wants to be told how much" "it was done" not range zero
case_if "a range past the end is refused" "it was done" not range zero --offset 31MiB --length 2MiB

# ------------------------------------------------------------------------------------------------------------------- Abort

# Four commands a second are let through: of eight some are not answered within a second, and wait again after their Abort.
case_ok "what is not answered in time is aborted and sent again, by the same connection" \
	says '.errors == 0 and .total.ios == 8 and .reconnects == 0 and (.paths[0] | .aborts > 0 and .aborted > 0 and
	      .aborted <= .aborts and .resubmitted == .aborted and .retries == [{status: 7, name: "command abort requested", count: .aborted}])' \
	io bench --namespaces 3 --count 8 --depth 8 --timeout 1s --json
head -c 512 /dev/zero >"$tmp/zero"
topology_start storage "$SLUICE" io bench --to "$STORAGE4:4420" --nqn "$NQN" --namespaces 3 --time 60s --depth 32 >/dev/null 2>&1
busy=$started
waits() { range compare --namespace 3 --file "$tmp/zero" --timeout 200ms >"$tmp/out" 2>"$tmp/err"; (($? == 1)); }
case_if "what may not be sent again is given back, with why" "$(cat "$tmp/out" "$tmp/err")" wait_for 10 waits
case_if "and it is said that it did not answer" "$(cat "$tmp/err")" grep 'Compare: command abort requested.*not answered in time.*--timeout' "$tmp/err"
kill "$busy"
wait_for 10 topology_process_gone "$busy"

# -------------------------------------------------------------------------------------------------------- reservations

case_ok "nobody is registered" says '.type == "none" and .registered == []' reserve "$A" report
case_ok "A registers" says '[.registered[].key] == ["0xa"]' reserve "$A" register --new-key 0xa
case_ok "B registers" says '[.registered[].key] | sort == ["0xa", "0xb"]' reserve "$B" register --new-key 0xb
case_ok "A takes it" says '.type == "write-exclusive" and [.registered[] | select(.holds).key] == ["0xa"]' \
	reserve "$A" acquire --key 0xa --type write-exclusive
case_if "B cannot take it, too" "it did" not reserve "$B" acquire --key 0xb --type write-exclusive
case_if "B cannot write" "it wrote" not io command zero --hostnqn "$B" --length 4KiB
case_ok "but read" io read --hostnqn "$B" --length 4KiB --file "$tmp/out"
case_ok "and A can write" io command zero --hostnqn "$A" --length 4KiB
case_ok "B preempts A" says '.type == "exclusive-access" and [.registered[] | [.key, .holds]] == [["0xb", true]]' \
	reserve "$B" preempt --key 0xb --new-key 0xa --type exclusive-access
case_if "A cannot read any more" "it read" not io read --hostnqn "$A" --length 4KiB --file "$tmp/out"
case_ok "B changes its key, to be kept" says '.persists and [.registered[].key] == ["0xbb"]' \
	reserve "$B" replace --key 0xb --new-key 0xbb --persist
case_ok "B releases it" says '.type == "none" and (.registered | length) == 1' reserve "$B" release --key 0xbb --type exclusive-access
case_ok "and clears" says '.registered == []' reserve "$B" clear --key 0xbb
case_if "unregister with a wrong key is refused" "it was done" not reserve "$A" unregister --key 1

# ------------------------------------------------------------------------------------------------- log pages and features

case_ok "log: what there is" says '.supported | contains([1, 2, 3, 5, 12])' io log supported --json
case_ok "log: smart counts" says '.units_read > 0 and .units_written > 0 and .critical_warning == 0' io log smart --json
case_ok "log: firmware" says ".active_slot == 1 and .slot_1 != \"\"" io log firmware --json
case_ok "log: effects" says '(.io_opcodes | contains([0, 1, 2, 5, 8, 9, 12, 25])) and (.admin_opcodes | contains([2, 6, 10]))' io log effects --json
case_ok "log: ana" says '[.groups[] | select(.group == 1)] == [{group: 1, state: "optimized", namespaces: [1, 2, 3]}]' io log ana --json
case_ok "log: features" says '.supported | contains([6, 7, 11, 15])' io log features --json
case_ok "log: errors, changes, notices" eval 'io log error && io log changed && io log reservation'
case_ok "feature: write cache" says '.fid == 6 and .changeable != null' io feature write-cache --json
case_ok "feature: keep alive, set" says '.value == 7000 and .default == 30000 and .changeable' \
	io feature keep-alive --value 7000 --json
case_ok "feature: host identifier" says '.data == "aaaaaaaa000040008000000000000001"' io feature host-id --hostnqn "$A" --json
case_ok "feature: of a namespace" says '.per_namespace' io feature reservation-mask --namespace 2 --json
case_if "feature: what is no number is not set" "it was" not io feature timestamp --value 1
case_if "what the controller does not have is an error" "it was read" not io feature power --value 31

# ------------------------------------------------------------------------------------------------------------------ events

topology_start storage "$SLUICE" io events --to "$STORAGE4:4420" --nqn "$NQN" --time 60s --json >"$tmp/events" 2>"$tmp/events.err"
listener=$started
told() { jq -es "$1" "$tmp/events"; }
# An event comes to who asks before it happens; until the listener does, the state goes back and forth.
tell_ana() {
	policy "$1" 32MiB >"$tmp/target.yaml"
	sluice_in storage apply "$tmp/target.yaml" >/dev/null
}
flips() {
	tell_ana non-optimized
	tell_ana optimized
	told 'any(.event == "ana-changed")'
}
case_if "event: ANA" "$(cat "$tmp/events" "$tmp/events.err")" wait_for 10 flips
# A pair that finds no usable path waits as a pair; the file says that it was executed once it had one.
tell_ana inaccessible
connections() { grep -c 'connected to' "$tmp/target.log"; }
before=$(connections)
head -c 4096 "$tmp/disk.img" >"$tmp/old"
head -c 4096 /dev/urandom >"$tmp/new"
topology_start storage "$SLUICE" io command compare-write --to "$STORAGE4:4420" --nqn "$NQN" --expect "$tmp/old" --file "$tmp/new" >"$tmp/out" 2>&1
case_if "compare-write: connected by a path that is inaccessible" "$(cat "$tmp/out")" wait_for 10 eval '(($(connections) > before))'
case_ok "nothing is written" same 0 0 4096 "$tmp/old"
tell_ana optimized
case_if "but when it is usable" "$(cat "$tmp/out")" wait_for 10 grep 'compare-write: 3 commands' "$tmp/out"
case_ok "and lies in the file" same 0 0 4096 "$tmp/new"
policy optimized 48MiB >"$tmp/target.yaml"
case_ok "a namespace grows" sluice_in storage apply "$tmp/target.yaml"
case_if "event: namespace, and which" "$(cat "$tmp/events" "$tmp/events.err")" \
	wait_for 5 told 'any(.event == "namespace-changed" and .page.namespaces == [1])'
kill "$listener"
case_ok "nothing it said is malformed" told 'length >= 2 and all(.type == 2 and .lid > 0)'
