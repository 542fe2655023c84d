#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Programs that people use, through a firewall on a router, with a hop of smaller MTU behind it: what they do works, what the policy
# changes reaches them as it says, and what it leaves alone they never notice. First the kernel forwards, then XDP does.
#
#   client 10.90.0.9 ─── left 10.90.0.1 [dpu: sluice] right 10.91.0.1 ─── 10.91.0.2 router
#          fd00:90::9         fd00:90::1                    fd00:91::1      fd00:91::2  │ 10.92.0.1, fd00:92::1
#                                                                                       │ MTU 1300
#                                              server 10.93.0.9 ─── 10.93.0.1 far ──────┘ 10.92.0.2, fd00:92::2
#                                                     fd00:93::9    fd00:93::1
#
# On the server: nginx on tcp/80 (/slow/: 1 MiB a second, /slower/: 400 KiB), iperf3 on tcp and udp/5201, echo on tcp/5000 and udp/5000.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/ports.lib"

for tool in curl nginx iperf3 traceroute tracepath; do
	command -v "$tool" >/dev/null || { echo "not ok - $test_name: $tool is missing; 'make deps'"; exit 1; }
done

TOPOLOGY_HOSTS=(client dpu router far server)
card=dpu
server4=10.93.0.9 server6=fd00:93::9
hops4="10.90.0.1 10.91.0.2 10.92.0.2 10.93.0.9" hops6="fd00:90::1 fd00:91::2 fd00:92::2 fd00:93::9"
sizes=(1 4) # MiB

network_up() {
	local host
	hosts_make
	join client eth0 dpu left
	join dpu right router eth0
	join router eth1 far eth0
	join far eth1 server eth0
	address client eth0 10.90.0.9/24 fd00:90::9/64
	address dpu left 10.90.0.1/24 fd00:90::1/64
	address dpu right 10.91.0.1/24 fd00:91::1/64
	address router eth0 10.91.0.2/24 fd00:91::2/64
	address router eth1 10.92.0.1/24 fd00:92::1/64
	address far eth0 10.92.0.2/24 fd00:92::2/64
	address far eth1 10.93.0.1/24 fd00:93::1/64
	address server eth0 $server4/24 $server6/64
	for host in dpu router far; do
		topology_in "$host" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	done
	# traceroute sends its probes all at once, and every hop shall answer each.
	for host in dpu router far server; do
		topology_in "$host" sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
	done
	# Who is cut off gives up soon, so that no case counts what an earlier one has left to be sent again.
	for host in client server; do
		topology_in "$host" sysctl -qw net.ipv4.tcp_retries2=3 net.ipv4.tcp_orphan_retries=2
	done
	route client default 10.90.0.1 fd00:90::1
	route dpu 10.93.0.0/24 10.91.0.2
	route dpu fd00:93::/64 fd00:91::2
	route router 10.93.0.0/24 10.92.0.2
	route router fd00:93::/64 fd00:92::2
	route router default 10.91.0.1 fd00:91::1
	route far default 10.92.0.1 fd00:92::1
	route server default 10.93.0.1 fd00:93::1
	ip -n "$topology_prefix-router" link set eth1 mtu 1300
	ip -n "$topology_prefix-far" link set eth0 mtu 1300
	for host in client router; do topology_in "$host" ethtool -K eth0 gro on; done # takes what XDP redirects to it
}

servers_up() {
	local mib
	mkdir "$tmp/www"
	for mib in "${sizes[@]}"; do head -c "${mib}M" /dev/urandom >"$tmp/www/$mib"; done
	cat >"$tmp/nginx.conf" <<-CONF
		user root;
		daemon off;
		pid $tmp/nginx.pid;
		error_log $tmp/nginx.log;
		events {}
		http {
			access_log off;
			server {
				listen 80;
				listen [::]:80;
				root $tmp/www;
				location /slow/ { alias $tmp/www/; limit_rate 1m; }
				location /slower/ { alias $tmp/www/; limit_rate 400k; }
			}
		}
	CONF
	topology_start server nginx -c "$tmp/nginx.conf" 2>/dev/null
	topology_start server iperf3 -s >/dev/null 2>&1
	serve server
	wait_for 5 topology_in server ncat -z "$server4" 80 && wait_for 5 topology_in server ncat -z "$server4" 5201 ||
		{ not_ok "servers" "nginx or iperf3 does not listen; $(cat "$tmp/nginx.log")"; exit 1; }
}

