"""Our options as part of Locust's command line."""

from __future__ import annotations

import argparse
import json
import os
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.base.errors import UsageError
from bench.base.installation import EXAMPLES
from bench.catalogue.reference_workload import SESSIONS, USERS, WORKLOADS, ReferenceWorkload
from bench.load.planning import command_line, run_options
from bench.load.planning.command_line import (
    COMMAND,
    OF_OTHER_TOOLS,
    locust_files,
    repeating_command,
    scenario_of,
)
from bench.load.planning.run_options import (
    LOOPBACK,
    Options,
    add_options,
    fork_for_allowed_cores,
    stay_on_loopback,
)
from bench.load.runners.finalized_run import RunThresholds, check_options, found_baseline
from bench.target.target_settings import OPTIONS, ServiceOptions
from rtbench.cli.run import OF_LOCUST
from tests import forked
from tests.command_line import call
from tests.load.options import Parser, help_parser, of_command, parsed, read

SERVICE: dict[str, tuple[str, Any]] = {
    # (the option's value, the parsed value)
    "url": ("ws://localhost:1/v1/realtime",) * 2,
    "dialect": ("preview",) * 2,
    "api_key_env": ("KEY",) * 2,
    "ca_file": ("ca.pem", Path("ca.pem")),
    "auth": ("azure_cli",) * 2,
    "client_cert": ("me.pem", Path("me.pem")),
    "client_key": ("me.key", Path("me.key")),
    "proxy": ("none",) * 2,
    "resolve": ("::1",) * 2,
    "compression": ("deflate",) * 2,
    "prices": ("prices.yaml", Path("prices.yaml")),
    "max_message_mib": ("2", 2),
    "srtp": ("required",) * 2,
    "targets": ("a, b.quick", ("a", "b.quick")),
    "target_file": ("there.yaml", Path("there.yaml")),
}
RUN: dict[str, tuple[str, Any]] = {
    "sessions": ("7", 7),
    "connect_rate": ("30", 30.0),
    "session_pause": ("0", 0.0),
    "seed": ("5", 5),
    "budget": ("2.50", 2.5),
    "warmup": ("1m30s", 90.0),
    "thresholds": ("ttfa: med<1s", ("ttfa: med<1s",)),
    "interim_every": ("25", 25),
    "record_events": ("2.5%", Fraction(1, 40)),
    "runs_dir": ("out", Path("out")),
    "history": ("before.jsonl", Path("before.jsonl")),
    "worker_timeout": ("2m", 120.0),
    "arrival_rate": ("30/min", 0.5),
    "arrival_pattern": ("gamma:2",) * 2,
    "max_concurrent": ("40", 40),
    "name": ("checkout",) * 2,
    "part_of": ("nightly-7",) * 2,
    "whole_run": (
        "parts=10, users=400,arrival-rate=30/min,budget=20",
        {"parts": 10, "users": 400, "arrival_rate": 0.5, "budget": 20.0},
    ),
    "locust_metrics": ("ttfa, voice_to_voice", ("ttfa", "voice_to_voice")),
}
FIELDS = {
    "session_pause": "session_pause_s",
    "budget": "budget_usd",
    "warmup": "warmup_s",
    "worker_timeout": "worker_timeout_s",
    "arrival_rate": "arrivals_per_s",
    "prices": "price_file",
}
FLAGS = (
    "until_decided",
    "show_open_turns",
    "priority",
    "record_audio",
    "record_transcripts",
    "yes",
)


def test_each_option_is_read() -> None:
    given = [
        word
        for name, (value, _) in (SERVICE | RUN).items()
        for word in (f"--{name.replace('_', '-')}", value)
    ]
    given += [f"--{name.replace('_', '-')}" for name in FLAGS]
    options = Options.of(parsed(*given, "--label", "commit=1a2b3c", "--label", "note = two words"))
    flags: dict[str, Any] = dict.fromkeys(FLAGS, True)

    assert options == Options(
        service_options=ServiceOptions(
            **{FIELDS.get(name, name): value for name, (_, value) in SERVICE.items()}
        ),
        labels={"commit": "1a2b3c", "note": "two words"},
        stages=None,
        **{FIELDS.get(name, name): value for name, (_, value) in RUN.items()},
        **flags,
    )


