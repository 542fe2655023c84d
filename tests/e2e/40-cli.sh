#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The command line as a person meets it: every command and its help, exit statuses, error texts with place, fact and remedy, and every
# example policy with its cases. One host is enough:
#
#   trainer ── eth0 (nothing is applied to it until the end)
. "$(dirname "$0")/lib.sh"

ROOT=$(topology_root trainer)
sluice() { "$SLUICE" --root "$ROOT" "$@"; }

# status_is NAME STATUS PATTERN ARG...: runs sluice, compares the status, and wants the pattern in what it says.
status_is() {
	local name=$1 wanted=$2 pattern=$3 status
	shift 3
	sluice "$@" >"$tmp/out" 2>&1
	status=$?
	case_if "$name" "status $status, said: $(head -c 300 "$tmp/out")" \
		eval '((status == wanted)) && grep -qE -- "$pattern" "$tmp/out"'
}

commands=$(sluice help | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p')
for command in check plan apply confirm rollback show status explain replay import events detach target io version help; do
	case_if "help lists $command" "it lists: $(echo $commands)" grep -qx "$command" <<<"$commands"
	status_is "help $command explains it" 0 "usage: sluice $command" help "$command"
	status_is "$command --help is the same" 0 "usage: sluice $command" "$command" --help
done
for sub in discover connect read write verify bench; do
	status_is "io $sub --help lists its options" 0 "--to" io "$sub" --help
done

status_is "no command is wrong usage" 2 "usage"
status_is "an unknown command gets a suggestion" 2 "did you mean status" statsu
status_is "an unknown option is wrong usage" 2 "usage|option" check --frobnicate x.yaml
status_is "a missing argument is wrong usage" 2 "usage|POLICY" check
status_is "version names version and kernel" 0 "0\\.1\\.0" version
status_is "io without --to says what is missing" 2 "--to" io bench
status_is "io without --nqn says how to find it" 2 "sluice io discover" io bench --to 127.0.0.1:4420
status_is "io to nobody says who and why" 3 "127\\.0\\.0\\.1:9.*refused" io connect --to 127.0.0.1:9 --nqn nqn.2026-11.io.example:x

# --------------------------------------------------------------------------------------------------------- policies

status_is "a missing policy file is named" 2 "nowhere\\.yaml" check nowhere.yaml
cat >"$tmp/bad.yaml" <<'EOP'
sluice: 1
name: bad
default: deny
interfaces: [{name: eth0}]
segments:
  trainers: [10.10.0.0/16]
  wrong: [10.300.0.0/16]
rules:
  - {name: typo, from: trainer, to: any, service: tcp/443, action: allow}
  - {name: port, from: trainers, to: any, service: tcp/70000, action: allow}
  - {name: action, from: trainers, to: any, service: tcp/1, action: permit}
  - {name: action, from: trainers, to: any, service: tcp/2, action: deny}
extra: 1
EOP
status_is "a bad prefix has its place" 2 "bad\\.yaml:7:[0-9]+: error" check "$tmp/bad.yaml"
status_is "a near miss is suggested" 2 "bad\\.yaml:9:[0-9]+: error.*trainers" check "$tmp/bad.yaml"
status_is "a port out of range has its place" 2 "bad\\.yaml:10:[0-9]+: error.*70000" check "$tmp/bad.yaml"
status_is "an unknown action has its place" 2 "bad\\.yaml:11:[0-9]+: error.*permit" check "$tmp/bad.yaml"
status_is "a name used twice has its place" 2 "bad\\.yaml:12:[0-9]+: error.*action" check "$tmp/bad.yaml"
status_is "an unknown key has its place" 2 "bad\\.yaml:13:[0-9]+: error.*extra" check "$tmp/bad.yaml"

found=0
for policy in policies/*; do # a folder is a policy too
	[[ $policy == *.cases.yaml ]] && continue
	((found++))
	status_is "$policy is accepted" 0 "" check "$policy"
	case_if "$policy has cases" "no ${policy%.yaml}.cases.yaml" test -s "${policy%.yaml}.cases.yaml"
	status_is "$policy's cases come out as it says" 0 "" check "$policy" --cases "${policy%.yaml}.cases.yaml"
done
case_if "there are example policies" "$found" test "$found" -ge 9

explain() { sluice explain policies/ai-pod.yaml --json "$@"; }
case_if "explain names the deciding rule of an allowed flow" "$(explain --from "$TRAINER4" --to "$STORAGE4" --service tcp/4420 2>&1)" \
	eval 'explain --from "$TRAINER4" --to "$STORAGE4" --service tcp/4420 | jq -e ".action == \"allow\" and .rule != null"'
case_if "explain says default for the intruder" "$(explain --from "$INTRUDER4" --to "$STORAGE4" --service tcp/4420 2>&1)" \
	eval 'explain --from "$INTRUDER4" --to "$STORAGE4" --service tcp/4420 | jq -e ".action == \"deny\""'
status_is "explain wants a protocol that exists" 2 "no protocol" explain policies/ai-pod.yaml --from 10.0.0.1 --to 10.0.0.2 --service tpc/1

# ------------------------------------------------------------------------------------------------- with the kernel

hosts_up
cat >"$tmp/good.yaml" <<'EOP'
sluice: 1
name: e2e-cli
default: deny
interfaces: [{name: eth0}]
rules:
  - {name: logged, from: 10.20.0.0/16, to: any, service: icmp/echo-request, action: deny, log: true}
EOP
status_is "status with nothing applied says so" 3 "nothing|not applied|no such|No such" status
sluice_in trainer apply "$tmp/good.yaml" >"$tmp/out" 2>&1
case_if "apply" "$(<"$tmp/out")" test -e "$ROOT"
status_is "status shows the policy" 0 "e2e-cli" status
case_if "status --json is one document with all parts" "$(sluice status --json | head -c 300)" \
	eval 'sluice status --json | jq -e "has(\"policy\") and has(\"interfaces\") and has(\"rules\") and has(\"reasons\") and has(\"flows\")"'
pings storage "$TRAINER4" 0.2
case_if "a logged verdict is an event" "$(sluice events 2>&1)" eval 'pings storage "$TRAINER4" 0.2; sluice events --json | jq -e "select(.rule == \"logged\")"'
sed 's/eth0/eth7/' "$tmp/good.yaml" >"$tmp/absent.yaml"
sluice_in trainer apply "$tmp/absent.yaml" >"$tmp/out" 2>&1
status=$?
case_if "an interface that does not exist is named, and nothing changes" "status $status: $(<"$tmp/out")" \
	eval '((status)) && grep -q eth7 "$tmp/out" && sluice_in trainer status --json | jq -e ".interfaces[0].name == \"eth0\""'
case_ok "detach" sluice_in trainer detach
case_if "after detach nothing is pinned" "$(ls "$ROOT" 2>&1)" test ! -e "$ROOT"
