"""The SRTP keys of session descriptions: what is read, what is skipped, and which keys both
sides use (RFC 4568).
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.protocols.rtp.srtp import (
    SECRET_BYTES,
    SUITES,
    CryptoAttribute,
    SrtpKey,
    new_keys,
    parse_crypto,
    usable_crypto,
    write_crypto,
)
from bench.protocols.sdp.offer_answer import (
    AgreedMedia,
    LocalMedia,
    accepted_answer,
    answer_to,
    write_offer,
)
from bench.protocols.sdp.sdp import MediaLine, parse_description
from bench.transport.sip.call_setup import failure_of, received_of
from bench.wire.addresses import HostPort, is_loopback
from tests.examples import thorough
from tests.transport.sip.scripted_peer import ScriptedPeer

HEAD = "v=0\r\no=- 1 2 IN IP4 h\r\ns=-\r\nc=IN IP4 192.0.2.4\r\nt=0 0\r\n"
PLAIN, SECURE = "m=audio 5000 RTP/AVP 0\r\n", "m=audio 5000 RTP/SAVP 0\r\n"
SUITE_80, SUITE_32 = SUITES
TEXT = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"
SECRET = base64.b64decode(TEXT)
CRYPTO = f"a=crypto:7 {SUITE_80} inline:{TEXT}\r\n"
OURS = tuple(
    SrtpKey(suite, bytes([number]) * SECRET_BYTES) for number, suite in enumerate(SUITES, 1)
)
LOCAL = LocalMedia("192.0.2.1", 40_000, 11, keys=OURS)
secrets = st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES)


def answered(local: LocalMedia, *lines: str) -> AgreedMedia:
    return accepted_answer(local, parse_description("".join((HEAD, *lines)).encode()))


def offered(local: LocalMedia, *lines: str) -> tuple[bytes, AgreedMedia]:
    return answer_to(local, parse_description("".join((HEAD, *lines)).encode()), 1)


@thorough
@given(
    st.builds(
        CryptoAttribute,
        st.integers(0, 999_999_999),
        st.builds(SrtpKey, st.sampled_from(SUITES), secrets),
    )
)
def test_a_key_that_is_written_is_read_again(attribute: CryptoAttribute) -> None:
    assert parse_crypto(write_crypto(attribute)) == attribute


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"1 {SUITE_80}",
        f"x {SUITE_80} inline:{TEXT}",
        f"1234567890 {SUITE_80} inline:{TEXT}",
        f"1 F8_128_HMAC_SHA1_80 inline:{TEXT}",
        f"1 {SUITE_80.lower()} inline:{TEXT}",
        f"1 {SUITE_80} {TEXT}",
        f"1 {SUITE_80} inline:{TEXT[:-1]}",
        f"1 {SUITE_80} inline:{TEXT}A",
        f"1 {SUITE_80} inline:{TEXT[:-1]}=",
        f"1 {SUITE_80} inline:{TEXT[:-1]}-",
        f"1 {SUITE_80} inline:{TEXT}|1:4",
        f"1 {SUITE_80} inline:{TEXT}|2^20|1:4",
        f"1 {SUITE_80} inline:{TEXT}|2^",
        f"1 {SUITE_80} inline:{TEXT};inline:{TEXT}",
        f"1 {SUITE_80} inline:{TEXT} UNENCRYPTED_SRTP",
        f"1 {SUITE_80} inline:{TEXT} UNAUTHENTICATED_SRTP WSH=64",
        f"1 {SUITE_80} inline:{TEXT} KDR=4",
    ],
)
def test_a_key_that_is_malformed_or_not_supported_is_refused_without_quoting_it(value: str) -> None:
    with pytest.raises(ValueError, match="SRTP key") as caught:
        parse_crypto(value)

    assert TEXT[:-1] not in str(caught.value)


WORDS = st.sampled_from(
    ["1", " ", SUITE_80, SUITE_32, "inline:", TEXT, "|", "2^31", "1:4", ";", "WSH=64", "-x", "\t"]
)


@thorough
@given(st.text() | st.lists(WORDS).map("".join))
def test_no_text_gives_another_error_than_a_value_error(value: str) -> None:
    try:
        attribute = parse_crypto(value)
    except ValueError:
        assert usable_crypto([value]) == ()
    else:
        assert len(attribute.key.secret) == SECRET_BYTES
        assert usable_crypto([value, value]) == (attribute,)


def test_new_keys_are_random_and_different() -> None:
    drawn = iter([b"a" * SECRET_BYTES, b"b" * SECRET_BYTES])

    assert new_keys(lambda size: next(drawn)[:size]) == (
        SrtpKey(SUITE_80, b"a" * SECRET_BYTES),
        SrtpKey(SUITE_32, b"b" * SECRET_BYTES),
    )


@thorough
@given(st.permutations(SUITES), st.permutations(SUITES), st.integers(1, 2), st.data())
def test_both_sides_use_the_first_suite_of_the_offer_that_both_have(
    offered_suites: list, our_suites: list, size: int, data: st.DataObject
) -> None:
    def keys(suites: list) -> tuple[SrtpKey, ...]:
        return tuple(SrtpKey(suite, data.draw(secrets)) for suite in suites)

    there = replace(LOCAL, keys=keys(offered_suites[:size]))
    here = LocalMedia("192.0.2.9", 50_000, 12, keys=keys(our_suites))
    body, ours = answer_to(here, parse_description(write_offer(there, 1)), 1)
    theirs = accepted_answer(there, parse_description(body))

    assert ours.send_key is not None
    assert ours.send_key.suite == offered_suites[0]
    assert (ours.send_key, ours.receive_key) == (theirs.receive_key, theirs.send_key)
    assert ours.send_key in here.keys
    assert theirs.send_key in there.keys


def test_an_answer_has_the_tag_and_the_protocol_of_the_offer() -> None:
    unusable = f"a=crypto:1 {SUITE_80} inline:{TEXT}|1:4\r\n"
    body, media = offered(LOCAL, PLAIN, SECURE.replace("SAVP", "SAVPF"), unusable, CRYPTO)
    lines = body.decode().splitlines()

    assert [line for line in lines if line.startswith(("m=", "a=crypto"))] == [
        "m=audio 0 RTP/AVP 0",
        "m=audio 40000 RTP/SAVPF 0",
        f"a=crypto:{write_crypto(CryptoAttribute(7, OURS[0]))}",
    ]
    assert (media.send_key, media.receive_key) == (OURS[0], SrtpKey(SUITE_80, SECRET))


def test_a_key_of_the_whole_session_is_not_valid() -> None:
    with pytest.raises(ValueError, match="no SRTP key"):
        offered(LOCAL, CRYPTO, SECURE)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (PLAIN, "the peer does not use SRTP"),
        (PLAIN + CRYPTO, "the peer does not use SRTP"),
        (SECURE, "the peer has no SRTP key that is supported"),
        # the tag 7 was not offered
        (SECURE + CRYPTO, "the peer has no SRTP key that is supported"),
        # the tag of SHA1_32
        (SECURE + CRYPTO.replace("7", "2", 1), "the peer has no SRTP key that is supported"),
        (
            SECURE + CRYPTO.replace("7", "1", 1) + CRYPTO,
            "the peer has no SRTP key that is supported",
        ),
        ("m=audio 5000 UDP/TLS/RTP/SAVP 0\r\n", "the peer requires DTLS-SRTP"),
        (SECURE.replace("5000", "0"), "the peer refuses the audio"),
    ],
)
def test_an_answer_without_the_offered_encryption_is_refused(lines: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        answered(LOCAL, lines)


def test_a_secret_is_in_no_repr() -> None:
    peer = ScriptedPeer(media=LOCAL)
    peer.answer(body=f"{HEAD}{SECURE}{CRYPTO.replace('7', '1', 1)}".encode())
    call = peer.call
    legs = list(call._legs.values())
    assert call.media is not None
    assert call.media.send_key == OURS[0]
    shown = repr(
        [
            call.settings,
            call.media,
            call.response,
            legs,
            peer.parsed,
            peer.outgoing,
            call._invite.request,
        ]
    )
    shown += repr(parse_description(write_offer(LOCAL, 1))) + repr(
        MediaLine("audio", 1, "RTP/SAVP", "0")
    )

    for secret in (*(key.secret for key in OURS), SECRET):
        assert repr(secret)[2:-1] not in shown
        assert base64.b64encode(secret).decode() not in shown


def test_a_key_that_a_peer_quotes_is_not_kept() -> None:
    peer = ScriptedPeer(media=LOCAL)
    peer.respond(488, ("Warning", f'399 here "no inline:{TEXT}"'))

    assert peer.call.ending is not None
    assert peer.call.ending.warning == '399 here "no inline:***"'


QUOTED_FORMS: dict[str, Callable[[bytes], str]] = {
    "base64": lambda secret: base64.b64encode(secret).decode(),
    "base64 of URLs": lambda secret: base64.urlsafe_b64encode(secret).decode().rstrip("="),
    "percent-encoded base64": lambda secret: quote(base64.b64encode(secret).decode(), safe=""),
    "hexadecimal": lambda secret: secret.hex(":"),
    "hexadecimal in upper case": lambda secret: secret.hex().upper(),
    "base64 with spaces": lambda secret: " ".join(base64.b64encode(secret).decode()),
    "a half of the base64": lambda secret: base64.b64encode(secret).decode()[13:31],
    "the master key": lambda secret: base64.b64encode(secret[:16]).decode(),
    "the salt": lambda secret: base64.b64encode(secret[16:]).decode(),
}


@pytest.mark.parametrize("form", QUOTED_FORMS)
def test_a_key_of_the_call_is_hidden_in_every_form_and_in_every_text(form: str) -> None:
    key = SrtpKey(SUITE_80, bytes(range(201, 231)))
    quoted = QUOTED_FORMS[form](key.secret)
    peer = ScriptedPeer(media=replace(LOCAL, keys=(key,)))
    peer.respond(
        488,
        ("Warning", f"399 h {quoted}"),
        ("Reason", f'x;text="a {quoted} b"'),
        phrase=f"No {quoted}.",
    )
    ending = peer.call.ending

    assert ending is not None
    assert ending.text.count("***") >= 3
    assert (ending.phrase[:3], ending.reason[:11]) == ("No ", 'x;text="a *')
    letters = "".join(filter(str.isalnum, quoted))
    shown = "".join(filter(str.isalnum, ending.text))
    assert not any(letters[start : start + 8] in shown for start in range(len(letters) - 7))


def test_a_key_in_the_name_of_a_host_is_hidden() -> None:
    key = SrtpKey(SUITE_80, bytes(range(201, 231)))
    host = f"{key.secret.hex()}.example"
    refused = ScriptedPeer(media=replace(LOCAL, keys=(key,)))
    refused.respond(302, ("Contact", f"<sip:x@{host}>"))
    silent = ScriptedPeer(media=replace(LOCAL, keys=(key,)), call_hosts=(HostPort(host),))
    silent.respond(302, ("Contact", f"<sip:x@{host}>"))
    answered = ScriptedPeer(media=replace(LOCAL, keys=(key,)), is_own=is_loopback)
    answered.respond(200, ("Contact", f"<sip:x@{host}>"))

    texts = [
        str(failure_of(refused.call)),
        received_of(silent.call),
        str(failure_of(answered.call)),
    ]
    assert ["***.example" in text for text in texts] == [True] * 3
    assert not any(key.secret.hex()[:8] in text for text in texts)
