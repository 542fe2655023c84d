#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints tests/unit/dhchap_vectors.h: DH-HMAC-CHAP computed from the specification's text with nothing but hashlib,
hmac and integers. Run by hand when a vector is added; the output is checked in."""
import base64
import hashlib
import hmac
import struct
import zlib

HOST = b"nqn.2014-08.org.nvmexpress:uuid:0f8fad5b-d9cb-469f-a165-70867728950e"
SUBSYSTEM = b"nqn.2026-11.io.example:datasets"
HASHES = {1: "sha256", 2: "sha384", 3: "sha512"}
LENGTHS = {0: 32, 1: 32, 2: 48, 3: 64}


def euler(bits):
    """floor(2^bits * e), by its series."""
    extra = bits + 64
    total, term, n = 0, 1 << extra, 0
    while term:
        total += term
        n += 1
        term //= n
    return total >> 64


def prime(bits, x):
    """RFC 7919, appendix A."""
    return (1 << bits) - (1 << (bits - 64)) + ((euler(bits - 130) + x) << 64) - 1


GROUPS = {
    1: prime(2048, 560316),
    2: prime(3072, 2625351),
    3: prime(4096, 5736041),
    4: prime(6144, 15705020),
    5: prime(8192, 10965728),
}


def secret(seed, length):
    return hashlib.shake_256(seed).digest(length)


def text(key, kind):
    return b"DHHC-1:%02d:" % kind + base64.b64encode(key + struct.pack("<I", zlib.crc32(key))) + b":"


def transform(key, kind, nqn):
    return hmac.new(key, nqn + b"NVMe-over-Fabrics", HASHES[kind]).digest() if kind else key


def response(name, key, kind, challenge, ks, sequence, tid, label, nqn, other, concatenation=0):
    if ks:
        challenge = hmac.new(ks, challenge, name).digest()
    data = challenge + struct.pack("<IHB", sequence, tid, concatenation) + label + nqn + b"\0" + other
    return hmac.new(transform(key, kind, nqn), data, name).digest()


def c(data):
    return '"' + "".join("\\x%02x" % b for b in data) + '"'


def row(hash_id, group, host_kind, controller_kind):
    name = HASHES[hash_id]
    n = hashlib.new(name).digest_size
    host = secret(b"host %d" % host_kind, LENGTHS[host_kind])
    controller = secret(b"controller %d" % controller_kind, LENGTHS[controller_kind])
    c1, c2 = secret(b"c1 %d" % group, n), secret(b"c2 %d" % group, n)
    ks = b""
    p = GROUPS.get(group)
    if p:
        x, y = (int.from_bytes(secret(s, 32), "big") for s in (b"x", b"y"))
        shared = pow(pow(2, x, p), y, p).to_bytes((p.bit_length() + 7) // 8, "big")
        ks = hashlib.new(name, shared).digest()
    r1 = response(name, host, host_kind, c1, ks, 0x11223344, 0x5566, b"HostHost", HOST, SUBSYSTEM)
    r2 = response(name, controller, controller_kind, c2, ks, 0x778899AA, 0x5566, b"Controller", SUBSYSTEM, HOST)
    digest = hashlib.sha256(p.to_bytes(p.bit_length() // 8, "big")).digest() if p else b""
    print("\t{%d, %d, %s, %s,\n\t %s,\n\t %s,\n\t %s,\n\t %s,\n\t %s,\n\t %s}," % (
        hash_id, group, '"%s"' % text(host, host_kind).decode(), '"%s"' % text(controller, controller_kind).decode(),
        c(c1), c(c2), c(digest), c(ks), c(r1), c(r2)))


def main():
    print("/* SPDX-License-Identifier: Apache-2.0 */")
    print("/* Made by tests/vectors/dhchap.py. */")
    print('#define VECTOR_HOST "%s"' % HOST.decode())
    print('#define VECTOR_SUBSYSTEM "%s"' % SUBSYSTEM.decode())
    print("#define VECTOR_S1 0x11223344u\n#define VECTOR_S2 0x778899aau\n#define VECTOR_TID 0x5566")
    print("#define VECTOR_X %s\n#define VECTOR_Y %s\n" % (c(secret(b"x", 32)), c(secret(b"y", 32))))
    print("/* hash, group, host's key, controller's key, C1, C2, SHA-256 of the prime, hash of g^xy, R1, R2 */")
    print("static const struct vector vectors[] = {")
    for row_of in [(1, 0, 0, 0), (2, 0, 1, 2), (3, 0, 3, 1), (1, 1, 1, 3), (2, 2, 2, 0), (3, 3, 3, 3), (1, 4, 2, 1),
                   (3, 5, 1, 2)]:
        row(*row_of)
    print("};")


if __name__ == "__main__":
    main()
