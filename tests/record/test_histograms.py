"""HDR histograms: values are counted, written in a log format that other tools read, read again,
and added.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from hypothesis import given
from hypothesis import strategies as st

from bench.base.errors import UsageError
from bench.record.histograms import (
    ENOUGH,
    HistogramKey,
    Histograms,
    distribution,
    empty,
    header,
    quantile,
    read,
)

BEGAN_NS = 1_763_000_000_500_000_000
TTFA = HistogramKey("ttfa", "simulator", "greeting")
RATE = HistogramKey("wire_sent", "simulator", "run")
MINUTE_US = 60_000_000
VALUES = st.lists(st.integers(0, 10 * MINUTE_US), max_size=30)


def filled(values: dict[HistogramKey, list[int]]) -> Histograms:
    histograms = Histograms()
    for key, recorded in values.items():
        for value in recorded:
            histograms.record(key, value)
    return histograms


def write(path: Path, histograms: Histograms, *, simulated: bool = False) -> Path:
    text = header(BEGAN_NS, simulated=simulated) + "".join(
        histograms.lines(BEGAN_NS, BEGAN_NS + 2_000_000_000)
    )
    path.write_text(text, encoding="ascii")
    return path


def contents(histograms: Histograms) -> dict[str, list[tuple[int, int]]]:
    """Return the buckets of each histogram. The key is the tag of the histogram."""
    return {
        key.tag: [
            (int(top), int(count)) for top, count in zip(*distribution(histogram), strict=True)
        ]
        for key, histogram in histograms.items()
    }


@given(ttfa=VALUES, rates=st.lists(st.integers(1, 10_000_000_000), max_size=30))
def test_a_histogram_log_is_read_back_unchanged(
    tmp_path_factory: pytest.TempPathFactory, ttfa: list[int], rates: list[int]
) -> None:
    histograms = filled({TTFA: ttfa, RATE: rates})
    path = write(tmp_path_factory.mktemp("log") / "histograms.hlog", histograms)

    assert contents(read(path)) == contents(histograms)


def test_an_independent_reader_reads_the_log(tmp_path: Path) -> None:
    histograms = filled({TTFA: [1, 500, 500, 90_000], RATE: [5_000_000_000]})
    path = write(tmp_path / "histograms.hlog", histograms, simulated=True)

    reader = HistogramLogReader(str(path), HdrHistogram(1, 1_000, 3))
    found = {}
    while (histogram := reader.get_next_interval_histogram()) is not None:
        found[histogram.get_tag()] = histogram
    reader.close()

    assert reader.get_start_time_sec() == pytest.approx(BEGAN_NS / 1e9)
    assert set(found) == {
        "ttfa|simulator|greeting|measurement",
        "wire_sent|simulator|run|measurement",
    }
    ttfa = found["ttfa|simulator|greeting|measurement"]
    assert ttfa.get_total_count() == 4
    assert ttfa.get_count_at_value(500) == 2
    assert ttfa.get_max_value() == pytest.approx(90_000, rel=1e-3)
    assert ttfa.get_end_time_stamp() - ttfa.get_start_time_stamp() == pytest.approx(2_000)
    assert found["wire_sent|simulator|run|measurement"].get_max_value() == pytest.approx(
        5_000_000_000, rel=1e-3
    )


@given(parts=st.lists(VALUES, min_size=1, max_size=4))
def test_merged_histograms_are_the_sum_of_their_inputs(parts: list[list[int]]) -> None:
    total = Histograms()
    for part in parts:
        total.merge(filled({TTFA: part} if part else {}))

    assert contents(total) == contents(
        filled({TTFA: [value for part in parts for value in part]} if any(parts) else {})
    )


@pytest.mark.parametrize("once", [False, True], ids=["by key", "by recorder"])
@pytest.mark.parametrize(
    ("key", "value", "where"),
    [
        (TTFA, 0, "in"),
        (TTFA, 1, "in"),
        (TTFA, 10 * MINUTE_US, "in"),
        (TTFA, 20 * MINUTE_US, "out"),
        (TTFA, -1, "negative"),
        (RATE, 10_000_000_000, "in"),
        (RATE, 20_000_000_000, "out"),
    ],
)
def test_values_outside_the_range_are_counted_separately(
    key: HistogramKey, value: int, where: str, once: bool
) -> None:
    histograms = Histograms()
    if once:
        histograms.recorder(key)(value)
    else:
        histograms.record(key, value)

    histogram = histograms.get(key)
    inside = histogram.get_total_count() if histogram is not None else 0
    counted = {
        "in": inside,
        "out": histograms.out_of_range[key.metric],
        "negative": histograms.negative[key.metric],
    }
    assert counted == {"in": 0, "out": 0, "negative": 0} | {where: 1}


@given(
    st.lists(
        st.integers(-2, 3_000) | st.integers(-1, 11 * MINUTE_US) | st.integers(0, 2**62),
        max_size=50,
    ),
    st.sampled_from((TTFA, RATE)),
)
def test_values_recorded_in_bulk_equal_values_recorded_singly(
    values: list[int], key: HistogramKey
) -> None:
    together, singly = Histograms(), Histograms()
    record, half = together.recorder(key), len(values) // 2
    for value in values[:half]:
        record(value)
    together.record_several(key, values[half:])
    for value in values:
        singly.record(key, value)

    assert contents(together) == contents(singly)
    assert (together.negative, together.out_of_range) == (singly.negative, singly.out_of_range)
    ours, theirs = together.get(key), singly.get(key)
    if theirs is not None and ours is not None:
        assert bytes(ours.counts) == bytes(theirs.counts)
        assert (ours.total_count, ours.min_value, ours.max_value) == (
            theirs.total_count,
            theirs.min_value,
            theirs.max_value,
        )


def test_buffered_values_are_counted_when_the_buffer_is_full() -> None:
    histograms = Histograms()
    record = histograms.recorder(TTFA)

    for _ in range(ENOUGH):
        record(-1)

    assert histograms.negative == {"ttfa": ENOUGH}


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00",
        b"Tag=A,0.127,1.007,2.769,HISTFAAAAEV42pNpmSz\n",
        b"Tag=a|b|c|d,0.0,1.0,2.0,not base64\n",
        b"Tag=a|b|c|d,0.0,1.0,2.0,AAAA\n",
        b"Tag=a|b|c|d\n",
    ],
)
def test_an_invalid_histogram_log_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "histograms.hlog"
    path.write_bytes(content)

    with pytest.raises(UsageError, match=r"histograms\.hlog"):
        read(path)


@given(
    values=st.lists(st.integers(1, 2_000), min_size=1, max_size=40),
    p=st.sampled_from([0.0, 0.25, 0.5, 0.99, 1.0]),
)
def test_a_quantile_is_the_inverted_cdf(values: list[int], p: float) -> None:
    """Each bucket up to 2,047 contains only one value, so the histogram has the exact values."""
    histogram = empty("ttfa")
    for value in values:
        histogram.record_value(value)

    expected = np.quantile(values, p, method="inverted_cdf")
    assert quantile(histogram, p) == expected
