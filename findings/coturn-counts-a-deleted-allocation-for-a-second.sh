#!/bin/sh
# Software: coturn 4.6.1-1 (Debian 12, amd64), with `user-quota` 1, over UDP on loopback. Its libraries are those of Debian 12.
# Expected: a Refresh with a lifetime of 0 deletes the allocation immediately (RFC 8656 sections 8.1 and 8.2). After its success
#           response, the user has no allocation, and the next Allocate of the user succeeds.
# Seen:     the success response comes at once, but the allocation counts for about 1 s more: in this time an Allocate of the same
#           user gets the error 486 (Allocation Quota Reached). Later the same request succeeds.
# Why:      a caller that hangs up correctly and calls again at once gets no relay. In a load test in which each user makes call
#           after call, next calls fail in this way, and the quota seems too small, although no user has two calls at a time.
#           A pause of 2 s between the calls of a user avoids this.
# Takes about 10 s.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
(
    apt-get download coturn=4.6.1-1 libevent-core-2.1-7 libevent-extra-2.1-7 libevent-openssl-2.1-7 \
        libevent-pthreads-2.1-7 libhiredis0.14 libmariadb3 libpq5 libldap-2.5-0 libsasl2-2 libsqlite3-0 &&
        for package in *.deb; do dpkg -x "$package" root || exit 1; done
) >install.log 2>&1 || { tail -n 5 install.log; exit 2; }

cat >show.py <<'EOF'
import glob
import hashlib
import hmac
import os
import socket
import struct
import subprocess
import time

USER, REALM, PASSWORD = "caller", "example.org", "secret"
KEY = hashlib.md5(f"{USER}:{REALM}:{PASSWORD}".encode()).digest()
COOKIE = 0x2112A442
BINDING, ALLOCATE, REFRESH = 0x001, 0x003, 0x004
USERNAME, MESSAGE_INTEGRITY, ERROR_CODE, LIFETIME = 0x0006, 0x0008, 0x0009, 0x000D
REALM_NAME, NONCE, REQUESTED_TRANSPORT = 0x0014, 0x0015, 0x0019
UDP = struct.pack("!B3x", 17)


def attribute(kind, value):
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


class Client:
    """A TURN client (RFC 8656) with a UDP port of its own."""

    def __init__(self, port):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(5)
        self.socket.connect(("127.0.0.1", port))
        self.nonce = b""

    def send(self, method, *attributes):
        """Return the attributes of the response, by type."""
        body = b"".join(attributes)
        transaction = os.urandom(12)
        if self.nonce:
            body += attribute(USERNAME, USER.encode())
            body += attribute(REALM_NAME, REALM.encode()) + attribute(NONCE, self.nonce)
            head = struct.pack("!HHI", method, len(body) + 24, COOKIE) + transaction
            body += attribute(MESSAGE_INTEGRITY, hmac.digest(KEY, head + body, "sha1"))
        self.socket.send(struct.pack("!HHI", method, len(body), COOKIE) + transaction + body)
        response = self.socket.recv(2000)
        assert response[8:20] == transaction
        found = {}
        at = 20
        while at < len(response):
            kind, size = struct.unpack_from("!HH", response, at)
            found[kind] = response[at + 4 : at + 4 + size]
            at += 4 + size + -size % 4
        return found

    def request(self, method, *attributes):
        """Return "success" or the error code of the response to an authenticated request."""
        response = self.send(method, *attributes)
        if NONCE in response:  # 401: once more, with the nonce of the server
            self.nonce = response[NONCE]
            response = self.send(method, *attributes)
        error = response.get(ERROR_CODE)
        return "success" if error is None else str(error[2] * 100 + error[3])

    def allocate(self):
        return self.request(ALLOCATE, attribute(REQUESTED_TRANSPORT, UDP))

    def delete(self):
        return self.request(REFRESH, attribute(LIFETIME, bytes(4)))


def start():
    """Start the server, and return its process and its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    libraries = ":".join(glob.glob(os.path.abspath("root/usr/lib/*-linux-gnu")))
    options = f"-n --no-cli --no-tls --no-dtls -m 1 -L 127.0.0.1 -E 127.0.0.1 -p {port} -r {REALM} --lt-cred-mech"
    options += f" -u {USER}:{PASSWORD} --user-quota 1 --pidfile pid --db db --log-file stdout"
    server = subprocess.Popen(
        ["root/usr/bin/turnserver", *options.split()],
        env={**os.environ, "LD_LIBRARY_PATH": libraries},
        stdout=open("server.log", "w"),
        stderr=subprocess.STDOUT,
    )
    for _ in range(100):
        try:
            Client(port).send(BINDING)
            return server, port
        except OSError:
            time.sleep(0.1)
    server.kill()
    print("the server does not start")
    raise SystemExit(2)


server, port = start()
try:
    client = Client(port)
    print(f"first call: Allocate: {client.allocate()}")
    same = True
    for number in range(3):
        deletion = client.delete()
        deleted_s = time.monotonic()
        print(f"the call ends: Refresh with lifetime 0: {deletion}")
        responses = []
        while "success" not in responses and time.monotonic() - deleted_s < 30:
            client = Client(port)
            responses.append(client.allocate())
            print(f"  next call, {time.monotonic() - deleted_s:.2f} s later: Allocate: {responses[-1]}")
            time.sleep(0.25)
        same = same and deletion == "success" and responses[0] == "486" and responses[-1] == "success"
    deletion = client.delete()
    time.sleep(2)
    after_pause = Client(port).allocate()
    print(f"the call ends: Refresh with lifetime 0: {deletion}")
    print(f"  next call, after a pause of 2 s: Allocate: {after_pause}")
    same = same and after_pause == "success"
finally:
    server.terminate()
    server.wait()
print("As described: the deleted allocation still counts." if same else "CHANGED.")
raise SystemExit(0 if same else 1)
EOF
python3 show.py
