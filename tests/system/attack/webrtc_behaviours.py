"""More than a hundred ways in which a service over WebRTC misbehaves. `services.txt` has most of
them, each with the outcome of the call. Each verb returns the fields of a `Behaviour`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from OpenSSL import SSL

from bench.base.clock import monotonic_ns
from bench.protocols.ice.stun import (
    StunAttribute,
    StunKind,
    StunMessage,
    build_message,
    parse_message,
    xor_address,
)
from bench.protocols.rtp.rtp import build_packet
from bench.protocols.rtp.srtp import PacketEncryption, SrtpKey
from bench.protocols.sctp.sctp import PORT
from bench.protocols.sctp.sctp_packets import AbortCause, ChunkKind
from bench.protocols.sctp.sctp_packets import build_packet as build_sctp
from bench.protocols.webrtc.dtls import DtlsIdentity, DtlsSession, own_identity
from bench.protocols.webrtc.peer import PacketType, packet_type
from bench.wire.addresses import HostPort
from tests.attack.cases import WORKS, HostileCase, by_name, hostile_cases, unescaped
from tests.attack.media import FLOOD, PACKETS, REPORTS, changed_packet
from tests.system.attack.hostile_webrtc import LOGIN, SILENCE, Answer, HostilePeer

QUIET = SILENCE["PCMU"]
Act = Callable[[HostilePeer], object]
Fields = dict[str, Any]


# Answers


def sub(pattern: str, replacement: bytes) -> Answer:
    return lambda peer, answer: re.sub(pattern.encode(), lambda _: replacement, answer)


def answer(text: str) -> Fields:
    pattern, replacement = re.split(" → ?", text)
    return {"answer": sub(pattern, unescaped(replacement))}


def adds(*candidates: str, times: int = 1) -> Fields:
    """Add candidates before that of the service."""

    def changed(peer: HostilePeer, answer: bytes) -> bytes:
        ports = {"port": peer.port, "caller": peer.caller.port}
        lines = "".join(
            f"a=candidate:1 1 {each.format(**ports, n=number + 1)} typ host\r\n"
            for number in range(times)
            for each in candidates
        )
        return re.sub(rb"(?=a=candidate)", lambda _: lines.encode(), answer, count=1)

    return {"answer": changed}


def names(*candidates: str) -> Fields:
    """Have these candidates in place of that of the service."""
    changed = adds(*candidates)["answer"]

    def only(peer: HostilePeer, answer: bytes) -> bytes:
        own = re.search(rb"a=candidate[^\r]*\r\n", answer)
        assert own is not None
        return changed(peer, answer).replace(own[0], b"")

    return {"answer": only}


def responds(head: str, *, bodiless: bool = False) -> Fields:
    def of(body: bytes) -> bytes:
        sent = b"" if bodiless else body
        return f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + sent

    return {"respond": of}


def responds_in_chunks() -> Fields:
    head = b"HTTP/1.1 201 Created\r\nLocation: /r\r\nTransfer-Encoding: chunked\r\n\r\n"
    return {"respond": lambda body: head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)}


def says(data: str) -> Fields:
    return {"respond": lambda _: data.encode("latin-1")}


# STUN

CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "whole": bytes,
    "cut": lambda data: data[:-9],
    # the first attribute states a length of 65,535 bytes
    "lying": lambda data: data[:22] + b"\xff\xff" + data[24:],
    "flipped": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
}


def checks(
    *,
    kind: str = "SUCCESS",
    key: str = LOGIN.password,
    change: str = "whole",
    attributes: str = "mapped",
    code: int = 0,
    times: int = 1,
    other: bool = False,
    stranger: bool = False,
    also: bool = False,
    later: bool = False,
) -> Fields:
    """Answer the requests of the caller: requests of others, from another port, also with the right
    answer, or only after the set-up.
    """

    def reply(peer: HostilePeer, message: StunMessage) -> bytes:
        own = bytes(12) if other else message.transaction
        sent: dict[str, dict[int, bytes]] = {
            "mapped": {StunAttribute.XOR_MAPPED_ADDRESS: xor_address(HostPort(*peer.caller), own)},
            "wrong": {StunAttribute.XOR_MAPPED_ADDRESS: b"\x00\x09\xff\xff" + bytes(16)},
            "same": dict(message.attributes),
            "none": {},
            "code": {StunAttribute.ERROR_CODE: bytes((0, 0, code // 100, code % 100))},
        }
        password = peer.remote.login.password if key == "caller" else key
        chosen = sent["code" if code else attributes]
        return CHANGES[change](build_message(StunKind[kind], own, chosen, password))

    def heard(peer: HostilePeer, data: bytes) -> bool:
        message = parse_message(data) if packet_type(data) is PacketType.STUN else None
        is_request = message is not None and message.kind is StunKind.REQUEST
        if message is None or not is_request or (later and not peer.has_acted):
            return False
        for _ in range(times):
            peer.send(reply(peer, message), stranger=stranger)
        return not also

    return {"hear": heard, "has_two_ports": stranger}


def asks(
    *,
    kind: str = "REQUEST",
    key: str = "",
    user: str = "",
    change: str = "whole",
    attribute: int = 0,
    value: str = "",
    count: int = 1,
    stranger: bool = False,
) -> Fields:
    """Send requests, which are authentic by default."""

    def act(peer: HostilePeer) -> None:
        login = peer.remote.login
        sent = {StunAttribute.USERNAME: (user or f"{login.user}:{LOGIN.user}").encode()}
        more = {attribute + n: value.encode("latin-1") for n in range(count)} if attribute else {}
        for number in range(FLOOD):
            transaction, password = number.to_bytes(12), key or login.password
            data = build_message(StunKind[kind], transaction, sent | more, password)
            peer.send(CHANGES[change](data), stranger=stranger)

    return {"act": act, "has_two_ports": stranger}


# DTLS

HANDSHAKE, DATA_RECORD, MAX_FINISHED_BYTES = 22, 23, 80


@cache
def other_identity() -> DtlsIdentity:
    return own_identity.__wrapped__()


def replies(data: str = "", *, times: int = 1, noise: bool = False, echo: bool = False) -> Fields:
    """Send something at each DTLS datagram of the caller, which the service does not read."""
    sent = b"\x16" + Random(1).randbytes(900) if noise else data.encode("latin-1")

    def heard(peer: HostilePeer, data: bytes) -> bool:
        if packet_type(data) is not PacketType.DTLS:
            return False
        for _ in range(times):
            peer.send(data if echo else sent)
        return True

    return {"hear": heard, "role": "server"} | answer("a=setup:\\S+ → a=setup:passive")


def role(name: str) -> Fields:
    return {"role": name}


def certificate_of_another() -> Fields:
    own = own_identity().fingerprint.value.encode()
    return {"answer": sub(r"sha-256 \S+", b"sha-256 " + own), "identity": other_identity()}


def context(*, srtp: str = "SRTP_AES128_CM_SHA1_80", ciphers: str = "") -> Fields:
    """Change the session to a context of its own."""

    def changed(session: DtlsSession) -> None:
        context, identity = SSL.Context(SSL.DTLS_METHOD), own_identity()
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        context.use_certificate(identity.certificate)
        context.use_privatekey(identity.key)
        context.set_tlsext_use_srtp(srtp.encode())
        if ciphers:
            context.set_cipher_list(ciphers.encode())
        session._connection = SSL.Connection(context)
        session._connection.set_ciphertext_mtu(1_200)
        (
            session._connection.set_connect_state
            if session._role == "client"
            else session._connection.set_accept_state
        )()

    return {"dtls": changed}


def floods(data: str, times: int = FLOOD, *, stranger: bool = False) -> Fields:
    def act(peer: HostilePeer) -> None:
        for _ in range(times):
            peer.send(data.encode("latin-1"), stranger=stranger)

    return {"act": act}


def writes(data: str) -> Fields:
    def act(peer: HostilePeer) -> None:
        for _ in range(FLOOD):
            peer.dtls._connection.send(data.encode("latin-1"))
        peer.dtls._collect()

    return {"act": act}


def renegotiates() -> Fields:
    """Begin a second handshake. The caller begins none, which needs signatures.

    A hello of a second one is encrypted, so its epoch is not 0, and longer than the message that
    ends a handshake. On a busy host the caller may repeat the messages of the first one.
    """

    def act(peer: HostilePeer) -> None:
        peer.dtls._connection.renegotiate()
        peer.dtls._shake()
        peer.flush()

    def heard(peer: HostilePeer, data: bytes) -> bool:
        is_handshake = data[0] == HANDSHAKE and data[3:5] != bytes(2)
        assert peer.peer.keys is None or not (
            is_handshake and int.from_bytes(data[11:13]) > MAX_FINISHED_BYTES
        )
        return False

    return {"act": act, "hear": heard}


# Media


def packets(changes: Callable[[int], dict[str, Any]]) -> Fields:
    """Send packets, each encrypted as if it were the first of its source."""

    def act(peer: HostilePeer) -> None:
        for number in range(FLOOD):
            data = changed_packet(changes, number, 9, QUIET)
            is_valid = data[0] in (0x80, 0xA0)  # the library encrypts no other packets
            encrypted = peer.protected(bytes([data[0] if is_valid else 0x80]) + data[1:])
            peer.send(data[:1] + encrypted[1:])

    return {"act": act}


def opus(*texts: str, each: bool = False, noise: bool = False) -> Fields:
    """Send frames of Opus in the order of the stream."""
    payloads = [text.encode("latin-1") for text in texts]
    payloads += [bytes([first]) for first in range(256 if each else 0)]
    payloads += [Random(n).randbytes(n + 2) for n in range(150 if noise else 0)]

    def act(peer: HostilePeer) -> None:
        for payload in payloads * (FLOOD // len(payloads)):
            peer.frame(payload)

    return {"act": act, "codec": "OPUS"}


def reports(make: Callable[[int], bytes]) -> Fields:
    return {"act": lambda peer: [peer.report(make(number)) for number in range(FLOOD)]}


def silent() -> Fields:
    return {"is_silent": True}


def of_source(number: int, source: int) -> bytes:
    return build_packet(0, number, number * 160, source, QUIET)


def unencrypted(peer: HostilePeer) -> None:
    for number in range(FLOOD):
        peer.send(of_source(number, 7))


def unencrypted_reports(peer: HostilePeer) -> None:
    for number in range(FLOOD):
        peer.send(REPORTS["reports of the largest numbers"](number))


def with_another_key(peer: HostilePeer) -> None:
    wrong = PacketEncryption(SrtpKey("AES_CM_128_HMAC_SHA1_80", bytes(30)), None)
    for number in range(FLOOD):
        peer.send(wrong.protect(of_source(number, 7)))


def again(peer: HostilePeer) -> None:
    data = peer.encryption.protect(peer.sender.audio(QUIET))
    for _ in range(FLOOD):
        peer.send(data)


def of_a_stranger(peer: HostilePeer) -> None:
    for number in range(FLOOD):
        peer.send(peer.protected(of_source(number, 9)), stranger=True)


def of_no_protocol(peer: HostilePeer) -> None:
    for first in range(256):
        if not 128 <= first < 192:
            peer.send(bytes([first]) * 60)


def before_the_keys(peer: HostilePeer, data: bytes) -> bool:
    if packet_type(data) is PacketType.STUN and peer.heard == 1:
        unencrypted(peer)
        for _ in range(FLOOD):
            peer.send(bytes(40))
    return False


# The data channel


def drops_records(peer: HostilePeer, data: bytes) -> bool:
    """Ignore the records that follow the handshake."""
    return packet_type(data) is PacketType.DTLS and data[0] == DATA_RECORD


def ends(act: Act) -> Fields:
    """Do something when the caller speaks, because the call then is connected."""

    def heard(peer: HostilePeer, data: bytes) -> bool:
        if packet_type(data) is PacketType.MEDIA:
            act(peer)
            peer.flush()
        return False

    return {"hear": heard}


def ends_dtls() -> Fields:
    return ends(lambda peer: peer.dtls.close())


def aborts(reason: str = "", *, cause: str = "USER") -> Fields:
    return ends(lambda peer: peer.channel.abort(reason, AbortCause[cause]))


def messages(data: str, times: int = FLOOD, *, is_binary: bool = False) -> Fields:
    def act(peer: HostilePeer) -> None:
        for _ in range(times):
            peer.channel.send(data.encode("latin-1"), monotonic_ns(), is_binary=is_binary)
        peer.flush()

    return {"act": act}


def send_chunk(peer: HostilePeer, chunk: bytes, times: int = FLOOD) -> None:
    """Send packets of SCTP with a right checksum and tag."""
    known, port = peer.association._peer, peer.remote.channel
    assert known is not None
    assert port is not None
    for _ in range(times):
        peer.dtls.send(build_sctp(PORT, port.port, known.tag, [chunk]))
    peer.flush()


def chunks(data: str) -> Fields:
    return {"act": lambda peer: send_chunk(peer, data.encode("latin-1"))}


def chunks_of_each_kind(peer: HostilePeer) -> None:
    for kind in range(256):
        if kind not in (ChunkKind.ABORT, ChunkKind.SHUTDOWN):
            send_chunk(peer, bytes((kind, 0, 0, 4)), 1)


PLAIN: dict[str, Callable[..., Any]] = {
    each.__name__: each
    for each in (
        unencrypted,
        unencrypted_reports,
        with_another_key,
        again,
        of_a_stranger,
        of_no_protocol,
        before_the_keys,
        drops_records,
        chunks_of_each_kind,
    )
}
VERBS = by_name(
    adds,
    names,
    responds,
    responds_in_chunks,
    says,
    checks,
    asks,
    replies,
    certificate_of_another,
    context,
    floods,
    writes,
    renegotiates,
    opus,
    silent,
    ends_dtls,
    aborts,
    messages,
    chunks,
) | {
    "answer": answer,
    "role": role,
    "acts": lambda name: {"act": PLAIN[name]},
    "hears": lambda name: {"hear": PLAIN[name]},
}
CASES = {
    name: case
    for section in ("answers", "stun", "dtls", "media", "channel")
    for name, case in hostile_cases(
        Path(__file__).with_name("services.txt"), section, VERBS
    ).items()
} | {
    name: HostileCase([fields], *WORKS)
    for name, fields in [
        *((f"{name} by SRTP", packets(changes)) for name, changes in PACKETS.items()),
        *((f"{name} by SRTCP", reports(make)) for name, make in REPORTS.items()),
    ]
}
