# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# The target ends and begins again under load, killed and asked to: the kernel connects again by itself, and what was acknowledged is there.
# minutes: 6
. tests/vm/storage.sh

storage() {
	portals "$HOST"
	cat <<-EOF
		subsystems:
		  - nqn: $NQN
		    hosts: any
		    namespaces: [{id: 1, backend: file, path: $WORK/disk.img, size: 128MiB, block: 4096}]
	EOF
}

written() { awk '{ n += $7 } END { print n }' /sys/block/nvme*c*n1/stat /dev/null; } # sectors, of the path: the disk itself counts none on 6.1
has_written() { (($(written) >= $1)); }
state_is() { [[ $(<"/sys/class/nvme/$(basename "$1")/state") == "$2" ]]; }

# Writes for some 15 s while the target goes and comes, then reads every block back.
under_load() {
	local how=$1 disk controller load
	disk=$(disk "$NQN" 1) controller=$(controller "$NQN")
	fio --name=load --filename="$disk" --rw=randwrite --verify=crc32c --do_verify=1 --verify_fatal=1 --direct=1 --ioengine=io_uring \
		--iodepth=8 --bs=16k --size=64M --rate=4M --output-format=terse >/run/load.out 2>&1 &
	load=$!
	case_ok "$how: it writes" wait_for 30 has_written $(($(written) + 16384))
	case_ok "$how: the target goes" ask "$how"
	case_ok "$how: the kernel notices" wait_for 30 eval "! state_is $controller live"
	case_ok "$how: the target comes" ask start
	case_ok "$how: the kernel connects again" wait_for 60 state_is "$controller" live
	if wait "$load"; then ok "$how: all that was written is there"; else not_ok "$how: all that was written is there" "$(tail -n 3 /run/load.out)"; fi
}

guest() {
	modprobe nvme-tcp
	case_ok "connect" connected "$NQN" 1 -i 2 --reconnect-delay=1 --ctrl-loss-tmo=120
	under_load kill
	under_load down
	case_ok "disconnect" disconnect "$NQN"
}
