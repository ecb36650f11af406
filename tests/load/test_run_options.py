"""Our options on Locust's command line."""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path
from typing import Any

import configargparse
import pytest

from bench.errors import UsageError
from bench.load.planning.run_options import Options, add_options
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
        max_sessions=None,
        stages=None,
        warmup_s=None,
        until_decided=False,
        thresholds=None,
        look_every=50,
        connect_rate=None,
        session_pause_s=1.0,
        history=None,
        budget_usd=None,
        seed=1,
        record_events=Fraction(0),
        keep_audio=False,
        transcripts=False,
        name="",
        part_of="",
        labels={},
        runs=Path("runs"),
        worker_timeout_s=30.0,
        priority=False,
        yes=False,
    )


def test_everything_given_is_taken() -> None:
    options = Options.of(
        parsed(
            *("--url", "ws://localhost:1/v1/realtime", "--dialect", "preview", "--api-key-env", "KEY"),
            *("--ca", "ca.pem", "--sessions", "7", "--connect-rate", "30", "--session-pause", "0", "--seed", "5"),
            *("--auth", "azure_cli", "--client-cert", "me.pem", "--client-key", "me.key", "--proxy", "none"),
            *("--resolve", "::1", "--compression", "deflate", "--prices", "prices.yaml", "--budget", "2.50"),
            *("--max-message-mib", "2"),
            *("--warmup", "1m30s", "--until-decided", "--thresholds", "ci.yaml", "--look-every", "25"),
            *("--targets", "a, b.quick", "--target-file", "there.yaml", "--locust-tables", "--priority"),
            *("--record-events", "2.5%", "--keep-audio", "--transcripts", "--runs", "out", "--yes"),
            *("--history", "before.jsonl", "--worker-timeout", "2m"),
            *("--arrivals", "30/min", "--arrival-pattern", "gamma:2", "--max-sessions", "40"),
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
            ca=Path("ca.pem"),
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
        max_sessions=40,
        stages=None,
        warmup_s=90.0,
        until_decided=True,
        thresholds=Path("ci.yaml"),
        look_every=25,
        connect_rate=30.0,
        session_pause_s=0.0,
        history=Path("before.jsonl"),
        budget_usd=2.5,
        seed=5,
        record_events=Fraction(1, 40),
        keep_audio=True,
        transcripts=True,
        name="checkout",
        part_of="nightly-7",
        labels={"commit": "1a2b3c", "note": "two words"},
        runs=Path("out"),
        worker_timeout_s=120.0,
        priority=True,
        yes=True,
    )


@pytest.mark.parametrize("share", ["5", "101%", "-1%", "nan%", "1e1%", "half", "%", "1%%"])
def test_a_share_of_sessions_that_is_no_percentage_is_refused(share: str) -> None:
    with pytest.raises(UsageError, match="--record-events must be a percentage from 0% to 100%"):
        Options.of(parsed(f"--record-events={share}"))


@pytest.mark.parametrize(("share", "wanted"), [("0%", 0), ("100 %", 1), (" 50% ", Fraction(1, 2)), ("", 0)])
def test_a_share_of_sessions_is_a_percentage(share: str, wanted: Fraction) -> None:
    assert Options.of(parsed("--record-events", share)).record_events == wanted


def test_audio_is_kept_in_logs_alone() -> None:
    with pytest.raises(UsageError, match="add --record-events"):
        Options.of(parsed("--keep-audio"))


@pytest.mark.parametrize("seed", ["-1", "1.5", "x", "²"])
def test_a_seed_that_is_no_whole_number_is_refused(seed: str) -> None:
    with pytest.raises(UsageError, match="--seed must be a whole number from 0 to"):
        Options.of(parsed(f"--seed={seed}"))


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


@pytest.mark.parametrize("given", ["-1", "soon", "1.5m", "s", "1s2m", "²", "1 m", " "])
def test_a_warm_up_that_is_no_time_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="--warmup must be a time such as 90, 90s, 2m or 1m30s"):
        Options.of(parsed(f"--warmup={given}"))


@pytest.mark.parametrize("idle", [("--thresholds", "ci.yaml"), ("--look-every", "25")])
def test_how_to_decide_is_refused_where_nothing_is_to_be_decided(idle: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match=f"{idle[0]} needs --until-decided"):
        Options.of(parsed(*idle))


def test_a_rate_of_zero_is_no_limit_and_not_the_default() -> None:
    assert Options.of(parsed("--connect-rate", "0")).connect_rate == 0.0


def test_a_negative_rate_is_refused() -> None:
    with pytest.raises(UsageError, match="--connect-rate"):
        Options.of(parsed("--connect-rate=-1"))


@pytest.mark.parametrize("budget", ["0", "-1", "nan", "inf", "five"])
def test_a_budget_that_is_no_money_is_refused(budget: str) -> None:
    with pytest.raises(UsageError, match="--budget must be"):
        Options.of(parsed(f"--budget={budget}"))


def test_the_environment_sets_what_the_command_line_does_not() -> None:
    options = Options.of(parsed("--runs", "here", LOCUST_RUNS="there", LOCUST_SESSIONS="3"))

    assert (options.runs, options.sessions) == (Path("here"), 3)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--name", "../elsewhere"),
        ("--name", "a/b"),
        ("--name", ".hidden"),
        ("--name", "x" * 81),
        ("--label", "commit"),
        ("--label", "commit="),
        ("--label", "=1a2b3c"),
        ("--label", "a key=1"),
        ("--label", "commit=one\ntwo"),
        ("--label", f"commit={'x' * 201}"),
    ],
)
def test_a_name_or_label_that_cannot_be_kept_is_refused(arguments: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match=arguments[0]):
        Options.of(parsed(*arguments))


def test_labels_come_from_the_environment_too() -> None:
    assert Options.of(parsed(LOCUST_LABEL="[commit=1, build=2]", LOCUST_NAME="nightly")).labels == {
        "commit": "1",
        "build": "2",
    }
