#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A host that shares no code with sluice's: connects an admin queue without TLS, authenticates with secure channel
concatenation (Base 2.1, 8.3.4), and writes the TLS identity and key that follow from it.

    concatenation_host.py ADDRESS:PORT HOSTNQN SUBNQN KEYFILE SC_C HASH OUT

OUT gets the identity and the key in hexadecimal, a line each; OUT.connect the bytes of ICReq and Connect, to be sent by
TLS. If the controller ends the authentication, its reason code explanation is printed and the exit status is 1."""
import base64
import hashlib
import os
import socket
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "vectors"))
from concatenation import generated  # noqa: E402
from dhchap import GROUPS, HASHES, response  # noqa: E402
from tls_psk import tls  # noqa: E402

GROUP, TID = 1, 0x0102
SEND, RECEIVE = 0x05, 0x06
IN_CAPSULE, TRANSPORT = 0x01, 0x5A


def exactly(s, n):
    data = b""
    while len(data) < n:
        more = s.recv(n - len(data))
        if not more:
            sys.exit("the target has closed the connection")
        data += more
    return data


def pdu(s):
    """Type, what is behind the common header, and data."""
    kind, _, hlen, pdo, plen = struct.unpack("<BBBBI", exactly(s, 8))
    rest = exactly(s, plen - 8)
    return kind, rest[: hlen - 8], rest[pdo - 8:] if pdo else b""


def icreq():
    return struct.pack("<BBBBIHBBI", 0, 0, 128, 0, 128, 0, 0, 0, 0).ljust(128, b"\0")


def capsule(fctype, fields, data, answer=0):
    """A Fabrics command; fields: bytes 40 on of the SQE."""
    sgl = struct.pack("<QI3xB", 0, len(data) or answer, IN_CAPSULE if data else TRANSPORT)
    sqe = (struct.pack("<BBHB19x", 0x7F, 0x40, 1, fctype) + sgl + fields).ljust(64, b"\0")
    return struct.pack("<BBBBI", 4, 0, 72, 72 if data else 0, 72 + len(data)) + sqe + data


def connect(hostnqn, subnqn):
    data = (bytes(range(16)) + struct.pack("<H", 0xFFFF)).ljust(256, b"\0")
    data += subnqn.ljust(256, b"\0") + hostnqn.ljust(256, b"\0")
    return capsule(0x01, struct.pack("<HHHB", 0, 0, 31, 0), data.ljust(1024, b"\0"))


def run(s, command):
    """Sends it; its data and result."""
    s.sendall(command)
    data = b""
    while True:
        kind, head, more = pdu(s)
        data += more
        if kind == 5:
            result, _, _, _, status = struct.unpack("<QHHHH", head[:16])
            if status >> 1:
                sys.exit("status 0x%x" % (status >> 1))
            return data, result


def auth(s, fctype, message=b""):
    fields = struct.pack("<BBBBI", 0, 1, 1, 0xE9, len(message) or 4096)
    return run(s, capsule(fctype, fields, message, 4096))[0]


def receive(s, expected):
    message = auth(s, RECEIVE)
    if message[0] == 0 and message[1] == 0xF1:
        print(message[7])
        sys.exit(1)
    assert message[0] == 1 and message[1] == expected and message[4:6] == struct.pack("<H", TID), message[:8]
    return message


def authenticate(s, hostnqn, subnqn, key_text, concatenation, hash_id):
    kind, text = key_text.split(":")[1:3]
    key = base64.b64decode(text)[:-4]
    negotiate = struct.pack("<BBHHBB", 0, 0, 0, TID, concatenation, 1)
    negotiate += struct.pack("<BxBB", 1, 1, 1) + bytes([hash_id]).ljust(30, b"\0") + bytes([GROUP]).ljust(30, b"\0")
    auth(s, SEND, negotiate)
    challenge = receive(s, 1)
    n, chosen, group, dh_len, s1 = struct.unpack("<BxBBHI", challenge[6:16])
    name = HASHES[hash_id]
    assert (n, chosen, group, dh_len) == (hashlib.new(name).digest_size, hash_id, GROUP, 256)
    c1, peer = challenge[16:16 + n], int.from_bytes(challenge[16 + n:16 + n + dh_len], "big")
    x, c2 = int.from_bytes(os.urandom(32), "big"), os.urandom(n)
    shared = pow(peer, x, GROUPS[GROUP]).to_bytes(dh_len, "big")
    ks = hashlib.new(name, shared).digest()
    r1 = response(name, key, int(kind), c1, ks, s1, TID, b"HostHost", hostnqn, subnqn, concatenation)
    reply = struct.pack("<BBHHBxBxHI", 1, 2, 0, TID, n, 1, dh_len, 0) + r1 + c2
    auth(s, SEND, reply + pow(2, x, GROUPS[GROUP]).to_bytes(dh_len, "big"))
    success = receive(s, 3)
    assert success[8] == 0, "an R2 to an S2 of 0"
    return generated(name, ks, c1, c2)


def main():
    address, hostnqn, subnqn, key_file, concatenation, hash_id, out = sys.argv[1:]
    hostnqn, subnqn, hash_id = hostnqn.encode(), subnqn.encode(), int(hash_id)
    host, port = address.rsplit(":", 1)
    s = socket.create_connection((host, int(port)), 10)
    s.settimeout(10)
    s.sendall(icreq())
    assert pdu(s)[0] == 1
    _, result = run(s, connect(hostnqn, subnqn))
    assert result >> 16 == 6, "authentication and a secure channel are required, not %x" % (result >> 16)
    with open(key_file) as f:
        psk = authenticate(s, hostnqn, subnqn, f.read().strip(), int(concatenation), hash_id)
    s.close()
    identity, key = tls(b"G", hash_id, psk, 1, hostnqn, subnqn)
    os.umask(0o077)
    with open(out, "w") as f:
        f.write("%s\n%s\n" % (identity.decode(), key.hex()))
    with open(out + ".connect", "wb") as f:
        f.write(icreq() + connect(hostnqn, subnqn))


if __name__ == "__main__":
    main()
