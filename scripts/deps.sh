#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs those of the named Debian packages that are missing; says nothing and asks no server when none is.
set -euo pipefail

missing=()
for package in "$@"; do
	dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
((${#missing[@]})) || exit 0

if ((EUID)); then
	echo "sluice: deps: missing packages: ${missing[*]}; run 'make deps' as root" >&2
	exit 3
fi
echo "sluice: deps: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
