#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Packs the small initramfs of a fetched kernel: busybox, the modules that reach the root over 9p, and init.
#
#   tests/vm/initramfs.sh DIR/vm/SUITE           leaves DIR/vm/SUITE/initrd
set -euo pipefail
cd "$(dirname "$0")"

to=$1
release=$(<"$to/release")
[[ $to/initrd -nt init && $to/initrd -nt $to/release && $to/initrd -nt initramfs.sh ]] && exit 0
root=$(mktemp -d "$to/initramfs.XXXXXX")
trap 'rm -rf "$root"' EXIT

mkdir -p "$root"/{bin,modules}
cp "$(command -v busybox)" "$root/bin/busybox"
cp init "$root/init"
# In the order in which they are to be loaded, what each needs before it; uncompressed, as busybox wants them.
for wanted in virtio_pci 9pnet_virtio 9p overlay virtio_net; do
	modprobe -d "$to/root" -S "$release" --show-depends "$wanted"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r module; do
	name=${module##*/}
	case $name in
	*.xz) xz -dc "$module" >"$root/modules/${name%.xz}" ;;
	*.zst) zstd -qdc "$module" >"$root/modules/${name%.zst}" ;;
	*) cp "$module" "$root/modules/$name" ;;
	esac
	echo "${name%%.ko*}.ko" >>"$root/modules/order"
done
(cd "$root" && find . | cpio -o -H newc --quiet) | gzip -1 >"$to/initrd.new"
mv "$to/initrd.new" "$to/initrd"
