#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The commands around a live policy: plan says what apply then does, apply --confirm goes back by itself when the process that
# applied is dead, rollback and show know what was applied, and every --json has the fields that docs/json.md promises.
#
#   trainer 10.10.1.10 ──── trainer [ dpu: plan, apply, confirm, rollback, show ] storage ──── storage 10.20.0.5
#                            an open connection ──────────────────────────▶  echo on tcp/4420, tcp/5000
. "$(dirname "$0")/lib.sh"

# policy_write FILE NAME INTERFACES RULE...
policy_write() {
	local file=$1 name=$2 interfaces=$3 rule
	shift 3
	cat >"$file" <<-EOP
		sluice: 1
		name: $name
		default: deny
		interfaces: [$interfaces]
		segments:
		  trainers: [10.10.1.0/24, "fd00:10:1::/64"]
		  store: [10.20.0.5/32, "fd00:20::5/128"]
		rules:
	EOP
	for rule; do echo "  - $rule" >>"$file"; done
}
all='{name: trainer}, {name: intruder}, {name: storage}'
storage_rule='{name: storage, from: trainers, to: store, service: tcp/4420, action: allow}'
other_rule='{name: other, from: trainers, to: store, service: tcp/5000, action: allow}'
closed_rule='{name: closed, from: trainers, to: store, service: tcp/5000, action: deny}'
policy_write "$tmp/both.yaml" both "$all" "$storage_rule" "$other_rule"
policy_write "$tmp/closed.yaml" closed "$all" "$closed_rule" "$storage_rule"
policy_write "$tmp/none.yaml" none "$all" "$closed_rule"
policy_write "$tmp/less.yaml" less '{name: trainer}, {name: storage}' "$storage_rule" "$other_rule"
policy_write "$tmp/broken.yaml" broken "$all" '{name: x, from: nowhere, to: store, service: tcp/5000, action: allow}'

# Exit status of a command of the dpu; what it said is in $tmp/out and $tmp/err.
status_of() { sluice_in dpu "$@" >"$tmp/out" 2>"$tmp/err"; echo $?; }
# status_is NAME STATUS ARG...
status_is() {
	local name=$1 wanted=$2 got
	shift 2
	got=$(status_of "$@")
	case_if "$name" "status $got: $(head -c 300 "$tmp/out" "$tmp/err")" test "$got" = "$wanted"
}
said() { case_if "$1" "$(head -c 600 "$tmp/out" "$tmp/err")" grep -qE -- "$2" "$tmp/out" "$tmp/err"; }
# json_is NAME FILTER: of what the last command has printed.
json_is() { case_if "$1" "$(head -c 600 "$tmp/out")" jq -e "$2" "$tmp/out"; }
live_name() { sluice_in dpu status --json | jq -r .policy.name; }
live_is() { [[ $(live_name) == "$1" ]]; }
attached() { topology_in dpu ip -o link show dev "$1" | grep -c xdp; }

hosts_up
serve storage

# ------------------------------------------------------------------------------------------------------- nothing is live

status_is "plan with nothing live is a difference" 1 plan "$tmp/both.yaml"
said "and says that all is new" "no policy is in force"
status_is "plan of a wrong policy is rejected" 2 plan "$tmp/broken.yaml"
status_is "and with --json it is" 2 plan --json "$tmp/broken.yaml"
json_is "rejected in JSON too" '.error | test("rejected")'
for command in show rollback confirm; do
	status_is "$command with nothing live is refused with status 1" 1 "$command" --json
	json_is "$command says why in JSON" '.error | length > 0'
done
status_is "detach of nothing is fine" 0 detach --json
json_is "detach --json says that there was nothing" '.detached == false and (.root | length > 0)'

# The first policy ever, on trial, by a process that is killed: nothing is in force afterwards.
status_is "a first policy on trial" 0 apply --confirm 8s --json "$tmp/none.yaml"
json_is "its JSON says that it is pending" '.confirm.state == "pending" and .confirm.previous == 0 and .confirm.seconds_left > 0'
case_ok "it is in force" denied dpu rule-deny tcp_connects trainer "$STORAGE4" 5000
case_ok "and gone when its time is over" wait_for 20 tcp_echo trainer "$STORAGE4" 5000
case_ok "which status tells" jq -e '.confirm.state == "expired" and .generation == 0 and .confirm.seconds_ago >= 0' \
	<(sluice_in dpu status --json)

# ------------------------------------------------------------------------------------------------------- plan and apply

status_is "apply" 0 apply --json "$tmp/both.yaml"
json_is "apply --json has its fields" '
	.policy == "both" and .generation > 0 and .previous == 0 and (.digest | length == 64) and .mode == "enforce"
	and .rules.added == 2 and .rules.removed == 0 and .rules.changed == 0 and .rules.moved == 0
	and .rules.new == 3 and .rules.kept == 0 and .flows.cut == 0 and (.interfaces | map(.name) | sort) == ["intruder", "storage", "trainer"]
	and .interfaces[0].mode != "" and .load_ns > 0 and .flip_ns > 0 and .confirm == null and .warnings == []'
