"""The key `transport`: the audio of a target in messages, or over WebRTC next to the events."""

from __future__ import annotations

from typing import Any

from bench.target.target import Target
from bench.target.target_settings import ServiceOptions
from bench.target.targets import resolve_targets
from bench.target.tokens import Keyring
from bench.wire.addresses import HostPort
from bench.wire.service import WEBRTC, WEBRTC_AGENT, WEBSOCKET

URL = "wss://api.openai.com/v1/realtime?model=gpt-realtime"


def target(url: str = URL, transport: str | None = "webrtc", **options: Any) -> Target:
    (found,) = resolve_targets(
        {}, ServiceOptions(url=url, transport=transport, api_key_env=None, **options)
    )
    return found


def test_webrtc_changes_the_transport_and_not_the_address() -> None:
    calls, messages = (
        target(call_hosts=("203.0.113.4",), codec="PCMA"),
        target(transport="websocket"),
    )

    assert (calls.link, messages.link) == (WEBRTC, WEBSOCKET)
    assert calls.url == messages.url == URL
    assert (calls.dialect.name, messages.dialect.name) == ("ga-webrtc-g711", "ga")
    assert calls.network_path.call_hosts == (HostPort("203.0.113.4"),)
    assert calls.network_path.codecs == ("PCMA",)


def test_opus_is_the_default() -> None:
    for calls in (target(), target(codec="opus")):
        assert (calls.dialect.name, calls.network_path.codecs) == ("ga-webrtc", ("OPUS",))


AGENT = "http://127.0.0.1:7860/api/offer"


def test_the_scheme_of_an_agent_selects_its_transport() -> None:
    (notice,) = target(AGENT, dialect="webrtc", compression="deflate").notices
    assert notice == "--compression is not used by agents over WebRTC"
    for transport in ("webrtc", None):
        agent, narrow = (
            target(AGENT, transport, dialect="webrtc", codec=codec) for codec in (None, "PCMA")
        )
        assert (agent.link, agent.url, agent.loopback) == (WEBRTC_AGENT, AGENT, True)
        assert (agent.dialect.name, agent.network_path.codecs) == ("webrtc", ("OPUS",))
        assert (narrow.link, narrow.dialect.name, narrow.network_path.codecs) == (
            WEBRTC_AGENT,
            "webrtc-g711",
            ("PCMA",),
        )


def test_a_turn_server_has_the_login_of_its_variable_which_is_hidden() -> None:
    environ = {"TURN": "1790000000:a-caller:a-long-secret"}
    options = ServiceOptions(
        url=AGENT, dialect="webrtc", turn_server="turns:turn.example.com", turn_login_env="TURN"
    )
    (found,) = resolve_targets(environ, options)
    server, text = found.network_path.turn, "quoted: a-long-secret"

    assert server is not None
    assert (server.host, server.port, server.transport) == ("turn.example.com", 5_349, "tls")
    assert server.login == ("1790000000:a-caller", "a-long-secret")
    assert "secret" not in f"{found!r}"
    assert "secret" not in Keyring([found]).redact(text)
    assert found.far_host == "turn.example.com"
