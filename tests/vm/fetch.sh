#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Fetches the kernel of a Debian release and makes it bootable:
#
#   tests/vm/fetch.sh --build DIR SUITE [PACKAGE...]          SUITE is bookworm (6.1) or trixie (6.12)
#
# Leaves DIR/vm/SUITE/{vmlinux,release,root/}: the uncompressed kernel, its `uname -r`, its modules. With packages also
# DIR/vm/SUITE/tools/: a root with these, as that release has them, and all that they need. Nothing is installed. Servers and
# keys are those of the machine's own apt sources with the release's name exchanged; lists and packages lie under DIR/vm/cache. What
# is there already is not fetched again. Exit 77 with a line that says why if the archive does not give the kernel.
set -euo pipefail

build=build
[[ ${1:-} == --build ]] && { build=$2; shift 2; }
suite=$1
shift
mkdir -p "$build/vm/cache/$suite"
to=$(realpath "$build/vm")/$suite
cache=$(realpath "$build/vm/cache/$suite")
export APT_CONFIG=$cache/apt.conf DEBIAN_FRONTEND=noninteractive

cannot() {
	echo "$1"
	exit 77
}

# The machine's sources that are of its own Debian release, under the name of another one.
exchange_sources() {
	local own file
	own=$(. /etc/os-release && [[ $ID == debian ]] && echo "${VERSION_CODENAME:-}") ||
		cannot "this machine is not Debian: its package sources have no Debian $suite"
	rm -f "$cache"/sources/*
	mkdir -p "$cache"/{sources,lists/partial,cache/archives/partial}
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources}; do
		[[ -e $file ]] && grep -qw "$own" "$file" || continue
		sed "s/\b$own\b/$suite/g" "$file" >"$cache/sources/${file##*/}"
	done
	: >"$cache/status"
	cat >"$APT_CONFIG" <<-EOF
		Dir::Etc::sourcelist "-";
		Dir::Etc::sourceparts "$cache/sources";
		Dir::State::lists "$cache/lists";
		Dir::State::status "$cache/status";
		Dir::Cache "$cache/cache";
	EOF
}

# The image's payload: offset and length at 0x248 and 0x24c, counted from the end of the setup sectors; its last four bytes
# are the size of what it holds. Booting the bzImage itself would take three times as long.
extract_vmlinux() {
	local image=$1 sectors offset length
	field() { od -An -t "u$2" -j "$1" -N "$2" "$image" | tr -d ' '; }
	sectors=$(field 0x1f1 1)
	offset=$(($(field 0x248 4) + (sectors + 1) * 512))
	length=$(($(field 0x24c 4) - 4))
	dd if="$image" of="$2.packed" bs=1M iflag=skip_bytes,count_bytes skip="$offset" count="$length" status=none
	case $(od -An -t x1 -N 4 "$2.packed" | tr -d ' ') in
	fd377a58) xz -dc "$2.packed" >"$2" ;;
	28b52ffd) zstd -qdcf "$2.packed" >"$2" ;;
	*) cannot "$image is packed in a way not known here" ;;
	esac
	rm "$2.packed"
}

# A root to change into, or to bind things over: merged as Debian 13 has it, nothing in it configured.
fetch_tools() {
	local archives=$cache/tools package
	[[ -e $to/tools/packages && $(<"$to/tools/packages") == "$*" ]] && return
	lists_fetch
	rm -rf "$to/tools" "$archives"
	mkdir -p "$archives/partial" "$to/tools"/usr/{bin,sbin,lib,lib64} "$to/tools"/{dev,proc,sys,run,tmp}
	apt-get install -y --download-only --no-install-recommends -o Dir::Cache::archives="$archives" "$@" >>"$cache/log" 2>&1 ||
		cannot "$*: cannot be fetched from Debian $suite; see $cache/log"
	for package in bin sbin lib lib64; do ln -s "usr/$package" "$to/tools/$package"; done
	for package in "$archives"/*.deb; do dpkg-deb -x "$package" "$to/tools"; done
	rm -rf "$archives"
	echo "$*" >"$to/tools/packages"
}

lists_fetch() {
	exchange_sources
	apt-get update -qq >"$cache/log" 2>&1 || cannot "no package lists of Debian $suite: $(tail -1 "$cache/log")"
}

if [[ -e $to/release ]]; then
	(($#)) && fetch_tools "$@"
	exit 0
fi
lists_fetch
package=$(apt-cache depends linux-image-amd64 2>>"$cache/log" | sed -n 's/^ *Depends: //p' | head -1)
[[ $package ]] || cannot "the archive has no kernel for Debian $suite; see $cache/log"
(cd "$cache" && apt-get download -qq "$package" >>log 2>&1) || cannot "$package cannot be fetched; see $cache/log"

rm -rf "$to"
mkdir -p "$to/root"
dpkg-deb -x "$cache/$package"_*.deb "$to/root"
release=${package#linux-image-}
# Debian 13 keeps modules in /usr/lib, Debian 12 in /lib.
[[ -d $to/root/usr/lib/modules ]] || { mkdir -p "$to/root/usr/lib"; mv "$to/root/lib/modules" "$to/root/usr/lib/"; }
[[ -e $to/root/lib ]] && rm -rf "$to/root/lib"
ln -s usr/lib "$to/root/lib"
depmod -b "$to/root" "$release"
extract_vmlinux "$to/root/boot/vmlinuz-$release" "$to/vmlinux"
echo "$release" >"$to/release"
rm -f "$cache/$package"_*.deb
(($#)) && fetch_tools "$@"
exit 0