digest=$(jq -r .digest "$tmp/out")
status_is "plan of what is live is no difference" 0 plan "$tmp/both.yaml"
said "and says so" "no difference"

exec {to}<> <(:)
topology_in trainer ncat -p 45678 "$STORAGE4" 5000 <&"$to" >"$tmp/line" 2>/dev/null &
disown
line_returns() {
	echo "$1" >&"$to"
	wait_for "${2:-2}" grep -qx "$1" "$tmp/line"
}
case_ok "an open connection echoes" line_returns first
status_is "plan of what would cut it is a difference" 1 plan "$tmp/closed.yaml"
said "it names the rule" "1 by rule closed"
said "and the connection" "tcp 10\\.10\\.1\\.10:45678 to 10\\.20\\.0\\.5:5000: closed"
said "what is new" "\\+ closed"
said "what is gone" "- other"
status_is "the same as JSON" 1 plan --json "$tmp/closed.yaml"
json_is "plan --json has its fields" '
	.policy == "closed" and (.digest | length == 64) and .different and .rules_only == null
	and .live.policy == "both" and .live.generation > 0 and (.live.digest | length == 64) and .live.on_trial == false
	and .rules.added == 1 and .rules.removed == 1 and .rules.changed == 0 and .rules.moved == 0
	and (.rules.entries | map({change, name, before, after})) ==
		[{change: "removed", name: "other", before: 2, after: null}, {change: "added", name: "closed", before: null, after: 1}]
	and ([.segments, .services, .interfaces, .tenants] | all(.entries == []))
	and (.settings.entries | map(.name)) == ["name"]
	and .flows.live >= 1 and .flows.cut == 1 and .flows.tenant_gone == 0
	and .flows.by_rule == [{rule: "closed", flows: 1}]
	and (.flows.first | length) == 1 and (.flows.first[0] | .source == "10.10.1.10" and .source_port == 45678
		and .dest == "10.20.0.5" and .dest_port == 5000 and .protocol == "tcp" and .tenant == "" and .rule == "closed")'
case_ok "plan has changed nothing" line_returns second
chmod 755 "$tmp"
install -m 755 "$SLUICE" "$tmp/sluice"
as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$tmp/sluice" --root "$(topology_root dpu)" "$@" >"$tmp/out" 2>"$tmp/err"; }
as_nobody plan "$tmp/closed.yaml"
status=$?
case_if "without root, plan cannot compare" "status $status: $(head -c 300 "$tmp/out" "$tmp/err")" test "$status" = 3
said "but says that the policy is fine" "policy closed is fine, 2 rules"
said "and why it cannot" "are you root"
status_is "apply says what plan said" 0 apply "$tmp/closed.yaml"
said "in short" "rules: 1 added, 1 removed; 1 of [0-9]+ live flows cut"
case_if "the connection is cut as planned" "it still echoes" not line_returns third 500ms
exec {to}>&-

# ------------------------------------------------------------------------------------------------------- on trial

status_is "closed again, for good" 0 apply "$tmp/closed.yaml"
# The process ends with its shell: killed as soon as its policy is in force.
topology_start dpu "$SLUICE" --root "$(topology_root dpu)" apply --confirm 8s "$tmp/both.yaml" >/dev/null 2>&1
case_ok "a policy on trial is in force" wait_for 7 live_is both
kill -KILL "$started" 2>/dev/null
wait_for 5 topology_process_gone "$started"
case_ok "after its process was killed" tcp_echo trainer "$STORAGE4" 5000
case_ok "status shows it as pending" jq -e '.confirm.state == "pending" and .confirm.seconds_left > 0 and .confirm.seconds_left <= 8' \
	<(sluice_in dpu status --json)
status_is "another apply is refused with status 3" 3 apply "$tmp/none.yaml"
said "and the ways out" "sluice confirm.*sluice rollback"
case_ok "it goes back by itself" wait_for 20 live_is closed
case_ok "and its verdicts with it" denied dpu rule-deny tcp_connects trainer "$STORAGE4" 5000
case_ok "while allowed traffic passes" tcp_echo trainer "$STORAGE4" 4420
sluice_in dpu status >"$tmp/out" 2>&1
said "status says what happened" "was not confirmed in time"
status_is "too late to confirm" 1 confirm
said "which is said" "too late"

status_is "on trial again" 0 apply --confirm 1h "$tmp/less.yaml"
said "the account says how to keep it" "sluice confirm"
case_if "an interface that it does not name stays attached" "no program" test "$(attached intruder)" = 1
unjudged=$(reason_packets dpu no-policy)
case_ok "and passes what comes" pings intruder 10.10.66.1
case_if "unjudged" "no-policy stayed at $unjudged" test "$(reason_packets dpu no-policy)" -gt "$unjudged"
status_is "confirmed" 0 confirm --json
json_is "confirm --json has its fields" '.confirmed and .generation > .previous'
case_if "the interface is detached" "it has a program" test "$(attached intruder)" = 0
case_ok "status shows no trial" jq -e '.confirm == null and .policy.name == "less"' <(sluice_in dpu status --json)
status_is "nothing is left to confirm" 1 confirm

