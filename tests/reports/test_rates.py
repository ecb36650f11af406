"""Rates of turns and words, the throttled share, bytes per second, and slopes of latencies over
the context length.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rtbench
from bench.base.errors import UsageError
from bench.record.metric_values import CARRIED
from reports.analysis.check.absolute import limit_results
from reports.analysis.check.baselines import baseline_of
from reports.analysis.check.check import check_of
from reports.analysis.sample_size import power_spec
from reports.analysis.sequential.plan import plan_analyses
from reports.analysis.summary.summary import Summary, summarise
from reports.analysis.targets.compared_target import ComparedTarget
from reports.analysis.targets.named import parse_targets, targets_of
from reports.analysis.trends.trend_point import point_of_baseline, points_of_run
from reports.data.runs import load_for_report, load_frames
from reports.data.samples import session_sample
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.rate_metrics import OF_COLUMNS, RATES
from reports.metrics.statistic_types.rate import Rate
from reports.metrics.thresholds import parse
from reports.results.json_entries import to_json_data
from reports.statistics.differences import Margin
from reports.statistics.rates import ClusterTotals, complement, rate_difference
from reports.text.check_sentences import why
from tests.reports import synthetic
from tests.reports.check.examples import ENOUGH, flat, thresholds
from tests.reports.check.examples import run as run_of_carried
from tests.reports.comparisons.build import quick, run
from tests.reports.edited import Row, edit, edited
from tests.reports.forms import run_text
from tests.reports.shared import write_summary
from tests.reports.synthetic import Plan

PLAN = Plan(sessions=80, turns=5, targets=("west", "east"), paired=True)


POINT = Margin(points=0.01)


def interrupted(share: float) -> Any:
    """Return a change that interrupts two turns of each session.

    In the share `share` of these turns, the service yields. On target `east`, it yields half as
    often.
    """

    def change(index: int, row: Row) -> Row:
        if row["turn"] not in (2, 4):
            return row
        wanted = share / 2 if row["target"] == "east" else share
        return row | {"yielded": (index * 0.618) % 1 < wanted, "interruption": "speech"}

    return change


def write(folder: Path, share: float = 0.9, plan: Plan = PLAN) -> str:
    name = run(folder, plan)
    edit(folder, "turns", interrupted(share))
    return name


@pytest.fixture(scope="module")
def compared_targets(tmp_path_factory: pytest.TempPathFactory) -> tuple[ComparedTarget, ...]:
    return parse_targets([write(tmp_path_factory.mktemp("rates"))])


def test_a_turn_with_unknown_words_does_not_count_for_a_word_error_rate(tmp_path: Path) -> None:
    rate = next(one for one in OF_COLUMNS if one.words_column)
    name = run(tmp_path, PLAN)
    edit(
        tmp_path,
        "turns",
        lambda index, row: (
            row | {rate.column: 1, rate.words_column: 4 if row["turn"] == 1 else None}
        ),
    )
    west, _ = parse_targets([name])

    (reported,) = (one for one in summarise(load_frames(name)).rates if one.target == "west")
    assert (reported.count, reported.n) == (40, 160)
    assert [sum(counts) for counts in west.counts(MetricSpec(rate.name, Rate(), POINT))] == [
        40,
        160,
    ]


def test_fewer_than_ten_turns_are_two_counts_without_a_share(tmp_path: Path) -> None:
    synthetic.write(tmp_path, Plan(sessions=30, turns=5))
    few = edited(tmp_path, lambda i, row: row | ({"cut_off": i == 2} if i < 9 else {}))

    (row,) = map(to_json_data, few.rates)
    assert (row["count"], row["n"], row["value"]) == (1, 9, None)
    assert "cut_off_rate 1 of 9" in run_text(few).replace("\u00a0", " ")


def test_a_higher_is_better_rate_regresses_downwards(
    compared_targets: tuple[ComparedTarget, ...],
) -> None:
    comparison = quick(compared_targets)
    compared = next(f for f in comparison.comparisons if f.spec.metric == "yield_rate")

    assert compared.verdict.name == "regressed"
    assert compared.difference is not None
    assert compared.difference.baseline == pytest.approx(0.9, abs=0.05)
    assert compared.difference.d == pytest.approx(-0.45, abs=0.08)
    assert compared.difference.low < compared.difference.d < compared.difference.high < 0


@pytest.mark.parametrize("paired", [True, False])
def test_the_difference_of_a_higher_is_better_rate_is_that_of_its_complement(paired: bool) -> None:
    rng = np.random.default_rng(3)
    base, cand = (((rng.random(60) < share).astype(float), np.ones(60)) for share in (0.9, 0.8))
    found = rate_difference(ClusterTotals(base, cand, paired=paired), POINT, better="higher")
    left = rate_difference(ClusterTotals(complement(base), complement(cand), paired=paired), POINT)

    assert (found.baseline, found.candidate) == pytest.approx(
        (1 - left.baseline, 1 - left.candidate)
    )
    assert (found.d, found.low, found.high) == (-left.d, -left.high, -left.low)
    assert (found.worse.low, found.worse.high, found.worse.p) == (
        left.worse.low,
        left.worse.high,
        left.worse.p,
    )


def test_a_rate_of_one_hundred_percent_does_not_prove_a_threshold_of_99_percent(
    tmp_path: Path,
) -> None:
    west = parse_targets([write(tmp_path, 1.1)])[0]
    (item,) = limit_results(parse("yield_rate", "rate>99%"), west)

    assert flat(item).value == 1.0
    assert item.result == "inconclusive"


def test_a_threshold_on_a_rate_of_fewer_than_ten_turns_is_inconclusive(tmp_path: Path) -> None:
    name = run(tmp_path, Plan(sessions=30, turns=5))
    edit(tmp_path, "turns", lambda i, row: row | ({"cut_off": False} if i < 9 else {}))
    (side,) = targets_of(load_frames(name))
    (item,) = limit_results(parse("cut_off_rate", "rate<2%"), side)

    row = flat(item)
    assert (row.result, row.value, row.required, row.available) == ("inconclusive", None, 10, 9)
    assert why(item) == "too few turns to decide: 0 of 9; a rate needs 10 turns"


WER = MetricSpec("input_wer", Rate(), Margin(points=0.01))


def with_word_errors(index: int, row: Row) -> Row:
    """Give each session one turn of 2 words and one turn of 40 words.

    In the turn of 40 words, `east` misrecognizes three times as many words as the other target.
    """
    words = {2: 2, 4: 40}.get(row["turn"])
    if words is None:
        return row
    errors = 1 if words == 2 else (6 if row["target"] == "east" else 2) + row["pair"] % 2
    return row | {"input_words": words, "input_word_errors": errors}


@pytest.fixture(scope="module")
def name(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("misheard")
    name = run(folder, PLAN)
    edit(folder, "turns", with_word_errors)
    return name


def test_a_word_error_rate_is_all_errors_divided_by_all_words(name: str) -> None:
    west, _ = parse_targets([name])
    errors, words = west.counts(WER)

    assert words.tolist() == [42] * 40
    # not the mean of 1/2 and 1/16
    assert errors.sum() / words.sum() == pytest.approx((1 + 2.5) / 42)


def test_a_word_error_rate_of_characters_is_named_so(tmp_path: Path) -> None:
    run(tmp_path, Plan(sessions=8, turns=2))
    counts = {"reply_words": 4, "reply_word_errors": 1, "reply_characters": 3}
    edit(tmp_path, "turns", lambda index, row: row | counts)
    summary = summarise(load_for_report(tmp_path))

    assert [RATES["input_wer"].unit(8, characters) for characters in (0, 8)] == [
        "words",
        "characters",
    ]
    assert [rate.unit for rate in summary.rates] == ["words and characters"]
    assert "16 of 64 words and characters" in run_text(summary).replace("\N{NO-BREAK SPACE}", " ")


def test_the_throughput_of_a_session_is_its_bytes_divided_by_its_duration(tmp_path: Path) -> None:
    sessions = rtbench.load(run_of_carried(tmp_path, replace(ENOUGH, refused=3))).sessions
    lasted_s = (sessions["ended_at_ns"] - sessions["opened_at_ns"]).to_numpy(
        dtype=float, na_value=np.nan
    ) / 1e9
    for name, column in CARRIED.items():
        opened = sessions["session_updated_at_ns"].notna().to_numpy()
        wanted = sessions[column].to_numpy(dtype=float) / lasted_s

        assert sessions.loc[opened, name].to_numpy() == pytest.approx(wanted[opened])
        assert sessions.loc[~opened, name].isna().all()
        assert (~opened).sum() == 3


def test_throughput_includes_failed_sessions(tmp_path: Path) -> None:
    sessions = rtbench.load(run_of_carried(tmp_path, replace(ENOUGH, refused=3))).sessions
    failed = sessions.assign(
        outcome_class=sessions["outcome_class"].where(sessions.index % 2 == 0, "failed")
    )
    sample = session_sample(failed, "audio_received")

    assert sample is not None
    assert sample.values.tolist() == sorted(sessions["audio_received"].dropna())


def test_packet_loss_and_late_packets_are_shares_of_the_calls_that_had_packets(
    tmp_path: Path,
) -> None:
    """A call without packets, or without a report of the agent, has no loss. It does not have an
    infinite one.
    """

    def packets(index: int, row: Row) -> Row:
        if not row["turns_started"]:
            return row
        counts = {"rtp_expected": 1_000, "rtp_lost": 15, "rtp_late": index % 2 * 10}
        return row | counts | {"peer_rtp_expected": 500, "peer_rtp_lost": 1}

    changed = run_of_carried(tmp_path, replace(ENOUGH, refused=3))
    edit(changed, "sessions", packets)
    sessions = rtbench.load(changed).sessions
    sample, late = session_sample(sessions, "rtp_loss"), session_sample(sessions, "rtp_late_share")
    limits = thresholds(
        "rtp_loss: avg<1.6",
        "rtp_loss: avg<1.4",
        "rtp_late_share: avg<0.9",
        "peer_rtp_loss: p(50)<0.3",
    )
    found = check_of(changed, limits)

    assert sample is not None
    assert set(sample.values) == {1.5}
    assert sample.failed == 3
    assert late is not None
    assert set(late.values) == {0.0, 1.0}
    assert [each.result for each in found.thresholds] == ["pass", "fail", "pass", "pass"]


BEGUN = 1_000


def cut_run(folder: Path, throttled: int, abandoned: int) -> Path:
    """Write a run of a thousand turns. `throttled` turns are throttled, and `abandoned` turns
    are unfinished.
    """
    synthetic.write(folder, Plan(sessions=100, turns=10))

    def outcome(place: int) -> str:
        if place < throttled:
            return "throttled:response"
        return "unfinished" if place >= BEGUN - abandoned else "ok"

    edit(folder, "turns", lambda place, row: row | {"outcome": outcome(place)})
    write_summary(folder)
    return folder


def shares(folder: Path) -> dict[str, float]:
    """Return the throttled share of a run as several functions report it. The key is the name of
    the function.
    """
    run = rtbench.load(folder)
    checked = rtbench.check(run, {"throttle_rate": "rate<0.5"}).to_frame()
    rates = run.rates().set_index("rate")
    (side,) = targets_of(run)
    (entry,) = points_of_run(folder)
    return {
        "check": checked["value"][0],
        "rates": rates["value"]["throttle_rate"],
        "the rule of 1 %": side.outcomes.targets[0].throttled,
        "history of run folders": entry.rates["throttle_rate"].value,
        "history of stored baselines": (
            point_of_baseline(baseline_of(side)).rates["throttle_rate"].value
        ),
    }


def test_every_function_reports_the_same_throttled_share(tmp_path: Path) -> None:
    found = shares(cut_run(tmp_path, 7, 300))

    assert found == dict.fromkeys(found, pytest.approx(7 / 700))


@pytest.mark.parametrize(("throttled", "use"), [(7, "VALID"), (8, "INVALID (throttled)")])
def test_a_run_is_throttled_if_more_than_one_percent_of_its_ended_turns_were(
    tmp_path: Path, throttled: int, use: str
) -> None:
    folder = cut_run(tmp_path, throttled, 300)
    (entry,) = points_of_run(folder)

    assert entry.validity_title == use
    assert rtbench.check(folder, {"ttfa": "p(50)<5000"}).exit_status == (0 if use == "VALID" else 4)


CONTEXT_PLAN = Plan(sessions=80, turns=10, targets=("west", "east"), paired=True)
STEEP = 120
"""The slope of the latencies of `east`, in ms per 1,000 tokens."""


def growing(tokens: int = 1_000, *, slope: float = STEEP) -> Any:
    """Return a change after which each turn reads `tokens` more tokens than the turn before.

    Half of the tokens are cached. On `east`, the latency grows by `slope` ms per 1,000 tokens.
    """

    def change(_: int, row: Row) -> Row:
        read = 300 + tokens * (row["turn"] - 1)
        later_ns = int(slope * read / 1000 * 1e6) if row["target"] == "east" else 0
        moved = {
            name: row[name] and row[name] + later_ns
            for name in ("first_audio_at_ns", "first_audible_at_ns")
        }
        return row | moved | {"context_tokens": read, "context_cached_tokens": read // 2}

    return change


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("growing")
    run(path, CONTEXT_PLAN)
    edit(path, "turns", growing())
    return path


@pytest.fixture(scope="module")
def summary(folder: Path) -> Summary:
    from reports.analysis.summary.summary import summarise

    return summarise(load_for_report(folder))


def slope(summary: Summary, target: str) -> float:
    return (
        next(f for f in summary.slopes if (f.metric, f.target) == ("latency_slope", target))
        .at(0.5)
        .value
    )


def test_the_first_turn_has_no_cached_share(summary: Summary) -> None:
    west, _ = [f for f in summary.turn_metrics if (f.metric, f.step) == ("cached_share", "all")]

    assert (west.unit, west.n) == ("%", 40 * 9)
    assert west.at(0.5).value == pytest.approx(50, abs=0.1)


def test_a_candidate_with_a_steeper_slope_regresses(folder: Path) -> None:
    compared = next(
        f for f in quick(parse_targets([folder])).comparisons if f.spec.metric == "latency_slope"
    )

    assert compared.verdict.name == "regressed"
    assert compared.difference is not None
    assert compared.difference.d == pytest.approx(STEEP, abs=15)


def test_slopes_are_not_stored_not_planned_and_not_in_interim_analyses(
    folder: Path, tmp_path: Path
) -> None:
    stored = baseline_of(parse_targets([folder])[0])
    assert not any("slope" in row.metric for row in stored.quantiles)
    with pytest.raises(UsageError, match="is a slope"):
        power_spec("latency_slope", None, None, 0.8)
    file = tmp_path / "gates.yaml"
    file.write_text('latency_slope: ["med<+10ms"]\n')
    with pytest.raises(UsageError, match="interim analyses cannot decide on a slope"):
        plan_analyses(
            {"thresholds": [str(file)], "metric": "ttfa", "pairs": 100, "every": 20, "scripts": []}
        )
