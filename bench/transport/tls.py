"""TLS over a TCP stream with the kernel's timestamps, and the certificates of client and server.

TLS runs over `ssl.MemoryBIO`. An `SSLSocket` has no `recvmsg`, so the kernel's timestamp would be
lost.
"""

# `TcpStream` reads from the socket, with the kernel's timestamp, and passes each read to its
# `sieve`, which is the `Decrypter`. This decrypts the complete records in it, and passes the result
# to the matcher of messages. What is left of a record is not in the shared buffer between two
# reads, so other connections can use it. Writes go the other way: the session encrypts into
# `_outgoing`, and the stream sends what is there.
#
# Received data may need an answer (a key update, an alert), so a read may write. Such an answer is
# sent where the caller may wait for the kernel. In the event loop, it waits for the next
# opportunity.

import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bench.base.clock import SendTime, monotonic_ns
from bench.base.errors import UsageError
from bench.base.units import NEVER_NS, NS_PER_S
from bench.catalogue.causes import Cause, Code, ConnectError
from bench.transport.fast.reader import Decrypter, Sieve
from bench.transport.interface import PacedSender
from bench.transport.parser import SocketRead
from bench.transport.tcp import TakeRead, TcpStream

TRUNCATED = "the connection was closed during the handshake"
OPENSSL_FRAME = re.compile(r"^\[SSL(: \w+)?\] | \(_ssl\.c:\d+\)$")
"""The texts that Python's `ssl` module adds before and after OpenSSL's message of an error."""
# The alerts of RFC 8446 §6.2 that a server sends about the certificate of its client.
OWN_CERTIFICATE_ALERTS = ("ALERT_CERTIFICATE", "ALERT_BAD_CERTIFICATE", "ALERT_UNKNOWN_CA")
OWN_CERTIFICATE_REMEDY = (
    "the service requires a client certificate that it trusts: set it with --client-cert FILE"
)

TRUST_REMEDY = (
    "set its certificate authority with --ca-file FILE; a proxy that inspects TLS also has one"
)
CertificateProblem = Literal["untrusted", "not valid", "other name"]


class Distrust(NamedTuple):
    """What is wrong with a certificate, and what to do."""

    problem: CertificateProblem
    remedy: str


UNTRUSTED = Distrust("untrusted", TRUST_REMEDY)
_OTHER_NAME = Distrust("other name", "use a host name that the certificate contains")
# Other errors of the verification count as a certificate that no trusted authority has signed.
DISTRUST = {
    9: Distrust(
        "not valid",
        "the certificate is not valid yet: its server needs a valid one, or this machine's clock is"
        " wrong",
    ),
    10: Distrust(
        "not valid",
        "the certificate has expired: its server must renew it, or this machine's clock is wrong",
    ),
    62: _OTHER_NAME,
    64: _OTHER_NAME,
}
"""The distrust for each verification error X509_V_ERR_… of OpenSSL's x509_vfy.h. The errors are:
not yet valid, expired, for other host names, for other addresses."""


class HandshakeError(ConnectError):
    """A TLS handshake that failed. `reason` is without the host and the remedy.

    `certificate` is what is wrong with the certificate of the peer; None if the handshake failed
    for another reason.
    """

    def __init__(
        self, cause: str | Cause, reason: str, certificate: CertificateProblem | None = None
    ) -> None:
        super().__init__("connect_failed:tls", cause)
        self.reason = reason
        self.certificate = certificate


INCOMING = ssl.MemoryBIO()
"""The buffer for received bytes, which all connections share. OpenSSL's buffer never shrinks, and a
shared buffer stays in the processor's cache."""


