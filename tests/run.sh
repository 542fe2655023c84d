#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs test suites and adds up what they say.
#
#   tests/run.sh --build DIR [--filter PATTERN] [--fuzz-seconds N] SUITE...
#
# Suites: unit, asan (Criterion programs), fuzz (libFuzzer harnesses), bpf (programs), e2e (scripts), vm (cases in guests). Programs and scripts
# speak one line a case: "ok - NAME", "not ok - NAME: WHY" or "skip - NAME: WHY"; a crash or a non-zero exit without
# a "not ok" line is a failure of its own. The last line is the total; exit 0 only if nothing failed. With CI set, a skip is a
# failure too.
set -uo pipefail
cd "$(dirname "$0")/.."

build=build filter='' fuzz_seconds=20 suites=()
while (($#)); do
	case $1 in
	--build) build=$2; shift 2 ;;
	--filter) filter=$2; shift 2 ;;
	--fuzz-seconds) fuzz_seconds=$2; shift 2 ;;
	*) suites+=("$1"); shift ;;
	esac
done

passed=0 failed=0 skipped=0 failures=()
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT

fail() { ((failed++)); failures+=("$1"); }

# A Criterion program: its synthesis line has the counts.
run_criterion() {
	local program=$1 label=$2 out status synthesis tested passing
	out=$log/out
	timeout 600 "$program" ${filter:+--filter "$filter"} >"$out" 2>&1
	status=$?
	synthesis=$(grep -a 'Synthesis:' "$out" | tail -1 | sed 's/\x1b\[[0-9;]*m//g')
	tested=$(sed -n 's/.*Tested: *\([0-9]*\).*/\1/p' <<<"$synthesis")
	passing=$(sed -n 's/.*Passing: *\([0-9]*\).*/\1/p' <<<"$synthesis")
	if [[ -z $tested ]] || ((status && passing == tested)); then
		cat "$out"
		fail "$label: ended with status $status and no full result"
		return
	fi
	((passed += passing))
	if ((passing < tested)); then
		cat "$out"
		((failed += tested - passing))
		failures+=("$label: $((tested - passing)) of $tested")
	fi
	((tested)) && printf '  %-5s %-40s %s of %s\n' "$([[ $passing == "$tested" ]] && echo ok || echo FAIL)" "$label" \
		"$passing" "$tested"
}

# A program or script that speaks ok / not ok / skip lines.
run_lines() {
	local label=$1 out=$log/out status ok bad skip
	shift
	timeout 900 "$@" >"$out" 2>&1 </dev/null
	status=$?
	ok=$(grep -ac '^ok - ' "$out")
	bad=$(grep -ac '^not ok - ' "$out")
	skip=$(grep -ac '^skip - ' "$out")
	((passed += ok, failed += bad, skipped += skip))
	if ((bad || (status && status != 77) || ok + bad + skip == 0)); then
		cat "$out"
		while read -r line; do failures+=("$label: $line"); done < <(grep -a '^not ok - ' "$out")
		((bad)) || fail "$label: ended with status $status after $ok cases"
	fi
	grep -a '^skip - ' "$out"
	printf '  %-5s %-40s %s passed%s\n' "$( ((bad || (status && status != 77))) && echo FAIL || echo ok)" "$label" "$ok" \
		"$( ((skip)) && echo ", $skip skipped")"
}

suite_unit() { for p in "$build"/tests/unit/*; do [[ -x $p && ! -d $p ]] && run_criterion "$p" "unit/$(basename "$p")"; done; }
suite_asan() { for p in "$build"/asan/tests/unit/*; do [[ -x $p && ! -d $p ]] && run_criterion "$p" "asan/$(basename "$p")"; done; }
suite_asan_bpf() { for p in "$build"/asan/tests/bpf/*; do [[ -x $p && ! -d $p ]] && run_lines "asan/$(basename "$p")" "$p"; done; }
suite_bpf() { for p in "$build"/tests/bpf/*; do [[ -x $p && ! -d $p ]] && run_lines "bpf/$(basename "$p")" "$p"; done; }
suite_e2e() {
	for p in tests/e2e/*.sh; do
		[[ $(basename "$p") == lib.sh ]] || run_lines "e2e/$(basename "$p" .sh)" env BUILD="$build" "$p"
	done
}
# Every case in a guest with each kernel that it names; without a line "# kernels:", with each there is.
suite_vm() {
	local -A suites=([6.1]=bookworm [6.12]=trixie)
	local kernel case why packages
	for kernel in 6.1 6.12; do
		why=$(tests/vm/fetch.sh --build "$build" "${suites[$kernel]}" 2>&1)
		case $? in
		0) ;;
		77) echo "skip - vm/$kernel: $why"; ((skipped++)); continue ;;
		*) echo "$why"; fail "vm/$kernel: no kernel to boot"; continue ;;
		esac
		for p in tests/vm/cases/*.sh; do
			case=$(basename "$p" .sh)
			[[ -z $filter || $case == $filter ]] || continue
			grep -q '^# kernels:' "$p" && ! grep -q "^# kernels:.* $kernel\b" "$p" && continue
			read -ra packages < <(sed -n 's/^# packages: //p' "$p") || packages=()
			if ! why=$(tests/vm/fetch.sh --build "$build" "${suites[$kernel]}" "${packages[@]}" 2>&1); then
				echo "skip - vm/$kernel/$case: $why"
				((skipped++))
				continue
			fi
			run_lines "vm/$kernel/$case" tests/vm/run.sh --build "$build" "${suites[$kernel]}" "$case"
		done
	done
}
suite_fuzz() {
	local name corpus
	for p in "$build"/tests/fuzz/*; do
		[[ -x $p && ! -d $p ]] || continue
		name=$(basename "$p")
		corpus=$build/fuzz-corpus/$name
		mkdir -p "$corpus"
		if "$p" -max_total_time="$fuzz_seconds" -timeout=10 -rss_limit_mb=4096 -print_final_stats=1 \
			-artifact_prefix="$build/fuzz-corpus/$name-" "$corpus" $(ls -d tests/fuzz/corpus/"$name" 2>/dev/null) >"$log/out" 2>&1; then
			((passed++))
			printf '  ok    %-40s %s runs\n' "fuzz/$name" "$(sed -n 's/stat::number_of_executed_units: *//p' "$log/out")"
		else
			tail -40 "$log/out"
			fail "fuzz/$name: the input is in $build/fuzz-corpus/"
		fi
	done
}

for suite in "${suites[@]}"; do
	echo "== $suite"
	"suite_$suite"
done

if ((${#failures[@]})); then
	echo "== failures"
	printf '  %s\n' "${failures[@]}"
fi
[[ -n ${CI:-} ]] && ((skipped)) && echo "CI tolerates no skip: every test must run there"
echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0 && passed > 0)) && ! { [[ -n ${CI:-} ]] && ((skipped)); }
