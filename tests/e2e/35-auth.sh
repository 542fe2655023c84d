#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Who may use the target, by secrets: keys in files, who else may read those, what is said of them and where.
#
#   trainer: sluice io ──── trainer [ dpu: forwards ] storage ──── eth0 storage: sluice target
. "$(dirname "$0")/lib.sh"

NQN=nqn.2026-11.io.example:auth
ONE=nqn.2026-11.io.example:one
BOTH=nqn.2026-11.io.example:both
KEY=DHHC-1:01:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:
CONTROLLER=DHHC-1:00:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:

umask 077
echo "$KEY" >"$tmp/host.key"
echo "$CONTROLLER" >"$tmp/controller.key"
cat >"$tmp/host.yaml" <<EOP
sluice: 1
name: e2e-auth
default: allow
interfaces: [{name: eth0}]
storage:
  portals: [{address: $STORAGE4, port: 4420}]
  subsystems:
    - nqn: $NQN
      hosts:
        - {nqn: $ONE, dhchap-key: $tmp/host.key}
        - {nqn: $BOTH, dhchap-key: $tmp/host.key, dhchap-controller-key: $tmp/controller.key}
      namespaces: [{id: 1, backend: memory, size: 16MiB}]
EOP

# Short, and what is said goes to a file: nothing of it may be a secret.
io() { topology_in trainer "$SLUICE" -v io "$1" --to "$STORAGE4:4420" --nqn "$NQN" --timeout 20s "${@:2}"; }
refused_for() { # WHY COMMAND...: it fails, and says so
	local why=$1 out
	shift
	if out=$("$@" 2>&1); then echo "it worked"; return 1; fi
	echo "$out" >>"$tmp/said"
	grep -qF -- "$why" <<<"$out" || { echo "it says: $out"; return 1; }
}
target_refuses() { refused_for "$1" timeout 10 "$SLUICE" --root "$(topology_root storage)" target "$tmp/host.yaml"; }

hosts_up

# ------------------------------------------------------------------------------------------- files that are no secret

for mode in 0640 0604 0660; do
	chmod "$mode" "$tmp/host.key"
	case_ok "a key of mode $mode is refused, with place and remedy" target_refuses "host.yaml:10:"
	case_ok "and the mode is said" target_refuses "dhchap-key $tmp/host.key: has mode $mode, so that others may read it; chmod 0600 it"
done
chmod 0600 "$tmp/host.key"
chown 12345 "$tmp/host.key"
case_ok "a key of another user is refused" target_refuses "belongs to user 12345, who could change it"
case_ok "for sluice io, too" refused_for "belongs to user 12345" io connect --hostnqn "$ONE" --dhchap-key "$tmp/host.key"
chown 0 "$tmp/host.key"
echo "${KEY/ia6z/Ia6z}" >"$tmp/host.key"
case_ok "a key with a wrong character is refused" target_refuses "its checksum is wrong"
echo "$KEY" >"$tmp/host.key"

# ------------------------------------------------------------------------------------------------------------ in and out

topology_start storage "$SLUICE" -v --root "$(topology_root storage)" target "$tmp/host.yaml" >>"$tmp/target.log" 2>&1
wait_for 10 topology_in trainer ncat -z -w 1 "$STORAGE4" 4420 || { not_ok "the target listens" "$(tail -3 "$tmp/target.log")"; exit 1; }
case_ok "with its key a host gets in" io connect --hostnqn "$ONE" --dhchap-key "$tmp/host.key"
case_ok "and reads and writes" io verify --hostnqn "$ONE" --dhchap-key "$tmp/host.key" --length 4MiB
case_ok "two queues, both authenticated" io bench --hostnqn "$ONE" --dhchap-key "$tmp/host.key" --queues 2 --count 1000
case_ok "without it, not" refused_for "give the host's key with --dhchap-key" io connect --hostnqn "$ONE"
case_ok "with another, not" refused_for "does not accept the key of $ONE" io connect --hostnqn "$ONE" --dhchap-key "$tmp/controller.key"
case_ok "both ends prove themselves" io connect --hostnqn "$BOTH" --dhchap-key "$tmp/host.key" --dhchap-controller-key "$tmp/controller.key"
case_ok "a target with another key is not believed" refused_for "has not the key that --dhchap-controller-key gives" \
	io connect --hostnqn "$BOTH" --dhchap-key "$tmp/host.key" --dhchap-controller-key "$tmp/host.key"
for group in null ffdhe2048 ffdhe3072 ffdhe4096 ffdhe6144 ffdhe8192; do
	for hash in sha256 sha384 sha512; do
		case_ok "$hash over $group" io connect --hostnqn "$BOTH" --dhchap-key "$tmp/host.key" \
			--dhchap-controller-key "$tmp/controller.key" --dhchap-hash "$hash" --dhchap-group "$group"
	done
done

# ------------------------------------------------------------------------------------------------- what is said, and where

"$SLUICE" check "$tmp/host.yaml" --json >>"$tmp/said" 2>&1
sluice_in storage apply "$tmp/host.yaml" >>"$tmp/said" 2>&1
sluice_in storage show >>"$tmp/said" 2>&1
sluice_in storage status --json >>"$tmp/said" 2>&1
find "$SLUICE_STATE_DIR" -type f -exec cat {} + >>"$tmp/said" 2>/dev/null
cat "$tmp/target.log" >>"$tmp/said"
case_if "the log tells who did not get in" "$(tail -3 "$tmp/target.log")" grep -q "$ONE: authentication failed" "$tmp/target.log"
case_if "and who did" "$(tail -3 "$tmp/target.log")" grep -q "$BOTH is authenticated" "$tmp/target.log"
case_if "history, logs, JSON and errors hold paths" "no path" grep -q "$tmp/host.key" "$tmp/said"
case_if "and no secret" "$(grep -n 'ia6z\|DHHC-1:0' "$tmp/said" | head -2)" not grep -qi 'ia6z\|DHHC-1:0' "$tmp/said"
sed "s|$tmp/host.key|'$KEY'|" "$tmp/host.yaml" >"$tmp/secret.yaml"
"$SLUICE" check "$tmp/secret.yaml" >"$tmp/check.log" 2>&1
case_if "a policy with the secret itself is refused" "$(head -1 "$tmp/check.log")" grep -q "secret.yaml:10:.*is the secret itself" "$tmp/check.log"
case_if "without saying it again" "$(grep ia6z "$tmp/check.log")" not grep -q ia6z "$tmp/check.log"
exit 0
