# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What the cases share that put a guest's kernel before `sluice target`. Such a case defines storage(), which writes what its policy
# has in the section of that name to standard output; policy() puts the head before it. What the host does:
#
#   up              files, policy, target        kill       the target with SIGKILL
#   down            ends the target              start      it again
#   apply WORD...   storage WORD..., followed    status     its status as JSON
#                   live; says what changed      path A|B off|on   the link of a portal
#
# The policy names no interface: what serves here is the target alone, in the namespace of the run.

NQN=nqn.2026-11.io.example:vm
HOSTNQN=nqn.2014-08.org.nvmexpress:uuid:5c1f62a8-2d41-4c5c-8f0e-7f1d3c1c9a01
HOSTID=5c1f62a8-2d41-4c5c-8f0e-7f1d3c1c9a01

# ------------------------------------------------------------------------------------------------------- host's end

# A process that nobody has waited for yet is none.
target_alive() { [[ -e $WORK/target.pid && $(sed 's/.*) //; s/ .*//' "/proc/$(<"$WORK/target.pid")/stat" 2>/dev/null) == [RSDT] ]]; }
target_gone() { ! target_alive; }

target_start() {
	local ready=$WORK/ready
	rm -f "$ready"
	mkfifo "$ready"
	exec 9<>"$ready"
	( # without what ncat left open: the guest waits for the end of its connection
		for fd in /proc/self/fd/*; do
			fd=${fd##*/}
			((fd > 2 && fd != 9)) && eval "exec $fd>&-"
		done
		exec "$BUILD/sluice" --state-dir "$WORK/state" target "$WORK/policy.yaml" --reactors 2 --ready-fd 9
	) </dev/null >>"$WORK/target.log" 2>&1 &
	echo $! >"$WORK/target.pid"
	disown
	read -rt 10 <&9 || { tail -n 3 "$WORK/target.log"; return 1; }
	exec 9>&-
}

target_end() {
	target_alive || return 0
	kill "-$1" "$(<"$WORK/target.pid")"
	wait_for 10 target_gone || { echo "the target does not end"; kill -KILL "$(<"$WORK/target.pid")"; return 1; }
}

policy() {
	printf 'sluice: 1\nname: vm-%s\nstorage:\n' "$VM_CASE"
	storage "$@" | sed 's/^/  /'
}

portals() {
	printf 'portals:\n'
	printf '  - {address: %s, port: 4420}\n' "$@"
}

host() {
	local word=${1:-}
	shift
	case $word in
	up)
		policy >"$WORK/policy.yaml"
		target_start
		;;
	start) target_start ;;
	down) target_end TERM ;;
	kill) target_end KILL ;;
	apply)
		policy "$@" >"$WORK/policy.new" && mv "$WORK/policy.new" "$WORK/policy.yaml" &&
			"$BUILD/sluice" --state-dir "$WORK/state" apply "$WORK/policy.yaml"
		;;
	path) ip link set "tap$([[ $1 == A ]] && echo 0 || echo 1)" "$([[ $2 == on ]] && echo up || echo down)" ;;
	status) "$BUILD/sluice" status --json ;;
	*)
		echo "the host knows no '$word'"
		return 2
		;;
	esac
}

# ------------------------------------------------------------------------------------------------------- guest's end

# connect NQN OPTION...: by the kernel's initiator, and connect_by ADDRESS NQN OPTION...
connect() { connect_by "$HOST" "$@"; }
connect_by() { nvme connect -t tcp -a "$1" -n "$2" -s 4420 -q "$HOSTNQN" -I "$HOSTID" "${@:3}"; }

# disk NQN NSID: the block device of a namespace; not one of its paths (nvme0c0n1), which have none.
disk() {
	local d
	for d in /sys/block/nvme*n*; do
		[[ -b /dev/${d##*/} && $(<"$d/nsid") == "$2" && $(<"$d/device/subsysnqn") == "$1" ]] || continue
		echo "/dev/${d##*/}"
		return 0
	done
	return 1
}
disk_there() { disk "$@" >/dev/null; }
disk_not_there() { ! disk "$@" >/dev/null; }

# controllers NQN: how many the kernel has, and controller NQN: the device of the first.
controllers() { grep -lx "$1" /sys/class/nvme/nvme*/subsysnqn 2>/dev/null | wc -l; }
controller() {
	local c
	c=$(grep -lx "$1" /sys/class/nvme/nvme*/subsysnqn 2>/dev/null | head -1)
	[[ $c ]] && echo "/dev/$(basename "$(dirname "$c")")"
}

# connected NQN NSID OPTION...: connects, and the namespace is there.
connected() {
	local nqn=$1 nsid=$2
	shift 2
	connect "$nqn" "$@" && wait_for 10 disk_there "$nqn" "$nsid"
}
disconnect() { nvme disconnect -n "$1" | grep -q "disconnected [1-9]"; }

# fio_verify DEVICE OPTION...: random writes with a checksum in every block, read back.
fio_verify() {
	local device=$1
	shift
	fio --name=verify --filename="$device" --rw=randwrite --verify=crc32c --verify_fatal=1 --do_verify=1 --direct=1 \
		--ioengine=io_uring --iodepth=16 --bs=16k --size=16M --output-format=terse "$@" >/run/fio.out 2>&1 ||
		{ tail -n 3 /run/fio.out; return 1; }
}
