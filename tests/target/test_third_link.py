"""A third kind of connection: a service that has one is measured without an edit of the code
about targets.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.catalogue.timeouts import Timeouts
from bench.services.registry import SERVICES
from bench.session import dial
from bench.target.target import Target
from bench.target.tokens import Keyring
from bench.transport.interface import ConnectRequest, ConnectTimings
from bench.wire.service import WEBSOCKET, Link
from tests.helpers import resolve_target
from tests.memory_transport import MemoryTransport

OFFER = Link(
    ("http", "https"),
    ("offer", "turn"),
    "HTTP 201",
    "media servers",
    "https://HOST/PATH",
    settings=("rtp_ports",),
    title="calls by offer",
    opener=f"{__name__}:open_offer",
    has_media=True,
    sockets=2,
)
CALLS: list[tuple[str, str]] = []
URL = "https://api.openai.com/v1/realtime?model=m"


def target(**settings: Any) -> Target:
    return resolve_target({"K": "some-key-1"}, **{"url": URL, "api_key_env": "K"} | settings)


@pytest.fixture(autouse=True)
def _links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SERVICES, "openai", replace(SERVICES["openai"], links=(WEBSOCKET, OFFER)))


def open_offer(request: ConnectRequest) -> MemoryTransport:
    CALLS.append((request.url, dict(request.headers)["Authorization"]))
    return MemoryTransport(lambda message: ())


def test_the_function_that_the_link_names_opens_its_transport() -> None:
    known = target()
    dial.Dialer(known, Keyring([known])).open(Timeouts(), ConnectTimings())

    assert [(URL, "Bearer some-key-1")] == CALLS
