#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Regenerates vmlinux/vmlinux.h from the running kernel's BTF: the types that seed.bpf.c names and what they contain.
# Needs clang, bpftool and /sys/kernel/btf/vmlinux. Run it only when bpf/ needs another type; the result is committed.
set -eu
cd "$(dirname "$0")"

# One member of each anonymous enumeration that bpf/ uses.
members='BPF_F_NO_PREALLOC BPF_NOEXIST BPF_F_CURRENT_CPU BPF_FIB_LKUP_RET_NOT_FWDED BPF_FIB_LOOKUP_DIRECT
	BPF_RB_NO_WAKEUP IPPROTO_TCP false'

bpftool=$(command -v bpftool || echo /usr/sbin/bpftool)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$bpftool" btf dump file /sys/kernel/btf/vmlinux format c > "$work/vmlinux.h"
cp seed.bpf.c "$work" # beside the full dump: its own folder has a vmlinux.h, too
clang -target bpf -mcpu=v3 -O2 -g -c "$work/seed.bpf.c" -o "$work/seed.o"
{
	echo '/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */'
	echo "/* Made by generate.sh from the BTF of Linux $(uname -r | sed 's/-.*//'), $(uname -m): do not edit. */"
	"$bpftool" btf dump file "$work/seed.o" format c | sed '$d'
	awk -v members="$members" '
		BEGIN { n = split(members, member) }
		/^enum {/ { block = ""; inside = 1 }
		inside { block = block $0 "\n" }
		inside && /^};/ {
			inside = 0
			for (i = 1; i <= n; i++)
				if (block ~ "\t" member[i] " =") { printf "%s\n", block; break }
		}' "$work/vmlinux.h"
	echo '#endif /* __VMLINUX_H__ */'
} > "$work/reduced.h"
mv "$work/reduced.h" vmlinux.h
wc -l vmlinux.h
