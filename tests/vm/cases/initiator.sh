# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# The kernel's initiator: discovery, every way to connect, what nvme-cli asks a controller and a namespace.
# minutes: 6
. tests/vm/storage.sh

PRIVATE=nqn.2026-11.io.example:private

storage() {
	truncate -s 64M "$WORK/disk.img"
	cat <<-EOF
		portals: [{address: $HOST, port: 4420}, {address: $HOST, port: 8009}, {address: "fd00:77:0::1", port: 4420}]
		subsystems:
		  - nqn: $NQN
		    hosts: any
		    namespaces:
		      - {id: 1, backend: file, path: $WORK/disk.img, size: 64MiB, block: 4096}
		      - {id: 2, backend: memory, size: 32MiB, block: 512}
		      - {id: 3, backend: null, size: 1TiB}
		  - nqn: $PRIVATE
		    hosts: [$HOSTNQN]
		    namespaces: [{id: 1, backend: memory, size: 16MiB, block: 512}]
	EOF
}

discovered() { nvme discover -t tcp -a "$HOST" -s 8009 -q "$1" -o json | jq -r '[.records[].subnqn | select(contains("discovery") | not)] | unique | join(" ")'; }
jq_of() {
	local filter=$1
	shift
	"$@" -o json | jq -r "$filter"
}

discovery() {
	case_is "discovery names what any host may use" "$NQN" discovered nqn.2026-11.io.example:stranger
	case_is "and the private subsystem to its host" "$PRIVATE $NQN" discovered "$HOSTNQN"
	case_ok "connect-all connects to what was discovered" nvme connect-all -t tcp -a "$HOST" -s 8009 -q "$HOSTNQN" -I "$HOSTID"
	case_ok "both subsystems are there" wait_for 10 eval 'disk_there $NQN 1 && disk_there $PRIVATE 1'
	case_ok "disconnect-all" nvme disconnect-all
	case_is "leaves none" 0 controllers "$NQN"
	case_ok "an unknown subsystem is refused" not connect nqn.2026-11.io.example:nobody
	case_ok "a private subsystem refuses another host" not nvme connect -t tcp -n "$PRIVATE" -a "$HOST" -s 4420 \
		-q nqn.2026-11.io.example:stranger
}

identify() {
	local c d
	case_ok "connect, three namespaces" connected "$NQN" 3
	c=$(controller "$NQN")
	d=$(disk "$NQN" 1)
	case_is "sizes of the three" "$((64 << 20)) $((32 << 20)) $((1 << 40))" \
		eval 'for i in 1 2 3; do blockdev --getsize64 "$(disk "$NQN" $i)"; done | xargs'
	case_is "block sizes" "4096 512" eval 'for i in 1 2; do blockdev --getss "$(disk "$NQN" $i)"; done | xargs'
	case_is "id-ctrl: its name" "$NQN" jq_of .subnqn nvme id-ctrl "$c"
	case_is "id-ctrl: an I/O controller" 1 jq_of .cntrltype nvme id-ctrl "$c"
	case_is "id-ns: blocks" $((64 << 20 >> 12)) jq_of .nsze nvme id-ns "$d"
	case_is "list-ns" "1 2 3" eval 'nvme list-ns "$c" -o json | jq -r "[.nsid_list[].nsid] | join(\" \")"'
	case_ok "ns-descs: a UUID" eval 'nvme ns-descs "$d" | grep -qi "uuid *: *[0-9a-f]\{8\}-"'
	case_is "the kernel's UUID of the namespace is the same" "$(nvme ns-descs "$d" | sed -n 's/^uuid *: *//p')" \
		cat "/sys/block/$(basename "$d")/uuid"
	logs "$c" "$d"
	case_ok "a reset of the controller" nvme reset "$c"
	case_ok "after which it is live" wait_for 20 grep -qx live "/sys/class/nvme/${c##*/}/state"
	case_ok "and does I/O" fio_verify "$d"
	case_ok "disconnect" disconnect "$NQN"
}

logs() {
	local c=$1 d=$2 name
	for name in "smart-log" "error-log" "fw-log" "effects-log" "changed-ns-list-log" "get-property -o 0" "get-property -o 8" \
		"get-property -o 0x14" "get-property -o 0x1c" "get-feature -f 7" \
		"get-feature -f 11" "get-feature -f 15" "get-feature -f 6"; do
		# shellcheck disable=SC2086 # a name and its options
		case_ok "nvme $name" nvme $name "$c"
	done
	case_ok "nvme list" eval 'nvme list -o json | jq -e ".Devices | length >= 3"'
	case_ok "nvme flush" nvme flush "$d"
	case_ok "nvme write-zeroes" nvme write-zeroes "$d" -s 0 -c 15
	case_ok "nvme dsm, deallocate" nvme dsm "$d" -d -s 0 -b 16
}

ways() {
	local row name nqn options
	for row in "plain:-i 1" "header digest:-g" "data digest:-G" "both digests:-g -G" "four queues:-i 4" "write and poll queues:-i 1 -W 1 -P 1" \
		"queues of 1,024:-Q 1024 -i 2" "queues of 16:-Q 16" "keep alive of 5 s:-k 5"; do
		name=${row%%:*} options=${row#*:}
		# shellcheck disable=SC2086 # options
		case_ok "$name: connect $options" connected "$NQN" 2 $options
		case_ok "$name: written, read back" fio_verify "$(disk "$NQN" 2)"
		case_ok "$name: disconnect" disconnect "$NQN"
	done
	case_ok "IPv6: connect" connect_by fd00:77:0::1 "$NQN"
	case_ok "IPv6: the namespace is there" wait_for 10 disk_there "$NQN" 2
	case_ok "IPv6: written, read back" fio_verify "$(disk "$NQN" 2)"
	case_ok "IPv6: disconnect" disconnect "$NQN"
}

guest() {
	modprobe nvme-tcp || { not_ok "module nvme-tcp" "not there"; return; }
	discovery
	identify
	ways
}
