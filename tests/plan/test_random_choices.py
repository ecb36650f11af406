"""Think times: the files that contain them, and the distribution of the pauses."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bench.base.errors import ScriptError, UsageError
from bench.files.yaml_file import MAX_BYTES
from bench.plan.random_choices import (
    MAX_PAUSE_S,
    LogNormalTimes,
    RecordedTimes,
    SessionChoices,
    ThinkTime,
    fill_variables,
    load_rows,
    load_think_times,
    names_in,
)

TIMES_S = st.floats(0, MAX_PAUSE_S)
MEDIANS_S = st.floats(0.001, MAX_PAUSE_S)
SIGMAS = st.floats(0, 2)


def draws(length: ThinkTime, count: int, seed: int = 1) -> list[float]:
    generator = np.random.default_rng(seed)
    return [length.draw_s(generator) for _ in range(count)]


def recorded(*seconds: float) -> RecordedTimes:
    return RecordedTimes(Path("times.txt"), "ab", seconds)


NO_SECONDS = "times.txt:2: must be a number of seconds from 0 to 3600, not "
WRONG = [
    ("", "times.txt: has no line with a number of seconds"),
    ("# nothing\n\n", "times.txt: has no line with a number of seconds"),
    *(
        (f"1\n{written}\n", f"{NO_SECONDS}{written}")
        for written in (
            "-1",
            "3600.1",
            "1e999",
            "nan",
            "inf",
            "1,5",
            "1 2",
            "1_0",
            "0x1",
            "two",
            "٣",
            "+1",
            ".",
        )
    ),
    ("1\n" + "9" * 100_000 + "x\n", NO_SECONDS + "9" * 40 + "…"),
]


@pytest.mark.parametrize(
    ("text", "problem"), WRONG, ids=[f"{number}" for number in range(len(WRONG))]
)
def test_an_error_in_a_think_time_file_names_its_line(
    tmp_path: Path, text: str, problem: str
) -> None:
    (tmp_path / "times.txt").write_text(text, encoding="utf-8")

    with pytest.raises(ScriptError) as raised:
        load_think_times(tmp_path / "times.txt")
    assert str(raised.value) == f"{tmp_path}/{problem}"


def test_an_unreadable_or_too_large_think_time_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"1\n# \xe9\n")
    (tmp_path / "large.txt").write_bytes(b"1\n" * (MAX_BYTES // 2 + 1))

    for name, problem in (
        ("none.txt", "no such file"),
        ("latin.txt", "is not UTF-8"),
        ("large.txt", "is larger than 4 MiB"),
    ):
        with pytest.raises(ScriptError, match=problem):
            load_think_times(tmp_path / name)


@given(seconds=st.lists(TIMES_S, min_size=1), seed=st.integers(0, 1 << 40))
def test_only_times_of_the_file_are_drawn(seconds: list[float], seed: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "times.txt"
        path.write_text("".join(f"{second!r}\n" for second in seconds))
        times = load_think_times(path)

    assert times.seconds == tuple(seconds)
    assert set(draws(times, 20, seed)) <= set(seconds)


def test_each_line_of_a_file_is_equally_likely() -> None:
    drawn = draws(recorded(1, 2, 2, 5), 40_000)

    assert drawn.count(1) == pytest.approx(10_000, rel=0.03)
    assert drawn.count(2) == pytest.approx(20_000, rel=0.03)
    assert recorded(1, 2, 2, 5).mean_s == 2.5


@given(median_s=MEDIANS_S, sigma=SIGMAS, share=st.floats(0, 1), seed=st.integers(0, 1 << 40))
def test_no_drawn_pause_exceeds_the_maximum(
    median_s: float, sigma: float, share: float, seed: int
) -> None:
    most_s = median_s + share * (MAX_PAUSE_S - median_s)
    times = LogNormalTimes(median_s, sigma, most_s)

    assert all(0 < seconds <= most_s for seconds in draws(times, 20, seed))
    assert 0 < times.mean_s <= most_s * (1 + 1e-9)
    assert times.mean_s == pytest.approx(median_s) if sigma == 0 else times.mean_s > 0


def test_log_normal_times_have_the_given_median_and_sigma() -> None:
    drawn = draws(LogNormalTimes(2.0, 0.5), 40_000)

    assert np.median(drawn) == pytest.approx(2.0, rel=0.01)
    assert np.std(np.log(drawn)) == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize(
    ("sigma", "most_s"), [(0.0, 5.0), (0.5, MAX_PAUSE_S), (0.8, 3.0), (1.5, 2.0), (2.0, 60.0)]
)
def test_the_mean_of_log_normal_times_is_that_of_the_draws(sigma: float, most_s: float) -> None:
    times = LogNormalTimes(2.0, sigma, most_s)

    assert np.mean(draws(times, 40_000)) == pytest.approx(times.mean_s, rel=0.03)


# Variables: the files from which they are read, and texts in which a row replaces them.


ADA = {"name": "Ada", "order": "4711"}


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_unreadable_variables_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "latin.csv").write_bytes("name\nGrüße\n".encode("latin-1"))

    with pytest.raises(UsageError, match="no such file"):
        load_rows(tmp_path / "none.csv")
    with pytest.raises(UsageError, match="cannot be read"):
        load_rows(tmp_path / "folder.csv")
    with pytest.raises(UsageError, match=r"latin\.csv:2: is not UTF-8 text"):
        load_rows(tmp_path / "latin.csv")


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", ""),
        ("I am ${name}.", "I am Ada."),
        ("${name}${order}", "Ada4711"),
        ("$${name}", "${name}"),
        ("$$${order}", "$4711"),
        ("$$$${order}", "$${order}"),
        ("$name {name} $ {name} ${} $$", "$name {name} $ {name} ${} $$"),
        ("${${name}}", "${Ada}"),
    ],
)
def test_placeholders_are_filled_from_the_row(text: str, result: str) -> None:
    assert fill_variables(text, ADA) == result


def test_a_placeholder_without_a_variable_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"contains \$\{city\}, but the variables are only name, order"
    ):
        fill_variables("In ${city}", ADA)


PIECES = st.lists(
    st.sampled_from(["$", "{", "}", "${name}", "${order}", "x", " "]), max_size=12
).map("".join)


@given(text=PIECES)
def test_filling_changes_only_placeholders_and_doubled_dollar_signs(text: str) -> None:
    assume(names_in(text) <= ADA.keys())
    result = fill_variables(text, ADA)

    if not names_in(text):
        assert result.replace("$", "") == text.replace("$", "")
    if "$$" not in text:
        assert result == text.replace("${name}", "Ada").replace("${order}", "4711")


NAMES = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=5)
VALUES = (
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9)
    .map(str.strip)
    .filter(bool)
)
TABLES = st.lists(NAMES, min_size=1, max_size=3, unique=True).flatmap(
    lambda names: st.lists(
        st.fixed_dictionaries(dict.fromkeys(names, VALUES)), min_size=1, max_size=3
    )
)


@given(table=TABLES)
def test_csv_and_jsonl_round_trip(table: list[dict[str, str]]) -> None:
    lines = io.StringIO()
    writer = csv.DictWriter(lines, list(table[0]))
    writer.writeheader()
    writer.writerows(table)

    with TemporaryDirectory() as folder:
        for name, text in [
            ("a.csv", lines.getvalue()),
            ("a.jsonl", "\n".join(map(json.dumps, table))),
        ]:
            assert list(load_rows(write(Path(folder) / name, text)).rows) == table


def test_as_many_sessions_as_pauses_use_each_pause_once_in_each_turn_in_an_order_of_the_seed() -> (
    None
):
    def drawn(seed: int, sessions: range) -> list[tuple[int, ...]]:
        return [
            tuple(choices.speech_pause(44) for _ in range(3))
            for choices in (SessionChoices(seed, n) for n in sessions)
        ]

    first, second, other = drawn(1, range(44)), drawn(1, range(44, 88)), drawn(2, range(44))

    assert first == drawn(1, range(44))
    for turn in zip(*first, strict=True), zip(*second, strict=True):
        assert all(sorted(pauses) == list(range(44)) for pauses in turn)
    assert all(len(set(session)) == 3 for session in first)
    assert len({pause for session in first[:20] for pause in session}) == 44
    assert first not in (second, other)
    assert [pauses[0] for pauses in first] != sorted(pauses[0] for pauses in first)
