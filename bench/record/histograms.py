"""HDR histograms by metric, target, step and phase: recording, encoding, decoding and merging.

Times are recorded in microseconds, from 1 µs to 10 min. Rates are recorded in bytes per second,
from 1 B/s to 10 GB/s. Both have three significant digits. All histograms of one metric have the
same range, so merging them is exact. The file is a standard HdrHistogram log (format 1.2) with
`Tag=metric|target|step|phase`. The log writer of the hdrh package supports no tags, so this module
writes the lines itself.
"""

from __future__ import annotations

import base64
import re
import zlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from hdrh.histogram import HdrHistogram

from bench.base.errors import UsageError
from bench.base.units import NS_PER_S, US_PER_MS
from bench.catalogue.metrics import BYTES_PER_S, CATALOGUE, REGULAR
from bench.files.safe_io import read_file
from bench.files.sanitize import excerpt

DIGITS = 3
COOKIE_BYTES = 8
MAX_UNPACKED = 64 << 20
"""The size of an encoded histogram: the bytes before its compressed data, and its maximum size
after decompression.

Our histograms have 200 KB after decompression.
"""
ENOUGH = 1024
"""The number of buffered values of one histogram that are counted together. Counting them takes
0.1 ms."""
MAX_TIME_US = 600_000_000
FASTEST_BYTES_PER_S = 10_000_000_000
ALL = "all"
"""The step of a metric that has no steps."""
MEASURED = "measurement"
WARMUP = "warmup"
"""The phases of a run. Results are computed from the measured phase."""
SPEECH_END = "speech_end"
"""The value of `measured_from` for turns in which the service detects the end of the speech, and
responds without a request.
"""
MAX_STEPS = 32
OTHER_STEP = "other"
"""The maximum number of step labels of a script that histograms and reports show separately.

All further labels share OTHER_STEP. Rows keep their own labels.
"""

_NOT_IN_LABELS = re.compile(r"[^A-Za-z0-9._-]+")


class HistogramKey(NamedTuple):
    """The identity of a histogram. Each field contains only `A-Za-z0-9._-`.

    For turns, `turn_step` returns the `step`.
    """

    metric: str
    target: str
    step: str = ALL
    phase: str = MEASURED

    @property
    def tag(self) -> str:
        return "|".join(_NOT_IN_LABELS.sub("_", field) or "_" for field in self)


def turn_step(script: str, label: str, turn_type: str | None, measured_from: str | None) -> str:
    """Return the step of a turn in histograms, so that turns of different types are never pooled.

    It is `<script>.<label>`. `.<turn_type>` follows if the turn type is not the regular one.
    `.speech_end` follows if the latency is measured from the end of speech that the service
    detected.
    """
    type_suffix = [turn_type] if turn_type and turn_type != REGULAR else []
    return ".".join(
        [f"{script}.{label}", *type_suffix, *([SPEECH_END] if measured_from == SPEECH_END else [])]
    )


class StepLabels:
    """The labels under which one worker counts its turns: for each script, the first MAX_STEPS,
    and OTHER_STEP.
    """

    def __init__(self) -> None:
        self._known: dict[str, set[str]] = {}

    def count(self, script: str, label: str) -> str:
        known = self._known.setdefault(script, set())
        if label in known or len(known) < MAX_STEPS:
            known.add(label)
            return label
        return OTHER_STEP


