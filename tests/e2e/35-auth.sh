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
MADE=nqn.2026-11.io.example:made
KEY=DHHC-1:01:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:
PSK1=NVMeTLSkey-1:01:VRLbtnN9AQb2WXW3c9+wEf/DRLz0QuLdbYvEhwtdWwNf9LrZ:
PSK2=NVMeTLSkey-1:02:VRLbtnN9AQb2WXW3c9+wEf/DRLz0QuLdbYvEhwtdWwP/w0S89ELi3W2LxIcLXVsDn8kXZQ==:
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
  portals: [{address: $STORAGE4, port: 4420}, {address: $STORAGE4, port: 4421, tls: required}, {address: $STORAGE4, port: 4422, tls: allowed}]
  subsystems:
    - nqn: $NQN
      hosts:
        - {nqn: $ONE, dhchap-key: $tmp/host.key}
        - {nqn: $BOTH, dhchap-key: $tmp/host.key, dhchap-controller-key: $tmp/controller.key}
        - {nqn: $NQN-host1, psk: $tmp/psk1}
        - {nqn: $NQN-host2, psk: $tmp/psk2}
        - {nqn: $MADE, dhchap-key: $tmp/host.key, psk: generated}
        - {nqn: $MADE-both, dhchap-key: $tmp/host.key, dhchap-controller-key: $tmp/controller.key, psk: generated}
      namespaces: [{id: 1, backend: memory, size: 64MiB}]
EOP
echo "$PSK1" >"$tmp/psk1"
echo "$PSK2" >"$tmp/psk2"

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
target=$started
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

# ------------------------------------------------------------------------------------------------------------------ TLS

tls() { topology_in trainer "$SLUICE" -v io "$1" --to "$STORAGE4:4421" --nqn "$NQN" --timeout 20s "${@:2}"; }
for hash in 1 2; do
	for version in 0 1; do
		case_ok "TLS with a key of hash $hash, identity version $version" \
			tls connect --hostnqn "$NQN-host$hash" --psk "$tmp/psk$hash" --psk-identity "$version"
	done
done
case_ok "data by TLS, all ways, more at once than the target has buffers" tls verify --hostnqn "$NQN-host1" --psk "$tmp/psk1" \
	--length 64MiB --block-size 256k --depth 512
case_ok "small and many, with digests" tls verify --hostnqn "$NQN-host2" --psk "$tmp/psk2" --length 16MiB --block-size 4k --depth 128 \
	--header-digest --data-digest
case_ok "mixed on four queues" tls bench --hostnqn "$NQN-host2" --psk "$tmp/psk2" --queues 4 --depth 32 --read-percent 50 --count 20000
case_ok "discovery by TLS" eval 'topology_in trainer "$SLUICE" io discover --to "$STORAGE4:4421" --hostnqn "$NQN-host1" --psk "$tmp/psk1" --json |
	jq -e "[.records[] | select(.port == \"4421\").tls] == [\"required\", \"required\"] and ([.records[] | select(.port == \"4420\").tls] | unique) == [\"none\"]"'
case_ok "without TLS nobody gets in there" refused_for "does its portal require TLS" tls connect --hostnqn "$NQN-host1"
case_ok "nor elsewhere, who has a psk" refused_for "comes by TLS" io connect --hostnqn "$NQN-host1"
case_ok "nor with another key" refused_for "TLS:" tls connect --hostnqn "$NQN-host1" --psk "$tmp/psk2"
case_ok "a psk that others may read is refused" eval 'chmod 0644 "$tmp/psk2"; refused_for "has mode 0644" tls connect --hostnqn "$NQN-host2" --psk "$tmp/psk2"; r=$?; chmod 0600 "$tmp/psk2"; ((!r))'

