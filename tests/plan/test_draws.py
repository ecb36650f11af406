"""Think times: which files are read, and how pauses are distributed."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import ScriptError
from bench.plan.draws import LONGEST_S, LogNormalTimes, RecordedTimes, ThinkTime, load_think_times
from bench.yaml_file import MOST_BYTES

TIMES_S = st.floats(0, LONGEST_S)
MEDIANS_S = st.floats(0.001, LONGEST_S)
SIGMAS = st.floats(0, 2)


def draws(length: ThinkTime, count: int, seed: int = 1) -> list[float]:
    generator = np.random.default_rng(seed)
    return [length.draw_s(generator) for _ in range(count)]


def recorded(*seconds: float) -> RecordedTimes:
    return RecordedTimes(Path("times.txt"), "ab", seconds)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1.5\n", (1.5,)),
        ("\ufeff# seconds\r\n0\r\n\r\n  2  # looks for the number\r\n.5", (0, 2, 0.5)),
        ("1e-3\n3600\n1.\n007\n", (0.001, 3_600, 1, 7)),
    ],
)
def test_a_file_holds_a_number_of_seconds_a_line(tmp_path: Path, text: str, seconds: tuple[float, ...]) -> None:
    (tmp_path / "times.txt").write_bytes(text.encode())
    times = load_think_times(tmp_path / "times.txt")

    assert times.seconds == seconds
    assert len(bytes.fromhex(times.digest)) == 32


NO_SECONDS = "times.txt:2: must be a number of seconds from 0 to 3600, not "
WRONG = [
    ("", "times.txt: has no number of seconds"),
    ("# nothing\n\n", "times.txt: has no number of seconds"),
    *(
        (f"1\n{written}\n", f"{NO_SECONDS}{written}")
        for written in ("-1", "3600.1", "1e999", "nan", "inf", "1,5", "1 2", "1_0", "0x1", "two", "٣", "+1", ".")
    ),
    ("1\n" + "9" * 100_000 + "x\n", NO_SECONDS + "9" * 40 + "…"),
]


@pytest.mark.parametrize(("text", "problem"), WRONG, ids=[f"{number}" for number in range(len(WRONG))])
def test_what_is_wrong_with_a_file_is_said_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "times.txt").write_text(text, encoding="utf-8")

    with pytest.raises(ScriptError) as raised:
        load_think_times(tmp_path / "times.txt")
    assert str(raised.value) == f"{tmp_path}/{problem}"


def test_a_file_that_cannot_be_read_or_is_no_text_or_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"1\n# \xe9\n")
    (tmp_path / "large.txt").write_bytes(b"1\n" * (MOST_BYTES // 2 + 1))

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


def test_each_time_of_a_file_is_as_likely_as_any_other() -> None:
    drawn = draws(recorded(1, 2, 2, 5), 40_000)

    assert drawn.count(1) == pytest.approx(10_000, rel=0.03)
    assert drawn.count(2) == pytest.approx(20_000, rel=0.03)
    assert recorded(1, 2, 2, 5).mean_s == 2.5


@given(median_s=MEDIANS_S, sigma=SIGMAS, share=st.floats(0, 1), seed=st.integers(0, 1 << 40))
def test_no_pause_is_longer_than_the_most(median_s: float, sigma: float, share: float, seed: int) -> None:
    most_s = median_s + share * (LONGEST_S - median_s)
    times = LogNormalTimes(median_s, sigma, most_s)

    assert all(0 < seconds <= most_s for seconds in draws(times, 20, seed))
    assert 0 < times.mean_s <= most_s * (1 + 1e-9)
    assert times.mean_s == pytest.approx(median_s) if sigma == 0 else times.mean_s > 0


def test_log_normal_times_have_the_median_and_the_sigma_that_are_asked_for() -> None:
    drawn = draws(LogNormalTimes(2.0, 0.5), 40_000)

    assert np.median(drawn) == pytest.approx(2.0, rel=0.01)
    assert np.std(np.log(drawn)) == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize(("sigma", "most_s"), [(0.0, 5.0), (0.5, LONGEST_S), (0.8, 3.0), (1.5, 2.0), (2.0, 60.0)])
def test_the_mean_is_that_of_what_is_drawn(sigma: float, most_s: float) -> None:
    times = LogNormalTimes(2.0, sigma, most_s)

    assert np.mean(draws(times, 40_000)) == pytest.approx(times.mean_s, rel=0.03)


def test_a_limit_cuts_long_pauses_and_leaves_the_others_and_the_median_as_they_are() -> None:
    free, limited = draws(LogNormalTimes(2.0, 0.8), 10_001), draws(LogNormalTimes(2.0, 0.8, 3.0), 10_001)

    assert limited == [min(seconds, 3.0) for seconds in free]
    assert np.median(limited) == np.median(free)
    assert 0 < limited.count(3.0) < len(limited) / 2


def test_without_a_limit_the_mean_is_that_of_the_log_normal_distribution() -> None:
    assert LogNormalTimes(2.0, 0.5).mean_s == pytest.approx(2.0 * math.exp(0.125))
