"""Our options on Locust's command line."""

from __future__ import annotations

import argparse
from pathlib import Path

import configargparse
import pytest

from bench.errors import UsageError
from bench.load.options import Options, add_options


def parsed(*arguments: str, **environment: str) -> argparse.Namespace:
    """As Locust's parser reads them."""
    parser = configargparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(list(arguments), env_vars=environment)


def test_nothing_given_is_nothing_set() -> None:
    options = Options.of(parsed())

    assert options == Options(None, None, None, None, None, None, 1.0, Path("runs"), False)


def test_everything_given_is_taken() -> None:
    options = Options.of(
        parsed(
            *(
                "--url",
                "ws://localhost:1/v1/realtime",
                "--dialect",
                "preview",
                "--api-key-env",
                "KEY",
                "--ca",
                "ca.pem",
            ),
            *("--sessions", "7", "--connect-rate", "30", "--session-pause", "0", "--runs", "out", "--yes"),
        )
    )

    assert options == Options(
        "ws://localhost:1/v1/realtime", "preview", "KEY", Path("ca.pem"), 7, 30.0, 0.0, Path("out"), True
    )


def test_a_rate_of_zero_is_no_limit_and_not_the_default() -> None:
    assert Options.of(parsed("--connect-rate", "0")).connect_rate == 0.0


def test_a_negative_rate_is_refused() -> None:
    with pytest.raises(UsageError, match="--connect-rate"):
        Options.of(parsed("--connect-rate=-1"))


def test_the_environment_sets_what_the_command_line_does_not() -> None:
    options = Options.of(parsed("--runs", "here", LOCUST_RUNS="there", LOCUST_SESSIONS="3"))

    assert (options.runs, options.sessions) == (Path("here"), 3)
