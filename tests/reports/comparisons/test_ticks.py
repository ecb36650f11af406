"""Latencies with ticks that are a large share of their margin."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reports.analysis.comparisons.comparison import compare_targets
from reports.analysis.targets.named import parse_targets
from reports.metrics.thresholds import parse
from reports.statistics.differences import Margin, tick_at
from reports.statistics.quantiles import sample
from tests.reports.comparisons.build import DRAWS, run
from tests.reports.edited import Row, edit
from tests.reports.forms import comparison_notices
from tests.reports.synthetic import Plan

MS = 1_000_000


def notices_of(folder: Path, tick_ms: int, median_ms: float) -> list[str]:
    """Return the notices on steps of values, if the first audio of each turn has this tick."""
    made = []
    for name, seed in (("one", 7), ("other", 8)):
        plan = Plan(sessions=60, turns=10, kinds=("manual",), median_ms=median_ms, seed=seed)
        made.append(Path(run(folder / name, plan)))

        def on_grid(_: int, row: Row) -> Row:
            first, sent = row["first_audio_at_ns"], row["request_sent_at_ns"]
            ticks = (
                first
                if first is None
                else sent + max(1, round((first - sent) / tick_ms / MS)) * tick_ms * MS
            )
            return row | {"first_audio_at_ns": ticks}

        if tick_ms:
            edit(made[-1], "turns", on_grid)
    comparison = compare_targets(parse_targets(list(map(str, made))), draws=DRAWS)
    return [
        notice.replace("\u00a0", " ")
        for notice in comparison_notices(comparison)
        if "has steps of" in notice
    ]


def test_a_tick_above_a_third_of_the_margin_is_stated_with_a_margin_that_allows_for_it(
    tmp_path: Path,
) -> None:
    notices = notices_of(tmp_path, 20, 180.0)
    text = next(notice for notice in notices if notice.startswith("ttfa p50"))

    assert "has steps of 20 ms" in text
    assert "p(50)<+10% and +20ms" in text
    assert parse("ttfa", "p(50)<+10% and +20ms").margin == Margin(ratio=0.1, plus=20.0)


def test_the_tick_is_the_smallest_distance_of_values_that_occur_several_times() -> None:
    ticks = np.repeat([100.0, 120.0, 140.0, 180.0], 30)
    mixed = np.append(ticks, [121.5, 133.25])
    rng = np.random.default_rng(1)

    assert tick_at(sample(mixed, np.arange(mixed.size)), 0.4) == 20.0
    assert tick_at(sample(rng.normal(200, 20, 500), np.arange(500)), 0.5) == 0.0
    assert tick_at(sample(np.zeros(0), np.zeros(0, dtype=np.int64)), 0.5) == 0.0
