#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Second half of a guest's boot, in the host's root: mounts what a Linux host has, brings the network up, runs guest() of the
# case, leaves its lines in /run/vm/out and its status in /run/vm/status, and powers off. Process 1: started by tests/vm/init only.
export PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
end() { busybox poweroff -f; }
trap end EXIT

mkdir -p /dev/pts /dev/shm /run/netns /sys/fs/bpf /sys/fs/cgroup
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tracefs tracefs /sys/kernel/tracing
[[ -e /dev/fd ]] || ln -s /proc/self/fd /dev/fd
ip link set lo up

cd "$1" || exit
# shellcheck disable=SC1091 # written by run.sh
. /run/vm/job
mkdir -p /usr/lib/modules
mount --bind "$vm_kernel/root/usr/lib/modules" /usr/lib/modules
# shellcheck source=tests/vm/lib.sh
. tests/vm/lib.sh
# shellcheck disable=SC1090 # the case
. "tests/vm/cases/$vm_case.sh"
touch /run/vm/booted
guest_run >>/run/vm/out 2>&1 </dev/null
