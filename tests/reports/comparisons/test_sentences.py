"""The sentences at the top of a comparison, and the tables of a comparison on a terminal, in a comment and in JSON."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from reports.analysis.comparisons.comparison import Comparison
from reports.analysis.metric_comparison import MeasuredDifference, MetricComparison, add_verdicts
from reports.analysis.targets.fairness import FairnessCheck
from reports.analysis.targets.named import parse_targets
from reports.formatting import NBSP
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.statistic_types.rate import Rate, none_seen
from reports.pages.comparisons.document import comparison_data
from reports.pages.comparisons.page import design
from reports.results.reason import IN_FAILURES, Reason, too_few
from reports.results.verdict import RESULT_OF_STATUS
from reports.statistics.differences import Difference, Margin, OneSidedBounds
from reports.statistics.rates import ClusterTotals, rate_difference
from reports.statistics.target_counts import of_equal_sessions
from reports.statistics.verdicts import NOT_AFTER_HOLM, Verdict
from reports.text import comparison_sentences as sentences
from reports.text import metric_sentences
from reports.text.comparison_rows import row as row_of
from reports.text.reasons import reason_text
from tests.reports import synthetic
from tests.reports.comparisons.build import PAIRED, RUN, quick, run, targets, two
from tests.reports.comparisons.invented import compared, comparison, points, ratio
from tests.reports.forms import comparison_markdown, comparison_text
from tests.reports.synthetic import Plan

WORSE = ratio(1600, 2640, 1.47, 1.87)
SAME = ratio(1000, 1040, 0.97, 1.12)


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def of(*all_compared: MetricComparison, candidates: tuple[str, ...] = ("gateway",), **changes: Any) -> Comparison:
    return comparison(*candidates, comparisons=all_compared, **changes)


def primary(metric: str, p: float | None, word: str, difference: Difference | None, **more: Any) -> MetricComparison:
    return compared(metric, p, word, difference, primary=True, **more)  # type: ignore[arg-type]


UNSEEN = primary("failure_rate", None, "inconclusive", points(0, 0, 0, 0.0149), more=99,
               reason=Reason("none_seen", {"needed": 299, "there": [200], "metric": "failure_rate",
                                               "upper": 0.0149}))  # fmt: skip
TAIL, MEDIAN = primary("ttfa", 0.95, "regressed", WORSE), primary("ttfa", 0.5, "regressed", WORSE)
FAILING = Difference(
    "ratio",
    1600,
    math.inf,
    math.inf,
    0.7,
    math.inf,
    0.1,
    9,
    OneSidedBounds(0.5, math.inf, 0.001),
    OneSidedBounds(-1, p=0.9),
)
UNKNOWN = OneSidedBounds(math.nan, math.nan, math.nan)
ENDLESS = Difference("ratio", math.inf, math.inf, math.nan, -math.inf, math.inf, 0.1, 9, UNKNOWN, UNKNOWN)
FEW = too_few("turn", 400, (100, 100), p=0.95)
FINE = primary("ttfa", 0.5, "equivalent", ratio(1000, 990, 0.97, 1.01))
OPEN = ratio(1000, 1120, 1.05, 1.29)
GROWN = primary("ttfa", 0.95, "inconclusive", ratio(1490, 1710, 1.10, 1.23), more=270)


def tail(word: str, difference: Difference | None, **more: Any) -> MetricComparison:
    return primary("ttfa", 0.95, word, difference, **more)


SAID: dict[str, tuple[list[MetricComparison], str | None, str | None]] = {
    # (comparisons, headline, second sentence)
    "a median that regressed": (
        [MEDIAN],
        "gateway regressed: half of the turns now take longer than 2.64 s, 65 % more than on direct (ttfa p50).", None),
    "a session metric": (
        [primary("connect_total", 0.9, "regressed", WORSE)],
        "gateway regressed: one session in ten now takes longer than 2.64 s, 65 % more than on direct "
        "(connect_total p90).", None),
    "a quantile among failed turns": (
        [tail("regressed", FAILING)],
        "gateway regressed: one turn in twenty now fails (ttfa p95; on direct it was 1.6 s).", None),
    "a rate that regressed": (
        [primary("failure_rate", None, "regressed", points(0.01, 0.04, 0.02, 0.041))],
        "gateway regressed: 4.00 % of its turns fail or do not start, 3.00 points more than on direct.",
        "With 95 % confidence it is at least 2.00 points more; the margin is 1 point."),
    "a lower value of a higher-is-better metric": (
        [primary("audio_speed", None, "regressed", ratio(3, 1.5, 0.4, 0.6))],
        "gateway regressed: audio_speed mean is 1.5 ×, 50 % less than on direct.",
        "With 95 % confidence it is at least 40 % less; the margin is 16.7 %."),
    "an improvement": (
        [tail("improved", ratio(324, 243, 0.71, 0.79))],
        "gateway improved: ttfa p95 is 25 % shorter than on direct.", None),
    "slower, but it is open whether by more than the margin": (
        [tail("inconclusive", OPEN)],
        "gateway is slower than direct: one turn in twenty now takes longer than 1.12 s, 5 to 29 % more (ttfa p95). "
        "Whether this exceeds the margin of 20 % is inconclusive.", None),
    "slower within the margin": (
        [tail("equivalent", ratio(1000, 1110, 1.05, 1.17))],
        "gateway is slower than direct, but within the margin of 20 %: ttfa p95 is 11 % longer.", None),
    "too few turns": (
        [tail("inconclusive", WORSE, reason=FEW)],
        "Inconclusive on gateway (too few turns to decide): p95 needs 400 per target, 100 measured.", None),
    "too few sessions": (
        [tail("inconclusive", WORSE, reason=too_few("session", 20, (8, 8)))],
        "Inconclusive on gateway (too few sessions to decide): 20 needed per target, 8 measured.", None),
    "not significant after Holm": (
        [tail("inconclusive", WORSE, reason=NOT_AFTER_HOLM)],
        "gateway is slower than direct: one turn in twenty now takes longer than 2.64 s, 47 to 87 % more (ttfa p95). "
        "Whether this exceeds the margin of 20 % is inconclusive after Holm’s correction.", None),
    "a quantile among failed turns of both targets": (
        [tail("inconclusive", ENDLESS, reason=IN_FAILURES)],
        "Inconclusive on gateway: ttfa p95: the quantile is infinite: too many turns failed.", None),
    "a metric that one target lacks": (
        [tail("inconclusive", None, reason=Reason("no_turns", {"targets": ["gateway"], "metric": "ttfa"}))],
        "Inconclusive on gateway: no ttfa on gateway.", ""),
    "the number of sessions that would decide": (
        [replace(tail("inconclusive", OPEN, more=260), unit="session")], None,
        "About 460 sessions per target are needed to decide ttfa p95."),
    "the number of pairs that would decide": (
        [tail("inconclusive", OPEN, more=260)], None, "About 460 pairs are needed to decide ttfa p95."),
    "other runs would decide": (
        [replace(tail("inconclusive", OPEN), verdict=Verdict("inconclusive", provisional=True))], None,
        metric_sentences.RUNS_DIFFER),
    # In an earlier version the text was "Inconclusive on gateway (with no failure in 200 sessions …): about 299
    # sessions are needed".
    "no failures do not outweigh longer latencies": (
        [primary("ttfa", 0.5, "inconclusive", ratio(1000, 1110, 1.06, 1.14, 0.1), margin=Margin(0.1)), GROWN, UNSEEN],
        "gateway is slower than direct: half of the turns now take longer than 1.11 s, 6 to 14 % more (ttfa p50). "
        "Whether this exceeds the margin of 10 % is inconclusive.",
        "Also inconclusive: ttfa p95, 10 to 23 % longer (margin 20 %); failure_rate: with no failure in 200 sessions "
        "the rate may still be up to 1.49 %. More pairs are unlikely to decide all metrics: ttfa p50 needs more than "
        "4,000, "
        "ttfa p95 about 470 and failure_rate about 299."),
    "the sessions named are those of the metric that needs most": (
        [primary("ttfa", 0.5, "inconclusive", ratio(1000, 1110, 1.06, 1.24), more=270),
         tail("inconclusive", ratio(1490, 1710, 1.10, 1.23), reason=FEW), UNSEEN], None,
        "Also inconclusive: ttfa p95, 10 to 23 % longer (margin 20 %; too few turns to decide: p95 needs 400 per "
        "target, 100 measured); failure_rate: with no failure in 200 sessions the rate may still be up to 1.49 %. "
        "About 470 pairs are needed to decide all metrics: ttfa p50 needs about 470, failure_rate about 299 and ttfa "
        "p95 at "
        "least 40."),
    "if only failures are inconclusive, passed metrics are first": (
        [FINE, UNSEEN],
        "gateway passes on ttfa p50; its failure_rate is inconclusive: with no failure in 200 sessions the rate may "
        "still be up to 1.49 %, and the margin is 1 point.",
        "Equivalent: ttfa p50 −1 %. About 299 pairs are needed to decide failure_rate."),
    "the other primary metrics follow the worst": (
        [FINE, TAIL, primary("failure_rate", None, "not_regressed", points(0.01, 0.011, -0.001, 0.003)),
         compared("ttfa", 0.99, "regressed", WORSE)], None,
        "With 95 % confidence it is at least 47 % longer; the margin is 20 %. "
        "Not regressed: failure_rate +0.10 points. Equivalent: ttfa p50 −1 %."),
    "the metric farthest beyond its margin is in the headline": (
        [primary("ttfa", 0.5, "regressed", ratio(1000, 1300, 1.25, 1.35)), TAIL],
        "gateway regressed: one turn in twenty now takes longer than 2.64 s, 65 % more than on direct (ttfa p95).",
        "With 95 % confidence it is at least 47 % longer; the margin is 20 %. Also regressed: ttfa p50 +30 %."),
    "a margin of zero": (
        [tail("regressed", ratio(1000, 1300, 1.25, 1.35, 0.0), margin=Margin())], None,
        "With 95 % confidence it is at least 25 % longer; the margin is 0 %."),
}  # fmt: skip


PEERS: dict[str, tuple[list[MetricComparison], str, str]] = {
    "the slower of two services": (
        [TAIL, MEDIAN],
        "gateway is slower than direct: one turn in twenty takes longer than 2.64 s, 65 % more than on direct (ttfa "
        "p95).",
        "With 95 % confidence it is at least 47 % longer; the margin is 20 %. Also slower: ttfa p50 +65 %."),
    "the faster of two services": (
        [tail("improved", ratio(324, 243, 0.71, 0.79))],
        "gateway is faster than direct: ttfa p95 is 25 % shorter.", ""),
    "neither is slower": (
        [tail("not_regressed", SAME)],
        "gateway is not slower than direct: ttfa p95 differs by +4 %, which is within the margin of 20 %.", ""),
    "a rate that is higher": (
        [primary("failure_rate", None, "regressed", points(0.01, 0.04, 0.02, 0.041)), MEDIAN],
        "gateway is slower than direct: half of the turns take longer than 2.64 s, 65 % more than on direct (ttfa "
        "p50).",
        "With 95 % confidence it is at least 47 % longer; the margin is 20 %. Also worse: failure_rate +3.00 points."),
    "a service whose turns fail": (
        [tail("regressed", FAILING)],
        "gateway is slower than direct: one turn in twenty fails (ttfa p95; on direct it is 1.6 s).",
        "With 95 % confidence it is at least 101 % longer; the margin is 20 %."),
}  # fmt: skip


@pytest.mark.parametrize(("found", "headline", "second"), PEERS.values(), ids=PEERS)
def test_two_services_are_slower_or_faster_without_the_word_now(
    found: list[MetricComparison], headline: str, second: str
) -> None:
    made = of(*(replace(one, peers=True) for one in found))

    assert plain(sentences.comparison_headline(made)) == headline
    assert plain(sentences.comparison_second(made)) == second


@pytest.mark.parametrize(("found", "headline", "second"), SAID.values(), ids=SAID)
def test_a_comparison_has_a_headline_and_a_second_sentence(
    found: list[MetricComparison], headline: str | None, second: str | None
) -> None:
    made = of(*found)

    assert headline is None or plain(sentences.comparison_headline(made)) == headline
    assert second is None or plain(sentences.comparison_second(made)) == second


def test_the_headline_is_about_the_worst_candidate() -> None:
    found = of(
        primary("ttfa", 0.95, "equivalent", SAME, candidate="fine"),
        primary("ttfa", 0.95, "regressed", ratio(1000, 1300, 1.25, 1.35), candidate="bad"),
        primary("ttfa", 0.95, "regressed", WORSE, candidate="worse"),
        candidates=("fine", "bad", "worse"),
    )

    assert sentences.candidates(found) == [("worse", "regressed"), ("bad", "regressed"), ("fine", "equivalent")]
    assert sentences.comparison_headline(found).startswith("worse regressed: ")


AGAIN, UNFIT = (Reason("run_killed", text=text) for text in ("gateway has no turns", "users differ"))


@pytest.mark.parametrize(
    ("causes", "said_first"),
    [
        ((AGAIN,), "gateway has no turns"),
        ((Reason("aborted", {"because": "given up"}), UNFIT), "given up; users differ"),
        ((AGAIN, AGAIN), "gateway has no turns"),
    ],
)
def test_an_invalid_comparison_has_no_verdict_and_names_each_cause_once(
    causes: tuple[Reason, ...], said_first: str
) -> None:
    found = comparison("gateway", checks=tuple(FairnessCheck(name, ["", ""], "fail", [*causes]) for name in "ab"))

    assert plain(sentences.comparison_headline(found)) == f"Do not use these results: {said_first}."
    assert sentences.comparison_second(found) == "Run it again and let it finish."


THROTTLED = Reason("throttled", {"target": "gateway", "share": 0.021})
UNFAIR = FairnessCheck("throttled", [0.0, 0.021], "fail", [THROTTLED])
LABELS = ("gateway", "a_very_long_label_of_a_target.with_a_variant_that_is_long_too_and_longer")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[Comparison]:
    """Return comparisons of loaded runs of several types, and comparisons with invented metrics."""
    tmp_path = tmp_path_factory.mktemp("many")
    three = Plan(sessions=30, turns=4, targets=("a", "b", "c"), paired=True, kinds=("vad", "manual"))
    killed = synthetic.write_killed(tmp_path / "killed", Plan(sessions=6, turns=4))
    return [
        quick(targets(PAIRED)),
        quick(targets(three)),
        quick(two(RUN, Plan(sessions=30, turns=4, failed=0.6, refused=2))),
        quick(two(RUN, Plan(sessions=0, refused=2))),
        quick(two(Plan(sessions=0))),
        quick(parse_targets([run(tmp_path / "one"), killed])),
        comparison(*LABELS, checks=()),
        comparison("gateway", checks=(UNFAIR,)),
        comparison("gateway", comparisons=()),
    ]


@pytest.mark.parametrize("width", [140, 100, 80, 60])
def test_a_terminal_of_any_width_shows_the_values_and_the_interval_of_each_metric(
    many: list[Comparison], width: int
) -> None:
    for found in many:
        lines = comparison_text(found, width).splitlines()
        for row in (row_of(one, usable=not found.failed_checks) for one in found.comparisons):
            values = [value.replace(NBSP, " ") for value in (*row.values, row.change, row.interval)]
            begins = [at for at, line in enumerate(lines) if f"{line} ".startswith(f"  {row.name} ")]
            shown = (" ".join(lines[at : at + 3]) for at in begins)
            assert any(all(value in text for value in values) for text in shown)


def test_a_comment_begins_with_the_verdict_and_has_at_most_ten_table_rows() -> None:
    figures = tuple(
        compared("ttfa", 0.95, "equivalent", ratio(1000, 1000, 0.99, 1.01), primary=True) for _ in range(12)
    )
    worst = compared("ttfa", 0.5, "regressed", ratio(1000, 2000, 1.9, 2.1), primary=True)
    lines = comparison_markdown(comparison("gateway", comparisons=(*figures, worst))).splitlines()
    head = next(place for place, line in enumerate(lines) if line.startswith("| metric | direct"))
    table = [line for line in lines[head + 2 : lines.index("", head)] if line.startswith("|")]

    assert lines[0].startswith("### ✕ gateway regressed: ")
    assert len(table) == 10
    assert "✕ regressed" in table[0]
    assert any("3 more primary metrics" in line for line in lines)


def test_the_document_of_a_comparison_has_its_status_and_all_metrics(many: list[Comparison]) -> None:
    for found in many:
        data = comparison_data(found)
        assert (data["result"], len(data["comparisons"])) == (
            RESULT_OF_STATUS[found.exit_status],
            len(found.comparisons),
        )


def test_the_document_has_the_numbers_of_a_metric() -> None:
    data = comparison_data(comparison("gateway"))
    first = data["comparisons"][0]

    values = [first[key] for key in ("title", "verdict", "primary", "passes")]
    assert values == ["ttfa p95", "regressed", True, False]
    assert first["difference"]["baseline"] == 1600
    assert first["turns"] == {"baseline": 2000, "candidate": 2000}
    endless = next(one for one in data["comparisons"] if one["metric"] == "input_transcript")
    assert endless["difference"]["candidate"] is None
    assert endless["difference"]["candidate_in_failures"] is True


def test_metrics_from_two_instants_have_distinct_names_in_a_narrow_terminal(many: list[Comparison]) -> None:
    for width in (100, 70, 60):
        lines = comparison_text(many[1], width).splitlines()
        names = [line[2:].split("  ")[0] for line in lines if line.startswith("  voice_to_")]
        assert len(names) == 8  # p50 and p95, measured from two instants, on two candidates
        assert len(set(names)) == 4


POINT = Margin(points=0.01)
FAILURES = MetricSpec("failure_rate", Rate(), POINT)


def verdict_of(sessions: int, failed: int = 0, question: MetricSpec = FAILURES) -> Verdict:
    """Return the verdict on a candidate that has `failed` failed turns. The baseline has no failed turn."""
    clean, turns = np.zeros(sessions), np.full(sessions, 10.0)
    found = rate_difference(
        ClusterTotals((clean, turns), (np.where(np.arange(sessions) < failed, 1.0, 0.0), turns), paired=False), POINT
    )
    counts = of_equal_sessions(10 * sessions, sessions, failed)
    (judged,) = add_verdicts(
        [MeasuredDifference(replace(question, primary=True), "new", found, (counts, counts))], "old"
    )
    return judged.verdict


def test_no_failure_in_too_few_sessions_gives_the_upper_bound_and_the_sessions_needed() -> None:
    verdict = verdict_of(100)

    assert verdict.name == "inconclusive"
    assert verdict.more_sessions == 199
    assert (
        reason_text(verdict.reason).replace("\u00a0", " ")
        == "with no failure in 100 sessions the rate may still be up to 2.95 %: about 299 sessions are needed"
    )


@pytest.mark.parametrize(("sessions", "failed"), [(299, 0), (100, 2)])
def test_a_pass_and_a_verdict_with_failures_have_no_reason_about_unseen_failures(sessions: int, failed: int) -> None:
    assert verdict_of(sessions, failed).reason is None


def test_every_rate_has_its_own_term_and_a_zero_margin_has_no_session_count() -> None:
    assert reason_text(verdict_of(100, question=MetricSpec("stall_rate", Rate(), POINT)).reason).startswith(
        "with no stalled reply in"
    )
    assert reason_text(none_seen("throttled", 600, 0.05, None, 600)).replace("\u00a0", " ") == (
        "with no throttled turn in 600 sessions the rate may still be up to 0.50 %"
    )


def test_runs_of_different_durations_are_each_named_with_their_own() -> None:
    long, short = Plan(sessions=60, turns=4, seconds=300), Plan(sessions=40, turns=4, seconds=82)
    equal, different, in_pairs = (
        design(quick(sides)).replace(NBSP, " ")
        for sides in (two(long, long), two(long, short), targets(replace(PAIRED, seconds=300)))
    )

    assert re.fullmatch(r"60 sessions per target over \d min", equal)
    assert re.fullmatch(r"60 sessions over \d min, and 40 sessions over \d+ s", different)
    assert re.fullmatch(r"40 pairs over \d min, interleaved in one run", in_pairs)
