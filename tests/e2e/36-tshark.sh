#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What the initiator and the target say to each other, read by another program: tshark decodes captured sessions PDU by PDU,
# finds nothing malformed or unknown, and accounts for every byte.
#
#   storage: sluice io ──── lo ──── sluice target
#              └──── tcpdump → tshark ────┘
. "$(dirname "$0")/lib.sh"

for tool in tshark tcpdump; do
	command -v "$tool" >/dev/null || { not_ok "tools" "$tool is missing; 'make deps'"; exit 1; }
done

NQN=nqn.2026-11.io.example:tap
cat >"$tmp/host.yaml" <<EOP
sluice: 1
name: e2e-tshark
default: allow
storage:
  portals: [{address: $STORAGE4}]
  steering: none
  reactors: auto
  transport: {r2t: 16KiB, max-h2c-data: 12KiB}
  subsystems:
    - {nqn: $NQN, hosts: any, namespaces: [{id: 1, backend: memory, size: 16MiB}]}
EOP

hosts_up
topology_start storage "$SLUICE" target "$tmp/host.yaml" >"$tmp/target.log" 2>&1
wait_for 10 topology_in storage ncat -z -w 1 "$STORAGE4" 4420 || { not_ok "the target listens" "$(tail -3 "$tmp/target.log")"; exit 1; }

io() { topology_in storage "$SLUICE" io "$1" --to "$STORAGE4:4420" "${@:2}"; }

# capture NAME COMMAND...: what goes over the port while the command runs, as NAME.pcap, and what tshark makes of it, as NAME.tsv.
capture() {
	local session=$1 pcap=$tmp/$1.pcap log=$tmp/$1.tcpdump tap status
	shift
	topology_start storage tcpdump -i lo -s 0 -B 65536 -U --immediate-mode -w "$pcap" tcp port 4420 >/dev/null 2>"$log"
	tap=$started
	wait_for 10 grep -q 'listening on' "$log" || { cat "$log"; return 1; }
	"$@"
	status=$?
	wait_for 10 ended "$pcap"
	kill -INT "$tap"
	wait_for 10 topology_process_gone "$tap"
	grep -q '^0 packets dropped' "$log" || { cat "$log"; return 1; }
	# What TCP sent twice, as a busy machine makes it do, is no PDU of its own.
	tshark -n -r "$pcap" -Y '!tcp.analysis.retransmission && !tcp.analysis.spurious_retransmission' -d tcp.port==4420,nvme-tcp -o nvme-tcp.check_hdgst:TRUE -o nvme-tcp.check_ddgst:TRUE -T fields \
		"${fields[@]/#/-e}" >"$tmp/$session.tsv" 2>"$tmp/$session.err" || { cat "$tmp/$session.err"; return 1; }
	return $status
}
fields=(tcp.len nvme-tcp.type nvme-tcp.plen nvme-tcp.hdgst.status nvme-tcp.ddgst.status nvme-tcp.unknown_data _ws.malformed
	_ws.expert.group nvme-tcp.c2htermreq.fes nvme-tcp.c2htermreq.upfo)
LEN=1 TYPE=2 PLEN=3 HDGST=4 DDGST=5 UNKNOWN=6 MALFORMED=7 GROUP=8 FES=9 UPFO=10
GROUP_MALFORMED=117440512 # tshark's number of that group of remarks

# Each side of each connection has said its last word: FIN or RST.
sides() { tcpdump -n -r "$1" "tcp[tcpflags] & ($2) != 0" 2>/dev/null | awk '{ print $3, $5 }' | sort -u | wc -l; }
ended() { (($(sides "$1" tcp-syn) > 0 && $(sides "$1" tcp-syn) == $(sides "$1" 'tcp-fin|tcp-rst'))); }

# values SESSION COLUMN: every value of it, one a line.
values() { cut -f "$2" "$tmp/$1.tsv" | tr ',' '\n' | grep -v '^$'; }
total() { values "$1" "$2" | awk '{ n += $1 } END { print n + 0 }'; }
count() { values "$1" "$TYPE" | grep -c -x "$2"; }
whole() { (($(total "$1" $LEN) > 0 && $(total "$1" $LEN) == $(total "$1" $PLEN))); }
clean() { [[ -z $(values "$1" $UNKNOWN)$(values "$1" $MALFORMED)$(values "$1" $GROUP | grep -x $GROUP_MALFORMED) ]]; }
counted() { (($(count "$1" "$2") $3)); }
# 0 is a wrong digest, 1 a right one, 2 one that was not checked; those of PDUs without a digest are not listed.
right() { [[ $(values "$1" "$2" | sort -u) == 1 ]]; }
is() { [[ $(values "$1" "$2") == "$3" ]]; }

decodes() {
	case_if "$1: every byte is of a decoded PDU" "$(total "$1" $LEN) bytes on the wire, $(total "$1" $PLEN) in PDUs" whole "$1"
	case_if "$1: nothing is malformed or unknown" "$(cut -f $UNKNOWN-$GROUP "$tmp/$1.tsv" | sort | uniq -c | head -3)" clean "$1"
}
# pdus SESSION TYPE TEST: how many there are of them.
pdus() { case_if "$1: PDUs of type $2: $3" "there are $(count "$1" "$2")" counted "$@"; }

# --------------------------------------------------------------------------------------------------------- sessions

session() {
	local session=$1
	shift
	case_ok "$session: data verify, and the capture is whole" capture "$session" io verify --nqn "$NQN" --length 256KiB "$@"
	decodes "$session"
	pdus "$session" 0 '== 2'
	pdus "$session" 1 '== 2'
}

# The admin queue, which has no data in capsules, adds one R2T and one H2CData to each session: Host Behavior Support.
session r2t --block-size 64k --depth 2
pdus r2t 9 '== 16 + 1' # 4 writes of 64 KiB by R2Ts of 16 KiB
pdus r2t 6 '== 32 + 1' # each answered by 12 KiB and 4 KiB
session in-capsule --block-size 4k --depth 8
pdus in-capsule 9 '== 0 + 1'
pdus in-capsule 4 '>= 128'
session digests --block-size 64k --depth 2 --header-digest --data-digest
pdus digests 9 '== 16 + 1'
session digests-in-capsule --block-size 4k --depth 8 --header-digest --data-digest
session aligned --block-size 32k --depth 4 --header-digest --alignment 128
for one in digests digests-in-capsule; do
	case_if "$one: tshark finds every header digest right" "$(values $one $HDGST | sort | uniq -c)" right $one $HDGST
	case_if "$one: and every data digest" "$(values $one $DDGST | sort | uniq -c)" right $one $DDGST
done

case_ok "connect is captured" capture connect io connect --nqn "$NQN" --identify
decodes connect
case_ok "discovery is captured" capture discovery io discover
decodes discovery

# ------------------------------------------------------------------------------------------------------ termination

# ICReq with PDU format version 9.
bad_icreq() {
	{ printf '\x00\x00\x80\x00\x80\x00\x00\x00\x09\x00'; head -c 118 /dev/zero; } | topology_in storage ncat -w 5 "$STORAGE4" 4420 >/dev/null
}
case_ok "a refused ICReq is captured" capture term bad_icreq
decodes term
pdus term 3 '== 1'
case_if "C2HTermReq says: unsupported parameter" "$(values term $FES)" is term $FES 0x0006
case_if "and which: byte 8" "$(values term $UPFO)" is term $UPFO 0x00000008