every="tcp/80, tcp/5000, udp/5000, tcp/5201, udp/5201, udp/33434-33600, udp/44444-44500, icmp/echo-request, icmpv6/echo-request"

# policy FORWARD PICKUP SERVICES [RULE...]: the rules stand before the one that lets the client do what it does. What idles is
# forgotten soon, but for TCP.
policy() {
	local rule
	cat <<-YAML
		sluice: 1
		name: peers
		default: deny
		conntrack: {pickup: $2, udp: 1s, udp-stream: 2s, icmp: 1s, tcp-closing: 1s, tcp-established: 1h}
		interfaces:
		  - {name: left, forward: $1}
		  - {name: right, forward: $1}
		segments:
		  clients: [10.90.0.0/24, "fd00:90::/64"]
		  servers: [10.93.0.0/24, "fd00:93::/64"]
		rules:
		  - {name: link, from: any, to: "ff02::/16", service: any, action: allow, stateful: false}
	YAML
	for rule in "${@:4}"; do echo "  - $rule"; done
	echo "  - {name: open, from: clients, to: servers, service: [$3], action: allow}"
}
applies() { policy "$@" >"$tmp/policy.yaml" && sluice_in dpu apply "$tmp/policy.yaml" >/dev/null; }

web() { if [[ $1 == *:* ]]; then echo "http://[$1]/$2"; else echo "http://$1/$2"; fi; }
fetches() { # ADDRESS MIB
	topology_in client curl -sS --max-time 20 -o "$tmp/fetched" "$(web "$1" "$2")" && cmp "$tmp/fetched" "$tmp/www/$2"
}

# But for resets of what is reset already: iperf3 ends while data are under way, and each segment is answered with one.
drops() { sluice_in dpu status --json | jq '[.reasons[] | select(.verdict == "drop" and .name != "tcp-rst").packets] | add // 0'; }
# undisturbed COMMAND...: it succeeds, and nothing at all is dropped meanwhile.
undisturbed() {
	local before after
	before=$(drops)
	"$@" || return 1
	after=$(drops)
	((after == before)) || { echo "$((after - before)) packets were dropped: $(sluice_in dpu status --json | jq -c '[.reasons[] | select(.verdict == "drop") | {name, packets}]')"; return 1; }
}
counts() { # REASON COMMAND...: it succeeds, and the reason is counted meanwhile
	local reason=$1 before
	shift
	before=$(reason_packets dpu "$reason")
	"$@" || return 1
	(($(reason_packets dpu "$reason") > before)) || { echo "$reason stayed at $before"; return 1; }
}

# ------------------------------------------------------------------------------------------------------ path MTU

forget_mtu() {
	local host
	for host in client server; do
		ip -n "$topology_prefix-$host" route flush cache
		ip -n "$topology_prefix-$host" -6 route flush cache
	done
}
learnt_mtu() { grep -q "mtu 1300" <(ip -n "$topology_prefix-client" route get "$1"); }
uploads() { # ADDRESS: to the server, where the way is narrow for it
	transfer client server "$1" || return 1
	learnt_mtu "$1" || { echo "the client was never told"; return 1; }
}

# ------------------------------------------------------------------------------------------------------- programs

iperf() { # ARGUMENT...: succeeds if bytes arrived
	local bytes
	topology_in client timeout 20 iperf3 -J -t 1 "$@" >"$tmp/iperf" || { jq -r .error "$tmp/iperf"; return 1; }
	bytes=$(jq '.end.sum_received.bytes // .end.sum.bytes' "$tmp/iperf")
	((bytes > 500000)) || { echo "$bytes bytes arrived"; return 1; }
}
# Datagrams that came and found no room in the socket, since who reads it had no CPU.
unread() {
	local host
	for host in client server; do
		topology_in "$host" awk '/^Udp: [0-9]/ { n += $6 } /^Udp6RcvbufErrors/ { n += $2 } END { print n + 0 }' /proc/net/snmp /proc/net/snmp6
	done | awk '{ n += $1 } END { print n }'
}
iperf_udp() { # ARGUMENT...: as much as was sent
	local before
	before=$(unread)
	iperf -u -b 20M -l 1200 "$@" || return 1
	jq -e ".end.sum.lost_packets <= $(unread) - $before" "$tmp/iperf" >/dev/null || { jq -c .end.sum "$tmp/iperf"; return 1; }
}
traces() { # HOPS COMMAND...: the hops that it shows
	local hops=$1 out shown
	shift
	out=$(topology_in client timeout 20 "$@" 2>&1)
	shown=$(awk '$1 ~ /^[0-9]+[:?]*$/ && $2 ~ /[.:]/ && $2 != last { printf "%s%s", n++ ? " " : "", $2; last = $2 }' <<<"$out")
	[[ $shown == "$hops" ]] || { echo "it shows '$shown': $out"; return 1; }
}
tracepath_learns() { # HOPS ADDRESS
	forget_mtu
	traces "$1" tracepath -n "$2" || return 1
	[[ $(topology_in client timeout 20 tracepath -n "$2") == *"pmtu 1300"* ]] || { echo "no word of an MTU of 1300"; return 1; }
}

