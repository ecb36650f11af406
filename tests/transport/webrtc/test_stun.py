"""STUN messages: what one side builds, the other one reads; nothing else is accepted."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from bench.protocols.ice.stun import (
    StunAttribute,
    StunKind,
    build_message,
    mapped_address,
    parse_message,
    xor_address,
)
from bench.wire.addresses import HostPort
from tests.examples import thorough

TRANSACTION, KEY = bytes(range(12)), "a password of 22 chars"
ATTRIBUTES: dict[int, bytes] = {
    StunAttribute.USERNAME: b"one:two",
    StunAttribute.PRIORITY: b"\0\1\2\3",
    StunAttribute.USE_CANDIDATE: b"",
}
REQUEST = build_message(StunKind.REQUEST, TRANSACTION, ATTRIBUTES, KEY)
ADDRESSES = st.builds(
    lambda ip, port: HostPort(str(ip), port), st.ip_addresses(), st.integers(0, 65_535)
)


TYPES = st.sampled_from([6, 9, 0x24, 0x8022])


@thorough
@given(
    st.sampled_from(StunKind),
    st.binary(min_size=12, max_size=12),
    st.dictionaries(TYPES, st.binary(max_size=80)),
    st.text(min_size=1, max_size=30),
)
def test_a_built_message_is_read_again(
    kind: StunKind, transaction: bytes, attributes: dict[int, bytes], key: str
) -> None:
    message = parse_message(build_message(kind, transaction, attributes, key))

    assert message is not None
    assert (message.kind, message.transaction, dict(message.attributes)) == (
        kind,
        transaction,
        attributes,
    )
    assert message.is_authentic(key)
    assert not message.is_authentic(f"{key}x")


@thorough
@given(st.integers(0, len(REQUEST) - 1), st.integers(1, 255))
def test_a_changed_byte_is_never_accepted(place: int, change: int) -> None:
    data = bytearray(REQUEST)
    data[place] ^= change
    message = parse_message(bytes(data))

    assert message is None or not message.is_authentic(KEY)


@thorough
@given(st.binary(max_size=200), st.integers(0, 200))
@example(b"", 4)
def test_damaged_messages_raise_nothing(tail: bytes, start: int) -> None:
    for data in (tail, REQUEST[:start] + tail, REQUEST[: len(REQUEST) - start] + tail):
        message = parse_message(data)
        assert message is None or message.error_code >= 0


@given(ADDRESSES, st.binary(min_size=12, max_size=12))
def test_an_address_survives_its_mask(address: HostPort, transaction: bytes) -> None:
    value = xor_address(address, transaction)

    assert mapped_address(value, transaction) == address
    assert mapped_address(value[:-1], transaction) is None


def test_the_padding_of_an_error_is_not_its_text() -> None:
    """The server coturn counts the padding of this attribute as a part of it."""
    value = b"\0\0" + bytes((4, 42)) + b"Unsupported\0\0\0"
    message = parse_message(
        build_message(StunKind.ERROR, TRANSACTION, {StunAttribute.ERROR_CODE: value}, KEY)
    )

    assert message is not None
    assert (message.error_code, message.error_reason) == (442, "Unsupported")
