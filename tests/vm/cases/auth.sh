# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Hosts that authenticate by DH-HMAC-CHAP. Not on 6.1: Debian built that without, and nvme-cli says nothing then.
# kernels: 6.12
# minutes: 4
. tests/vm/storage.sh

keys_make() {
	local hash
	for hash in 1 2 3; do
		[[ -e $WORK/key$hash ]] || nvme gen-dhchap-key -m "$hash" -n "$HOSTNQN" >"$WORK/key$hash"
	done
	chmod 600 "$WORK"/key?
}

storage() {
	keys_make
	portals "$HOST"
	cat <<-EOF
		subsystems:
		  - nqn: $NQN
		    hosts: [{nqn: "$HOSTNQN", dhchap-key: $WORK/key1, dhchap-controller-key: $WORK/key3}]
		    namespaces: [{id: 1, backend: memory, size: 32MiB, block: 4096}]
		  - nqn: $NQN.one
		    hosts: [{nqn: "$HOSTNQN", dhchap-key: $WORK/key2}]
		    namespaces: [{id: 1, backend: memory, size: 32MiB, block: 4096}]
	EOF
}

guest() {
	local key
	modprobe nvme-tcp
	for key in 1 2 3; do
		eval "local key$key=\$(</run/vm/key$key)"
	done
	# shellcheck disable=SC2154 # by the loop above
	case_ok "without a key it is refused" not connect "$NQN"
	case_ok "with another key it is refused" not connect "$NQN" --dhchap-secret "$key2"
	case_ok "with its key it connects" connected "$NQN" 1 --dhchap-secret "$key1" -i 2
	case_ok "and does I/O" fio_verify "$(disk "$NQN" 1)"
	case_ok "disconnect" disconnect "$NQN"
	case_ok "both ends prove themselves" connected "$NQN" 1 --dhchap-secret "$key1" --dhchap-ctrl-secret "$key3" -i 2
	case_ok "and I/O works" fio_verify "$(disk "$NQN" 1)"
	case_ok "disconnect again" disconnect "$NQN"
	case_ok "a target with another key is not trusted" not connect "$NQN" --dhchap-secret "$key1" --dhchap-ctrl-secret "$key2"
	case_ok "another subsystem, another key and hash" connected "$NQN.one" 1 --dhchap-secret "$key2"
	case_ok "its I/O" fio_verify "$(disk "$NQN.one" 1)"
	case_ok "its disconnect" disconnect "$NQN.one"
}
