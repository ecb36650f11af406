"""The readers of input files, and a check that each reader refuses a bad file with an error of
one line.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.base.errors import RtbenchError
from bench.corpus.labels import read_csv
from bench.files.sanitize import one_line
from bench.load.planning.load_model import load_recorded
from bench.load.planning.stages import load_schedule
from bench.plan.conversation import load_history, load_image
from bench.plan.random_choices import load_rows, load_think_times
from bench.plan.recordings import load_pcm
from bench.plan.script import load_script
from bench.record.replay import replay_log
from bench.target.price_table import load_price_table
from bench.target.target_settings import ServiceOptions
from bench.target.targets import resolve_targets
from reports.metrics import thresholds
from rtbench.cli.overload import load_of_search
from rtbench.cli.session_text import session_text
from rtbench_simulator.profile import load_profile
from tests.helpers import png

ROOT = Path(__file__).parents[2]


PROFILE = ROOT / "rtbench_simulator" / "profiles" / "quiet.yaml"


SCRIPTS = ROOT / "scenarios" / "scripts"


TARGETS = b"""targets:
  east: {endpoint: https://east.openai.azure.com, deployment: rt, api_key_env: A_KEY, headers: {a: b}, connect_rate: 3}
  local: {url: "ws://localhost:1/v1/realtime?model=m", prices: gpt-realtime, variants: {quick: {session: {voice: v}}}}
"""


PRICES = b"""as_of: 2026-01-01
models:
  m: {text_input: 1, text_cached_input: 1, text_output: 1, audio_input: 1, audio_cached_input: 1, audio_output: 1}
"""


THRESHOLDS = (ROOT / "scenarios" / "ci.yaml").read_bytes()


STAGES = b"""stages:
  - {duration: 2m, target: 30/min}
  - {duration: 10m, target: 30/min}
"""


LOG = (Path(__file__).parent / "session.jsonl").read_bytes()
"""The event log of a probe. Most of the log's deltas were removed."""


@dataclass(frozen=True)
class Reader:
    """A reader of one type of file. `of` is the content of a complete, valid file of this type."""

    name: str
    of: bytes
    read: Callable[[Path], object]


def read_log(path: Path) -> object:
    return list(session_text(replay_log(path), 100, colour=False))


def read_targets(path: Path) -> object:
    names = ("east", "local.quick")
    return resolve_targets(
        {"A_KEY": "a-long-enough-key"}, ServiceOptions(targets=names, target_file=path)
    )


READERS = {
    "script": Reader("script.yaml", (SCRIPTS / "text_turns.yaml").read_bytes(), load_script),
    "targets": Reader("targets.yaml", TARGETS, read_targets),
    "profile": Reader("profile.yaml", PROFILE.read_bytes(), load_profile),
    "prices": Reader("prices.yaml", PRICES, load_price_table),
    "thresholds": Reader("ci.yaml", THRESHOLDS, thresholds.read_thresholds),
    "event log": Reader("w0-000000.jsonl", LOG, read_log),
    "rows of CSV": Reader("rows.csv", b"name,city\nAnn,Rome\nBob,Oslo\n", load_rows),
    "rows of JSONL": Reader(
        "rows.jsonl", b'{"name":"Ann","n":1}\n{"name":"Bob","n":2}\n', load_rows
    ),
    "labels": Reader("labels.csv", b"file,end_s,pauses_s\na.wav,2.5,0.5-0.7 1-1.2\n", read_csv),
    "history": Reader("history.jsonl", (SCRIPTS / "long_call.jsonl").read_bytes(), load_history),
    "think times": Reader("times.txt", b"# seconds\n1.5\n0.3\n2\n", load_think_times),
    "arrivals": Reader("calls.txt", b"0\n1.5\n2.25\n7\n", load_recorded),
    "stages": Reader("stages.yaml", STAGES, load_schedule),
    "capacity": Reader(
        "capacity.json",
        b'{"schema":6,"plan":{"by":"concurrency"},"highest_pass":20,"estimate":{"numbers":{"low":9}}}',
        lambda path: load_of_search(path.parent),
    ),
    "image": Reader("a.png", png(8, 8), load_image),
    "WAV": Reader("a.wav", (ROOT / "scenarios" / "audio" / "goodbye.wav").read_bytes(), load_pcm),
}


LONGEST = 1_500
"""The maximum length of an error in characters.

An error names the problem, its place and the remedy, with short quotes.
"""


def check(read: Callable[[], object]) -> None:
    """Assert that `read` either succeeds or raises an RtbenchError whose message is one
    printable line.
    """
    try:
        read()
    except RtbenchError as error:
        line, is_long = one_line(str(error)), len(str(error)) > LONGEST
        assert line
        assert len(line.splitlines()) == 1
        assert not is_long


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of keys to each value of a document."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(found for key, part in inner for found in places(part, (*path, key)))]


def with_value(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = copy.copy(document)
    changed[path[0]] = with_value(changed[path[0]], path[1:], value)
    return changed
