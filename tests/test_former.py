"""A former name of a command or an option does not work, and its error states the new name."""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from typing import Any

import pytest

from bench import former, former_keys
from bench.cli import app
from bench.errors import UsageError
from bench.load.planning.load_model import IN_SCENARIO, asked
from bench.load.planning.run_options import RUN_OPTIONS, add_options, refuse_former_options
from bench.metrics import CATALOGUE
from reports.question import RATES
from reports.thresholds import parse
from tests.command_line import call
from tests.load.test_run_options import Parser


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What `rtbench` says on stderr before it ends with status 2."""
    monkeypatch.setattr(sys, "argv", ["rtbench", *words])
    monkeypatch.setattr(app, "forgiving", lambda stream: stream)
    with pytest.raises(SystemExit) as ended:
        app.main()

    assert ended.value.code == 2
    return capsys.readouterr().err


def options_of(command: Any) -> set[str]:
    members = getattr(command, "commands", {}).values() or [command]
    return {option for member in members for parameter in member.params for option in parameter.opts}


@pytest.mark.parametrize("old", former.COMMANDS)
def test_the_error_for_a_former_command_states_the_new_one(
    old: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    new = former.COMMANDS[old]

    assert new in app.commands().commands
    assert old not in app.commands().commands
    assert said(monkeypatch, capsys, old) == f"rtbench: No such command '{old}'; it is '{new}' now.\n"


@pytest.mark.parametrize(
    ("command", "old"), [(name, old) for name, olds in former.COMMAND_OPTIONS.items() for old in olds]
)
def test_the_error_for_a_former_option_of_a_command_states_the_new_one(
    command: str, old: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    new = former.COMMAND_OPTIONS[command][old]
    words = (command, "save") if command == "baseline" else (command,)

    assert new in options_of(app.commands().commands[command])
    assert old not in options_of(app.commands().commands[command])
    assert said(monkeypatch, capsys, *words, old, "x") == f"rtbench: No such option: {old}; it is {new} now.\n"


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, file: Any = None, **environment: str) -> str:
    """What a parser with our options says on stderr before it ends with status 2. `file`: its locust.conf."""
    parser = Parser(default_config_files=[str(file)] if file else [])
    add_options(parser)
    refuse_former_options(parser)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(list(arguments), env_vars=environment)

    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("old", former.RUN_OPTIONS)
def test_locust_refuses_a_former_option_also_as_a_variable_and_a_key_of_its_file(
    old: str, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    new = former.RUN_OPTIONS[old]
    (tmp_path / "locust.conf").write_text(f"{old[2:]} = 1\n")
    given = refused(capsys, old)

    assert f"{old} ({former.variable_of(old)}) is {new} ({former.variable_of(new)}) now." in given
    assert len(given.splitlines()) == 1
    assert refused(capsys, **{former.variable_of(old): "1"}) == given
    assert refused(capsys, file=tmp_path / "locust.conf") == given


def test_every_new_name_of_a_run_s_option_is_one() -> None:
    parser = Parser()
    add_options(parser)
    known = {option for action in parser._actions for option in action.option_strings}

    assert set(former.RUN_OPTIONS.values()) <= known
    assert not known & former.RUN_OPTIONS.keys()


def test_a_former_variable_is_refused_by_the_commands_and_not_ignored() -> None:
    ended = call("runs", env={"LOCUST_RUNS": "there"})

    assert isinstance(ended.exception, UsageError)
    assert str(ended.exception) == "the variable LOCUST_RUNS is LOCUST_RUNS_DIR now"


@pytest.mark.parametrize("old", ["arrivals", "max_sessions"])
def test_a_former_attribute_of_a_class_of_users_is_refused_and_not_ignored(old: str) -> None:
    new = former.attribute_of(former.RUN_OPTIONS[f"--{old.replace('_', '-')}"])
    nothing = Namespace(**dict.fromkeys((*RUN_OPTIONS, *(option.name for option in RUN_OPTIONS.values()))))

    assert new in IN_SCENARIO
    with pytest.raises(UsageError, match=f"Busy: the attribute `{old}` is `{new}` now"):
        asked(nothing, (type("Busy", (), {old: "30/min"}),))


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("failures: rate<1%", 'the metric "failures" is failure_rate now'),
        ("token_wait: p(95)<5s", 'the metric "token_wait" is auth_wait now'),
        ("ttfa{traits:calls}: med<1s", "the filter `traits` is `turn_type` now"),
        ("ttfa{turn_type:plain}: med<1s", "the turn type `plain` is `regular` now"),
    ],
)
def test_a_former_name_in_a_threshold_is_refused_with_the_present_one(written: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        parse(*written.rsplit(": ", 1))


def test_former_metrics_are_no_metrics_and_their_present_names_are() -> None:
    known = {*CATALOGUE, *RATES, "ttfa_typical_change"}

    assert not former_keys.METRICS.keys() & known
    assert set(former_keys.METRICS.values()) <= known
