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

# medians FILE COLUMN: candidate, median of its rounds; in the order of the file.
medians() {
	awk -F '\t' -v n="$2" '
		!($2 in list) { order[++count] = $2 }
		{ list[$2] = list[$2] " " $n }
		END {
			for (i = 1; i <= count; i++) {
				k = split(list[order[i]], v, " ")
				for (a = 2; a <= k; a++) for (b = a; b > 1 && v[b - 1] + 0 > v[b] + 0; b--) { t = v[b]; v[b] = v[b - 1]; v[b - 1] = t }
				printf "%s\t%s\n", order[i], k % 2 ? v[(k + 1) / 2] : (v[k / 2] + v[k / 2 + 1]) / 2
			}
		}' "$1"
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
if [[ -s $out/forward.tsv ]]; then
	medians "$out/forward.tsv" 3 | awk -F '\t' -v machine="$(machine)" '
		{ rate[$1] = $2 }
		function line(c, what) {
			printf "| %s | %.2f M | %.2f | %.2f |\n", what, rate[c "-1000"] / 1e6, rate[c "-1000"] / rate["redirect-1000"], rate[c "-1000"] / rate["nft-1000"]
		}
		END {
			print machine ". 1,000 flows, drawn at random.\n"; print "| who sends on | packets/s | of a bare redirect | of nftables |\n|---|---|---|---|"
			line("redirect", "a bare XDP redirect"); line("wire", "sluice, `wire`"); line("route", "sluice, `forward: xdp`")
			line("kernel", "the kernel, no firewall"); line("nft", "the kernel, nftables with conntrack")
		}' | block forward
	medians "$out/forward.tsv" 3 | awk -F '\t' '{
		n = $1; sub(/-.*/, "", $1); sub(/.*-/, "", n)
		name["wire"] = "sluice, wire"; name["nft"] = "kernel, nftables"; name["redirect"] = "bare redirect"
		if ($1 in name) print name[$1] "\t" n "\t" 1e9 / $2 }' | sort -s -t "$(printf '\t')" -k1,1r |
		plot flows 'A packet from veth to veth, generator included, ns' 'live flows, drawn at random' ns
fi
if [[ -s $out/forward.tsv ]]; then
	medians "$out/forward.tsv" 3 | awk -F '\t' -v machine="$(machine)" '
		{ rate[$1] = $2; n = $1; sub(/.*-/, "", n); if (!(n in seen)) { seen[n] = 1; order[++count] = n } }
		END {
			print machine ".\n\n| live flows | bare redirect, packets/s | sluice, `wire` | ns for the flow and all else | nftables with conntrack |\n|---|---|---|---|---|"
			for (i = 1; i <= count; i++) {
				n = order[i]; r = rate["redirect-" n]; w = rate["wire-" n]; k = rate["nft-" n]
				printf "| %s | %.2f M | %.2f M | %.0f | %s |\n", n, r / 1e6, w / 1e6, 1e9 / w - 1e9 / r, k ? sprintf("%.2f M", k / 1e6) : "over the limit"
			}
		}' | block flows
fi
if [[ -s $out/new.tsv ]]; then
	medians "$out/new.tsv" 3 | awk -F '\t' -v machine="$(machine)" '
		{ rate[$1] = $2 }
		function line(c, what, to) { printf "| %s | %.0f k | %.2f |\n", what, rate[c] / 1e3, rate[c] / rate[to] }
		END {
			print machine ".\n\n| new flows | a second | of nftables |\n|---|---|---|"
			line("new-open", "to a local socket, no firewall", "new-nft"); line("new-nft", "the same, nftables with conntrack", "new-nft")
			line("new-sluice", "the same, sluice", "new-nft"); line("kernel", "forwarded by the kernel, no firewall", "nft")
			line("nft", "the same, nftables with conntrack", "nft"); line("route", "the same, sluice with `forward: xdp`", "nft")
			line("wire", "sent on by sluice, `wire`", "nft"); line("redirect", "sent on by a bare XDP redirect", "nft")
		}' | block new
fi
if [[ -s $out/flood.tsv ]]; then
	paste <(medians "$out/flood.tsv" 3) <(medians "$out/flood.tsv" 4) <(medians "$out/flood.tsv" 5) \
		<(medians "$out/flood.tsv" 6) <(medians "$out/flood.tsv" 7) | awk -F '\t' -v machine="$(machine)" '
		BEGIN { print machine ".\n\n| under a SYN flood | transfer keeps | MB/s before | MB/s then | SYN/s | connections made of 10 |\n|---|---|---|---|---|---|"
			name["flood-open"] = "no firewall"; name["flood-nft"] = "nftables with conntrack"; name["flood-sluice"] = "sluice" }
		{ printf "| %s | %.2f | %.0f | %.0f | %.0f k | %s |\n", name[$1], $2, $4 / 1e6, $6 / 1e6, $8 / 1e3, $10 }' | block flood
fi
if [[ -s $out/storage.tsv ]]; then
	paste <(medians "$out/storage.tsv" 3) <(medians "$out/storage.tsv" 4) <(medians "$out/storage.tsv" 5) <(medians "$out/storage.tsv" 6) \
		<(medians "$out/storage.tsv" 7) | awk -F '\t' -v machine="$(machine)" '
		{ name[++n] = $1; rate[$1] = $2; p50[$1] = $4; p99[$1] = $6; p999[$1] = $8; cpu[$1] = $10 }
		function other(c) { # what it is held against
			if (c ~ /^(floor|fio)-/) return ""
			o = c; sub(/-(queues|digests)$/, "", o); sub(/^file-/, "fio-", o); sub(/^(null|memory)-/, "floor-", o)
			return o in rate ? o : ""
		}
		END {
			print machine ".\n"; print "| candidate | a second | of | p50, µs | p99 | p99.9 | CPU of the serving end, µs |\n|---|---|---|---|---|---|---|"
			for (i = 1; i <= n; i++) {
				c = name[i]; o = other(c)
				printf "| `%s` | %.0f | %s | %.1f | %.1f | %.1f | %.2f |\n", c, rate[c], o == "" ? "" : sprintf("%.2f of `%s`", rate[c] / rate[o], o),
					p50[c] / 1e3, p99[c] / 1e3, p999[c] / 1e3, cpu[c] / 1e3
			}
		}' | block storage
fi
