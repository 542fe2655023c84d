# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Namespaces come, grow and go while the kernel is connected: it learns of it by itself, and I/O to the others goes on.
# minutes: 5
. tests/vm/storage.sh

# storage [WORD]: first, grown (1 is larger, 3 is new), shrunk (2 is gone).
storage() {
	local size=64 more='' two='- {id: 2, backend: memory, size: 16MiB, block: 512}'
	case ${1:-first} in
	grown) size=96 more='- {id: 3, backend: memory, size: 32MiB, block: 4096}' ;;
	shrunk) size=96 two='' more='- {id: 3, backend: memory, size: 32MiB, block: 4096}' ;;
	esac
	portals "$HOST"
	cat <<-EOF
		subsystems:
		  - nqn: $NQN
		    hosts: any
		    namespaces:
		      - {id: 1, backend: file, path: $WORK/disk.img, size: ${size}MiB, block: 4096}
		      $two
		      $more
	EOF
}

# applied WORD: by `sluice apply`; what it says that the running target has changed.
applied() {
	local said
	said=$(ask apply "$1") || { echo "$said"; return 1; }
	sed -n "s/.*$NQN namespace //p" <<<"$said" | sort | xargs
}
size_is() { [[ $(blockdev --getsize64 "$(disk "$NQN" "$1")") == "$2" ]]; }

guest() {
	local load
	modprobe nvme-tcp
	case_ok "connect" connected "$NQN" 2
	case_ok "64 MiB" size_is 1 $((64 << 20))
	fio --name=load --filename="$(disk "$NQN" 1)" --rw=randrw --direct=1 --ioengine=io_uring --iodepth=4 --bs=4k --size=32M \
		--time_based --runtime=20 --output-format=terse >/run/load.out 2>&1 &
	load=$!
	case_is "a larger and a new namespace are applied" "1: resized, 96.0 MiB 3: added, 32.0 MiB" applied grown
	case_ok "the kernel sees the new size" wait_for 15 size_is 1 $((96 << 20))
	case_ok "and the new namespace" wait_for 15 disk_there "$NQN" 3
	case_ok "which takes data" fio_verify "$(disk "$NQN" 3)"
	case_is "a policy without namespace 2 is applied" "2: removed" applied shrunk
	case_ok "the kernel takes it away" wait_for 15 disk_not_there "$NQN" 2
	case_ok "and the others stay" eval 'disk_there $NQN 1 && disk_there $NQN 3'
	if wait "$load"; then ok "I/O to namespace 1 went on"; else not_ok "I/O to namespace 1 went on" "$(tail -n 3 /run/load.out)"; fi
	case_ok "the end of the larger one takes data" fio_verify "$(disk "$NQN" 1)" --offset=80M
	case_ok "disconnect" disconnect "$NQN"
}
