"""`--vary`: each combination of values is a variant of each target, and mistakes are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.base.errors import UsageError
from bench.plan.compiled_script import CompiledScript
from bench.plan.prepared import PreparedPause
from bench.plan.script import Script, load_script, with_target_settings
from bench.services.registry import DIALECTS
from bench.target.target_settings import ServiceOptions
from bench.target.targets import resolve_targets

URL = "wss://voice.example/v1/realtime?model=one"
DETECTION = "session.turn_detection.silence_duration_ms"
FILE = """
targets:
  west:
    url: wss://west.example/v1/realtime?model=one
    auth: key
    api_key_env: MY_KEY
    session: {voice: alloy, turn_detection: {type: server_vad, threshold: 0.4}}
  east:
    url: wss://east.example/v1/realtime?model=one
    auth: key
    api_key_env: MY_KEY
"""
ENVIRON = {"MY_KEY": "s3cr3t-of-somebody"}


def varied(vary: str, folder: Path | None = None) -> dict[str, tuple[object, object, object]]:
    """Return (what it is a variant of, the session's settings, the model) of each target."""
    if folder is None:
        options = ServiceOptions(url=URL, api_key_env="MY_KEY", vary=vary)
    else:
        path = folder / "targets.yaml"
        path.write_text(FILE, encoding="utf-8")
        options = ServiceOptions(targets=("west", "east"), target_file=path, vary=vary)
    return {
        target.label: (target.variant_of, target.session, target.model)
        for target in resolve_targets(ENVIRON, options)
    }


@pytest.mark.parametrize(
    ("vary", "targets"),
    [
        (
            f"{DETECTION}=200,400",
            {
                f"silence_duration_ms={ms}": (
                    {"turn_detection": {"silence_duration_ms": ms}},
                    "one",
                )
                for ms in (200, 400)
            },
        ),
        ("model=one,two", {f"model={name}": ({}, name) for name in ("one", "two")}),
        (
            "steps.idle=0,60",
            {f"idle={idle_s}": ({"steps": {"idle": idle_s}}, "one") for idle_s in (0, 60)},
        ),
        (
            "session.voice=alloy,verse; session.temperature=0.6,1",
            {
                f"voice={voice},temperature={heat}": ({"voice": voice, "temperature": heat}, "one")
                for voice in ("alloy", "verse")
                for heat in (0.6, 1)
            },
        ),
    ],
)
def test_each_combination_of_values_is_a_target_that_is_named_after_them(
    vary: str, targets: dict[str, tuple[object, object]]
) -> None:
    assert {label: found[1:] for label, found in varied(vary).items()} == targets
    assert {found[0] for found in varied(vary).values()} == {"voice.example"}


def test_each_target_of_a_file_has_each_value_next_to_its_own_settings(tmp_path: Path) -> None:
    found = varied(f"{DETECTION}=200,400", tmp_path)

    assert list(found) == [
        f"{name}.silence_duration_ms={ms}" for ms in (200, 400) for name in ("west", "east")
    ]
    assert found["west.silence_duration_ms=200"][:2] == (
        "west",
        {
            "voice": "alloy",
            "turn_detection": {"type": "server_vad", "threshold": 0.4, "silence_duration_ms": 200},
        },
    )


IDLE = """
steps:
  - text: Hello
    name: first
  - {pause: 60, name: idle}
  - {pause: 2}
  - text: Hello again
    name: after_idle
"""


def with_steps(folder: Path, **steps: object) -> Script:
    path = folder / "mine.yaml"
    path.write_text(IDLE, encoding="utf-8")
    return with_target_settings(load_script(path), {"steps": steps}, "--vary")


def test_a_named_pause_has_the_length_of_its_setting(tmp_path: Path) -> None:
    script = with_steps(tmp_path, idle=0)

    steps = CompiledScript(script, DIALECTS["ga"]).prepare_session(0, 0).steps
    assert [step.duration_ns for step in steps if isinstance(step, PreparedPause)] == [
        0,
        2_000_000_000,
    ]
    assert script.digest == with_steps(tmp_path, idle=300).digest
    assert with_steps(tmp_path, idle=300).think_s == 302


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("idles", 1, "steps.idles: no pause has this name; did you mean idle?"),
        ("first", 1, "steps.first: no pause has this name"),
        ("idle", "long", "idle must be a number of seconds from 0 to 3600"),
        ("idle", -1, "idle must be a number of seconds from 0 to 3600"),
    ],
)
def test_a_pause_that_cannot_be_set_is_refused(
    tmp_path: Path, name: str, value: object, problem: str
) -> None:
    with pytest.raises(UsageError) as refused:
        with_steps(tmp_path, **{name: value})
    assert problem in str(refused.value)
