#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints tests/unit/tls_psk_vectors.h: TLS PSKs of NVMe/TCP computed from the specification's text (TCP Transport 1.0,
section 3.6.1; RFC 5869; RFC 8446, 7.1) with nothing but hashlib and hmac. Run by hand; the output is checked in."""
import base64
import hashlib
import hmac
import struct
import zlib

HOST = b"nqn.2014-08.org.nvmexpress:uuid:0f8fad5b-d9cb-469f-a165-70867728950e"
SUBSYSTEM = b"nqn.2026-11.io.example:datasets"
HASHES = {1: "sha256", 2: "sha384"}


def extract(name, key):
    return hmac.new(b"\0" * hashlib.new(name).digest_size, key, name).digest()


def expand_label(name, prk, label, context, length):
    label = b"tls13 " + label
    info = struct.pack(">H", length) + bytes([len(label)]) + label + bytes([len(context)]) + context
    assert length <= hashlib.new(name).digest_size
    return hmac.new(prk, info + b"\x01", name).digest()[:length]


def tls(letter, hash_id, key, version, hostnqn, subnqn):
    """Identity and PSK of TLS by a key that is retained (R) or generated (G)."""
    name = HASHES[hash_id]
    identity = b"NVMe%d%s%02d %s %s" % (version, letter, hash_id, hostnqn, subnqn)
    context = identity
    if version == 1:
        digest = base64.b64encode(hmac.new(key, hostnqn + b" " + subnqn + b" NVMe-over-Fabrics", name).digest())
        identity += b" " + digest
        context = b"%02d " % hash_id + digest
    return identity, expand_label(name, extract(name, key), b"nvme-tls-psk", context, hashlib.new(name).digest_size)


def row(kind, length, version, hostnqn, subnqn):
    key = hashlib.shake_256(b"psk %d %d" % (kind, length)).digest(length)
    return derive(key, kind, version, hostnqn, subnqn)


def derive(key, kind, version, hostnqn, subnqn):
    hash_id = kind or {32: 1, 48: 2}[len(key)]
    name = HASHES[hash_id]
    retained = expand_label(name, extract(name, key), b"HostNQN", hostnqn, len(key)) if kind else key
    identity, psk = tls(b"R", hash_id, retained, version, hostnqn, subnqn)
    text = b"NVMeTLSkey-1:%02d:" % kind + base64.b64encode(key + struct.pack("<I", zlib.crc32(key))) + b":"
    return text, version, hash_id, hostnqn, subnqn, identity, psk


def main():
    print("/* SPDX-License-Identifier: Apache-2.0 */")
    print("/* Made by tests/vectors/tls_psk.py: key, version, hash, host, subsystem, identity, PSK */")
    print("static const struct vector vectors[] = {")
    for kind, length in [(0, 32), (1, 32), (0, 48), (2, 48)]:
        for version in (0, 1):
            r = row(kind, length, version, HOST, SUBSYSTEM)
            print('\t{"%s", %d, %d,\n\t "%s",\n\t "%s",\n\t "%s",\n\t "%s"},' % (
                r[0].decode(), r[1], r[2], r[3].decode(), r[4].decode(), r[5].decode(),
                "".join("\\x%02x" % b for b in r[6])))
    print("};")


if __name__ == "__main__":
    main()
