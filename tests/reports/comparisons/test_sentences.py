"""The sentences at the top of a comparison."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from reports.comparisons import sentences
from reports.comparisons.comparison import Comparison, Method
from reports.finding import Finding
from reports.sides.fairness import Check
from reports.statistics.differences import Difference, Margin
from reports.statistics.verdicts import FAILED_SHARE, NOT_AFTER_HOLM, Reason, Verdict, too_few
from reports.wording.validity import Cause
from tests.reports.comparisons.invented import comparison, finding, points, ratio

WORSE = ratio(1600, 2640, 1.47, 1.87)
SAME = ratio(1000, 1040, 0.97, 1.12)


def said(text: str) -> str:
    return text.replace("\u00a0", " ")


def of(*findings: Finding, candidates: tuple[str, ...] = ("gateway",), **changes: Any) -> Comparison:
    return comparison(*candidates, findings=findings, **changes)


def gated(measure: str, p: float | None, word: str, difference: Difference | None, **more: Any) -> Finding:
    return finding(measure, p, word, difference, gated=True, **more)  # type: ignore[arg-type]


def test_a_tail_that_regressed() -> None:
    found = of(gated("voice_to_voice", 0.95, "regressed", WORSE))

    assert said(sentences.comparison_headline(found)) == (
        "gateway regressed: one turn in twenty now takes longer than 2.64 s, 65 % more than on direct "
        "(voice_to_voice p95)."
    )
    assert (
        said(sentences.comparison_second(found))
        == "With 95 % confidence it is at least 47 % longer; the margin is 20 %."
    )


def test_a_median_that_regressed() -> None:
    found = of(gated("ttfa", 0.5, "regressed", WORSE))

    assert said(sentences.comparison_headline(found)).startswith(
        "gateway regressed: half of the turns now take longer than 2.64 s"
    )


def test_a_session_is_no_turn() -> None:
    found = of(gated("connect_total", 0.9, "regressed", WORSE))

    assert "one session in ten now takes longer than 2.64 s" in said(sentences.comparison_headline(found))


def test_a_quantile_that_lies_among_the_failed_turns() -> None:
    endless = Difference("ratio", 1600, math.inf, math.inf, 0.7, math.inf, 0.1, 9, 0.5, math.inf, -1, 0.001, 0.9)
    found = of(gated("ttfa", 0.95, "regressed", endless))

    assert said(sentences.comparison_headline(found)) == (
        "gateway regressed: one turn in twenty now fails (ttfa p95; on direct it was 1.6 s)."
    )


def test_a_rate_that_regressed() -> None:
    found = of(gated("failures", None, "regressed", points(0.01, 0.04, 0.02, 0.041)))

    assert said(sentences.comparison_headline(found)) == (
        "gateway regressed: 4.00 % of its turns fail or are never begun, 3.00 points more than on direct."
    )
    assert (
        said(sentences.comparison_second(found))
        == "With 95 % confidence it is at least 2.00 points more; the margin is 1 point."
    )


def test_less_is_worse_where_more_is_better() -> None:
    found = of(gated("audio_speed", None, "regressed", ratio(3, 1.5, 0.4, 0.6)))

    assert (
        said(sentences.comparison_headline(found))
        == "gateway regressed: audio_speed mean is 1.5 ×, 50 % less than on direct."
    )
    assert said(sentences.comparison_second(found)).startswith("With 95 % confidence it is at least 40 % less;")


@pytest.mark.parametrize(
    ("word", "difference", "headline"),
    [
        (
            "not regressed",
            SAME,
            "gateway has not regressed: ttfa p95 differs by +4 % (−3 to +12 %), which stays within the margin of 20 %.",
        ),
        (
            "equivalent",
            ratio(1000, 990, 0.97, 1.01),
            "gateway is equivalent: ttfa p95 differs by −1 % (−3 to +1 %); both ends lie within ±20 %.",
        ),
        (
            "improved",
            ratio(324, 243, 0.71, 0.79),
            "gateway improved: ttfa p95 is 25 % shorter than on direct (−29 to −21 %).",
        ),
        (
            "inconclusive",
            ratio(1000, 1120, 1.05, 1.29),
            "gateway is slower than direct: one turn in twenty now takes longer than 1.12 s, 5 to 29 % more (ttfa "
            "p95); whether more than the margin of 20 % is open.",
        ),
        (
            "inconclusive",
            ratio(1000, 1120, 0.9, 1.29),
            "Inconclusive on gateway: ttfa p95 may be from 10 % shorter to 29 % longer and the margin is 20 %.",
        ),
    ],
)
def test_what_did_not_regress(word: str, difference: Difference, headline: str) -> None:
    assert said(sentences.comparison_headline(of(gated("ttfa", 0.95, word, difference)))) == headline


@pytest.mark.parametrize(
    ("reason", "headline"),
    [
        (
            too_few("turn", 400, (100, 100), p=0.95),
            "Inconclusive on gateway (too few turns to decide): p95 needs 400 in each arm, 100 there.",
        ),
        (
            too_few("session", 20, (8, 8)),
            "Inconclusive on gateway (too few sessions to decide): 20 needed in each arm, 8 there.",
        ),
        (
            NOT_AFTER_HOLM,
            "gateway is slower than direct: one turn in twenty now takes longer than 2.64 s, 47 to 87 % more (ttfa "
            "p95); whether more than the margin of 20 % is open after Holm’s correction.",
        ),
    ],
)
def test_why_it_is_inconclusive(reason: Reason, headline: str) -> None:
    assert (
        said(sentences.comparison_headline(of(gated("ttfa", 0.95, "inconclusive", WORSE, reason=reason)))) == headline
    )


def test_a_quantile_among_the_failed_turns_of_both_arms_is_named() -> None:
    endless = Difference("ratio", math.inf, math.inf, math.nan, -math.inf, math.inf, 0.1, 9, *(math.nan,) * 5)
    found = of(gated("ttfa", 0.95, "inconclusive", endless, reason=FAILED_SHARE))

    assert sentences.comparison_headline(found) == "Inconclusive on gateway: ttfa p95: quantile in the failed share."


def test_a_figure_that_one_arm_has_not() -> None:
    found = of(gated("ttfa", 0.95, "inconclusive", None, reason=Reason("no turns", arms=("gateway",), measure="ttfa")))

    assert sentences.comparison_headline(found) == "Inconclusive on gateway: no ttfa on gateway."
    assert sentences.comparison_second(found) == ""


@pytest.mark.parametrize(
    ("more", "changes", "second"),
    [
        (260, {"unit": "session"}, "It takes about 460 sessions in each arm to settle it."),
        (260, {}, "It takes about 460 pairs to settle it."),
        (None, {}, "More pairs will hardly settle it: ttfa p95 takes more than 4,000."),
        (None, {"verdict": Verdict("inconclusive", provisional=True)}, sentences.APART),
    ],
)
def test_what_would_settle_it(more: int | None, changes: dict[str, Any], second: str) -> None:
    found = replace(gated("ttfa", 0.95, "inconclusive", ratio(1000, 1120, 1.05, 1.29), more=more), **changes)

    assert said(sentences.comparison_second(of(found))) == second


UNSEEN = Reason("none seen", needed=299, there=(200,), measure="failures", upper=0.0149)


def unseen() -> Finding:
    return gated("failures", None, "inconclusive", points(0, 0, 0, 0.0149), reason=UNSEEN, more=99)


def test_failures_that_nobody_had_do_not_speak_for_waits_that_grew() -> None:
    """They once did: "Inconclusive on gateway (with no failure in 200 sessions …): it takes about 299 sessions"."""
    found = of(
        gated("ttfa", 0.5, "inconclusive", ratio(1000, 1110, 1.06, 1.14, 0.1), margin=Margin(0.1)),
        gated("ttfa", 0.95, "inconclusive", ratio(1490, 1710, 1.10, 1.23), more=270),
        unseen(),
    )

    assert said(sentences.comparison_headline(found)) == (
        "gateway is slower than direct: half of the turns now take longer than 1.11 s, 6 to 14 % more (ttfa p50); "
        "whether more than the margin of 10 % is open."
    )
    assert said(sentences.comparison_second(found)) == (
        "Also open: ttfa p95, 10 to 23 % longer (margin 20 %); failure rate: with no failure in 200 sessions the rate "
        "may still be up to 1.49 %. More pairs will hardly settle it: ttfa p50 takes more than 4,000, ttfa p95 about "
        "470 and failure rate about 299."
    )


def test_the_sessions_that_are_named_are_those_of_the_gate_that_takes_most() -> None:
    few = too_few("turn", 400, (100, 100), p=0.95)
    found = of(
        gated("ttfa", 0.5, "inconclusive", ratio(1000, 1110, 1.06, 1.24), more=270),
        gated("ttfa", 0.95, "inconclusive", ratio(1490, 1710, 1.10, 1.23), reason=few),
        unseen(),
    )

    assert said(sentences.comparison_second(found)).endswith(
        "It takes about 470 pairs to settle it: ttfa p50 takes about 470, failure rate about 299 and ttfa p95 at least "
        "40."
    )


def test_where_only_failures_are_open_what_passed_is_said_first() -> None:
    found = of(gated("ttfa", 0.5, "equivalent", ratio(1000, 990, 0.97, 1.01)), unseen())

    assert said(sentences.comparison_headline(found)) == (
        "gateway passes on ttfa p50; its failure rate is open: with no failure in 200 sessions the rate may still be "
        "up to 1.49 %, and the margin is 1 point."
    )
    assert said(sentences.comparison_second(found)).endswith("It takes about 299 pairs to settle it.")


def test_what_is_slower_within_the_margin_is_said_to_be_slower() -> None:
    found = of(gated("ttfa", 0.95, "equivalent", ratio(1000, 1110, 1.05, 1.17)))

    assert said(sentences.comparison_headline(found)) == (
        "gateway is slower than direct, but within the margin: ttfa p95 differs by +11 % (+5 to +17 %), the margin is "
        "20 %."
    )


def test_the_other_gated_figures_are_said_after_the_worst() -> None:
    found = of(
        gated("ttfa", 0.5, "equivalent", ratio(1000, 990, 0.97, 1.01)),
        gated("ttfa", 0.95, "regressed", WORSE),
        gated("failures", None, "not regressed", points(0.01, 0.011, -0.001, 0.003)),
        finding("ttfa", 0.99, "regressed", WORSE),
    )

    assert said(sentences.comparison_second(found)) == (
        "With 95 % confidence it is at least 47 % longer; the margin is 20 %. "
        "Not regressed: failure rate +0.10 points. Equivalent: ttfa p50 −1 %."
    )


def test_of_several_that_regressed_the_one_farthest_beyond_its_margin_speaks() -> None:
    found = of(gated("ttfa", 0.5, "regressed", ratio(1000, 1300, 1.25, 1.35)), gated("ttfa", 0.95, "regressed", WORSE))

    assert "(ttfa p95)" in sentences.comparison_headline(found)
    assert "Also regressed: ttfa p50 +30 %." in said(sentences.comparison_second(found))


def test_of_several_candidates_the_worst_speaks() -> None:
    found = of(
        gated("ttfa", 0.95, "equivalent", SAME, candidate="fine"),
        gated("ttfa", 0.95, "regressed", ratio(1000, 1300, 1.25, 1.35), candidate="bad"),
        gated("ttfa", 0.95, "regressed", WORSE, candidate="worse"),
        candidates=("fine", "bad", "worse"),
    )

    assert sentences.candidates(found) == [("worse", "regressed"), ("bad", "regressed"), ("fine", "equivalent")]
    assert sentences.comparison_headline(found).startswith("worse regressed: ")
    assert sentences.comparison_second(found).endswith("bad: regressed. fine: equivalent.")


def test_without_a_gated_figure_nothing_decides() -> None:
    found = of(finding("ttfa", 0.95, "regressed", WORSE))

    assert sentences.comparison_headline(found) == "There is no verdict, because no figure was gated."
    assert sentences.comparison_second(found) == ""


@pytest.mark.parametrize(
    ("causes", "headline"),
    [
        (
            (Cause("gateway has no turns", "run it again."),),
            "Do not use these figures: gateway has no turns.",
        ),
        (
            (Cause("gateway: 2.1 % was throttled"), Cause("the arms differ in users", "run it again")),
            "Do not use these figures: gateway: 2.1 % was throttled; the arms differ in users.",
        ),
        (
            (Cause("gateway has no turns", "run it again"), Cause("gateway has no turns", "run it again")),
            "Do not use these figures: gateway has no turns.",
        ),
    ],
)
def test_an_unfair_comparison_has_no_verdict_and_says_every_cause_once(
    causes: tuple[Cause, ...], headline: str
) -> None:
    found = comparison("gateway", checks=(Check("one", ("", ""), False, causes), Check("two", ("", ""), False, causes)))

    assert said(sentences.comparison_headline(found)) == headline
    assert sentences.comparison_second(found) == "Run it again."


def test_what_was_assumed_is_said_only_where_it_was() -> None:
    sure = gated("ttfa", 0.95, "regressed", WORSE)
    assumed = Finding(**(vars(sure) | {"verdict": Verdict("regressed", provisional=True)}))

    assert sentences.assumption(of(sure)) == ""
    found = of(assumed, method=Method("sessions", 60, 10, 7, 0.05, 1, 0.05))
    assert "5 % of run-to-run spread was assumed" in said(sentences.assumption(found))


def test_every_finding_has_a_sentence_whatever_its_numbers() -> None:
    found = comparison("gateway")

    for one in found.findings:
        text = sentences.sentence(one)
        assert text.endswith(".")
        assert "nan" not in text
        assert "inf" not in text


def test_a_margin_of_nothing_is_a_margin() -> None:
    found = of(gated("ttfa", 0.95, "regressed", ratio(1000, 1300, 1.25, 1.35, 0.0), margin=Margin()))

    assert (
        said(sentences.comparison_second(found))
        == "With 95 % confidence it is at least 25 % longer; the margin is 0 %."
    )
