# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Filesystems on namespaces of both block sizes: made, filled, trimmed, found whole by another connection and by their checkers.
# minutes: 6
. tests/vm/storage.sh

storage() {
	portals "$HOST"
	cat <<-EOF
		subsystems:
		  - nqn: $NQN
		    hosts: any
		    namespaces:
		      - {id: 1, backend: file, path: $WORK/disk.img, size: 512MiB, block: 4096}
		      - {id: 2, backend: memory, size: 512MiB, block: 512}
	EOF
}

sums() { (cd /mnt && find . -type f -print0 | sort -z | xargs -0 sha256sum); }

# filesystem TYPE NSID CHECKER...: what it holds is the same after the way back.
filesystem() {
	local type=$1 nsid=$2 disk
	shift 2
	disk=$(disk "$NQN" "$nsid")
	case_ok "$type: mkfs" "mkfs.$type" -q "$disk"
	case_ok "$type: mount" mount -t "$type" "$disk" /mnt
	case_ok "$type: files are copied" cp -r user bpf docs /mnt/
	case_ok "$type: a file of 32 MiB" eval 'head -c 32M /dev/urandom >/mnt/random && sync -f /mnt'
	sums >/run/sums
	case_ok "$type: a large file is removed" rm /mnt/random
	case_ok "$type: fstrim" fstrim /mnt
	case_ok "$type: umount" umount /mnt
	disconnect "$NQN"
	case_ok "$type: connect again" connected "$NQN" "$nsid"
	disk=$(disk "$NQN" "$nsid")
	case_ok "$type: mount again" mount -t "$type" "$disk" /mnt
	case_ok "$type: every file is as it was" eval 'diff <(sums) <(grep -v " ./random$" /run/sums)'
	case_ok "$type: umount again" umount /mnt
	case_ok "$type: its checker finds nothing" "$@" "$disk"
}

guest() {
	modprobe nvme-tcp
	case_ok "connect" connected "$NQN" 2
	filesystem ext4 1 e2fsck -fn
	filesystem xfs 2 xfs_repair -n
	case_ok "zeroes are written" blkdiscard -z -o 0 -l 1048576 "$(disk "$NQN" 1)"
	case_ok "and read back" cmp -n 1048576 /dev/zero "$(disk "$NQN" 1)"
	case_ok "disconnect" disconnect "$NQN"
}
