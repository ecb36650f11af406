"""New types of steps.

A new type needs only a class in the table of step types and an entry in the table of handlers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bench.base.errors import ScriptError
from bench.files.validation import field_key
from bench.load.planning.cost_estimate import HIGH, session_usage
from bench.load.planning.tasks import script as task_of
from bench.load.planning.workload import encode_workload, load_scripts
from bench.load.runners.interim_analyses import scripts_of
from bench.plan import steps as kinds
from bench.plan.prepared import PreparedPause, PreparedScript
from bench.plan.script import load_script, with_target_settings
from bench.plan.script_keys import SECONDS
from bench.plan.turns import Step
from bench.services.openai.dialect import GA
from bench.session.session import HANDLERS, Session
from tests.helpers import MS, Played
from tests.load.actors import actor

TALK = "steps:\n  - text: One\n  - clap: 0.1\n  - text: Two\n"


@dataclass(frozen=True)
class Clap(Step):
    """A step in which the caller claps. `clap` is the time in seconds since the end of the
    previous turn.
    """

    verb: ClassVar = "clap"

    clap: float = field_key(SECONDS, "Seconds before the caller claps.", required=True)

    def prepared(self, *_: Any) -> Any:
        return self


@dataclass(frozen=True)
class ClapWithin(Clap):
    """A step in which the caller claps. `clap` is the time in seconds since the input of the
    previous turn was sent.
    """

    @property
    def within_turn(self) -> bool:
        return True


@pytest.fixture
def claps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Register a handler for claps. Return a list of the instants of the claps on the clock of
    the session.
    """
    heard_ns: list[int] = []

    def clap(session: Session, step: Any) -> None:
        session.pause(PreparedPause(round(step.clap * 1e9)))
        heard_ns.append(session._transport.now_ns())

    for kind in (Clap, ClapWithin):
        monkeypatch.setitem(HANDLERS, kind, clap)
    return heard_ns


def written(
    folder: Path, kind: type[Clap], monkeypatch: pytest.MonkeyPatch, text: str = TALK
) -> Path:
    """Write a script that contains claps of the type `kind`. Register this type with the reader
    of scripts.
    """
    monkeypatch.setitem(kinds.STEP_TABLES, "clap", kinds.step_table(kind))
    path = folder / "talk.yaml"
    path.write_text(text)
    return path


def prepared(path: Path) -> PreparedScript:
    (play,) = encode_workload(load_scripts([actor("Caller", task_of(path))]), GA).values()
    return play.prepare_session(0, seed=1)


@pytest.mark.parametrize(("kind", "after_reply"), [(Clap, True), (ClapWithin, False)])
def test_a_new_step_type_is_read_prepared_and_played(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    claps: list[int],
    kind: type[Clap],
    after_reply: bool,
) -> None:
    played = Played(prepared(written(tmp_path, kind, monkeypatch)))
    first, second = (turn.instants for turn in played.turns)

    (clapped_ns,) = claps
    assert played.outcomes == ["ok", "ok"]
    assert clapped_ns == (first["ended"] if after_reply else first["request_sent"]) + 100 * MS
    assert (clapped_ns > first["ended"]) == after_reply
    assert second["request_sent"] >= clapped_ns


@pytest.mark.parametrize("kind", [Clap, ClapWithin])
def test_a_new_step_type_does_not_count_as_a_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Clap]
) -> None:
    path = written(tmp_path, kind, monkeypatch)
    script = load_script(path)
    without = load_script(written(tmp_path, kind, monkeypatch, TALK.replace("  - clap: 0.1\n", "")))
    path.write_text(TALK)
    plays = encode_workload(load_scripts([actor("Caller", task_of(path))]), GA)

    assert [turn.name for turn in script.turns] == ["turn_1", "turn_2"]
    assert [play.script.turns_planned for play in plays.values()] == [2]
    assert [fact["steps"] for fact in scripts_of({"here": plays})] == [["turn_1", "turn_2"]]
    assert session_usage(script, HIGH) == session_usage(without, HIGH)
    assert with_target_settings(script, {"voice": "ash"}, "here").steps == script.steps


@pytest.mark.parametrize(("kind", "refused"), [(Clap, False), (ClapWithin, True)])
def test_a_step_type_within_a_turn_must_follow_a_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Clap], refused: bool
) -> None:
    path = written(
        tmp_path, kind, monkeypatch, "steps:\n  - text: One\n  - pause: 1\n  - clap: 0.1\n"
    )
    if not refused:
        assert isinstance(load_script(path).steps[-1], kind)
        return
    with pytest.raises(
        ScriptError,
        match=(
            "must come after a turn: put it after a `text`, `audio`, `request_response` or"
            " `wait_for`"
        ),
    ):
        load_script(path)
