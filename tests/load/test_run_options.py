"""Our options on Locust's command line."""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path
from typing import Any

import configargparse
import pytest

from bench.errors import UsageError
from bench.load.leading.gating import check_options
from bench.load.planning import run_options
from bench.load.planning.run_options import (
    LOOPBACK,
    Options,
    add_command,
    add_options,
    fork_for_allowed_cores,
    is_command,
    stay_on_loopback,
)
from bench.target.options import ServiceOptions


class Parser(configargparse.ArgumentParser):  # type: ignore[misc]  # it is not typed
    """Locust's, as far as it goes beyond argparse."""

    def add_argument(self, *names: str, include_in_web_ui: bool = True, **settings: Any) -> Any:
        return super().add_argument(*names, **settings)


def parsed(*arguments: str, **environment: str) -> argparse.Namespace:
    """As Locust's parser reads them."""
    parser = Parser()
    add_options(parser)
    return parser.parse_args(list(arguments), env_vars=environment)


def test_nothing_given_is_nothing_set() -> None:
    assert Options.of(parsed()) == Options(
        service_options=ServiceOptions(),
        sessions=None,
        arrivals_per_s=None,
        arrival_pattern=None,
        max_concurrent=None,
        stages=None,
        warmup_s=None,
        until_decided=False,
        thresholds=None,
        interim_every=50,
        connect_rate=None,
        session_pause_s=1.0,
        history=None,
        budget_usd=None,
        seed=1,
        record_events=Fraction(0),
        record_audio=False,
        record_transcripts=False,
        name="",
        part_of="",
        labels={},
        runs_dir=Path("runs"),
        worker_timeout_s=30.0,
        priority=False,
        yes=False,
    )


def test_everything_given_is_taken() -> None:
    options = Options.of(
        parsed(
            *("--url", "ws://localhost:1/v1/realtime", "--dialect", "preview", "--api-key-env", "KEY"),
            *("--ca-file", "ca.pem", "--sessions", "7", "--connect-rate", "30", "--session-pause", "0", "--seed", "5"),
            *("--auth", "azure_cli", "--client-cert", "me.pem", "--client-key", "me.key", "--proxy", "none"),
            *("--resolve", "::1", "--compression", "deflate", "--prices", "prices.yaml", "--budget", "2.50"),
            *("--max-message-mib", "2"),
            *("--warmup", "1m30s", "--until-decided", "--thresholds", "ci.yaml", "--interim-every", "25"),
            *("--targets", "a, b.quick", "--target-file", "there.yaml", "--priority"),
            *("--record-events", "2.5%", "--record-audio", "--record-transcripts", "--runs-dir", "out", "--yes"),
            *("--history", "before.jsonl", "--worker-timeout", "2m"),
            *("--arrival-rate", "30/min", "--arrival-pattern", "gamma:2", "--max-concurrent", "40"),
            *(
                "--name",
                "checkout",
                "--part-of",
                "nightly-7",
                "--label",
                "commit=1a2b3c",
                "--label",
                "note = two words",
            ),
        )
    )

    assert options == Options(
        service_options=ServiceOptions(
            targets=("a", "b.quick"),
            target_file=Path("there.yaml"),
            url="ws://localhost:1/v1/realtime",
            dialect="preview",
            api_key_env="KEY",
            auth="azure_cli",
            ca_file=Path("ca.pem"),
            client_cert=Path("me.pem"),
            client_key=Path("me.key"),
            proxy="none",
            resolve="::1",
            compression="deflate",
            max_message_mib=2,
            prices=Path("prices.yaml"),
        ),
        sessions=7,
        arrivals_per_s=0.5,
        arrival_pattern="gamma:2",
        max_concurrent=40,
        stages=None,
        warmup_s=90.0,
        until_decided=True,
        thresholds=Path("ci.yaml"),
        interim_every=25,
        connect_rate=30.0,
        session_pause_s=0.0,
        history=Path("before.jsonl"),
        budget_usd=2.5,
        seed=5,
        record_events=Fraction(1, 40),
        record_audio=True,
        record_transcripts=True,
        name="checkout",
        part_of="nightly-7",
        labels={"commit": "1a2b3c", "note": "two words"},
        runs_dir=Path("out"),
        worker_timeout_s=120.0,
        priority=True,
        yes=True,
    )