# Rows are complete, and histograms are what survives when rows are many: a live view and a merged
# run read them without reading rows. A process only adds to its own set. Sets of workers, of parts
# and of batches are summed, which is exact, because the buckets of a metric are the same in each
# process.
#
# A value outside of the range is counted next to its histogram. If it were clipped, a quantile
# would be wrong, and if it were dropped, its loss would be unknown.
class Histograms:
    """A set of histograms. Each is allocated when its first value is recorded (172 kB). Recording a
    value takes 0.7 µs.

    Values that occur with every event are buffered. They are counted together when the buffer is
    full, or when the histograms are read.
    """

    def __init__(self) -> None:
        self._by_key: dict[HistogramKey, HdrHistogram] = {}
        self._waiting = defaultdict[HistogramKey, "array[int]"](lambda: array("q"))
        self.out_of_range: Counter[str] = Counter()
        self.negative: Counter[str] = Counter()

    def record(self, key: HistogramKey, value: int) -> None:
        """Count `value` (µs or B/s). Negative and out-of-range values are counted per metric,
        outside the histogram.
        """
        if value < 0:
            self.negative[key.metric] += 1
        elif not self._histogram(key).record_value(value):
            self.out_of_range[key.metric] += 1

    def recorder(self, key: HistogramKey) -> Callable[[int], None]:
        """Return a function that records values under `key`, as `record` does, and buffers them."""
        waiting = self._waiting[key]

        def record(value: int) -> None:
            waiting.append(value)
            if len(waiting) == ENOUGH:
                self._settle(key, waiting)

        return record

    def record_several(self, key: HistogramKey, values: Iterable[int]) -> None:
        """Count several values that are known at the same time, with the same result as
        `recorder`'s function.
        """
        waiting = self._waiting[key]
        waiting.extend(values)
        if len(waiting) >= ENOUGH:
            self._settle(key, waiting)

    def _settle(self, key: HistogramKey, waiting: array[int]) -> None:
        if waiting:
            self.record_all(key, np.array(waiting))
            del waiting[:]

    def record_all(self, key: HistogramKey, values: npt.NDArray[np.int64]) -> None:
        """Count all values. The result is the same as calling `record` for each value."""
        if negative := int(np.count_nonzero(values < 0)):
            self.negative[key.metric] += negative
            values = values[values >= 0]
        if len(values) and (out_of_range := record_values(self._histogram(key), values)):
            self.out_of_range[key.metric] += out_of_range

    def _histogram(self, key: HistogramKey) -> HdrHistogram:
        if key not in self._by_key:
            self._by_key[key] = empty(key.metric)
        return self._by_key[key]

    def items(self) -> Iterable[tuple[HistogramKey, HdrHistogram]]:
        for key, waiting in self._waiting.items():
            self._settle(key, waiting)
        return self._by_key.items()

    def get(self, key: HistogramKey) -> HdrHistogram | None:
        return dict(self.items()).get(key)

    def discard(self, metrics: Iterable[str]) -> None:
        """Remove the histograms of these metrics, and their counts of negative and out-of-range
        values.
        """
        removed = set(metrics)
        for key in [key for key in self._by_key if key.metric in removed]:
            del self._by_key[key]
        for counts in (self.out_of_range, self.negative):
            for metric in removed & counts.keys():
                del counts[metric]

    def merge(self, other: Histograms) -> None:
        """Add the counts of another set. The sum is exact, because both sets have the same
        ranges and digits.
        """
        for key, histogram in other.items():
            self._histogram(key).add(histogram)
        self.out_of_range.update(other.out_of_range)
        self.negative.update(other.negative)

    def lines(self, started_utc_ns: int, now_utc_ns: int) -> Iterator[str]:
        """Yield one log line per histogram. Encoding a line takes 0.2–0.3 ms, so the caller can
        pause between lines.
        """
        seconds = (now_utc_ns - started_utc_ns) / NS_PER_S
        for key, histogram in list(self.items()):
            longest = histogram.get_max_value() / 1000
            yield (
                f"Tag={key.tag},0.000,{seconds:.3f},{longest:.3f},"
                f"{histogram.encode().decode('ascii')}\n"
            )


def record_values(histogram: HdrHistogram, values: npt.NDArray[np.int64]) -> int:
    """Count many values ≥ 0 at once. Return how many values are out of range.

    The result is the same as that of `record_value` for each value. The index of a value's count is
    computed as in `HdrHistogram._counts_index_for`. The highest bit of the value selects the
    bucket. The highest `sub_bucket_half_count_magnitude` + 1 bits of the value select the count
    within the bucket.
    """
    # frexp gives the number of bits of a whole number below 2**53, and so of each value in range
    half = histogram.sub_bucket_half_count_magnitude
    bits = np.frexp((values | histogram.sub_bucket_mask).astype(float))[1].astype(int)
    buckets = bits - (half + 1)
    indexes = ((buckets + 1) << half) + (values >> buckets) - histogram.sub_bucket_half_count
    in_range = indexes < histogram.counts_len
    indexes = indexes[in_range]
    values = values[in_range]
    if len(values):
        counts = np.frombuffer(histogram.counts, np.uint64, count=histogram.counts_len)
        np.add.at(counts, indexes, np.uint64(1))
        histogram.total_count += len(values)
        histogram.min_value = min(histogram.min_value, int(values.min()))
        histogram.max_value = max(histogram.max_value, int(values.max()))
    return int(np.count_nonzero(~in_range))


