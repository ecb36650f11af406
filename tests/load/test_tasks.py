"""Tasks that run as sessions: the tasks of a class, and the script that results from the
rehearsal of a method.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bench.base.errors import ScriptError, UsageError
from bench.load.planning.tasks import (
    recorded_steps,
    tasks_of,
)
from bench.plan.script import Script
from tests.load.actors import Actor, actor, tone


def order(actor: Actor) -> None:
    actor.text("A pizza, please", name="order")


def module(path: Path, text: str) -> ModuleType:
    """Write a Python file and import it."""
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def rehearse(method: Callable[[Any], object], **given: Any) -> Script:
    return recorded_steps("Caller", method, Actor, given)


def test_a_class_without_a_task_is_refused_by_its_name() -> None:
    with pytest.raises(UsageError, match=r"Caller in .* has no task"):
        tasks_of(actor("Caller"))


def test_a_task_set_is_refused() -> None:
    with pytest.raises(UsageError, match="TaskSet"):
        tasks_of(actor("Caller", order, type("Inner", (), {})))


def test_the_digest_depends_on_file_settings_and_recordings(tmp_path: Path) -> None:
    path, text = tmp_path / "call.py", "def call(user): user.audio('a.wav')\n"
    tone(tmp_path / "a.wav")
    first = rehearse(module(path, text).call).digest
    same = rehearse(module(path, text).call).digest
    other_settings = rehearse(module(path, text).call, session={"voice": "alloy"}).digest
    other_file = rehearse(module(path, text + "# more\n").call).digest
    tone(tmp_path / "a.wav", 0.2)
    other_recording = rehearse(module(path, text).call).digest

    assert first == same
    assert len({first, other_settings, other_file, other_recording}) == 4


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("user.text('')", "Caller: text must not be empty"),
        (
            "user.expect('text_delta', 1)",
            "Caller: event text_delta can never be received: the turn before it requests aud",
        ),
        ("user.audio('none.wav')", "Caller: audio .*none.wav: no such file"),
        (
            "nothing()",
            (
                r"Caller fails in its rehearsal \(a dry run without a service\): NameError: name"
                r" 'nothing' is not defined"
            ),
        ),
        ("helper(user)", "Caller: text must not be empty"),
    ],
)
def test_an_error_has_the_line_of_the_method(tmp_path: Path, line: str, problem: str) -> None:
    inner = module(tmp_path / "inner.py", "def helper(user):\n    user.text('')\n")
    made = module(tmp_path / "call.py", f"def call(user):\n    user.text('Hello')\n    {line}\n")
    made.__dict__["helper"] = inner.helper

    with pytest.raises(ScriptError, match=f"^{tmp_path}/call.py:3: {problem}") as raised:
        rehearse(made.call)
    assert "\n" not in str(raised.value)


def test_a_method_without_a_turn_is_refused_at_its_line(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=r"call.py:2: Caller has no turn"):
        rehearse(module(tmp_path / "call.py", "\ndef call(user): user.pause(1)\n").call)


def test_a_user_whose_construction_fails_is_refused() -> None:
    def make() -> Actor:
        raise OSError("no database")

    with pytest.raises(ScriptError, match="OSError: no database"):
        recorded_steps("Caller", order, make, {})