class TlsStream:
    """TLS over a TCP stream.

    Each read is decrypted completely before the next read. So the timestamp of a read is right for
    its decrypted data.
    """

    def __init__(self, tcp: TcpStream, context: ssl.SSLContext, host: str) -> None:
        self._tcp = tcp
        self._outgoing = ssl.MemoryBIO()
        name = host.removesuffix(".")  # certificates and SNI have no final dot (RFC 6066 §3)
        self.session = context.wrap_bio(INCOMING, self._outgoing, server_hostname=name)
        """The TLS session, which has the version, the cipher, and the peer's certificate."""
        self._host = host
        self._decrypter = tcp.sieve = Decrypter(self.session, INCOMING, self._outgoing)
        self.yield_to_loop = tcp.yield_to_loop
        self.flush = tcp.flush
        self.transmitted = tcp.transmitted
        self.network = tcp.network
        self.close = tcp.close
        self.keep_rest = tcp.keep_rest
        self._end: SocketRead | None = None
        self._refused = False
        self._error_text = ""

    def handshake(self, until_ns: int) -> None:
        """Do the handshake. Raise ssl.SSLError, or ConnectError if it takes too long or the peer
        closes the connection.

        If this process takes time to answer, that time is added to the limit, because the peer
        waits for the answer.
        """
        data = b""
        received_ns = NEVER_NS
        while not self._shaken(data):
            until_ns += max(0, monotonic_ns() - received_ns)
            read = self._tcp.read(until_ns)
            if read is None:
                raise ConnectError("timeout:tls", "the TLS handshake timed out")
            if not read.data:
                raise ConnectionError(TRUNCATED)
            data = read.data
            received_ns = read.timestamp_ns

    def _shaken(self, data: bytes) -> bool:
        """Continue the handshake with the received bytes, and send the answer. Return whether it
        is complete.
        """
        try:
            self._decrypter.shake_hands(data)
            is_complete = True
        except ssl.SSLWantReadError:
            is_complete = False
        self._flush()
        return is_complete

    def read(self, until_ns: int) -> SocketRead | None:
        """Do the same as `ByteStream.read`. Raise ConnectError if the peer's first data is an
        alert.

        With TLS 1.3, a server checks our certificate only after our side has completed the
        handshake. So its refusal arrives here.
        """
        while self._end is None:
            read = self._tcp.read(until_ns)
            if read is None:
                return None
            decrypted = self._decrypter.consume(read)
            self._check_end()
            if decrypted is not None and not self._refused:
                return decrypted
        return self._end

    def try_read(self) -> SocketRead | None:
        """Do the same as `ByteStream.try_read`.

        An answer of TLS, such as that to a key update, leaves before the next data, because this
        must not block.
        """
        while self._end is None:
            read = self._tcp.try_read()
            if read is None:
                return None
            decrypted = self._decrypter.consume(read)
            self._note_end()
            if decrypted is not None:
                return decrypted
        return self._end

    def receive_until(
        self,
        until_ns: int,
        on_read: TakeRead,
        sender: PacedSender | None = None,
        *,
        polled: bool = False,
    ) -> bool:
        if self._end is not None:
            on_read(self._end)
            return True
        must_act = self._tcp.receive_until(until_ns, on_read, sender, polled=polled)
        # the listener sends answers, because code in the event loop must not wait for the kernel
        self._check_end()
        return must_act

    def poll(self, polled: bool) -> None:
        self._tcp.poll(polled)

    def _check_end(self) -> None:
        """Check whether the last read ended the stream.

        If the read has a record that needs an answer, such as a key update, send the answer. If the
        answer cannot be sent, the stream has ended.
        """
        if not self._decrypter.wakes:
            return
        error = self._note_end()
        if error is not None and not self._decrypter.heard and "ALERT" in (error.reason or ""):
            raise ConnectError("connect_failed:tls", f"{self._host}: {_error_text(error)}")
        if self._outgoing.pending:
            try:
                self._flush()
            except OSError:
                self._end = self._decrypter.end()
                self._refused = True

    def _note_end(self) -> ssl.SSLError | None:
        """Note that the last read ended the stream, if it did. Return the error that is the
        reason, if there is one.
        """
        if not self._decrypter.ended or self._end is not None:
            return None
        self._end = self._decrypter.end()
        error = self._decrypter.error
        if error is not None:
            self._error_text = f"TLS: {_error_text(error)}"
        return error

    def fileno(self) -> int:
        return self._tcp.fileno()

    def try_flush(self) -> bool:
        return self._tcp.try_flush()

    @property
    def sieve(self) -> Sieve:
        return self._decrypter.matcher

    @sieve.setter
    def sieve(self, matcher: Sieve) -> None:
        self._decrypter.matcher = matcher

    @property
    def watermark_ns(self) -> int:
        return self._tcp.watermark_ns

    @property
    def active_ns(self) -> int:
        return self._tcp.active_ns

    @property
    def failure(self) -> int:
        return self._tcp.failure

    @property
    def error_text(self) -> str:
        return self._tcp.error_text or self._error_text

    def write(self, data: bytes, *, stamped: bool = False, until_ns: int = NEVER_NS) -> SendTime:
        self.session.write(data)
        return self._flush(stamped=stamped, until_ns=until_ns)

    def try_write(self, data: bytes, *, stamped: bool = False) -> SendTime | None:
        return self._tcp.try_write(self._encrypted(data), stamped=stamped)

    def send_chunks(self, keep: Callable[[int, bytes, int], None]) -> None:
        self._tcp.send_chunks(keep, self._encrypted)

    def _encrypted(self, data: bytes) -> bytes:
        self.session.write(data)
        return self._outgoing.read()

    @property
    def endpoints(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return self._tcp.endpoints

    def _flush(self, *, stamped: bool = False, until_ns: int = NEVER_NS) -> SendTime:
        data = self._outgoing.read()
        return (
            self._tcp.write(data, stamped=stamped, until_ns=until_ns)
            if data
            else SendTime(monotonic_ns())
        )


def shake_hands(tcp: TcpStream, context: ssl.SSLContext, host: str, limit_s: float) -> TlsStream:
    """Open TLS to `host`. The certificate must contain this name.

    Raise HandshakeError, or ConnectError `timeout:tls`.
    """
    tls = TlsStream(tcp, context, host)
    try:
        tls.handshake(monotonic_ns() + int(limit_s * NS_PER_S))
    except ssl.SSLCertVerificationError as error:
        distrust = DISTRUST.get(error.verify_code, UNTRUSTED)
        reason = error.verify_message
        cause = Cause(Code.WITH_REMEDY, {"problem": f"{host}: {reason}", "remedy": distrust.remedy})
        raise HandshakeError(cause, reason, distrust.problem) from None
    except (ssl.SSLError, OSError) as error:
        text = _error_text(error)
        reason = _openssl_text(error)
        if tcp.error_text:
            text = reason = f"{TRUNCATED}: {tcp.error_text}"
        raise HandshakeError(f"{host}: {text}", reason) from None
    return tls


def _openssl_text(error: OSError) -> str:
    return OPENSSL_FRAME.sub("", str(error.strerror or error))


def _error_text(error: OSError) -> str:
    """Return the text of an error. If the error is an alert about our certificate, include the
    remedy.
    """
    reason = getattr(error, "reason", None) or ""
    text = _openssl_text(error)
    return (
        f"{text}; {OWN_CERTIFICATE_REMEDY}"
        if any(word in reason for word in OWN_CERTIFICATE_ALERTS)
        else text
    )


def tls_context(
    ca: Path | str | None, client_cert: Path | None = None, client_key: Path | None = None
) -> ssl.SSLContext:
    """Return a TLS context.

    It trusts the system's certificate authorities and the authority in `ca`. It has our own
    certificate if `client_cert` is given. All files are PEM. Without `client_key`, the key is in
    the file of the certificate. Raise UsageError if a certificate cannot be used.
    """
    context = ssl.create_default_context()
    if ca is not None:
        context.load_verify_locations(ca)
    if client_cert is not None:
        both = f"the client certificate {client_cert}" + (
            f" with the key {client_key}" if client_key else ""
        )
        try:
            # no prompt for a key's password: no one can answer during a run
            context.load_cert_chain(client_cert, client_key, password=_refuse_password)
        except _EncryptedKeyError:
            remedy = "remove the password with `openssl pkey -in FILE -out NEW`"
            raise UsageError(f"{both} cannot be used: the key is encrypted; {remedy}") from None
        except ssl.SSLError as error:
            mismatched = error.reason == "KEY_VALUES_MISMATCH"
            problem = (
                "the key belongs to another certificate"
                if mismatched
                else "it must contain a certificate and its key, both in PEM"
            )
            raise UsageError(f"{both} cannot be used: {problem}") from None
        except OSError as error:
            raise UsageError(f"{both} cannot be read: {error.strerror or error}") from None
    return context


class _EncryptedKeyError(Exception):
    """The error that is raised when OpenSSL asks for the password of a key."""


def _refuse_password() -> str:
    raise _EncryptedKeyError