status_is "on trial once more" 0 apply --confirm 1h "$tmp/none.yaml"
status_is "rollback ends it at once" 0 rollback --json
json_is "rollback --json says what was withdrawn" '.policy == "less" and .withdrawn > .generation and (.digest | length == 64)'
case_ok "the policy before is in force" live_is less
case_ok "and passes traffic" tcp_echo trainer "$STORAGE4" 5000
for wrong in 0s 500ms 25h soon; do
	status_is "--confirm $wrong is wrong usage" 2 apply --confirm "$wrong" "$tmp/both.yaml"
done

# ------------------------------------------------------------------------------------------------------- history

for ((i = 1; i <= 12; i++)); do
	policy_write "$tmp/p$i.yaml" "p$i" "$all" "{name: r$i, from: trainers, to: store, service: tcp/$((5000 + i)), action: allow}"
	sluice_in dpu apply "$tmp/p$i.yaml" >/dev/null 2>&1 || not_ok "apply p$i" "refused"
done
status_is "the list" 0 rollback --list --json
json_is "has the live one and ten before it" '
	.policies | map({back, policy}) == [range(0; 11) | {back: ., policy: "p\(12 - .)"}]'
json_is "with their fields" '
	(.folder | length > 0) and (.policies | all(.generation > 0 and (.digest | length == 64) and .applied > 0 and .rules == 1
	and (.source | endswith(".yaml"))))'
status_is "the list for people" 0 rollback --list
said "names them" "p2 .*p2\\.yaml"
back_to() { # BACK NAME
	status_is "rollback $1" 0 rollback --json "$1"
	json_is "is the policy $1 before" ".policy == \"$2\" and .back == $1 and .withdrawn == null and .generation > 0"
	case_ok "rollback $1 is in force" live_is "$2"
}
back_to 10 p2 # p2 p12 p11 p10 p9 p8 p7 p6 p5 p4 p3
back_to 1 p12 # p12 p2 p11 p10 ...
back_to 3 p10
status_is "rollback 11 is refused" 2 rollback 11
case_ok "which changes nothing" live_is p10

# ------------------------------------------------------------------------------------------------------- show

status_is "both again" 0 apply "$tmp/both.yaml"
status_is "show" 0 show
cp "$tmp/out" "$tmp/shown.yaml"
status_is "what it shows is a policy" 0 check "$tmp/shown.yaml"
status_is "and no difference" 0 plan "$tmp/shown.yaml"
status_is "applied, it has the same digest" 0 apply --json "$tmp/shown.yaml"
json_is "as the first time" ".digest == \"$digest\""
status_is "show as JSON" 0 show --json
json_is "has its fields" "
	.policy == \"both\" and .generation > 0 and .digest == \"$digest\" and .applied > 0 and (.source | endswith(\"shown.yaml\"))
	and .rules == 2 and (.yaml | startswith(\"sluice: 1\"))"
file=$(ls "$SLUICE_STATE_DIR/$(basename "$(topology_root dpu)")"/*.yaml | tail -1)
sed -i 's/5000/5001/' "$file"
status_is "a file that was tampered with is not shown" 3 show
said "because its digest differs" "digest differs"
status_is "plan falls back to rules" 1 plan --json "$tmp/closed.yaml"
json_is "and says why" '.rules_only | test("digest differs")'
rm -r "$SLUICE_STATE_DIR"
status_is "without a history show has nothing" 1 show
said "and says why" "applied by other means"
status_is "plan compares rules" 0 plan "$tmp/both.yaml"

# A history that cannot be written is a warning: the policy is in force all the same.
mkdir -p "$SLUICE_STATE_DIR"
touch "$SLUICE_STATE_DIR/$(basename "$(topology_root dpu)")"
status_is "apply without a place for the history" 0 apply --json "$tmp/closed.yaml"
json_is "warns of it with the remedy" '.warnings[0] | test("apply again")'
rm -r "$SLUICE_STATE_DIR"

# ------------------------------------------------------------------------------------------------------- two roots

other_root=$(topology_root storage)
other() { topology_in storage "$SLUICE" --root "$other_root" "$@"; }
policy_write "$tmp/end.yaml" end '{name: eth0}' "$storage_rule" "$other_rule"
sluice_in dpu apply "$tmp/both.yaml" >/dev/null
case_ok "another root has its own policy" other apply "$tmp/end.yaml"
case_ok "and its own history" jq -e '.policies | map(.policy) == ["end"]' <(other rollback --list --json)
case_ok "this one does not see it" jq -e '.policies | map(.policy) == ["both"]' <(sluice_in dpu rollback --list --json)
case_ok "--state-dir is another place" jq -e '.policies == []' <(other --state-dir "$tmp/elsewhere" rollback --list --json)
case_ok "the other root goes" other detach
status_is "detach --json" 0 detach --json
json_is "detach --json says so" '.detached == true'
