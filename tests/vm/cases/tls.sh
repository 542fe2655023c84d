# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Hosts that come by TLS 1.3 with a retained PSK. tlshd shakes hands for the kernel, with GnuTLS; the kernel's own TLS does the rest. Not
# on 6.1: its initiator has no TLS. Keys of SHA-256: GnuTLS 3.8.9 knows no other for PSKs.
# kernels: 6.12
# packages: ktls-utils nvme-cli
# minutes: 5
. tests/vm/storage.sh

storage() {
	local n
	for n in 1 2; do
		[[ -e $WORK/psk$n ]] || command nvme gen-tls-key -m 1 >"$WORK/psk$n"
	done
	chmod 600 "$WORK"/psk?
	cat <<-EOF
		portals: [{address: $HOST, port: 4420, tls: required}]
		subsystems:
		  - nqn: $NQN
		    hosts: [{nqn: "$HOSTNQN", psk: $WORK/psk1}]
		    namespaces: [{id: 1, backend: memory, size: 32MiB, block: 4096}]
		  - nqn: $NQN.two
		    hosts: [{nqn: "$HOSTNQN", psk: $WORK/psk2}]
		    namespaces: [{id: 1, backend: memory, size: 32MiB, block: 4096}]
		  - nqn: $NQN.three
		    hosts: [{nqn: "$HOSTNQN", psk: $WORK/psk2}]
		    namespaces: [{id: 1, backend: memory, size: 32MiB, block: 4096}]
	EOF
}

# The release's own nvme-cli and tlshd: the host's know no keys, or are not there.
tools() { chroot "$vm_kernel/tools" "$@"; }
nvme() { tools nvme "$@"; }
tools_start() {
	local d
	for d in dev proc sys run; do mount --rbind "/$d" "$vm_kernel/tools/$d" || return; done
	printf '[debug]\nloglevel=1\n[authenticate]\nkeyrings=.nvme\n' >"$vm_kernel/tools/tmp/tlshd.conf"
	tools tlshd -s -c /tmp/tlshd.conf >/run/vm/tlshd.log 2>&1 &
}
# key SUBSYSTEM FILE IDENTITY: into the kernel's keyring, as a retained PSK of that version of identity.
key() { nvme check-tls-key --subsysnqn "$1" --hostnqn "$HOSTNQN" --keydata "$(<"$2")" --identity "$3" --insert; }

guest() {
	modprobe nvme-tcp
	modprobe tls
	case_ok "tlshd begins" eval 'tools_start && wait_for 10 pgrep -x tlshd'
	case_ok "without a key it is refused" not connect "$NQN" --tls
	case_ok "without TLS it is refused" not connect "$NQN"
	case_ok "its key is inserted" key "$NQN" /run/vm/psk1 1
	case_ok "with it, by TLS, it connects" connected "$NQN" 1 --tls -i 2
	case_ok "and does I/O" fio_verify "$(disk "$NQN" 1)"
	case_ok "the digests as well" eval 'disconnect "$NQN" && connected "$NQN" 1 --tls -g -G'
	case_ok "with I/O" fio_verify "$(disk "$NQN" 1)"
	case_ok "disconnect" disconnect "$NQN"
	case_ok "the first's key is inserted for the third subsystem" key "$NQN.three" /run/vm/psk1 1
	case_ok "which refuses it" not connect "$NQN.three" --tls
	case_ok "the second's key is inserted" key "$NQN.two" /run/vm/psk2 1
	case_ok "with it, it connects" connected "$NQN.two" 1 --tls
	case_ok "and does I/O, too" fio_verify "$(disk "$NQN.two" 1)"
	case_ok "disconnect again" disconnect "$NQN.two"
}
