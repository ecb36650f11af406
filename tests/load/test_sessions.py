"""Who hears of a session that is played, and in which order."""

from __future__ import annotations

from typing import Any, cast

import pytest

from bench.limits import Limits
from bench.load.playing import sessions
from bench.load.playing.sessions import RunListener
from bench.observe.inputs import SessionStart
from bench.observe.timeline import Timeline
from bench.protocol.events import Usage
from bench.protocol.openai_ga import GA
from bench.run.histograms import MEASURED, WARMUP
from bench.run.recorder import Labels
from tests.helpers import AT_NS, build_observation

LABELS = Labels("w0-000000", "west", "talk", "talk")


class Ear:
    """Remembers by its name what it was told."""

    def __init__(self, name: str, heard: list[tuple[str, str, Any]], **attributes: Any) -> None:
        self._name, self._heard = name, heard
        vars(self).update(attributes)

    def __getattr__(self, method: str) -> Any:
        return lambda *told, **named: self._heard.append((self._name, method, named.get("measured")))


def build_played(
    heard: list[tuple[str, str, Any]], monkeypatch: pytest.MonkeyPatch, phase: str = MEASURED
) -> RunListener:
    record = Ear("recorder", heard, labels=LABELS, phase=phase)
    arm, progress = Ear("arm", heard, label="west"), Ear("progress", heard)
    for show in ("show_turn", "show_session"):
        monkeypatch.setattr(sessions, show, getattr(Ear("dashboard", heard), show))
    run = Ear("run", heard, progress=progress, driver=Ear("driver", heard, fire=None), hide=str)
    return RunListener(*cast(Any, (record, Timeline(SessionStart(AT_NS, 1, Limits()), GA), arm, run)))


def test_a_turn_is_recorded_before_anybody_acts_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[str, str, Any]] = []
    build_played(heard, monkeypatch).turn_ended(build_observation())

    assert [name for name, _, _ in heard] == ["recorder", "arm", "dashboard", "progress"]


def test_a_response_is_counted_before_anybody_acts_on_what_it_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[str, str, Any]] = []
    build_played(heard, monkeypatch).paid(Usage(text_in=1))

    assert [name for name, _, _ in heard] == ["progress", "run"]


def test_a_session_is_recorded_before_anybody_acts_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[str, str, Any]] = []
    build_played(heard, monkeypatch).session_ended()

    assert [name for name, _, _ in heard] == ["recorder", "progress", "run", "dashboard"]


@pytest.mark.parametrize(("phase", "measured"), [(MEASURED, True), (WARMUP, False)])
def test_turns_of_the_warm_up_are_told_as_such(phase: str, measured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[str, str, Any]] = []
    build_played(heard, monkeypatch, phase).turn_ended(build_observation())

    assert ("progress", "turn_ended", measured) in heard
