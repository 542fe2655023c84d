#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A router that forwards established flows in XDP, and a hop with a smaller MTU behind it:
#
#   left 10.80.0.9 eth0 ─── in 10.80.0.1 [gateway: sluice] out 10.81.0.1 ─── eth0 10.81.0.2 right eth1 10.82.0.1 ── eth0 10.82.0.9 behind
#        fd00:80::9            fd00:80::1                     fd00:81::1           fd00:81::2      fd00:82::1            fd00:82::9
#                                      [gateway] side 10.83.0.1 ─── eth0 10.83.0.9 other: no forward: xdp there
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/ports.lib"

TOPOLOGY_HOSTS=(left gateway right behind other)
card=gateway

gateway_up() {
	local host
	hosts_make
	join left eth0 gateway in
	join gateway out right eth0
	join right eth1 behind eth0
	join gateway side other eth0
	address left eth0 10.80.0.9/24 fd00:80::9/64
	address gateway in 10.80.0.1/24 fd00:80::1/64
	address gateway out 10.81.0.1/24 fd00:81::1/64
	address gateway side 10.83.0.1/24
	address right eth0 10.81.0.2/24 fd00:81::2/64
	address right eth1 10.82.0.1/24 fd00:82::1/64
	address behind eth0 10.82.0.9/24 fd00:82::9/64
	address other eth0 10.83.0.9/24
	for host in gateway right; do
		topology_in "$host" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	done
	route left default 10.80.0.1 fd00:80::1
	route gateway 10.82.0.0/24 10.81.0.2
	route gateway fd00:82::/64 fd00:81::2
	route right default 10.81.0.1 fd00:81::1
	route behind default 10.82.0.1 fd00:82::1
	route other default 10.83.0.1
}

policy() { # MODE SERVICES
	cat >"$tmp/policy.yaml" <<-YAML
		sluice: 1
		name: gateway
		mode: $1
		default: deny
		interfaces:
		  - {name: in, forward: xdp}
		  - {name: out, forward: xdp}
		  - {name: side}
		rules:
		  - {name: open, from: [10.80.0.0/24, "fd00:80::/64"], to: any, service: [$2], action: allow}
		  - {name: back, from: [10.82.0.0/24, "fd00:82::/64"], to: any, service: tcp/5001, action: allow}
	YAML
}
every="tcp/5000, tcp/5001, udp/5000, udp/33434-33500, icmp/echo-request, icmpv6/echo-request"

# pings_on HOST ADDRESS N: N echo requests, all answered.
pings_on() { grep -q " $3 received" <(topology_in "$1" ping -q -c "$3" -i 0.02 -W 1 "${@:4}" "$2"); }
# hop HOST ADDRESS TTL ROUTER: who says that the packet with that TTL has come to its end.
hop() { grep -q "From $4 " <(topology_in "$1" ping -n -c 1 -W 1 -t "$3" "$2"); }
# again COMMAND...: an echo request of a flow that is there already, after the command.
again() {
	topology_in left ping -q -c 1 -W 1 -e 7 10.82.0.9
	"$@"
	topology_in left ping -q -c 1 -W 1 -e 7 10.82.0.9
}

head -c 8388608 /dev/urandom >"$tmp/sent"
gateway_up
case_ok "before: the kernel forwards" wait_for 5 pings left 10.82.0.9
case_ok "before: the kernel forwards IPv6" wait_for 5 pings left fd00:82::9

policy enforce "$every"
case_ok "the policy is in force" sluice_in gateway apply "$tmp/policy.yaml"
case_ok "these veths take no redirected frames: status says so" grep -q "veth in takes .*; veth out takes" <(trouble)
case_ok "the kernel forwards instead" more other-interface pings_on left 10.82.0.9 5
for host in left right; do topology_in "$host" ethtool -K eth0 gro on; done
case_ok "now they do: status asks for another apply" grep -q "apply again" <(trouble)
case_ok "it is done" sluice_in gateway apply "$tmp/policy.yaml"
case_ok "status has nothing to say against it" test -z "$(trouble)"
case_ok "status shows who forwards" test "$(sluice_in gateway status --json | jq -c '[.interfaces | sort_by(.name)[] | [.name, .forward]]')" = \
	'[["in","xdp"],["out","xdp"],["side","kernel"]]'
serve behind
serve other