def empty(metric: str) -> HdrHistogram:
    is_rate = metric in CATALOGUE and CATALOGUE[metric].unit == BYTES_PER_S
    return HdrHistogram(1, FASTEST_BYTES_PER_S if is_rate else MAX_TIME_US, DIGITS)


def header(started_utc_ns: int, *, simulated: bool) -> str:
    started_s = started_utc_ns / NS_PER_S
    return (
        "#[Histogram log format version 1.2]\n"
        + ("#[SIMULATED: measured against rtbench simulate]\n" if simulated else "")
        + "#[Units: times in microseconds, rates in bytes per second; Interval_Max in thousands of"
        " them]\n"
        + f"#[StartTime: {started_s:.3f} (seconds since epoch)]\n"
        + '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"\n'
    )


def read(path: Path) -> Histograms:
    """Read the histograms of a log, without an incomplete last line. Raise UsageError if the
    file is not such a log.
    """
    try:
        return decode(read_file(path), str(path))
    except OSError as error:
        raise _unreadable(str(path), error) from None


def decode(log: bytes, name: str) -> Histograms:
    """Read the histograms from the bytes of a log, as `read` does. Error messages use `name` as
    the name of the log.
    """
    histograms = Histograms()
    try:
        lines = log.decode("ascii").splitlines(keepends=True)
    except UnicodeDecodeError as error:
        raise _unreadable(name, error) from None
    for line in lines:
        if line.startswith("Tag=") and line.endswith("\n"):
            try:
                tag, _, _, _, payload = line.rstrip("\n").split(",", 4)
                key = HistogramKey(*tag.removeprefix("Tag=").split("|"))
                # zlib compresses at most a thousand to one
                if len(payload) * 1_000 > MAX_UNPACKED:
                    unpacking = zlib.decompressobj()
                    unpacking.decompress(base64.b64decode(payload)[COOKIE_BYTES:], MAX_UNPACKED)
                    if unpacking.unconsumed_tail:
                        raise ValueError(
                            f"a histogram is larger than {MAX_UNPACKED >> 20} MiB after"
                            " decompression"
                        )
                histograms._histogram(key).add(HdrHistogram.decode(payload))
            except Exception as error:  # hdrh passes on any exception of its parts
                raise _unreadable(name, error) from None
    return histograms


def _unreadable(name: str, error: Exception) -> UsageError:
    reason = error.strerror if isinstance(error, OSError) else excerpt(str(error), 200)
    return UsageError(f"{name} cannot be read as a histogram log: {reason}")


def distribution(histogram: HdrHistogram) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return (highest value, count) of each non-empty bucket, in ascending order."""
    counts = np.frombuffer(histogram.counts, np.uint64, count=histogram.counts_len).astype(int)
    non_empty = np.flatnonzero(counts)
    tops = [
        histogram.get_highest_equivalent_value(histogram.get_value_from_index(int(index)))
        for index in non_empty
    ]
    return np.array(tops, int), counts[non_empty]


def worst_p99_ms(histograms: Histograms, metric: str) -> float | None:
    """Return the largest p99, in ms, among the histograms of a metric in the measured phase;
    None if there is none.
    """
    p99s_us = [
        quantile(h, 0.99)
        for key, h in histograms.items()
        if key.metric == metric and key.phase == MEASURED
    ]
    return max((p99_us / US_PER_MS for p99_us in p99s_us if p99_us is not None), default=None)


def quantile(histogram: HdrHistogram, p: float) -> int | None:
    """Return the quantile `p`, as the inverse CDF; None if nothing was recorded.

    It is the highest value x of the first bucket with F(x) ≥ p, but at most the largest recorded
    value.
    """
    counts = np.frombuffer(histogram.counts, np.uint64, count=histogram.counts_len).astype(int)
    ranks = np.cumsum(counts)
    if not ranks[-1]:
        return None
    bucket = int(np.searchsorted(ranks, max(1, int(np.ceil(p * ranks[-1] - 1e-9)))))
    top = histogram.get_highest_equivalent_value(histogram.get_value_from_index(bucket))
    return int(min(top, histogram.get_max_value()))
