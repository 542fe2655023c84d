#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs those of the named Debian or Ubuntu packages that are missing; says nothing and asks no server when none is.
set -euo pipefail

# Ubuntu ships bpftool within the tools of its kernels; everywhere else the package has the program's name.
provided() {
	[[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]] && return
	[[ $1 == bpftool ]] && PATH=$PATH:/usr/sbin bpftool version >/dev/null 2>&1
}

installable() {
	if [[ $1 == bpftool && $(apt-cache policy bpftool) != *'Candidate: '[^\(]* ]]; then
		echo linux-tools-generic
	else
		echo "$1"
	fi
}

missing=()
for package in "$@"; do
	provided "$package" || missing+=("$package")
done
((${#missing[@]})) || exit 0

if ((EUID)); then
	echo "sluice: deps: missing packages: ${missing[*]}; run 'make deps' as root" >&2
	exit 3
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
names=()
for package in "${missing[@]}"; do
	names+=("$(installable "$package")")
done
echo "sluice: deps: installing ${names[*]}"
apt-get install -y -qq --no-install-recommends "${names[@]}" >/dev/null
