#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs one case in one guest:
#
#   tests/vm/run.sh --build DIR SUITE CASE       SUITE: bookworm or trixie, fetched by fetch.sh; CASE: a file of tests/vm/cases
#
# QEMU by software emulation (two CPUs, 2 GiB), in a network namespace that is made here and goes in the end. The guest's root is the
# host's, read-only, so what was built here runs there. What it says, its console and its kernel's log are kept in
# DIR/vm/log/SUITE-CASE.log. A boot that comes to nothing is tried once more; a guest that takes too long is ended.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

build=build
[[ ${1:-} == --build ]] && { build=$2; shift 2; }
build=$(realpath "$build")
suite=$1 vm_case=$2
kernel=$build/vm/$suite
namespace=sluice-vm-$(cksum <<<"$build" | cut -d ' ' -f 1) # two build trees do not meet
work=$build/vm/run
log=$build/vm/log/$suite-$vm_case.log
minutes=$(sed -n 's/^# minutes: //p' "tests/vm/cases/$vm_case.sh")
export BUILD=$build WORK=$work VM_CASE=$vm_case SLUICE_RUN_DIR=/run/$namespace SLUICE_STATE_DIR=$work/state
qemu=''
# On a busy host a guest's CPU may stand still for longer than its kernel expects of one.
patience="rcupdate.rcu_cpu_stall_timeout=120 rcupdate.rcu_exp_cpu_stall_timeout=120000"

# shellcheck source=tests/vm/lib.sh
. tests/vm/lib.sh

network_down() {
	local pid
	[[ -e /run/netns/$namespace ]] || return 0
	for pid in $(ip netns pids "$namespace"); do
		kill -KILL "$pid" 2>/dev/null
		wait_for 5 not test -d "/proc/$pid" || echo "not ok - $vm_case: process $pid of the namespace does not end"
	done
	ip netns delete "$namespace"
}

network_up() {
	local i
	network_down
	ip netns add "$namespace" || return
	nsenter --net="/run/netns/$namespace" sysctl -qw net.ipv6.conf.default.accept_dad=0
	ip -n "$namespace" link set lo up
	for i in 0 1; do
		nsenter --net="/run/netns/$namespace" ip tuntap add "tap$i" mode tap || return
		ip -n "$namespace" addr add "10.77.$i.1/24" dev "tap$i"
		ip -n "$namespace" addr add "fd00:77:$i::1/64" dev "tap$i" nodad
		ip -n "$namespace" link set "tap$i" up
	done
	nsenter --net="/run/netns/$namespace" ncat -l -k "$ASK_PORT" --sh-exec "tests/vm/answer.sh --status" 2>>"$work/answers" &
	disown
}

end() {
	local status=$?
	trap - EXIT INT TERM
	[[ $qemu ]] && kill -KILL "$qemu" 2>/dev/null
	host_do down
	network_down
	rm -rf "$SLUICE_RUN_DIR"
	exit "$status"
}

host_do() { nsenter --net="/run/netns/$namespace" tests/vm/answer.sh <<<"$*" 2>>"$work/answers"; }

# Starts QEMU; its process is $qemu.
guest_start() {
	local options=() i
	for i in 0 1; do
		options+=(-netdev "tap,id=net$i,ifname=tap$i,script=no,downscript=no"
			-device "virtio-net-pci,netdev=net$i,mac=52:54:00:77:0$i:02,romfile=,mq=off")
	done
	rm -f "$work"/{booted,out,status,dmesg}
	# cx16=off: kernel 6.12 oopses at cmpxchg16b in QEMU 7.2.
	nsenter --net="/run/netns/$namespace" nice -n 10 qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max,cx16=off \
		-smp 2 -m 2048 -nographic -nodefaults -serial stdio -no-reboot -kernel "$kernel/vmlinux" -initrd "$kernel/initrd" \
		-append "console=ttyS0 panic=-1 quiet mitigations=off nokaslr $patience vm_tree=$PWD" \
		-fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap \
		-device virtio-9p-pci,fsdev=root,mount_tag=root \
		-fsdev "local,id=work,path=$work,security_model=none" -device virtio-9p-pci,fsdev=work,mount_tag=work \
		"${options[@]}" >"$work/console" 2>&1 </dev/null &
	qemu=$!
}
guest_gone() { ! kill -0 "$qemu"; }
guest_booted_or_gone() { [[ -e $work/booted ]] || guest_gone; }

guest_boot() {
	local try
	for try in 1 2; do
		guest_start
		wait_for 60 guest_booted_or_gone
		[[ -e $work/booted ]] && return
		kill -KILL "$qemu" 2>/dev/null
		wait "$qemu" 2>/dev/null
		cp "$work/console" "$log.boot$try"
	done
	return 1
}

log_write() {
	local part
	for part in out console dmesg answers; do
		[[ -s $work/$part ]] && printf '== %s\n' "$part" && cat "$work/$part"
	done >"$log"
}

rm -rf "$work"
mkdir -p "$work" "$build/vm/log" "$SLUICE_RUN_DIR"
rm -f "$log"*
printf 'vm_case=%q BUILD=%q vm_kernel=%q\n' "$vm_case" "$build" "$kernel" >"$work/job"
trap end EXIT
trap 'exit 130' INT TERM
tests/vm/initramfs.sh "$kernel" || { echo "not ok - $vm_case: no initramfs"; exit 1; }
network_up || { echo "not ok - $vm_case: no network namespace with taps"; exit 1; }
answer=$(host_do up) || { echo "not ok - $vm_case: the host's part does not start: $answer"; exit 1; }
if ! guest_boot; then
	echo "not ok - $vm_case: the guest does not boot: $(tail -n 1 "$work/console" | tr -d '\r'); see $log.boot2"
	exit 1
fi
wait_for $((${minutes:-4} * 60)) guest_gone || echo "not ok - $vm_case: the guest took more than ${minutes:-4} minutes" >>"$work/out"
log_write
cat "$work/out"
if [[ ! -e $work/status ]]; then
	echo "not ok - $vm_case: the guest ended early; see $log"
	exit 1
fi
exit "$(<"$work/status")"