@pytest.mark.parametrize(
    ("share", "wanted"), [("0%", 0), ("100 %", 1), (" 50% ", Fraction(1, 2)), ("", 0)]
)
def test_a_share_of_sessions_is_a_percentage(share: str, wanted: Fraction) -> None:
    assert Options.of(parsed("--record-events", share)).record_events == wanted


def test_record_audio_needs_record_events() -> None:
    with pytest.raises(UsageError, match="add --record-events"):
        Options.of(parsed("--record-audio"))


NO_THRESHOLDS = RunThresholds({}, None)
LIMITED = RunThresholds({"ttfa": ["p(50)<1s"]}, None)


def test_a_run_without_thresholds_and_baseline_is_not_checked() -> None:
    assert check_options(of_command(), NO_THRESHOLDS) is None
    assert check_options(of_command(), LIMITED) == []
    assert check_options(parsed(), LIMITED) is None


def test_a_run_is_checked_against_the_baseline_that_had_the_name_at_its_start() -> None:
    found = RunThresholds({}, None, "runs/20261129T091400Z-before")
    given = of_command("--baseline", "before")

    assert check_options(given, found) == ["--baseline", "runs/20261129T091400Z-before"]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (None, None),
        ("before", "RUNS/20261129T091400Z-before"),
        ("before:west", "RUNS/20261129T091400Z-before:west"),
        ("east", "east"),  # a target of the run, although a run has this name
        ("absent", "absent"),  # refused later, with the other names
    ],
)
def test_the_name_of_a_baseline_is_found_in_the_folder_of_the_runs(
    given: str | None, found: str | None, tmp_path: Path
) -> None:
    for name in ("20261128T091400Z-before", "20261129T091400Z-before", "20261129T091400Z-east"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").touch()
    plan: Any = SimpleNamespace(
        targets=[SimpleNamespace(label="east")], options=SimpleNamespace(runs_dir=tmp_path)
    )
    named = found_baseline(plan, argparse.Namespace(baseline=given))

    assert (named and named.replace(str(tmp_path), "RUNS")) == found


def test_each_format_of_a_check_is_passed_on() -> None:
    given = of_command("--write", "junit=a.xml", "--write", "json=a.json", "--junit", "b.xml")

    assert check_options(given, LIMITED) == [
        "--write",
        "junit=a.xml",
        "--write",
        "json=a.json",
        "--junit",
        "b.xml",
    ]


@pytest.mark.parametrize(
    "option", [("--junit", "found.xml"), ("--write", "json=a"), ("--on-inconclusive", "warn")]
)
def test_an_option_of_a_check_without_thresholds_is_refused(option: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match=f"{option[0]} needs thresholds"):
        check_options(of_command(*option), NO_THRESHOLDS)


def test_the_web_page_and_the_master_listen_on_loopback_by_default() -> None:
    parser = Parser()
    for name in ("--web-host", "--master-bind-host"):
        parser.add_argument(name, default="*")
    stay_on_loopback(parser)

    given = parser.parse_args([])
    assert (given.web_host, given.master_bind_host) == (LOOPBACK, LOOPBACK)


def test_processes_minus_one_means_one_process_per_allowed_core(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_options, "core_count", lambda: 3)
    parser = Parser()
    parser.add_argument("--processes", type=int)
    fork_for_allowed_cores(parser)

    assert [parser.parse_args(["--processes", text]).processes for text in ("-1", "2")] == [3, 2]


# The words of `rtbench run` that are script files, and the words that Locust gets.


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("mine.yaml", "other.yml", "callers.py", "notes.txt", "plain"):
        Path(name).touch()
    Path("scripts").mkdir()
    return tmp_path


def test_script_files_may_be_anywhere_and_other_words_keep_their_order() -> None:
    parsed_words = read(
        "-u 4 mine.yaml --thresholds ci.yaml callers.py Caller other.yml -t 1m",
        "mine.yaml callers.py Caller other.yml",
    )

    assert parsed_words.files == [Path("callers.py"), Path("mine.yaml"), Path("other.yml")]
    assert parsed_words.others == ["-u", "4", "--thresholds", "ci.yaml", "Caller", "-t", "1m"]


def test_each_option_of_another_tool_is_none_of_ours_and_names_one_of_ours() -> None:
    ours = {flag for action in help_parser()._actions for flag in action.option_strings} | {
        "--thresholds"
    }
    flags = ours | {name for name, *_ in OF_LOCUST} | {short for _, short, *_ in OF_LOCUST}

    assert {*OF_OTHER_TOOLS.values()} <= flags
    assert [word for word in OF_OTHER_TOOLS if {f"--{word}", f"-{word}"} & flags] == []


def test_a_class_may_follow_the_value_of_an_option() -> None:
    assert read("callers.py -u 2 Caller", "callers.py Caller").others == ["-u", "2", "Caller"]


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.word)
def test_a_word_stands_for_the_reference_workload_with_its_load(
    workload: ReferenceWorkload,
) -> None:
    arguments = read(f"{workload.word} --yes", workload.word)

    assert arguments.files == [EXAMPLES / workload.file]
    assert arguments.files[0].is_file()
    assert arguments.others == ["--yes"]
    assert arguments.defaults == {"num_users": USERS, "sessions": SESSIONS}


