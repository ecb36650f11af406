"""Conversations of every kind of step, told again from their event logs: the same observations to the last field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from bench.plan.turns import Step
from bench.protocol.base import Dialect
from bench.protocol.settings import TurnDetection
from bench.run.event_log import EventLog, LoggedTimeline, LoggedTransport, about
from bench.run.recorder import Labels
from bench.run.replay import replay
from bench.session import Session
from bench.simulator.profile import default_profile
from tests.helpers import FIRST_OF_FAMILIES, Listening
from tests.memory_transport import VirtualClock
from tests.test_talking import (
    BESIDE,
    DETECTIONS,
    EXPECTATIONS,
    IN_SILENCE,
    INTERRUPTIONS,
    PAUSES,
    SPOKEN,
    START_NS,
    STARTS,
    TYPED,
    PatientTransport,
    Troubled,
    build_script,
    playable,
    sayable,
)

KINDS = st.one_of(SPOKEN, SPOKEN, TYPED, BESIDE, PAUSES, EXPECTATIONS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    data=st.data(),
    dialect=st.sampled_from(FIRST_OF_FAMILIES),
    detection=DETECTIONS,
    start=STARTS,
    lost=st.frozensets(st.integers(3, 80), max_size=2),
    hangs_up=st.sampled_from([None, None, None, 7, 30]),
    keep_audio=st.booleans(),
    seed=st.integers(0, 999),
)
def test_a_conversation_told_again_from_its_log_is_the_same(
    folder: Path,
    data: st.DataObject,
    dialect: Dialect,
    detection: TurnDetection | None,
    start: dict[str, Any],
    lost: frozenset[int],
    hangs_up: int | None,
    keep_audio: bool,
    seed: int,
) -> None:
    kinds = st.one_of(KINDS, INTERRUPTIONS, IN_SILENCE) if detection else KINDS
    steps: list[Step] = playable(data.draw(st.lists(kinds, min_size=1, max_size=5)))
    assume(sayable(steps, dialect))
    script = build_script(*steps, dialect=dialect, turn_detection=detection, **start)
    service = Troubled(dialect, default_profile(), seed, lost, hangs_up, endless=False)
    log, listening = EventLog(folder / "talk.jsonl", hide=str, keep_audio=keep_audio), Listening()
    timeline = LoggedTimeline(
        START_NS,
        len(script.turns),
        script.limits,
        dialect,
        service_responds=script.service_responds,
        log=log,
        about=about("run", Labels("w0-000001", "here", "talk", "talk"), script),
    )
    transport = LoggedTransport(PatientTransport(service, VirtualClock(START_NS)), log)
    Session(script, transport, timeline, listening, lambda: False).play()
    log.close()

    again = replay(folder / "talk.jsonl")
    assert list(again.turns) == listening.turns
    assert again.session == timeline.session()
    assert not again.cut
