"""The sentences at the top of a comparison, and the tables of a comparison on a terminal, in a
comment and in JSON.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from reports.analysis.comparisons.comparison import Comparison
from reports.analysis.targets.fairness import FairnessCheck
from reports.analysis.targets.named import parse_targets
from reports.engine.judge import Judged
from reports.formatting import NBSP
from reports.pages.comparisons.document import comparison_data
from reports.results.value import IN_FAILURES, RESULT_OF_STATUS, Reason, too_few
from reports.statistics.differences import Difference, Margin, OneSidedBounds
from reports.statistics.verdicts import NOT_AFTER_HOLM, Verdict
from reports.text import comparison_sentences as sentences
from reports.text import metric_sentences
from reports.text.comparison_rows import change_of, interval_text, values_of
from tests.reports import synthetic
from tests.reports.comparisons.build import PAIRED, RUN, quick, run, targets, two
from tests.reports.comparisons.invented import (
    RULINGS,
    compared,
    comparison,
    decision,
    points,
    ratio,
)
from tests.reports.forms import comparison_text
from tests.reports.synthetic import Plan

WORSE = ratio(1600, 2640, 1.47, 1.87)


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def of(
    *all_compared: Judged, candidates: tuple[str, ...] = ("gateway",), **changes: Any
) -> Comparison:
    return comparison(*candidates, comparisons=all_compared, **changes)


def primary(
    metric: str, p: float | None, word: str, difference: Difference | None, **more: Any
) -> Judged:
    return compared(metric, p, word, difference, primary=True, **more)  # type: ignore[arg-type]


UNSEEN = primary(
    "failure_rate",
    None,
    "inconclusive",
    points(0, 0, 0, 0.0149),
    more=99,
    reason=Reason(
        "none_seen", {"needed": 299, "there": [200], "metric": "failure_rate", "upper": 0.0149}
    ),
)
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
ENDLESS = Difference(
    "ratio", math.inf, math.inf, math.nan, -math.inf, math.inf, 0.1, 9, UNKNOWN, UNKNOWN
)
FEW = too_few("turn", 400, (100, 100), p=0.95)
FINE = primary("ttfa", 0.5, "equivalent", ratio(1000, 990, 0.97, 1.01))
OPEN = ratio(1000, 1120, 1.05, 1.29)
GROWN = primary("ttfa", 0.95, "inconclusive", ratio(1490, 1710, 1.10, 1.23), more=270)


def tail(word: str, difference: Difference | None, **more: Any) -> Judged:
    return primary("ttfa", 0.95, word, difference, **more)


SAID: dict[str, tuple[list[Judged], str | None, str | None]] = {
    # (comparisons, headline, second sentence)
    "a median that regressed": (
        [MEDIAN],
        (
            "gateway regressed: half of the turns now take longer than 2.64 s, 1.04 s (65 %)"
            " more than on direct (ttfa p50)."
        ),
        None,
    ),
    "a session metric": (
        [primary("connect_total", 0.9, "regressed", WORSE)],
        (
            "gateway regressed: one session in ten now takes longer than 2.64 s, 1.04 s (65 %)"
            " more than on direct (connect_total p90)."
        ),
        None,
    ),
    "a quantile among failed turns": (
        [tail("regressed", FAILING)],
        "gateway regressed: one turn in twenty now fails (ttfa p95; on direct it was 1.6 s).",
        None,
    ),
    "a rate that regressed": (
        [primary("failure_rate", None, "regressed", points(0.01, 0.04, 0.02, 0.041))],
        (
            "gateway regressed: 4.00 % of its turns fail or do not start, 3.00 points more than on"
            " direct."
        ),
        "With 95 % confidence it is at least 2.00 points more; the margin is 1 point.",
    ),
    "a lower value of a higher-is-better metric": (
        [primary("audio_speed", None, "regressed", ratio(3, 1.5, 0.4, 0.6))],
        "gateway regressed: audio_speed mean is 1.5 ×, 50 % less than on direct.",
        "With 95 % confidence it is at least 40 % less; the margin is 16.7 %.",
    ),
    "an improvement": (
        [tail("improved", ratio(324, 243, 0.71, 0.79))],
        "gateway improved: ttfa p95 is 81 ms (25 %) shorter than on direct.",
        None,
    ),
    "slower, but it is open whether by more than the margin": (
        [tail("inconclusive", OPEN)],
        (
            "gateway is slower than direct: one turn in twenty now takes longer than 1.12 s, 5 to"
            " 29 % more (ttfa p95). Whether this exceeds the margin of 20 % is inconclusive."
        ),
        None,
    ),
    "slower within the margin": (
        [tail("equivalent", ratio(1000, 1110, 1.05, 1.17))],
        (
            "gateway is slower than direct, but within the margin of 20 %: ttfa p95 is 110 ms"
            " (11 %) longer."
        ),
        None,
    ),
    "too few turns": (
        [tail("inconclusive", WORSE, reason=FEW)],
        (
            "Inconclusive on gateway (too few turns to decide): p95 needs 400 per target, 100"
            " measured."
        ),
        None,
    ),
    "too few sessions": (
        [tail("inconclusive", WORSE, reason=too_few("session", 20, (8, 8)))],
        "Inconclusive on gateway (too few sessions to decide): 20 needed per target, 8 measured.",
        None,
    ),
    "not significant after Holm": (
        [tail("inconclusive", WORSE, reason=NOT_AFTER_HOLM)],
        (
            "gateway is slower than direct: one turn in twenty now takes longer than 2.64 s, 47 to"
            " 87 % more (ttfa p95). Whether this exceeds the margin of 20 % is inconclusive after"
            " Holm’s correction."
        ),
        None,
    ),
    "a quantile among failed turns of both targets": (
        [tail("inconclusive", ENDLESS, reason=IN_FAILURES)],
        "Inconclusive on gateway: ttfa p95: the quantile is infinite: too many turns failed.",
        None,
    ),
    "a metric that one target lacks": (
        [
            tail(
                "inconclusive",
                None,
                reason=Reason("no_turns", {"targets": ["gateway"], "metric": "ttfa"}),
            )
        ],
        "Inconclusive on gateway: no ttfa on gateway.",
        "",
    ),
    "the number of sessions that would decide": (
        [replace(tail("inconclusive", OPEN, more=260), cluster="session")],
        None,
        "About 460 sessions per target decide ttfa p95.",
    ),
    "the number of pairs that would decide": (
        [tail("inconclusive", OPEN, more=260)],
        None,
        "About 460 pairs decide ttfa p95.",
    ),
    "other runs would decide": (
        [replace(tail("inconclusive", OPEN), verdict=Verdict("inconclusive", provisional=True))],
        None,
        metric_sentences.RUNS_DIFFER,
    ),
    # In an earlier version the text was "Inconclusive on gateway (with no failure in 200 sessions
    # …): about 299 sessions are needed".
    "no failures do not outweigh longer latencies": (
        [
            primary(
                "ttfa", 0.5, "inconclusive", ratio(1000, 1110, 1.06, 1.14, 0.1), margin=Margin(0.1)
            ),
            GROWN,
            UNSEEN,
        ],
        (
            "gateway is slower than direct: half of the turns now take longer than 1.11 s, 6 to 14"
            " % more (ttfa p50). Whether this exceeds the margin of 10 % is inconclusive."
        ),
        (
            "Also inconclusive: ttfa p95, 10 to 23 % longer (margin 20 %); failure_rate: with no"
            " failure in 200 sessions the rate may still be up to 1.49 %. More pairs are unlikely"
            " to decide all metrics: ttfa p50 needs more than 4,000, ttfa p95 about 470 and"
            " failure_rate about 299."
        ),
    ),
    "the sessions named are those of the metric that needs most": (
        [
            primary("ttfa", 0.5, "inconclusive", ratio(1000, 1110, 1.06, 1.24), more=270),
            tail("inconclusive", ratio(1490, 1710, 1.10, 1.23), reason=FEW),
            UNSEEN,
        ],
        None,
        (
            "Also inconclusive: ttfa p95, 10 to 23 % longer (margin 20 %; too few turns to decide:"
            " p95 needs 400 per target, 100 measured); failure_rate: with no failure in 200"
            " sessions the rate may still be up to 1.49 %. About 470 pairs decide all metrics:"
            " ttfa p50 needs about 470, failure_rate about 299 and ttfa p95 at least 40."
        ),
    ),
    "if only failures are inconclusive, passed metrics are first": (
        [FINE, UNSEEN],
        (
            "gateway passes on ttfa p50; its failure_rate is inconclusive: with no failure in 200"
            " sessions the rate may still be up to 1.49 %, and the margin is 1 point."
        ),
        "Equivalent: ttfa p50 −1 %. About 299 pairs decide failure_rate.",
    ),
    "the other primary metrics follow the worst": (
        [
            FINE,
            TAIL,
            primary("failure_rate", None, "not_regressed", points(0.01, 0.011, -0.001, 0.003)),
            compared("ttfa", 0.99, "regressed", WORSE),
        ],
        None,
        (
            "With 95 % confidence it is at least 47 % longer; the margin is 20 %. "
            "Not regressed: failure_rate +0.10 points. Equivalent: ttfa p50 −1 %."
        ),
    ),
    "the metric farthest beyond its margin is in the headline": (
        [primary("ttfa", 0.5, "regressed", ratio(1000, 1300, 1.25, 1.35)), TAIL],
        (
            "gateway regressed: one turn in twenty now takes longer than 2.64 s, 1.04 s (65 %)"
            " more than on direct (ttfa p95)."
        ),
        (
            "With 95 % confidence it is at least 47 % longer; the margin is 20 %. Also regressed:"
            " ttfa p50 +30 %."
        ),
    ),
    "a margin of zero": (
        [tail("regressed", ratio(1000, 1300, 1.25, 1.35, 0.0), margin=Margin())],
        None,
        "With 95 % confidence it is at least 25 % longer; the margin is 0 %.",
    ),
}


@pytest.mark.parametrize(("found", "headline", "second"), SAID.values(), ids=SAID)
def test_a_comparison_has_a_headline_and_a_second_sentence(
    found: list[Judged], headline: str | None, second: str | None
) -> None:
    made = of(*found)

    assert headline is None or plain(sentences.comparison_headline(made)) == headline
    _, _, details = plain(sentences.comparison_second(made)).partition(". ")
    assert second is None or details == second


@pytest.mark.parametrize(
    ("verdict", "meaning"),
    [
        ("regressed", "A fail."),
        ("not_regressed", "A pass."),
        ("equivalent", "A pass."),
        ("improved", "A pass."),
        ("inconclusive", "Neither a pass nor a fail."),
    ],
)
def test_the_second_sentence_begins_with_the_meaning_for_a_decision(
    verdict: str, meaning: str
) -> None:
    made = of(tail(verdict, OPEN))

    assert sentences.comparison_second(made).startswith(meaning)


def test_what_callers_hear_is_stated_if_it_is_a_secondary_metric() -> None:
    wait = compared("voice_to_voice", 0.5, "equivalent", ratio(1000, 1050, 1.03, 1.07))

    assert plain(sentences.heard(of(TAIL, wait))) == (
        "For callers (secondary): voice_to_voice p50 +50 ms (+5 %), 90 % interval +3 to +7 %,"
        " ≈ equivalent (slower, within 20 %)."
    )
    is_primary = replace(wait, spec=replace(wait.spec, primary=True))
    assert not sentences.heard(of(TAIL, is_primary))


def test_a_run_without_an_interim_analysis_has_its_difference_and_the_way_to_a_verdict() -> None:
    early = comparison(decision=decision("no_analysis", ()))

    assert plain(sentences.comparison_headline(early)).endswith(
        " So far, gateway is slower than direct: ttfa p95 +1.04 s (+65 %), 90 % interval +47 to +87"
        " %, if the results did not cause the end of the run."
    )
    assert sentences.comparison_second(early) == (
        "Neither a pass nor a fail. For a verdict, let a run continue: the next analysis was at 50"
        " pairs. The table contains all pairs of the run, evaluated as one test of a fixed size."
    )


def test_a_run_that_a_person_ended_has_the_interval_of_its_last_analysis() -> None:
    open_ = tuple(replace(one, verdict=Verdict("inconclusive")) for one in RULINGS)
    early = comparison(decision=decision("stopped_by_user", rulings=open_))

    assert "21 to 70 % more (ttfa p95)" in plain(sentences.comparison_headline(early))
    assert "the next analysis was at 200 pairs." in sentences.comparison_second(early)


THROTTLED = Reason("throttled", {"target": "gateway", "share": 0.021})
UNFAIR = FairnessCheck("throttled", [0.0, 0.021], "fail", [THROTTLED])
LABELS = ("gateway", "a_very_long_label_of_a_target.with_a_variant_that_is_long_too_and_longer")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[Comparison]:
    """Return comparisons of loaded runs of several types, and comparisons with invented metrics."""
    tmp_path = tmp_path_factory.mktemp("many")
    three = Plan(
        sessions=30, turns=4, targets=("a", "b", "c"), paired=True, kinds=("vad", "manual")
    )
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


@pytest.mark.parametrize("width", [140, 60])
def test_a_terminal_of_any_width_shows_the_values_and_the_interval_of_each_metric(
    many: list[Comparison], width: int
) -> None:
    for found in many:
        lines = comparison_text(found, width).splitlines()
        for one in found.comparisons:
            values = [
                text.replace(NBSP, " ")
                for text in (*values_of(one), change_of(one), interval_text(one))
            ]
            begins = [
                at for at, line in enumerate(lines) if f"{line} ".startswith(f"  {one.spec.name} ")
            ]
            shown = (" ".join(lines[at : at + 3]) for at in begins)
            assert any(all(value in text for value in values) for text in shown)


def test_the_document_of_a_comparison_has_its_status_and_all_metrics(
    many: list[Comparison],
) -> None:
    for found in many:
        data = comparison_data(found)
        assert (data["result"], len(data["comparisons"])) == (
            RESULT_OF_STATUS[found.exit_status],
            len(found.comparisons),
        )


def test_the_document_has_the_numbers_of_a_metric() -> None:
    data = comparison_data(comparison("gateway"))
    first = data["comparisons"][0]

    values = [first[key] for key in ("title", "verdict", "primary", "result")]
    assert values == ["ttfa p95", "regressed", True, "fail"]
    assert first["against"]["value"] == 1600
    assert (first["against"]["n"], first["value"]["n"]) == (2000, 2000)
    endless = next(
        one["value"] for one in data["comparisons"] if one["value"]["metric"] == "input_transcript"
    )
    assert endless["value"] is None
    assert endless["reason"]["code"] == "in_failures"


@pytest.mark.parametrize(
    ("low", "high", "others", "displayed"),
    [
        (1.10, 1.29, 0, "slower, margin undecided"),
        (0.78, 0.92, 0, "faster, margin undecided"),
        (0.99, 1.29, 0, "inconclusive"),
        (1.02, 1.29, 9, "inconclusive"),  # one of ten metrics may differ by chance
    ],
)
def test_of_two_services_the_slower_one_is_named_even_if_the_margin_is_undecided(
    low: float, high: float, others: int, displayed: str
) -> None:
    middle = math.sqrt(low * high)
    difference = replace(
        ratio(1000, 1000 * middle, low, high), se=math.log(high / low) / (2 * 1.66)
    )
    one = replace(primary("ttfa", 0.5, "inconclusive", difference), peers=True)
    alike = [replace(FINE, peers=True)] * others

    assert metric_sentences.displayed_overall([one, *alike]) == displayed
    assert metric_sentences.displayed_overall([replace(one, peers=False)]) == "inconclusive", (
        "of a baseline"
    )
    if displayed.startswith("faster"):
        assert plain(metric_sentences.headline([one])).startswith(
            "gateway is faster than direct: ttfa p50 is 8 to 22 % shorter."
        )
