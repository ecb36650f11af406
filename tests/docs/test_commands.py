"""Every command in the README and in the documents is valid: its options and the files that it
names exist.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from click import ClickException

from reports.statistics.quantiles import shortfall
from rtbench.cli.app import command
from rtbench_simulator.delay import LogNormal
from rtbench_simulator.profile import quiet_profile
from tests.docs.commands import ROOT, commands

SILENCE_MS = 500
"""`silence_duration_ms` of the shipped scripts with a VAD."""
FIRST_SCREEN = 40
"""The number of lines that a reader sees without scrolling."""


def of(program: str) -> list[tuple[str, list[str]]]:
    """Return (page, arguments) for each command of the pages that calls this program."""
    return [(one.page, [*one.words[1:]]) for one in commands() if one.words[0] == program]


def test_every_rtbench_command_parses() -> None:
    refused = []
    for page, (name, *rest) in of("rtbench"):
        try:
            if "--help" not in rest:
                command(name).make_context(name, rest).close()
        except (KeyError, ClickException) as error:
            refused.append(f"{page}: rtbench {name} {' '.join(rest)}: {error!r}")

    assert refused == []


def test_each_limit_on_spoken_turns_is_above_what_a_simulated_service_needs() -> None:
    """A limit that no load can pass is no example: a VAD, then the first audio, take longer."""
    delays = quiet_profile().delays
    assert isinstance(delays.first_audio, LogNormal)
    least_ms = SILENCE_MS + delays.first_audio.p95_ms
    limits = [
        (page, float(limit))
        for page, (_, *rest) in of("rtbench")
        if any("voice_turns" in word or "agent" in word for word in rest)
        for limit in re.findall(r"\b(?:ttfa|voice_to_voice): p\(95\)<(\d+)", " ".join(rest))
    ]

    assert len(limits) >= 3
    assert [one for one in limits if one[1] <= least_ms] == []


def test_the_runs_of_the_readme_are_long_enough_for_the_p95_that_it_explains() -> None:
    """Typed and spoken turns are not pooled, so each kind needs its own turns."""
    mine = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    lacking = {}
    runs = [words for page, words in of("rtbench") if page == "README.md" and words[0] == "run"]
    for _, name, *options in (run for run in runs if "--sessions" in run):
        shipped = ROOT / "scenarios/scripts" / f"{Path(name).stem}.yaml"
        script = shipped.read_text("utf-8") if shipped.exists() else mine[0]
        kinds = Counter(re.findall(r"^  - (text|audio):", script, re.MULTILINE))
        sessions = int(options[options.index("--sessions") + 1])
        for kind, turns in kinds.items():
            lacking[name, kind] = shortfall(0.95, sessions * turns, sessions)

    assert len(lacking) >= 3
    assert set(lacking.values()) == {None}


def test_every_make_command_is_a_target() -> None:
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    named = {words[0] for _, words in of("make") if words}

    assert named <= targets


def test_make_help_describes_every_target_and_lists_those_of_users_first() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    described = dict(re.findall(r"^([a-z-]+):.* (##|###) ", makefile, re.MULTILINE))

    assert set(described) == {
        "test",
        *re.findall(r"^\.PHONY: (.*)", makefile, re.MULTILINE)[0].split(),
    }
    assert [name for name, mark in described.items() if mark == "##"] == [
        "help",
        "bench",
        "test",
        "clean",
    ]
    assert makefile.index(".* ## ") < makefile.index(".* ### ")


@pytest.mark.parametrize(("target", "environment"), [("bench", ".venv/run"), ("test", ".venv/dev")])
def test_the_first_screen_of_the_readme_has_both_commands_and_each_works_alone(
    target: str, environment: str
) -> None:
    """Each target needs the environment that its recipe uses, so it works in a fresh clone."""
    first_screen = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:FIRST_SCREEN]
    rules = re.findall(
        r"^([./a-z-]+): ?([^#\n=]*)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    needs = {
        name: {word for other, words in rules if other == name for word in words.split()}
        for name, _ in rules
    }

    assert [line for line in first_screen if line.split("#")[0].strip() == f"make {target}"]
    assert environment in needs[target]
    assert needs[".venv/dev"] >= {".venv/run", "requirements-dev.lock"}
    assert needs[".venv/run"] >= {".venv/pip", "requirements.lock"}
