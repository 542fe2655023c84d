#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# report.sh BUILD: from the raw figures of a run, plots into docs/img/ and the blocks of docs/performance.md between
# `<!-- bench:NAME -->` and `<!-- /bench -->`. A section that was not run keeps what it has.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$1/bench
page=docs/performance.md
mkdir -p docs/img

# block NAME: replaces the block by standard input.
block() {
	local text
	text=$(cat)
	TEXT=$text awk -v open="<!-- bench:$1 -->" '
		$0 == open { print; print ""; print ENVIRON["TEXT"]; print ""; skip = 1; next }
		$0 == "<!-- /bench -->" { skip = 0 }
		!skip' "$page" >"$out/page.md"
	cat "$out/page.md" >"$page"
}

plot() { awk -f tests/bench/plot.awk -v title="$2" -v xname="$3" -v yname="$4" >"docs/img/$1.svg"; }

machine() {
	printf '%s × %s, kernel %s, %s' "$(nproc)" "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | sed -n 1p)" "$(uname -r)" "$(date -u +%F)"
}

if [[ -s $out/prefix.tsv ]]; then
	awk -F '\t' '{ f = "IPv" $1; print "sluice, " f "\t" $2 "\t" $4; print "LPM trie, " f "\t" $2 "\t" $5 }' "$out/prefix.tsv" |
		sort -s -t "$(printf '\t')" -k1,1r | plot prefix 'Prefix lookup, ns over an empty program' prefixes ns
	awk -F '\t' -v machine="$(machine)" '
		BEGIN { print machine ".\n"; print "| prefixes | family | sluice, ns | LPM trie, ns | LPM : sluice |\n|---|---|---|---|---|" }
		{ printf "| %s | IPv%s | %s | %s | %.1f |\n", $2, $1, $4, $5, $5 / $4 }' "$out/prefix.tsv" | block prefix
fi
if [[ -s $out/classify.tsv ]]; then
	awk -F '\t' '{ print "decision, " $1 "\t" $2 "\t" $4 } { print "new flow, " $1 "\t" $2 "\t" $5 }' "$out/classify.tsv" |
		sort -s -t "$(printf '\t')" -k1,1 | plot classify 'A new packet, ns over an empty program' rules ns
	awk -F '\t' -v machine="$(machine)" '
		BEGIN { print machine ".\n"; print "| set | rules | decision alone, ns | new flow, whole program, ns | of 100 rules |\n|---|---|---|---|---|" }
		$2 == 100 { base[$1] = $5 }
		{ printf "| %s | %s | %s | %s | %s |\n", $1, $2, $4, $5, base[$1] ? sprintf("%.2f", $5 / base[$1]) : "" }' "$out/classify.tsv" |
		block classify
fi
if [[ -s $out/policies.tsv ]]; then
	awk -F '\t' '{ print "check\t" $1 "\t" $2; print "apply, all of it\t" $1 "\t" $3; print "load of the bank\t" $1 "\t" $4 }' "$out/policies.tsv" |
		sort -s -t "$(printf '\t')" -k1,1 | plot compile 'A policy of ACL rules' rules ms
	awk -F '\t' -v machine="$(machine)" '
		BEGIN { print machine ".\n"; print "| rules (acl) | check, ms | apply, all of it, ms | load, ms | peak memory of apply, MiB | kernel memory, both banks, MiB |\n|---|---|---|---|---|---|" }
		{ printf "| %s | %.0f | %.0f | %.1f | %.0f | %.1f |\n", $1, $2, $3, $4, $5, $6 }' "$out/policies.tsv" | block policies
fi
if [[ -s $out/packets.tsv ]]; then
	awk -F '\t' -v machine="$(machine)" '
		function median(c,  n, i, v) { n = split(list[c], v, " "); asort_(v, n); return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2 }
		function asort_(v, n,  i, j, t) { for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j - 1] + 0 > v[j] + 0; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t } }
		{ if (!($2 in list)) order[++n] = $2; list[$2] = list[$2] " " $3 }
		END {
			print machine ".\n"; print "| candidate | packets/s | of the floor |\n|---|---|---|"
			for (i = 1; i <= n; i++) printf "| `%s` | %.2f M | %.2f |\n", order[i], median(order[i]) / 1e6, median(order[i]) / median("floor")
		}' "$out/packets.tsv" | block packets
fi
