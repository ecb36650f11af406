"""The signals that end a run."""

from __future__ import annotations

import signal

import pytest

from bench.base.stop_signals import stop_signals


@pytest.mark.parametrize(
    ("handler", "ends"), [(signal.SIG_DFL, True), (signal.SIG_IGN, False), (print, True)]
)
def test_a_hang_up_ends_a_run_unless_it_was_started_to_outlive_its_terminal(
    monkeypatch: pytest.MonkeyPatch, handler: object, ends: bool
) -> None:
    monkeypatch.setattr(signal, "getsignal", lambda _: handler)

    assert (signal.SIGHUP in stop_signals()) == ends
    assert stop_signals()[:2] == (signal.SIGINT, signal.SIGTERM)
