"""The offers that the simulator reads, and those that it refuses."""

from __future__ import annotations

import errno
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import pytest

from rtbench_simulator.services.webrtc import service_call
from rtbench_simulator.services.webrtc.line import WebRtcLine
from rtbench_simulator.serving.credentials import Authenticator
from rtbench_simulator.serving.service import UpgradeRequest

FORM = UpgradeRequest(
    "/v1/realtime/calls", {}, {"content-type": 'multipart/form-data; charset=x; boundary="a b"'}
)
REFUSED: list[Any] = []
SHARED: Any = SimpleNamespace(
    injector=lambda: None,
    config=SimpleNamespace(authenticator=Authenticator()),
    quota=SimpleNamespace(headers=lambda at_ns: {}),
    limit=lambda at_ns: None,
    refused=lambda refusal, at_ns: REFUSED.append(refusal.code),
)


def answered(
    monkeypatch: pytest.MonkeyPatch, body: bytes, error: Exception | None = None
) -> tuple[Any, HTTPStatus]:
    """Return ((offer, model), status) of an answer. The call raises `error`."""
    offered: Any = None

    def new_call(request: Any, model: str) -> Any:
        nonlocal offered
        offered = request.offer, model
        if error is not None:
            raise error
        return SimpleNamespace(response=lambda call_id: (HTTPStatus.CREATED, b"answer", {}))

    monkeypatch.setattr(service_call, "ServiceCall", new_call)
    status, _, _ = WebRtcLine(SHARED, ("127.0.0.1", 0), 1).answer(FORM, body, 0)
    return offered, status


def test_the_content_of_a_part_is_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    sdp = b'v=0\r\ns=name="session"\r\n\r\n{"model":"another"}\r\n--\r\nt=0 0\r\n'
    body = (
        b'--a b\r\nContent-Disposition: form-data; filename="session"; name="sdp"\r\n\r\n%b\r\n--a'
        b' b\r\nX: y\r\nContent-Disposition: form-data; name="session"\r\n\r\n{"model":'
        b' "mine"}\r\n--a b--\r\n' % sdp
    )

    assert answered(monkeypatch, body) == ((sdp, "mine"), HTTPStatus.CREATED)


def test_an_offer_without_a_free_socket_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _, status = answered(monkeypatch, b"", OSError(errno.EMFILE, "Too many open files"))

    assert status is HTTPStatus.SERVICE_UNAVAILABLE
    assert REFUSED == ["no_socket"]
