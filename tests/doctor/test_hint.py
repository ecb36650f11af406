"""What a probe says to do about a session that did not go well."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.clock import Arrival
from bench.doctor.explain import NO_KEY, REMEDIES, hint
from bench.limits import Limits
from bench.observe import inputs
from bench.observe.inputs import SessionStart
from bench.protocol.base import Dialect
from bench.protocol.openai_ga import GA
from bench.protocol.openai_preview import PREVIEW
from bench.run.event_log import EventLog, LoggedTimeline
from bench.run.replay import Replayed, replay_log
from bench.simulator.session.service_forms import ga_session
from bench.target.target import Target
from bench.transport.received import Received
from tests.doctor.targets import build_target
from tests.helpers import AT_NS, at, message

OTHER = replace(build_target(None, "/v1/realtime?model=x"), host="voice.test", service="other")


def played(folder: Path, outcome: str, detail: str, *heard: bytes, spoken: Dialect = GA) -> Replayed:
    """A session that ended so, after what was heard."""
    log = EventLog(folder / "log.jsonl", hide=str, record_audio=False)
    timeline = LoggedTimeline(SessionStart(AT_NS, 1, Limits()), spoken, log=log, about={"dialect": spoken.name})
    for data in heard:
        timeline.received(spoken.decode(data), Received(data, Arrival(at(1)), len(data)))
    timeline.tell(inputs.Failed(outcome, at(5), detail))
    log.close()
    return replay_log(log.path)


@pytest.mark.parametrize(("target", "said"), [(OTHER, NO_KEY), (None, "")])
def test_a_refusal_is_explained_to_whoever_knows_who_was_called(
    tmp_path: Path, target: Target | None, said: str
) -> None:
    assert hint(played(tmp_path, "connect_failed:403", "HTTP 403: Forbidden"), target) == said


@pytest.mark.parametrize("target", [replace(OTHER, dialect=PREVIEW), None])
def test_a_greeting_in_the_other_dialect_is_hinted_at_with_and_without_a_target(
    tmp_path: Path, target: Target | None
) -> None:
    greeting = message("session.created", session=ga_session("s", "m", 0))
    ended = played(tmp_path, "timeout:session", "nothing", greeting, spoken=PREVIEW)

    assert hint(ended, target) == REMEDIES[GA]


def test_of_a_session_that_went_well_there_is_nothing_to_hint(tmp_path: Path) -> None:
    assert hint(played(tmp_path, "ok", ""), OTHER) == ""
