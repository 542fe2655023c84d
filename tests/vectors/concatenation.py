#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints tests/unit/concatenation_vectors.h: what secure channel concatenation makes, from a session key and two
challenges to the PSK of TLS, computed from the specifications' text (Base 2.1, 8.3.4.5; TCP Transport 1.1, 3.6.1) with
nothing but hashlib and hmac. Run by hand; the output is checked in."""
import hashlib
import hmac
import struct

from tls_psk import HASHES, HOST, SUBSYSTEM, tls

TID, S1 = 0x5566, 0x11223344


def secret(seed, length):
    return hashlib.shake_256(seed).digest(length)


def generated(name, ks, c1, c2):
    return hmac.new(ks, c1 + c2, name).digest()


def host_response(name, key, ks, c1, how):
    """Of a key that is used as it stands (DHHC-1:00)."""
    augmented = hmac.new(ks, c1, name).digest()
    data = augmented + struct.pack("<IHB", S1, TID, how) + b"HostHost" + HOST + b"\0" + SUBSYSTEM
    return hmac.new(key, data, name).digest()


def c(data):
    return '"' + "".join("\\x%02x" % b for b in data) + '"'


def main():
    print("/* SPDX-License-Identifier: Apache-2.0 */")
    print("/* Made by tests/vectors/concatenation.py. */")
    print('#define VECTOR_HOST "%s"' % HOST.decode())
    print('#define VECTOR_SUBSYSTEM "%s"' % SUBSYSTEM.decode())
    print("#define VECTOR_TID 0x%x\n#define VECTOR_S1 0x%xu" % (TID, S1))
    print("#define VECTOR_KEY %s\n" % c(secret(b"host", 32)))
    print("/* hash, SC_C, session key, C1, C2, R1, generated PSK, then identity and TLS PSK of versions 0 and 1 */")
    print("static const struct vector vectors[] = {")
    for hash_id in HASHES:
        for how in (2, 3):
            name = HASHES[hash_id]
            n = hashlib.new(name).digest_size
            ks, c1, c2 = (secret(b"%s %d %d" % (s, hash_id, how), n) for s in (b"ks", b"c1", b"c2"))
            key = generated(name, ks, c1, c2)
            r1 = host_response(name, secret(b"host", 32), ks, c1, how)
            texts = [tls(b"G", hash_id, key, version, HOST, SUBSYSTEM) for version in (0, 1)]
            print("\t{%d, %d, %s,\n\t %s,\n\t %s,\n\t %s,\n\t %s," % (hash_id, how, c(ks), c(c1), c(c2), c(r1), c(key)))
            print("\t {%s},\n\t {%s}}," % (", ".join('"%s"' % t[0].decode() for t in texts),
                                           ", ".join(c(t[1]) for t in texts)))
    print("};")


if __name__ == "__main__":
    main()
