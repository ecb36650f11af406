"""The TURN servers that services name, in the forms that they use."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.protocols.turn.servers import (
    TurnLogin,
    TurnServer,
    parse_turn_uri,
    servers_in_json,
    servers_in_links,
)
from tests.examples import thorough

LOGIN = TurnLogin("user", "secret")


@pytest.mark.parametrize(
    ("uri", "server"),
    [
        ("turn:example.org", ("example.org", 3_478, "udp")),
        ("turn:example.org:3479?transport=tcp", ("example.org", 3_479, "tcp")),
        ("TURN:192.0.2.1?transport=UDP", ("192.0.2.1", 3_478, "udp")),
        ("turns:example.org", ("example.org", 5_349, "tls")),
        ("turns:[2001:db8::1]:443?transport=tcp", ("2001:db8::1", 443, "tls")),
    ],
)
def test_a_uri_names_host_port_and_transport(uri: str, server: tuple[str, int, str]) -> None:
    found = parse_turn_uri(uri, LOGIN)

    assert found is not None
    assert found[:3] == server
    assert parse_turn_uri(str(found), LOGIN) == found


@pytest.mark.parametrize(
    "uri",
    [
        "stun:example.org",
        "turn:",
        "turn://example.org",
        "turn:user@example.org",
        "turns:example.org?transport=udp",
        "turn:example.org:0",
        "turn:example.org:70000",
        "turn:[::1",
        "turn:a..b",
        "turn:example.org?transport=sctp",
    ],
)
def test_other_uris_are_no_turn_servers(uri: str) -> None:
    assert parse_turn_uri(uri, LOGIN) is None


UDP_SERVER = TurnServer("turn.example.org", 3_478, "udp", LOGIN)
TLS_SERVER = TurnServer("turn.example.org", 443, "tls", LOGIN)
OF_BROWSER = {
    "urls": [
        "stun:turn.example.org",
        "turn:turn.example.org?transport=udp",
        "turns:turn.example.org:443",
    ],
    "username": "user",
    "credential": "secret",
}


@pytest.mark.parametrize(
    "document",
    [
        {
            "sdp": "v=0",
            "type": "answer",
            "iceServers": [{"urls": "stun:stun.l.google.com:19302"}, OF_BROWSER],
        },
        {"sessionId": "1", "iceConfig": {"iceServers": [OF_BROWSER]}},
        {"ice_servers": [{"url": "turn:turn.example.org", **OF_BROWSER}, 7, {"urls": 3}]},
    ],
)
def test_servers_are_found_in_the_json_of_browsers(document: object) -> None:
    assert servers_in_json(json.loads(json.dumps(document))) == (UDP_SERVER, TLS_SERVER)


@thorough
@given(
    st.recursive(
        st.one_of(
            st.none(),
            st.text(max_size=20),
            st.integers(),
            st.sampled_from(["turn:a", "turns:b:443"]),
        ),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.dictionaries(
                st.sampled_from(
                    ["iceServers", "iceConfig", "urls", "url", "username", "credential"]
                ),
                inner,
            ),
        ),
    )
)
def test_any_document_is_read(document: object) -> None:
    assert len(servers_in_json(document)) <= 8


def test_servers_are_found_in_link_headers() -> None:
    header = (
        '<https://example.org/next>; rel="next", <stun:stun.example.org>; rel="ice-server",'
        ' <turn:turn.example.org?transport=udp>; rel="ice-server"; username="user";'
        ' credential="secret"; credential-type="password", <turns:turn.example.org:443>;'
        " rel=ice-server; username=user; credential=secret"
    )

    assert servers_in_links(header) == (UDP_SERVER, TLS_SERVER)


@thorough
@given(st.text(alphabet='<>;,="turn:-rel ice-server', max_size=200))
def test_any_link_header_is_read(header: str) -> None:
    assert len(servers_in_links(header)) <= 8


def test_a_login_is_not_shown() -> None:
    assert "secret" not in f"{UDP_SERVER!r} {UDP_SERVER} {LOGIN}"
