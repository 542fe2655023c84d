#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Two tenants with the same addresses over the kernel's own VXLAN, through an interface that sluice guards. Each end of each
# tenant lives in a namespace of its own, the devices under it in that of the host:
#
#   red-a  10.50.0.1 ┐                                                   ┌ red-b  10.50.0.2
#                    ├ trainer 10.10.1.10 ──── VXLAN ──── 10.10.1.1 dpu ┤
#   blue-a 10.50.0.1 ┘                     sluice here ▲                 └ blue-b 10.50.0.2
. "$(dirname "$0")/lib.sh"

tenant_namespaces=(red-a red-b blue-a blue-b)

# overlay NAME HOST DEVICE VNI LOCAL REMOTE ADDRESS: a VXLAN device made on HOST, moved to the tenant's namespace.
overlay() {
	ip netns add "$topology_prefix-$1"
	ip -n "$topology_prefix-$2" link add "$3" type vxlan id "$4" local "$5" remote "$6" dstport 4789
	ip -n "$topology_prefix-$2" link set "$3" netns "$topology_prefix-$1"
	ip -n "$topology_prefix-$1" link set lo up
	ip -n "$topology_prefix-$1" addr add "$7/24" dev "$3"
	ip -n "$topology_prefix-$1" link set "$3" up
}

overlays_down() {
	local name pids
	for name in "${tenant_namespaces[@]}"; do
		[[ -e /run/netns/$topology_prefix-$name ]] || continue
		pids=$(ip netns pids "$topology_prefix-$name")
		# shellcheck disable=SC2086 # a list of numbers
		[[ -z $pids ]] || kill -KILL $pids 2>/dev/null
		ip netns delete "$topology_prefix-$name"
	done
}

answers() { topology_in "$1" ncat --send-only -w 2 10.50.0.2 "$2" </dev/null; }
does_not_answer() { ! answers "$@"; }

overlays_down
trap 'overlays_down; test_end' EXIT
hosts_up
overlay red-a trainer vx7001 7001 "$TRAINER4" 10.10.1.1 10.50.0.1
overlay blue-a trainer vx7002 7002 "$TRAINER4" 10.10.1.1 10.50.0.1
overlay red-b dpu vx7001 7001 10.10.1.1 "$TRAINER4" 10.50.0.2
overlay blue-b dpu vx7002 7002 10.10.1.1 "$TRAINER4" 10.50.0.2
for host in red-b blue-b; do
	for port in 80 81; do topology_start "$host" ncat -kl 10.50.0.2 "$port"; done
done
case_ok "before: red reaches its server" wait_for 5 answers red-a 80
case_ok "before: blue reaches its server" wait_for 5 answers blue-a 80

for attach in xdp tc; do
	cat >"$tmp/policy.yaml" <<-YAML
		sluice: 1
		name: overlay-$attach
		default: deny
		tenants: [red, blue]
		interfaces: [{name: trainer, attach: $attach, vnis: {7001: red, 7002: blue}}]
		segments:
		  ends: [10.10.1.0/24]
		  red-hosts: {include: [10.50.0.0/24], tenant: red}
		  blue-hosts: {include: [10.50.0.0/24], tenant: blue}
		rules:
		  - {name: vxlan, from: ends, to: ends, service: udp/4789, action: allow}
		  - {name: red-web, from: red-hosts, to: red-hosts, service: tcp/80, action: allow}
		  - {name: blue-other, from: blue-hosts, to: blue-hosts, service: tcp/81, action: allow}
	YAML
	sluice_in dpu detach >/dev/null 2>&1
	case_ok "$attach: the policy is in force" sluice_in dpu apply "$tmp/policy.yaml"
	case_ok "$attach: red reaches port 80" answers red-a 80
	case_ok "$attach: blue reaches port 81" answers blue-a 81
	denied=$(reason_packets dpu default-deny)
	case_ok "$attach: red does not reach port 81" does_not_answer red-a 81
	case_ok "$attach: blue does not reach port 80, at the same addresses" does_not_answer blue-a 80
	case_ok "$attach: which the dpu has counted as denied" test "$(reason_packets dpu default-deny)" -gt "$denied"
	case_ok "$attach: both rules have counted" test "$(rule_packets dpu red-web)" -gt 3 -a "$(rule_packets dpu blue-other)" -gt 3
	case_ok "$attach: and so has the rule of the outer packets" test "$(rule_packets dpu vxlan)" -gt 10

	sed -i 's/, 7002: blue//; /blue-other/d' "$tmp/policy.yaml"
	case_ok "$attach: blue's VNI is no longer listed" sluice_in dpu apply "$tmp/policy.yaml"
	unknown=$(reason_packets dpu unknown-tenant)
	case_ok "$attach: blue reaches nothing" does_not_answer blue-a 81
	case_ok "$attach: its packets are of no tenant" test "$(reason_packets dpu unknown-tenant)" -gt "$unknown"
	case_ok "$attach: red goes on" answers red-a 80
done