# Another library than ours at the other end: handshake, ICReq, ICResp. (This one knows external keys of SHA-256 only.)
icreq() { printf '\x00\x00\x80\x00\x80\x00\x00\x00'; head -c 120 /dev/zero; }
gnutls_icresp() { # IDENTITY KEY [WHAT: a command that prints what is sent]
	{ "${@:3}"; (($# > 2)) || icreq; sleep 2; } | topology_in trainer timeout 20 gnutls-cli --no-ca-verification \
		-p 4421 "$STORAGE4" --priority "NORMAL:-VERS-ALL:+VERS-TLS1.3:%NO_TICKETS:+PSK:+DHE-PSK:+ECDHE-PSK" \
		--pskusername "$1" --pskkey "$2" >"$tmp/gnutls" 2>&1
	LC_ALL=C grep -qaP '\x01\x00\x80\x00\x80\x00\x00\x00' "$tmp/gnutls" || { tail -3 "$tmp/gnutls" | tr -d '\000'; return 1; }
}
# Keys by tests/vectors/tls_psk.py.
case_ok "GnuTLS, identity version 0" gnutls_icresp "NVMe0R01 $NQN-host1 $NQN" \
	a4c3d0519b7ca817ff069a7b90f195977fbf57c1f56fdcb8d8853119fe3f7bcf
case_ok "GnuTLS, identity version 1" \
	gnutls_icresp "NVMe1R01 $NQN-host1 $NQN DtWQBrgwzwN2ZgXXD2E4TtpAAy7yXP2x2tgbrXw/7VY=" \
	d9fe7b97310cb8892438449695424c7bb5fd659c4254f77c8cb9e4f5fb00e323
case_if "GnuTLS with another key gets none" "it got one" not gnutls_icresp "NVMe0R01 $NQN-host1 $NQN" \
	a4c3d0519b7ca817ff069a7b90f195977fbf57c1f56fdcb8d8853119fe3f7bce

# What stands on the wire: a text is written, plainly and by TLS, and looked for.
yes "a text that is easy to find" | head -c 65536 >"$tmp/text"
finds_text() { # PORT COMMAND...: whether the text was seen in what the command sent; 2: that cannot be said
	local port=$1 wire=$tmp/wire-$1.pcap dump sent captured
	shift
	topology_start trainer tcpdump -i any -s 0 -U -w "$wire" tcp port "$port" 2>"$wire.log"
	dump=$started
	wait_for 10 grep -q "listening on" "$wire.log" && "$@" >/dev/null 2>&1
	sent=$?
	((sent)) || wait_for 10 eval '(($(stat -c %s "$wire") > 65536))'
	captured=$?
	kill "$dump"
	wait_for 5 topology_process_gone "$dump"
	((sent || captured)) && return 2
	grep -qa "text that is easy to find" "$wire"
}
finds_text 4420 io write --hostnqn "$ONE" --dhchap-key "$tmp/host.key" --file "$tmp/text"
case_if "data that are not encrypted can be read on the way (status $?)" "not seen" test $? = 0
finds_text 4421 tls write --hostnqn "$NQN-host1" --psk "$tmp/psk1" --file "$tmp/text"
status=$?
case_if "data by TLS cannot" "status $status" test "$status" = 1

# ------------------------------------------------------------------------------------------- keys that authentication makes

concat() { # COMMAND HOSTNQN OPTION...: by the portal that allows both
	topology_in trainer "$SLUICE" -v io "$1" --to "$STORAGE4:4422" --nqn "$NQN" --timeout 20s --concat --hostnqn "$2" \
		--dhchap-key "$tmp/host.key" "${@:3}"
}
for hash in sha256 sha384; do
	for version in 0 1; do
		case_ok "a key made with $hash, identity version $version" concat connect "$MADE" --dhchap-hash "$hash" --psk-identity "$version"
	done
	for group in ffdhe2048 ffdhe3072 ffdhe4096 ffdhe6144 ffdhe8192; do
		case_ok "made with $hash over $group, the target proving itself" concat connect "$MADE-both" --dhchap-hash "$hash" \
			--dhchap-group "$group" --dhchap-controller-key "$tmp/controller.key"
	done
done
case_ok "of all that is offered" concat connect "$MADE"
case_ok "data by such a key" concat verify "$MADE" --length 16MiB --block-size 64k --depth 64
case_ok "four queues by one key" concat bench "$MADE-both" --queues 4 --depth 16 --read-percent 50 --count 8000
paths_by() { # FUNCTION HOSTNQN PORTS OPTION...: which portals discovery gives such a host
	"$1" verify "$2" "${@:4}" --length 1MiB --all-portals --json >"$tmp/paths" && jq -e --arg p "$3" \
		'[.paths[] | select(.state == "live").address | split(":")[1]] | sort | join(" ") == $p' "$tmp/paths" || { jq -c .paths "$tmp/paths"; return 1; }
}
by_psk() { tls "$1" --hostnqn "$2" "${@:3}"; }
by_name() { io "$1" --hostnqn "$2" "${@:3}"; }
case_ok "of all portals, that where a key can be made" paths_by concat "$MADE" 4422
case_ok "or those with TLS" paths_by by_psk "$NQN-host1" "4421 4422" --psk "$tmp/psk1"
case_ok "or those that do without" paths_by by_name "$ONE" "4420 4422" --dhchap-key "$tmp/host.key"
case_ok "two paths, a key for each" concat bench "$MADE" --to "$STORAGE4:4422" --round-robin --queues 2 --count 4000
finds_text 4422 concat write "$MADE" --file "$tmp/text"
status=$?
case_if "data by such a key cannot be read on the way" "status $status" test "$status" = 1
case_ok "without --concat nobody gets in" refused_for "use --concat" topology_in trainer "$SLUICE" io connect --to "$STORAGE4:4422" --nqn "$NQN" \
	--hostnqn "$MADE" --dhchap-key "$tmp/host.key"
case_ok "nor where there is no TLS to come back by" refused_for "--concat where it is generated" io connect --hostnqn "$MADE" \
	--dhchap-key "$tmp/host.key" --concat
case_ok "nor where nothing else is spoken" refused_for "does its portal require TLS" tls connect --hostnqn "$MADE" --dhchap-key "$tmp/host.key" --concat
case_ok "no key is made for who is to have none" refused_for "it makes no key for TLS for this host" concat connect "$BOTH"
case_ok "sha512 makes none" refused_for "made with sha256 or sha384" concat connect "$MADE" --dhchap-hash sha512
case_ok "the null group makes none" refused_for "a group that is not null" concat connect "$MADE" --dhchap-group null
case_ok "another dhchap-key makes none" refused_for "does not accept the key of $MADE" topology_in trainer "$SLUICE" io connect --to "$STORAGE4:4422" \
	--nqn "$NQN" --hostnqn "$MADE" --dhchap-key "$tmp/controller.key" --concat
case_ok "one key or the other" refused_for "--concat and --psk" concat connect "$MADE" --psk "$tmp/psk1"
case_ok "no key of nothing" refused_for "--concat needs --dhchap-key" tls connect --hostnqn "$MADE" --concat

# A host that shares no code with ours: Python makes the key, GnuTLS comes by it.
made_by_python() { # NAME SC_C HASH
	topology_in trainer timeout 20 python3 tests/e2e/concatenation_host.py "$STORAGE4:4422" "$MADE" "$NQN" "$tmp/host.key" "$2" "$3" "$tmp/$1"
}
by_gnutls() { # NAME WHAT...
	local identity key
	{ read -r identity; read -r key; } <"$tmp/$1"
	gnutls_icresp "$identity" "$key" "${@:2}"
}
said_of_target() { grep -c "$1" "$tmp/target.log"; }
more_said_of_target() { (($(said_of_target "$1") > $2)); } # REGEX BEFORE
gnutls_connects() { # NAME: Connect by TLS; the controller ends with this
	local before connection
	before=$(said_of_target "$MADE connected to $NQN")
	by_gnutls "$1" cat "$tmp/$1.connect" && more_said_of_target "$MADE connected to $NQN" "$before" || return 1
	connection=$(sed -n "s/: $MADE connected to .*//p" "$tmp/target.log" | tail -1)
	wait_for 5 grep -q "$connection: debug: live -> closing" "$tmp/target.log"
}
case_ok "a Python host makes a key" made_by_python first 2 1
case_ok "GnuTLS comes by it" by_gnutls first
case_ok "a newer one is a key of its own" made_by_python second 2 1
case_ok "Connect by the first" gnutls_connects first
case_if "which is gone with its controller: no more TLS by it" "it gets in" not by_gnutls first
case_ok "the second still waits to be used" gnutls_connects second
case_if "and is gone, too" "it gets in" not by_gnutls second
case_ok "sha384 as well" made_by_python third 2 2
case_ok "none without asking for it: concatenation mismatch" eval '[[ $(made_by_python none 0 1) == 3 ]]'
case_ok "nor instead of one that there is not" eval '[[ $(made_by_python none 3 1) == 3 ]]'
case_ok "nor with sha512: hash not usable" eval '[[ $(made_by_python none 2 3) == 4 ]]'

# Connections that are lost take their keys with them; a new one is made.
queues=$(said_of_target ":2: debug: connect -> live")
concat bench "$MADE" --time 8s --queues 2 --json >"$tmp/bench" 2>>"$tmp/said" &
bench=$!
wait_for 10 more_said_of_target ":2: debug: connect -> live" "$queues"
kill -KILL "$target"
wait_for 5 topology_process_gone "$target"
topology_start storage "$SLUICE" -v --root "$(topology_root storage)" target "$tmp/host.yaml" >>"$tmp/target.log" 2>&1
case_if "a host whose target has started anew gets in with a new key" "$(tail -3 "$tmp/said")" wait "$bench"
case_if "having connected again" "$(jq -c .paths "$tmp/bench")" jq -e '.reconnects >= 1 and .errors == 0' "$tmp/bench"

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
for name in first second third; do sed -n 2p "$tmp/$name" >>"$tmp/made"; done
case_if "nor a key that was made" "$(wc -l "$tmp/made")" eval '(($(grep -c . "$tmp/made") == 3)) && ! grep -qiFf "$tmp/made" "$tmp/said"'
case_if "and no secret" "$(grep -n 'ia6z\|DHHC-1:0\|VRLb' "$tmp/said" | head -2)" not grep -qi 'ia6z\|DHHC-1:0\|VRLb' "$tmp/said"
sed "s|$tmp/host.key|'$KEY'|" "$tmp/host.yaml" >"$tmp/secret.yaml"
"$SLUICE" check "$tmp/secret.yaml" >"$tmp/check.log" 2>&1
case_if "a policy with the secret itself is refused" "$(head -1 "$tmp/check.log")" grep -q "secret.yaml:10:.*is the secret itself" "$tmp/check.log"
case_if "without saying it again" "$(grep ia6z "$tmp/check.log")" not grep -q ia6z "$tmp/check.log"
exit 0
