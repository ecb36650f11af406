"""What `rtbench replay` says first: which session of which run it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.cli.session_text import session_text
from bench.limits import Limits
from bench.observe import inputs
from bench.observe.inputs import SessionStart
from bench.protocol.openai_ga import GA
from bench.run.event_log import EventLog, LoggedTimeline
from bench.run.replay import Replayed, replay_log


def logged(path: Path, about: dict[str, Any]) -> Replayed:
    """The log of a session in which nothing happened."""
    log = EventLog(path, hide=str, record_audio=False)
    facts = {"dialect": "ga", "script": "voice_turns"} | about
    timeline = LoggedTimeline(SessionStart(5_000_000_000, 1, Limits(), service_responds=True), GA, log=log, about=facts)
    timeline.tell(inputs.Finished(6_000_000_000))
    log.close()
    return replay_log(path)


def test_a_log_of_a_run_names_its_session_and_the_run(tmp_path: Path) -> None:
    about = {"session_id": "w0-000007", "run_id": "20261120T091400Z-voice_turns"}
    lines = list(session_text(logged(tmp_path / "log.jsonl", about), 100, colour=False))

    assert lines[1] == "log of     session w0-000007 · run 20261120T091400Z-voice_turns"


@pytest.mark.parametrize("about", [{"session_id": "probe", "run_id": "probe"}, {}])
def test_a_probe_is_no_session_of_a_run(tmp_path: Path, about: dict[str, Any]) -> None:
    lines = list(session_text(logged(tmp_path / "log.jsonl", about), 100, colour=False))

    assert not any(line.startswith("log of") for line in lines)


def test_a_replay_says_that_it_is_one(tmp_path: Path) -> None:
    replayed = logged(tmp_path / "log.jsonl", {})
    live, again = (next(session_text(replayed, 100, colour=False, again=again)) for again in (False, True))

    assert live == "voice_turns  ga dialect"
    assert again == f"replay of {live}"
