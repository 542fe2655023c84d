// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * Names every kernel type that bpf/ uses, so that generate.sh can cut vmlinux.h down to them: compiled against the full
 * dump, this object's own BTF holds these types and what they contain, and nothing else. Never linked into sluice.
 * A type that bpf/ newly needs gets a line here; then run generate.sh.
 */
#include "vmlinux.h"

#define KEEP(name, type) type *keep_##name
#define KEEP_ENUM(name, e) enum e keep_##name

/* contexts */
KEEP(xdp_md, struct xdp_md);
KEEP(sk_buff, struct __sk_buff);
KEEP(reuseport, struct sk_reuseport_md);

/* headers on the wire */
KEEP(eth, struct ethhdr);
KEEP(ipv4, struct iphdr);
KEEP(ipv6, struct ipv6hdr);
KEEP(tcp, struct tcphdr);
KEEP(udp, struct udphdr);
KEEP(icmp, struct icmphdr);
KEEP(icmp6, struct icmp6hdr);

/* map values and arguments of helpers */
KEEP(timer, struct bpf_timer);
KEEP(fib, struct bpf_fib_lookup);
KEEP(sock_tuple, struct bpf_sock_tuple);
KEEP(cpumap, struct bpf_cpumap_val);
KEEP(devmap, struct bpf_devmap_val);
KEEP(spin_lock, struct bpf_spin_lock);
KEEP(dynptr, struct bpf_dynptr);

/* integers that bpf_helper_defs.h and include/sluice use */
KEEP(s8, __s8);
KEEP(s16, __s16);
KEEP(s32, __s32);
KEEP(s64, __s64);
KEEP(u8, __u8);
KEEP(u16, __u16);
KEEP(u32, __u32);
KEEP(u64, __u64);
KEEP(be16, __be16);
KEEP(be32, __be32);
KEEP(be64, __be64);
KEEP(le16, __le16);
KEEP(le32, __le32);
KEEP(le64, __le64);
KEEP(wsum, __wsum);
KEEP(bool, bool);

/* named enumerations; the anonymous ones, which no type can refer to, are listed in generate.sh */
KEEP_ENUM(map_type, bpf_map_type);
KEEP_ENUM(attach_type, bpf_attach_type);
KEEP_ENUM(action, xdp_action);
KEEP_ENUM(sk_action, sk_action);
