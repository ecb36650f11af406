"""A hundred ways in which a service over WebRTC misbehaves, each with the outcome of the call."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from random import Random

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
from bench.protocols.rtp.rtcp import (
    Goodbye,
    Report,
    ReportBlock,
    SenderInfo,
    SourceDescription,
    build_compound,
)
from bench.protocols.rtp.rtp import build_packet
from bench.protocols.rtp.srtp import PacketEncryption, SrtpKey
from bench.protocols.sctp.sctp import PORT
from bench.protocols.sctp.sctp_packets import AbortCause, ChunkKind
from bench.protocols.sctp.sctp_packets import build_packet as build_sctp
from bench.protocols.webrtc.dtls import DtlsIdentity, DtlsSession, own_identity
from bench.protocols.webrtc.peer import PacketType, packet_type
from bench.wire.addresses import HostPort
from tests.system.attack.hostile_webrtc import LOGIN, LOOPBACK, SILENCE, Behaviour, HostilePeer

FLOOD = 300
QUIET = SILENCE["PCMU"]
CANDIDATE = rb"a=candidate:[^\r]*\r\n"
ELSEWHERE = "192.0.2.66"
Answer = Callable[[HostilePeer, bytes], bytes]
Act = Callable[[HostilePeer], object]
NO_CALL, NO_HOST, NO_ICE, NO_DTLS, NO_UPGRADE = (
    f"connect_failed:{step}" for step in ("media", "host", "ice", "dtls", "upgrade")
)
LATE_ICE, LATE_DTLS, LATE_UPGRADE = (f"timeout:{step}" for step in ("ice", "dtls", "upgrade"))


# Answers


def sub(pattern: bytes, replacement: bytes) -> Answer:
    return lambda peer, answer: re.sub(pattern, lambda _: replacement, answer)


def add(*candidates: str) -> Answer:
    """Return the answer with candidates before that of the service. `{}` stands for the port of
    the service.
    """

    def changed(peer: HostilePeer, answer: bytes) -> bytes:
        lines = "".join(
            f"a=candidate:1 1 {each.format(peer.port)} typ host\r\n" for each in candidates
        ).encode()
        return re.sub(rb"(?=a=candidate)", lambda _: lines, answer, count=1)

    return changed


def only(*candidates: str) -> Answer:
    return lambda peer, answer: sub(
        rb"a=candidate[^\r]*127\.0\.0\.1 %d[^\r]*\r\n" % peer.port, b""
    )(peer, add(*candidates)(peer, answer))


def to_itself(peer: HostilePeer, answer: bytes) -> bytes:
    return sub(
        CANDIDATE, f"a=candidate:1 1 udp 1 {LOOPBACK} {peer.caller.port} typ host\r\n".encode()
    )(peer, answer)


def response(head: bytes, *, has_body: bool = True) -> Callable[[bytes], bytes]:
    def of(body: bytes) -> bytes:
        return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (
            head,
            len(body),
            body if has_body else b"",
        )

    return of


CREATED = b"201 Created\r\nLocation: /v1/realtime/calls/"
ANSWERS = {
    "a page of HTML": Behaviour(
        NO_UPGRADE, "no session description", sub(rb"(?s).+", b"<html></html>")
    ),
    "no description": Behaviour(NO_UPGRADE, "no session description", sub(rb"(?s).+", b"")),
    "a description of 9 KB": Behaviour(NO_CALL, "too long", sub(rb"\Z", b"a=x\r\n" * 1_800)),
    "a description of 2 MB": Behaviour(
        NO_UPGRADE, "larger than 256 KiB", sub(rb"\Z", b"a=x\r\n" * 400_000)
    ),
    "a description of control characters": Behaviour(
        NO_CALL, "", sub(rb"a=mid:0", b"a=mid:\x1b[2J\x9b")
    ),
    "a description that is no text": Behaviour("", "", sub(rb"s=-", b"s=\xff\xfe\xc3")),
    "an address of the call of 20 KB": Behaviour(respond=response(CREATED + b"r" * 20_000)),
    "another address for the call": Behaviour(
        "",
        "",
        respond=response(b"201 Created\r\nLocation: https://203.0.113.1/v1/realtime/calls/rtc_1"),
    ),
    "a redirection": Behaviour(
        "connect_failed:307", respond=response(b"307 Elsewhere\r\nLocation: http://203.0.113.1")
    ),
    "a refusal": Behaviour("connect_failed:503", respond=response(b"503 No")),
    "no HTTP": Behaviour(NO_UPGRADE, "", respond=lambda body: b"SIP/2.0 200 OK\r\n\r\n"),
    "no response": Behaviour(NO_UPGRADE, "", respond=lambda body: b""),
    "a response without its body": Behaviour(
        NO_UPGRADE, "ended after 0 of", respond=response(CREATED + b"r", has_body=False)
    ),
    "a head of 1 MB": Behaviour(
        NO_UPGRADE, "", respond=response(CREATED + b"r\r\nX: " + b"x" * 1_000_000)
    ),
    "a body in chunks": Behaviour(
        respond=lambda body: (
            b"HTTP/1.1 "
            + CREATED
            + b"r\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        )
    ),
    "another codec": Behaviour(NO_CALL, "not offered", sub(rb"(?<=SAVPF) 0", b" 8")),
    "another codec with the number of ours": Behaviour(
        NO_CALL, "not offered", sub(rb"PCMU", b"G722")
    ),
    "audio in one direction": Behaviour("", "", sub(rb"a=sendrecv", b"a=inactive")),
    "a second track": Behaviour(
        "", "", sub(rb"\Z", b"m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:2\r\n")
    ),
    "no data channel": Behaviour(NO_CALL, "data channel", sub(rb"m=application (?s:.*)", b"")),
    "a data channel that is refused": Behaviour(
        NO_CALL, "data channel", sub(rb"m=application 9", b"m=application 0")
    ),
    "a port of the data channel that is none": Behaviour(
        NO_CALL, "port", sub(rb"(?<=sctp-port:)\d+", b"65536")
    ),
    "a limit of messages that is no number": Behaviour(
        NO_CALL, "limit", sub(rb"(?<=message-size:)\d+", b"-1")
    ),
    "another port for RTCP": Behaviour(NO_CALL, "RTCP", sub(rb"a=rtcp-mux\r\n", b"")),
    "no role in DTLS": Behaviour(NO_CALL, "role in DTLS", sub(rb"a=setup:\S+", b"a=setup:actpass")),
    "another login": Behaviour(LATE_ICE, "", sub(rb"a=ice-ufrag:\S+", b"a=ice-ufrag:other")),
    "another password": Behaviour(LATE_ICE, "", sub(rb"a=ice-pwd:\S+", b"a=ice-pwd:" + b"o" * 30)),
    "another fingerprint": Behaviour(
        NO_DTLS, "fingerprint", sub(rb"(?<=sha-256 )\S{11}", b"00:00:00:00")
    ),
    "many fingerprints of others": Behaviour(
        "",
        "",
        sub(rb"(?=a=fingerprint)", (b"a=fingerprint:sha-512 " + b"00:" * 63 + b"00\r\n") * 9),
    ),
    "a peer that is no lite one": Behaviour("", "", sub(rb"a=ice-lite\r\n", b"")),
    "no candidate": Behaviour(NO_ICE, "no candidate", only()),
    "a candidate elsewhere": Behaviour(NO_HOST, ELSEWHERE, only(f"udp 1 {ELSEWHERE} 9")),
    "a public candidate of a local service": Behaviour(
        NO_HOST, "8.8.8.8", only("udp 1 8.8.8.8 53")
    ),
    "a candidate elsewhere before its own": Behaviour("", "", add(f"udp 2147483647 {ELSEWHERE} 9")),
    "a candidate of each kind of no host": Behaviour(
        "",
        "",
        add(
            *(
                f"udp 2147483647 {host} 9"
                for host in ("224.0.0.1", "255.255.255.255", "0.0.0.0", "x.local")
            )
        ),
    ),
    "a candidate of another family": Behaviour(NO_ICE, "no candidate", only("udp 1 ::1 {}")),
    "a candidate for TCP": Behaviour(NO_ICE, "no candidate", only(f"tcp 1 {LOOPBACK} {{}}")),
    "a candidate that is the caller": Behaviour(LATE_ICE, "", to_itself),
    "its own candidate 60 times": Behaviour("", "", add(*[f"udp 2147483647 {LOOPBACK} {{}}"] * 60)),
    "60 dead candidates": Behaviour(
        LATE_ICE, "", add(*(f"udp 2147483647 {LOOPBACK} {port}" for port in range(1, 61)))
    ),
}


# STUN


def requests(
    hear: Callable[[HostilePeer, StunMessage], object], *, handles: bool = True
) -> Behaviour:
    """Return the behaviour that does something at each request of the caller, which the service
    does not answer.
    """

    def heard(peer: HostilePeer, data: bytes) -> bool:
        message = parse_message(data) if packet_type(data) is PacketType.STUN else None
        if message is None or message.kind is not StunKind.REQUEST:
            return False
        hear(peer, message)
        return handles

    return Behaviour(hear=heard)


def answers(
    kind: StunKind = StunKind.SUCCESS,
    *,
    key: str = LOGIN.password,
    transaction: bytes | None = None,
    change: Callable[[bytes], bytes] = lambda data: data,
    times: int = 1,
    stranger: bool = False,
    attributes: dict[int, bytes] | None = None,
) -> Callable[[HostilePeer, StunMessage], None]:
    """Return the function that answers a request."""

    def answer(peer: HostilePeer, message: StunMessage) -> None:
        own = message.transaction if transaction is None else transaction
        mapped: dict[int, bytes] = {
            StunAttribute.XOR_MAPPED_ADDRESS: xor_address(HostPort(*peer.caller), own)
        }
        data = change(build_message(kind, own, mapped if attributes is None else attributes, key))
        for _ in range(times):
            peer.send(data, stranger=stranger)

    return answer


def code(number: int) -> dict[int, bytes]:
    return {StunAttribute.ERROR_CODE: bytes((0, 0, number // 100, number % 100))}


def asks(
    kind: StunKind = StunKind.REQUEST,
    *,
    key: str = "",
    user: str = "",
    change: Callable[[bytes], bytes] = bytes,
    times: int = FLOOD,
    stranger: bool = False,
    more: dict[int, bytes] | None = None,
) -> Act:
    """Return the act that sends requests, which are authentic by default."""

    def act(peer: HostilePeer) -> None:
        login = peer.remote.login
        attributes = {StunAttribute.USERNAME: (user or f"{login.user}:{LOGIN.user}").encode()} | (
            more or {}
        )
        for number in range(times):
            data = build_message(kind, number.to_bytes(12), attributes, key or login.password)
            peer.send(change(data), stranger=stranger)

    return act


def cut(data: bytes) -> bytes:
    return data[:-9]


def lying(data: bytes) -> bytes:
    """Return a message whose first attribute states a length of 65,535 bytes."""
    return data[:22] + b"\xff\xff" + data[24:]


def with_result(
    behaviour: Behaviour, outcome: str, detail: str = "", *, speaks: bool = True
) -> Behaviour:
    return replace(behaviour, outcome=outcome, detail=detail, speaks=speaks)


def after_set_up(hear: Callable[[HostilePeer, StunMessage], object]) -> Behaviour:
    """Return the behaviour that answers only the first requests as a service does."""
    later = requests(hear).hear
    return Behaviour(hear=lambda peer, data: peer.has_acted and later(peer, data))


MAPPED: dict[int, bytes] = {StunAttribute.XOR_MAPPED_ADDRESS: b"\x00\x09\xff\xff" + bytes(16)}
STUN = {
    "no answer to STUN": with_result(requests(lambda *_: None), LATE_ICE),
    "answers that are not authentic": with_result(requests(answers(key="x" * 22)), LATE_ICE),
    "answers with the caller's password": with_result(
        requests(lambda peer, message: answers(key=peer.remote.login.password)(peer, message)),
        LATE_ICE,
    ),
    "answers to other requests": with_result(requests(answers(transaction=bytes(12))), LATE_ICE),
    "answers that are cut": with_result(requests(answers(change=cut)), LATE_ICE),
    "answers whose lengths lie": with_result(requests(answers(change=lying)), LATE_ICE),
    "answers with a wrong fingerprint": with_result(
        requests(answers(change=lambda data: data[:-1] + bytes([data[-1] ^ 1]))), LATE_ICE
    ),
    "answers from another port": replace(
        requests(answers(stranger=True)), outcome=LATE_ICE, has_two_ports=True
    ),
    "answers that are requests": with_result(requests(answers(StunKind.REQUEST)), LATE_ICE),
    "answers that are indications": with_result(requests(answers(StunKind.INDICATION)), LATE_ICE),
    "the request as the answer": with_result(
        requests(
            lambda peer, message: answers(StunKind.REQUEST, attributes=dict(message.attributes))(
                peer, message
            )
        ),
        LATE_ICE,
    ),
    "a refusal of the checks": with_result(
        requests(answers(StunKind.ERROR, attributes=code(400))), NO_ICE, "400"
    ),
    "a refusal without a code": with_result(
        requests(answers(StunKind.ERROR, attributes={})), NO_ICE, "0"
    ),
    "a refusal with the code 799": with_result(
        requests(answers(StunKind.ERROR, attributes=code(799))), NO_ICE, "799"
    ),
    "role conflicts without an end": with_result(
        requests(answers(StunKind.ERROR, attributes=code(487))), LATE_ICE
    ),
    "a refusal by a stranger": with_result(
        requests(answers(StunKind.ERROR, attributes=code(400), key="x" * 22), handles=False), ""
    ),
    "each answer 300 times": requests(answers(times=FLOOD), handles=False),
    "no address of the caller": requests(answers(attributes={}), handles=False),
    "an address of the caller that is none": requests(answers(attributes=MAPPED), handles=False),
    "a flood of requests": Behaviour(act=asks()),
    "a flood of requests of another port": Behaviour(act=asks(stranger=True), has_two_ports=True),
    "a flood of requests that are not authentic": Behaviour(act=asks(key="x" * 22)),
    "a flood of requests of others": Behaviour(act=asks(user="other:one")),
    "a flood of requests with a name that is no text": Behaviour(
        act=asks(more={StunAttribute.USERNAME: b"\xff" * 99})
    ),
    "a flood of requests that control": Behaviour(
        act=asks(more={StunAttribute.CONTROLLING: b"\xff" * 8})
    ),
    "a flood of requests that are cut": Behaviour(act=asks(change=cut)),
    "a flood of requests whose lengths lie": Behaviour(act=asks(change=lying)),
    "a flood of requests of 2,000 bytes": Behaviour(act=asks(more={0x8022: bytes(1_900)})),
    "a flood of requests with 300 attributes": Behaviour(
        act=asks(more={0x9000 + n: b"" for n in range(300)})
    ),
    "a flood of indications": Behaviour(act=asks(StunKind.INDICATION)),
    "a flood of answers to nothing": Behaviour(act=asks(StunKind.SUCCESS)),
    "a flood of refusals of nothing": Behaviour(act=asks(StunKind.ERROR, more=code(400))),
    "a refusal of its consent": with_result(
        after_set_up(answers(StunKind.ERROR, attributes=code(403))), "ends", "refuses", speaks=False
    ),
    "no more consent": with_result(after_set_up(lambda *_: None), "ends", "consent", speaks=False),
    "consent that is not authentic": with_result(
        after_set_up(answers(key="x" * 22)), "ends", "consent", speaks=False
    ),
}


# DTLS


@cache
def other_identity() -> DtlsIdentity:
    return own_identity.__wrapped__()


def records(
    hear: Callable[[HostilePeer, bytes], object], outcome: str, detail: str = ""
) -> Behaviour:
    """Return the behaviour that does something at each DTLS datagram of the caller, which the
    service does not read.
    """

    def heard(peer: HostilePeer, data: bytes) -> bool:
        if packet_type(data) is not PacketType.DTLS:
            return False
        hear(peer, data)
        return True

    return Behaviour(
        outcome, detail, hear=heard, role="server", answer=sub(rb"a=setup:\S+", b"a=setup:passive")
    )


def record(
    kind: int,
    content: bytes,
    *,
    version: bytes = b"\xfe\xfd",
    length: int | None = None,
    epoch: int = 0,
) -> bytes:
    size = len(content) if length is None else length
    return bytes([kind]) + version + epoch.to_bytes(2) + bytes(6) + size.to_bytes(2) + content


def context_of(change: Callable[[SSL.Context], object]) -> Callable[[DtlsSession], None]:
    """Return the change of a session to a context of its own."""

    def changed(session: DtlsSession) -> None:
        context, identity = SSL.Context(SSL.DTLS_METHOD), own_identity()
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        context.use_certificate(identity.certificate)
        context.use_privatekey(identity.key)
        context.set_tlsext_use_srtp(b"SRTP_AES128_CM_SHA1_80")
        change(context)
        session._connection = SSL.Connection(context)
        session._connection.set_ciphertext_mtu(1_200)
        (
            session._connection.set_connect_state
            if session._role == "client"
            else session._connection.set_accept_state
        )()

    return changed


def floods(data: bytes, times: int = FLOOD, *, stranger: bool = False) -> Act:
    def act(peer: HostilePeer) -> None:
        for _ in range(times):
            peer.send(data, stranger=stranger)

    return act


def writes(data: bytes, times: int = FLOOD) -> Act:
    def act(peer: HostilePeer) -> None:
        for _ in range(times):
            peer.dtls._connection.send(data)
        peer.dtls._collect()

    return act


def renegotiates(peer: HostilePeer) -> None:
    peer.dtls._connection.renegotiate()
    peer.dtls._shake()
    peer.flush()


def no_handshake(peer: HostilePeer, data: bytes) -> bool:
    """Check that the caller begins no second handshake, which needs signatures.

    A hello of a second one is encrypted, so its epoch is not 0, and longer than the message that
    ends a handshake. On a busy host the caller may repeat the messages of the first one.
    """
    is_handshake = data[0] == HELLO[0] and data[3:5] != bytes(2)
    assert peer.peer.keys is None or not (
        is_handshake and int.from_bytes(data[11:13]) > MAX_FINISHED_BYTES
    )
    return False


OLD = b"\x16\x03\x03\x00\x05" + bytes(5)
ALERT, FATAL = record(21, b"\x02\x28"), record(21, b"\x02\x50", epoch=1)
MAX_FINISHED_BYTES = 80
HELLO = record(22, b"\x01\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x04\xfe\xfd\x00\x00")
PASSIVE = sub(rb"a=setup:\S+", b"a=setup:passive")
DTLS = {
    "no answer to DTLS": records(lambda *_: None, LATE_DTLS),
    "an alert as the answer": records(lambda peer, _: peer.send(ALERT), NO_DTLS, "alert"),
    "a flood of warnings as the answer": records(
        lambda peer, _: floods(record(21, b"\x01\x5a"))(peer), NO_DTLS
    ),
    "noise as the answer": records(
        lambda peer, data: peer.send(b"\x16" + Random(1).randbytes(900)), LATE_DTLS
    ),
    "the caller's records as the answer": records(lambda peer, data: peer.send(data), NO_DTLS),
    "records of TLS": records(lambda peer, _: peer.send(OLD), LATE_DTLS),
    "data before the keys": records(lambda peer, _: peer.send(record(23, bytes(9))), NO_DTLS),
    "records whose lengths lie": records(
        lambda peer, _: peer.send(record(22, bytes(5), length=0xFFFF)), LATE_DTLS
    ),
    "records of 60 KB": records(lambda peer, _: peer.send(record(22, bytes(60_000))), LATE_DTLS),
    "a handshake without an end": records(
        lambda peer, _: floods(OLD)(peer), NO_DTLS, "does not end"
    ),
    "a hello that is cut": records(lambda peer, _: peer.send(HELLO), NO_DTLS),
    "both sides are clients": Behaviour(NO_DTLS, "", PASSIVE, role="client"),
    "both sides are servers": Behaviour(LATE_DTLS, "", role="server"),
    "a certificate of another": Behaviour(
        NO_DTLS,
        "fingerprint",
        sub(rb"sha-256 \S+", b"sha-256 " + own_identity().fingerprint.value.encode()),
        identity=other_identity(),
    ),
    "no profile of SRTP": Behaviour(
        NO_DTLS,
        "SRTP profile",
        PASSIVE,
        role="server",
        dtls=context_of(lambda context: context.set_tlsext_use_srtp(b"SRTP_AEAD_AES_128_GCM")),
    ),
    "no common cipher": Behaviour(
        NO_DTLS,
        "",
        PASSIVE,
        role="server",
        dtls=context_of(lambda context: context.set_cipher_list(b"AES128-SHA256")),
    ),
    "DTLS from another port": Behaviour(act=floods(ALERT, stranger=True)),
    "a flood of hellos after the set-up": Behaviour(act=floods(HELLO)),
    "a flood of alerts that are not encrypted": Behaviour(act=floods(ALERT)),
    "a flood of records of the next epoch": Behaviour(act=floods(FATAL)),
    "a flood of changes of the cipher": Behaviour(act=floods(record(20, b"\x01"))),
    "a renegotiation by the server": Behaviour(
        "",
        "",
        PASSIVE,
        role="server",
        dtls=context_of(lambda _: None),
        act=renegotiates,
        hear=no_handshake,
    ),
    "a renegotiation by the client": Behaviour(
        dtls=context_of(lambda _: None), act=renegotiates, hear=no_handshake
    ),
}


# Media


def packets(
    make: Callable[[int], tuple[int, int, int, int, bytes]],
    *,
    times: int = FLOOD,
    first: int = 0x80,
) -> Behaviour:
    """Return the behaviour that sends packets. `make` returns (type, number, timestamp, source,
    payload) of each.

    `first` is their first byte. Each packet is encrypted as if it were the first of its source.
    """

    def act(peer: HostilePeer) -> None:
        keys = peer.peer.keys
        assert keys is not None
        for number in range(times):
            kind, sequence, timestamp, ssrc, payload = make(number)
            packet = build_packet(kind, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc, payload)
            is_valid = first in (0x80, 0xA0)  # the library encrypts no other packets
            data = PacketEncryption(*keys).protect(
                bytes([first if is_valid else 0x80]) + packet[1:]
            )
            peer.send(bytes([first]) + data[1:])

    return Behaviour(act=act)


def opus(*payloads: bytes) -> Behaviour:
    """Return the behaviour that sends frames of Opus in the order of the stream."""

    def act(peer: HostilePeer) -> None:
        for payload in payloads * (FLOOD // len(payloads)):
            peer.frame(payload)

    return Behaviour(act=act, codec="OPUS")


def reports(make: Callable[[int], bytes], times: int = FLOOD) -> Behaviour:
    def act(peer: HostilePeer) -> None:
        for number in range(times):
            peer.send(peer.encryption.protect_report(make(number)))

    return Behaviour(act=act)


def plain(peer: HostilePeer) -> None:
    for number in range(FLOOD):
        peer.send(build_packet(0, number, number * 160, 7, QUIET))


def with_another_key(peer: HostilePeer) -> None:
    wrong = PacketEncryption(SrtpKey("AES_CM_128_HMAC_SHA1_80", bytes(30)), None)
    for number in range(FLOOD):
        peer.send(wrong.protect(build_packet(0, number, number * 160, 7, QUIET)))


def again(peer: HostilePeer) -> None:
    packet = peer.encryption.protect(peer.sender.audio(QUIET))
    floods(packet)(peer)


def before_the_keys(peer: HostilePeer, data: bytes) -> bool:
    if packet_type(data) is PacketType.STUN and peer.heard == 1:
        plain(peer)
        floods(bytes(40))(peer)
    return False


def of_a_stranger(peer: HostilePeer) -> None:
    for number in range(FLOOD):
        packet = build_packet(0, number, number * 160, 9, QUIET)
        peer.send(PacketEncryption(*(peer.peer.keys or ())).protect(packet), stranger=True)


BLOCK = ReportBlock(7, 255, -(1 << 23), *[0xFFFFFFFF] * 4)
INFO = SenderInfo(2**64 - 1, *[2**32 - 1] * 3)
MEDIA = {
    "silence after the set-up": Behaviour(speaks=False),
    "media before the keys": Behaviour(hear=before_the_keys),
    "media without encryption": Behaviour(act=plain),
    "media with another key": Behaviour(act=with_another_key),
    "media from another port": Behaviour(act=of_a_stranger),
    "the same packet 300 times": Behaviour(act=again),
    "another source in each packet": packets(lambda n: (0, n, n * 160, n + 9, QUIET)),
    "two sources in turn": packets(lambda n: (0, 2_000 + n, n * 160, 9 + n % 2, QUIET)),
    "types that were not agreed": packets(lambda n: (n % 64, 2_000 + n, n * 160, 9, QUIET)),
    "the type of the codec that was not chosen": packets(
        lambda n: (111, 2_000 + n, n * 960, 9, b"\xf8\xff\xfe")
    ),
    "a header that states 15 sources": packets(lambda n: (0, n, n * 160, 9, b"x"), first=0x8F),
    "a header of version 3": packets(lambda n: (0, n, n * 160, 9, QUIET), first=0xC0),
    "an extension that is longer than the packet": packets(
        lambda n: (0, n, n * 160, 9, b"\xbe\xde\xff\xff"), first=0x90
    ),
    "an extension without an end": packets(lambda n: (0, n, n * 160, 9, b"\xbe"), first=0x90),
    "padding that is longer than the packet": packets(
        lambda n: (0, n, n * 160, 9, QUIET), first=0xA0
    ),
    "padding of 0 bytes": packets(lambda n: (0, n, n * 160, 9, bytes(160)), first=0xA0),
    "payloads without a byte": packets(lambda n: (0, n, n * 160, 9, b"")),
    "payloads of 1 byte": packets(lambda n: (0, n, n, 9, b"\xff")),
    "payloads of 1,300 bytes": packets(lambda n: (0, n, n * 160, 9, QUIET[:1] * 1_300)),
    "timestamps that jump": packets(lambda n: (0, n, Random(n).getrandbits(32), 9, QUIET)),
    "timestamps that run backwards": packets(lambda n: (0, n, -n * 160, 9, QUIET)),
    "timestamps that jump by half of their range": packets(lambda n: (0, n, n << 31, 9, QUIET)),
    "the same timestamp": packets(lambda n: (0, n, 0, 9, QUIET)),
    "numbers that jump": packets(lambda n: (0, Random(n).getrandbits(16), n * 160, 9, QUIET)),
    "numbers that run backwards": packets(lambda n: (0, 30_000 - n, n * 160, 9, QUIET)),
    "numbers that jump by the largest gap": packets(
        lambda n: (0, n * 2_999, n * 2_999, 9, b"\xff")
    ),
    "frames of 1 byte that state a gap of 3,000": packets(
        lambda n: (0, n % 2 * 2_999, n * 2_999, 9, b"\xff")
    ),
    "comfort noise": packets(lambda n: (13, n, n * 160, 9, b"")),
    "Opus without a byte": opus(b""),
    "Opus of each first byte": opus(*(bytes([first]) for first in range(256))),
    "Opus of 48 frames": opus(b"\x03\x30" + bytes(48), b"\xe3\xb0" + bytes(90)),
    "Opus of 0 frames": opus(b"\x03\x00", b"\xff\x00\x00"),
    "Opus with lengths that lie": opus(
        b"\xfe\xff\xff\xff", b"\xfb\xbf" + b"\xff" * 30, b"\x0b\x41\xff"
    ),
    "Opus in stereo": opus(b"\xfc\xff\xfe", b"\xff" * 60),
    "Opus of noise": opus(*(Random(n).randbytes(n + 2) for n in range(150))),
    "Opus of 1,300 bytes": opus(b"\x78" + b"\xa5" * 1_299),
    "a goodbye by RTCP": reports(lambda n: build_compound(Report(7), Goodbye((7,), "\x1b[2J")), 1),
    "a goodbye of each source": reports(lambda n: build_compound(Report(7), Goodbye((n,)))),
    "reports of the largest numbers": reports(
        lambda n: build_compound(Report(7, (BLOCK,) * 31, INFO))
    ),
    "reports of a source each": reports(
        lambda n: build_compound(Report(n, (), INFO), SourceDescription(n, "x"))
    ),
    "reports that are cut": reports(
        lambda n: build_compound(Report(7, (BLOCK,) * 9))[: 8 + n % 200]
    ),
    "reports of noise": reports(lambda n: b"\x81\xc8" + Random(n).randbytes(60)),
    "reports without encryption": Behaviour(act=floods(build_compound(Report(7, (), INFO)))),
    "empty datagrams": Behaviour(act=floods(b"")),
    "datagrams of 65,000 bytes": Behaviour(act=floods(b"\x80" + bytes(65_000), 30)),
    "datagrams of no protocol": Behaviour(
        act=lambda peer: [
            peer.send(bytes([first]) * 60) for first in range(256) if not 128 <= first < 192
        ]
    ),
}


# The data channel

DATA_RECORD, ENDINGS = 23, (ChunkKind.ABORT, ChunkKind.SHUTDOWN)


def drops_records(peer: HostilePeer, data: bytes) -> bool:
    """Ignore the records that follow the handshake."""
    return packet_type(data) is PacketType.DTLS and data[0] == DATA_RECORD


def ends(act: Act, detail: str) -> Behaviour:
    """Return the behaviour that does something when the caller speaks, because the call then is
    connected.
    """

    def heard(peer: HostilePeer, data: bytes) -> bool:
        if packet_type(data) is PacketType.MEDIA:
            act(peer)
            peer.flush()
        return False

    return Behaviour("ends", detail, hear=heard, speaks=False)


def aborts(reason: str, cause: AbortCause = AbortCause.USER) -> Act:
    return lambda peer: peer.channel.abort(reason, cause)


def messages(data: bytes, times: int = FLOOD, *, is_binary: bool = False) -> Act:
    def act(peer: HostilePeer) -> None:
        for _ in range(times):
            peer.channel.send(data, monotonic_ns(), is_binary=is_binary)
        peer.flush()

    return act


def chunks(*parts: bytes, times: int = FLOOD) -> Act:
    """Return the act that sends packets of SCTP with a right checksum and tag."""

    def act(peer: HostilePeer) -> None:
        known, port = peer.association._peer, peer.remote.channel
        assert known is not None
        assert port is not None
        for _ in range(times):
            peer.dtls.send(build_sctp(PORT, port.port, known.tag, parts))
        peer.flush()

    return act


CHANNEL = {
    "no answer on the data channel": Behaviour(LATE_UPGRADE, "data channel", hear=drops_records),
    "a flood of records that are no SCTP": Behaviour(act=writes(bytes(1_000))),
    "a goodbye by DTLS": ends(lambda peer: peer.dtls.close(), "close_notify"),
    "an abort of the data channel": ends(aborts("why"), "why"),
    "an abort with control characters": ends(aborts("\x1b[2J\x9b" * 99), "ABORT"),
    "an abort for want of memory": ends(aborts("", AbortCause.OUT_OF_RESOURCE), "cause"),
    "a message beyond the limit": Behaviour(
        "ends", "limit", act=messages(bytes(2 << 20), 1), speaks=False
    ),
    "a flood of messages without a byte": Behaviour(act=messages(b"")),
    "a flood of binary messages": Behaviour(act=messages(bytes(1_000), is_binary=True)),
    "a flood of messages that are no text": Behaviour(act=messages(b"\xff" * 99)),
    "a flood of chunks of each kind without content": Behaviour(
        act=lambda peer: [
            chunks(bytes((kind, 0, 0, 4)), times=1)(peer)
            for kind in range(256)
            if kind not in ENDINGS
        ]
    ),
    "a flood of chunks whose lengths lie": Behaviour(act=chunks(b"\x00\x03\xff\xff" + bytes(12))),
    "a flood of chunks of no length": Behaviour(act=chunks(bytes(16))),
    "a flood of fragments of the future": Behaviour(
        act=chunks(b"\x00\x03\x00\x14\x7f\xff\xff\xff" + bytes(12))
    ),
}
BEHAVIOURS = ANSWERS | STUN | DTLS | MEDIA | CHANNEL