@pytest.mark.parametrize(
    "option", ["--arrival-rate 30/min", "--max-concurrent=9", "--stages stages.yaml"]
)
def test_an_option_that_sets_the_load_replaces_the_default_number_of_users(option: str) -> None:
    assert read(f"reference {option}", "reference").defaults == {"sessions": SESSIONS}


def test_other_files_have_no_default_load() -> None:
    assert read("mine.yaml", "mine.yaml").defaults == {}


@pytest.mark.parametrize(
    ("names", "scenario"),
    [
        (["mine"], "mine"),
        (["text", "voice"], "text_and_voice"),
        (["a", "b", "c"], "a_and_b_and_c"),
        (["a", "b", "c", "d"], "a_and_b_and_2_more"),
    ],
)
def test_a_run_is_named_after_its_scripts(names: list[str], scenario: str) -> None:
    assert scenario_of([Path(f"scripts/{name}.yaml") for name in names]) == scenario


def test_a_script_is_played_by_the_packaged_locust_file(folder: Path) -> None:
    named, variables = locust_files(folder / "mine.yaml")

    assert Path(named).suffix == ".py"
    assert list(variables.values()) == [f'["{(folder / "mine.yaml").resolve()}"]']


def test_a_locust_file_is_played_unchanged(folder: Path) -> None:
    assert locust_files(folder / "load.py") == (str(folder / "load.py"), {})


