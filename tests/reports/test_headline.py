"""The first lines of a report: what callers wait, its largest part, the load, and how latencies are distributed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from reports.numbers import NBSP
from reports.page import sections
from reports.samples import HEARD
from reports.statistics.quantiles import Sample
from reports.summary.histograms import BINS_MOST, Histogram, histogram_of
from reports.summary.segments import Band, Segment
from reports.summary.summary import Summary
from reports.wording.sentences import run_headline
from tests.reports.forms import section_html
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan

MS = 1_000_000
VAD = ("speech_end", "speech_stopped", "committed", "response_created", "first_audio", "first_audible")
TWO = Plan(sessions=60, turns=4, targets=("direct", "gateway"))


def band(*lengths_ms: float, target: str = "sim", instants: tuple[str, ...] = VAD) -> Band:
    """The typical turns of a target, with segments of these lengths between the instants."""
    ends = zip(instants, instants[1:], lengths_ms, strict=False)
    parts = tuple(Segment(begin, end, "", int(10 * ms * MS), ms) for begin, end, ms in ends)
    total = sum(lengths_ms)
    return Band(target, "all", "", 10, int(10 * total * MS), total, parts, p=0.5)


def told(plan: Plan, *bands: Band, detection: dict[str, Any] | None = None) -> str:
    """The headline of a run whose typical turns consist of these segments."""
    given = {"type": "server_vad", "silence_duration_ms": 500} if detection is None else detection
    summary = summary_of(
        plan, scripts=[{"name": "voice_turns", "turn_detection": "server_vad", "turn_detection_settings": given}]
    )
    summary = replace(summary)  # shares no computed value with the summary of other tests
    summary.__dict__["bands"] = bands
    return run_headline(summary).replace(NBSP, " ")


@pytest.mark.parametrize(
    ("lengths_ms", "detection", "part"),
    [
        ((570, 4, 66, 405, 250), None, "500 ms, is your silence_duration_ms."),
        ((570, 4, 66, 605, 250), None, "605 ms, is the service generating its first audio."),
        (
            (1400, 4, 66, 405, 250),
            None,
            "900 ms, is end-of-turn detection (VAD) after the 500 ms of silence_duration_ms.",
        ),
        ((480, 4, 66, 405, 250), None, "480 ms, is end-of-turn detection (VAD)."),
        ((570, 4, 66, 405, 250), {"type": "server_vad"}, "570 ms, is end-of-turn detection (VAD)."),
        ((570, 4, 66, 405, 250), {"type": "semantic_vad"}, "570 ms, is end-of-turn detection (VAD)."),
        ((270, 4, 66, 205, 650), None, "650 ms, is leading silence and the jitter buffer."),
    ],
)  # fmt: skip
def test_the_headline_names_the_largest_part(
    lengths_ms: tuple[float, ...], detection: dict[str, Any] | None, part: str
) -> None:
    assert told(Plan(), band(*lengths_ms), detection=detection).endswith(f"The largest part of the median, {part}")


def test_merged_segments_are_the_time_until_their_end() -> None:
    said = told(Plan(), band(900, 100, instants=("speech_end", "first_audio", "first_audible")))

    assert said.endswith("900 ms, is the time until the first audio delta.")


def test_the_part_of_several_targets_is_named_if_it_is_the_same() -> None:
    same = told(TWO, band(570, 4, 66, 405, 250, target="direct"), band(590, 4, 66, 455, 250, target="gateway"))
    sized = told(TWO, band(170, 4, 66, 405, 250, target="direct"), band(190, 4, 66, 455, 250, target="gateway"))
    other = told(TWO, band(570, 4, 66, 405, 250, target="direct"), band(590, 4, 66, 955, 250, target="gateway"))

    assert "The largest part of the median, 500 ms, is your silence_duration_ms." in same
    assert "is the service generating its first audio: 405 ms on direct and 455 ms on gateway." in sized
    assert "largest part" not in other


def histogram_for(summary: Summary) -> Histogram:
    found = histogram_of(summary.samples[HEARD], list(summary.samples[HEARD].pools()))
    assert found is not None
    return found


def test_a_histogram_counts_every_turn_once_in_the_same_bins() -> None:
    found = histogram_for(summary_of(replace(TWO, failed=0.05)))

    assert len({one.counts.size for one in found.targets}) == 1
    assert found.targets[0].counts.size == found.edges.size - 1 <= BINS_MOST
    assert sum(one.n for one in found.targets) == 240
    assert sum(one.failed for one in found.targets) > 0
    assert all(math.isclose(one.shares.sum() + one.failed / one.n, 1.0) for one in found.targets)


def test_a_histogram_of_equal_values_has_a_bin_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    summary = summary_of(Plan())
    one = summary.samples[HEARD]
    equal = Sample(np.full(20, 640.0), np.arange(20))
    monkeypatch.setattr(type(one), "of", lambda *_: equal)
    found = histogram_of(one, list(one.pools()))

    assert found is not None
    assert found.targets[0].counts.sum() == 20


def test_too_few_turns_have_no_histogram() -> None:
    summary = summary_of(Plan(sessions=1, turns=2))

    assert sections.distributions(summary) is None
    assert "Latency distribution" in section_html(sections.distributions(summary_of(Plan())))