case_ok "20 pings" pings_on left 10.82.0.9 20
case_ok "of which all but the first were routed by XDP, there and back" test "$(forwards routed)" -ge 38
case_ok "and the first by the kernel" test "$(forwards first-packets)" -ge 1
case_ok "20 pings over IPv6" more routed pings_on left fd00:82::9 20
case_ok "TCP" more routed tcp_echo left 10.82.0.9 5000
case_ok "TCP over IPv6" more routed tcp_echo left fd00:82::9 5000
case_ok "UDP" more routed udp_echo left 10.82.0.9 5000
case_ok "UDP over IPv6" more routed udp_echo left fd00:82::9 5000
case_ok "8 MiB over TCP" transfer left behind 10.82.0.9
case_ok "8 MiB over TCP the other way" transfer behind left 10.80.0.9
case_ok "8 MiB over TCP and IPv6" transfer left behind fd00:82::9
case_ok "by XDP" test "$(forwards routed)" -gt 10000
case_ok "with checksums filled in that were left to a device" test "$(forwards checksum-filled)" -gt 10000
case_ok "what is denied stays denied" denied gateway default-deny tcp_connects left 10.82.0.9 4420
case_ok "and over IPv6" denied gateway default-deny tcp_connects left fd00:82::9 4420

case_ok "hop 1 is the gateway" hop left 10.82.0.9 1 10.80.0.1
case_ok "hop 2 is right" hop left 10.82.0.9 2 10.81.0.2
case_ok "hop 1 is the gateway, over IPv6" hop left fd00:82::9 1 fd00:80::1
case_ok "hop 2 is right, over IPv6" hop left fd00:82::9 2 fd00:81::2
case_ok "a flow of which a packet's time to live is up goes to the kernel for that" more ttl \
	again topology_in left ping -q -c 1 -W 1 -e 7 -t 1 10.82.0.9
case_ok "packets with options go to the kernel" more unusual pings_on left 10.82.0.9 3 -R
case_ok "fragments go to the kernel" more unusual pings_on left 10.82.0.9 3 -s 4000
case_ok "out by an interface without forward: xdp" more other-interface tcp_echo left 10.83.0.9 5000
case_ok "the gateway itself answers" more route pings_on left 10.80.0.1 3

case_ok "a neighbour that is not known is asked for by the kernel" more neighbour \
	again ip -n "$topology_prefix-gateway" neigh flush dev out
ip -n "$topology_prefix-right" link set eth0 address 02:00:00:00:00:99
ip -n "$topology_prefix-gateway" neigh flush dev out
case_ok "a neighbour with another link address" more routed pings_on left 10.82.0.9 5

# Path-MTU discovery, first at a router behind the gateway, then at the gateway's own way out.
ip -n "$topology_prefix-right" link set eth1 mtu 1300
case_ok "8 MiB over TCP across a smaller MTU behind the gateway" transfer left behind 10.82.0.9
case_ok "which the sender was told" grep -q "mtu 1300" <(ip -n "$topology_prefix-left" route get 10.82.0.9)
case_ok "8 MiB over TCP and IPv6 across a smaller MTU behind the gateway" transfer left behind fd00:82::9
case_ok "which the sender was told, too" grep -q "mtu 1300" <(ip -n "$topology_prefix-left" -6 route get fd00:82::9)
ip -n "$topology_prefix-left" route flush cache
ip -n "$topology_prefix-left" -6 route flush cache
ip -n "$topology_prefix-gateway" link set out mtu 1290
case_ok "8 MiB over TCP across a smaller MTU of the gateway" more too-long transfer left behind 10.82.0.9
case_ok "the sender was told by the gateway" grep -q "mtu 1290" <(ip -n "$topology_prefix-left" route get 10.82.0.9)
case_ok "8 MiB over TCP and IPv6 across a smaller MTU of the gateway" more too-long transfer left behind fd00:82::9
case_ok "the sender was told by the gateway, too" grep -q "mtu 1290" <(ip -n "$topology_prefix-left" -6 route get fd00:82::9)
ip -n "$topology_prefix-gateway" link set out mtu 1500

# A change of policy reaches a connection that is open.
exec {held}> >(topology_in left ncat 10.82.0.9 5000 >"$tmp/held")
echo before >&"$held"
case_ok "a connection is held" wait_for 5 grep -q before "$tmp/held"
policy enforce "icmp/echo-request"
case_ok "the service is closed" sluice_in gateway apply "$tmp/policy.yaml"
cut=$(reason_packets gateway policy-change)
echo after >&"$held"
counted_cut() { (($(reason_packets gateway policy-change) > cut)); }
case_ok "the connection's next packet is dropped for that" wait_for 5 counted_cut
case_ok "and nothing more comes back" not grep -q after "$tmp/held"
exec {held}>&-

policy audit "icmp/echo-request"
case_ok "in audit mode" sluice_in gateway apply "$tmp/policy.yaml"
case_ok "what would be denied passes, by the kernel" tcp_echo left 10.82.0.9 5000

ip -n "$topology_prefix-gateway" link set in address 02:00:00:00:00:42
case_ok "the gateway has another address: status says so" grep -q "its address has changed" <(trouble)
case_ok "detached" sluice_in gateway detach
