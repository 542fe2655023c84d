#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A transparent wire between two networks, and a router behind it. The card has no address of its own:
#
#   left 10.70.0.1 eth0 ──── p0 [card: sluice] p1 ──── eth0 10.70.0.2 right 10.71.0.1 eth1 ──── eth0 10.71.0.9 behind
#        fd00:70::1                                         fd00:70::2      fd00:71::1               fd00:71::9
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/ports.lib"

TOPOLOGY_HOSTS=(left card right behind)
card=card

wire_up() {
	hosts_make
	join left eth0 card p0
	join card p1 right eth0
	join right eth1 behind eth0
	address left eth0 10.70.0.1/24 fd00:70::1/64
	address right eth0 10.70.0.2/24 fd00:70::2/64
	address right eth1 10.71.0.1/24 fd00:71::1/64
	address behind eth0 10.71.0.9/24 fd00:71::9/64
	topology_in right sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	route left default 10.70.0.2 fd00:70::2
	route behind default 10.71.0.1 fd00:71::1
}

transfer_begins() { head -c 200000 "$tmp/sent" | topology_in left ncat -w 2 10.70.0.2 5000; }

# tagged ID: an echo request from 10.72.0.1 to 10.72.0.2 with an 802.1Q tag, ID in hex.
tagged() {
	topology_in left "$FRAMES" raw eth0 ffffffffffff0200000000018100$108004500003400010000400166360a4800010a4800020800736700070001000102030405060708090a0b0c0d0e0f1011121314151617
}
untold() { # the command, and false: whether a frame arrived is not for its sender to say
	"$@"
	return 1
}

policy() { # ATTACH SERVICES
	cat >"$tmp/policy.yaml" <<-YAML
		sluice: 1
		name: wire
		default: deny
		tenants: [red]
		interfaces:
		  - {name: p0, wire: p1, attach: $1, vlans: {100: red}}
		segments:
		  reds: {include: [10.72.0.0/24], tenant: red}
		rules:
		  - {name: neighbours, from: any, to: any, service: [icmpv6/135, icmpv6/136], action: allow, stateful: false}
		  - {name: open, from: [10.70.0.0/24, "fd00:70::/64"], to: any, service: [$2], action: allow}
		  - {name: back, from: [10.71.0.0/24, "fd00:71::/64"], to: any, service: tcp/5001, action: allow}
		  - {name: red-ping, from: reds, to: reds, service: icmp/echo-request, action: allow}
	YAML
}

head -c 8388608 /dev/urandom >"$tmp/sent"
wire_up

policy auto "tcp/5000, tcp/5001, udp/5000, icmp/echo-request, icmpv6/echo-request"
case_ok "the policy is in force" sluice_in card apply "$tmp/policy.yaml"
case_ok "status says that these veths take no redirected frames" test "$(trouble)" = \
	"veth p1 takes no redirected frames; on its far end say \`ethtool -K DEVICE gro on\`; veth p0 takes no redirected frames; on its far end say \`ethtool -K DEVICE gro on\`"
for host in left right; do topology_in "$host" ethtool -K eth0 gro on; done
case_ok "and nothing once they do" test -z "$(trouble)"
case_ok "both ends are shown" test "$(sluice_in card status --json | jq -c '[.interfaces | sort_by(.name)[] | [.name, .wire]]')" = '[["p0","p1"],["p1","p0"]]'
serve right

for attach in auto xdp-generic; do
	if [[ $attach == xdp-generic ]]; then
		policy $attach "tcp/5000, tcp/5001, udp/5000, icmp/echo-request, icmpv6/echo-request"
		case_ok "$attach: the policy is in force" sluice_in card apply "$tmp/policy.yaml"
		# Native XDP on a veth makes its far end segment by itself, generic XDP does not.
		case_ok "$attach: frames that the far end left unsegmented are counted" more wire-too-long transfer_begins
		for host in left right; do topology_in "$host" ethtool -K eth0 tso off >/dev/null; done
	fi
	case_ok "$attach: ping, and with it ARP" wait_for 5 pings left 10.70.0.2
	case_ok "$attach: ping over IPv6, with neighbours found by a rule" wait_for 5 pings left fd00:70::2
	case_ok "$attach: TCP" tcp_echo left 10.70.0.2 5000
	case_ok "$attach: TCP over IPv6" tcp_echo left fd00:70::2 5000
	case_ok "$attach: UDP" udp_echo left 10.70.0.2 5000
	case_ok "$attach: UDP over IPv6" udp_echo left fd00:70::2 5000
	case_ok "$attach: 8 MiB over TCP" transfer left behind 10.71.0.9
	case_ok "$attach: 8 MiB over TCP the other way" transfer behind left 10.70.0.1
	case_ok "$attach: 8 MiB over TCP and IPv6" transfer left behind fd00:71::9
	case_ok "$attach: what is denied stays denied" denied card default-deny tcp_connects left 10.70.0.2 4420
	case_ok "$attach: nothing is this host's: failsafe does not open the wire" \
		denied card default-deny tcp_connects left 10.70.0.2 22
	case_ok "$attach: LLDP" arrives right eth0 "ether proto 0x88cc" topology_in left "$FRAMES" raw eth0 \
		0180c200000e02000000000188cc0207040200000000010403057030060200780000
	case_ok "$attach: spanning tree" arrives left eth0 "ether dst 01:80:c2:00:00:00" topology_in right "$FRAMES" raw eth0 \
		0180c200000002000000000100264242030000000000
	case_ok "$attach: an ICMP error of a router behind" arrives left eth0 "icmp[0] == 11" \
		topology_in left ping -q -c 1 -W 1 -t 1 10.71.0.9
	case_ok "$attach: which is counted as of its flow" test "$(reason_packets card icmp-related)" -gt 0
	case_ok "$attach: a tagged frame with its tag, in the tenant of the tag" arrives right eth0 "vlan 100 and icmp" tagged 0064
	case_ok "$attach: which its rule has counted" test "$(rule_packets card red-ping)" -gt 0
	case_ok "$attach: a tag that is not listed does not pass" denied card unknown-tenant untold tagged 00c8
