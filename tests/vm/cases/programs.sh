# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# The kernel takes every program, at every kind of hook, and they do what the policy says; beside another XDP program, too.
# minutes: 6

PEER=10.78.0.2

# A veth pair, one end in a namespace of its own, and a server there and here.
topology() {
	ip netns add peer
	ip link add v0 type veth peer name v1 netns peer
	ip addr add 10.78.0.1/24 dev v0
	ip link set v0 up
	ip -n peer addr add "$PEER/24" dev v1
	ip -n peer link set v1 up
	ip -n peer link set lo up
	"$BUILD/tests/bench/echo" 4420 5000 &
	echo=$!
}
peer() { nsenter --net=/run/netns/peer "$@"; }
connects() { peer ncat -z -w 2 10.78.0.1 "$1"; }
refused() { peer ncat -v -z -w 2 10.78.0.1 "$1" 2>&1 | grep "Connection refused"; }

policy() {
	cat <<-EOF
		sluice: 1
		name: vm-programs
		default: deny
		interfaces: [{name: v0, attach: $1}]
		segments: {peer: [$PEER/32], here: [10.78.0.1/32]}
		rules:
		  - {name: echo, from: peer, to: here, service: tcp/5000, action: allow}
		  - {name: refused, from: peer, to: here, service: tcp/4420, action: $2}
		${3:-}
	EOF
}
rule() { "$BUILD/sluice" status --json | jq --arg n "$1" '[.rules[] | select(.name == $n).packets] | add // 0'; }
mode() { "$BUILD/sluice" status --json | jq -r '.interfaces[0].mode'; }

hooked() {
	local attach=$1 wanted=$2
	policy "$attach" deny >/run/p.yaml
	case_ok "$attach: apply" "$BUILD/sluice" apply /run/p.yaml
	case_ok "$attach: the kernel has it" eval "[[ \$(mode) =~ $wanted ]]"
	case_ok "$attach: what is allowed connects" connects 5000
	case_ok "$attach: what is denied does not" not connects 4420
	case_ok "$attach: and was counted" eval '(($(rule refused) > 0 && $(rule echo) > 0))'
	policy "$attach" reject >/run/p.yaml
	case_ok "$attach: apply a rejecting policy" "$BUILD/sluice" apply /run/p.yaml
	case_ok "$attach: what is rejected is refused at once" refused 4420
	case_ok "$attach: detach" "$BUILD/sluice" detach
}

# Another program on the interface: with a dispatcher both are at work, otherwise each keeps off the other's.
beside() {
	cat >/run/other.c <<-'EOF'
		#include <linux/bpf.h>
		#include <bpf/bpf_helpers.h>
		SEC("xdp") int other(struct xdp_md *ctx) { return XDP_PASS; }
		char LICENSE[] SEC("license") = "GPL";
	EOF
	case_ok "another XDP program is built" clang -O2 -g -target bpf -I/usr/include/x86_64-linux-gnu -c /run/other.c -o /run/other.o
	case_ok "and loaded behind a dispatcher" xdp-loader load -m native v0 /run/other.o
	policy xdp deny >/run/p.yaml
	if "$BUILD/sluice" apply /run/p.yaml >/run/apply.out 2>&1; then
		case_is "beside it: both are there" "other sluice_xdp" \
			eval 'xdp-loader status v0 | grep -o "other\|sluice_xdp" | sort | xargs'
		case_ok "beside it: what is allowed connects" connects 5000
		case_ok "beside it: what is denied does not" not connects 4420
		case_ok "beside it: detach" "$BUILD/sluice" detach
	else
		case_ok "it does not go beside it, and says why" grep -q "XDP refused" /run/apply.out
	fi
	case_is "the other program stays" other eval 'xdp-loader status v0 | grep -o other'
	case_ok "and is taken off" xdp-loader unload -a v0
}

guest() {
	local echo=''
	modprobe veth
	topology
	wait_for 5 ncat -z 127.0.0.1 5000 || { not_ok "echo server" "does not listen"; return; }
	hooked tc "^(tcx|clsact)"
	hooked xdp-generic "^xdp.generic"
	hooked xdp "^xdp.native"
	beside
	kill "$echo"
}
