"""DTLS (RFC 6347) of one call: its SRTP keys (RFC 5764), the packets of its SCTP, and the
certificate of this side.

There are no sockets here. Only OpenSSL's own timer, with which it sends a lost flight again, reads
a clock.
"""

# OpenSSL runs DTLS in memory: received datagrams go in by `bio_write`, and its records come out by
# `bio_read`, where `datagrams_of` gives them borders again. The session knows no address; the owner
# sends what `pop_packets` returns.
#
# The peers have self-signed certificates. What authenticates them is the fingerprint in the session
# descriptions (RFC 8122 §5, RFC 5763 §5), which came with the signalling. Therefore the
# verification of OpenSSL accepts every certificate, and `_finish` compares the hash before any key
# is used.
#
# The handshake has a timer of its own in OpenSSL (RFC 6347 §4.2.4): a lost flight is repeated as a
# whole by the side that waits. After it, records are neither repeated nor put in order, which SCTP
# does for the data channel.

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Literal, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from bench.catalogue.causes import Cause, Code
from bench.protocols.rtp.srtp import MASTER_KEY_BYTES, SECRET_BYTES, SrtpKey

DtlsRole = Literal["client", "server"]
PROFILE = b"SRTP_AES128_CM_SHA1_80"
"""The SRTP profile that every implementation has (RFC 8827 §6.5)."""
SUITE: Literal["AES_CM_128_HMAC_SHA1_80"] = "AES_CM_128_HMAC_SHA1_80"
LABEL = b"EXTRACTOR-dtls_srtp"
MAX_DATAGRAM_BYTES = 1_200
"""The maximum size of a datagram. Larger ones may be fragmented on the way."""
MAX_RECORD_BYTES = 16_384
"""The maximum size of the content of a record (RFC 6347 §4.1)."""
MAX_HANDSHAKE_DATAGRAMS = 200
"""The maximum number of datagrams of a handshake. The usual number is below 10."""
HASHES = ("sha-256", "sha-384", "sha-512")
"""The hash functions of fingerprints that are accepted (RFC 8122 §5)."""
_RECORD_HEADER_BYTES = 13
_CIPHERS = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE+AESGCM:ECDHE+CHACHA20"
)


class Fingerprint(NamedTuple):
    """The fingerprint of a certificate. `value` is in upper-case hexadecimal digits with colons."""

    hash: str
    value: str


class SrtpKeys(NamedTuple):
    """The keys of both directions."""

    send: SrtpKey
    receive: SrtpKey


@dataclass(frozen=True, slots=True)
class DtlsIdentity:
    """A certificate with its key. All calls of a process use the same one."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint("sha-256", _fingerprint_of(self.certificate, hashes.SHA256()))


@cache
def own_identity() -> DtlsIdentity:
    """Return the certificate of this process. Peers compare only its fingerprint."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rtbench")])
    unsigned = x509.CertificateBuilder(
        name,
        name,
        key.public_key(),
        x509.random_serial_number(),
        # Peers that compare fingerprints ignore the dates. These are valid even if a clock is
        # wrong.
        datetime(2020, 1, 1),
        datetime(2049, 12, 31),
    )
    return DtlsIdentity(unsigned.sign(key, hashes.SHA256()), key)


@cache
def _context(identity: DtlsIdentity) -> SSL.Context:
    context = SSL.Context(SSL.DTLS_METHOD)
    # the fingerprint decides
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
    context.use_certificate(identity.certificate)
    context.use_privatekey(identity.key)
    context.set_cipher_list(_CIPHERS)
    # Other keys in the middle of a call would not be those of its SRTP.
    context.set_options(SSL.OP_NO_RENEGOTIATION)
    context.set_tlsext_use_srtp(PROFILE)
    return context