# ---------------------------------------------------------------------------------------------------- a long idle

flow_count() { sluice_in dpu status --json | jq .flows.live; }
flows_are() { [[ $(flow_count) == "$1" ]]; }
all_flows_over() { wait_for 20 flows_are 0 || { echo "$(flow_count) flows are left"; return 1; }; }
held_open() { # ADDRESS: a connection to the echo server, in $held
	exec {held}<> <(:)
	: >"$tmp/held"
	topology_in client ncat "$1" 5000 <&"$held" >"$tmp/held" 2>/dev/null &
	disown
	held_says one
}
held_says() {
	echo "$1" >&"$held"
	wait_for 3 grep -qx "$1" "$tmp/held" || { echo "'$1' does not come back"; return 1; }
}
# A connection idles until all that is forgotten sooner has been; its terminal is used again after that, under another policy.
idles() { # FORWARD ADDRESS
	held_open "$2" || return 1
	udp_echo client "$2" 5000 || { echo "no UDP"; return 1; }
	(($(flow_count) >= 2)) || { echo "$(flow_count) flows"; return 1; }
	wait_for 20 flows_are 1 || { echo "$(flow_count) flows remain, not the one"; return 1; }
	applies "$1" 0s "$every" "{name: other, from: any, to: 10.99.0.0/16, service: tcp/9, action: deny}" || return 1
	undisturbed held_says two || return 1
	exec {held}>&-
}

# ------------------------------------------------------------------------------------------------ change of policy

# begins ADDRESS MIB [slower]: a download that takes a second a MiB, or two and a half, and ends when nothing comes for 3 s; its process
# is $download. Returns when bytes have come.
begins() {
	rm -f "$tmp/fetched"
	topology_start client curl -sS --max-time 20 --speed-time 3 --speed-limit 1 -o "$tmp/fetched" "$(web "$1" "${3:-slow}/$2")" 2>"$tmp/curl"
	download=$started
	wait_for 5 test -s "$tmp/fetched" || { echo "nothing comes: $(cat "$tmp/curl")"; return 1; }
}
ends() { wait_for "$1" topology_process_gone "$download" || { kill "$download"; echo "it hangs"; return 1; }; }
arrived() { cmp "$tmp/fetched" "$tmp/www/$1" && [[ ! -s $tmp/curl ]]; }

stays() { # FORWARD ADDRESS: 20 policies while it downloads and iperf3 sends
	local i busy
	begins "$2" 4 || return 1
	topology_start client iperf3 -J -t 3 -c "$2" >"$tmp/iperf" 2>&1
	busy=$started
	for ((i = 0; i < 20; i++)); do
		if ((i % 2)); then applies "$1" 0s "$every" || return 1
		else applies "$1" 0s "$every" "{name: new, from: any, to: 10.99.$i.0/24, action: deny}" \
			"{name: first, from: clients, to: servers, service: tcp/80, action: allow}" || return 1; fi
	done
	wait_for 10 topology_process_gone "$busy" || { echo "iperf3 hangs"; return 1; }
	jq -e '.end.sum_received.bytes > 1000000' "$tmp/iperf" >/dev/null || { cat "$tmp/iperf"; return 1; }
	ends 20 && arrived 4
}
is_rejected() { # FORWARD ADDRESS
	begins "$2" 4 || return 1
	applies "$1" 0s "tcp/5000" "{name: no-web, from: any, to: any, service: tcp/80, action: reject}" || return 1
	ends 3 || return 1
	[[ $(cat "$tmp/curl") == *"reset by peer"* ]] || { echo "curl says: $(cat "$tmp/curl")"; return 1; }
	given_up 1
}
web_sockets() { topology_in server ss -Htn state connected exclude time-wait "sport = :80"; }
no_web_sockets() { [[ -z $(web_sockets) ]]; }
given_up() { wait_for "$1" no_web_sockets || { echo "the server still has $(web_sockets)"; return 1; }; } # SECONDS
is_denied() { # FORWARD ADDRESS
	begins "$2" 4 || return 1
	applies "$1" 0s "tcp/5000" || return 1
	starves
}
starves() { # nothing comes any more
	ends 20 || return 1
	[[ $(cat "$tmp/curl") == *"too slow"* ]] || { echo "curl says: $(cat "$tmp/curl")"; return 1; }
	given_up 20
}

