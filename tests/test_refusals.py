"""What a user writes wrong is refused in one line that says what is wrong, and quotes no secret:
the rows of `refusals.txt`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from bench.base.errors import USAGE_STATUS, UsageError
from bench.load.planning.load_model import load_recorded
from bench.load.planning.run_options import Options
from bench.load.planning.stages import load_schedule
from bench.plan.random_choices import load_rows
from bench.record.upload import destination_of
from bench.target.address import url_address
from bench.target.network_path import parsed_proxy
from bench.target.price_table import load_price_table
from bench.target.target_settings import IN_FILE, ServiceOptions, TargetSettings
from bench.target.targets import resolve_targets
from reports.analysis.trends.trend import trend_spec
from reports.metrics.thresholds import metric_named, parse, read_thresholds
from rtbench.capacity.load_thresholds import allowed_share
from rtbench.cli import app
from rtbench_simulator.faults.kinds import read_line
from rtbench_simulator.profile import load_profile
from tests.attack.cases import unescaped_text
from tests.capacity.built import threshold_of
from tests.load.options import of_command, parsed, read

LINES: dict[str, Callable[[Any], object]] = {
    "option": lambda text: Options.of(parsed(text)),
    "vary": lambda text: resolve_targets(
        {}, ServiceOptions(url="ws://127.0.0.1:1/v1/realtime?model=m", vary=text)
    ),
    "fault": read_line,
    "proxy": lambda text: parsed_proxy(text, "--proxy"),
    "upload": lambda text: destination_of(text, "--upload"),
    "trend": trend_spec,
    "threshold": lambda text: parse(*text.split(" ", 1)),
    "locust option": lambda text: of_command(*text.split()),
    "run": lambda text: read(*text.split(" |")),
    "rtbench": lambda text: rtbench(text),
    "url": lambda text: url_address(text, TargetSettings(url=text), IN_FILE),
    "metric": metric_named,
    "profile": lambda text: load_profile(Path(text)),
    "capacity": lambda text: allowed_share(threshold_of(text)),
}
"""The readers of a line: each line of a row is refused."""
FILES: dict[str, Callable[[Any], object]] = {
    "profile.yaml": load_profile,
    "stages.yaml": load_schedule,
    "prices.yaml": load_price_table,
    "calls.txt": load_recorded,
    "ci.yaml": read_thresholds,
    "rows.csv": load_rows,
    "rows.jsonl": load_rows,
    "rows.txt": load_rows,
}
"""The readers of a file: the lines of a row are its content."""
SECRET = "s3cr3t"
THERE = ("mine.yaml", "other.yml", "callers.py", "notes.txt", "plain")


def rtbench(words: str) -> None:
    with patch.object(sys, "argv", ["rtbench", *words.split()]):
        app.main()


def cases() -> Iterator[tuple[str, str, str]]:
    """Yield (kind, what is written, words of the refusal)."""
    table = Path(__file__).with_name("refusals.txt").read_text(encoding="utf-8")
    for block in table.split("\n\n"):
        if block.startswith("["):
            kind = block.strip("[]\n")
        elif not block.startswith("#"):
            words, *lines = block.splitlines()
            texts = [text_of(line[4:]) for line in lines]
            is_whole = kind in FILES and not lines[0].startswith("    escaped")
            for text in ["".join(f"{text}\n" for text in texts)] if is_whole else texts:
                yield kind, text, words


def text_of(line: str) -> str:
    word, _, rest = line.partition(" ")
    return unescaped_text(rest) if word == "escaped" else line


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [pytest.param(*case, id=f"{case[0]}: {case[1]!r:.60}") for case in cases()],
)
def test_what_a_user_writes_wrong_is_refused_in_one_line(
    kind: str,
    text: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in THERE:
        Path(name).write_text("steps: []\n" if name == "mine.yaml" else "", encoding="utf-8")
    Path("scripts").mkdir()
    given: Any = text
    if kind in FILES:
        given = tmp_path / kind
        given.write_text(text, encoding="utf-8", newline="")
    with pytest.raises((UsageError, SystemExit)) as refused:
        (LINES | FILES)[kind](given)
    message = str(refused.value)
    if isinstance(refused.value, SystemExit):
        assert refused.value.code == USAGE_STATUS
        message = capsys.readouterr().err.removesuffix("\n")
    assert message.isprintable()
    assert SECRET not in message
    assert re.search(".*".join(map(re.escape, words.split("… "))), message), message
