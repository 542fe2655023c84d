# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Two portals are two paths to one disk of the kernel's: it goes on by the other when a link or an ANA state says so, and comes back.
# minutes: 6
. tests/vm/storage.sh

# storage [STATE [STATE]]: of the namespace's group at the portals A and B.
storage() {
	cat <<-EOF
		portals:
		  - {address: $HOST, port: 4420, name: A}
		  - {address: $HOST_B, port: 4420, name: B}
		subsystems:
		  - nqn: $NQN
		    hosts: any
		    ana:
		      - {group: 2, portal: A, state: ${1:-optimized}}
		      - {group: 2, portal: B, state: ${2:-optimized}}
		    namespaces: [{id: 1, backend: file, path: $WORK/disk.img, size: 256MiB, block: 4096, ana: 2}]
	EOF
}

# Writes and reads back until it has been enough.
load() { until [[ -e /run/enough ]]; do fio_verify "$1" --size=8M --rate=,2M || return; done; }

# path A|B: the kernel's controller of that path, below /sys.
path() {
	local address=$HOST
	[[ $1 == B ]] && address=$HOST_B
	dirname "$(grep -l "traddr=$address," /sys/class/nvme/nvme*/address)"
}
path_is() { [[ $(<"$(path "$1")/state") == "$2" ]]; }
ana_is() { [[ $(cat "$(path "$1")"/nvme*c*n1/ana_state) == "$2" ]]; }
ana_are() { ana_is A "$1" && ana_is B "$2"; }
writes() { awk '{ print $5 }' "$(path "$1")"/nvme*c*n1/stat; }
has_written() { (($(writes "$1") >= $2)); }
goes_by() { wait_for 30 has_written "$1" $(($(writes "$1") + 100)); }

# All I/O takes one path: what is counted at the other stands still meanwhile.
goes_only_by() {
	local other
	goes_by "$1" || return # what was under way has its end
	other=$(writes "$2")
	goes_by "$1" && [[ $(writes "$2") == "$other" ]]
}

ask_by() { ASK_BY=$([[ $1 == A ]] && echo "$HOST" || echo "$HOST_B") ask "${@:2}"; }

link_fails() {
	local path=$1 other=$2
	case_ok "path $path fails" ask_by "$other" path "$path" off
	case_ok "the kernel notices" wait_for 30 eval "! path_is $path live"
	case_ok "and writes by path $other" goes_by "$other"
	case_ok "path $path is there again" ask_by "$other" path "$path" on
	case_ok "the kernel connects again by it" wait_for 60 path_is "$path" live
}

# states A B: a change of the policy, which the kernel learns by an event.
states() {
	case_ok "A is $1, B is $2: apply" ask apply "$1" "$2"
	case_ok "A is $1, B is $2: the kernel knows" wait_for 15 ana_are "$1" "$2"
}

guest() {
	local load address
	modprobe nvme-tcp
	case_is "the kernel has native multipath" Y cat /sys/module/nvme_core/parameters/multipath
	for address in "$HOST" "$HOST_B"; do
		case_ok "connect by $address" connect_by "$address" "$NQN" -k 4 --reconnect-delay=1 --ctrl-loss-tmo=300
	done
	case_ok "one disk" wait_for 10 disk_there "$NQN" 1
	case_ok "of two paths" wait_for 10 eval 'path_is A live && path_is B live && ana_are optimized optimized'
	load "$(disk "$NQN" 1)" &
	load=$!
	link_fails A B
	link_fails B A
	states inaccessible optimized
	case_ok "it writes by B alone" goes_only_by B A
	states optimized non-optimized
	case_ok "it writes by A alone" goes_only_by A B
	states inaccessible inaccessible
	states non-optimized inaccessible
	case_ok "it writes by A again" goes_only_by A B
	case_ok "and no I/O has failed" kill -0 "$load"
	states optimized optimized
	touch /run/enough
	if wait "$load"; then ok "what was written over both is there"; else not_ok "what was written over both is there" "$(tail -n 3 /run/fio.out)"; fi
	case_ok "disconnect" disconnect "$NQN"
}