# --------------------------------------------------------------------------------------------------------- pickup

is_picked_up() { # FORWARD PICKUP ADDRESS: sluice comes while it downloads; on a machine with much else to do not at the first try
	local try
	for try in 1 2 3; do
		sluice_in dpu detach >/dev/null && begins "$3" 4 slower && applies "$1" "$2" "$every" || return 1
		topology_process_gone "$download" || return 0
	done
	echo "sluice comes too late, three times"
	return 1
}
goes_on() {
	is_picked_up "$1" 30s "$2" && ends 20 && arrived 4 || return 1
	(($(drops) == 0)) || { echo "$(drops) packets were dropped"; return 1; }
}
is_not_picked_up() {
	is_picked_up "$1" 0s "$2" && starves || return 1
	(($(reason_packets dpu tcp-no-flow) > 0)) || { sluice_in dpu status --json | jq -c '[.reasons[] | select(.packets > 0) | {name, packets}]'; return 1; }
}

# ------------------------------------------------------------------------------------------------------------ all

network_up
servers_up
head -c 4M /dev/urandom >"$tmp/sent" # for transfer()
every="$every, tcp/5001"
wait_for 5 fetches $server4 1 && wait_for 5 fetches $server6 1 || { not_ok "before" "nginx is not reached without sluice"; exit 1; }

for forward in kernel xdp; do
	case_ok "$forward: the policy is in force" applies $forward 0s "$every"
	for server in $server4 $server6; do
		if [[ $server == *:* ]]; then name="$forward: v6" option=-6 hops=$hops6
		else name="$forward: v4" option=-4 hops=$hops4; fi
		forget_mtu
		case_ok "$name: 4 MiB across a smaller MTU, as the router says" counts icmp-related uploads "$server"
		forget_mtu
		case_ok "$name: iperf3 across it" counts icmp-related iperf -c "$server"
		case_ok "$name: iperf3 the other way" iperf -R -c "$server"
		case_ok "$name: iperf3 by UDP" undisturbed iperf_udp -c "$server"
		case_ok "$name: iperf3 by UDP the other way" undisturbed iperf_udp -R -c "$server"
		case_ok "$name: nginx to curl" undisturbed fetches "$server" 4
		case_ok "$name: a datagram and its answer" undisturbed udp_echo client "$server" 5000
		case_ok "$name: ping" undisturbed topology_in client ping -q -c 3 -i 0.02 -W 1 "$server"
		case_ok "$name: traceroute by UDP" counts icmp-related traces "$hops" traceroute $option -n -q 1 "$server"
		case_ok "$name: traceroute by ICMP" counts icmp-related traces "$hops" traceroute $option -I -n -q 1 "$server"
		case_ok "$name: tracepath learns the MTU" counts icmp-related tracepath_learns "$hops" "$server"
		case_ok "$name: what is quiet is forgotten" all_flows_over
		case_ok "$name: an idle terminal outlives UDP and a change of policy" idles $forward "$server"
		case_ok "$name: traceroute by TCP" counts icmp-related traces "$hops" traceroute $option -T -p 80 -n -q 1 "$server"
		case_ok "$name: 20 policies during downloads: none is disturbed" undisturbed stays $forward "$server"
		case_ok "$name: rejected by a new policy, curl and nginx are reset" counts policy-change is_rejected $forward "$server"
		case_ok "$name: open again" applies $forward 0s "$every"
		case_ok "$name: denied by a new policy, curl waits in vain" counts policy-change is_denied $forward "$server"
		case_ok "$name: sluice comes during a download, with pickup: it goes on" goes_on $forward "$server"
		case_ok "$name: without pickup it does not" is_not_picked_up $forward "$server"
		case_ok "$name: and a new one works" fetches "$server" 1
	done
done
case_ok "detached" sluice_in dpu detach