done
policy auto "tcp/5000, tcp/5001, udp/5000, icmp/echo-request, icmpv6/echo-request"
case_ok "back to native" sluice_in card apply "$tmp/policy.yaml"
case_ok "checksums that were left to a device have been filled in" test "$(forwards checksum-filled)" -gt 1000

# Path-MTU discovery: the router behind the wire says that a packet is too long.
ip -n "$topology_prefix-right" link set eth1 mtu 1300
for host in left right; do ip -n "$topology_prefix-$host" route flush cache; done
case_ok "8 MiB over TCP across a smaller MTU" transfer left behind 10.71.0.9
case_ok "which the sender was told" grep -q "mtu 1300" <(ip -n "$topology_prefix-left" route get 10.71.0.9)
case_ok "8 MiB over TCP and IPv6 across a smaller MTU" transfer left behind fd00:71::9
case_ok "which the sender was told, too" grep -q "mtu 1300" <(ip -n "$topology_prefix-left" -6 route get fd00:71::9)

ip -n "$topology_prefix-card" link set p1 mtu 1000
case_ok "the MTU of an end is lower now: status says so" grep -q "MTU of p1 has been 1500" <(trouble)
case_ok "applied again" sluice_in card apply "$tmp/policy.yaml"
case_ok "status has nothing to say any more" test -z "$(trouble)"
case_ok "a frame that is too long for the other end is counted" more wire-too-long \
	topology_in left ping -q -c 1 -W 1 -M do -s 1200 10.70.0.2
ip -n "$topology_prefix-card" link set p1 mtu 1500

# A change of policy reaches a connection that is open.
exec {held}> >(topology_in left ncat 10.70.0.2 5000 >"$tmp/held")
echo before >&"$held"
case_ok "a connection is held" wait_for 5 grep -q before "$tmp/held"
policy auto "icmp/echo-request"
case_ok "the service is closed" sluice_in card apply "$tmp/policy.yaml"
cut=$(reason_packets card policy-change)
echo after >&"$held"
counted_cut() { (($(reason_packets card policy-change) > cut)); }
case_ok "the connection's next packet is dropped for that" wait_for 5 counted_cut
case_ok "and nothing more comes back" not grep -q after "$tmp/held"
exec {held}>&-

# A rule that rejects: both ends of a live connection learn of it, though the card has no address to say so from.
policy auto "tcp/5000, icmp/echo-request"
case_ok "the service is open again" sluice_in card apply "$tmp/policy.yaml"
exec {held}> >(topology_in left ncat -p 40404 10.70.0.2 5000 >"$tmp/held" 2>&1)
echo again >&"$held"
case_ok "a connection is held again" wait_for 5 grep -q again "$tmp/held"
sed -i 's/^rules:/&\n  - {name: closed, from: any, to: any, service: tcp\/5000, action: reject}/' "$tmp/policy.yaml"
case_ok "the service is rejected" sluice_in card apply "$tmp/policy.yaml"
echo after >&"$held"
sockets() { topology_in "$1" ss -Htn exclude listening '( sport = :40404 or dport = :40404 )'; }
both_reset() { [[ -z $(sockets left) && -z $(sockets right) ]]; }
case_ok "the connection is reset at both ends" wait_for 2 both_reset
exec {held}>&-
refused() { grep -q refused <(topology_in left ncat -w 2 "$1" 5000 </dev/null 2>&1); }
case_ok "a new one is refused" refused 10.70.0.2
case_ok "a new one is refused over IPv6" refused fd00:70::2

ip -n "$topology_prefix-right" link del eth0
case_ok "the other end is gone: status says so" grep -q "the other end is gone" <(trouble)
case_ok "and what would go there is counted" more wire-end-gone topology_in left ping -q -c 1 -W 1 10.70.0.2
case_ok "detached" sluice_in card detach
