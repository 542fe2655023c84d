# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# The kernel takes every program, at every kind of hook, and they do what the policy says; beside another XDP program, too, where
# libxdp's dispatcher takes programs of the kind. A target's queues are steered by cpumap.
# minutes: 10

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
dispatched() { "$BUILD/sluice" status --json | jq -r '.interfaces[0].dispatcher'; }
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

# program NAME STATEMENT: an XDP program of somebody else.
program() {
	cat >"/run/$1.c" <<-EOF
		#include <linux/bpf.h>
		#include <bpf/bpf_helpers.h>
		SEC("xdp") int $1(struct xdp_md *ctx) { $2 }
		char LICENSE[] SEC("license") = "GPL";
	EOF
	case_ok "XDP program $1 is built" clang -O2 -g -target bpf -I/usr/include/x86_64-linux-gnu -c "/run/$1.c" -o "/run/$1.o"
}
load() { xdp-loader load -m native v0 "/run/$1.o"; }
there() { xdp-loader status v0 | grep -o "other\|sluice_xdp" | sort | xargs; }

# Not every kernel lets a program that changes packets, as sluice_xdp does, be dispatched by this libxdp: found out with one that does
# nothing else.
beside() {
	local fits=false
	program other "return XDP_PASS;"
	program changes "return bpf_xdp_adjust_head(ctx, 0) ? XDP_ABORTED : XDP_PASS;"
	load changes >/dev/null 2>&1 && fits=true
	xdp-loader unload -a v0 >/dev/null 2>&1
	echo "# a program that changes packets may be dispatched: $fits"
	case_ok "another program is loaded behind a dispatcher" load other
	policy xdp deny >/run/p.yaml
	if "$fits"; then
		case_ok "beside it: apply" "$BUILD/sluice" apply /run/p.yaml
		case_is "beside it: status tells of the dispatcher" true dispatched
		case_is "beside it: both are there" "other sluice_xdp" there
		case_ok "beside it: what is allowed connects" connects 5000
		case_ok "beside it: what is denied does not" not connects 4420
		case_ok "beside it: detach" "$BUILD/sluice" detach
	else
		case_ok "it does not go beside it" not "$BUILD/sluice" apply /run/p.yaml
		case_ok "and says why" eval '"$BUILD/sluice" apply /run/p.yaml 2>&1 | grep "XDP refused"'
	fi
	case_is "the other program stays" other there
	case_ok "and is taken off" xdp-loader unload -a v0
	case_ok "sluice first: apply" "$BUILD/sluice" apply /run/p.yaml
	case_is "sluice first: status tells whether there is a dispatcher" "$fits" dispatched
	if "$fits"; then
		case_ok "sluice first: another program joins" load other
		case_is "sluice first: both are there" "other sluice_xdp" there
	else
		case_ok "sluice first: no other program joins" not load other
	fi
	case_ok "sluice first: what is allowed connects" connects 5000
	case_ok "sluice first: what is denied does not" not connects 4420
	case_ok "sluice first: detach" "$BUILD/sluice" detach
	xdp-loader unload -a v0 >/dev/null 2>&1
}

# Frames that come in on another CPU move to the reactor's, where sluice_cpumap counts them.
moved() { "$BUILD/sluice" status --json | jq -e '[.queues[] | select(.packets > 200)] | length > 0 and all(.packets_there >= 0.95 * .packets)'; }
steered() {
	local nqn=nqn.2026-11.io.example:steered target bench
	cat >/run/p.yaml <<-EOF
		sluice: 1
		name: vm-steered
		default: allow
		interfaces: [{name: v0, attach: xdp}]
		storage:
		  portals: [{address: 10.78.0.1, port: 4421}]
		  steering: cpumap
		  subsystems: [{nqn: $nqn, hosts: any, namespaces: [{id: 1, backend: memory, size: 16MiB}]}]
	EOF
	case_ok "cpumap: apply" "$BUILD/sluice" apply /run/p.yaml
	peer ethtool -K v1 tx off >/dev/null # what is moved must have its checksums
	"$BUILD/sluice" target /run/p.yaml --reactors 2 >/run/target.out 2>&1 &
	target=$!
	case_ok "cpumap: the target serves" wait_for 10 ncat -z 10.78.0.1 4421
	peer "$BUILD/sluice" io bench --to 10.78.0.1:4421 --nqn "$nqn" --depth 4 --queues 2 --time 20s >/run/bench.out 2>&1 &
	bench=$!
	case_ok "cpumap: packets are processed on the reactor's CPU" wait_for 20 moved
	if wait "$bench"; then ok "cpumap: no I/O fails"; else not_ok "cpumap: no I/O fails" "$(tail -n 3 /run/bench.out /run/target.out)"; fi
	kill "$target"
	wait "$target"
	case_ok "cpumap: detach" "$BUILD/sluice" detach
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
	steered
	kill "$echo"
}
