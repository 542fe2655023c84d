# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Four hosts as network namespaces, for the demo, the end-to-end tests and the bench. Sourced, never run.
#
#     trainer                     dpu                      storage
#   +---------+   veth    +-----------------+    veth   +-----------+
#   |    eth0 |-----------| trainer         |           |           |
#   +---------+           |         storage |-----------| eth0      |
#   +---------+   veth    |                 |           |           |
#   |    eth0 |-----------| intruder        |           +-----------+
#   +---------+           +-----------------+
#     intruder              forwards v4, v6
#
#   host      address                               gateway (the dpu's end)
#   trainer   10.10.1.10/24   fd00:10:1::10/64      10.10.1.1   fd00:10:1::1
#   intruder  10.10.66.66/24  fd00:10:66::66/64     10.10.66.1  fd00:10:66::1
#   storage   10.20.0.5/24    fd00:20::5/64         10.20.0.1   fd00:20::1
#
# The caller chooses a prefix; host `dpu` of prefix `sluice-demo` is namespace `sluice-demo-dpu`, and what its sluice pins
# lies under /sys/fs/bpf/sluice-demo-dpu. So two runs with different prefixes never meet, and a second run with the same
# prefix finds and removes what an aborted one left.

TRAINER4=10.10.1.10 TRAINER6=fd00:10:1::10
INTRUDER4=10.10.66.66 INTRUDER6=fd00:10:66::66
STORAGE4=10.20.0.5 STORAGE6=fd00:20::5

TOPOLOGY_HOSTS=(trainer intruder storage dpu)

topology_namespace() { echo "$topology_prefix-$1"; }

# Where the sluice of a host pins its programs and maps.
topology_root() { echo "/sys/fs/bpf/$topology_prefix-$1"; }

# Runs a command on a host. nsenter and not `ip netns exec`: the latter gives the command a /sys of its own, in which no
# bpffs is mounted.
topology_in() {
	local host=$1
	shift
	nsenter --net="/run/netns/$topology_prefix-$host" "$@"
}

# topology_start HOST COMMAND...: in the background; its process is $started (and not a shell that waits for it).
topology_start() {
	local host=$1
	shift
	nsenter --net="/run/netns/$topology_prefix-$host" "$@" &
	started=$!
	disown
}

# wait_for SECONDS|MILLISECONDSms COMMAND...: until the command succeeds. The condition itself must be cheap.
wait_for() {
	local limit=${1}000000 deadline
	[[ $1 == *ms ]] && limit=${1%ms}000
	deadline=$((${EPOCHREALTIME/./} + limit))
	shift
	until "$@" >/dev/null 2>&1; do
		((${EPOCHREALTIME/./} < deadline)) || return 1
		read -rt 0.02 <> <(:) || :
	done
}

# Joins a host with the dpu: topology_join HOST SUBNET4 HOST-PART4 SUBNET6 HOST-PART6
topology_join() {
	local host=$1 net4=$2 id4=$3 net6=$4 id6=$5 namespace dpu
	namespace=$(topology_namespace "$host") dpu=$(topology_namespace dpu)
	ip -n "$namespace" link add eth0 type veth peer name "$host" netns "$dpu"
	ip -n "$namespace" addr add "$net4.$id4/24" dev eth0
	ip -n "$namespace" addr add "$net6::$id6/64" dev eth0 nodad
	ip -n "$dpu" addr add "$net4.1/24" dev "$host"
	ip -n "$dpu" addr add "$net6::1/64" dev "$host" nodad
	ip -n "$namespace" link set eth0 up
	ip -n "$dpu" link set "$host" up
	ip -n "$namespace" route add default via "$net4.1"
	ip -n "$namespace" -6 route add default via "$net6::1"
}

topology_reaches_all() {
	topology_in trainer ping -q -c 1 -W 1 "$STORAGE4" && topology_in trainer ping -q -c 1 -W 1 "$STORAGE6" &&
		topology_in intruder ping -q -c 1 -W 1 "$STORAGE4" && topology_in intruder ping -q -c 1 -W 1 "$STORAGE6"
}

# topology_up PREFIX: returns when every host reaches storage over both families, or fails.
topology_up() {
	local host namespace
	topology_prefix=$1
	topology_down "$1"
	for host in "${TOPOLOGY_HOSTS[@]}"; do
		namespace=$(topology_namespace "$host")
		ip netns add "$namespace"
		# No duplicate address detection: addresses are usable at once, link-local ones too.
		topology_in "$host" sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0 \
			net.ipv6.conf.default.accept_ra=0
		ip -n "$namespace" link set lo up
	done
	topology_in dpu sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	topology_join trainer 10.10.1 10 fd00:10:1 10
	topology_join intruder 10.10.66 66 fd00:10:66 66
	topology_join storage 10.20.0 5 fd00:20 5
	# storage moves packets between CPUs by cpumap, and a frame that went through cpumap has lost the note "checksum still
	# to be filled in" that veth peers pass each other: the receiver would find it wrong. So the dpu fills it in here.
	topology_in dpu ethtool -K storage tx off >/dev/null
	# Refused port probes are answered at any rate, so that a scan sees every answer.
	topology_in storage sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
	if ! wait_for 10 topology_reaches_all; then
		echo "topology: $1: hosts do not reach each other over veth; see 'ip netns', 'nft list ruleset'" >&2
		return 1
	fi
}

# topology_down PREFIX: ends what runs in the namespaces, detaches, and removes them; also what an aborted run left.
topology_down() {
	local host namespace pids pid
	topology_prefix=$1
	for host in "${TOPOLOGY_HOSTS[@]}"; do
		namespace=$(topology_namespace "$host")
		[[ -e /run/netns/$namespace ]] || continue
		pids=$(ip netns pids "$namespace")
		if [[ $pids ]]; then
			# shellcheck disable=SC2086 # a list of numbers
			kill -KILL $pids 2>/dev/null
			for pid in $pids; do
				wait_for 5 topology_process_gone "$pid" || echo "topology: process $pid does not end" >&2
			done
		fi
		[[ -x ${SLUICE:-} && -e $(topology_root "$host") ]] &&
			topology_in "$host" "$SLUICE" --root "$(topology_root "$host")" detach >/dev/null 2>&1
		ip netns delete "$namespace"
	done
	for host in "${TOPOLOGY_HOSTS[@]}"; do
		rm -rf "$(topology_root "$host")"
	done
}

topology_process_gone() { [[ ! -d /proc/$1 || $(sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null) == Z ]]; }
