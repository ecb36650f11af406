"""The target of Deepgram's Voice Agent."""

from __future__ import annotations

from bench.probe import script_of
from bench.services.registry import service_at
from tests.helpers import resolve_target


def test_the_address_is_known_by_host_and_by_path() -> None:
    for found in (
        service_at("agent.deepgram.com", ""),
        service_at("proxy.example", "/v1/agent/converse"),
    ):
        assert found is not None
        assert found.key_header == ("Authorization", "Token")
        assert "key" not in found.url


def test_a_probe_needs_no_setting_for_the_only_turn_detection() -> None:
    target = resolve_target({}, url="ws://127.0.0.1:1/v1/agent/converse")
    detection = script_of(target, "Hello", {}).settings.turn_detection

    assert detection is not None
    assert detection.type == "server_vad"
