"""Our options beside Locust's own, on its command line, in its web UI, in locust.conf and in the environment."""

from __future__ import annotations

import argparse
import math
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from bench.errors import UsageError


def add_options(parser: Any) -> None:
    """Register our options with Locust's parser, which shows them in its web UI; each can be `LOCUST_<NAME>` too."""

    def add(name: str, **settings: Any) -> None:
        parser.add_argument(name, env_var=f"LOCUST_{name[2:].upper().replace('-', '_')}", **settings)

    add("--url", help="WebSocket URL of any compatible server, instead of AZURE_OPENAI_ENDPOINT and its kin")
    add("--dialect", choices=["ga", "preview"], help="how the service spells its events (default: by path or version)")
    add("--api-key-env", metavar="NAME", help="environment variable of the key (with --url the only one that is sent)")
    add("--ca", metavar="FILE", help="a certificate authority (PEM) to trust beside the system's")
    add("--sessions", type=_positive, metavar="N", help="end the run after N sessions")
    add(
        "--connect-rate", type=float, metavar="N", help="connection starts a minute, 0 for no limit (Azure preview: 30)"
    )
    add("--session-pause", type=float, default=1.0, metavar="S", help="seconds between a user's sessions (default: 1)")
    add("--seed", default="1", metavar="N", help="which of several recordings each session plays (default: 1)")
    add("--record-events", metavar="P%%", help="keep the event log of this share of the sessions, e.g. 1%%")
    add("--keep-audio", action="store_true", help="keep the audio in event logs, else it is cut")
    add("--transcripts", action="store_true", help="keep what was said, in transcripts.jsonl")
    add("--runs", default="runs", metavar="FOLDER", help="where run folders are made (default: runs)")
    add("--yes", action="store_true", help="do run over 20 sessions against a host that is not loopback")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


@dataclass(frozen=True)
class Options:
    """Our options as given."""

    url: str | None
    dialect: str | None
    api_key_env: str | None
    ca: Path | None
    sessions: int | None
    connect_rate: float | None
    session_pause_s: float
    seed: int
    record_events: Fraction
    """The share of sessions whose events are logged, 0 to 1."""
    keep_audio: bool
    transcripts: bool
    runs: Path
    yes: bool

    @staticmethod
    def of(parsed: Any) -> Options:
        """From Locust's parsed options, or what its web UI made of them. Raises UsageError for what cannot be."""
        record_events = _share(parsed.record_events, "--record-events")
        if parsed.keep_audio and not record_events:
            raise UsageError("--keep-audio is about event logs, and none are kept: add --record-events 1%")
        return Options(
            url=parsed.url or None,
            dialect=parsed.dialect or None,
            api_key_env=parsed.api_key_env or None,
            ca=Path(parsed.ca) if parsed.ca else None,
            sessions=_whole(parsed.sessions, "--sessions", 1),
            connect_rate=_number(parsed.connect_rate, "--connect-rate"),
            session_pause_s=_number(parsed.session_pause, "--session-pause") or 0.0,
            seed=_whole(parsed.seed, "--seed", 0) or 0,
            record_events=record_events,
            keep_audio=bool(parsed.keep_audio),
            transcripts=bool(parsed.transcripts),
            runs=Path(parsed.runs or "runs"),
            yes=bool(parsed.yes),
        )


def _share(value: object, option: str) -> Fraction:
    """A percentage as a share of 1; 0 where nothing is given."""
    if value in (None, ""):
        return Fraction(0)
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", str(value).strip(), re.ASCII)
    share = Fraction(match[1]) / 100 if match else Fraction(2)
    if share > 1:
        raise UsageError(f"{option} must be a percentage from 0% to 100%, such as 1%, not {value}")
    return share


def _whole(value: object, option: str, least: int) -> int | None:
    """A whole number from `least` on; None where nothing is given."""
    if value in (None, ""):
        return None
    text = str(value).strip()
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise UsageError(f"{option} must be a whole number from {least} on, not {value}")
    return int(text)


def _number(value: object, option: str) -> float | None:
    """A finite number from 0 on; None where nothing is given."""
    if value in (None, ""):
        return None
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise UsageError(f"{option} must be a number from 0 on, not {value}")
    return number
