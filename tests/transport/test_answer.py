"""Refusals of a connection. The header contains all that is needed, and the received part of the
body is reported.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.transport.challenges import challenges
from bench.transport.parser import (
    HttpResponse,
    complete_chunks,
    read_response,
    refusal,
    service_message,
    unchunked,
)
from tests.examples import thorough

BODY = b'{"error":{"code":"429","message":"Slow down."}}'


def answered(
    *headers: str, body: bytes = BODY, status_line: str = "HTTP/1.1 429 Too Many Requests"
) -> HttpResponse:
    answer = read_response("\r\n".join([status_line, *headers]).encode() + b"\r\n\r\n" + body)
    assert answer is not None
    return answer


def in_chunks(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))


@pytest.mark.parametrize(
    ("headers", "body", "whole"),
    [
        ((f"Content-Length: {len(BODY)}",), BODY, True),
        ((f"Content-Length: {len(BODY)}",), BODY[:-1], False),
        (("Content-Length: 0",), b"", True),
        (("Content-Length: many",), BODY, False),
        (("Content-Length: ²",), BODY, False),
        (("Content-Length: " + "9" * 5_000,), BODY, False),
        ((), BODY, False),
        (("Transfer-Encoding: Chunked",), in_chunks(BODY), True),
        (("Transfer-Encoding: Chunked",), in_chunks(BODY)[:-3], False),
        (("Transfer-Encoding: chunked",), b"7\r\nt=0 0\r\n\r\n", False),
        (("Transfer-Encoding: chunked",), b"7;a=b\r\nt=0 0\r\n\r\n0\r\nX-Trailer: 1\r\n\r\n", True),
        (("Transfer-Encoding: chunked",), b"7\r\nt=0 0\r\n\r\n0\r\nX-Trailer: 1\r\n", False),
        (("Transfer-Encoding: chunked",), b"no chunk 0\r\n\r\n", False),
    ],
)
def test_a_body_is_complete_if_its_length_or_its_last_chunk_has_arrived(
    headers: tuple[str, ...], body: bytes, whole: bool
) -> None:
    assert answered(*headers, body=body).is_complete == whole


@pytest.mark.parametrize("coding", ["chunked", "Chunked", "gzip, chunked"])
def test_the_message_of_a_chunked_refusal_is_read(coding: str) -> None:
    error = refusal(answered(f"Transfer-Encoding: {coding}", body=in_chunks(BODY[:9], BODY[9:])))

    assert (error.outcome, error.detail) == ("throttled:handshake", "HTTP 429: Slow down.")


@thorough
@given(parts=st.lists(st.binary(min_size=1, max_size=20), max_size=4), cut=st.integers(0, 120))
def test_truncated_chunks_give_the_part_that_arrived(parts: list[bytes], cut: int) -> None:
    whole = b"".join(parts)

    assert unchunked(in_chunks(*parts)) == whole
    assert whole.startswith(unchunked(in_chunks(*parts)[:cut]))


@thorough
@given(parts=st.lists(st.binary(min_size=1, max_size=20), max_size=4), data=st.data())
def test_chunks_are_complete_with_the_last_one_also_if_they_are_checked_as_they_arrive(
    parts: list[bytes], data: st.DataObject
) -> None:
    whole, at = in_chunks(*parts), 0
    for arrived in [
        *sorted(data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=5))),
        len(whole),
    ]:
        at, is_complete = complete_chunks(whole[:arrived], at)
        assert is_complete == (arrived == len(whole))


@thorough
@given(st.binary(max_size=80))
def test_any_bytes_are_a_response_or_none(data: bytes) -> None:
    for answer in (
        read_response(data),
        read_response(b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n" + data),
    ):
        assert answer is None or str(refusal(answer)).encode()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", ""),
        (b"  several\n words ", "several words"),
        (b'{"error": {"code": "a", "message": "b"}}', "a: b"),
        (b'{"error": {"code": null, "message": "b"}}', "b"),
        (b'{"code": "a", "message": "b"}', "a: b"),
        (b'{"error": "plain"}', '{"error": "plain"}'),
        (b'["a"]', '["a"]'),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (
            (
                b"<html><head><title>No</title><style>b{}</style></head><!-- x --><body>AI &amp;"
                b" games</body>"
            ),
            "No AI & games",
        ),
        (b"<p>cut <script>alert(1)", "cut"),
        (b"<Error><Code>AccessDenied</Code></Error>", "AccessDenied"),
        pytest.param(b"x" * 900, "x" * 300, id="long"),
    ],
)
def test_a_body_is_quoted(body: bytes, words: str) -> None:
    assert service_message(body) == words


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"message": "\\ud800"}}',
        b"\xed\xa0\x80",
        pytest.param(b"[" * 100_000, id="deep"),
    ],
)
def test_the_message_of_any_body_can_be_encoded(body: bytes) -> None:
    assert isinstance(service_message(body).encode(), bytes)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("", []),
        ("Negotiate, NTLM", [("Negotiate", {}), ("NTLM", {})]),
        ("NTLM TlRMTVNTUAAC==, Basic", [("NTLM", {}), ("Basic", {})]),
        (
            (
                "AzureApiManagementKey"
                ' realm="https://contoso.azure-api.net/my-api",name="api-key",type="header"'
            ),
            [
                (
                    "AzureApiManagementKey",
                    {
                        "realm": "https://contoso.azure-api.net/my-api",
                        "name": "api-key",
                        "type": "header",
                    },
                )
            ],
        ),
        (
            (
                'Bearer error="invalid_token", error_description="it, \\"too\\" , Basic", Digest'
                " Realm = x"
            ),
            [
                ("Bearer", {"error": "invalid_token", "error_description": 'it, "too" , Basic'}),
                ("Digest", {"realm": "x"}),
            ],
        ),
        ('=", ,', []),
    ],
)
def test_the_challenges_of_a_header_are_parsed(
    header: str, found: list[tuple[str, dict[str, str]]]
) -> None:
    assert challenges(header) == found