REFUSED = {
    # (option, what is said of it, values)
    "a share of sessions is a percentage": ("--record-events", "--record-events must be a percentage from 0% to 100%",
                                            ["5", "101%", "-1%", "nan%", "1e1%", "half", "%", "1%%"]),
    "a seed is a whole number": ("--seed", "--seed must be a whole number from 0 to", ["-1", "1.5", "x", "²"]),
    "a warm-up is a time": ("--warmup", "--warmup must be a time such as 90, 90s, 2m or 1m30s",
                            ["-1", "soon", "1.5m", "s", "1s2m", "²", "1 m", " "]),
    "thresholds are for deciding": ("--thresholds", "--thresholds needs --until-decided", ["ci.yaml"]),
    "looks are for deciding": ("--interim-every", "--interim-every needs --until-decided", ["25"]),
    "a rate is not negative": ("--connect-rate", "--connect-rate", ["-1"]),
    "a budget is money": ("--budget", "--budget must be", ["0", "-1", "nan", "inf", "five"]),
    "a name can be a folder": ("--name", "--name", ["../elsewhere", "a/b", ".hidden", "x" * 81]),
    "a label has a name and a value": ("--label", "--label", ["commit", "commit=", "=1a2b3c", "a key=1",
                                                              "commit=one\ntwo", f"commit={'x' * 201}"]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("option", "said", "value"),
    [
        pytest.param(option, said, value, id=f"{claim}: {value!r:.20}")
        for claim, (option, said, values) in REFUSED.items()
        for value in values
    ],
)
def test_what_an_option_cannot_be_is_refused(option: str, said: str, value: str) -> None:
    with pytest.raises(UsageError, match=said):
        Options.of(parsed(f"{option}={value}"))


@pytest.mark.parametrize(("share", "wanted"), [("0%", 0), ("100 %", 1), (" 50% ", Fraction(1, 2)), ("", 0)])
def test_a_share_of_sessions_is_a_percentage(share: str, wanted: Fraction) -> None:
    assert Options.of(parsed("--record-events", share)).record_events == wanted


def test_audio_is_kept_in_logs_alone() -> None:
    with pytest.raises(UsageError, match="add --record-events"):
        Options.of(parsed("--record-audio"))


@pytest.mark.parametrize("sessions", ["0", "1.5", "many"])
def test_a_number_of_sessions_from_the_web_ui_is_checked_too(sessions: str) -> None:
    given = parsed()
    given.sessions = sessions

    with pytest.raises(UsageError, match="--sessions must be a whole number from 1 to"):
        Options.of(given)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("90", 90), ("90s", 90), ("2m", 120), ("1m30s", 90), ("1h", 3600), ("1.5", 1.5), ("0", 0), (" 2m ", 120)],
)
def test_a_warm_up_is_a_time(given: str, seconds: float) -> None:
    assert Options.of(parsed("--warmup", given)).warmup_s == seconds


def test_a_rate_of_zero_is_no_limit_and_not_the_default() -> None:
    assert Options.of(parsed("--connect-rate", "0")).connect_rate == 0.0


def test_the_environment_sets_what_the_command_line_does_not() -> None:
    options = Options.of(parsed("--runs-dir", "here", LOCUST_RUNS_DIR="there", LOCUST_SESSIONS="3"))

    assert (options.runs_dir, options.sessions) == (Path("here"), 3)


def test_labels_come_from_the_environment_too() -> None:
    assert Options.of(parsed(LOCUST_LABEL="[commit=1, build=2]", LOCUST_NAME="nightly")).labels == {
        "commit": "1",
        "build": "2",
    }


def of_command(*arguments: str) -> argparse.Namespace:
    """As `rtbench run` reads them."""
    parser = Parser()
    for own in (("--headless", False), ("--loglevel", "INFO")):
        parser.add_argument(own[0], default=own[1])
    add_options(parser)
    add_command(parser)
    return parser.parse_args(list(arguments), env_vars={})


def test_a_run_of_the_command_is_headless_and_takes_thresholds_without_looks() -> None:
    given = of_command("--thresholds", "ci.yaml", "--baseline", "runs/before")

    assert given.headless
    assert is_command(given)
    assert not is_command(parsed())
    assert Options.of(given).thresholds == Path("ci.yaml")
    assert check_options(given, {"ttfa": ["p(50)<1s"]}) == ["--baseline", "runs/before"]


def test_a_run_without_thresholds_and_baseline_is_not_judged() -> None:
    assert check_options(of_command(), {}) is None
    assert check_options(of_command(), {"ttfa": ["p(50)<1s"]}) == []
    assert check_options(parsed(), {"ttfa": ["p(50)<1s"]}) is None


@pytest.mark.parametrize("option", [("--junit", "found.xml"), ("--on-inconclusive", "warn")])
def test_an_option_of_a_verdict_that_nobody_gives_is_refused(option: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match=f"{option[0]} needs thresholds"):
        check_options(of_command(*option), {})


def test_what_the_parser_of_the_command_refuses_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        of_command("--on-inconclusive", "maybe")

    said = capsys.readouterr().err
    assert end.value.code == 2
    assert said.startswith("rtbench: argument --on-inconclusive: invalid choice: 'maybe'")
    assert said.count("\n") == 1


def test_the_web_page_and_the_master_listen_on_loopback_unless_told_otherwise() -> None:
    parser = Parser()
    for name in ("--web-host", "--master-bind-host"):
        parser.add_argument(name, default="*")
    stay_on_loopback(parser)

    given = parser.parse_args([])
    assert (given.web_host, given.master_bind_host) == (LOOPBACK, LOOPBACK)


def test_minus_one_process_stands_for_the_cores_that_the_run_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_options, "core_count", lambda: 3)
    parser = Parser()
    parser.add_argument("--processes", type=int)
    fork_for_allowed_cores(parser)

    assert [parser.parse_args(["--processes", text]).processes for text in ("-1", "2")] == [3, 2]