# The command in run.json that repeats a run.


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `shutil.which` find every program."""
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")


def parser() -> Any:
    """Return a parser that has some options of Locust and all of our options."""
    made = Parser()
    made.add_argument("-f", "--locustfile", default="locustfile")
    made.add_argument("-u", "--users", type=int, dest="num_users")
    made.add_argument("-r", "--spawn-rate", type=float)
    made.add_argument("--tags", nargs="*")
    made.add_argument("--web-login-secret")
    for name in ("--headless", "--master", "--worker"):
        made.add_argument(name, action="store_true")
    made.add_argument("--processes", type=int)
    add_options(made)
    return made


def command_line_of(
    words: str, *, judged: bool = False, environ: dict[str, str] | None = None
) -> str:
    made = parser()
    given = vars(made.parse_args(words.split(), env_vars={}))
    return " ".join(repeating_command(given, made._actions, environ or {}, judged=judged))


def test_the_command_line_repeats_options_by_their_long_names() -> None:
    given = (
        "-f mine.py -u 4 -r 2.5 --headless --tags x y --sessions 12 --targets a,b --yes --name"
        " night --label k=v"
    )
    words = command_line_of(given).split()

    assert words[:10] == [
        "locust",
        "-f",
        "mine.py",
        "--headless",
        "--users",
        "4",
        "--spawn-rate",
        "2.5",
        "--tags",
        "x",
    ]
    for asked in ("--sessions 12", "--targets a,b", "--yes", "--name night", "--label k=v"):
        assert asked in " ".join(words)
    assert command_line_of(" ".join(words[1:])).split() == words


@pytest.mark.parametrize(("file", "judged"), [("mine.yaml", False), ("mine.py", True)])
def test_a_script_or_a_checked_run_is_repeated_by_rtbench_run(file: str, judged: bool) -> None:
    assert (
        command_line_of(f"-f {file} --headless --sessions 3", judged=judged)
        == f"rtbench run {file} --sessions 3"
    )


def test_a_command_that_starts_runs_is_repeated_itself() -> None:
    words = "rtbench quickstart --simulator"

    assert (
        command_line_of("-f x.py --headless", environ={COMMAND: json.dumps(words.split())}) == words
    )


def test_options_with_secrets_are_not_repeated() -> None:
    assert "hush" not in command_line_of("-f x.py --headless --web-login-secret hush --users 3")


@pytest.mark.parametrize(
    "load", ["--arrival-rate 60/min --max-concurrent 5", "--stages stages.yaml"]
)
def test_users_that_the_load_determines_are_not_repeated(load: str) -> None:
    assert (
        command_line_of(f"-f x.py --headless --users 5 --spawn-rate 5 {load}")
        == f"locust -f x.py --headless {load}"
    )


def test_the_simulator_is_repeated_as_a_switch() -> None:
    assert (
        command_line_of("-f x.py --headless --simulator") == "locust -f x.py --headless --simulator"
    )


@pytest.mark.parametrize(
    "words", ["-f x.py", "-f x.py --headless --master", "-f x.py --headless --worker"]
)
def test_a_run_with_the_web_ui_or_several_machines_has_no_command_line(words: str) -> None:
    assert command_line_of(words) == ""


def test_a_program_outside_the_path_is_called_by_its_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/rtbench").touch()
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("sys.executable", str(tmp_path / ".venv/bin/python"))
    monkeypatch.chdir(tmp_path)

    assert command_line.program("rtbench") == ".venv/bin/rtbench"
    assert command_line.program("locust") == "locust"


# `rtbench run --help-all` shows every option that we add to Locust, in the words of Locust's help.


def without_spaces(text: str) -> str:
    return "".join(text.split())


def test_each_option_is_printed_with_its_value_variable_and_help() -> None:
    parser = help_parser()
    out = call("run", "--help-all").stdout

    assert len(parser._actions) > 30
    assert max(map(len, out.splitlines())) <= 100
    for action in parser._actions:
        value = "" if action.nargs == 0 else action.metavar or str(action.dest).upper()
        word = OPTIONS[action.dest].word if action.dest in OPTIONS else ""
        variable = f"LOCUST_{(word or action.dest).upper()}"
        shown = f"\n{action.option_strings[0]} {value}".rstrip().replace("%%", "%")
        assert f"{shown} " in out
        assert without_spaces((action.help or "") % {}) in without_spaces(out)
        assert without_spaces(f"{variable}\n--") in without_spaces(f"{out}--")
        assert all(str(choice) in out for choice in action.choices or ())


def test_the_command_replaces_its_process_by_the_one_that_system_tests_fork(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    executed: list[list[str]] = []
    monkeypatch.setattr(os, "execve", lambda _, command, environ: executed.append(command))
    words = ["run", "mine.yaml", "-u", "4"]
    call(*words)

    assert executed == [
        forked.executed([sys.executable, "-W", "error", "-m", "rtbench.cli.app", *words])
    ]