class DtlsSession:
    """The DTLS of one call. `fingerprints` are those of the peer's certificate, of which one must
    match.

    `keys` are None until the handshake is done. `problem` is why it failed, or why the peer ended
    the connection, which `is_closed` states.
    """

    def __init__(
        self, identity: DtlsIdentity, role: DtlsRole, fingerprints: Sequence[Fingerprint]
    ) -> None:
        self._role = role
        self._fingerprints = fingerprints
        self._connection = SSL.Connection(_context(identity))
        # OpenSSL fragments the messages of the handshake to fit.
        self._connection.set_ciphertext_mtu(MAX_DATAGRAM_BYTES)
        if role == "client":
            self._connection.set_connect_state()
        else:
            self._connection.set_accept_state()
        self._packets: list[bytes] = []
        self._contents: list[bytes] = []
        """The contents of received records."""
        self._received = 0
        self.is_closed = False
        self.keys: SrtpKeys | None = None
        self.problem = ""

    @property
    def timeout_s(self) -> float | None:
        """The time until `expire` is due; None if nothing awaits a response."""
        if self.keys is not None or self.problem:
            return None
        return self._connection.DTLSv1_get_timeout()

    def start(self) -> None:
        """Begin the handshake. Only the client sends something."""
        self._shake()

    def received(self, data: bytes) -> None:
        """Accept a datagram of the peer."""
        if self.problem:
            return
        self._received += self.keys is None
        if self._received > MAX_HANDSHAKE_DATAGRAMS:
            self.problem = "the DTLS handshake does not end"
            return
        self._connection.bio_write(data)
        if self.keys is None:
            self._shake()
        if self.keys is None:
            return
        try:
            while content := self._connection.recv(MAX_RECORD_BYTES):
                self._contents.append(content)
        except SSL.ZeroReturnError:
            self.problem = "the peer closed the connection (DTLS close_notify)"
            self.is_closed = True
        except SSL.Error:
            # a datagram that is not of this connection, or a repeated flight, which OpenSSL answers
            pass
        self._collect()

    def send(self, content: bytes) -> None:
        """Send a record. The keys are known."""
        try:
            self._connection.send(content)
        except SSL.Error:
            return  # the connection has ended
        self._collect()

    def pop_contents(self) -> list[bytes]:
        contents = self._contents
        self._contents = []
        return contents

    def expire(self) -> None:
        """Send the last flight again if its response is late."""
        if self.timeout_s is not None:
            try:
                self._connection.DTLSv1_handle_timeout()
            except SSL.Error:
                self.problem = "the peer does not answer the DTLS handshake"
            self._collect()

    def close(self) -> None:
        """End the connection. The last packet reports the end to the peer."""
        if self.keys is None or self.problem:
            return
        try:
            self._connection.shutdown()
        except SSL.Error:
            return
        self._collect()

    def pop_packets(self) -> list[bytes]:
        packets = self._packets
        self._packets = []
        return packets

    def _shake(self) -> None:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            self.problem = f"the DTLS handshake failed: {_reason(error)}"
        else:
            self._finish()
        self._collect()

    def _finish(self) -> None:
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        found = {} if certificate is None else _fingerprints_of(certificate)
        if not any(found.get(each.hash) == each.value for each in self._fingerprints):
            self.problem = Cause(Code.OTHER_CERTIFICATE).text
        elif self._connection.get_selected_srtp_profile() != PROFILE:
            self.problem = f"the peer does not accept the SRTP profile {PROFILE.decode()}"
        else:
            self.keys = self._exported()

    def _exported(self) -> SrtpKeys:
        """Return the keys (RFC 5764 §4.2): both master keys, then both salts, the client's
        first.
        """
        material = self._connection.export_keying_material(LABEL, 2 * SECRET_BYTES)
        salt_bytes = SECRET_BYTES - MASTER_KEY_BYTES
        keys = [
            SrtpKey(
                SUITE,
                material[number * MASTER_KEY_BYTES :][:MASTER_KEY_BYTES]
                + material[2 * MASTER_KEY_BYTES + number * salt_bytes :][:salt_bytes],
            )
            for number in (0, 1)
        ]
        own, other = keys if self._role == "client" else reversed(keys)
        return SrtpKeys(own, other)

    def _collect(self) -> None:
        """Take OpenSSL's records, and join them to datagrams, because its output has no borders
        between them.
        """
        data = b""
        try:
            while True:
                data += self._connection.bio_read(65_536)
        except SSL.Error:
            pass  # it is empty
        self._packets += datagrams_of(data)


def datagrams_of(data: bytes) -> list[bytes]:
    """Return records, each with its length in its header (RFC 6347 §4.1), in as few datagrams as
    possible.
    """
    found: list[bytes] = []
    while data:
        size = _RECORD_HEADER_BYTES + int.from_bytes(
            data[_RECORD_HEADER_BYTES - 2 : _RECORD_HEADER_BYTES]
        )
        record = data[:size]
        data = data[size:]
        if found and len(found[-1]) + len(record) <= MAX_DATAGRAM_BYTES:
            found[-1] += record
        else:
            found.append(record)
    return found


def _fingerprints_of(certificate: x509.Certificate) -> dict[str, str]:
    functions = zip(HASHES, (hashes.SHA256(), hashes.SHA384(), hashes.SHA512()), strict=True)
    return {name: _fingerprint_of(certificate, function) for name, function in functions}


def _fingerprint_of(certificate: x509.Certificate, function: hashes.HashAlgorithm) -> str:
    return certificate.fingerprint(function).hex(":").upper()


def _reason(error: SSL.Error) -> str:
    """Return the last reason of OpenSSL, such as `tlsv1 alert handshake failure`."""
    entries = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return str(entries[-1][-1])[:100] if entries else type(error).__name__
