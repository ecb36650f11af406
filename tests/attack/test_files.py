"""Damaged and hostile input files. Each reader either accepts such a file, or raises an error of
one line.
"""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rtbench
from reports.analysis.summary.summary import summarise
from reports.pages.run_report.document import write_report
from tests.attack.hostile_files import LOG, READERS, check, places, read_log, with_value
from tests.examples import some
from tests.reports import synthetic
from tests.reports.forms import run_text
from tests.reports.synthetic import Plan
from tools.fuzz.damage import HOSTILE, WRONG, dumped


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spoilt")


@pytest.mark.parametrize("kind", READERS)
def test_a_file_with_hostile_bytes_is_read_or_refused_in_one_line(
    tmp_path: Path, kind: str
) -> None:
    reader = READERS[kind]
    path = tmp_path / reader.name
    for number, hostile in enumerate(HOSTILE, [*READERS].index(kind)):
        contents = (hostile, hostile + reader.of, reader.of + hostile)
        for content in some(contents, 1, number):
            path.write_bytes(content)

            check(partial(reader.read, path))


@pytest.mark.parametrize("kind", READERS)
def test_a_file_with_an_overlong_word_is_read_or_refused_in_one_short_line(
    tmp_path: Path, kind: str
) -> None:
    """The test replaces one word of a valid file by a very long word, or by many words."""
    reader = READERS[kind]
    path = tmp_path / reader.name
    words = [match.span() for match in re.finditer(rb"[A-Za-z0-9_./-]+", reader.of)]
    for begin, end in some(words[:: max(1, len(words) // 12)], 4):
        for long in (b"w" * 5_000, b"1" * 5_000, b"name, " * 300):
            path.write_bytes(reader.of[:begin] + long + reader.of[end:])

            check(partial(reader.read, path))


@pytest.mark.parametrize("kind", READERS)
def test_each_reader_accepts_its_valid_file(tmp_path: Path, kind: str) -> None:
    """If a reader refused its valid file too, the other tests could pass although the reader
    reads nothing.
    """
    path = tmp_path / READERS[kind].name
    path.write_bytes(READERS[kind].of)

    READERS[kind].read(path)


# JSON documents in which one value is replaced by a value of another type.


@pytest.fixture(scope="module")
def run(scratch: Path) -> Path:
    plan = Plan(
        sessions=6, turns=2, targets=("east", "west"), paired=True, usage=True, limited=True
    )
    return synthetic.write(scratch / "run", plan, overload=synthetic.PEAK)


def write_reports(folder: Path) -> None:
    """Write all reports of one run."""
    summary = summarise(rtbench.load(folder, all_columns=False))
    run_text(summary)
    write_report(summary)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_a_run_json_with_wrong_values_is_reported_or_refused_in_one_line(
    run: Path, data: st.DataObject
) -> None:
    path = run / "run.json"
    whole = path.read_bytes()
    document = json.loads(whole)
    try:
        for _ in range(data.draw(st.integers(1, 2))):
            place = data.draw(st.sampled_from(places(document)))
            document = with_value(document, place, data.draw(st.sampled_from(WRONG)))
        path.write_text(dumped(document))

        check(lambda: write_reports(run))
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize(
    "validity",
    [
        {"a": 1},
        {"status": "valid", "reasons": [], "checks": None},
        {"status": "valid", "checks": [{}]},
    ],
)
def test_a_validity_without_its_values_is_reported_or_refused_in_one_line(
    run: Path, validity: object
) -> None:
    path = run / "run.json"
    whole = path.read_bytes()
    try:
        path.write_text(dumped(json.loads(whole) | {"validity": validity}))

        check(lambda: write_reports(run))
    finally:
        path.write_bytes(whole)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_a_line_of_an_event_log_with_wrong_values_is_read_or_refused_in_one_line(
    scratch: Path, data: st.DataObject
) -> None:
    parsed = [json.loads(line) for line in LOG.splitlines()]
    for _ in range(data.draw(st.integers(1, 2))):
        number = data.draw(st.integers(0, len(parsed) - 1))
        place = data.draw(st.sampled_from(places(parsed[number])))
        parsed[number] = with_value(parsed[number], place, data.draw(st.sampled_from(WRONG)))
    path = scratch / "changed.jsonl"
    path.write_text("".join(f"{dumped(line)}\n" for line in parsed))

    check(lambda: read_log(path))
